//! The table of all options. Reading, printing, error messages and reports use it.
//!
//! A new option needs an entry here, a field of [`Settings`], code that uses it, and its documents.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::message::Template;
use super::settings::{Announcement, Counted, Kill, OnError, Settings};

/// The shortest limit. For a shorter one the 8-second stamps of the kernel are too coarse.
pub const LIMIT_MIN: Duration = Duration::from_secs(10);
/// The longest limit.
pub const LIMIT_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The kernel counts a connection's silence in milliseconds, and starts again at 0 after 49 days.
const NOTTY_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The longest grace.
pub const GRACE_MAX: Duration = Duration::from_secs(5 * 60);
/// The most warnings. Nobody reads more of them.
const WARNINGS_MAX: usize = 8;

/// The syntax of a value that may be left out. The option alone means `on`.
pub(super) const SWITCH_OR_TEXT: &str = "on|off|TEXT";

/// One option, written `name=value` or `name`.
#[derive(Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    /// The syntax of its value. `None` if it takes no value.
    pub value: Option<&'static str>,
    /// The setting that it sets. If two options set the same one, it has the name of the first.
    pub setting: &'static str,
    /// A short description.
    pub about: &'static str,
    /// Where it may be written.
    pub allowed: &'static [Within],
    /// Reads its value into settings. A wrong value changes nothing.
    pub read: fn(&mut Settings, &str) -> Result<(), String>,
    /// Gets its value from settings.
    pub get: fn(&Settings) -> Value<'_>,
    /// Copies its value from one group of settings to another.
    pub copy: fn(&Settings, &mut Settings),
}

/// Where an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// The PAM line.
    Line,
    /// A rule of a policy file.
    Rule,
    /// The helper's command line or a reload message, with the settings that apply.
    Helper,
}

/// The value of a setting, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A duration. `None` is shown as this word, such as `off`.
    Duration(Option<Duration>, &'static str),
    /// Durations. An empty list is `off`.
    Durations(&'a [Duration]),
    /// One word out of several.
    Word(&'static str),
    /// Several words, separated by commas.
    Words(&'static str),
    /// Whether an option without a value is written.
    Flag(bool),
    /// The text of the warning (`None` is the built-in text), and the file that contains it.
    Message(Option<&'a Template>, Option<&'a Path>),
    /// A path.
    Path(Option<&'a Path>),
}

impl Value<'_> {
    /// The value as it is written after `=`. `None` if the option is not written.
    #[must_use]
    pub fn written(&self) -> Option<String> {
        match self {
            Self::Flag(set) => set.then(String::new),
            Self::Message(text, _) => text.map(|text| text.source().to_owned()),
            Self::Path(path) => path.map(|path| path.to_string_lossy().into_owned()),
            _ => Some(self.text()),
        }
    }

    /// The value as text for people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Duration(duration, none) => duration.map_or_else(|| (*none).to_owned(), duration::print),
            Self::Durations([]) => "off".to_owned(),
            Self::Durations(list) => list.iter().copied().map(duration::print).collect::<Vec<_>>().join(","),
            Self::Word(word) | Self::Words(word) => (*word).to_owned(),
            Self::Flag(set) => if *set { "yes" } else { "no" }.to_owned(),
            Self::Message(_, Some(file)) => format!("from {}", file.display()),
            Self::Message(Some(text), None) => format!("{:?}", text.source()),
            Self::Message(None, None) => "built-in".to_owned(),
            Self::Path(path) => path.map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
        }
    }
}

impl OptionSpec {
    /// The option as it is written for these settings. `None` if they do not need it.
    #[must_use]
    pub fn print(&self, settings: &Settings) -> Option<String> {
        let value = (self.get)(settings).written()?;
        Some(if self.value.is_some() { format!("{}={value}", self.name) } else { self.name.to_owned() })
    }

    /// Its name, with `=` if a value follows.
    #[must_use]
    pub fn term(&self) -> String {
        format!("{}{}", self.name, if self.value.is_some() { "=" } else { "" })
    }

    /// Whether it may be written there.
    #[must_use]
    pub fn is_allowed(&self, within: Within) -> bool {
        self.allowed.contains(&within)
    }
}

/// The settings that both the PAM line and rules can set, with one option for each.
pub fn settings() -> impl Iterator<Item = &'static OptionSpec> {
    OPTIONS.iter().filter(|option| option.name == option.setting && option.is_allowed(Within::Rule))
}

const EVERYWHERE: &[Within] = &[Within::Line, Within::Rule, Within::Helper];
/// Options that the module needs and the helper does not.
const NOT_HELPER: &[Within] = &[Within::Line, Within::Rule];
const LINE_ONLY: &[Within] = &[Within::Line];

macro_rules! copy {
    ($field:ident) => {
        |from, to| to.$field.clone_from(&from.$field)
    };
}

