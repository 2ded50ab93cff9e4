//! The PAM line of a session that is open, as the files have it now.

use crate::command::machine::Machine;
use crate::command::pam_stack::simulation::joined;

/// What the line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurrentLine {
    /// At this place, with these words.
    Known(String, Vec<String>),
    /// It depends on the login, which is over, and why.
    Unclear(String),
    /// There is none any more, and why.
    Gone(String),
}

/// That of a service.
#[must_use]
pub fn line(machine: &Machine, service: &str) -> CurrentLine {
    let simulation = match machine.simulate_service(service, &|_| None) {
        Ok(simulation) => simulation,
        Err(why) => return CurrentLine::Gone(why),
    };
    if let Some(line) = simulation.only_line() {
        return CurrentLine::Known(line.place.clone(), line.words.clone());
    }
    if simulation.cases.iter().all(Vec::is_empty) {
        return CurrentLine::Gone(simulation.never());
    }
    let lines: Vec<&str> = simulation.ours().map(|line| line.place.as_str()).collect();
    CurrentLine::Unclear(match simulation.skipping.is_empty() {
        true => format!("there are several: {}", lines.join(", ")),
        false => format!("it depends on {} which one runs", joined(&simulation.skipping)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    const LINE: &str = "session required pam_idle_watchdog.so timeout=15m kill=none";

    fn now(ours: &str) -> CurrentLine {
        line(&Tree::with(ours).machine(), "sshd")
    }

    #[test]
    fn the_words_are_those_of_the_only_line() {
        let words = ["timeout=15m", "kill=none"].map(str::to_owned).to_vec();
        assert_eq!(now(LINE), CurrentLine::Known("/etc/pam.d/sshd:9".to_owned(), words));
    }

    #[test]
    fn where_it_depends_on_the_login_nothing_is_guessed() {
        let jump = "session [success=1 default=ignore] pam_succeed_if.so user = a";
        let by =
            "it depends on /etc/pam.d/sshd:9 ([success=1 default=ignore] pam_succeed_if.so) which one runs";
        assert_eq!(now(&format!("{jump}\n{LINE}")), CurrentLine::Unclear(by.to_owned()));
        let several = "there are several: /etc/pam.d/sshd:9, /etc/pam.d/sshd:10";
        assert_eq!(now(&format!("{LINE}\n{LINE}")), CurrentLine::Unclear(several.to_owned()));
    }

    #[test]
    fn a_line_that_is_gone_is_lost() {
        let lost = |line| matches!(line, CurrentLine::Gone(_));
        assert!(lost(now("")));
        assert!(lost(now(&format!("session sufficient pam_foo.so\n{LINE}"))));
        let tree = Tree::with(LINE);
        tree.remove("etc/pam.d/sshd");
        assert!(lost(line(&tree.machine(), "sshd")));
    }
}
