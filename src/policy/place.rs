//! Where a rule is written.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

/// The file and the line of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlace {
    pub file: Rc<PathBuf>,
    /// The line on which the rule starts, from 1.
    pub line: usize,
}

/// `file:line`
impl Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl FromStr for RulePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, line) = text.rsplit_once(':').ok_or("expected file:line")?;
        let line = line.parse().map_err(|_| "expected a line number after the last colon")?;
        Ok(Self { file: Rc::new(PathBuf::from(file)), line })
    }
}
