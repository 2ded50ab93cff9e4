//! The settings of one session, and the words that set them.

use std::time::Duration;

use super::duration;

/// Bounds of the limit (design: 10 s to 365 d). Below 10 s the kernel's 8-second stamps say too little.
const LIMIT_MIN: Duration = Duration::from_secs(10);
const LIMIT_MAX: Duration = Duration::from_secs(365 * 86_400);
const LIMIT_DEFAULT: Duration = Duration::from_secs(15 * 60);
const WARN_DEFAULT: Duration = Duration::from_secs(60);
const GRACE_MAX: Duration = Duration::from_secs(5 * 60);
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Whom the end applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kill {
    /// Every member of the session.
    #[default]
    Session,
    /// The connection and what sits on its terminals; detached work lives on.
    Tty,
    /// The leader alone.
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

/// What holds for one session. Every value is in range and fits the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the session may be idle; `None` (`timeout=off`) exempts it.
    pub limit: Option<Duration>,
    /// How long before the end the person is warned; shorter than the limit; zero is no warning.
    pub warn: Duration,
    /// How long members have between the request to leave and SIGKILL.
    pub grace: Duration,
    /// Whom the end applies to.
    pub kill: Kill,
    /// What a login gets that could not be guarded.
    pub on_error: OnError,
    /// Write nothing on the terminals. Records are written all the same.
    pub quiet: bool,
    /// Log every look, at LOG_DEBUG.
    pub debug: bool,
}

/// A word the line cannot be read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWord {
    /// The word as it was written.
    pub word: String,
    /// What is wrong with it, and what was expected.
    pub problem: String,
    /// What the rest of the line says about a login that cannot be guarded.
    pub on_error: OnError,
}

/// A setting's value and the word that set it.
type Written<T> = Option<(T, String)>;

/// The line as far as it has been read.
#[derive(Default)]
struct Draft {
    limit: Written<Option<Duration>>,
    warn: Written<Duration>,
    grace: Written<Duration>,
    kill: Written<Kill>,
    on_error: Written<OnError>,
    quiet: Written<bool>,
    debug: Written<bool>,
}

impl Settings {
    /// Reads the words of a PAM line.
    ///
    /// # Errors
    ///
    /// The first word that is unknown, malformed, repeated, out of range or at odds with another.
    /// Nothing of the line holds then but its `onerr=`.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, BadWord> {
        let mut draft = Draft::default();
        let mut first: Option<(String, String)> = None;
        for word in words {
            if let Err(problem) = draft.set(word) {
                first.get_or_insert((word.to_owned(), problem));
            }
        }
        let on_error = draft.on_error.as_ref().map(|(v, _)| *v).unwrap_or_default();
        match first {
            Some(bad) => Err(bad),
            None => draft.finish(),
        }
        .map_err(|(word, problem)| BadWord { word, problem, on_error })
    }
}

impl Draft {
    fn set(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("timeout", Some(text)) => write_once(&mut self.limit, word, limit(text)?),
            ("warn", Some(text)) => write_once(&mut self.warn, word, span(text)?),
            ("grace", Some(text)) => write_once(&mut self.grace, word, grace(text)?),
            ("kill", Some(text)) => write_once(&mut self.kill, word, kill(text)?),
            ("onerr", Some(text)) => write_once(&mut self.on_error, word, on_error(text)?),
            ("quiet", None) => write_once(&mut self.quiet, word, true),
            ("debug", None) => write_once(&mut self.debug, word, true),
            ("timeout" | "warn" | "grace" | "kill" | "onerr", None) => Err(format!("expected {key}=VALUE")),
            ("quiet" | "debug", Some(_)) => Err(format!("{key} takes no value")),
            _ => Err("unknown; expected one of timeout= warn= grace= kill= onerr= quiet debug".to_owned()),
        }
    }

    /// Fills in the defaults and checks the values against each other.
    fn finish(self) -> Result<Settings, (String, String)> {
        let limit = self.limit.map_or(Some(LIMIT_DEFAULT), |(v, _)| v);
        let warn = match (self.warn, limit) {
            (Some((warn, word)), Some(limit)) if warn >= limit => {
                let limit = duration::print(limit);
                return Err((word, format!("the warning must be shorter than the limit, {limit}")));
            }
            (Some((warn, _)), _) => warn,
            (None, Some(limit)) => WARN_DEFAULT.min(limit / 2),
            (None, None) => WARN_DEFAULT,
        };
        Ok(Settings {
            limit,
            warn,
            grace: self.grace.map_or(GRACE_DEFAULT, |(v, _)| v),
            kill: self.kill.map(|(v, _)| v).unwrap_or_default(),
            on_error: self.on_error.map(|(v, _)| v).unwrap_or_default(),
            quiet: self.quiet.is_some(),
            debug: self.debug.is_some(),
        })
    }
}

