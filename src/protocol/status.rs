//! What a watchdog answers when it is asked how its session is.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::policy::Settings;
use crate::protocol::start;
use crate::protocol::words::Words;

/// What a watchdog is doing about its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It watches.
    Watched,
    /// It has warned the person, and nobody was active since.
    Warned,
    /// It is ending the session.
    Ending,
    /// It only reports, because of `kill=none`.
    Reporting,
    /// There is no limit.
    Exempt,
    /// The session has closed, and it stays with what is left, because of `detached=`.
    Detached,
    /// The session has closed, and its last records wait for a log daemon.
    Closed,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Watched,
        Self::Warned,
        Self::Ending,
        Self::Reporting,
        Self::Exempt,
        Self::Detached,
        Self::Closed,
    ];

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Warned => "warned",
            Self::Ending => "ending",
            Self::Reporting => "reporting",
            Self::Exempt => "exempt",
            Self::Detached => "detached",
            Self::Closed => "closed",
        }
    }
}

/// The processes that an end would apply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCount {
    pub count: usize,
    /// Their command names, as in a record.
    pub names: String,
}

/// The facts about a session, as its watchdog sees them. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    /// The names of the first terminals.
    pub terminals: Vec<String>,
    /// How many terminals it has.
    pub terminal_count: usize,
    /// How long nobody has been active.
    pub idle: Duration,
    /// The limit that applies, if there is one.
    pub limit: Option<Duration>,
    /// When the session ends if nobody is active. `None` if it does not end.
    pub ends_in: Option<Duration>,
    /// For how long an administrator has ruled out the end.
    pub extended: Option<Duration>,
    /// What `idle` is measured by, as in a record. `None` if the session is not judged.
    pub by: Option<String>,
    /// Whether the client's connection tells when the client last sent data, as in the record of arming.
    pub witness: String,
    /// How the terminals are found, as in the record of arming.
    pub terminals_by: String,
    /// How the processes are found, as in the record of arming.
    pub members_by: String,
    /// How many doubtful stamps will still be believed.
    pub credits: u8,
    /// How many forged stamps were not believed.
    pub disbelieved: usize,
    /// This is counted only if somebody asks, because it reads all processes.
    pub members: Option<MemberCount>,
    pub settings: Settings,
}

/// The word before the settings, which come last.
const SETTINGS: &str = "settings";

impl Status {
    /// The words of the answer. [`Status::from_words`] reads them back.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, value: &str| words.push(format!("--{name}={value}"));
        add("state", self.state.word());
        self.terminals.iter().for_each(|name| add("tty", name));
        add("ttys", &self.terminal_count.to_string());
        add("idle", &self.idle.as_secs().to_string());
        for (name, time) in [("limit", self.limit), ("ends-in", self.ends_in), ("extended", self.extended)] {
            time.iter().for_each(|time| add(name, &time.as_secs().to_string()));
        }
        self.by.iter().for_each(|by| add("by", by));
        add("witness", &self.witness);
        add("terminals-by", &self.terminals_by);
        add("members-by", &self.members_by);
        add("credits", &self.credits.to_string());
        add("disbelieved", &self.disbelieved.to_string());
        if let Some(MemberCount { count, names }) = &self.members {
            add("members", &count.to_string());
            add("processes", names);
        }
        words.push(SETTINGS.to_owned());
        words.extend(start::settings_args(&self.settings));
        words
    }

    /// Reads what [`Status::to_words`] wrote.
    ///
    /// # Errors
    ///
    /// A word is unknown, malformed, missing or there twice. The error names it.
    pub fn from_words(words: &[&str]) -> Result<Self, String> {
        let at = words.iter().position(|word| *word == SETTINGS);
        let (before, settings) =
            at.and_then(|at| words.split_at_checked(at)).ok_or("settings are missing")?;
        let settings = start::settings(settings.iter().skip(1)).map_err(|e| e.to_string())?;
        let mut words = Words::split(before.iter().copied())?;
        let state = words.text("state")?;
        let state = State::ALL.into_iter().find(|known| known.word() == state);
        let members = match words.maybe("processes") {
            Some(names) => Some(MemberCount { count: words.value("members")?, names }),
            None => None,
        };
        let status = Self {
            state: state.ok_or("the state is unknown")?,
            terminals: words.all("tty"),
            terminal_count: words.value("ttys")?,
            idle: Duration::from_secs(words.value("idle")?),
            limit: words.maybe_seconds("limit")?,
            ends_in: words.maybe_seconds("ends-in")?,
            extended: words.maybe_seconds("extended")?,
            by: words.maybe("by"),
            witness: words.text("witness")?,
            terminals_by: words.text("terminals-by")?,
            members_by: words.text("members-by")?,
            credits: words.value("credits")?,
            disbelieved: words.value("disbelieved")?,
            members,
            settings,
        };
        words.finish()?;
        Ok(status)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::start::tests::all_settings;
    use proptest::option;
    use proptest::prelude::*;

    fn seconds() -> impl Strategy<Value = Duration> {
        (0u64..=u64::MAX).prop_map(Duration::from_secs)
    }

    fn word() -> impl Strategy<Value = String> {
        "[^\0]{0,12}"
    }

    prop_compose! {
        fn counts()(count: usize, names in word()) -> MemberCount {
            MemberCount { count, names }
        }
    }

    prop_compose! {
        pub(crate) fn all_statuses()(
            state in prop::sample::select(&State::ALL[..]),
            terminals in proptest::collection::vec(word(), 0..4),
            numbers: (usize, u8, usize), times in (seconds(), option::of(seconds()), option::of(seconds())),
            extended in option::of(seconds()), by in option::of(word()), words in (word(), word(), word()),
            members in option::of(counts()), settings in all_settings(),
        ) -> Status {
            let (terminal_count, credits, disbelieved) = numbers;
            let (idle, limit, ends_in) = times;
            let (witness, terminals_by, members_by) = words;
            Status {
                state, terminals, terminal_count, idle, limit, ends_in, extended, by, witness, terminals_by,
                members_by, credits, disbelieved, members, settings,
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_watchdog_writes_is_read(status in all_statuses(), at: prop::sample::Index) {
            let words = status.to_words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            prop_assert_eq!(Status::from_words(&words), Ok(status.clone()));
            // A word that is missing or there twice is a mistake, unless it can be left out or repeated.
            let at = at.index(words.iter().position(|word| *word == SETTINGS).unwrap());
            let twice = [&words[..at], &words[at..=at], &words[at..]].concat();
            if !words[at].starts_with("--tty=") {
                prop_assert!(Status::from_words(&twice).is_err(), "{twice:?}");
            }
            let without = [&words[..at], &words[at + 1..]].concat();
            if let Ok(read) = Status::from_words(&without) {
                prop_assert_ne!(read, status);
            }
        }
    }
}
