//! One log entry: an event, then `key=value` fields. No value can look like another field.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write};

/// The most items in a list of a record, unless the field needs fewer.
pub const MOST: usize = 20;

/// The most characters of a written value. The socket of a log daemon refuses a whole record if it is too long,
/// and some daemons cut a record after 1 or 2 kB.
const LONGEST: usize = 500;

/// A list as a field shows it: the first items, and the number of the others. An empty list has no text.
///
/// A session may have thousands of PIDs, and a record must not become so long.
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

/// The severity of a record, as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something failed, and an administrator must act.
    Error,
    /// An administrator may have meant something else.
    Warning,
    /// A session is ended, or something is odd.
    Notice,
    /// Every other decision.
    Info,
    /// It is written only with the option `debug`.
    Debug,
}

/// Defines an enum whose variants have names in the log. It also makes the list of all variants, so that none
/// is missing.
macro_rules! named {
    ($(#[$doc:meta])* $kind:ident { $($(#[$about:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[$about])* $variant,)* }

        impl $kind {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the log.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// The event of a record: its first word.
    Event {
        /// The session is watched from now on.
        Armed = "armed",
        /// Another line of the stack guards the session already.
        Ignored = "ignored",
        /// The user was warned.
        Warned = "warned",
        /// Somebody was active after a warning or a report.
        Resumed = "resumed",
        /// New settings apply.
        Reloaded = "reloaded",
        /// The end starts.
        Ending = "ending",
        /// The end is finished.
        Ended = "ended",
        /// The limit is reached, and `kill=none` ends nothing.
        WouldEnd = "would-end",
        /// The leader ended without closing the session.
        Orphaned = "orphaned",
        /// A terminal's time stamp was forged.
        Tampering = "tampering",
        /// Something failed.
        Error = "error",
        /// The login goes on although it cannot be guarded.
        Unguarded = "unguarded",
        /// A display server took the session's console, or left it.
        Console = "console",
        /// The session has no limit.
        Exempt = "exempt",
        /// The session is of a kind that is never watched.
        Skipped = "skipped",
        /// One look.
        Look = "look",
        /// The session was closed as usual.
        Closed = "closed",
    }
}

impl Event {
    /// The severity of its records, unless [`Record::at`] changes it.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Error | Self::Unguarded => Severity::Error,
            Self::Ignored => Severity::Warning,
            Self::Ending | Self::Ended | Self::WouldEnd | Self::Orphaned | Self::Tampering => {
                Severity::Notice
            }
            Self::Armed | Self::Warned | Self::Resumed | Self::Reloaded => Severity::Info,
            Self::Console | Self::Exempt | Self::Skipped => Severity::Info,
            Self::Look | Self::Closed => Severity::Debug,
        }
    }
}

named! {
    /// The key of a field `key=value`.
    Key {
        /// The user, as PAM names them.
        User = "user",
        /// The user's ID.
        Uid = "uid",
        /// The client's host.
        Rhost = "rhost",
        /// logind's ID of the session.
        Session = "session",
        /// The audit ID of the session. auditd uses this name for it.
        Ses = "ses",
        /// The terminals.
        Tty = "tty",
        /// How long nobody has been active, in seconds.
        Idle = "idle",
        /// How long somebody was away who came back, in seconds.
        Away = "away",
        /// The limit that applies, in seconds, or `off`.
        Limit = "limit",
        /// What `idle=` is measured by: `terminal` or `connection`.
        By = "by",
        /// The rule of the policy that applies: `file:line`.
        Rule = "rule",
        /// The setting `warn=`, in seconds.
        Warn = "warn",
        /// The setting `grace=`, in seconds.
        Grace = "grace",
        /// The setting `kill=`.
        Kill = "kill",
        /// The setting `activity=`.
        Activity = "activity",
        /// The setting `notty=`, in seconds.
        Notty = "notty",
        /// How the session's terminals are found.
        TerminalsBy = "terminals-by",
        /// How the session's processes are found.
        MembersBy = "members-by",
        /// Whether the client's connection tells when the client last sent data.
        Witness = "witness",
        /// How many seconds remain until the end.
        Remaining = "remaining",
        /// The setting `quiet`: nothing was written on the terminals.
        Quiet = "quiet",
        /// The terminals that did not show the text.
        NotShown = "not-shown",
        /// How many processes are ended.
        Members = "members",
        /// The PIDs that are left alone.
        Spared = "spared",
        /// How many processes got SIGHUP.
        Sighup = "sighup",
        /// How many processes got SIGTERM.
        Sigterm = "sigterm",
        /// How many processes got SIGKILL.
        Sigkill = "sigkill",
        /// How many signals a security module denied.
        Denied = "denied",
        /// How many forged time stamps were not believed.
        Disbelieved = "disbelieved",
        /// Whether a process may have been missed.
        Incomplete = "incomplete",
        /// The PIDs that outlived SIGKILL, or 0.
        Survivors = "survivors",
        /// The command names of the processes that are ended.
        Processes = "processes",
        /// `none` if the processes that the leader left are not ended.
        Action = "action",
        /// What is wrong with a terminal's time stamp.
        Stamp = "stamp",
        /// Whether a doubtful stamp counts as activity.
        Believed = "believed",
        /// How many doubtful stamps will still be believed.
        Credits = "credits",
        /// Whether a display server has the console.
        Graphical = "graphical",
        /// What failed, and why.
        Error = "error",
        /// The word that cannot be read.
        Argument = "argument",
        /// The file with the mistake.
        File = "file",
        /// The line with the mistake.
        Line = "line",
        /// The column with the mistake.
        Column = "column",
        /// The number of mistakes. The record shows the first.
        Faults = "faults",
        /// What guards the session while the policy is broken.
        Fallback = "fallback",
        /// The PID of a helper.
        Helper = "helper",
        /// Why the session is not watched.
        Reason = "reason",
        /// The seconds until the next look.
        Next = "next",
    }
}

/// One record: `event key=value key="two words"`.
#[derive(Clone, Debug)]
pub struct Record {
    severity: Severity,
    text: String,
}

impl Record {
    /// A record of an event, without fields.
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self { severity: event.severity(), text: event.name().to_owned() }
    }

    /// The same record with another severity than its event has.
    #[must_use]
    pub fn at(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The severity of the record.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Adds a field. A value that is not plain is quoted and escaped, because the name of a user or of a remote
    /// host may contain anything. A value that is too long ends in `...`.
    #[must_use]
    pub fn with(mut self, key: Key, value: impl Display) -> Self {
        let (key, value) = (key.name(), value.to_string());
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        let result = if !value.is_empty() && value.chars().all(plain) && value.len() <= LONGEST {
            write!(self.text, " {key}={value}")
        } else {
            write!(self.text, " {key}=\"{}\"", escaped(&value))
        };
        // Writing to a String does not fail.
        debug_assert!(result.is_ok());
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn with_some(self, key: Key, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

/// Foreign text that is safe on a terminal: one line, and no control characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            // These characters are harmless, and the names of Windows domains end with a backslash.
            '\\' | '"' | '\'' => result.push(c),
            c => result.extend(c.escape_debug()),
        }
    }
    result
}

/// A value without control characters, not longer than [`LONGEST`].
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        // An escape is never cut, because half of it would have another meaning.
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
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    #[test]
    fn every_event_and_every_key_has_a_name_of_its_own() {
        let events: BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        let keys: BTreeSet<&str> = Key::ALL.iter().map(|key| key.name()).collect();
        assert_eq!((events.len(), keys.len()), (Event::ALL.len(), Key::ALL.len()));
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(events.iter().chain(&keys).all(plain), "{events:?} {keys:?}");
    }

    #[test]
    fn a_record_matters_as_its_event_does_unless_it_says_otherwise() {
        let record = Record::new(Event::Ended);
        assert_eq!(record.severity(), Severity::Notice);
        let record = record.at(Severity::Error).with(Key::Survivors, 7);
        assert_eq!((record.severity(), record.to_string().as_str()), (Severity::Error, "ended survivors=7"));
    }

    #[test]
    fn plain_values_stay_plain() {
        let record = Record::new(Event::Armed)
            .with(Key::User, "alice")
            .with(Key::Tty, "pts/0,pts/1")
            .with_some(Key::Rhost, None::<u8>);
        assert_eq!(record.to_string(), "armed user=alice tty=pts/0,pts/1");
    }

    #[test]
    fn no_value_passes_for_a_field_or_a_line() {
        let record = Record::new(Event::Armed)
            .with(Key::User, "x uid=0")
            .with(Key::Rhost, "a\nb\"")
            .with(Key::Tty, "");
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
        assert!(Record::new(Event::Ended).with(Key::Survivors, longest).to_string().len() < 300);
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let long = "x".repeat(LONGEST);
        let field = |value: &str| Record::new(Event::Armed).with(Key::Rhost, value).to_string();
        assert_eq!(field(&long), format!("armed rhost={long}"));
        assert_eq!(field(&(long.clone() + "y")), format!("armed rhost=\"{long}...\""));
        // An escape is complete or left out.
        let cut = field(&"\u{10ffff}".repeat(LONGEST));
        assert!(cut.len() < LONGEST + 20 && cut.ends_with(r#"\u{10ffff}...""#), "{cut}");
    }

    proptest! {
        #[test]
        fn what_is_shown_does_nothing_to_a_terminal(text in ".*\n?.*") {
            let shown = shown(&text);
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            // Harmless characters do not change.
            prop_assert_eq!(&super::shown(&shown), &shown);
        }

        #[test]
        fn a_record_is_one_printable_line(value in ".*\n?.*") {
            let text = Record::new(Event::Armed).with(Key::User, value).to_string();
            prop_assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
