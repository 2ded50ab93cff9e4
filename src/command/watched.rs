//! Whether anybody watches the sessions of a service: without a watchdog, the settings of a login are
//! worth nothing.

use super::condition::{self, Known};
use super::control::Code;
use super::course::{Course, joined};
use super::machine::Machine;
use super::sshd::Sshd;
use super::stack::Entry;
use super::system;
use super::verdict::Decided;
use crate::login::Login;
use crate::policy::{Kill, exceptions};
use crate::protocol::start::HELPER;
use crate::sys::logind::Kind;
use crate::sys::nss::{self, Person};

/// Whether a login is watched, and why, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whether it is.
    pub watched: bool,
    /// In words.
    pub because: String,
}

impl Watched {
    fn no(because: impl Into<String>) -> Self {
        Self { watched: false, because: because.into() }
    }
}

/// Which PAM line holds for a login.
#[derive(Clone, Debug)]
pub enum Found {
    /// None: it was given on the command line.
    Given,
    /// This one, which runs for this reason.
    Line(Box<Entry>, String),
    /// None, and why.
    None(String),
}

/// How the stack of a service treats our lines.
///
/// # Errors
///
/// Why there are none.
pub fn course(
    machine: &Machine,
    service: &str,
    known: &impl Fn(&Entry) -> Option<Code>,
) -> Result<Course, String> {
    let stack = machine.libpam.service(service);
    let stack =
        stack.ok_or_else(|| format!("there is no file for the service {service}, nor one for other"))?;
    let course = machine.course_with(&stack, known);
    if course.ours().next().is_some() {
        return Ok(course);
    }
    let why = match machine.libpam.stack(service) {
        Some(_) => format!("the session stack of {service} has no line of ours"),
        None => format!("{service} has no file, and the session stack of other has no line of ours"),
    };
    let misspelled: String = stack.misspelled.iter().map(|line| format!("; {line}")).collect();
    Err(why + &misspelled)
}

/// Looks for the line of a service, or of the login that is asked about.
#[must_use]
pub fn line(machine: &Machine, service: &str, login: Option<&Login>) -> Found {
    let person = Person::named(login.map(Login::user).unwrap_or_default());
    let user = Known { uid: &|| person.uid(), is_in: &|group| person.is_in(group).ok() };
    let known = |entry: &Entry| login.and_then(|login| condition::answer(entry, login, &user));
    let course = match course(machine, service, &known) {
        Ok(course) => course,
        Err(why) => return Found::None(why),
    };
    let way = course.ways.iter().find(|way| !way.is_empty());
    let lines: Vec<&Entry> = way.into_iter().flatten().filter_map(|at| course.entries.get(*at)).collect();
    // A line that exempts by itself leaves the session to the next.
    let guards = |line: &&&Entry| !line.words.iter().any(|word| word == "timeout=off");
    match lines.iter().find(guards).or(lines.first()).copied() {
        Some(line) => Found::Line(Box::new(line.clone()), runs(&course, line)),
        None => Found::None(course.never()),
    }
}

/// Why a line runs.
fn runs(course: &Course, line: &Entry) -> String {
    let place = &line.place;
    if course.ways.len() == 1 {
        return format!("{place} runs whenever a session opens");
    }
    let others: Vec<&str> =
        course.ours().map(|other| other.place.as_str()).filter(|other| other != place).collect();
    match others.is_empty() {
        true => format!("{place} runs, unless it is passed over by {}", joined(&course.passing)),
        false => format!(
            "{place} may run: it depends on {} whether it runs, or another line ({}), or none",
            joined(&course.passing),
            others.join(", ")
        ),
    }
}

