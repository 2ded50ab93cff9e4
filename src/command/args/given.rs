//! Reads the words after a subcommand, as the table describes them.

use std::ffi::{OsStr, OsString};

use lexopt::prelude::*;

use super::table::{Flag, Operand, Subcommand};

/// The words that were given.
#[derive(Debug, Default)]
pub struct Given {
    switches: Vec<&'static str>,
    /// The flags with their values, and the operands by their flag or by what they are.
    values: Vec<(&'static str, OsString)>,
}

impl Given {
    /// Reads the rest of the command line. `None` if the help is wanted.
    ///
    /// # Errors
    ///
    /// A word is unknown, missing or given twice. The error names it.
    pub fn read(
        sub: &'static Subcommand,
        parser: &mut lexopt::Parser,
    ) -> Result<Option<Self>, lexopt::Error> {
        let mut given = Self::default();
        let mut operands = sub.operands.iter();
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Long(name) => match sub.flag(name) {
                    None => return Err(arg.unexpected()),
                    Some(Flag { name, value: None, .. }) => given.switches.push(name),
                    Some(Flag { name, .. }) => given.put(name, parser.value()?)?,
                },
                Value(word) => match operands.next() {
                    None => return Err(Value(word).unexpected()),
                    Some(operand) => given.put(name(operand), word)?,
                },
                other => return Err(other.unexpected()),
            }
        }
        if let Some(missing) = sub.operands.iter().find(|operand| operand.is_required && !given.has(operand))
        {
            return Err(format!("{}: {} is missing", sub.name, missing.value.shown()).into());
        }
        for flag in sub.flags {
            if let Some(needs) =
                flag.needs.filter(|needs| given.has_flag(flag.name) && !given.has_flag(needs))
            {
                return Err(format!("--{} needs --{needs}", flag.name).into());
            }
        }
        Ok(Some(given))
    }

    fn put(&mut self, name: &'static str, value: OsString) -> Result<(), lexopt::Error> {
        if self.values.iter().any(|(other, _)| *other == name) {
            return Err(format!("--{name} is given twice").into());
        }
        self.values.push((name, value));
        Ok(())
    }

    fn has(&self, operand: &Operand) -> bool {
        self.has_flag(name(operand))
    }

    fn has_flag(&self, name: &str) -> bool {
        self.is_set(name) || self.values.iter().any(|(given, _)| *given == name)
    }

    /// Whether a flag without a value was given.
    #[must_use]
    pub fn is_set(&self, flag: &str) -> bool {
        self.switches.contains(&flag)
    }

    /// The value of a flag or an operand. An operand has the name of its flag, or the word that the usage
    /// shows.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.values.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_os_str())
    }

    /// The value of a flag or an operand, which must be text.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, lexopt::Error> {
        self.value(name)
            .map(|value| value.to_str().ok_or_else(|| lexopt::Error::NonUnicodeValue(value.to_owned())))
            .transpose()
    }
}

/// The name under which an operand is kept.
fn name(operand: &Operand) -> &'static str {
    operand.flag.unwrap_or(operand.value.shown())
}
