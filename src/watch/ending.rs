//! The end: a ladder of requests, each rung bounded, and whoever is left is killed.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{SIGCONT, SIGHUP, SIGKILL, SIGTERM};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{Resource, getrlimit};

use super::caller;
use super::members::{Member, Survey};
use super::watched::Watched;
use crate::policy::Kill;
use crate::sys::clock::{Moment, Nanos, SECOND, from_duration, timeout};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Process;

/// How long sshd, however busy the machine, has to pass the reason on to the person's screen, and the
/// connection to end with the shells, before the connection is cut. Most have left long before.
const HEARING: Nanos = SECOND * 3 / 4;
/// How long the last rung goes on. A process that SIGKILL has reached and that is still there then
/// hangs in the kernel.
const KILLING: Nanos = 10 * SECOND;
/// How long killed processes are waited for before those are looked for that they started meanwhile.
const ROUND: Nanos = SECOND / 20;
/// How long the leader has to leave by itself after everybody else has.
const LEADER: Nanos = SECOND / 2;
/// How many pidfds are held at a time, at most.
const HOLD: usize = 512;
/// So many surveys in a row that found nobody are believed, though processes came and went.
const EMPTY_SURVEYS: u32 = 32;

/// Whom an end applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All members.
    Session,
    /// The connection and what sits on the terminals, detached work excepted.
    Tty,
    /// The leader and what shares its connection.
    Connection,
    /// The leader has vanished: what is left of the connection, and what sits on the terminals.
    Orphans,
}

impl Reach {
    /// What `kill=` means for a session. In a nested one the leader's death alone would leave its
    /// shell behind, on the outer session's terminal.
    #[must_use]
    pub fn of(kill: Kill, nested: bool) -> Option<Self> {
        match kill {
            Kill::Session => Some(Self::Session),
            Kill::Tty => Some(Self::Tty),
            Kill::Connection if nested => Some(Self::Tty),
            Kill::Connection => Some(Self::Connection),
            Kill::None => None,
        }
    }
}

/// What an end did, for its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many processes got SIGHUP.
    pub hup: usize,
    /// How many got SIGTERM.
    pub term: usize,
    /// How many got SIGKILL.
    pub kill: usize,
    /// How many signals were forbidden.
    pub forbidden: usize,
    /// Who is still there.
    pub survivors: Vec<i32>,
    /// Processes came and went so fast that one may have been missed.
    pub unsettled: bool,
}

/// An end in preparation: who it applies to is known and held.
pub struct Ladder<'a> {
    session: &'a Watched,
    reach: Reach,
    held: Vec<Held>,
    members: usize,
    spared: Vec<i32>,
    killed: BTreeSet<(i32, i64)>,
    outcome: Outcome,
}

/// A member that cannot turn into another process any more.
struct Held {
    member: Member,
    pidfd: PidFd,
}

impl Held {
    fn new(session: &Watched, member: &Member) -> Option<Self> {
        let Process { pid, started, .. } = member.process;
        // The leader's we have had from the begin, whatever else runs out. The others' number may be
        // somebody else's since they were surveyed.
        let pidfd = if member.leader {
            session.leader.try_clone().ok()
        } else {
            PidFd::of(&session.proc, pid, started)
        };
        pidfd.map(|pidfd| Self { member: *member, pidfd })
    }

    /// Sends a signal; whether it was sent. One that is forbidden is counted, and means the next rung.
    fn send(&self, signal: i32, forbidden: &mut usize) -> bool {
        let sent = self.pidfd.send(signal);
        *forbidden +=
            usize::from(sent.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::EPERM as i32)));
        sent.is_ok()
    }

    /// A request to leave, and SIGCONT behind it: a stopped process would not hear it.
    fn ask(&self, signal: i32, forbidden: &mut usize) -> bool {
        let asked = self.send(signal, forbidden);
        let _ = self.pidfd.send(SIGCONT);
        asked
    }
}

impl<'a> Ladder<'a> {
    /// Finds and holds whom the end applies to. Nobody is touched yet.
    #[must_use]
    pub fn new(session: &'a Watched, reach: Reach) -> Self {
        let mut ladder = Self {
            session,
            reach,
            held: Vec::new(),
            members: 0,
            spared: Vec::new(),
            killed: BTreeSet::new(),
            outcome: Outcome::default(),
        };
        let mut held = Vec::new();
        let hold = hold();
        let found = ladder.find(|one| {
            // Who is not held is asked by nobody, and is killed all the same.
            if one.member.leader || held.len() < hold {
                held.push(one);
            }
        });
        (ladder.held, ladder.members, ladder.spared) = (held, found.members.len(), found.spared);
        ladder
    }

