//! Decides which rule applies to a login, and which settings follow.

use std::ffi::OsStr;
use std::iter;
use std::time::Duration;

use super::files::Files;
use super::message::Template;
use super::options::Options;
use super::parse::Fault;
use super::rule::{Policy, Rule};
use super::settings::{Settings, WARN_DEFAULT};
use super::table;
use crate::login::Login;
use crate::sys::nss::Person;

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing sets it, so it is the built-in default.
    Default,
    /// The PAM line sets it.
    Line,
    /// The rule of the policy sets it.
    Rule,
}

impl Settings {
    /// The settings of a PAM line and a rule together. The rule takes precedence.
    ///
    /// A warning may be too long for the limit if they come from different places. Such a warning is left out.
    /// If no warning is left, the session is warned at half the limit.
    #[must_use]
    pub fn of(line: &Options, rule: Option<&Options>) -> Self {
        let mut settings = Self::default();
        line.apply(&mut settings);
        rule.iter().for_each(|rule| rule.apply(&mut settings));
        let written = line.word("warn").or_else(|| rule?.word("warn")).is_some();
        settings.warn = fitting(settings.warn, written, settings.limit);
        settings
    }

    /// The settings of the PAM line alone, for the time while the policy is broken. If its message file cannot
    /// be read, the warning has the built-in text.
    #[must_use]
    pub fn of_line(line: &Options, files: &Files) -> Self {
        let settings = Self::of(line, None);
        let message = message(&settings, files).unwrap_or_default();
        Self { message, ..settings }
    }

    /// Where each setting comes from, by the setting's name.
    #[must_use]
    pub fn origins(line: &Options, rule: Option<&Options>) -> Vec<(&'static str, Origin)> {
        let origin = |name| match rule.and_then(|rule| rule.word(name)) {
            Some(_) => Origin::Rule,
            None if line.word(name).is_some() => Origin::Line,
            None => Origin::Default,
        };
        table::settings().map(|option| (option.name, origin(option.name))).collect()
    }
}

/// The warnings that are shorter than a limit. `written` is true if somebody set them.
fn fitting(mut warn: Vec<Duration>, written: bool, limit: Option<Duration>) -> Vec<Duration> {
    let Some(limit) = limit else { return warn };
    if warn.is_empty() {
        return warn;
    }
    // This is rounded up, so that the person has at least half the limit.
    let half = Duration::from_secs(limit.as_secs().div_ceil(2));
    if !written {
        return vec![WARN_DEFAULT.min(half)];
    }
    warn.retain(|warn| *warn < limit);
    if warn.is_empty() {
        warn.push(half);
    }
    warn
}

