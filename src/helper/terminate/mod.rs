//! The end of a session: SIGHUP, then closing the connection and SIGTERM, then SIGKILL. Each step takes a
//! limited time. `kill` has the last step.

pub mod bounds;
pub mod commands;
mod kill;
mod targets;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use nix::libc::{SIGCONT, SIGHUP, SIGTERM};
use nix::unistd::Pid;

use crate::helper::connection;
use crate::helper::members::descendants::Descendants;
use crate::helper::members::{Member, Survey};
use crate::helper::session::WatchedSession;
use crate::helper::terminate::bounds::EMPTY;
use crate::helper::terminate::kill::Killed;
use crate::helper::terminate::targets::{Target, room_for_pidfds, wait_for_exit};
use crate::policy::Kill;
use crate::sys::clock::{Moment, Nanos, SECOND, from_duration, pause};
use crate::sys::proc::{ProcId, Process};

/// How long sshd may take to show the reason on the person's screen, and to exit because its shells have ended.
/// After that the connection is closed. Usually sshd needs much less, even on a busy machine.
const SHOWING: Nanos = SECOND * 3 / 4;
/// How long a leader that is closing its session gets no SIGTERM, because that would interrupt system calls of
/// other PAM modules. These modules ask services, which answer within a second unless they hang.
const CLOSING: Nanos = SECOND;
/// How long sshd may take to exit after its connection was closed. It closes the PAM session in that time.
const DISCONNECTING: Nanos = SECOND;
/// How long the leader may take to pass SIGTERM on to the rest of its connection. That takes one system call
/// and a message to the client. This time is part of the grace period.
const PASSING_ON: Nanos = SECOND;
/// How long to wait if there is no process to wait for.
const PAUSE: Nanos = SECOND / 20;

/// Which processes an end applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All members.
    Session,
    /// The connection, and the processes on the terminals except those that ignore SIGHUP.
    Tty,
    /// The processes on the terminals, like [`Self::Tty`], and the processes that lead the sessions there even
    /// if they ignore SIGHUP: while such a process lives, sshd keeps its terminal open.
    Terminals,
    /// The leader and its connection.
    Connection,
    /// After the leader's end: the rest of the connection, and the processes on the terminals.
    Orphans,
}

impl Reach {
    /// What `kill=` means for a session. If only the leader of a nested session ended, its shell would stay on
    /// the outer session's terminal.
    #[must_use]
    pub fn of(kill: Kill, nested: bool) -> Option<Self> {
        match kill {
            Kill::Session => Some(Self::Session),
            // `kill=terminal` ends the connection, too, unless it is kept for a while.
            Kill::Tty | Kill::Terminal => Some(Self::Tty),
            Kill::Connection if nested => Some(Self::Tty),
            Kill::Connection => Some(Self::Connection),
            Kill::None => None,
        }
    }
}

/// The results of an end, for its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many processes got SIGHUP.
    pub hup: usize,
    /// How many got SIGTERM.
    pub term: usize,
    /// How many got SIGKILL.
    pub kill: usize,
    /// How many signals a security module denied.
    pub denied: usize,
    /// The processes that remain.
    pub survivors: Vec<Pid>,
    /// Processes came and went so fast that one may have been missed.
    pub incomplete: bool,
}

impl Outcome {
    /// The results of this end and of an earlier one of the same session.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        Self {
            hup: self.hup + earlier.hup,
            term: self.term + earlier.term,
            kill: self.kill + earlier.kill,
            denied: self.denied + earlier.denied,
            incomplete: self.incomplete || earlier.incomplete,
            ..self
        }
    }
}

/// The end of a session before its first step. Its processes are known, and most have an open pidfd.
pub struct Termination<'a> {
    pub(in crate::helper) session: &'a WatchedSession,
    pub(in crate::helper) reach: Reach,
    /// The leader is the person's shell: the program that opened the session has executed the shell in its
    /// place.
    pub(in crate::helper) shell_leads: bool,
    /// A child of such a leader. It closes the session after its parent has exited.
    closer: Option<ProcId>,
    /// Processes to end with their descendants and sessions (setsid(2)), whatever the reach is.
    newcomers: Vec<ProcId>,
    targets: Vec<Target>,
    members: usize,
    spared: Vec<Pid>,
    pub(in crate::helper) killed: Killed,
    pub(in crate::helper) outcome: Outcome,
}

