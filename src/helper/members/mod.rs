//! Which processes are members of the session.
//!
//! [`judge`] is the rule. It is pure. [`SessionIdentity`] is found when the watchdog is armed.
//! [`SessionIdentity::survey`] applies the rule to all processes.

pub mod controlling;
pub mod descendants;

use std::cell::OnceCell;
use std::ffi::OsString;

use nix::unistd::{Pid, getpid};

use crate::helper::members::controlling::ControllingSessions;
use crate::helper::members::descendants::Descendants;
use crate::sys::cgroup::{Cgroups, Frozen, SessionScope};
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::proc::{AuditSession, Proc, ProcId, Process};
use crate::sys::subuid::Subuids;

/// The session's user.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    pub name: OsString,
    /// The user's ID, if name services know it.
    pub uid: Option<u32>,
}

/// What distinguishes the session from all others.
#[derive(Clone, Debug)]
pub struct SessionIdentity {
    leader: Process,
    owner: Owner,
    /// The leader was already inside a login session, for example su, or login(1) that was started in a shell.
    /// Processes on its terminal may belong to the outer session.
    nested: bool,
    /// The scope that systemd made for this session.
    scope: Option<SessionScope>,
    /// The leader's audit session ID.
    audit: Option<AuditSession>,
    /// pam_loginuid made this ID for this session.
    own_audit: bool,
}

/// The facts about a process that the rule uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// It is the leader.
    pub leader: bool,
    /// The leader is among its ancestors.
    pub descendant: bool,
    /// It is in the session's own scope.
    pub in_scope: bool,
    /// It has the session's own audit session ID.
    pub same_audit: bool,
    /// It has another audit session ID, because it belongs to another login.
    pub other_audit: bool,
    /// One of the session's terminals is its controlling terminal.
    pub on_terminal: bool,
    /// It runs as another user than the session's. In a session of root: it runs as root.
    pub other_user: bool,
}

/// The result of the rule for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The end applies to it.
    Member,
    /// It looks like a member and is left alone, because it belongs to another user's login or is a daemon.
    Spared,
    /// It has nothing to do with the session.
    Stranger,
}

/// The rule: whether a process with these facts is a member.
#[must_use]
pub fn judge(nested: bool, t: Traits) -> Membership {
    if t.leader {
        return Membership::Member;
    }
    // A nested session shares its terminal with the shell that started it.
    if t.on_terminal && (!nested || t.descendant || t.in_scope || t.same_audit) {
        return Membership::Member;
    }
    if t.descendant || t.in_scope {
        // An sshd that was started from this session may let other users in. Their logins are in the same
        // scope. They descend from the leader if a process adopts orphans (PR_SET_CHILD_SUBREAPER).
        return if t.other_audit { Membership::Spared } else { Membership::Member };
    }
    if t.same_audit {
        // A service that is restarted from the session keeps the ID.
        return if t.other_user { Membership::Spared } else { Membership::Member };
    }
    Membership::Stranger
}

/// A process of the session.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub process: Process,
    /// It is the leader.
    pub leader: bool,
    /// It is a member only because the leader is among its ancestors.
    pub by_descent: bool,
    /// It is sshd's own child.
    pub connection: bool,
    /// One of the session's terminals is its controlling terminal.
    pub on_terminal: bool,
}

/// The result of a survey of all processes, sorted.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The processes to end.
    pub members: Vec<Member>,
    /// The processes that look like members and are left alone.
    pub spared: Vec<Pid>,
    /// Processes have just ended, so the survey may have missed one that they had started.
    pub incomplete: bool,
}

impl SessionIdentity {
    /// Finds the identity when the watchdog is armed, right after the leader's stack has set up the session.
    /// `cgroups` are those of the leader.
    #[must_use]
    pub fn of(proc: &Proc, leader: &Process, cgroups: &Cgroups, owner: Owner) -> Self {
        let parent = leader.parent;
        let audit = proc.audit_session(leader.id.pid);
        let own_audit = audit.is_some() && proc.audit_session(parent) != audit;
        let same_audit = audit.is_some() && !own_audit;
        let same_scope = cgroups.in_scope() && Cgroups::of(proc, parent) == *cgroups;
        // A superserver that starts `sshd -i` may share its session (setsid(2)), as a shell does. But it has no
        // terminal.
        let at_terminal =
            proc.process(parent).is_some_and(|parent| parent.session == leader.session && parent.tty != 0);
        // If a person runs su through setsid(1), nothing else may show that the session is nested. A program
        // that lets people in from outside is run by root.
        let called = proc.uids(leader.id.pid).is_some_and(|(real, _)| real != 0);
        let nested = at_terminal || same_audit || called || (same_scope && !own_audit);
        let scope = if same_scope { None } else { cgroups.scope() };
        Self { leader: *leader, owner, nested, scope, audit, own_audit }
    }