/// All options, in the order in which they are listed and printed.
pub static OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "timeout",
        value: Some("DURATION|off"),
        setting: "timeout",
        about: "how long a session may be idle",
        allowed: EVERYWHERE,
        read: |to, text| limit(text).map(|limit| to.limit = limit),
        get: |of| Value::Duration(of.limit, "off"),
        copy: copy!(limit),
    },
    OptionSpec {
        name: "warn",
        value: Some("DURATION[,DURATION...]|off"),
        setting: "warn",
        about: "how long before the end the person is warned",
        allowed: EVERYWHERE,
        read: |to, text| warnings(text).map(|warn| to.warn = warn),
        get: |of| Value::Durations(&of.warn),
        copy: copy!(warn),
    },
    OptionSpec {
        name: "grace",
        value: Some("DURATION|off"),
        setting: "grace",
        about: "the time between SIGTERM and SIGKILL",
        allowed: EVERYWHERE,
        read: |to, text| grace(text).map(|grace| to.grace = grace),
        get: |of| Value::Duration(Some(of.grace), "off"),
        copy: copy!(grace),
    },
    OptionSpec {
        name: "kill",
        value: Some("session|tty|terminal|connection|none"),
        setting: "kill",
        about: "which processes are ended",
        allowed: EVERYWHERE,
        read: |to, text| kill(text).map(|kill| to.kill = kill),
        get: |of| Value::Word(of.kill.word()),
        copy: copy!(kill),
    },
    OptionSpec {
        name: "activity",
        value: Some("input[,output][,cpu]"),
        setting: "activity",
        about: "what counts as activity",
        allowed: EVERYWHERE,
        read: |to, text| activity(text).map(|counted| to.activity = counted),
        get: |of| Value::Words(of.activity.word()),
        copy: copy!(activity),
    },
    OptionSpec {
        name: "notty",
        value: Some("DURATION|ignore"),
        setting: "notty",
        about: "how long a session without a terminal may be silent",
        allowed: EVERYWHERE,
        read: |to, text| notty(text).map(|notty| to.notty = notty),
        get: |of| Value::Duration(of.notty, "ignore"),
        copy: copy!(notty),
    },
    OptionSpec {
        name: "detached",
        value: Some("DURATION|ignore"),
        setting: "detached",
        about: "how long what a logout leaves behind may be idle",
        allowed: EVERYWHERE,
        read: |to, text| detached(text).map(|detached| to.detached = detached),
        get: |of| Value::Duration(of.detached, "ignore"),
        copy: copy!(detached),
    },
    OptionSpec {
        name: "message",
        value: Some("TEXT"),
        setting: "message",
        about: "the text of the warning",
        allowed: EVERYWHERE,
        read: |to, text| Template::parse(text).map(|text| to.message = Some(text)),
        get: |of| Value::Message(of.message.as_ref(), of.message_file.as_deref()),
        copy: copy_message,
    },
    OptionSpec {
        name: "message-file",
        value: Some("PATH"),
        setting: "message",
        about: "the file with the text of the warning",
        allowed: NOT_HELPER,
        read: |to, text| path(text).map(|path| to.message_file = Some(path)),
        get: |of| Value::Path(of.message_file.as_deref()),
        copy: copy_message,
    },
    OptionSpec {
        name: "announce",
        value: Some(SWITCH_OR_TEXT),
        setting: "announce",
        about: "what the person is told at login",
        allowed: NOT_HELPER,
        read: |to, text| announcement(text).map(|announce| to.announce = announce),
        get: |of| match &of.announce {
            Announcement::Off => Value::Word("off"),
            Announcement::BuiltIn => Value::Word("on"),
            Announcement::Own(text) => Value::Message(Some(text), None),
        },
        copy: copy!(announce),
    },
    OptionSpec {
        name: "onerr",
        value: Some("fail|succeed"),
        setting: "onerr",
        about: "what happens to a login that cannot be guarded",
        allowed: NOT_HELPER,
        read: |to, text| on_error(text).map(|on_error| to.on_error = on_error),
        get: |of| Value::Word(of.on_error.word()),
        copy: copy!(on_error),
    },
    OptionSpec {
        name: "conf",
        value: Some("PATH"),
        setting: "conf",
        about: "the policy file",
        allowed: LINE_ONLY,
        read: |to, text| path(text).map(|path| to.conf = Some(path)),
        get: |of| Value::Path(of.conf.as_deref()),
        copy: copy!(conf),
    },
    OptionSpec {
        name: "quiet",
        value: None,
        setting: "quiet",
        about: "write nothing on the terminals",
        allowed: EVERYWHERE,
        read: |to, _| flag(&mut to.quiet),
        get: |of| Value::Flag(of.quiet),
        copy: copy!(quiet),
    },
    OptionSpec {
        name: "debug",
        value: None,
        setting: "debug",
        about: "log every look",
        allowed: EVERYWHERE,
        read: |to, _| flag(&mut to.debug),
        get: |of| Value::Flag(of.debug),
        copy: copy!(debug),
    },
];

/// Reads an option without a value, which cannot be wrong.
fn flag(slot: &mut bool) -> Result<(), String> {
    *slot = true;
    Ok(())
}

