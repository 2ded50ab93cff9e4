//! The words of a PAM line or of a rule, each read and checked by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::message::{Message, Template};
use super::settings::{Counted, Kill, LIMIT_DEFAULT, OnError};

/// Bounds of the limit. Below 10 s the kernel's 8-second stamps say too little.
const LIMIT_MIN: Duration = Duration::from_secs(10);
const LIMIT_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The kernel counts a connection's silence in milliseconds, and begins again at 0 after 49 days.
const NOTTY_MAX: Duration = Duration::from_secs(30 * 86_400);
const GRACE_MAX: Duration = Duration::from_secs(5 * 60);
/// More warnings than anybody reads.
const WARNINGS_MAX: usize = 8;

/// A setting's value and the word that set it, if one did.
pub type Written<T> = Option<(T, String)>;

/// What one PAM line or one rule sets. What it does not set is somebody else's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `timeout=`
    pub limit: Written<Option<Duration>>,
    /// `warn=`, the longest first.
    pub warn: Written<Vec<Duration>>,
    /// `grace=`
    pub grace: Written<Duration>,
    /// `kill=`
    pub kill: Written<Kill>,
    /// `activity=`
    pub activity: Written<Counted>,
    /// `notty=`
    pub notty: Written<Option<Duration>>,
    /// `message=` or `message-file=`
    pub message: Written<Message>,
    /// `onerr=`
    pub on_error: Written<OnError>,
    /// `conf=`, of the PAM line alone.
    pub conf: Written<PathBuf>,
    /// `quiet`
    pub quiet: Written<bool>,
    /// `debug`
    pub debug: Written<bool>,
}

/// A word that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWord {
    /// The word as it was written.
    pub word: String,
    /// What is wrong with it, and what was expected.
    pub problem: String,
    /// What the rest of the line says about a login that cannot be guarded.
    pub on_error: OnError,
}

