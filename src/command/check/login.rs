//! `check --user`: whether a login is watched at all. If it is not, its settings have no effect.

use super::verdict::PolicyDecision;
use crate::command::installed_helper;
use crate::command::machine::Machine;
use crate::command::pam_stack::simulation::{Simulation, joined};
use crate::command::pam_stack::stack::Entry;
use crate::command::pam_stack::succeed_if::{self, UserFacts};
use crate::command::sshd::Sshd;
use crate::login::Login;
use crate::policy::{Kill, exceptions};
use crate::protocol::start::HELPER;
use crate::sys::logind::Kind;
use crate::sys::nss::{self, Person};

/// Whether a login is watched, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginVerdict {
    pub watched: bool,
    pub because: String,
}

impl LoginVerdict {
    fn no(because: impl Into<String>) -> Self {
        Self { watched: false, because: because.into() }
    }
}

/// The PAM line that applies to a login.
#[derive(Clone, Debug)]
pub enum LineSource {
    /// The line from the command line.
    Given,
    /// This line of the stack. The text says when it runs.
    Stack(Box<Entry>, String),
    /// No line, for this reason.
    None(String),
}

/// Finds the line that runs for a service, or for one login to it.
#[must_use]
pub fn line(machine: &Machine, service: &str, login: Option<&Login>) -> LineSource {
    let person = Person::named(login.map(Login::user).unwrap_or_default());
    let user = UserFacts { uid: &|| person.uid(), is_in: &|group| person.is_in(group).ok() };
    let known = |entry: &Entry| login.and_then(|login| succeed_if::result(entry, login, &user));
    let simulation = match machine.simulate_service(service, &known) {
        Ok(simulation) => simulation,
        Err(why) => return LineSource::None(why),
    };
    let case = simulation.cases.iter().find(|case| !case.is_empty());
    let lines: Vec<&Entry> =
        case.into_iter().flatten().filter_map(|at| simulation.entries.get(*at)).collect();
    // A line with `timeout=off` leaves the session to the next line.
    let guards = |line: &&&Entry| !line.words.iter().any(|word| word == "timeout=off");
    match lines.iter().find(guards).or(lines.first()).copied() {
        Some(line) => LineSource::Stack(Box::new(line.clone()), when_it_runs(&simulation, line)),
        None => LineSource::None(simulation.why_none_runs()),
    }
}

/// When a line runs.
fn when_it_runs(simulation: &Simulation, line: &Entry) -> String {
    let place = &line.place;
    if simulation.cases.len() == 1 {
        return format!("{place} runs whenever a session opens");
    }
    let others: Vec<&str> =
        simulation.ours().map(|other| other.place.as_str()).filter(|other| other != place).collect();
    match others.is_empty() {
        true => format!("{place} runs, unless {} skips it", joined(&simulation.skipping)),
        false => format!(
            "{place} may run: it depends on {} whether this line runs, another one ({}), or none",
            joined(&simulation.skipping),
            others.join(", ")
        ),
    }
}

