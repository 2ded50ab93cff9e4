//! One line a decision: an event, then `key=value` fields that no value can break out of.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write};

/// A record being written: `event key=value key="two words"`.
#[derive(Clone, Debug)]
pub struct Record(String);

impl Record {
    /// A record of an event, without fields yet.
    #[must_use]
    pub fn new(event: &str) -> Self {
        Self(event.to_owned())
    }

    /// Adds a field. What is not plain is quoted and escaped: a user's name or a remote host's may
    /// hold anything.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        let result = if !value.is_empty() && value.chars().all(plain) {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}=\"{}\"", value.escape_default())
        };
        // Writing to a String does not fail.
        debug_assert!(result.is_ok());
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_values_stay_plain() {
        let record = Record::new("armed")
            .with("user", "alice")
            .with("tty", "pts/0,pts/1")
            .with_some("rhost", None::<u8>);
        assert_eq!(record.to_string(), "armed user=alice tty=pts/0,pts/1");
    }

    #[test]
    fn no_value_passes_for_a_field_or_a_line() {
        let record = Record::new("armed").with("user", "x uid=0").with("rhost", "a\nb\"").with("tty", "");
        assert_eq!(record.to_string(), r#"armed user="x uid=0" rhost="a\nb\"" tty="""#);
    }

    proptest! {
        #[test]
        fn a_record_is_one_printable_line(value in ".*\n?.*") {
            let text = Record::new("armed").with("user", value).to_string();
            prop_assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