    /// The leader's PID.
    #[must_use]
    pub fn leader(&self) -> Pid {
        self.leader.id.pid
    }

    /// Whether the leader was already inside a login session.
    #[must_use]
    pub fn nested(&self) -> bool {
        self.nested
    }

    /// Freezes the session's own scope, if it has one, until the returned value is dropped.
    #[must_use]
    pub fn freeze(&self, proc: &Proc) -> Option<Frozen> {
        self.scope.as_ref().and_then(|scope| scope.freeze(proc))
    }

    /// Whether the audit session ID distinguishes the session's processes.
    fn by_audit(&self) -> bool {
        self.own_audit && self.scope.is_none()
    }

    /// The value of `members-by=` in the record of arming.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self { scope: Some(_), .. } => "scope",
            Self { own_audit: true, .. } => "audit",
            Self { nested: true, .. } => "descendants",
            _ => "descendants,terminals",
        }
    }

    /// Surveys all processes.
    ///
    /// The newest come first, because a process that forks and exits all the time is soon gone. `visit` gets
    /// each member at once. For most processes only two small files are read.
    pub fn survey(
        &self,
        proc: &Proc,
        controlling: &ControllingSessions<'_>,
        visit: impl FnMut(&Member),
    ) -> Survey {
        self.survey_of(proc, proc.newest_first(), controlling, visit)
    }

    /// Looks only at the processes with these PIDs, in this order.
    pub fn survey_of(
        &self,
        proc: &Proc,
        pids: Vec<Pid>,
        controlling: &ControllingSessions<'_>,
        mut visit: impl FnMut(&Member),
    ) -> Survey {
        let mut descendants = self.descendants(proc);
        // Another process may have the leader's PID by now.
        let leader_lives =
            descendants.get(self.leader.id.pid).is_some_and(|process| process.id == self.leader.id);
        let mut survey = Survey::default();
        let strangers = Strangers::new(proc, &self.owner);
        let me = getpid();
        let now = Moment::now().boot;
        for (age, pid) in pids.into_iter().enumerate() {
            let Some(process) = descendants.get(pid) else {
                survey.incomplete |= age < NEWEST_STAY;
                continue;
            };
            if process.dead {
                let missed = age < NEWEST_STAY && has_just_started(&process, now);
                survey.incomplete |= missed && !strangers.surely_include(pid);
                continue;
            }
            if pid == me {
                continue;
            }
            let leader = leader_lives && pid == self.leader.id.pid;
            let descendant = leader_lives && !leader && descendants.include(&process);
            let by_ancestry = Traits { leader, descendant, ..Traits::default() };
            let traits = self.traits(proc, &process, by_ancestry, controlling, &strangers);
            match judge(self.nested, traits) {
                Membership::Member => {
                    let member = Member {
                        process,
                        leader,
                        by_descent: descendant && !traits.in_scope && !traits.same_audit,
                        connection: self.is_connection(proc, &process),
                        on_terminal: traits.on_terminal,
                    };
                    visit(&member);
                    survey.members.push(member);
                }
                Membership::Spared => survey.spared.push(pid),
                Membership::Stranger => {}
            }
        }
        survey
    }

    /// The processes that are left when the session has closed, in the order of a survey. There are none if
    /// neither a scope nor an audit session ID shows that they belong to the session.
    #[must_use]
    pub fn left(&self, proc: &Proc, controlling: &ControllingSessions<'_>) -> Vec<Process> {
        if self.scope.is_none() && !self.own_audit {
            return Vec::new();
        }
        let survey = self.survey(proc, controlling, |_| {});
        // A leader that lives on may have other children.
        let left = |member: &&Member| !member.leader && !member.connection && !member.by_descent;
        survey.members.iter().filter(left).map(|member| member.process).collect()
    }

    /// sshd's own processes except the leader, whatever their parents are now.
    #[must_use]
    pub fn connection_holders(&self, proc: &Proc) -> Vec<Process> {
        proc.processes().filter(|process| !process.dead && self.is_connection(proc, process)).collect()
    }

    /// Whether a process is sshd's own child. Such a child stays in the leader's session (setsid(2)). sshd puts
    /// all processes that it starts for the user into another session, and they cannot come back.
    fn is_connection(&self, proc: &Proc, process: &Process) -> bool {
        let Process { id: ProcId { pid, started }, session, tty, .. } = self.leader;
        let inside = process.session == session && process.id.pid != pid && process.id.started >= started;
        if self.nested || tty != 0 || process.tty != 0 || !inside {
            return false;
        }
        let leader = proc.process(pid);
        let same = leader.is_some_and(|leader| leader.id == self.leader.id);
        if session == pid {
            // If the leader is dead, another process may have its PID.
            return same || leader.is_none();
        }
        // A superserver started the leader. Its other children are in the same session.
        (same && process.parent == pid) || self.known(proc, process.id.pid)
    }

    /// Whether the scope or the audit session ID shows that a process belongs to the session.
    fn known(&self, proc: &Proc, pid: Pid) -> bool {
        match &self.scope {
            Some(scope) => scope.holds(&Cgroups::of(proc, pid)),
            None => self.own_audit && proc.audit_session(pid) == self.audit,
        }
    }

    /// The leader's descendants, before anything is read.
    #[must_use]
    pub fn descendants<'a>(&self, proc: &'a Proc) -> Descendants<'a> {
        Descendants::of(proc, self.leader.id.pid)
    }

    /// Adds the other facts to those that depend on ancestry. If a fact cannot change the result, it is not
    /// read.
    fn traits(
        &self,
        proc: &Proc,
        process: &Process,
        by_ancestry: Traits,
        controlling: &ControllingSessions<'_>,
        strangers: &Strangers<'_>,
    ) -> Traits {
        let pid = process.id.pid;
        let in_scope = self.scope.as_ref().is_some_and(|scope| scope.holds(&Cgroups::of(proc, pid)));
        let asked = self.by_audit() || by_ancestry.descendant || in_scope;
        let audit = if asked { proc.audit_session(pid) } else { None };
        let same_audit = self.by_audit() && audit == self.audit;
        // If the leader has no audit session ID, each of its processes may set one, once.
        let other_audit = self.audit.is_some() && audit.is_some() && audit != self.audit;
        let known = (in_scope || same_audit) && !other_audit;
        let on_terminal = process.tty != 0 && controlling.include(process, known);
        let asked = same_audit && !by_ancestry.leader && !by_ancestry.descendant && !on_terminal;
        let other_user = asked && strangers.include(pid);
        Traits { in_scope, same_audit, other_audit, on_terminal, other_user, ..by_ancestry }
    }
}

