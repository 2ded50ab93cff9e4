//! One line a decision: an event, then `key=value` fields that no value can break out of.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write};

/// How many items a list in a record has at most, unless its field needs fewer.
pub const MOST: usize = 20;

/// How long a value may be, as it is written. A log daemon's socket refuses a record that is too long as a
/// whole, and some daemons cut what is longer than 1 or 2 kB.
const LONGEST: usize = 500;

/// A list, as a field shows it: the first items, and how many there are besides. No text for an empty list.
///
/// The end of a crowd has thousands of PIDs, and a record must not grow with them.
#[must_use]
pub fn list<T: Display>(items: impl IntoIterator<Item = T>, most: usize) -> Option<String> {
    let mut items = items.into_iter();
    let shown: Vec<String> = items.by_ref().take(most).map(|item| item.to_string()).collect();
    let shown = shown.join(",");
    match items.count() {
        0 if shown.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown} and {more} more")),
    }
}

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
    /// hold anything. What is too long ends in `...`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        let result = if !value.is_empty() && value.chars().all(plain) && value.len() <= LONGEST {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}=\"{}\"", escaped(&value))
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

/// Text from outside, as a terminal may show it: in one line, and without a character that does something.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            // They do nothing, and a Windows domain is written with one.
            '\\' | '"' | '\'' => result.push(c),
            c => result.extend(c.escape_debug()),
        }
    }
    result
}

/// A value without control characters, and not longer than [`LONGEST`].
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        // Never within an escape: half of one reads as something else.
        let c = c.escape_default();
        if text.len() + c.len() > LONGEST {
            return text + "...";
        }
        text.extend(c);
    }
    text
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

    #[test]
    fn a_text_is_shown_in_its_own_letters() {
        for text in ["CORP\\zoë", "it's \"Прод\" 雪"] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("a\x1b[2J\u{9b}2J\u{202e}b\r\n"), r"a\u{1b}[2J\u{9b}2J\u{202e}b\r\n");
    }

    #[test]
    fn a_list_of_thousands_is_short() {
        assert_eq!(list(Vec::<i32>::new(), MOST), None);
        assert_eq!(list([7], 1).as_deref(), Some("7"));
        assert_eq!(list(1..=3, 3).as_deref(), Some("1,2,3"));
        assert_eq!(list(1..=5000, 3).as_deref(), Some("1,2,3 and 4997 more"));
        let longest = list((0..5000).map(|_| i32::MAX), MOST).unwrap();
        assert!(Record::new("ended").with("survivors", longest).to_string().len() < 300);
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let long = "x".repeat(LONGEST);
        let field = |value: &str| Record::new("armed").with("rhost", value).to_string();
        assert_eq!(field(&long), format!("armed rhost={long}"));
        assert_eq!(field(&(long.clone() + "y")), format!("armed rhost=\"{long}...\""));
        // An escape is whole or not there.
        let cut = field(&"\u{10ffff}".repeat(LONGEST));
        assert!(cut.len() < LONGEST + 20 && cut.ends_with(r#"\u{10ffff}...""#), "{cut}");
    }

    proptest! {
        #[test]
        fn what_is_shown_does_nothing_to_a_terminal(text in ".*\n?.*") {
            let shown = shown(&text);
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            // What does nothing stays as it is.
            prop_assert_eq!(&super::shown(&shown), &shown);
        }

        #[test]
        fn a_record_is_one_printable_line(value in ".*\n?.*") {
            let text = Record::new("armed").with("user", value).to_string();
            prop_assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
