//! `kill=terminal`: the idle terminals end, and the connection stays while a command without a terminal works
//! on it. A session that opens there ends it, as soon as a look finds that session.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use nix::unistd::Pid;

use crate::helper::session::WatchedSession;
use crate::helper::terminate::{Outcome, commands};
use crate::sys::clock::{Nanos, SECOND, from_duration};
use crate::sys::proc::{Proc, ProcId, Process};
use crate::sys::socket::Silence;

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
    /// A look has found that the client has closed the connection.
    is_closing: bool,
}

/// Whether data goes over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Data went over it a short time ago.
    Busy,
    /// No data for a longer time, or it cannot be asked.
    Silent,
    /// One side has closed it.
    Closed,
}

impl Traffic {
    /// From what the connection has answered. It is `None` if the connection is gone.
    pub fn of(silence: io::Result<Option<Silence>>, limit: Option<Duration>) -> Self {
        let patience = limit.map_or(SILENT, |limit| from_duration(limit).min(SILENT));
        match silence {
            Ok(None) => Self::Closed,
            Ok(Some(silence)) if !silence.is_open => Self::Closed,
            Ok(Some(silence)) if from_duration(silence.both_ways()) < patience => Self::Busy,
            Ok(Some(_)) | Err(_) => Self::Silent,
        }
    }
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
        Some(Self { hosts, work, results: Results::default(), until: None, is_closing: false })
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
    pub fn is_over(&mut self, proc: &Proc, has_terminal: bool, traffic: Traffic) -> bool {
        let sessions: Vec<ProcId> = sessions(proc.processes(), &self.hosts).map(|one| one.id).collect();
        self.looked(&sessions, has_terminal, traffic)
    }

    fn looked(&mut self, sessions: &[ProcId], has_terminal: bool, traffic: Traffic) -> bool {
        self.until = self.judge(sessions, has_terminal, traffic);
        // sshd closes the session by itself when the client has closed the connection. It has time until the next look.
        if self.until == Some(KeptUntil::Closed) && !self.is_closing {
            self.is_closing = true;
            self.until = None;
        }
        self.until.is_some()
    }

    /// Decides why the connection is kept no longer, from the present sessions. `None` if it is still kept.
    fn judge(&self, sessions: &[ProcId], has_terminal: bool, traffic: Traffic) -> Option<KeptUntil> {
        // A person who comes back must authenticate. A terminal that stays belongs to a process that has left it
        // and may still read it.
        if has_terminal || sessions.iter().any(|id| !self.work.contains(id)) {
            return Some(KeptUntil::Opened);
        }
        match (sessions, traffic) {
            (_, Traffic::Closed) => Some(KeptUntil::Closed),
            ([], _) => Some(KeptUntil::Done),
            (_, Traffic::Silent) => Some(KeptUntil::Silent),
            (_, Traffic::Busy) => None,
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
        KeptConnection {
            hosts,
            work: [id(120)].into(),
            results: Results::default(),
            until: None,
            is_closing: false,
        }
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
        assert_eq!(kept.judge(&[id(120)], false, Traffic::Busy), None);
        assert_eq!(kept.judge(&[id(120)], false, Traffic::Silent), Some(KeptUntil::Silent));
        for traffic in [Traffic::Busy, Traffic::Silent] {
            assert_eq!(kept.judge(&[], false, traffic), Some(KeptUntil::Done));
        }
    }

    #[test]
    fn sshd_has_until_the_next_look_to_close_what_the_client_has_closed() {
        // The commands of such a session may be gone before sshd is, or stay.
        for sessions in [&[][..], &[id(120)]] {
            let mut kept = kept();
            assert!(!kept.looked(sessions, false, Traffic::Closed));
            assert!(kept.looked(sessions, false, Traffic::Closed));
            assert_eq!(kept.until, Some(KeptUntil::Closed));
        }
        let mut kept = kept();
        assert!(kept.looked(&[], false, Traffic::Silent));
        assert_eq!(kept.until, Some(KeptUntil::Done));
    }

    #[test]
    fn whatever_opens_ends_it() {
        let kept = kept();
        for traffic in [Traffic::Busy, Traffic::Silent, Traffic::Closed] {
            assert_eq!(kept.judge(&[id(120)], true, traffic), Some(KeptUntil::Opened));
            assert_eq!(kept.judge(&[id(120), id(150)], false, traffic), Some(KeptUntil::Opened));
            assert_eq!(kept.judge(&[id(150)], false, traffic), Some(KeptUntil::Opened));
            // The PID was used again.
            let again = ProcId { started: Started(7), ..id(120) };
            assert_eq!(kept.judge(&[again], false, traffic), Some(KeptUntil::Opened));
        }
    }

    #[test]
    fn silence_is_half_a_minute_or_the_limit() {
        let traffic = |silence, limit| {
            let [received, sent] = [silence, silence + 5].map(Duration::from_secs);
            Traffic::of(Ok(Some(Silence { received, sent, is_open: true })), Some(Duration::from_secs(limit)))
        };
        assert_eq!([traffic(29, 900), traffic(30, 900)], [Traffic::Busy, Traffic::Silent]);
        assert_eq!([traffic(9, 10), traffic(10, 10)], [Traffic::Busy, Traffic::Silent]);
    }

    #[test]
    fn a_connection_that_is_gone_or_that_a_side_has_closed_has_no_traffic() {
        let of = |answer| Traffic::of(answer, Some(Duration::from_secs(900)));
        let [received, sent] = [Duration::ZERO; 2];
        assert_eq!(of(Ok(Some(Silence { received, sent, is_open: true }))), Traffic::Busy);
        assert_eq!(of(Ok(Some(Silence { received, sent, is_open: false }))), Traffic::Closed);
        assert_eq!(of(Ok(None)), Traffic::Closed);
        assert_eq!(of(Err(io::ErrorKind::PermissionDenied.into())), Traffic::Silent);
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
