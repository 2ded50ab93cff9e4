//! Settings as they are written: the options of a PAM line, of a rule, and of the helper's command line.

use std::collections::BTreeMap;
use std::path::Path;

use super::duration;
use super::settings::{Announcement, OnError, Settings};
use super::table::{OPTIONS, OptionSpec, SWITCH_OR_TEXT, Within};

/// The options of one PAM line or of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The values of the written options. All other settings have their defaults.
    values: Settings,
    /// The options as they were written, by their places in the table.
    words: BTreeMap<usize, String>,
}

/// An option that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption {
    /// The option as it was written.
    pub word: String,
    /// What is wrong with the option, and what was expected.
    pub problem: String,
    /// What the rest of the line sets for a login that cannot be guarded.
    pub on_error: OnError,
}

impl Options {
    /// Reads the options of a PAM line.
    ///
    /// # Errors
    ///
    /// The first option that is unknown, malformed, repeated, out of range or contradicts another. Then no part
    /// of the line applies, except its `onerr=`.
    pub fn of_line<'a>(line: impl IntoIterator<Item = &'a str>) -> Result<Self, BadOption> {
        let mut options = Self::default();
        let mut first: Option<(String, String)> = None;
        for word in line {
            if let Err(problem) = options.set(word, Within::Line) {
                first.get_or_insert((word.to_owned(), problem));
            }
        }
        match first.map_or_else(|| options.warns_in_time(), Err) {
            Ok(()) => Ok(options),
            Err((word, problem)) => Err(BadOption { word, problem, on_error: options.values.on_error }),
        }
    }

    /// Reads one more option.
    ///
    /// # Errors
    ///
    /// What is wrong with the option, and what was expected. Then the option sets nothing.
    pub fn set(&mut self, word: &str, within: Within) -> Result<(), String> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let Some((at, option)) = OPTIONS.iter().enumerate().find(|(_, option)| option.name == name) else {
            return Err(self.unknown(value.is_some(), within));
        };
        if !option.is_allowed(within) {
            return Err(match within {
                Within::Helper => "not for the helper".to_owned(),
                Within::Line | Within::Rule => "allowed on the PAM line only".to_owned(),
            });
        }
        let value = match (option.value, value) {
            (Some(_), Some(value)) => value,
            (None, None) => "",
            (Some(SWITCH_OR_TEXT), None) => "on",
            (Some(syntax), None) => return Err(format!("expected {name}={syntax}")),
            (None, Some(_)) => return Err(format!("{name} takes no value")),
        };
        if let Some(earlier) = self.word(option.setting) {
            return Err(format!("already set by \"{}\"", earlier.escape_debug()));
        }
        (option.read)(&mut self.values, value)?;
        self.words.insert(at, word.to_owned());
        Ok(())
    }

    fn unknown(&self, has_value: bool, within: Within) -> String {
        let has_text = (self.values.message.is_some() && self.values.message_file.is_none())
            || matches!(self.values.announce, Announcement::Own(_));
        match within {
            Within::Line if has_text && !has_value => {
                return "unknown; enclose an option that contains spaces in [brackets]".to_owned();
            }
            Within::Rule if has_text && !has_value => {
                return "unknown; enclose an option that contains spaces in \"quotation marks\"".to_owned();
            }
            _ => {}
        }
        let known = OPTIONS.iter().filter(|option| option.is_allowed(within)).map(OptionSpec::term);
        // A name with spaces that is not quoted moves a column to the place of an option.
        let hint = match (within, has_value) {
            (Within::Rule, false) => "; enclose a name that contains spaces in \"quotation marks\"",
            _ => "",
        };
        format!("unknown; expected one of {}{hint}", known.collect::<Vec<_>>().join(" "))
    }

    /// Checks that every warning is shorter than the limit.
    ///
    /// # Errors
    ///
    /// The wrong option, and the reason.
    pub fn warns_in_time(&self) -> Result<(), (String, String)> {
        let Settings { limit: Some(limit), warn, .. } = &self.values else { return Ok(()) };
        let Some(word) = self.word("warn") else { return Ok(()) };
        if warn.first().is_some_and(|warn| warn >= limit) {
            let limit = duration::print(*limit);
            return Err((word.to_owned(), format!("the warning must be shorter than the limit, {limit}")));
        }
        Ok(())
    }

    /// Copies the settings that these options set into other settings.
    pub(super) fn apply(&self, to: &mut Settings) {
        for option in self.words.keys().filter_map(|at| OPTIONS.get(*at)) {
            (option.copy)(&self.values, to);
        }
    }

    /// The option that sets a setting, as it was written.
    #[must_use]
    pub fn word(&self, setting: &str) -> Option<&str> {
        let sets = |at: &usize| OPTIONS.get(*at).is_some_and(|option| option.setting == setting);
        self.words.iter().find(|(at, _)| sets(at)).map(|(_, word)| word.as_str())
    }

    /// The policy file that `conf=` names.
    #[must_use]
    pub fn conf_path(&self) -> Option<&Path> {
        self.values.conf.as_deref()
    }

    /// The options as they were written, in the table's order. They can be read back without a change.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        self.words.values().cloned().collect()
    }
}

