//! The settings that apply to one session.

use std::path::PathBuf;
use std::time::Duration;

use super::message::Template;
use super::place::RulePlace;

/// Which processes are ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kill {
    /// Every member of the session.
    #[default]
    Session,
    /// The connection and the processes on its terminals. Detached processes keep running.
    Tty,
    /// The processes on the terminals. The connection ends when no command without a terminal works on it.
    Terminal,
    /// The leader and its connection.
    Connection,
    /// No process. A record says which processes would have been ended.
    None,
}

impl Kill {
    const ALL: [Self; 5] = [Self::Session, Self::Tty, Self::Terminal, Self::Connection, Self::None];

    /// The word for it in an option.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Tty => "tty",
            Self::Terminal => "terminal",
            Self::Connection => "connection",
            Self::None => "none",
        }
    }

    /// Reads the word of an option.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// What the person is told at login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Announcement {
    /// Nothing.
    #[default]
    Off,
    /// When the session ends, in the built-in words.
    BuiltIn,
    /// The administrator's own text.
    Own(Template),
}

/// What happens to a login that cannot be guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The login is refused.
    #[default]
    Fail,
    /// The login goes on without a watchdog, and a record says so.
    Succeed,
}

impl OnError {
    /// The word for it in an option.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Succeed => "succeed",
        }
    }

    /// Reads the word of an option.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Fail, Self::Succeed].into_iter().find(|kind| kind.word() == word)
    }
}

/// What counts as activity in addition to input, which always counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Output on the terminals.
    pub output: bool,
    /// Processor time of the terminals' foreground jobs.
    pub cpu: bool,
}

impl Counted {
    const ALL: [Self; 4] = [
        Self { output: false, cpu: false },
        Self { output: true, cpu: false },
        Self { output: false, cpu: true },
        Self { output: true, cpu: true },
    ];

    /// The word for it in an option.
    #[must_use]
    pub fn word(self) -> &'static str {
        match (self.output, self.cpu) {
            (false, false) => "input",
            (true, false) => "input,output",
            (false, true) => "input,cpu",
            (true, true) => "input,output,cpu",
        }
    }

    /// Reads the word of an option. Its parts may have any order.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let mut parts: Vec<&str> = word.split(',').collect();
        // This is the order of `word`: input, output, cpu.
        parts.sort_by_key(|part| ["input", "output", "cpu"].iter().position(|known| known == part));
        let sorted = parts.join(",");
        Self::ALL.into_iter().find(|kind| kind.word() == sorted)
    }
}

/// The settings of one session. Every value is in range, and the values fit together.
///
/// Each field belongs to one entry of [`super::table::OPTIONS`], except for `rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the session may be idle. `None` (`timeout=off`) exempts the session.
    pub limit: Option<Duration>,
    /// How long before the end each warning comes, the longest time first. Each is shorter than the limit.
    pub warn: Vec<Duration>,
    /// The time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Which processes are ended.
    pub kill: Kill,
    /// What counts as activity.
    pub activity: Counted,
    /// How long a session without a terminal may be silent. `None` means forever.
    pub notty: Option<Duration>,
    /// How long the terminals that a logout leaves behind may be idle. `None` means forever.
    pub detached: Option<Duration>,
    /// The text of the warning. `None` means the built-in text.
    pub message: Option<Template>,
    /// The file with the text of the warning.
    pub message_file: Option<PathBuf>,
    /// What the person is told at login.
    pub announce: Announcement,
    /// What happens to a login that cannot be guarded.
    pub on_error: OnError,
    /// The policy file that the PAM line names.
    pub conf: Option<PathBuf>,
    /// Nothing is written to the terminals. There are still records.
    pub quiet: bool,
    /// Each look is logged, at LOG_DEBUG.
    pub debug: bool,
    /// The rule that applies. `None` means that only the PAM line applies.
    pub rule: Option<RulePlace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: Some(Duration::from_secs(15 * 60)),
            warn: vec![WARN_DEFAULT],
            grace: Duration::from_secs(10),
            kill: Kill::default(),
            activity: Counted::default(),
            notty: None,
            detached: None,
            message: None,
            message_file: None,
            announce: Announcement::default(),
            on_error: OnError::default(),
            conf: None,
            quiet: false,
            debug: false,
            rule: None,
        }
    }
}

/// The default warning, if the limit is long enough.
pub const WARN_DEFAULT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_activity_come_in_any_order_and_input_is_one() {
        assert_eq!(Counted::from_word("cpu,input"), Some(Counted { output: false, cpu: true }));
        assert_eq!(Counted::from_word("input,output,cpu"), Some(Counted { output: true, cpu: true }));
        for word in ["cpu", "output", "", "input,", "input,input", "input,disk", "Input"] {
            assert_eq!(Counted::from_word(word), None, "{word}");
        }
    }
}
