//! The PAM line that applies to an open session now. The files may have changed since the session opened.

use crate::command::machine::Machine;
use crate::command::pam_stack::simulation::joined;
use crate::command::pam_stack::stack::Entry;
use crate::command::pam_stack::succeed_if::{self, UserFacts};
use crate::login::Login;
use crate::sys::nss::Person;

/// What is known about the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurrentLine {
    /// The line at this place, with these options.
    Known(String, Vec<String>),
    /// The line depends on the login, so it is no longer known. The text says why.
    Unclear(String),
    /// There is no longer such a line, for this reason.
    Gone(String),
}

/// Finds the line of a service, for one login to it or for any.
#[must_use]
pub fn line(machine: &Machine, service: &str, login: Option<&Login>) -> CurrentLine {
    let person = Person::named(login.map(Login::user).unwrap_or_default());
    let user = UserFacts { uid: &|| person.uid(), is_in: &|group| person.is_in(group).ok() };
    let known = |entry: &Entry| login.and_then(|login| succeed_if::result(entry, login, &user));
    let simulation = match machine.simulate_service(service, &known) {
        Ok(simulation) => simulation,
        Err(why) => return CurrentLine::Gone(why),
    };
    if let Some(line) = simulation.only_line() {
        return CurrentLine::Known(line.place.clone(), line.words.clone());
    }
    if simulation.cases.iter().all(Vec::is_empty) {
        return CurrentLine::Gone(simulation.why_none_runs());
    }
    let lines: Vec<&str> = simulation.ours().map(|line| line.place.as_str()).collect();
    CurrentLine::Unclear(match simulation.skipping.is_empty() {
        true => format!("there are several pam_idle_watchdog.so lines: {}", lines.join(", ")),
        false => format!("it depends on {} which line runs", joined(&simulation.skipping)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    const LINE: &str = "session required pam_idle_watchdog.so timeout=15m kill=none";

    fn now(ours: &str) -> CurrentLine {
        line(&Tree::with(ours).machine(), "sshd", None)
    }

    #[test]
    fn the_options_are_those_of_the_only_line() {
        let words = ["timeout=15m", "kill=none"].map(str::to_owned).to_vec();
        assert_eq!(now(LINE), CurrentLine::Known("/etc/pam.d/sshd:9".to_owned(), words));
    }

    #[test]
    fn nothing_is_guessed_if_it_depends_on_the_login() {
        let jump = "session [success=1 default=ignore] pam_succeed_if.so user = a";
        let by =
            "it depends on /etc/pam.d/sshd:9 ([success=1 default=ignore] pam_succeed_if.so) which line runs";
        assert_eq!(now(&format!("{jump}\n{LINE}")), CurrentLine::Unclear(by.to_owned()));
        let several = "there are several pam_idle_watchdog.so lines: /etc/pam.d/sshd:9, /etc/pam.d/sshd:10";
        assert_eq!(now(&format!("{LINE}\n{LINE}")), CurrentLine::Unclear(several.to_owned()));
    }

    #[test]
    fn the_condition_of_one_login_is_known() {
        let tree = Tree::with(&format!(
            "session [success=1 default=ignore] pam_succeed_if.so quiet user = alice\n{LINE}"
        ));
        let of = |user: &str| {
            let login = Login { service: "sshd".into(), user: Some(user.into()), ..Login::default() };
            line(&tree.machine(), "sshd", Some(&login))
        };
        assert!(matches!(of("alice"), CurrentLine::Gone(_)));
        assert!(matches!(of("bob"), CurrentLine::Known(place, _) if place == "/etc/pam.d/sshd:10"));
    }

    #[test]
    fn a_line_that_does_not_run_any_more_is_gone() {
        let gone = |line| matches!(line, CurrentLine::Gone(_));
        assert!(gone(now("")));
        assert!(gone(now(&format!("session sufficient pam_foo.so\n{LINE}"))));
        let tree = Tree::with(LINE);
        tree.remove("etc/pam.d/sshd");
        assert!(gone(line(&tree.machine(), "sshd", None)));
    }
}
