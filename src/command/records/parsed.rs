//! Reads the text of a record back. It is strict: what the product does not write is not a record.

use crate::record::{Event, Key};

/// The start of every record.
const PREFIX: &str = "pam_idle_watchdog(";

/// The events that the module writes, inside sshd, login or su. All others come from a helper.
const OF_MODULE: [Event; 5] = [Event::Ignored, Event::Error, Event::Unguarded, Event::Exempt, Event::Skipped];

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRecord {
    pub service: String,
    pub event: Event,
    /// The fields, in the order of the log.
    fields: Vec<(String, String)>,
}

impl ParsedRecord {
    /// Reads a record. `by_helper` says whether a helper has written it.
    #[must_use]
    pub fn parse(message: &str, by_helper: bool) -> Option<Self> {
        let (place, text) = message.strip_prefix(PREFIX)?.split_once("): ")?;
        let (service, kind) = place.rsplit_once(':')?;
        if service.is_empty() || kind.is_empty() || !kind.bytes().all(|c| c.is_ascii_lowercase()) {
            return None;
        }
        let (name, mut rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        let event = *Event::ALL.iter().find(|event| event.name() == name)?;
        if !by_helper && !OF_MODULE.contains(&event) {
            return None;
        }
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (field, after) = field(rest)?;
            fields.push(field);
            rest = after;
        }
        Some(Self { service: service.to_owned(), event, fields })
    }

    /// The value of a field. If there are two of that name, the first one is ours.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key.name()).map(|(_, value)| value.as_str())
    }

    /// The value of a field that is a number.
    #[must_use]
    pub fn number(&self, key: Key) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// Whether an administrator asked for what it says.
    #[must_use]
    pub fn is_by_request(&self) -> bool {
        self.get(Key::Requester).is_some()
    }

    /// The user, who is missing only in a broken login.
    #[must_use]
    pub fn user(&self) -> &str {
        self.get(Key::User).unwrap_or_default()
    }
}

/// A field and what follows it: ` key=value` or ` key="a value"`. A newer version may have other keys than ours.
fn field(text: &str) -> Option<((String, String), &str)> {
    let (key, rest) = text.strip_prefix(' ')?.split_once('=')?;
    if key.is_empty() || !key.bytes().all(|c| c.is_ascii_lowercase() || c == b'-') {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unescaped(quoted)?,
        None => {
            let (value, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
            if value.is_empty() || !value.chars().all(plain) {
                return None;
            }
            (value.to_owned(), rest)
        }
    };
    (rest.is_empty() || rest.starts_with(' ')).then(|| ((key.to_owned(), value), rest))
}

/// A quoted value without its escapes, and what follows the closing quotation mark.
fn unescaped(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                same @ ('\'' | '"' | '\\') => same,
                'u' => {
                    let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                _ => return None,
            }),
            c if c == ' ' || c.is_ascii_graphic() => value.push(c),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<ParsedRecord> {
        ParsedRecord::parse(&format!("pam_idle_watchdog(sshd:session): {text}"), true)
    }

    #[test]
    fn a_record_is_read() {
        let record = parse(r#"ended user="a b" idle=900 survivors=0 processes=sshd,bash"#).unwrap();
        assert_eq!((record.service.as_str(), record.event), ("sshd", Event::Ended));
        assert_eq!((record.user(), record.number(Key::Idle)), ("a b", Some(900)));
        assert_eq!((record.get(Key::Processes), record.get(Key::Rule)), (Some("sshd,bash"), None));
        assert!(parse("closed").is_some());
        // A newer version has another field.
        assert_eq!(parse("closed new-field=7 user=x").unwrap().user(), "x");
        // The first field of a name counts.
        assert_eq!(parse("ended user=alice user=root").unwrap().user(), "alice");
    }

    #[test]
    fn what_we_do_not_write_is_no_record() {
        for text in [
            "",
            "ended ",
            "end user=x",
            "Ended user=x",
            "ended user",
            "ended user=",
            "ended  user=x",
            "ended user=x ",
            "ended user=a\"b",
            "ended user=\"x",
            "ended user=\"x\"y",
            "ended user=\"\\x41\"",
            "ended user=\"\\u{110000}\"",
            "ended user=\"a\tb\"",
            "ended user=zoë",
            "ended us er=x",
            "ended USER=x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        for message in [
            "pam_idle_watchdog(sshd): ended user=x",
            "pam_idle_watchdog(:session): ended user=x",
            "x pam_idle_watchdog(sshd:session): ended user=x",
            "ended user=x",
        ] {
            assert_eq!(ParsedRecord::parse(message, true), None, "{message}");
        }
        // The module ends nobody.
        let parse = |text| ParsedRecord::parse(&format!("pam_idle_watchdog(su:account): {text}"), false);
        assert!(parse("exempt user=x").is_some() && parse("ended user=x").is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            event in proptest::sample::select(Event::ALL),
            fields in proptest::collection::btree_map(
                proptest::sample::select((0..Key::ALL.len()).collect::<Vec<_>>()), "\\PC{0,40}|.*\n?.*", 0..8),
        ) {
            let record = fields.iter().fold(Record::new(event), |record, (key, value)| {
                record.with(Key::ALL[*key], value)
            });
            let read = parse(&record.to_string());
            let read = read.expect("a record");
            prop_assert_eq!(read.event, event);
            for (key, value) in &fields {
                // A value that was cut says so.
                let found = read.get(Key::ALL[*key]).expect("the field");
                let cut = found.strip_suffix("...").is_some_and(|start| value.starts_with(start));
                prop_assert!(found == value || cut, "{found:?} {value:?}");
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*", by_helper: bool) {
            let _ = ParsedRecord::parse(&text, by_helper);
            let _ = ParsedRecord::parse(&format!("pam_idle_watchdog({text}"), by_helper);
            let _ = parse(&format!("ended {text}"));
            let _ = parse(&format!("ended user=\"{text}"));
        }
    }
}