impl<'a> Termination<'a> {
    /// Finds the processes to end. They get no signal yet.
    #[must_use]
    pub fn new(session: &'a WatchedSession, reach: Reach) -> Self {
        Self::with(session, reach, Vec::new())
    }

    /// The same, with more processes to end. Their descendants and sessions (setsid(2)) end with them.
    #[must_use]
    pub fn with(session: &'a WatchedSession, reach: Reach, newcomers: Vec<ProcId>) -> Self {
        let mut termination = Self {
            session,
            reach,
            shell_leads: false,
            closer: None,
            newcomers,
            targets: Vec::new(),
            members: 0,
            spared: Vec::new(),
            killed: Killed::default(),
            outcome: Outcome::default(),
        };
        let (mut targets, mut room) = (Vec::new(), room_for_pidfds());
        let found = termination.find(None, |one| {
            // All of them get signals. The end waits first for those with a pidfd.
            targets.push(if room > 0 || one.member.leader { one } else { one.by_id() });
            room = room.saturating_sub(1);
        });
        (termination.targets, termination.members, termination.spared) =
            (targets, found.members.len(), found.spared);
        termination.recognize_the_shell();
        termination
    }

    /// Notes whether the leader has become the shell. systemd's executor does this: it opens a session and
    /// becomes the shell (`run0`, `PAMName=`). Its child `(sd-pam)` still is the program that opened the
    /// session, and closes it.
    fn recognize_the_shell(&mut self) {
        let WatchedSession { proc, opener, .. } = self.session;
        let Some(opener) = opener else { return };
        let leader = self.targets.iter().map(|one| one.member).find(|member| member.leader);
        let Some(Process { id: ProcId { pid, .. }, session, tty, .. }) = leader.map(|leader| leader.process)
        else {
            return;
        };
        // A program that serves sessions has the effective user ID 0.
        let is_the_persons = || proc.uids(pid).is_none_or(|(_, effective)| effective != 0);
        let has_become_another = || proc.program_path(pid).is_some_and(|path| path != *opener);
        self.shell_leads = tty != 0 && session == pid && (is_the_persons() || has_become_another());
        if self.shell_leads {
            let children = self.targets.iter().map(|one| &one.member).filter(|m| m.process.parent == pid);
            let closers = children.filter(|m| proc.program_path(m.process.id.pid).as_ref() == Some(opener));
            // It is older than every process that the shell has started.
            self.closer = closers.map(|m| m.process.id).min_by_key(|id| id.started);
        }
    }

