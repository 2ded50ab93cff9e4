//! The last step: all remaining processes get SIGKILL, repeatedly, until none is left.
//!
//! After each complete survey [`Bounds`] decides whether another one is needed. A process is killed as soon as
//! the survey finds it. This needs no descriptor that stays open, so it works for any number of processes.
//!
//! In a chain of forks each process starts the next one and exits. Such a chain may be faster than a survey of
//! thousands of processes. So between two surveys only the newest processes are looked at, again and again.
//! Each time takes microseconds, and the last process of the chain is one of the newest.

use std::collections::BTreeMap;

use nix::libc::SIGKILL;

use crate::helper::members::{Member, Survey};
use crate::helper::terminate::bounds::{Bounds, Next};
use crate::helper::terminate::targets::{Target, is_there, room_for_pidfds, wait_for_exit};
use crate::helper::terminate::{Reach, Termination, after};
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::proc::ProcId;

/// How long to wait for killed processes. Then the next survey looks for processes that they had started.
const ROUND: Nanos = SECOND / 20;
/// How long to look at the newest processes after a survey that found no process but may have missed one. On a
/// busy machine this is true for most surveys.
const GLANCE: Nanos = ROUND / 10;
/// How many of the newest processes to look at between two surveys. A process that keeps starting others stays
/// among them longer than such a look takes.
const CHASED: usize = 8;
/// How long a process may take to die after SIGKILL on a busy machine. In that time it cannot start a process.
/// A process that takes longer hangs in the kernel, and is a survivor.
const DYING: Nanos = 10 * SECOND;
/// How long the leader may take to exit after all others have. sshd exits when its children do, and closes its
/// PAM session before that.
const LEADER_LEAVES: Nanos = SECOND / 2;
/// How long the process that closes the session for its leader may take after all others have exited. It may
/// ask other services.
const CLOSER_LEAVES: Nanos = 2 * SECOND;

/// The processes that got SIGKILL so far.
#[derive(Debug, Default)]
pub(in crate::helper) struct Killed(BTreeMap<ProcId, Try>);

#[derive(Debug)]
struct Try {
    /// The time of the first SIGKILL.
    at: Nanos,
    /// The signal was not denied.
    sent: bool,
}

impl Killed {
    pub fn count(&self) -> usize {
        self.0.values().filter(|one| one.sent).count()
    }

    fn note(&mut self, member: &Member, sent: bool, at: Nanos) {
        self.0.entry(member.process.id).or_insert(Try { at, sent }).sent |= sent;
    }

    /// Whether a process has had enough time to die from SIGKILL.
    fn outlives(&self, member: &Member, now: Nanos) -> bool {
        self.0.get(&member.process.id).is_some_and(|one| now >= one.at.saturating_add(DYING))
    }
}

/// The result of a survey that kills.
struct KilledNow {
    /// Some of the killed processes, to wait for.
    killed: Vec<Target>,
    /// The process that is killed last. It is still alive.
    last: Option<Target>,
    survey: Survey,
}

