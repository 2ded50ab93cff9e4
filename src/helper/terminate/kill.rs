//! The last rung: SIGKILL for everybody who is left and for everybody who is found anew, until nobody
//! is found.
//!
//! Complete surveys bound it, see [`Bounds`]. SIGKILL needs no descriptor that stays open, so however
//! many processes there are, all that a survey finds are killed, while it finds them.
//!
//! A chain of forks (each process starts the next one and exits) may be faster than a survey of
//! thousands of processes. Between two surveys the newest processes alone are looked at, again and
//! again: that takes microseconds, and the living end of a chain is among the newest.

use std::collections::BTreeMap;

use nix::libc::SIGKILL;

use crate::helper::members::{Member, Survey};
use crate::helper::terminate::bounds::{Bounds, Next};
use crate::helper::terminate::targets::{Target, is_there, room_for_pidfds, wait_for_exit};
use crate::helper::terminate::{Reach, Termination, after};
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::proc::ProcId;

/// How long killed processes are waited for before the next survey looks for what they had started.
const ROUND: Nanos = SECOND / 20;
/// How long the newest are looked at where nobody was found, and somebody may have been missed. On a
/// machine with a lot to do that is so after most surveys.
const GLANCE: Nanos = ROUND / 10;
/// How many of the newest processes are looked at between two surveys. A process that starts others
/// all the time stays among so few for longer than the look takes.
const CHASED: usize = 8;
/// How long a process has to die when SIGKILL was sent, on a machine with a lot to do. It starts
/// nothing any more meanwhile. One that takes longer hangs in the kernel, and is a survivor.
const DYING: Nanos = 10 * SECOND;
/// How long the leader has to leave by itself after everybody else has. The others' end makes sshd
/// leave, and it closes its PAM session then.
const LEADER_LEAVES: Nanos = SECOND / 2;
/// How long the process that closes the session for its leader has when everybody else has left.
/// Nothing makes it hurry, and it asks other services.
const CLOSER_LEAVES: Nanos = 2 * SECOND;

/// Who got SIGKILL so far.
#[derive(Debug, Default)]
pub(in crate::helper) struct Killed(BTreeMap<ProcId, Try>);

#[derive(Debug)]
struct Try {
    /// When it was sent for the first time.
    at: Nanos,
    /// Nothing forbade it.
    sent: bool,
}

impl Killed {
    pub fn count(&self) -> usize {
        self.0.values().filter(|one| one.sent).count()
    }

    fn note(&mut self, member: &Member, sent: bool, at: Nanos) {
        self.0.entry(member.process.id).or_insert(Try { at, sent }).sent |= sent;
    }

    /// Whether a process would be dead by now if SIGKILL could end it.
    fn outlives(&self, member: &Member, now: Nanos) -> bool {
        self.0.get(&member.process.id).is_some_and(|one| now >= one.at.saturating_add(DYING))
    }
}

/// What one survey has found.
struct KilledNow {
    /// Some of those who were killed, to wait for.
    killed: Vec<Target>,
    /// Whoever is to leave last, not killed yet.
    last: Option<Target>,
    survey: Survey,
}