    /// How many processes the end applies to.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// Who looks like a member and is left alone.
    #[must_use]
    pub fn spared(&self) -> &[i32] {
        &self.spared
    }

    /// Climbs it. A signal that is forbidden means the next rung, and so does time running out.
    #[must_use]
    pub fn climb(mut self, grace: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let mut held = std::mem::take(&mut self.held);
        let hanging: BTreeSet<i32> =
            held.iter().map(|one| &one.member).filter(|m| self.hangs_up(m)).map(|m| m.process.pid).collect();
        for one in held.iter().filter(|one| hanging.contains(&one.member.process.pid)) {
            outcome.hup += usize::from(one.ask(SIGHUP, &mut outcome.forbidden));
        }
        // sshd passes on what was written on the terminals, and if a shell's end closes the
        // connection, it leaves in its own way.
        self.wait_for_exit(&mut held, after(Moment::now(), HEARING));
        held.retain(|one| self.reach != Reach::Connection || one.member.leader);
        for leader in [false, true] {
            let asked =
                |one: &&Held| one.member.leader == leader && !hanging.contains(&one.member.process.pid);
            for one in held.iter().filter(asked) {
                outcome.term += usize::from(one.ask(SIGTERM, &mut outcome.forbidden));
            }
        }
        self.outcome = outcome;
        let grace = from_duration(grace);
        let left = self.wait_for_all(held, after(Moment::now(), grace));
        self.kill_all(left);
        self.outcome.kill = self.killed.len();
        self.outcome
    }

    /// Whether SIGHUP is what makes a process leave: it has a terminal to lose. One that ignores the
    /// signal is asked to terminate, as those are that have none.
    fn hangs_up(&self, member: &Member) -> bool {
        let Process { pid, tty, .. } = member.process;
        // Interactive shells ignore SIGTERM, and hang up at SIGHUP.
        !member.leader
            && tty != 0
            && self.reach != Reach::Connection
            && !self.session.proc.ignores(pid, SIGHUP)
    }

    /// Waits until everybody is gone, those included who were started on the way out, say by a
    /// shell's exit trap. Answers who is left.
    fn wait_for_all(&self, mut held: Vec<Held>, until: Nanos) -> Vec<Held> {
        let mut empty = 0;
        let hold = hold();
        while Moment::now().mono < until {
            self.wait_for_exit(&mut held, until);
            if !held.is_empty() {
                continue;
            }
            let survey = self.find(|one| {
                if held.len() < hold {
                    held.push(one);
                }
            });
            if survey.members.is_empty() {
                empty += 1;
            }
            if survey.members.is_empty() && (!survey.unsettled || empty >= EMPTY_SURVEYS) {
                break;
            }
            if held.is_empty() {
                pause(ROUND);
            }
        }
        held
    }

    /// Drops who has exited, until nobody is left or time is up (of the monotonic clock). New orders are
    /// refused meanwhile.
    fn wait_for_exit(&self, held: &mut Vec<Held>, until: Nanos) {
        let Watched { proc, signals, .. } = self.session;
        while !held.is_empty() {
            let left = until.saturating_sub(Moment::now().mono);
            if left <= 0 {
                return;
            }
            let mut fds: Vec<PollFd> =
                held.iter().map(|one| PollFd::new(one.pidfd.as_fd(), PollFlags::POLLIN)).collect();
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
            if poll(&mut fds, timeout(left)).is_err() {
                return;
            }
            if fds.last().is_some_and(|fd| fd.any().unwrap_or(false)) {
                caller::refuse(proc, signals);
            }
            held.retain(|one| !one.pidfd.has_exited());
        }
    }

    /// Kills who is left and whoever is found anew, until none is found; the leader last, if the end
    /// of all others did not make it leave.
    fn kill_all(&mut self, left: Vec<Held>) {
        // Who sat on a terminal that is gone by now is not found again, and is known all the same.
        for one in left.into_iter().filter(|one| !one.member.leader) {
            self.kill(&one);
        }
        let until = after(Moment::now(), KILLING);
        let mut leader_due = None;
        let mut empty = 0;
        let mut restless = false;
        loop {
            let (mut killed, leader, survey) = self.kill_found(restless);
            let now = Moment::now();
            let others = survey.members.iter().any(|member| !member.leader);
            restless = others || survey.unsettled;
            if now.mono >= until {
                // Surveys may take so long that its turn has not come.
                if let Some(leader) = leader {
                    self.kill(&leader);
                    self.wait_for_exit(&mut vec![leader], after(now, LEADER));
                }
                let left = survey.members.iter().filter(|m| !m.leader || !self.session.leader.has_exited());
                self.outcome.survivors = left.map(|member| member.process.pid).collect();
                return;
            }
            if others {
                (empty, leader_due) = (0, None);
                self.wait_for_exit(&mut killed, until.min(after(now, ROUND)));
            } else if let Some(leader) = leader {
                let due = *leader_due.get_or_insert(after(now, LEADER));
                if now.mono >= due {
                    self.kill(&leader);
                }
                self.wait_for_exit(&mut vec![leader], due.max(after(now, ROUND)));
            } else {
                empty += 1;
                self.outcome.unsettled = survey.unsettled;
                if !survey.unsettled || empty >= EMPTY_SURVEYS {
                    return;
                }
            }
        }
    }

