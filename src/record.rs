//! One log entry: an event, then `key=value` fields. No value can look like another field.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};

/// The most items in a list of a record, unless the field needs fewer.
pub const MOST: usize = 20;

/// The most characters of a written value. The socket of a log daemon refuses a whole record if it is too long,
/// and some daemons cut a record after 1 or 2 kB.
const LONGEST: usize = 500;

/// The most bytes of a value in the journal, which shows it as it is. A record with every key at this length still
/// fits into one datagram.
const WHOLE: usize = 2048;

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

impl Severity {
    /// Its number in syslog(3) and in the journal.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
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
        /// The session was open already, and is watched from now on.
        Adopted = "adopted",
        /// Another line of the stack guards the session already.
        Ignored = "ignored",
        /// The user was warned.
        Warned = "warned",
        /// Somebody was active after a warning or a report.
        Resumed = "resumed",
        /// New settings apply.
        Reloaded = "reloaded",
        /// An administrator has put the end off.
        Extended = "extended",
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
        /// The session has closed. If processes are left, the severity is info.
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
            Self::Extended
            | Self::Ending
            | Self::Ended
            | Self::WouldEnd
            | Self::Orphaned
            | Self::Tampering => Severity::Notice,
            Self::Armed | Self::Adopted | Self::Warned | Self::Resumed | Self::Reloaded => Severity::Info,
            Self::Console | Self::Exempt | Self::Skipped => Severity::Info,
            Self::Look | Self::Closed => Severity::Debug,
        }
    }

    /// The number of the event in the journal (MESSAGE_ID), as `journalctl --new-id128` makes one. It never changes,
    /// because scripts search for it, and the catalog in `dist/journal/` explains it.
    #[must_use]
    pub const fn message_id(self) -> u128 {
        match self {
            Self::Armed => 0x6ed5fd4e23f743d499360dc61aac94ca,
            Self::Adopted => 0x82256cd404cb48ec9f12ae1e05c43a6b,
            Self::Ignored => 0x00650d8d32094b619f36dd733f87c1c8,
            Self::Warned => 0xa91d33095fdd432496aef2f201d111ae,
            Self::Resumed => 0xe12e6654d6b64aaaa9319b0670061884,
            Self::Reloaded => 0x745fb02490844f7292202cbdeb5176e3,
            Self::Extended => 0x413bff55f2564d6790b9e7f05b15b09c,
            Self::Ending => 0x245541d2922243a6862afd1b6f0aa4a1,
            Self::Ended => 0x50f4afb16ca04d96b121fff7ff043871,
            Self::WouldEnd => 0xb373b174be474d43aa849660a607192d,
            Self::Orphaned => 0xd02be74cc0a840548ffbf68bf494b252,
            Self::Tampering => 0x31a95d7bed80415aa7507105ca1bd544,
            Self::Error => 0x974edfec195d43888753920666aac99a,
            Self::Unguarded => 0x7fe59abe85234e5d98f47513d687a9ae,
            Self::Console => 0xa24af57722874314987a110cfcca7104,
            Self::Exempt => 0x4e306068b4554d1091ad44195b9dcdc7,
            Self::Skipped => 0x263f430bebff4562b41e470b064dd711,
            Self::Look => 0xf6e8ebdc899d4424bf6dd1feac4b11de,
            Self::Closed => 0x393bf9ad08a2441daad555728de8c85a,
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
        /// What `idle=` is measured by: `terminal`, `connection` or `detached`.
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
        /// The setting `detached=`, in seconds.
        Detached = "detached",
        /// How the session's terminals are found.
        TerminalsBy = "terminals-by",
        /// How the session's processes are found.
        MembersBy = "members-by",
        /// Whether the client's connection tells when the client last sent data.
        Witness = "witness",
        /// Which rights the helper could not give up, and why.
        Unconfined = "unconfined",
        /// `old` if the kernel lacks system calls, so that weaker ways are used.
        Kernel = "kernel",
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
        /// The command names of the processes for which a connection is kept.
        Kept = "kept",
        /// Why a connection is no longer kept.
        KeptUntil = "kept-until",
        /// The command names of the processes that are ended.
        Processes = "processes",
        /// The command names of the processes that are left after the session has closed.
        Left = "left",
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
        /// Why the session is not watched, or was not watched before, or why an administrator did something to it.
        Reason = "reason",
        /// The user as whom the person logged in who asked, or `unset`.
        Requester = "requester",
        /// The audit ID of the session of the person who asked.
        RequesterSes = "requester-ses",
        /// The seconds until the next look.
        Next = "next",
    }
}

/// One record: `event key=value key="two words"`.
#[derive(Clone, Debug)]
pub struct Record {
    severity: Severity,
    event: Event,
    fields: Vec<(Key, String)>,
}

impl Record {
    /// A record of an event, without fields.
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self { severity: event.severity(), event, fields: Vec::new() }
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

    /// The event of the record.
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }

    /// The fields in their order, with the values as they are: neither quoted nor escaped.
    pub fn fields(&self) -> impl Iterator<Item = (Key, &str)> {
        self.fields.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The line that the log shows: the record after a prefix, which is the one of pam_syslog(3). `line` is the
    /// type of the line in the PAM stack, such as `session`.
    #[must_use]
    pub fn line(&self, service: &str, line: &str) -> String {
        let service: String = service.chars().filter(char::is_ascii_graphic).collect();
        format!("pam_idle_watchdog({service}:{line}): {self}")
    }

    /// Adds a field. The name of a user or of a remote host may contain anything, so the line shows the value
    /// quoted and escaped if it is not plain. A value that is too long ends in `...`.
    #[must_use]
    pub fn with(mut self, key: Key, value: impl Display) -> Self {
        let mut value = value.to_string();
        if value.len() > WHOLE {
            let end = (0..=WHOLE).rev().find(|end| value.is_char_boundary(*end));
            value.truncate(end.unwrap_or_default());
            value += "...";
        }
        self.fields.push((key, value));
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
        f.write_str(self.event.name())?;
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        for (key, value) in self.fields() {
            let key = key.name();
            if !value.is_empty() && value.chars().all(plain) && value.len() <= LONGEST {
                write!(f, " {key}={value}")?;
            } else {
                write!(f, " {key}=\"{}\"", escaped(value))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