/// Judges a login to which these settings apply.
#[must_use]
pub fn judge(
    machine: &Machine,
    login: &Login,
    found: &LineSource,
    decided: &PolicyDecision,
    origin: &str,
) -> LoginVerdict {
    let service = login.service_text();
    let service = service.as_ref();
    if let Some(exception) = exceptions::exception(service, &Kind::default(), false) {
        return LoginVerdict::no(format!("sessions of {service} are never watched: {}", exception.because));
    }
    if nss::user_exists(login.user()) == Ok(false) {
        return LoginVerdict::no("there is no such user on this machine");
    }
    let because = match found {
        LineSource::None(why) => return LoginVerdict::no(why.clone()),
        LineSource::Given => "the PAM line was given with --line, so the stack was not checked".to_owned(),
        LineSource::Stack(_, why) => {
            let sshd = machine.sshd_for(&login.user_text(), &login.rhost_text());
            match sshd.without_pam() {
                Some(why) if service == sshd.service() => return LoginVerdict::no(why),
                _ => {}
            }
            let named = sshd.service().to_owned();
            if service == "sshd" && named != *service {
                return LoginVerdict::no(format!(
                    "sshd uses the PAM service {named}: check with --service {named}"
                ));
            }
            if let Some(why) = installed_helper::fails(&machine.file(HELPER)) {
                return LoginVerdict::no(why);
            }
            match sshd {
                Sshd::Silent(said) if *service == named => {
                    format!("{why}, if sshd uses PAM; this could not be checked: {said}")
                }
                _ => why.clone(),
            }
        }
    };
    match (decided.settings.limit, decided.settings.kill) {
        (None, _) => LoginVerdict::no(format!("{} says timeout=off", decided.by("timeout", origin))),
        (Some(_), Kill::None) => {
            LoginVerdict { watched: true, because: format!("{because}; but kill=none ends no session") }
        }
        (Some(_), _) => LoginVerdict { watched: true, because },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;
    use crate::policy::{Options, Settings};

    /// The verdict on a login to a service with these options.
    fn said(tree: &Tree, service: &str, words: &str) -> (bool, String) {
        let machine = tree.machine();
        let read = Options::of_line(words.split_whitespace()).unwrap();
        let origins = Settings::origins(&read, None);
        let decided = PolicyDecision { settings: Settings::of(&read, None), rule: None, origins };
        let [user, rhost, tty] = ["root", "192.0.2.7", "ssh"].map(|item| Some(item.into()));
        let login = Login { service: service.into(), user, uid: None, rhost, tty };
        let LoginVerdict { watched, because } =
            judge(&machine, &login, &line(&machine, service, Some(&login)), &decided, "LINE");
        (watched, because)
    }

    #[test]
    fn a_login_is_watched_if_a_line_of_ours_runs() {
        let tree = Tree::with("session required pam_idle_watchdog.so");
        let (watched, because) = said(&tree, "sshd", "timeout=15m");
        assert_eq!((watched, because.as_str()), (true, "/etc/pam.d/sshd:9 runs whenever a session opens"));
        let (watched, because) = said(&tree, "sshd", "kill=none");
        assert!(watched && because.ends_with("but kill=none ends no session"), "{because}");
        assert_eq!(said(&tree, "sshd", "timeout=off"), (false, "LINE says timeout=off".to_owned()));
    }

    #[test]
    fn a_login_is_not_watched_if_none_runs() {
        let tree = Tree::with("session required pam_idle_watchdog.so");
        tree.put("etc/pam.d/login", "@include common-session\n");
        let not = |tree: &Tree, service: &str, why: &str| {
            let (watched, because) = said(tree, service, "");
            assert!(!watched && because.contains(why), "{service}: {because}");
        };
        not(&tree, "cron", "never watched");
        not(&tree, "login", "the session stack of login has no pam_idle_watchdog.so line");
        not(&tree, "nosuch", "nosuch has no file");
        for (line, says) in [
            ("sesion required pam_idle_watchdog.so", "sesion is not a line type: did you mean session?"),
            ("session required pam_idle_watchdog", "no module is called pam_idle_watchdog: did you mean"),
        ] {
            let why = format!(
                "the session stack of sshd has no pam_idle_watchdog.so line; /etc/pam.d/sshd:9: {says}"
            );
            let tree = Tree::with(line);
            not(&tree, "sshd", &why);
            let machine = tree.machine();
            let warnings = machine.simulate(&machine.libpam.service("sshd").unwrap()).warnings;
            assert!(warnings.iter().any(|warnings| warnings.contains(says)), "{warnings:?}");
        }
        tree.sshd("usepam no");
        not(&tree, "sshd", "sshd does not use PAM");
        tree.sshd("usepam yes\npamservicename ssh-ops");
        not(&tree, "sshd", "check with --service ssh-ops");
        tree.sshd("usepam yes");
        tree.remove(crate::protocol::start::HELPER.trim_start_matches('/'));
        not(&tree, "sshd", "no session can be guarded");
        not(&Tree::with("session requird pam_idle_watchdog.so"), "sshd", "no session opens");
        not(
            &Tree::with("session optional pam_missing/pam_idle_watchdog.so"),
            "sshd",
            "there is no pam_missing/",
        );
    }

    #[test]
    fn a_conditional_line_is_named() {
        let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user =~ backup*";
        let line = "session required pam_idle_watchdog.so";
        let (watched, because) = said(&Tree::with(&format!("{jump}\n{line}")), "sshd", "");
        assert!(watched && because.contains("unless /etc/pam.d/sshd:9 ("), "{because}");
        let (_, because) = said(&Tree::with(&format!("{jump}\n{line}\n{line}")), "sshd", "");
        assert!(because.contains("whether this line runs, another one (/etc"), "{because}");
        // For one login the result is known.
        let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user = root";
        let (watched, because) = said(&Tree::with(&format!("{jump}\n{line}")), "sshd", "");
        assert!(!watched && because.contains("runs: /etc/pam.d/sshd:9 ("), "{because}");
        let (watched, because) =
            said(&Tree::with(&format!("{jump}\n{line}").replace("= root", "!= root")), "sshd", "");
        assert_eq!((watched, because.as_str()), (true, "/etc/pam.d/sshd:10 runs whenever a session opens"));
        let tree = Tree::with(line);
        tree.program("usr/sbin/sshd", "#!/bin/sh\necho no hostkeys >&2\nexit 1\n");
        let (watched, because) = said(&tree, "sshd", "");
        assert!(
            watched && because.ends_with("if sshd uses PAM; this could not be checked: no hostkeys"),
            "{because}"
        );
    }
}
