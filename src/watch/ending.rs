//! The end: a ladder of requests, each rung bounded, and whoever is left is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{SIGCONT, SIGHUP, SIGKILL, SIGTERM};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::members::{Member, Standing, Survey};
use super::terminals::Terminal;
use crate::policy::Kill;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};

/// How long the last rung goes on. A process that SIGKILL has reached and that is still there then
/// hangs in the kernel.
const KILLING: Nanos = 10 * SECOND;
/// How long killed processes are waited for before those are looked for that they started meanwhile.
const ROUND: Nanos = SECOND / 20;
/// How long the leader has to leave by itself after everybody else has.
const LEADER: Nanos = SECOND / 2;
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
}

/// An end in preparation: who it applies to is known and held.
pub struct Ladder<'a> {
    proc: &'a Proc,
    standing: &'a Standing,
    terminals: &'a [Terminal],
    reach: Reach,
    held: Vec<Held>,
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
    fn new(proc: &Proc, member: &Member) -> Option<Self> {
        let pidfd = PidFd::open(member.process.pid).ok()?;
        // Whoever was surveyed may have gone before it was held, and its number to another.
        let still = proc.process(member.process.pid)?.started == member.process.started;
        still.then_some(Self { member: *member, pidfd })
    }
}

impl<'a> Ladder<'a> {
    /// Finds and holds whom the end applies to. Nobody is touched yet.
    #[must_use]
    pub fn new(proc: &'a Proc, standing: &'a Standing, terminals: &'a [Terminal], reach: Reach) -> Self {
        let mut ladder = Self {
            proc,
            standing,
            terminals,
            reach,
            held: Vec::new(),
            spared: Vec::new(),
            killed: BTreeSet::new(),
            outcome: Outcome::default(),
        };
        let mut held = Vec::new();
        let survey = ladder.survey(|member| held.extend(Held::new(proc, member)));
        ladder.spared = survey.spared;
        ladder.held = held;
        ladder
    }

    /// How many processes the end applies to.
    #[must_use]
    pub fn members(&self) -> usize {
        self.held.len()
    }

    /// Who looks like a member and is left alone.
    #[must_use]
    pub fn spared(&self) -> &[i32] {
        &self.spared
    }

    /// Climbs it. A signal that is forbidden means the next rung, and so does time running out.
    #[must_use]
    pub fn climb(mut self, grace: Duration) -> Outcome {
        let held = std::mem::take(&mut self.held);
        let mut others = Vec::new();
        for one in held.iter().filter(|one| !one.member.leader) {
            // Interactive shells ignore SIGTERM, and hang up at SIGHUP; what ignores that, and what
            // has no terminal to lose, is asked to terminate.
            let Process { pid, tty, .. } = one.member.process;
            if tty != 0 && !self.proc.ignores(pid, SIGHUP) {
                self.outcome.hup += usize::from(self.ask(one, SIGHUP));
            } else {
                others.push(one);
            }
        }
        if self.reach != Reach::Connection {
            for one in others {
                self.outcome.term += usize::from(self.ask(one, SIGTERM));
            }
        }
        for one in held.iter().filter(|one| one.member.leader) {
            self.outcome.term += usize::from(self.ask(one, SIGTERM));
        }
        let grace = Nanos::try_from(grace.as_nanos()).unwrap_or(Nanos::MAX);
        self.wait_for_all(held, Moment::now().mono.saturating_add(grace));
        self.kill_all();
        self.outcome.kill = self.killed.len();
        self.outcome
    }

    /// A request to leave, and SIGCONT behind it: a stopped process would not hear it.
    fn ask(&mut self, one: &Held, signal: i32) -> bool {
        let asked = self.send(one, signal);
        self.send(one, SIGCONT);
        asked
    }

    fn send(&mut self, one: &Held, signal: i32) -> bool {
        match one.pidfd.send(signal) {
            Ok(()) => true,
            Err(e) => {
                self.outcome.forbidden += usize::from(e.raw_os_error() == Some(Errno::EPERM as i32));
                false
            }
        }
    }

    /// Waits until everybody is gone, those included who were started on the way out, say by a
    /// shell's exit trap.
    fn wait_for_all(&self, mut held: Vec<Held>, until: Nanos) {
        let mut empty = 0;
        while Moment::now().mono < until {
            wait_for_exit(&mut held, until);
            if !held.is_empty() {
                continue;
            }
            let survey = self.survey(|member| held.extend(Held::new(self.proc, member)));
            if survey.members.is_empty() {
                empty += 1;
            }
            if survey.members.is_empty() && (!survey.unsettled || empty >= EMPTY_SURVEYS) {
                return;
            }
            if held.is_empty() {
                pause(ROUND);
            }
        }
    }

