//! What holds for one session.

use std::time::Duration;

use super::message::Message;
use super::options::{Words, Written};

/// The limit where nobody sets one.
pub const LIMIT_DEFAULT: Duration = Duration::from_secs(15 * 60);
const WARN_DEFAULT: Duration = Duration::from_secs(60);
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Whom the end applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kill {
    /// Every member of the session.
    #[default]
    Session,
    /// The connection and what sits on its terminals; detached work lives on.
    Tty,
    /// The leader and its connection.
    Connection,
    /// Nobody: record who would have been ended.
    None,
}

impl Kill {
    const ALL: [Self; 4] = [Self::Session, Self::Tty, Self::Connection, Self::None];

    /// The word an administrator writes for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Tty => "tty",
            Self::Connection => "connection",
            Self::None => "none",
        }
    }

    /// The kind a word names, if any.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// What a login gets that could not be guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is refused.
    #[default]
    Fail,
    /// It goes on, unguarded and on record.
    Succeed,
}

impl OnError {
    /// The word an administrator writes for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Succeed => "succeed",
        }
    }

    /// What a word names, if anything.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Fail, Self::Succeed].into_iter().find(|kind| kind.word() == word)
    }
}

/// What counts as activity beside input, which always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Whatever is written on the terminals.
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

    /// The word an administrator writes for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match (self.output, self.cpu) {
            (false, false) => "input",
            (true, false) => "input,output",
            (false, true) => "input,cpu",
            (true, true) => "input,output,cpu",
        }
    }

    /// What a word names, if anything. The order of its parts is free.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let mut parts: Vec<&str> = word.split(',').collect();
        // As `word` has them: input, output, cpu.
        parts.sort_by_key(|part| ["input", "output", "cpu"].iter().position(|known| known == part));
        let sorted = parts.join(",");
        Self::ALL.into_iter().find(|kind| kind.word() == sorted)
    }
}

/// What holds for one session. Every value is in range and fits the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the session may be idle; `None` (`timeout=off`) exempts it.
    pub limit: Option<Duration>,
    /// How long before the end the person is warned, the longest first; all shorter than the limit.
    pub warn: Vec<Duration>,
    /// How long members have between the request to leave and SIGKILL.
    pub grace: Duration,
    /// Whom the end applies to.
    pub kill: Kill,
    /// What counts as activity.
    pub activity: Counted,
    /// How long a session without a terminal may be silent; `None` is for ever.
    pub notty: Option<Duration>,
    /// The warning's text, where it is not the built-in one.
    pub message: Option<Message>,
    /// What a login gets that could not be guarded.
    pub on_error: OnError,
    /// Write nothing on the terminals. Records are written all the same.
    pub quiet: bool,
    /// Log every look, at LOG_DEBUG.
    pub debug: bool,
}

/// Who set a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the built-in default.
    Default,
    /// The PAM line.
    Line,
    /// The rule of the policy.
    Rule,
}

impl Settings {
    /// What a PAM line and a rule, which goes first, set between them.
    ///
    /// A warning that is too long for a limit of another origin is left out; where none is left, half
    /// the limit takes its place.
    #[must_use]
    pub fn of(line: &Words, rule: Option<&Words>) -> Self {
        let of = Layers { line, rule };
        let limit = of.value(|words| &words.limit).unwrap_or(Some(LIMIT_DEFAULT));
        Self {
            limit,
            warn: fitting(of.value(|words| &words.warn), limit),
            grace: of.value(|words| &words.grace).unwrap_or(GRACE_DEFAULT),
            kill: of.value(|words| &words.kill).unwrap_or_default(),
            activity: of.value(|words| &words.activity).unwrap_or_default(),
            notty: of.value(|words| &words.notty).unwrap_or_default(),
            message: of.value(|words| &words.message),
            on_error: of.value(|words| &words.on_error).unwrap_or_default(),
            quiet: of.value(|words| &words.quiet).unwrap_or_default(),
            debug: of.value(|words| &words.debug).unwrap_or_default(),
        }
    }

    /// Who set each setting, by the word's name without `=`.
    #[must_use]
    pub fn origins(line: &Words, rule: Option<&Words>) -> Vec<(&'static str, Origin)> {
        let of = Layers { line, rule };
        vec![
            ("timeout", of.origin(|words| &words.limit)),
            ("warn", of.origin(|words| &words.warn)),
            ("grace", of.origin(|words| &words.grace)),
            ("kill", of.origin(|words| &words.kill)),
            ("activity", of.origin(|words| &words.activity)),
            ("notty", of.origin(|words| &words.notty)),
            ("message", of.origin(|words| &words.message)),
            ("onerr", of.origin(|words| &words.on_error)),
            ("quiet", of.origin(|words| &words.quiet)),
            ("debug", of.origin(|words| &words.debug)),
        ]
    }
}