/// If one of this many newest processes vanishes during a survey, the survey is incomplete. It is, too, if one of them is a
/// zombie of the session's user that has just started: it may have started another process, which the survey missed.
const NEWEST_STAY: usize = 64;

/// Whether a zombie started a moment ago. If nobody reaps them, zombies stay for long, so an older one means nothing. `now` is
/// on the boot clock.
fn has_just_started(zombie: &Process, now: Nanos) -> bool {
    now.saturating_sub(zombie.id.started.0) < SECOND
}

/// Recognizes processes that run neither as the session's user nor with another ID that this user may take on.
struct Strangers<'a> {
    proc: &'a Proc,
    owner: &'a Owner,
    /// They are read when they are first needed.
    subuids: OnceCell<Subuids>,
}

impl<'a> Strangers<'a> {
    fn new(proc: &'a Proc, owner: &'a Owner) -> Self {
        Self { proc, owner, subuids: OnceCell::new() }
    }

    /// Whether a process runs as another user. In a session of root, or if the user's ID is unknown, processes
    /// of root count as another user's.
    fn include(&self, pid: Pid) -> bool {
        let Some(ids) = self.proc.all_uids(pid) else { return false };
        match self.owner.uid {
            None => ids.first() == Some(&0),
            Some(0) => true,
            Some(uid) => !ids.contains(&uid) && !self.are_taken_on(uid, ids) && !self.proc.has_other_ids(pid),
        }
    }