    /// Kills, found anew until none is found, everybody but the leader; then the leader, if the end
    /// of all others did not make it leave.
    fn kill_all(&mut self) {
        let until = Moment::now().mono.saturating_add(KILLING);
        let mut leader_until = None;
        let mut empty = 0;
        loop {
            let mut held = Vec::new();
            let proc = self.proc;
            let mut seen = false;
            let mut leader = None;
            let mut reached = Vec::new();
            let survey = self.survey(|member| {
                let Some(one) = Held::new(proc, member) else {
                    seen = true;
                    return;
                };
                if member.leader {
                    leader = Some(one);
                } else {
                    // At once: a process that forks and exits all the time is not there for long.
                    let sent = one.pidfd.send(SIGKILL);
                    reached.push((member.process, sent.is_ok()));
                    held.push(one);
                }
            });
            for (process, sent) in reached {
                self.note_killed(process, sent);
            }
            let now = Moment::now().mono;
            if now >= until {
                self.outcome.survivors = survey.members.iter().map(|member| member.process.pid).collect();
                return;
            }
            if seen || !held.is_empty() {
                (empty, leader_until) = (0, None);
                wait_for_exit(&mut held, until.min(now + ROUND));
                continue;
            }
            if let Some(leader) = leader {
                let due = *leader_until.get_or_insert(now + LEADER);
                if now >= due {
                    let sent = leader.pidfd.send(SIGKILL).is_ok();
                    self.note_killed(leader.member.process, sent);
                }
                wait_for_exit(&mut vec![leader], due.max(now + ROUND));
                continue;
            }
            empty += 1;
            if !survey.unsettled || empty >= EMPTY_SURVEYS {
                return;
            }
        }
    }

    fn note_killed(&mut self, process: Process, sent: bool) {
        if sent {
            self.killed.insert((process.pid, process.started));
        } else {
            self.outcome.forbidden += 1;
        }
    }

    /// A survey of those within reach.
    fn survey(&self, mut visit: impl FnMut(&Member)) -> Survey {
        let mut survey = self.standing.survey(self.proc, self.terminals, |member| {
            if self.reaches(member) {
                visit(member);
            }
        });
        survey.members.retain(|member| self.reaches(member));
        if self.reach == Reach::Orphans {
            let met: BTreeMap<i32, ()> = survey.members.iter().map(|m| (m.process.pid, ())).collect();
            for process in self.standing.connection_holders(self.proc) {
                if !met.contains_key(&process.pid) {
                    let member = Member { process, leader: false, connection: true, on_terminal: false };
                    visit(&member);
                    survey.members.push(member);
                }
            }
        }
        survey
    }

    fn reaches(&self, member: &Member) -> bool {
        let Process { pid, group, session, foreground, .. } = member.process;
        match self.reach {
            Reach::Session => true,
            Reach::Connection => member.leader || member.connection,
            Reach::Orphans => member.connection || member.on_terminal,
            Reach::Tty => {
                // What the kernel hangs up when a terminal goes: the session leader and the
                // foreground group. `nohup` and its like ask to be left alone.
                let seated = member.on_terminal && (pid == session || group == foreground);
                member.leader || member.connection || (seated && !self.proc.ignores(pid, SIGHUP))
            }
        }
    }
}

/// Lets others run, where there is nobody whose exit could be waited for.
fn pause(time: Nanos) {
    let _ = poll(&mut [], PollTimeout::try_from(time / 1_000_000).unwrap_or(PollTimeout::ZERO));
}

/// Drops who has exited, until nobody is left or time is up (of the monotonic clock).
fn wait_for_exit(held: &mut Vec<Held>, until: Nanos) {
    while !held.is_empty() {
        let left = until.saturating_sub(Moment::now().mono);
        if left <= 0 {
            return;
        }
        let mut fds: Vec<PollFd> =
            held.iter().map(|one| PollFd::new(one.pidfd.as_fd(), PollFlags::POLLIN)).collect();
        // Rounded up, so as not to spin through the last millisecond.
        let timeout = PollTimeout::try_from(left / 1_000_000 + 1).unwrap_or(PollTimeout::MAX);
        if poll(&mut fds, timeout).is_err() {
            return;
        }
        held.retain(|one| !one.pidfd.has_exited());
    }
}
