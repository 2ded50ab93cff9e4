//! Notes about a policy: rules that are valid, but can never match on this machine.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::policy::{Fault, Policy, Rule, Who, exceptions};
use crate::sys::logind::Kind;
use crate::sys::nss::{self, Person};

/// Names that people take for a service, and the service that they mean.
const MISTAKEN: [(&str, &str); 5] =
    [("ssh", "sshd"), ("openssh", "sshd"), ("console", "login"), ("getty", "login"), ("tty", "login")];

/// All notes for a machine with these PAM services. Also returns a fault for each name that could not be looked
/// up.
#[must_use]
pub fn of(policy: &Policy, services: &[String]) -> (Vec<String>, Vec<Fault>) {
    let (mut notes, failed) = unknown(policy);
    for rule in &policy.rules {
        for (glob, meant) in rule.service.wanted().filter_map(|glob| mistaken(&glob.to_string(), services)) {
            notes.push(format!("{}: no service is called {glob}: did you mean {meant}?", rule.place));
        }
        if let Some(exempt) = never_watched(rule) {
            notes.push(format!(
                "{}: never matches, because sessions of {exempt} are never watched",
                rule.place
            ));
        }
        if rule.is_for_no_terminal_of_sshd() {
            let place = &rule.place;
            notes.push(format!("{place}: never matches: the terminal of every session of sshd is ssh"));
        }
    }
    notes.extend(unreached(&policy.rules));
    (notes, failed)
}

/// The services that a rule matches, if sessions of these are never watched.
fn never_watched(rule: &Rule) -> Option<String> {
    let services: Vec<String> = rule.service.wanted().map(ToString::to_string).collect();
    let never = |service: &String| exceptions::exception(service, &Kind::default(), false).is_some();
    services.iter().all(never).then(|| services.join(", "))
}

/// Users and groups that do not exist, and those that could not be looked up.
fn unknown(policy: &Policy) -> (Vec<String>, Vec<Fault>) {
    let (mut notes, mut failed) = (Vec::new(), Vec::new());
    // Each name is looked up once, because a name service may take seconds.
    let mut answers = BTreeMap::new();
    for (rule, who) in policy.names() {
        let known = answers.entry(who.to_string()).or_insert_with(|| match who {
            Who::User(name) => nss::user_exists(name),
            Who::Group(name) => nss::group_exists(name),
            Who::Any | Who::Uids(..) => Ok(true),
        });
        match known {
            Ok(true) => {}
            Ok(false) => {
                let meant = group_meant(who);
                notes.push(format!("{}: {who} is not known on this machine{meant}", rule.place));
            }
            Err(problem) => failed.push(Fault::of_rule(&rule.place, &*problem)),
        }
    }
    (notes, failed)
}

/// An addition to the note about an unknown user: the group with that name, if there is one.
fn group_meant(who: &Who) -> String {
    match who {
        Who::User(name) if nss::group_exists(name) == Ok(true) => {
            format!(": did you mean {}?", Who::Group(name.clone()))
        }
        _ => String::new(),
    }
}

/// If a pattern is the mistaken name of a service: the pattern, and the service that is probably meant.
fn mistaken(glob: &str, services: &[String]) -> Option<(String, String)> {
    if services.iter().any(|service| service == glob) {
        return None;
    }
    // libpam uses the last part of a path as the name, in lower case.
    let name = glob.rsplit('/').next().unwrap_or(glob).to_ascii_lowercase();
    let meant = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == name).map(|(_, meant)| (*meant).to_owned());
    let meant = meant.unwrap_or(name);
    (meant != glob).then(|| (glob.to_owned(), meant))
}

/// Rules that match nobody, because of their own exceptions or because of an earlier rule.
fn unreached(rules: &[Rule]) -> Vec<String> {
    let users = Users::default();
    let known = |user: &str, who: &Who| users.is(user, who);
    let mut notes = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        if let Some(column) = rule.empty_column(&known) {
            notes.push(format!("{}: never matches: the exceptions in {column} leave nothing", rule.place));
            continue;
        }
        let Some(earlier) = rules.iter().take(at).find(|earlier| earlier.covers(rule, &known)) else {
            continue;
        };
        let everybody = earlier.is_for_everybody();
        let why = if everybody { "is for everybody" } else { "covers it" };
        notes.push(format!("{}: is never reached: {} {why}", rule.place, earlier.place));
        if everybody {
            // No later rule is reached either.
            break;
        }
    }
    notes
}

/// What name services know about users. They are asked each question once.
#[derive(Default)]
struct Users(RefCell<BTreeMap<(String, String), Option<bool>>>);

impl Users {
    fn is(&self, user: &str, who: &Who) -> Option<bool> {
        let key = (user.to_owned(), who.to_string());
        if let Some(known) = self.0.borrow().get(&key) {
            return *known;
        }
        let person = Person::named(user);
        let known = match who {
            Who::Any => Some(true),
            Who::User(name) => {
                Some(name == user || person.canonical().is_some_and(|user| user == name.as_str()))
            }
            Who::Group(group) => person.is_in(group).ok(),
            Who::Uids(first, last) => person
                .is_told()
                .ok()
                .map(|()| person.uid().is_some_and(|uid| (*first..=*last).contains(&uid))),
        };
        self.0.borrow_mut().insert(key, known);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::mistaken;

    #[test]
    fn mistaken_names_of_services_are_told_from_services_that_are_not_installed() {
        let installed = ["sshd", "login", "tty"].map(str::to_owned);
        let meant = |glob: &str| mistaken(glob, &installed).map(|(_, meant)| meant);
        for (glob, service) in [
            ("ssh", "sshd"),
            ("SSHD", "sshd"),
            ("/etc/pam.d/sshd", "sshd"),
            ("getty", "login"),
            ("Su*", "su*"),
        ] {
            assert_eq!(meant(glob).as_deref(), Some(service), "{glob}");
        }
        for glob in ["sshd", "gdm-password", "*", "s?", "tty"] {
            assert_eq!(meant(glob), None, "{glob}");
        }
    }
}