    /// The same, but `false` if the IDs do not tell, as in a session of root.
    fn surely_include(&self, pid: Pid) -> bool {
        self.owner.uid.is_some_and(|uid| uid != 0) && self.include(pid)
    }

    /// Whether the user may take on one of the IDs. Even outside of a user namespace they may, with a setuid
    /// program that was made inside.
    fn are_taken_on(&self, uid: u32, ids: [u32; 4]) -> bool {
        let subuids = self.subuids.get_or_init(|| Subuids::of(&self.owner.name, uid));
        ids.into_iter().any(|id| subuids.contain(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::Started;

    const NONE: Traits = Traits {
        leader: false,
        descendant: false,
        in_scope: false,
        same_audit: false,
        other_audit: false,
        on_terminal: false,
        other_user: false,
    };

    #[test]
    fn an_old_zombie_has_not_just_started() {
        let zombie = |started| Process {
            id: ProcId { pid: Pid::from_raw(7), started: Started(started) },
            parent: Pid::from_raw(1),
            session: Pid::from_raw(7),
            tty: 0,
            dead: true,
        };
        let now = 100 * SECOND;
        assert!(has_just_started(&zombie(now - SECOND / 100), now));
        // The start is exact to 10 ms, and may seem to lie ahead.
        assert!(has_just_started(&zombie(now + SECOND / 100), now));
        assert!(!has_just_started(&zombie(now - 2 * SECOND), now));
    }

    /// All possible processes.
    fn all() -> impl Iterator<Item = Traits> {
        (0..1 << 7).map(|bits: u32| {
            let bit = |n: u32| bits & 1 << n != 0;
            Traits {
                leader: bit(0),
                descendant: bit(1),
                in_scope: bit(2),
                same_audit: bit(3),
                other_audit: bit(4),
                on_terminal: bit(5),
                other_user: bit(6),
            }
        })
    }

    #[test]
    fn the_leader_and_what_descends_of_its_login_are_members_always() {
        for t in all().filter(|t| t.leader || (t.descendant && !t.other_audit)) {
            for nested in [false, true] {
                assert_eq!(judge(nested, t), Membership::Member, "{t:?}");
            }
        }
    }

    #[test]
    fn somebody_elses_login_is_spared_unless_it_sits_on_our_terminal() {
        for t in all().filter(|t| !t.leader && t.other_audit && (t.descendant || t.in_scope)) {
            let expected = if t.on_terminal { Membership::Member } else { Membership::Spared };
            for nested in [false, true] {
                assert_eq!(judge(nested, t), expected, "nested={nested} {t:?}");
            }
        }
    }

    #[test]
    fn a_nested_session_never_touches_the_outer_one() {
        for t in all().filter(|t| !t.leader && !t.descendant && !t.in_scope && !t.same_audit) {
            assert_eq!(judge(true, t), Membership::Stranger, "{t:?}");
        }
    }

    #[test]
    fn the_scope_holds_all_but_other_peoples_logins() {
        for t in all().filter(|t| t.in_scope && !t.other_audit) {
            assert_eq!(judge(false, t), Membership::Member, "{t:?}");
        }
    }

    #[test]
    fn without_a_scope_a_daemon_of_somebody_elses_is_spared() {
        assert_eq!(judge(false, Traits { same_audit: true, ..NONE }), Membership::Member);
        let daemon = Traits { same_audit: true, other_user: true, ..NONE };
        for nested in [false, true] {
            assert_eq!(judge(nested, daemon), Membership::Spared);
            assert_eq!(judge(nested, Traits { on_terminal: true, ..daemon }), Membership::Member);
            assert_eq!(judge(nested, Traits { descendant: true, ..daemon }), Membership::Member);
        }
    }

    #[test]
    fn who_sits_on_a_terminal_is_a_member_and_nobody_else_without_a_reason() {
        assert_eq!(judge(false, Traits { on_terminal: true, ..NONE }), Membership::Member);
        for t in [NONE, Traits { other_audit: true, ..NONE }, Traits { other_user: true, ..NONE }] {
            assert_eq!(judge(false, t), Membership::Stranger, "{t:?}");
        }
    }
}