fn write_once<T>(slot: &mut Written<T>, word: &str, value: T) -> Result<(), String> {
    if let Some((_, earlier)) = slot {
        return Err(format!("already set by \"{}\"", earlier.escape_debug()));
    }
    *slot = Some((value, word.to_owned()));
    Ok(())
}

fn limit(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    let limit = whole(text)?;
    if limit < LIMIT_MIN || limit > LIMIT_MAX {
        return Err("out of range, expected 10s to 365d, or off".to_owned());
    }
    Ok(Some(limit))
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = span(text)?;
    if grace > GRACE_MAX {
        return Err("out of range, expected at most 5m".to_owned());
    }
    Ok(grace)
}

/// A duration that may be none at all.
fn span(text: &str) -> Result<Duration, String> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    whole(text)
}

fn whole(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| "not a duration, expected such as 90, 90s, 15m, 1h30m or off".to_owned())
}

fn kill(text: &str) -> Result<Kill, String> {
    Kill::from_word(text).ok_or_else(|| "expected session, tty, connection or none".to_owned())
}

fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "fail" => Ok(OnError::Fail),
        "succeed" => Ok(OnError::Succeed),
        _ => Err("expected fail or succeed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Settings, BadWord> {
        Settings::from_words(line.split_whitespace())
    }

    fn bad(line: &str) -> BadWord {
        read(line).expect_err(line)
    }

    #[test]
    fn an_empty_line_means_the_documented_defaults() {
        let s = read("").unwrap();
        assert_eq!(s.limit, Some(Duration::from_secs(900)));
        assert_eq!(s.warn, Duration::from_secs(60));
        assert_eq!(s.grace, Duration::from_secs(10));
        assert_eq!((s.kill, s.on_error), (Kill::Session, OnError::Fail));
        assert!(!s.quiet && !s.debug);
    }

    #[test]
    fn the_default_warning_is_half_of_a_short_limit() {
        assert_eq!(read("timeout=30s").unwrap().warn, Duration::from_secs(15));
        assert_eq!(read("timeout=2m").unwrap().warn, Duration::from_secs(60));
        assert_eq!(read("timeout=11").unwrap().warn, Duration::from_millis(5500));
    }

    #[test]
    fn a_bad_word_is_named_exactly() {
        for (line, word) in [
            ("timeout=15m timeot=5m", "timeot=5m"),
            ("timeout=9s", "timeout=9s"),
            ("timeout=366d", "timeout=366d"),
            ("timeout=", "timeout="),
            ("timeout", "timeout"),
            ("timeout=0", "timeout=0"),
            ("warn=1x", "warn=1x"),
            ("timeout=1m warn=1m", "warn=1m"),
            ("warn=15m", "warn=15m"),
            ("grace=301", "grace=301"),
            ("kill=all", "kill=all"),
            ("onerr=ignore", "onerr=ignore"),
            ("quiet=yes", "quiet=yes"),
            ("debug quiet debug", "debug"),
            ("timeout=5m warn=1m timeout=5m", "timeout=5m"),
            ("TIMEOUT=5m", "TIMEOUT=5m"),
        ] {
            assert_eq!(bad(line).word, word, "{line}");
        }
    }

    #[test]
    fn onerr_holds_though_another_word_is_bad() {
        assert_eq!(bad("bogus onerr=succeed").on_error, OnError::Succeed);
        assert_eq!(bad("onerr=succeed bogus").on_error, OnError::Succeed);
        assert_eq!(bad("bogus").on_error, OnError::Fail);
        assert_eq!(bad("onerr=succed").on_error, OnError::Fail);
    }

    #[test]
    fn off_is_a_value_where_it_makes_sense() {
        assert_eq!(read("timeout=off warn=2h").unwrap().limit, None);
        assert_eq!(read("warn=off").unwrap().warn, Duration::ZERO);
        assert_eq!(read("grace=off").unwrap().grace, Duration::ZERO);
        assert_eq!(read("grace=0").unwrap().grace, Duration::ZERO);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_in_range(words in proptest::collection::vec(
            "(timeout|warn|grace|kill|onerr|quiet|debug)?=?([0-9]{1,6}[dhms]?|off|tty|fail)?", 0..5)) {
            if let Ok(s) = Settings::from_words(words.iter().map(String::as_str)) {
                if let Some(limit) = s.limit {
                    prop_assert!(limit >= LIMIT_MIN && limit <= LIMIT_MAX);
                    prop_assert!(s.warn < limit);
                }
                prop_assert!(s.grace <= GRACE_MAX);
            }
        }

        #[test]
        fn no_line_makes_it_panic(words in proptest::collection::vec(".*", 0..6)) {
            let _ = Settings::from_words(words.iter().map(String::as_str));
        }
    }
}