/// A text and a file set the same setting. So a text replaces a file, and a file replaces a text.
fn copy_message(from: &Settings, to: &mut Settings) {
    to.message.clone_from(&from.message);
    to.message_file.clone_from(&from.message_file);
}

fn limit(text: &str) -> Result<Option<Duration>, String> {
    in_range(text, LIMIT_MAX, "off")
}

/// `notty=` is a limit, too, so it cannot be shorter than the shortest limit.
fn notty(text: &str) -> Result<Option<Duration>, String> {
    in_range(text, NOTTY_MAX, "ignore")
}

/// `detached=` is judged by the same stamps as `timeout=`.
fn detached(text: &str) -> Result<Option<Duration>, String> {
    in_range(text, LIMIT_MAX, "ignore")
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

fn warnings(text: &str) -> Result<Vec<Duration>, String> {
    if matches!(text, "off" | "0") {
        return Ok(Vec::new());
    }
    let mut list = text.split(',').map(|part| whole(part, "off")).collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable_by(|a, b| b.cmp(a));
    if list.last().is_some_and(Duration::is_zero) {
        // `0s` alone has always meant no warning.
        return if list.len() == 1 {
            Ok(Vec::new())
        } else {
            Err("a warning cannot come at the end itself".to_owned())
        };
    }
    if list.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err("the same warning is listed twice".to_owned());
    }
    if list.len() > WARNINGS_MAX {
        return Err(format!("too many warnings, expected at most {WARNINGS_MAX}"));
    }
    Ok(list)
}

fn whole(text: &str, none: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| format!("not a duration, expected for example 90, 90s, 15m, 1h30m or {none}"))
}

fn kill(text: &str) -> Result<Kill, String> {
    Kill::from_word(text).ok_or_else(|| "expected session, tty, terminal, connection or none".to_owned())
}

fn activity(text: &str) -> Result<Counted, String> {
    Counted::from_word(text).ok_or_else(|| {
        "expected input, optionally followed by output, cpu or both, separated by commas".to_owned()
    })
}

fn announcement(text: &str) -> Result<Announcement, String> {
    match text {
        "on" => Ok(Announcement::BuiltIn),
        "off" => Ok(Announcement::Off),
        // It is a misspelled switch, or a text that was cut at its first space.
        word if word.is_ascii() && !word.contains([' ', '\n', '\t']) => {
            Err("expected on, off or a text of several \
            words, enclosed in [brackets] on the PAM line and in \"quotation marks\" in a rule"
                .to_owned())
        }
        text => Template::parse_announcement(text).map(Announcement::Own),
    }
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

    /// Values that are not the default, for each option.
    fn examples(option: &OptionSpec) -> &'static [&'static str] {
        match option.value {
            None => &[""],
            Some(syntax) if syntax.starts_with("DURATION[") => &["off", "30s", "5m,30s"],
            Some("DURATION|ignore") => &["ignore", "1h"],
            Some(syntax) if syntax.starts_with("DURATION") => &["off", "90s", "1m30s"],
            Some(SWITCH_OR_TEXT) => &["on", "off", "{user}: two\nlines é", "a {limit}"],
            Some("TEXT") => &["{user}: two\nlines é", "x"],
            Some("PATH") => &["/a b", "/x"],
            Some(words) if words.contains('[') => &["input", "input,output", "input,output,cpu"],
            Some(_) => &[],
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for option in OPTIONS {
            let all: Vec<&str> = match examples(option) {
                [] => option.value.unwrap_or_default().split('|').collect(),
                examples => examples.to_vec(),
            };
            assert!(!all.is_empty(), "{option:?}");
            for value in all {
                let (mut read, mut again) = (Settings::default(), Settings::default());
                (option.read)(&mut read, value).unwrap_or_else(|e| panic!("{}={value}: {e}", option.name));
                let printed = option.print(&read).expect(option.name);
                let value = printed.strip_prefix(option.name).unwrap().trim_start_matches('=');
                (option.read)(&mut again, value).unwrap_or_else(|e| panic!("{printed}: {e}"));
                assert_eq!(again, read, "{printed}");
                // A copy of it is the same, too.
                let mut copy = Settings::default();
                (option.copy)(&read, &mut copy);
                assert_eq!(copy, read, "{printed}");
            }
        }
    }

    #[test]
    fn a_default_that_is_printed_is_read_as_the_same() {
        for option in OPTIONS {
            let Some(printed) = option.print(&Settings::default()) else { continue };
            let (_, value) = printed.split_once('=').expect("a flag that is set by default");
            let mut read = Settings::default();
            (option.read)(&mut read, value).unwrap();
            assert_eq!(read, Settings::default(), "{printed}");
        }
    }

    #[test]
    fn names_are_unique_and_every_option_has_a_setting_and_a_description() {
        for (at, option) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[at + 1..].iter().all(|other| other.name != option.name), "{}", option.name);
            assert!(OPTIONS.iter().any(|other| other.name == option.setting), "{}", option.name);
            assert!(!option.about.is_empty() && option.is_allowed(Within::Line), "{}", option.name);
        }
    }
}