impl Termination<'_> {
    /// Kills all remaining processes, and all that are found later. The last one is killed only if it does not
    /// exit after all the others have.
    pub(in crate::helper) fn kill_all(&mut self, left: Vec<Target>) {
        // This kills them first, because another survey does not find a process whose terminal is gone.
        for one in &left {
            if !self.leaves_last(&one.member) {
                self.kill(one);
            }
        }
        let mut bounds = Bounds::new(Moment::now().mono);
        let (mut due, mut restless) = (None, false);
        loop {
            let KilledNow { mut killed, last, survey } = self.kill_found(restless);
            let now = Moment::now().mono;
            let fresh = |m: &&Member| !self.leaves_last(m) && !self.killed.outlives(m, now);
            let found = survey.members.iter().any(|member| fresh(&member));
            let next = bounds.surveyed(now, found, survey.incomplete);
            match next {
                Next::GiveUp => return self.give_up(killed, last),
                Next::Somebody => {
                    if restless {
                        self.chase(ROUND);
                    }
                    wait_for_exit(self.session, &mut killed, now.saturating_add(ROUND));
                    // Its time starts when all the others have exited.
                    if !self.shell_leads {
                        due = None;
                    }
                    restless = true;
                }
                Next::Unsure => {
                    self.chase(GLANCE);
                    restless = true;
                }
                Next::Nobody { incomplete } => {
                    let last = last.filter(|last| !self.killed.outlives(&last.member, now));
                    let Some(last) = last else {
                        self.outcome.incomplete = incomplete;
                        return self.note_survivors(&survey);
                    };
                    self.wait_for_last(last, &mut due);
                }
            }
        }
    }

    /// Waits for the process that leaves last. Kills it when its time is over.
    fn wait_for_last(&mut self, last: Target, due: &mut Option<Nanos>) {
        let now = Moment::now().mono;
        let patience = if self.shell_leads { CLOSER_LEAVES } else { LEADER_LEAVES };
        let mut until = *due.get_or_insert(now.saturating_add(patience));
        if now >= until {
            self.kill(&last);
            until = now.saturating_add(DYING);
        }
        wait_for_exit(self.session, &mut vec![last], until);
    }

    /// Gives up, because the processes multiply too fast. The processes found now are killed, too, and get the
    /// time to die.
    fn give_up(&mut self, mut killed: Vec<Target>, last: Option<Target>) {
        if let Some(last) = last {
            self.kill(&last);
            killed.push(last);
        }
        wait_for_exit(self.session, &mut killed, after(Moment::now(), DYING));
        let KilledNow { mut killed, survey, .. } = self.kill_found(true);
        wait_for_exit(self.session, &mut killed, after(Moment::now(), DYING));
        self.outcome.incomplete = true;
        self.note_survivors(&survey);
    }

    fn note_survivors(&mut self, survey: &Survey) {
        let left = survey.members.iter().filter(|member| is_there(self.session, member));
        self.outcome.survivors = left.map(|member| member.process.id.pid).collect();
    }

    /// Surveys, and kills each process at once, because a process that forks and exits all the time is soon
    /// gone. The process that is killed last is only opened. If the whole session ends and processes keep
    /// coming, they are frozen during the survey. They are not frozen before that, because the leader may be
    /// closing the session.
    fn kill_found(&mut self, restless: bool) -> KilledNow {
        let freeze = restless && self.reach == Reach::Session;
        let frozen = if freeze { self.session.identity.freeze(&self.session.proc) } else { None };
        let (mut killed, mut last) = (Vec::new(), None);
        let (mut tried, mut denied) = (std::mem::take(&mut self.killed), 0);
        let room = room_for_pidfds();
        let mut survey = self.find(None, |one| {
            if self.leaves_last(&one.member) {
                last = Some(one);
                return;
            }
            let sent = one.send(self.session, SIGKILL, &mut denied);
            tried.note(&one.member, sent, Moment::now().mono);
            if killed.len() < room {
                killed.push(one);
            }
        });
        survey.incomplete &= !frozen.is_some_and(|frozen| frozen.whole);
        (self.killed, self.outcome.denied) = (tried, self.outcome.denied + denied);
        KilledNow { killed, last, survey }
    }

    /// Kills members among the newest processes, again and again for a while.
    fn chase(&mut self, time: Nanos) {
        let until = after(Moment::now(), time);
        while Moment::now().mono < until {
            let mut found = Vec::new();
            let newest = self.session.proc.newest(CHASED);
            self.find(Some(newest), |one| {
                if !self.leaves_last(&one.member) {
                    let mut denied = 0;
                    let sent = one.send(self.session, SIGKILL, &mut denied);
                    found.push((one.member, sent, denied));
                }
            });
            for (member, sent, denied) in found {
                self.killed.note(&member, sent, Moment::now().mono);
                self.outcome.denied += denied;
            }
        }
    }

    fn kill(&mut self, one: &Target) {
        let sent = one.send(self.session, SIGKILL, &mut self.outcome.denied);
        self.killed.note(&one.member, sent, Moment::now().mono);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    use crate::sys::proc::{Process, Started};

    fn member(pid: i32, started: i64) -> Member {
        let pid = Pid::from_raw(pid);
        let id = ProcId { pid, started: Started(started) };
        let process = Process { id, parent: Pid::from_raw(1), session: pid, tty: 0, dead: false };
        Member { process, leader: false, by_descent: false, connection: false, on_terminal: false }
    }

    #[test]
    fn whoever_was_killed_a_moment_ago_is_no_survivor() {
        let mut killed = Killed::default();
        killed.note(&member(7, 1), true, 100 * SECOND);
        // Each survey sends another SIGKILL. That does not give the process more time.
        killed.note(&member(7, 1), true, 105 * SECOND);
        assert!(!killed.outlives(&member(7, 1), 102 * SECOND));
        assert!(killed.outlives(&member(7, 1), 100 * SECOND + DYING));
        // Another process has the PID now. It has not been killed.
        assert!(!killed.outlives(&member(7, 2), 200 * SECOND));
        assert_eq!(killed.count(), 1);
    }

    #[test]
    fn what_was_denied_is_not_counted() {
        let mut killed = Killed::default();
        killed.note(&member(7, 1), false, 0);
        assert_eq!(killed.count(), 0);
        assert!(killed.outlives(&member(7, 1), DYING));
        killed.note(&member(7, 1), true, SECOND);
        assert_eq!(killed.count(), 1);
    }
}