/// How settings are written for the helper and for a reload.
impl Settings {
    /// The options that have the same meaning. Defaults are written, too, so that a helper and a module of
    /// different builds cannot disagree about them. An option without a value is off if it is not written.
    #[must_use]
    pub fn to_words(&self) -> Vec<String> {
        let told = OPTIONS.iter().filter(|option| option.is_allowed(Within::Helper));
        told.filter_map(|option| option.print(self)).collect()
    }

    /// Reads what [`Settings::to_words`] wrote.
    ///
    /// # Errors
    ///
    /// The option that is unknown, malformed, repeated, out of range or missing, and what is wrong with it.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut options = Options::default();
        for word in words {
            options.set(word, Within::Helper).map_err(|problem| format!("{word}: {problem}"))?;
        }
        let always = |option: &&OptionSpec| {
            option.is_allowed(Within::Helper) && option.print(&Self::default()).is_some()
        };
        let missing = |option: &&OptionSpec| options.word(option.setting).is_none();
        if let Some(option) = OPTIONS.iter().filter(always).find(missing) {
            return Err(format!("{} is missing", option.term()));
        }
        options.warns_in_time().map_err(|(word, problem)| format!("{word}: {problem}"))?;
        Ok(options.values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Kill;
    use super::super::table::{GRACE_MAX, LIMIT_MAX, LIMIT_MIN};
    use super::*;
    use proptest::prelude::*;

    fn bad(line: &str) -> BadOption {
        Options::of_line(line.split_whitespace()).expect_err(line)
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
            ("detached=off", "detached=off"),
            ("detached=9s", "detached=9s"),
            ("detached=366d", "detached=366d"),
            ("message={nobody}", "message={nobody}"),
            ("message=x message-file=/x", "message-file=/x"),
            ("message-file=x", "message-file=x"),
            ("announce=yes", "announce=yes"),
            ("announce=", "announce="),
            ("announce announce=off", "announce=off"),
            ("announce=Dear {idle}", "announce=Dear"),
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

    #[test]
    fn a_helper_is_told_what_an_administrator_would_write() {
        let line =
            Options::of_line(["timeout=900", "kill=tty", "quiet", "onerr=succeed", "conf=/x"]).unwrap();
        let words = line.values.to_words();
        let all = "timeout=15m warn=1m grace=10s kill=tty activity=input notty=ignore detached=ignore quiet";
        assert_eq!(words.join(" "), all);
        let read = Settings::of_words(words.iter().map(String::as_str)).unwrap();
        assert_eq!((read.kill, read.quiet), (Kill::Tty, true));
        // A default may differ between builds, so it is never left out.
        for missing in ["timeout=", "warn=", "grace=", "kill=", "activity=", "notty=", "detached="] {
            let some = words.iter().map(String::as_str).filter(|word| !word.starts_with(missing));
            assert_eq!(Settings::of_words(some), Err(format!("{missing} is missing")));
        }
        for (word, why) in [
            ("onerr=fail", "onerr=fail: not for the helper"),
            ("warn=15m", "warn=15m: already set by \"warn=1m\""),
            ("nosuch", "nosuch: unknown; expected one of timeout= "),
        ] {
            let more = words.iter().map(String::as_str).chain([word]);
            let problem = Settings::of_words(more).unwrap_err();
            assert!(problem.starts_with(why), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_in_range(words in proptest::collection::vec(
            "(timeout|warn|grace|kill|notty|detached|onerr|quiet|debug)?=?([0-9]{1,6}[dhms]?|off|tty|fail)?", 0..5)) {
            if let Ok(words) = Options::of_line(words.iter().map(String::as_str)) {
                let values = words.values;
                for limit in [values.limit, values.notty, values.detached].into_iter().flatten() {
                    prop_assert!(limit >= LIMIT_MIN && limit <= LIMIT_MAX);
                }
                prop_assert!(values.grace <= GRACE_MAX);
            }
        }

        #[test]
        fn no_line_makes_it_panic(words in proptest::collection::vec(".*", 0..6)) {
            let _ = Options::of_line(words.iter().map(String::as_str));
        }

        #[test]
        fn written_and_read_again_a_line_says_the_same(words in proptest::collection::vec(
            "(timeout|warn|grace|kill|activity|notty|detached|message|onerr|quiet|debug)(=([1-9][0-9][ms]|input,cpu|tty|fail|\\{user\\} é))?", 0..5)) {
            if let Ok(read) = Options::of_line(words.iter().map(String::as_str)) {
                let again = read.to_words();
                prop_assert_eq!(Options::of_line(again.iter().map(String::as_str)), Ok(read));
            }
        }
    }
}