    /// One survey. Whoever is found is killed at once, for a process that forks and exits all the
    /// time is not there for long; the leader is only held. Where all go and some are restless, they are frozen
    /// meanwhile: a chain of forks may be faster than any survey.
    fn kill_found(&mut self, restless: bool) -> (Vec<Held>, Option<Held>, Survey) {
        let freeze = restless && self.reach == Reach::Session;
        let frozen = if freeze { self.session.standing.freeze() } else { None };
        let (mut killed, mut leader, mut forbidden) = (Vec::new(), None, 0);
        let mut reached = Vec::new();
        let hold = hold();
        let mut survey = self.find(|one| {
            if one.member.leader {
                leader = Some(one);
                return;
            }
            if one.send(SIGKILL, &mut forbidden) {
                reached.push((one.member.process.pid, one.member.process.started));
            }
            if killed.len() < hold {
                killed.push(one);
            }
        });
        survey.unsettled &= !frozen.is_some_and(|frozen| frozen.whole);
        self.killed.extend(reached);
        self.outcome.forbidden += forbidden;
        (killed, leader, survey)
    }

    fn kill(&mut self, one: &Held) {
        if one.send(SIGKILL, &mut self.outcome.forbidden) {
            self.killed.insert((one.member.process.pid, one.member.process.started));
        }
    }

    /// Surveys, and holds everybody within reach.
    ///
    /// Who is a member by descent alone comes last: the survey may have followed numbers to the leader
    /// that were given to others meanwhile, so their descent is read once more.
    fn find(&self, mut visit: impl FnMut(Held)) -> Survey {
        let mut by_descent = Vec::new();
        let survey = self.survey(|member| {
            if member.by_descent {
                by_descent.push(*member);
            } else if let Some(one) = Held::new(self.session, member) {
                visit(one);
            }
        });
        let mut lineage = self.session.standing.lineage(&self.session.proc);
        for member in by_descent.iter().filter(|member| lineage.confirms(&member.process)) {
            if let Some(one) = Held::new(self.session, member) {
                visit(one);
            }
        }
        survey
    }

    /// A survey of those within reach.
    fn survey(&self, mut visit: impl FnMut(&Member)) -> Survey {
        let Watched { proc, standing, finder, leader, terminals, .. } = self.session;
        let holders = match self.reach {
            Reach::Orphans => standing.connection_holders(proc),
            _ => Vec::new(),
        };
        let seats = finder.seats(terminals, leader, &holders);
        let mut survey = standing.survey(proc, &seats, |member| {
            if self.reaches(member) {
                visit(member);
            }
        });
        survey.members.retain(|member| self.reaches(member));
        let met: BTreeSet<i32> = survey.members.iter().map(|member| member.process.pid).collect();
        for process in holders.into_iter().filter(|process| !met.contains(&process.pid)) {
            let member =
                Member { process, leader: false, by_descent: false, connection: true, on_terminal: false };
            visit(&member);
            survey.members.push(member);
        }
        survey
    }

    fn reaches(&self, member: &Member) -> bool {
        match self.reach {
            Reach::Session => true,
            Reach::Connection => member.leader || member.connection,
            Reach::Orphans => member.connection || member.on_terminal,
            Reach::Tty => {
                // `nohup` and its like ask to be left alone.
                let sits = member.on_terminal && !self.session.proc.ignores(member.process.pid, SIGHUP);
                member.leader || member.connection || sits
            }
        }
    }
}

fn after(now: Moment, time: Nanos) -> Nanos {
    now.mono.saturating_add(time)
}

/// How many pidfds may be held: the survey needs some descriptors, too.
fn hold() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    usize::try_from(soft / 2).unwrap_or(HOLD).min(HOLD)
}

/// Lets others run, where there is nobody whose exit could be waited for.
fn pause(time: Nanos) {
    let _ = poll(&mut [], timeout(time));
}