    /// How many processes the end applies to.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// The command names of these processes, the oldest process first. [`commands::field`] makes a field of
    /// them.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let pids = self.targets.iter().rev().map(|one| one.member.process.id.pid);
        pids.filter_map(|pid| self.session.proc.command_name(pid)).collect()
    }

    /// The processes that look like members and are left alone.
    #[must_use]
    pub fn spared(&self) -> &[Pid] {
        &self.spared
    }

    /// Ends the session. If a step is denied or takes too long, the next one follows.
    #[must_use]
    pub fn run(mut self, grace: Duration) -> Outcome {
        let mut targets = std::mem::take(&mut self.targets);
        let leader = targets.iter().find(|one| one.member.leader).map(|one| one.member.process.id.pid);
        let of_leader = |one: &Target| leader == Some(one.member.process.parent);
        let had_children = targets.iter().any(of_leader);
        let (hup, denied) = self.ask(SIGHUP, targets.iter().filter(|one| self.hangs_up(&one.member)));
        (self.outcome.hup, self.outcome.denied) = (hup, denied);
        // sshd sends the text on the terminals to the client. After its last shell has ended, it closes the
        // session and exits.
        wait_for_exit(self.session, &mut targets, after(Moment::now(), SHOWING));
        let until = after(Moment::now(), from_duration(grace));
        let is_closing = |left: &[Target]| had_children && !left.iter().any(of_leader);
        let targets = self.terminate(targets, is_closing, until);
        let left = self.wait_for_all(targets, until);
        self.kill_all(left);
        self.outcome.kill = self.killed.count();
        self.outcome
    }

    /// Sends SIGTERM to all remaining processes. They may have got SIGHUP before and have handled it. Returns
    /// the processes that remain after that.
    ///
    /// `is_closing` tells whether the leader is closing its session. It is if it has no children left.
    fn terminate(
        &mut self,
        targets: Vec<Target>,
        is_closing: impl Fn(&[Target]) -> bool,
        until: Nanos,
    ) -> Vec<Target> {
        let session = self.session;
        let at_most = |time| until.min(after(Moment::now(), time));
        let (mut leader, others): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|one| one.member.leader);
        let (mut connection, mut others): (Vec<Target>, Vec<Target>) =
            others.into_iter().partition(|one| one.member.connection);
        self.request_end(&others);
        let closes_already = is_closing(&others) && is_closing(&connection);
        if !closes_already && leader.iter().any(|leader| self.disconnects(leader)) {
            // A stopped process does not notice that its connection is closed.
            let _ = self.ask(SIGCONT, leader.iter().chain(&connection));
            let first = if connection.is_empty() { &mut leader } else { &mut connection };
            // This waits even without a grace period, because SIGTERM would make sshd log an error.
            wait_for_exit(session, first, after(Moment::now(), DISCONNECTING));
            others.retain(|one| !one.has_exited(session));
        }
        if is_closing(&others) && is_closing(&connection) {
            wait_for_exit(session, &mut leader, at_most(CLOSING));
        }
        self.request_end(&leader);
        if !leader.is_empty() {
            // sshd passes SIGTERM on.
            wait_for_exit(session, &mut connection, at_most(PASSING_ON));
        }
        self.request_end(&connection);
        for part in [&mut leader, &mut connection] {
            others.append(part);
        }
        others
    }

    /// If the leader is sshd, closes its connection. Returns whether it did. sshd then exits as it does when a
    /// client disconnects. SIGTERM would work, too. But sshd 9.8 and later logs an error if SIGTERM ends the
    /// process that serves the client.
    fn disconnects(&self, leader: &Target) -> bool {
        let WatchedSession { proc, identity, leader: pidfd, .. } = self.session;
        let Process { id: ProcId { pid, .. }, session, tty, .. } = leader.member.process;
        // Closing the last descriptor of a socket may take as long as its owner has set (SO_LINGER). So root
        // must own these sockets. If the leader has become the person's program, the person may own them.
        let is_root = || proc.all_uids(pid) == Some([0; 4]);
        let is_sshd = !identity.nested() && session == pid && tty == 0 && is_root();
        is_sshd && connection::close(proc, pid, pidfd, self.session.client).unwrap_or(false)
    }

    fn request_end(&mut self, whom: &[Target]) {
        // The closer exits when its leader does. It closes the session only if the leader has exited first.
        let asked = whom.iter().filter(|one| Some(one.id()) != self.closer);
        let (term, denied) = self.ask(SIGTERM, asked);
        self.outcome.term += term;
        self.outcome.denied += denied;
    }

    /// Sends a signal to processes. Returns how many got it, and how many signals were denied.
    fn ask<'b>(&self, signal: i32, whom: impl Iterator<Item = &'b Target>) -> (usize, usize) {
        let mut denied = 0;
        let asked = whom.filter(|one| one.ask(self.session, signal, &mut denied)).count();
        (asked, denied)
    }

    /// Whether SIGHUP makes a process exit. It must have a controlling terminal, and must not ignore the
    /// signal.
    fn hangs_up(&self, member: &Member) -> bool {
        let Process { id, tty, .. } = member.process;
        // Interactive shells ignore SIGTERM and exit at SIGHUP. sshd and login(1) do not close their sessions when
        // they get SIGHUP.
        if member.leader {
            return self.shell_leads;
        }
        tty != 0
            && self.reach != Reach::Connection
            && Some(id) != self.closer
            && !self.session.proc.ignores(id.pid, SIGHUP)
    }

    /// Whether a member is killed only after all the others. If the leader is killed first, sshd's child stays
    /// connected. If the closer is killed first, no process closes the session.
    pub(in crate::helper) fn leaves_last(&self, member: &Member) -> bool {
        if self.shell_leads { Some(member.process.id) == self.closer } else { member.leader }
    }

    /// Waits until all processes are gone, including processes that were started meanwhile, for example by a
    /// shell's exit trap. Returns the processes that remain.
    fn wait_for_all(&self, mut targets: Vec<Target>, until: Nanos) -> Vec<Target> {
        let mut empty = 0;
        let room = room_for_pidfds();
        while Moment::now().mono < until {
            wait_for_exit(self.session, &mut targets, until);
            if !targets.is_empty() {
                continue;
            }
            let survey = self.find(None, |one| {
                if targets.len() < room {
                    targets.push(one);
                }
            });
            if survey.members.is_empty() {
                empty += 1;
            }
            if survey.members.is_empty() && (!survey.incomplete || empty >= EMPTY) {
                break;
            }
            if targets.is_empty() {
                pause(PAUSE);
            }
        }
        targets
    }

    /// Surveys all processes, or those with these PIDs, and visits those to end.
    ///
    /// Members that are known only by descent come last, and their descent is read once more, because the
    /// survey may have followed a PID that another process got meanwhile.
    pub(in crate::helper) fn find(&self, pids: Option<Vec<Pid>>, mut visit: impl FnMut(Target)) -> Survey {
        let mut by_descent = Vec::new();
        let mut survey = self.survey(pids, |member| {
            if member.by_descent {
                by_descent.push(*member);
            } else if let Some(one) = Target::new(self.session, member) {
                visit(one);
            }
        });
        let mut descendants = self.session.identity.descendants(&self.session.proc);
        let met = by_descent.len();
        by_descent.retain(|member| descendants.include(&member.process));
        for one in by_descent.iter().filter_map(|member| Target::new(self.session, member)) {
            visit(one);
        }
        if by_descent.len() < met {
            let confirmed: BTreeSet<_> = by_descent.iter().map(|member| member.process.id).collect();
            survey.members.retain(|member| !member.by_descent || confirmed.contains(&member.process.id));
            survey.incomplete = true;
        }
        survey
    }

    /// A survey of the processes to end.
    fn survey(&self, pids: Option<Vec<Pid>>, mut visit: impl FnMut(&Member)) -> Survey {
        let WatchedSession { proc, identity, finder, leader, terminals, .. } = self.session;
        let holders = match self.reach {
            Reach::Orphans if pids.is_none() => identity.connection_holders(proc),
            _ => Vec::new(),
        };
        let controlling = finder.controlling_sessions(terminals, leader, &holders);
        let newcomers = self.newcomers.iter().filter(|id| proc.find(**id).is_some());
        let newcomers: RefCell<Vec<_>> =
            RefCell::new(newcomers.map(|id| Descendants::of(proc, id.pid)).collect());
        let is_newcomer = |process: &Process| {
            self.newcomers.contains(&process.id)
                // The newcomer may have exited. No other process gets its PID while its session exists.
                || self.newcomers.iter().any(|newcomer| newcomer.pid == process.session)
                || newcomers.borrow_mut().iter_mut().any(|newcomer| newcomer.include(process))
        };
        let reaches = |member: &Member| self.reaches(member) || is_newcomer(&member.process);
        let mut reached = |member: &Member| {
            if reaches(member) {
                visit(member);
            }
        };
        let mut survey = match pids {
            None => identity.survey(proc, &controlling, &mut reached),
            Some(pids) => identity.survey_of(proc, pids, &controlling, &mut reached),
        };
        survey.members.retain(reaches);
        let met: BTreeSet<Pid> = survey.members.iter().map(|member| member.process.id.pid).collect();
        for process in holders.into_iter().filter(|process| !met.contains(&process.id.pid)) {
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
            Reach::Tty => member.leader || member.connection || self.is_attached(member),
            Reach::Terminals => {
                let leads = member.process.session == member.process.id.pid;
                member.on_terminal && (leads || self.is_attached(member))
            }
        }
    }

    /// Whether a process is on a terminal and ends with it. nohup(1) makes a process ignore SIGHUP so that it is
    /// left alone.
    fn is_attached(&self, member: &Member) -> bool {
        member.on_terminal && !self.session.proc.ignores(member.process.id.pid, SIGHUP)
    }
}

pub(in crate::helper) fn after(now: Moment, time: Nanos) -> Nanos {
    now.mono.saturating_add(time)
}
