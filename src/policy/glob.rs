//! Patterns for names: the columns `service` and `terminal`.

use std::fmt::{self, Display};

use super::list::Item;
use super::quoting::{self, Letter};

/// A pattern: `*` matches any run of characters, `?` matches any one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether the pattern matches the whole text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.runs_over(text, |pattern, text| pattern == '?' || pattern == text)
    }

    /// Whether this pattern certainly matches every text that the other one matches.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        // A `*` in the other pattern is any text, so only a `*` can match it.
        self.runs_over(&other.0, |pattern, text| text != '*' && (pattern == '?' || pattern == text))
    }

    /// Whether this pattern certainly matches no text that the other one matches.
    #[must_use]
    pub fn is_apart(&self, other: &Self) -> bool {
        let literal = |glob: &Self| !glob.0.contains(['*', '?']);
        (literal(self) && !other.matches(&self.0)) || (literal(other) && !self.matches(&other.0))
    }

    /// Whether the pattern matches the whole text. `takes` compares two characters other than `*`.
    fn runs_over(&self, text: &str, takes: impl Fn(char, char) -> bool) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) = (self.0.chars().collect(), text.chars().collect());
        let (mut p, mut t) = (0, 0);
        // The place of the last `*`, and the part of the text that it has taken.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match (pattern.get(p), text.get(t)) {
                (Some('*'), _) => {
                    star = Some((p, t));
                    p += 1;
                }
                (Some(a), Some(b)) if takes(*a, *b) => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((at, given)) => {
                        star = Some((at, given + 1));
                        p = at + 1;
                        t = given + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|c| *c == '*')
    }

    /// Reads a pattern without quotation marks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '!' | '[' | ']' | '"' | '\\');
        // A terminal has its name below /dev.
        let name = text.trim_start_matches("/dev/");
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Self::expected());
        }
        Ok(Self(name.to_owned()))
    }
}

impl Item for Glob {
    const EXPECTED: &'static str = "a name, in which * and ? are wildcards";

    fn read(letters: &[Letter]) -> Result<Self, String> {
        Self::parse(&quoting::unescaped(letters).ok_or_else(Self::expected)?)
    }

    fn is_any(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }
}

impl Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::List;
    use super::*;
    use proptest::prelude::*;

    fn glob(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in ["", "ss hd", "[a-z]", "!", "/dev/"] {
            assert!(List::<Glob>::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        assert!(
            glob("tty*", "tty1") && glob("tty?", "tty1") && !glob("tty?", "tty10") && !glob("tty", "tty1")
        );
        assert!(
            glob("*", "")
                && glob("a*b*c", "aXbYbZc")
                && !glob("a*b*c", "aXbYbZ")
                && glob("/dev/pts/*", "pts/3")
        );
    }

    #[test]
    fn a_terminal_is_read_by_its_name_below_dev() {
        for text in ["/dev/tty1", "/dev//dev/tty1", "/dev/dev/tty1", "//dev/tty1"] {
            let glob = Glob::parse(text).unwrap();
            assert_eq!(Glob::parse(&glob.to_string()), Ok(glob), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(text in r"(!?(\*|[a-z.]{1,4}|tty\?|/dev/[a-z]{1,2}),?){1,4}") {
            if let Ok(list) = List::<Glob>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
        }

        #[test]
        fn no_text_makes_it_panic(pattern in ".*", text in ".*") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let _ = glob.matches(&text);
            }
        }
    }
}