impl Words {
    /// Reads the words of a PAM line.
    ///
    /// # Errors
    ///
    /// The first word that is unknown, malformed, repeated, out of range or at odds with another.
    /// Nothing of the line holds then but its `onerr=`.
    pub fn of_line<'a>(line: impl IntoIterator<Item = &'a str>) -> Result<Self, BadWord> {
        let mut words = Self::default();
        let mut first: Option<(String, String)> = None;
        for word in line {
            if let Err(problem) = words.set(word) {
                first.get_or_insert((word.to_owned(), problem));
            }
        }
        let limit = words.limit.as_ref().map_or(Some(LIMIT_DEFAULT), |(limit, _)| *limit);
        match first.map_or_else(|| words.warns_in_time(limit), Err) {
            Ok(()) => Ok(words),
            Err((word, problem)) => {
                let on_error = words.on_error.map(|(v, _)| v).unwrap_or_default();
                Err(BadWord { word, problem, on_error })
            }
        }
    }

    /// Takes one more word.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what was expected. It holds nothing then.
    pub fn set(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("timeout", Some(text)) => once(&mut self.limit, word, limit(text)?),
            ("warn", Some(text)) => once(&mut self.warn, word, warnings(text)?),
            ("grace", Some(text)) => once(&mut self.grace, word, grace(text)?),
            ("kill", Some(text)) => once(&mut self.kill, word, kill(text)?),
            ("activity", Some(text)) => once(&mut self.activity, word, activity(text)?),
            ("notty", Some(text)) => once(&mut self.notty, word, notty(text)?),
            ("message", Some(text)) => once(&mut self.message, word, Message::Text(Template::parse(text)?)),
            ("message-file", Some(text)) => once(&mut self.message, word, Message::File(path(text)?)),
            ("onerr", Some(text)) => once(&mut self.on_error, word, on_error(text)?),
            ("conf", Some(text)) => once(&mut self.conf, word, path(text)?),
            ("quiet", None) => once(&mut self.quiet, word, true),
            ("debug", None) => once(&mut self.debug, word, true),
            (
                "timeout" | "warn" | "grace" | "kill" | "activity" | "notty" | "message" | "message-file"
                | "onerr" | "conf",
                None,
            ) => Err(format!("expected {key}=VALUE")),
            ("quiet" | "debug", Some(_)) => Err(format!("{key} takes no value")),
            (_, None) if matches!(self.message, Some((Message::Text(_), _))) => {
                Err("unknown; a text with blanks stands in [brackets] on the PAM line, in a policy in \"quotation marks\""
                    .to_owned())
            }
            _ => Err("unknown; expected one of timeout= warn= grace= kill= activity= notty= message= \
                      message-file= onerr= conf= quiet debug"
                .to_owned()),
        }
    }

    /// Whether every warning comes before the end, for a limit: `None` is none.
    ///
    /// # Errors
    ///
    /// The word that is at odds with the limit, and why.
    pub fn warns_in_time(&self, limit: Option<Duration>) -> Result<(), (String, String)> {
        match (&self.warn, limit) {
            (Some((warn, word)), Some(limit)) if warn.first().is_some_and(|warn| *warn >= limit) => {
                let limit = duration::print(limit);
                Err((word.clone(), format!("the warning must be shorter than the limit, {limit}")))
            }
            _ => Ok(()),
        }
    }

    /// The policy that `conf=` names.
    #[must_use]
    pub fn conf_path(&self) -> Option<&Path> {
        self.conf.as_ref().map(|(path, _)| path.as_path())
    }

    /// The words, in an order of their own. Read again they say the same.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        fn word<T>(written: &Written<T>) -> Option<String> {
            written.as_ref().map(|(_, word)| word.clone())
        }
        let Self { limit, warn, grace, kill, activity, notty, message, on_error, conf, quiet, debug } = self;
        [
            word(limit),
            word(warn),
            word(grace),
            word(kill),
            word(activity),
            word(notty),
            word(message),
            word(on_error),
            word(conf),
            word(quiet),
            word(debug),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn once<T>(slot: &mut Written<T>, word: &str, value: T) -> Result<(), String> {
    if let Some((_, earlier)) = slot {
        return Err(format!("already set by \"{}\"", earlier.escape_debug()));
    }
    *slot = Some((value, word.to_owned()));
    Ok(())
}

fn limit(text: &str) -> Result<Option<Duration>, String> {
    in_range(text, LIMIT_MAX, "off")
}

/// No shorter than what a limit may be: it is one.
fn notty(text: &str) -> Result<Option<Duration>, String> {
    in_range(text, NOTTY_MAX, "ignore")
}

fn in_range(text: &str, most: Duration, none: &str) -> Result<Option<Duration>, String> {
    if text == none {
        return Ok(None);
    }
    let limit = whole(text, none)?;
    if limit < LIMIT_MIN || limit > most {
        return Err(format!("out of range, expected 10s to {}, or {none}", duration::print(most)));
    }
    Ok(Some(limit))
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = if text == "off" { Duration::ZERO } else { whole(text, "off")? };
    if grace > GRACE_MAX {
        return Err("out of range, expected at most 5m".to_owned());
    }
    Ok(grace)
}

/// How long before the end somebody is warned, once or several times.
fn warnings(text: &str) -> Result<Vec<Duration>, String> {
    if matches!(text, "off" | "0") {
        return Ok(Vec::new());
    }
    let mut list = text.split(',').map(|part| whole(part, "off")).collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable_by(|a, b| b.cmp(a));
    if list.last().is_some_and(Duration::is_zero) {
        // `0s` alone has always been none.
        return if list.len() == 1 { Ok(Vec::new()) } else { Err("no warning comes at the end".to_owned()) };
    }
    if list.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err("the same warning twice".to_owned());
    }
    if list.len() > WARNINGS_MAX {
        return Err(format!("too many, expected at most {WARNINGS_MAX}"));
    }
    Ok(list)
}

