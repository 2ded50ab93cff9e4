//! `kill=terminal`: the idle terminals end, and the connection stays while a command without a terminal works
//! on it. A session that opens there ends it, as soon as a look finds that session.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::unistd::Pid;

use crate::helper::session::WatchedSession;
use crate::helper::terminate::{Outcome, commands};
use crate::sys::clock::{Nanos, SECOND, from_duration};
use crate::sys::proc::{Proc, ProcId, Process};

/// A connection is kept until no data has gone either way for this long, or for the limit if that is shorter.
const SILENT: Nanos = 30 * SECOND;
/// How often a kept connection is looked at. No event tells that a session opens on it.
pub const LOOKS: Nanos = 2 * SECOND;
/// How long sshd may take to close a terminal whose processes have ended. Usually it takes milliseconds.
pub const TERMINAL_CLOSES: Nanos = 5 * SECOND;

/// Why a connection is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptUntil {
    /// The commands have ended.
    Done,
    /// The commands are there, but no data goes over the connection.
    Silent,
    /// A session was opened on the connection, or a terminal has not closed.
    Opened,
    /// The client has closed the connection.
    Closed,
}

impl KeptUntil {
    /// The value of `kept-until=` in the records of the end.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Silent => "silent",
            Self::Opened => "opened",
            Self::Closed => "closed",
        }
    }
}

/// A kept connection.
#[derive(Debug)]
pub(super) struct KeptConnection {
    /// sshd's own processes, which start the sessions.
    hosts: BTreeSet<Pid>,
    /// The commands without a terminal for which it is kept.
    work: BTreeSet<ProcId>,
    /// How the terminals have ended.
    pub results: Results,
    /// Why it is kept no longer.
    pub until: Option<KeptUntil>,
}

/// The results of an end, for its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub outcome: Outcome,
    /// The terminals that did not take the text.
    pub not_shown: Option<String>,
    /// The command names of the processes that were to end.
    pub commands: Vec<String>,
}

impl Results {
    /// The results of this end and of an earlier one of the same session.
    pub fn after(self, earlier: &Self) -> Self {
        Self {
            outcome: self.outcome.after(&earlier.outcome),
            not_shown: earlier.not_shown.clone().or(self.not_shown),
            commands: [earlier.commands.clone(), self.commands].concat(),
        }
    }
}

/// The sessions that sshd's own processes (`hosts`) have started: the shells on terminals, the commands without
/// a terminal, and sftp.
fn sessions(table: impl Iterator<Item = Process>, hosts: &BTreeSet<Pid>) -> impl Iterator<Item = Process> {
    table.filter(|process| {
        !process.dead && hosts.contains(&process.parent) && !hosts.contains(&process.id.pid)
    })
}

/// Whether data went over a connection a short time ago. `silence` is `None` if the connection is gone or
/// cannot be asked.
pub(super) fn is_busy(silence: Option<Duration>, limit: Option<Duration>) -> bool {
    let patience = limit.map_or(SILENT, |limit| from_duration(limit).min(SILENT));
    silence.is_some_and(|silence| from_duration(silence) < patience)
}

impl KeptConnection {
    /// The commands without a terminal on the session's connection. `None` if there is none. Then nothing keeps
    /// the connection.
    pub fn find(session: &WatchedSession) -> Option<Self> {
        let WatchedSession { proc, identity, finder, leader, terminals, .. } = session;
        let mut hosts: BTreeSet<Pid> =
            identity.connection_holders(proc).iter().map(|holder| holder.id.pid).collect();
        hosts.insert(identity.leader());
        let controlling = finder.controlling_sessions(terminals, leader, &[]);
        let work = sessions(proc.processes(), &hosts).filter(|one| !controlling.include(one, false));
        let work: BTreeSet<ProcId> = work.map(|one| one.id).collect();
        if work.is_empty() {
            return None;
        }
        Some(Self { hosts, work, results: Results::default(), until: None })
    }

    /// The sessions that are not among the work: they have opened since.
    pub fn newcomers(&self, proc: &Proc) -> Vec<ProcId> {
        let sessions = sessions(proc.processes(), &self.hosts).map(|one| one.id);
        sessions.filter(|id| !self.work.contains(id)).collect()
    }

    /// The command names of the work, for a field of a record.
    pub fn names(&self, proc: &Proc) -> Option<String> {
        commands::field(self.work.iter().filter_map(|id| proc.command_name(id.pid)))
    }

