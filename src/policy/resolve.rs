//! From the PAM line and the files on the disk to what holds for one login.

use std::iter;

use super::decide::Policy;
use super::files::Files;
use super::message::{Message, Template};
use super::options::Words;
use super::parse::Fault;
use super::rule::{Login, Place, Rule};
use super::settings::Settings;
use crate::sys::nss::Person;

/// What holds for a login, with all that it needs from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What holds.
    pub settings: Settings,
    /// The text of the warning that they name.
    pub message: Option<Template>,
    /// Where the rule stands that matched.
    pub rule: Option<Place>,
}

impl Resolved {
    /// What the PAM line alone says, while the policy is broken. The built-in text takes the place of one
    /// that cannot be read.
    #[must_use]
    pub fn of_line(line: &Words, files: &Files) -> Self {
        let settings = Settings::of(line, None);
        let message = message(&settings, files).unwrap_or_default();
        Self { settings, message, rule: None }
    }
}

/// Decides about a login, and reads what the decision refers to.
///
/// # Errors
///
/// What is wrong with what the deciding rule refers to.
pub fn resolve(
    line: &Words,
    policy: &Policy,
    files: &Files,
    login: &Login<'_>,
    person: &Person<'_>,
) -> Result<Resolved, Vec<Fault>> {
    let fault = |rule: &Rule, problem: String| vec![Fault::of_rule(&rule.place, problem)];
    // A rule that asks for an id, or for another user's name than the login's, must not just fail to match.
    // Only name services may say that there is no such user.
    if let Some(rule) = policy.rules.iter().find(|rule| login.uid.is_none() && rule.asks_who(login)) {
        person.is_told().map_err(|problem| fault(rule, problem))?;
    }
    let decision = policy
        .decide(line, login, |group| person.is_in(group))
        .map_err(|(rule, problem)| fault(rule, problem))?;
    let message = message(&decision.settings, files).map_err(|fault| vec![fault])?;
    Ok(Resolved { settings: decision.settings, message, rule: decision.rule.map(|rule| rule.place.clone()) })
}

/// What is wrong with the message files that the PAM line and the rules name.
#[must_use]
pub fn message_faults(line: &Words, policy: &Policy, files: &Files) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for rule in iter::once(None).chain(policy.rules.iter().map(|rule| Some(&rule.words))) {
        let fault = message(&Settings::of(line, rule), files).err();
        faults.extend(fault.filter(|fault| !faults.contains(fault)));
    }
    faults
}

/// The text of the warning, where it is not the built-in one. A session without a limit shows none.
fn message(settings: &Settings, files: &Files) -> Result<Option<Template>, Fault> {
    match settings.limit.and(settings.message.as_ref()) {
        None => Ok(None),
        Some(Message::Text(template)) => Ok(Some(template.clone())),
        Some(Message::File(path)) => {
            let text = files.text(path)?;
            // The file's last line feed ends a line and is no empty one.
            let template = Template::parse(text.strip_suffix('\n').unwrap_or(&text));
            template.map(Some).map_err(|problem| Fault::of_file(path, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nix::sys::resource::{Resource, setrlimit};

    use super::*;
    use crate::sys::offload::{self, Offload};

    #[test]
    fn a_question_that_name_services_do_not_answer_is_a_fault_of_the_rule_that_asks() {
        for rule in ["@adm * * * timeout=off", "*,!uid:1000- * * * timeout=off"] {
            let policy = Policy::parse(PathBuf::from("/f"), &format!("\n{rule}\n")).unwrap();
            // Without a descriptor nothing can be asked. In a child, because the limit is the whole process's.
            let answer = Offload::default().run(|pipe| {
                let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
                let person = Person::named("root");
                let (user, service) = ("root", "sshd");
                let login =
                    Login { user: user.as_ref(), canonical: None, uid: None, service, tty: "ssh", from: "" };
                let resolved = resolve(&Words::default(), &policy, &Files::of(None), &login, &person);
                let place = resolved.map_err(|faults| faults.first().and_then(|fault| fault.at));
                offload::answer(pipe, &[u8::from(none && place == Err(Some((2, 1))))]);
            });
            assert_eq!(answer, [1], "{rule}");
        }
    }

    #[test]
    fn a_message_file_that_cannot_be_read_is_told_once_where_somebody_is_shown_it() {
        let faults = |line: &str, text: &str| {
            let line = Words::of_line(line.split_whitespace()).unwrap();
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
}