fn whole(text: &str, none: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| format!("not a duration, expected such as 90, 90s, 15m, 1h30m or {none}"))
}

fn kill(text: &str) -> Result<Kill, String> {
    Kill::from_word(text).ok_or_else(|| "expected session, tty, connection or none".to_owned())
}

fn activity(text: &str) -> Result<Counted, String> {
    Counted::from_word(text)
        .ok_or_else(|| "expected input, and after it output or cpu or both, separated by commas".to_owned())
}

fn on_error(text: &str) -> Result<OnError, String> {
    OnError::from_word(text).ok_or_else(|| "expected fail or succeed".to_owned())
}

fn path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err("expected an absolute path".to_owned());
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bad(line: &str) -> BadWord {
        Words::of_line(line.split_whitespace()).expect_err(line)
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
            ("timeout=2m warn=30s,2m", "warn=30s,2m"),
            ("warn=30s,", "warn=30s,"),
            ("warn=30s,30", "warn=30s,30"),
            ("warn=30s,0", "warn=30s,0"),
            ("warn=1,2,3,4,5,6,7,8,9", "warn=1,2,3,4,5,6,7,8,9"),
            ("warn=15m", "warn=15m"),
            ("grace=301", "grace=301"),
            ("kill=all", "kill=all"),
            ("activity=output", "activity=output"),
            ("activity=input,input", "activity=input,input"),
            ("activity=", "activity="),
            ("notty=off", "notty=off"),
            ("notty=5s", "notty=5s"),
            ("notty=31d", "notty=31d"),
            ("message={nobody}", "message={nobody}"),
            ("message=x message-file=/x", "message-file=/x"),
            ("message-file=x", "message-file=x"),
            ("conf=x", "conf=x"),
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
    fn a_text_that_was_cut_at_its_blanks_is_told_as_that() {
        assert!(bad("message=Press Enter").problem.contains("[brackets]"));
        assert!(bad("message=Press timeot=5m").problem.contains("one of timeout="));
        assert!(bad("Press Enter").problem.contains("one of timeout="));
    }

    #[test]
    fn onerr_holds_though_another_word_is_bad() {
        assert_eq!(bad("bogus onerr=succeed").on_error, OnError::Succeed);
        assert_eq!(bad("onerr=succeed bogus").on_error, OnError::Succeed);
        assert_eq!(bad("bogus").on_error, OnError::Fail);
        assert_eq!(bad("onerr=succed").on_error, OnError::Fail);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_in_range(words in proptest::collection::vec(
            "(timeout|warn|grace|kill|notty|onerr|quiet|debug)?=?([0-9]{1,6}[dhms]?|off|tty|fail)?", 0..5)) {
            if let Ok(words) = Words::of_line(words.iter().map(String::as_str)) {
                for limit in [words.limit, words.notty].into_iter().flatten().filter_map(|(limit, _)| limit) {
                    prop_assert!(limit >= LIMIT_MIN && limit <= LIMIT_MAX);
                }
                prop_assert!(words.grace.is_none_or(|(grace, _)| grace <= GRACE_MAX));
            }
        }

        #[test]
        fn no_line_makes_it_panic(words in proptest::collection::vec(".*", 0..6)) {
            let _ = Words::of_line(words.iter().map(String::as_str));
        }

        #[test]
        fn written_and_read_again_a_line_says_the_same(words in proptest::collection::vec(
            "(timeout|warn|grace|kill|activity|notty|message|onerr|quiet|debug)(=([1-9][0-9][ms]|input,cpu|tty|fail|\\{user\\} é))?", 0..5)) {
            if let Ok(read) = Words::of_line(words.iter().map(String::as_str)) {
                let again = read.to_words();
                prop_assert_eq!(Words::of_line(again.iter().map(String::as_str)), Ok(read));
            }
        }
    }
}
