//! The end: a termination of requests, each rung bounded. `kill` ends the processes that are left.

pub mod bounds;
pub mod commands;
mod kill;
mod targets;

use std::collections::BTreeSet;
use std::time::Duration;

use nix::libc::{SIGCONT, SIGHUP, SIGTERM};
use nix::unistd::Pid;

use crate::helper::connection;
use crate::helper::members::{Member, Survey};
use crate::helper::session::WatchedSession;
use crate::helper::terminate::bounds::EMPTY;
use crate::helper::terminate::kill::Killed;
use crate::helper::terminate::targets::{Target, room_for_pidfds, wait_for_exit};
use crate::policy::Kill;
use crate::sys::clock::{Moment, Nanos, SECOND, from_duration, pause};
use crate::sys::proc::{ProcId, Process};

/// How long sshd, however busy the machine, has to pass the reason on to the person's screen, and the
/// connection to end with the shells, before the connection is cut. Most have left long before.
const HEARING: Nanos = SECOND * 3 / 4;
/// How long a leader that is about to close its session is left in peace: SIGTERM would interrupt the
/// system calls of the other modules. They ask services, which answer within a second unless they hang.
const CLOSING: Nanos = SECOND;
/// How long sshd has to leave when its connection is closed: it closes the PAM session meanwhile.
const DISCONNECTING: Nanos = SECOND;
/// How long the leader has to pass SIGTERM on to the rest of its connection. That is one system call
/// and the client's goodbye, and it comes out of the grace.
const PASSING_ON: Nanos = SECOND;
/// How long to wait where there is nobody whose exit could be waited for.
const PAUSE: Nanos = SECOND / 20;

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
    pub survivors: Vec<Pid>,
    /// Processes came and went so fast that one may have been missed.
    pub unsettled: bool,
}

/// An end in preparation: who it applies to is known, and mostly held.
pub struct Termination<'a> {
    pub(in crate::helper) session: &'a WatchedSession,
    pub(in crate::helper) reach: Reach,
    /// The leader is the person's shell: it took the place of the program that opened the session.
    pub(in crate::helper) shell_leads: bool,
    /// A child of such a leader, which closes the session when its parent is gone.
    closer: Option<ProcId>,
    held: Vec<Target>,
    members: usize,
    spared: Vec<Pid>,
    pub(in crate::helper) killed: Killed,
    pub(in crate::helper) outcome: Outcome,
}

impl<'a> Termination<'a> {
    /// Finds and holds whom the end applies to. Nobody is touched yet.
    #[must_use]
    pub fn new(session: &'a WatchedSession, reach: Reach) -> Self {
        let mut termination = Self {
            session,
            reach,
            shell_leads: false,
            closer: None,
            held: Vec::new(),
            members: 0,
            spared: Vec::new(),
            killed: Killed::default(),
            outcome: Outcome::default(),
        };
        let (mut held, mut room) = (Vec::new(), room_for_pidfds());
        let found = termination.find(None, |one| {
            // All of them are asked. Those that are held are also waited for, and the others after them.
            held.push(if room > 0 || one.member.leader { one } else { one.by_number() });
            room = room.saturating_sub(1);
        });
        (termination.held, termination.members, termination.spared) =
            (held, found.members.len(), found.spared);
        termination.know_the_shell();
        termination
    }

    /// systemd's executor opens a session and becomes the shell (`run0`, `PAMName=`). A child of it,
    /// `(sd-pam)`, which still is the program that opened the session, closes it.
    fn know_the_shell(&mut self) {
        let WatchedSession { proc, opener, .. } = self.session;
        let Some(opener) = opener else { return };
        let leader = self.held.iter().map(|one| one.member).find(|member| member.leader);
        let Some(Process { id: ProcId { pid, .. }, session, tty, .. }) = leader.map(|leader| leader.process)
        else {
            return;
        };
        // One that opens sessions runs with root's effective id as long as it serves them.
        let is_the_persons = || proc.uids(pid).is_none_or(|(_, effective)| effective != 0);
        let has_become_another = || proc.program_path(pid).is_some_and(|path| path != *opener);
        self.shell_leads = tty != 0 && session == pid && (is_the_persons() || has_become_another());
        if self.shell_leads {
            let children = self.held.iter().map(|one| &one.member).filter(|m| m.process.parent == pid);
            let closers = children.filter(|m| proc.program_path(m.process.id.pid).as_ref() == Some(opener));
            // It was there before anything that the shell has started.
            self.closer = closers.map(|m| m.process.id).min_by_key(|id| id.started);
        }
    }