    /// Looks at the sessions. Returns whether the connection is kept no longer.
    pub fn is_over(&mut self, proc: &Proc, has_terminal: bool, is_busy: bool) -> bool {
        let sessions: Vec<ProcId> = sessions(proc.processes(), &self.hosts).map(|one| one.id).collect();
        self.until = self.judge(&sessions, has_terminal, is_busy);
        self.until.is_some()
    }

    /// Decides why the connection is kept no longer, from the present sessions. `None` if it is still kept.
    fn judge(&self, sessions: &[ProcId], has_terminal: bool, is_busy: bool) -> Option<KeptUntil> {
        // A person who comes back must authenticate. A terminal that stays belongs to a process that has left it
        // and may still read it.
        if has_terminal || sessions.iter().any(|id| !self.work.contains(id)) {
            return Some(KeptUntil::Opened);
        }
        match (sessions, is_busy) {
            ([], _) => Some(KeptUntil::Done),
            (_, false) => Some(KeptUntil::Silent),
            (_, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::Started;

    fn id(pid: i32) -> ProcId {
        ProcId { pid: Pid::from_raw(pid), started: Started(i64::from(pid)) }
    }

    fn process(pid: i32, parent: i32, dead: bool) -> Process {
        Process { id: id(pid), parent: Pid::from_raw(parent), session: Pid::from_raw(pid), tty: 0, dead }
    }

    /// sshd's two processes are 100 and 101. A transfer is 120.
    fn kept() -> KeptConnection {
        let hosts = [100, 101].map(Pid::from_raw).into();
        KeptConnection { hosts, work: [id(120)].into(), results: Results::default(), until: None }
    }

    #[test]
    fn only_what_sshd_started_is_a_session() {
        let table = [
            process(100, 1, false),
            process(101, 100, false),
            process(110, 101, false), // a shell
            process(111, 110, false), // a job of it
            process(120, 101, false), // a command
            process(121, 101, true),  // one that has ended
            process(130, 100, false), // a command of root's, on an old sshd
            process(140, 1, false),   // a daemon
        ];
        let found: Vec<i32> =
            sessions(table.into_iter(), &kept().hosts).map(|one| one.id.pid.as_raw()).collect();
        assert_eq!(found, [110, 120, 130]);
    }

    #[test]
    fn a_connection_is_kept_while_its_work_goes_on() {
        let kept = kept();
        assert_eq!(kept.judge(&[id(120)], false, true), None);
        assert_eq!(kept.judge(&[id(120)], false, false), Some(KeptUntil::Silent));
        for is_busy in [false, true] {
            assert_eq!(kept.judge(&[], false, is_busy), Some(KeptUntil::Done));
        }
    }

    #[test]
    fn whatever_opens_ends_it() {
        let kept = kept();
        for is_busy in [false, true] {
            assert_eq!(kept.judge(&[id(120)], true, is_busy), Some(KeptUntil::Opened));
            assert_eq!(kept.judge(&[id(120), id(150)], false, is_busy), Some(KeptUntil::Opened));
            assert_eq!(kept.judge(&[id(150)], false, is_busy), Some(KeptUntil::Opened));
            // The PID was used again.
            let again = ProcId { started: Started(7), ..id(120) };
            assert_eq!(kept.judge(&[again], false, is_busy), Some(KeptUntil::Opened));
        }
    }

    #[test]
    fn silence_is_half_a_minute_or_the_limit() {
        let busy =
            |silence, limit| is_busy(Some(Duration::from_secs(silence)), Some(Duration::from_secs(limit)));
        assert!(busy(29, 900) && !busy(30, 900));
        assert!(busy(9, 10) && !busy(10, 10));
        assert!(!is_busy(None, Some(Duration::from_secs(900))));
    }

    #[test]
    fn the_record_of_the_end_covers_both_parts() {
        let outcome = |hup, survivors: &[i32]| Outcome {
            hup,
            survivors: survivors.iter().copied().map(Pid::from_raw).collect(),
            ..Outcome::default()
        };
        let terminals = Results {
            outcome: outcome(2, &[7]),
            not_shown: Some("pts/3".to_owned()),
            commands: vec!["bash".to_owned()],
        };
        let rest = Results { outcome: outcome(0, &[]), not_shown: None, commands: vec!["sshd".to_owned()] };
        let both = rest.after(&terminals);
        assert_eq!(both.outcome, outcome(2, &[]));
        assert_eq!(
            (both.not_shown.as_deref(), both.commands.join(",")),
            (Some("pts/3"), "bash,sshd".to_owned())
        );
    }
}