impl Policy {
    /// The first rule that matches a login. `canonical` is the user's name as name services spell it.
    /// `in_group` says whether the user is a member of a group; it is called only if that matters.
    ///
    /// # Errors
    ///
    /// The error of `in_group`, and the rule that asked.
    pub fn rule_for<E>(
        &self,
        login: &Login,
        canonical: Option<&OsStr>,
        mut in_group: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<Option<&Rule>, (&Rule, E)> {
        for rule in &self.rules {
            if rule.matches(login, canonical, &mut in_group).map_err(|e| (rule, e))? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }
}

/// Decides about a login, and reads the message file if the settings name one.
///
/// # Errors
///
/// The deciding rule has a fault: name services cannot look up a user or a group, or its message file cannot be
/// read.
pub fn resolve(
    line: &Options,
    policy: &Policy,
    files: &Files,
    login: &Login,
    person: &Person<'_>,
) -> Result<Settings, Vec<Fault>> {
    let fault = |rule: &Rule, problem: String| vec![Fault::of_rule(&rule.place, problem)];
    // Without an answer from name services, a rule that needs the ID, or another spelling of the name, must not
    // silently match nothing. Only name services may say that there is no such user.
    if let Some(rule) = policy.rules.iter().find(|rule| login.uid.is_none() && rule.asks_who(login)) {
        person.is_told().map_err(|problem| fault(rule, problem))?;
    }
    let rule = policy
        .rule_for(login, person.canonical(), |group| person.is_in(group))
        .map_err(|(rule, problem)| fault(rule, problem))?;
    let settings = Settings::of(line, rule.map(|rule| &rule.options));
    let message = message(&settings, files).map_err(|fault| vec![fault])?;
    Ok(Settings { message, rule: rule.map(|rule| rule.place.clone()), ..settings })
}

/// The faults of the message files that the PAM line and the rules name.
#[must_use]
pub fn message_faults(line: &Options, policy: &Policy, files: &Files) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for rule in iter::once(None).chain(policy.rules.iter().map(|rule| Some(&rule.options))) {
        let fault = message(&Settings::of(line, rule), files).err();
        faults.extend(fault.filter(|fault| !faults.contains(fault)));
    }
    faults
}

/// The text of the warning, or `None` for the built-in one. The file is not read if there is no limit, because
/// such a session is never warned.
fn message(settings: &Settings, files: &Files) -> Result<Option<Template>, Fault> {
    let Some(path) = settings.limit.and(settings.message_file.as_deref()) else {
        return Ok(settings.message.clone());
    };
    let text = files.text(path)?;
    // The last line feed of the file ends a line. It does not start an empty one.
    let template = Template::parse(text.strip_suffix('\n').unwrap_or(&text));
    template.map(Some).map_err(|problem| Fault::of_file(path, problem))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::PathBuf;

    use nix::sys::resource::{Resource, setrlimit};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::settings::{Counted, Kill, OnError};
    use super::super::table::Within;
    use super::*;
    use crate::sys::offload::{self, Offload};

    const RULES: &str = "\
root,@wheel      *      *      *            timeout=10m
deploy           sshd   *      10.0.0.0/8   timeout=off
uid:1000-1999    *      tty*   local        timeout=5m warn=2m,30s
@ops,!bob        *      ssh    *            timeout=20m
*                *,!cron *     *            kill=tty
";

    fn login(user: &str, uid: Option<u32>, service: &str, tty: &str, from: &str) -> Login {
        let (user, rhost, tty) = (Some(user.into()), Some(from.into()), Some(tty.into()));
        Login { service: service.into(), user, uid, rhost, tty }
    }

    /// The limit in seconds, and the line of the deciding rule.
    fn decide(user: &str, uid: u32, service: &str, tty: &str, from: &str) -> (Option<u64>, Option<usize>) {
        let policy = Policy::parse(PathBuf::from("/f"), RULES).unwrap();
        let groups = |group: &str| {
            Ok::<_, Infallible>(match group {
                "wheel" => user == "ann",
                "ops" => ["bob", "eve"].contains(&user),
                _ => false,
            })
        };
        let login = login(user, Some(uid), service, tty, from);
        let rule = policy.rule_for(&login, None, groups).unwrap();
        let line = Options::of_line(["timeout=1h"]).unwrap();
        let settings = Settings::of(&line, rule.map(|rule| &rule.options));
        (settings.limit.map(|limit| limit.as_secs()), rule.map(|rule| rule.place.line))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert_eq!(decide("root", 0, "sshd", "ssh", "h"), (Some(600), Some(1)));
        assert_eq!(decide("ann", 1000, "login", "tty1", ""), (Some(600), Some(1)));
        assert_eq!(decide("deploy", 900, "sshd", "ssh", "10.1.1.1"), (None, Some(2)));
        assert_eq!(decide("deploy", 900, "sshd", "ssh", "11.1.1.1"), (Some(3600), Some(5)));
        assert_eq!(decide("carl", 1001, "login", "/dev/tty3", ""), (Some(300), Some(3)));
        assert_eq!(decide("eve", 2000, "sshd", "ssh", "h"), (Some(1200), Some(4)));
        assert_eq!(decide("bob", 2000, "sshd", "ssh", "h"), (Some(3600), Some(5)));
        assert_eq!(decide("bob", 2000, "cron", "", ""), (Some(3600), None));
    }

    #[test]
    fn a_user_is_one_however_the_name_is_spelled() {
        let text = "*,!alice * * * timeout=off\nalice * * * timeout=5m\n";
        let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
        for user in ["alice", "ALICE", r"EXAMPLE\alice"] {
            let login = login(user, None, "sshd", "ssh", "");
            let canonical = Some("alice".as_ref());
            let rule = policy.rule_for(&login, canonical, |_| Ok::<_, Infallible>(false)).unwrap();
            assert_eq!(rule.map(|rule| rule.place.line), Some(2), "{user:?}");
        }
    }

    #[test]
    fn name_services_are_asked_only_where_a_rule_needs_them() {
        let text = "* sshd * * timeout=5m\n@ops * * * timeout=6m\n";
        let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
        let decide = |service| {
            let login = login("a", None, service, "ssh", "");
            let rule = policy.rule_for(&login, None, |group| Err(group.to_owned()));
            let line = |rule: &Rule| rule.place.line;
            rule.map(|rule| rule.map(line)).map_err(|(rule, group)| (line(rule), group))
        };
        assert_eq!(decide("sshd"), Ok(Some(1)));
        assert_eq!(decide("login"), Err((2, "ops".to_owned())));
    }

    fn read(line: &str) -> Settings {
        Settings::of(&Options::of_line(line.split_whitespace()).unwrap(), None)
    }

    fn over(rule: &str, line: &str) -> Settings {
        let words = |text: &str| {
            let mut words = Options::default();
            text.split_whitespace().for_each(|word| words.set(word, Within::Rule).unwrap());
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
        // Half of 11 s is 5.5 s. It is rounded up, so that the person has at least half the limit.
        assert_eq!(seconds(&read("timeout=11").warn), [6]);
        assert_eq!(seconds(&read("timeout=119").warn), [60]);
        assert_eq!(seconds(&over("timeout=13", "warn=1m").warn), [7]);
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
    fn a_question_that_name_services_do_not_answer_is_a_fault_of_the_rule_that_asks() {
        for rule in ["@adm * * * timeout=off", "*,!uid:1000- * * * timeout=off"] {
            let policy = Policy::parse(PathBuf::from("/f"), &format!("\n{rule}\n")).unwrap();
            // Without a descriptor name services cannot be asked. This runs in a child, because the limit is
            // for a whole process.
            let answer = Offload::default().run(|pipe| {
                let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
                let person = Person::named("root");
                let (user, tty) = (Some("root".into()), Some("ssh".into()));
                let login = Login { service: "sshd".into(), user, tty, ..Login::default() };
                let resolved = resolve(&Options::default(), &policy, &Files::of(None), &login, &person);
                let place = resolved.map_err(|faults| faults.first().and_then(|fault| fault.at));
                offload::answer(pipe, &[u8::from(none && place == Err(Some((2, 1))))]);
            });
            assert_eq!(answer, [1], "{rule}");
        }
    }

    #[test]
    fn a_message_file_that_cannot_be_read_is_told_once_where_somebody_is_shown_it() {
        let faults = |line: &str, text: &str| {
            let line = Options::of_line(line.split_whitespace()).unwrap();
            let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
            let faults = message_faults(&line, &policy, &Files::of(None));
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let null = "/dev/null: is not a regular file";
        let twice = "a * * * message-file=/dev/null\nb * * * timeout=5m message-file=/dev/null\n";
        assert_eq!(faults("", twice), [null]);
        assert_eq!(faults("message-file=/dev/null", ""), [null]);
        assert_eq!(faults("message-file=/dev/null timeout=off", "a * * * timeout=5m\n"), [null]);
        assert_eq!(faults("", "a * * * timeout=off message-file=/dev/null\n"), [""; 0]);
    }

    /// An option that may be written on a PAM line and in a rule. There are few values, so that limits and warnings
    /// are often the same.
    const OPTION: &str = "timeout=(10|11|20|10m|off)|warn=(5|10|11|20|10m|20,5|off)|(grace=[0-9]{1,2}|notty=(20|ignore)|\
                          kill=(tty|none)|message=\\{user\\} \n?é|onerr=succeed|quiet|debug)";

    proptest! {
        #[test]
        fn a_helper_accepts_whatever_settings_apply(line in vec(OPTION, 0..4), rule in vec(OPTION, 0..4)) {
            let mut options = Options::default();
            let is_rule = rule.iter().all(|word| options.set(word, Within::Rule).is_ok());
            if let (Ok(line), true) = (Options::of_line(line.iter().map(String::as_str)), is_rule) {
                let settings = Settings::of(&line, Some(&options));
                let words = settings.to_words();
                // A helper is not told what the module alone needs.
                let told = Settings { on_error: OnError::default(), ..settings };
                prop_assert_eq!(Settings::of_words(words.iter().map(String::as_str)), Ok(told));
            }
        }
    }
}