    /// How many processes the end applies to.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// The command names of those it applies to, the oldest first.
    #[must_use]
    pub fn commands(&self) -> Option<String> {
        let pids = self.held.iter().rev().map(|one| one.member.process.id.pid);
        commands::field(pids.filter_map(|pid| self.session.proc.command_name(pid)))
    }

    /// Who looks like a member and is left alone.
    #[must_use]
    pub fn spared(&self) -> &[Pid] {
        &self.spared
    }

    /// Climbs it. A signal that is forbidden means the next rung, and so does time running out.
    #[must_use]
    pub fn climb(mut self, grace: Duration) -> Outcome {
        let mut held = std::mem::take(&mut self.held);
        let leader = held.iter().find(|one| one.member.leader).map(|one| one.member.process.id.pid);
        let of_leader = |one: &Target| leader == Some(one.member.process.parent);
        let had_children = held.iter().any(of_leader);
        let (hup, forbidden) = self.ask(SIGHUP, held.iter().filter(|one| self.hangs_up(&one.member)));
        (self.outcome.hup, self.outcome.forbidden) = (hup, forbidden);
        // sshd passes on what was written on the terminals, and if a shell's end closes the
        // connection, it leaves in its own way.
        wait_for_exit(self.session, &mut held, after(Moment::now(), HEARING));
        let until = after(Moment::now(), from_duration(grace));
        let is_closing = |left: &[Target]| had_children && !left.iter().any(of_leader);
        let held = self.terminate(held, is_closing, until);
        let left = self.wait_for_all(held, until);
        self.kill_all(left);
        self.outcome.kill = self.killed.count();
        self.outcome
    }

    /// Asks everybody who is left to terminate: also those that were hung up, because one that handles
    /// SIGHUP may go on. Returns who is left then.
    ///
    /// `is_closing` tells whether the leader is about to close its session: its children are not among
    /// those that are left.
    fn terminate(
        &mut self,
        held: Vec<Target>,
        is_closing: impl Fn(&[Target]) -> bool,
        until: Nanos,
    ) -> Vec<Target> {
        let session = self.session;
        let at_most = |time| until.min(after(Moment::now(), time));
        let (mut leader, others): (Vec<Target>, Vec<Target>) =
            held.into_iter().partition(|one| one.member.leader);
        let (mut connection, mut others): (Vec<Target>, Vec<Target>) =
            others.into_iter().partition(|one| one.member.connection);
        self.request_end(&others);
        let closes_already = is_closing(&others) && is_closing(&connection);
        if !closes_already && leader.iter().any(|leader| self.disconnects(leader)) {
            // A stopped process does not see it.
            let _ = self.ask(SIGCONT, leader.iter().chain(&connection));
            let first = if connection.is_empty() { &mut leader } else { &mut connection };
            // Also without any grace: SIGTERM would make sshd log an error.
            wait_for_exit(session, first, after(Moment::now(), DISCONNECTING));
            others.retain(|one| !one.has_exited(session));
        }
        if is_closing(&others) && is_closing(&connection) {
            wait_for_exit(session, &mut leader, at_most(CLOSING));
        }
        self.request_end(&leader);
        if !leader.is_empty() {
            // sshd ends the rest of its connection itself.
            wait_for_exit(session, &mut connection, at_most(PASSING_ON));
        }
        self.request_end(&connection);
        for part in [&mut leader, &mut connection] {
            others.append(part);
        }
        others
    }

    /// Closes the connection of sshd, where it is one, and returns whether it did. sshd then leaves as
    /// it does when a client disconnects. From version 9.8 on it logs an error when SIGTERM ends the
    /// part of it that serves the client, also if sshd itself passed that on.
    fn disconnects(&self, leader: &Target) -> bool {
        let WatchedSession { proc, identity, leader: pidfd, .. } = self.session;
        let Process { id: ProcId { pid, .. }, session, tty, .. } = leader.member.process;
        // Whoever closes the last descriptor of a socket waits for as long as its owner has set (SO_LINGER). So
        // these must be root's sockets, and not those of a person whose program has taken the leader's place.
        let is_roots = || proc.all_uids(pid) == Some([0; 4]);
        let is_sshd = !identity.nested() && session == pid && tty == 0 && is_roots();
        is_sshd && connection::close(proc, pid, pidfd, self.session.client).unwrap_or(false)
    }

