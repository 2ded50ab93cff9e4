//! What is known about one session, for the table and for JSON.

use std::time::Duration;

use crate::policy::RulePlace;
use crate::protocol::status::{State, Status};

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its name on the command line.
    pub name: String,
    pub user: String,
    pub uid: Option<u32>,
    /// The remote host. Empty if there is none.
    pub from: String,
    pub service: String,
    /// The names of its terminals. If a watchdog has told them, only the first.
    pub terminals: Vec<String>,
    pub terminal_count: usize,
    pub leader: i32,
    /// The PID of its watchdog.
    pub helper: Option<i32>,
    /// Whether somebody can type there.
    pub interactive: bool,
    pub finding: Finding,
}

/// How a session is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Its watchdog has told this.
    Told(Box<Status>),
    /// Its watchdog does not answer.
    Silent(String),
    /// Its watchdog is from before an upgrade, and cannot be asked.
    Outdated(String),
    /// It has no watchdog and needs none.
    Exempt { why: String, rule: Option<RulePlace> },
    /// It has no watchdog.
    Unwatched(String),
}

impl SessionRow {
    /// The state in one word.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.finding {
            Finding::Told(status) => status.state.word(),
            Finding::Silent(_) => "silent",
            Finding::Outdated(_) => "outdated",
            Finding::Exempt { .. } => State::Exempt.word(),
            Finding::Unwatched(_) => "unwatched",
        }
    }

    /// Why it is in this state, if its watchdog has not told.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match &self.finding {
            Finding::Told(_) => None,
            Finding::Silent(why) | Finding::Outdated(why) | Finding::Unwatched(why) => Some(why),
            Finding::Exempt { why, .. } => Some(why),
        }
    }

    #[must_use]
    pub fn told(&self) -> Option<&Status> {
        match &self.finding {
            Finding::Told(status) => Some(status),
            _ => None,
        }
    }

    #[must_use]
    pub fn rule(&self) -> Option<&RulePlace> {
        match &self.finding {
            Finding::Told(status) => status.settings.rule.as_ref(),
            Finding::Exempt { rule, .. } => rule.as_ref(),
            _ => None,
        }
    }

    /// Whether an administrator must act: the session is not guarded, or nobody knows whether it is.
    #[must_use]
    pub fn is_unguarded(&self) -> bool {
        match self.finding {
            Finding::Silent(_) => true,
            Finding::Unwatched(_) => self.interactive,
            Finding::Told(_) | Finding::Outdated(_) | Finding::Exempt { .. } => false,
        }
    }

    /// What ends next comes first. What has no end follows, and what is not guarded comes last, next to the
    /// reasons.
    fn order(&self) -> (u8, Duration) {
        let none = Duration::ZERO;
        match &self.finding {
            Finding::Told(status) => status.ends_in.map_or((1, none), |left| (0, left)),
            Finding::Exempt { .. } => (2, none),
            Finding::Outdated(_) => (3, none),
            Finding::Silent(_) => (4, none),
            Finding::Unwatched(_) => (5, none),
        }
    }
}

/// Sorts the sessions for the reader.
pub fn sort(rows: &mut [SessionRow]) {
    rows.sort_by_key(|row| (row.order(), row.leader));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::policy::{Options, Settings};

    /// What a watchdog tells about a session with this limit, in seconds.
    pub fn status(state: State, idle: u64, limit: u64, ends_in: Option<u64>) -> Status {
        let seconds = Duration::from_secs;
        let settings = Settings::of(&Options::of_line([format!("timeout={limit}").as_str()]).unwrap(), None);
        Status {
            state,
            terminals: vec!["pts/3".to_owned()],
            terminal_count: 1,
            idle: seconds(idle),
            limit: Some(seconds(limit)),
            ends_in: ends_in.map(seconds),
            extended: None,
            by: Some("terminal".to_owned()),
            witness: "connection".to_owned(),
            terminals_by: "masters".to_owned(),
            members_by: "scope".to_owned(),
            credits: 3,
            disbelieved: 0,
            members: None,
            settings: Settings {
                rule: Some("/etc/security/idle_watchdog.conf:12".parse().unwrap()),
                ..settings
            },
        }
    }

    pub fn told(status: Status) -> Finding {
        Finding::Told(Box::new(status))
    }

    pub fn row(name: &str, leader: i32, finding: Finding) -> SessionRow {
        SessionRow {
            name: name.to_owned(),
            user: "alice".to_owned(),
            uid: Some(1000),
            from: "192.0.2.7".to_owned(),
            service: "sshd".to_owned(),
            terminals: vec!["pts/3".to_owned()],
            terminal_count: 1,
            leader,
            helper: Some(leader + 1),
            interactive: true,
            finding,
        }
    }

    /// One session of each kind.
    pub fn sessions() -> Vec<SessionRow> {
        let exempt =
            Finding::Exempt { why: "exempt by /f:3".to_owned(), rule: Some("/f:3".parse().unwrap()) };
        vec![
            row("1", 10, Finding::Unwatched("opened before installation".to_owned())),
            row("2", 20, told(status(State::Watched, 100, 900, Some(800)))),
            row("3", 30, told(status(State::Warned, 850, 900, Some(50)))),
            row("4", 40, told(status(State::Ending, 900, 900, Some(0)))),
            row("5", 50, told(status(State::Reporting, 5000, 900, None))),
            row("pid:60", 60, exempt),
            row("7", 70, Finding::Silent("it gave no answer in time".to_owned())),
            row("8", 80, Finding::Outdated("it has another version".to_owned())),
        ]
    }

    #[test]
    fn what_ends_next_comes_first_and_what_is_not_guarded_last() {
        let mut rows = sessions();
        sort(&mut rows);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["4", "3", "2", "5", "pid:60", "8", "7", "1"]);
        let unguarded: Vec<&str> =
            rows.iter().filter(|row| row.is_unguarded()).map(|row| row.name.as_str()).collect();
        assert_eq!(unguarded, ["7", "1"]);
    }

    #[test]
    fn nobody_can_type_in_a_session_without_a_terminal() {
        let row = row("1", 10, Finding::Unwatched("opened before installation".to_owned()));
        assert!(row.is_unguarded() && !SessionRow { interactive: false, ..row }.is_unguarded());
    }
}