/// The words of a rule over those of a PAM line.
struct Layers<'a> {
    line: &'a Words,
    rule: Option<&'a Words>,
}

impl<'a> Layers<'a> {
    fn value<T: Clone + 'a>(&self, field: impl Fn(&'a Words) -> &'a Written<T>) -> Option<T> {
        let written = self.rule.and_then(|rule| field(rule).as_ref()).or_else(|| field(self.line).as_ref());
        written.map(|(value, _)| value.clone())
    }

    fn origin<T: 'a>(&self, field: impl Fn(&'a Words) -> &'a Written<T>) -> Origin {
        if self.rule.is_some_and(|rule| field(rule).is_some()) {
            Origin::Rule
        } else if field(self.line).is_some() {
            Origin::Line
        } else {
            Origin::Default
        }
    }
}

/// The warnings that fit a limit, of those that somebody set.
fn fitting(warn: Option<Vec<Duration>>, limit: Option<Duration>) -> Vec<Duration> {
    let half = limit.map_or(WARN_DEFAULT, |limit| limit / 2);
    let Some(mut warn) = warn else { return vec![WARN_DEFAULT.min(half)] };
    if warn.is_empty() {
        return warn;
    }
    warn.retain(|warn| limit.is_none_or(|limit| *warn < limit));
    if warn.is_empty() {
        warn.push(half);
    }
    warn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Settings {
        Settings::of(&Words::of_line(line.split_whitespace()).unwrap(), None)
    }

    fn over(rule: &str, line: &str) -> Settings {
        let words = |text: &str| {
            let mut words = Words::default();
            text.split_whitespace().for_each(|word| words.set(word).unwrap());
            words
        };
        Settings::of(&words(line), Some(&words(rule)))
    }

    fn seconds(list: &[Duration]) -> Vec<u64> {
        list.iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn an_empty_line_means_the_documented_defaults() {
        let s = read("");
        assert_eq!(s.limit, Some(Duration::from_secs(900)));
        assert_eq!(seconds(&s.warn), [60]);
        assert_eq!(s.grace, Duration::from_secs(10));
        assert_eq!((s.kill, s.on_error), (Kill::Session, OnError::Fail));
        assert_eq!((s.activity, s.notty, s.message), (Counted::default(), None, None));
        assert!(!s.quiet && !s.debug);
    }

    #[test]
    fn the_default_warning_is_half_of_a_short_limit() {
        assert_eq!(seconds(&read("timeout=30s").warn), [15]);
        assert_eq!(seconds(&read("timeout=2m").warn), [60]);
        assert_eq!(read("timeout=11").warn, [Duration::from_millis(5500)]);
    }

    #[test]
    fn a_written_warning_stays_as_it_is() {
        assert_eq!(seconds(&read("timeout=90s warn=80s").warn), [80]);
        assert_eq!(seconds(&read("timeout=90s warn=60s").warn), [60]);
        assert_eq!(seconds(&read("warn=30s,5m,60").warn), [300, 60, 30]);
    }

    #[test]
    fn off_is_a_value_where_it_makes_sense() {
        assert_eq!(read("timeout=off warn=2h").limit, None);
        assert!(read("warn=off").warn.is_empty());
        assert!(read("warn=0s").warn.is_empty());
        assert_eq!(read("grace=off").grace, Duration::ZERO);
        assert_eq!(read("grace=0").grace, Duration::ZERO);
        assert_eq!(read("notty=ignore").notty, None);
    }

    #[test]
    fn a_rule_goes_before_the_line_and_the_line_before_the_default() {
        let s = over("timeout=10m quiet", "timeout=1h grace=3s kill=tty");
        assert_eq!((s.limit, s.grace), (Some(Duration::from_secs(600)), Duration::from_secs(3)));
        assert_eq!((s.kill, s.quiet, s.debug), (Kill::Tty, true, false));
    }

    #[test]
    fn a_warning_that_does_not_fit_anothers_limit_is_shortened() {
        assert_eq!(seconds(&over("timeout=1m", "timeout=1h warn=10m,30s").warn), [30]);
        assert_eq!(seconds(&over("timeout=1m", "timeout=1h warn=10m").warn), [30]);
        assert_eq!(seconds(&over("warn=20m", "timeout=10m").warn), [300]);
        assert!(over("timeout=1m", "warn=off").warn.is_empty());
    }

    #[test]
    fn the_parts_of_activity_come_in_any_order_and_input_is_one() {
        assert_eq!(Counted::from_word("cpu,input"), Some(Counted { output: false, cpu: true }));
        assert_eq!(Counted::from_word("input,output,cpu"), Some(Counted { output: true, cpu: true }));
        for word in ["cpu", "output", "", "input,", "input,input", "input,disk", "Input"] {
            assert_eq!(Counted::from_word(word), None, "{word}");
        }
    }
}