    fn request_end(&mut self, whom: &[Target]) {
        // The closer leaves with its leader, and closes the session only if that has left before.
        let asked = whom.iter().filter(|one| Some(one.id()) != self.closer);
        let (term, forbidden) = self.ask(SIGTERM, asked);
        self.outcome.term += term;
        self.outcome.forbidden += forbidden;
    }

    /// How many were asked, and how many requests were forbidden.
    fn ask<'b>(&self, signal: i32, whom: impl Iterator<Item = &'b Target>) -> (usize, usize) {
        let mut forbidden = 0;
        let asked = whom.filter(|one| one.ask(self.session, signal, &mut forbidden)).count();
        (asked, forbidden)
    }

    /// Whether SIGHUP is what makes a process leave: it has a terminal to lose, and does not ignore the
    /// signal.
    fn hangs_up(&self, member: &Member) -> bool {
        let Process { id, tty, .. } = member.process;
        // Interactive shells ignore SIGTERM, and hang up at SIGHUP. sshd and login(1) do not close
        // their sessions at SIGHUP.
        if member.leader {
            return self.shell_leads;
        }
        tty != 0
            && self.reach != Reach::Connection
            && Some(id) != self.closer
            && !self.session.proc.ignores(id.pid, SIGHUP)
    }

    /// Whether a member is killed only when all the others are gone. Without the leader sshd's child
    /// stays connected, and without the closer nobody closes the session.
    pub(in crate::helper) fn leaves_last(&self, member: &Member) -> bool {
        if self.shell_leads { Some(member.process.id) == self.closer } else { member.leader }
    }

    /// Waits until everybody is gone, those included who were started on the way out, say by a
    /// shell's exit trap. Answers who is left.
    fn wait_for_all(&self, mut held: Vec<Target>, until: Nanos) -> Vec<Target> {
        let mut empty = 0;
        let hold = room_for_pidfds();
        while Moment::now().mono < until {
            wait_for_exit(self.session, &mut held, until);
            if !held.is_empty() {
                continue;
            }
            let survey = self.find(None, |one| {
                if held.len() < hold {
                    held.push(one);
                }
            });
            if survey.members.is_empty() {
                empty += 1;
            }
            if survey.members.is_empty() && (!survey.unsettled || empty >= EMPTY) {
                break;
            }
            if held.is_empty() {
                pause(PAUSE);
            }
        }
        held
    }

    /// Surveys all processes, or those with these numbers, and holds everybody within reach.
    ///
    /// Whoever is a member by descent alone comes last: the survey may have followed numbers to the
    /// leader that were given to others meanwhile, so their descent is read once more.
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
            survey.unsettled = true;
        }
        survey
    }

    /// A survey of those within reach.
    fn survey(&self, pids: Option<Vec<Pid>>, mut visit: impl FnMut(&Member)) -> Survey {
        let WatchedSession { proc, identity, finder, leader, terminals, .. } = self.session;
        let holders = match self.reach {
            Reach::Orphans if pids.is_none() => identity.connection_holders(proc),
            _ => Vec::new(),
        };
        let controlling = finder.controlling_sessions(terminals, leader, &holders);
        let mut reached = |member: &Member| {
            if self.reaches(member) {
                visit(member);
            }
        };
        let mut survey = match pids {
            None => identity.survey(proc, &controlling, &mut reached),
            Some(pids) => identity.survey_of(proc, pids, &controlling, &mut reached),
        };
        survey.members.retain(|member| self.reaches(member));
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
            Reach::Tty => {
                // `nohup` and its like ask to be left alone.
                let sits = member.on_terminal && !self.session.proc.ignores(member.process.id.pid, SIGHUP);
                member.leader || member.connection || sits
            }
        }
    }
}

pub(in crate::helper) fn after(now: Moment, time: Nanos) -> Nanos {
    now.mono.saturating_add(time)
}