impl Termination<'_> {
    /// Kills whoever is left and whoever is found anew, until nobody is. The last one is killed only if
    /// the end of all the others did not make it leave.
    pub(in crate::helper) fn kill_all(&mut self, left: Vec<Target>) {
        // Whoever sat on a terminal that is gone by now is not found again.
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
            let next = bounds.surveyed(now, found, survey.unsettled);
            match next {
                Next::GiveUp => return self.give_up(killed, last),
                Next::Somebody => {
                    if restless {
                        self.chase(ROUND);
                    }
                    wait_for_exit(self.session, &mut killed, now.saturating_add(ROUND));
                    // It leaves last also if the others' end takes long.
                    if !self.shell_leads {
                        due = None;
                    }
                    restless = true;
                }
                Next::Unsure => {
                    self.chase(GLANCE);
                    restless = true;
                }
                Next::Nobody { unsettled } => {
                    let last = last.filter(|last| !self.killed.outlives(&last.member, now));
                    let Some(last) = last else {
                        self.outcome.unsettled = unsettled;
                        return self.note_survivors(&survey);
                    };
                    self.urge(last, &mut due);
                }
            }
        }
    }

    /// Waits for the last one, and kills it when its time is over.
    fn urge(&mut self, last: Target, due: &mut Option<Nanos>) {
        let now = Moment::now().mono;
        let patience = if self.shell_leads { CLOSER_LEAVES } else { LEADER_LEAVES };
        let mut until = *due.get_or_insert(now.saturating_add(patience));
        if now >= until {
            self.kill(&last);
            until = now.saturating_add(DYING);
        }
        wait_for_exit(self.session, &mut vec![last], until);
    }

    /// They multiply too fast. Everybody found now is killed, too, and has the time to die.
    fn give_up(&mut self, mut killed: Vec<Target>, last: Option<Target>) {
        if let Some(last) = last {
            self.kill(&last);
            killed.push(last);
        }
        wait_for_exit(self.session, &mut killed, after(Moment::now(), DYING));
        let KilledNow { mut killed, survey, .. } = self.kill_found(true);
        wait_for_exit(self.session, &mut killed, after(Moment::now(), DYING));
        self.outcome.unsettled = true;
        self.note_survivors(&survey);
    }

    fn note_survivors(&mut self, survey: &Survey) {
        let left = survey.members.iter().filter(|member| is_there(self.session, member));
        self.outcome.survivors = left.map(|member| member.process.id.pid).collect();
    }

    /// One survey. Everybody found is killed at once, because a process that forks and exits all the
    /// time is not there for long; the last one is only held. Where all go and some are restless, they
    /// are frozen meanwhile. (Not always: the leader may be closing the session just then.)
    fn kill_found(&mut self, restless: bool) -> KilledNow {
        let freeze = restless && self.reach == Reach::Session;
        let frozen = if freeze { self.session.identity.freeze() } else { None };
        let (mut killed, mut last) = (Vec::new(), None);
        let (mut tried, mut forbidden) = (std::mem::take(&mut self.killed), 0);
        let hold = room_for_pidfds();
        let mut survey = self.find(None, |one| {
            if self.leaves_last(&one.member) {
                last = Some(one);
                return;
            }
            let sent = one.send(self.session, SIGKILL, &mut forbidden);
            tried.note(&one.member, sent, Moment::now().mono);
            if killed.len() < hold {
                killed.push(one);
            }
        });
        survey.unsettled &= !frozen.is_some_and(|frozen| frozen.whole);
        (self.killed, self.outcome.forbidden) = (tried, self.outcome.forbidden + forbidden);
        KilledNow { killed, last, survey }
    }

    /// Kills whoever is among the newest processes, again and again for a while.
    fn chase(&mut self, time: Nanos) {
        let until = after(Moment::now(), time);
        while Moment::now().mono < until {
            let mut found = Vec::new();
            let newest = self.session.proc.newest(CHASED);
            self.find(Some(newest), |one| {
                if !self.leaves_last(&one.member) {
                    let mut forbidden = 0;
                    let sent = one.send(self.session, SIGKILL, &mut forbidden);
                    found.push((one.member, sent, forbidden));
                }
            });
            for (member, sent, forbidden) in found {
                self.killed.note(&member, sent, Moment::now().mono);
                self.outcome.forbidden += forbidden;
            }
        }
    }

    fn kill(&mut self, one: &Target) {
        let sent = one.send(self.session, SIGKILL, &mut self.outcome.forbidden);
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
        // Each survey kills once more, and gives no more time by that.
        killed.note(&member(7, 1), true, 105 * SECOND);
        assert!(!killed.outlives(&member(7, 1), 102 * SECOND));
        assert!(killed.outlives(&member(7, 1), 100 * SECOND + DYING));
        // The number is another one's now, which has not been killed.
        assert!(!killed.outlives(&member(7, 2), 200 * SECOND));
        assert_eq!(killed.count(), 1);
    }

    #[test]
    fn what_was_forbidden_is_not_counted() {
        let mut killed = Killed::default();
        killed.note(&member(7, 1), false, 0);
        assert_eq!(killed.count(), 0);
        assert!(killed.outlives(&member(7, 1), DYING));
        killed.note(&member(7, 1), true, SECOND);
        assert_eq!(killed.count(), 1);
    }
}
