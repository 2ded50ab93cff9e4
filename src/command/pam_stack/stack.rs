//! A service's stack: the lines of PAM's own files, in the order in which libpam runs them.

use super::control::Control;

/// The file name of our module.
pub const MODULE: &str = "pam_idle_watchdog.so";

/// The type of a line: its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineType {
    /// Checks who the user is.
    Auth,
    /// Checks whether the user may log in.
    Account,
    /// Sets up the session and tears it down.
    Session,
    /// Changes the password.
    Password,
}

impl LineType {
    pub const ALL: [Self; 4] = [Self::Auth, Self::Account, Self::Session, Self::Password];

    /// Reads the first word of a line. libpam ignores its case.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auth" => Some(Self::Auth),
            "account" => Some(Self::Account),
            "session" => Some(Self::Session),
            "password" => Some(Self::Password),
            _ => None,
        }
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
            Self::Session => "session",
            Self::Password => "password",
        }
    }
}

/// What libpam runs when it reaches a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The module at this path, written as in the file.
    Module(String),
    /// Nothing, because the line only starts a substack.
    Substack,
    /// Nothing, because libpam cannot read the line. The line fails. The text says why.
    Fails(String),
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The place of the line: `file:line`.
    pub place: String,
    pub line_type: LineType,
    /// The control as written in the file.
    pub written: String,
    /// The control as libpam reads it.
    pub control: Control,
    /// The number of substacks around the line.
    pub level: usize,
    pub runs: Runs,
    /// The arguments of the module.
    pub words: Vec<String>,
}

impl Entry {
    /// The module's file name without its directory. Empty if the line runs no module.
    #[must_use]
    pub fn module(&self) -> &str {
        self.path().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
    }

    /// The path of the module, written as in the file.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.runs {
            Runs::Module(path) => Some(path),
            Runs::Substack | Runs::Fails(_) => None,
        }
    }

    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.module() == MODULE
    }
}

/// All lines of a service. The lines of an included file are at the place of the include.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// In the order in which libpam reads them.
    pub entries: Vec<Entry>,
    /// Why libpam rejects the whole service, if it does. Nobody can log in then.
    pub broken: Option<String>,
    /// The names of the included files.
    pub includes: Vec<String>,
    /// The places and mistakes of lines that were probably meant as session lines of our module, but have a
    /// typing error.
    pub misspelled: Vec<String>,
}

impl Stack {
    #[must_use]
    pub fn of_type(&self, line_type: LineType) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.line_type == line_type).cloned().collect()
    }
}