/// Judges a login, for which these settings hold.
#[must_use]
pub fn judge(machine: &Machine, login: &Login, found: &Found, decided: &Decided, origin: &str) -> Watched {
    let service = login.service_text();
    let service = service.as_ref();
    if let Some(exception) = exceptions::exception(service, &Kind::default(), false) {
        return Watched::no(format!("sessions of {service} are never watched: {}", exception.because));
    }
    if nss::user_exists(login.user()) == Ok(false) {
        return Watched::no("nobody of that name is known here");
    }
    let because = match found {
        Found::None(why) => return Watched::no(why.clone()),
        Found::Given => "the PAM line was given; the stack was not looked at".to_owned(),
        Found::Line(_, why) => {
            let sshd = machine.sshd_for(&login.user_text(), &login.rhost_text());
            if let Some(why) = sshd.without_pam().filter(|_| service == sshd.service()) {
                return Watched::no(why);
            }
            let named = sshd.service().to_owned();
            if service == "sshd" && named != *service {
                return Watched::no(format!(
                    "sshd names the service {named} to PAM: ask with --service {named}"
                ));
            }
            if let Some(why) = system::helper_fails(&machine.file(HELPER)) {
                return Watched::no(why);
            }
            match sshd {
                Sshd::Silent(said) if *service == named => {
                    format!("{why}, if sshd uses PAM; it did not say: {said}")
                }
                _ => why.clone(),
            }
        }
    };
    match (decided.settings.limit, decided.settings.kill) {
        (None, _) => Watched::no(format!("{} says timeout=off", decided.by("timeout", origin))),
        (Some(_), Kill::None) => {
            Watched { watched: true, because: format!("{because}; but kill=none ends nobody") }
        }
        (Some(_), _) => Watched { watched: true, because },
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;
    use crate::policy::{Options, Settings};

    /// What is said of a login by a service with these words in force.
    fn said(tree: &Tree, service: &str, words: &str) -> (bool, String) {
        let machine = tree.machine();
        let read = Options::of_line(words.split_whitespace()).unwrap();
        let origins = Settings::origins(&read, None);
        let decided = Decided { settings: Settings::of(&read, None), rule: None, origins };
        let [user, rhost, tty] = ["root", "192.0.2.7", "ssh"].map(|item| Some(item.into()));
        let login = Login { service: service.into(), user, uid: None, rhost, tty };
        let Watched { watched, because } =
            judge(&machine, &login, &line(&machine, service, Some(&login)), &decided, "LINE");
        (watched, because)
    }

    #[test]
    fn a_login_is_watched_where_a_line_of_ours_runs() {
        let tree = Tree::with("session required pam_idle_watchdog.so");
        let (watched, because) = said(&tree, "sshd", "timeout=15m");
        assert_eq!((watched, because.as_str()), (true, "/etc/pam.d/sshd:9 runs whenever a session opens"));
        let (watched, because) = said(&tree, "sshd", "kill=none");
        assert!(watched && because.ends_with("but kill=none ends nobody"), "{because}");
        assert_eq!(said(&tree, "sshd", "timeout=off"), (false, "LINE says timeout=off".to_owned()));
    }

    #[test]
    fn a_login_is_not_watched_where_none_runs() {
        let tree = Tree::with("session required pam_idle_watchdog.so");
        tree.put("etc/pam.d/login", "@include common-session\n");
        let not = |tree: &Tree, service: &str, why: &str| {
            let (watched, because) = said(tree, service, "");
            assert!(!watched && because.contains(why), "{service}: {because}");
        };
        not(&tree, "cron", "never watched");
        not(&tree, "login", "the session stack of login has no line of ours");
        not(&tree, "nosuch", "nosuch has no file");
        for (line, says) in [
            ("sesion required pam_idle_watchdog.so", "sesion is no type of line: did you mean session?"),
            ("session required pam_idle_watchdog", "no module is called pam_idle_watchdog: did you mean"),
        ] {
            let why = format!("the session stack of sshd has no line of ours; /etc/pam.d/sshd:9: {says}");
            let tree = Tree::with(line);
            not(&tree, "sshd", &why);
            let machine = tree.machine();
            let weak = machine.course(&machine.libpam.service("sshd").unwrap()).weak;
            assert!(weak.iter().any(|weak| weak.contains(says)), "{weak:?}");
        }
        tree.sshd("usepam no");
        not(&tree, "sshd", "sshd does not use PAM");
        tree.sshd("usepam yes\npamservicename ssh-ops");
        not(&tree, "sshd", "ask with --service ssh-ops");
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
    fn what_depends_on_the_login_is_said() {
        let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user =~ backup*";
        let line = "session required pam_idle_watchdog.so";
        let (watched, because) = said(&Tree::with(&format!("{jump}\n{line}")), "sshd", "");
        assert!(watched && because.contains("unless it is passed over by /etc/pam.d/sshd:9 ("), "{because}");
        let (_, because) = said(&Tree::with(&format!("{jump}\n{line}\n{line}")), "sshd", "");
        assert!(because.contains("whether it runs, or another line"), "{because}");
        // Of one login it can be told.
        let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user = root";
        let (watched, because) = said(&Tree::with(&format!("{jump}\n{line}")), "sshd", "");
        assert!(!watched && because.contains("passed over by /etc/pam.d/sshd:9 ("), "{because}");
        let (watched, because) =
            said(&Tree::with(&format!("{jump}\n{line}").replace("= root", "!= root")), "sshd", "");
        assert_eq!((watched, because.as_str()), (true, "/etc/pam.d/sshd:10 runs whenever a session opens"));
        let tree = Tree::with(line);
        tree.program("usr/sbin/sshd", "#!/bin/sh\necho no hostkeys >&2\nexit 1\n");
        let (watched, because) = said(&tree, "sshd", "");
        assert!(watched && because.ends_with("if sshd uses PAM; it did not say: no hostkeys"), "{because}");
    }
}
