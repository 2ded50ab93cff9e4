//! Whom the end applies to.
//!
//! [`judge`] is the rule, pure; [`SessionIdentity`] is what the session is known by, found when the
//! watchdog is armed; [`SessionIdentity::survey`] applies the one to the other and to all processes.

pub mod controlling;
pub mod descendants;

use std::cell::OnceCell;
use std::ffi::OsString;

use nix::unistd::{Pid, getpid};

use crate::helper::members::controlling::ControllingSessions;
use crate::helper::members::descendants::Descendants;
use crate::sys::cgroup::{Cgroups, Frozen, SessionScope};
use crate::sys::proc::{AuditSession, Proc, ProcId, Process};
use crate::sys::subuid::Subuids;

/// Whose session it is.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The user's name.
    pub name: OsString,
    /// Their id, where name services knew it.
    pub uid: Option<u32>,
}

/// What sets the session apart from all others.
#[derive(Clone, Debug)]
pub struct SessionIdentity {
    leader: Process,
    owner: Owner,
    /// The leader was already inside a login session (su, sudo, login run from a shell): what sits on its
    /// terminal may be the outer session's.
    nested: bool,
    /// The scope systemd made for this session.
    scope: Option<SessionScope>,
    /// The leader's audit session id.
    audit: Option<AuditSession>,
    /// pam_loginuid made that id for this session.
    own_audit: bool,
}

/// One process, as far as the rule looks at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// It is the leader.
    pub leader: bool,
    /// The leader is among its ancestors.
    pub descendant: bool,
    /// It is in the session's own scope.
    pub in_scope: bool,
    /// It has the session's own audit session id.
    pub same_audit: bool,
    /// It has another audit session id, of a login of its own.
    pub other_audit: bool,
    /// One of the session's terminals is its controlling terminal.
    pub on_terminal: bool,
    /// It runs as somebody else than the session's user, or runs as root in a root session.
    pub other_user: bool,
}

/// What the rule says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The end applies to it.
    Member,
    /// It looks like a member, and is left alone: somebody else's login, or a daemon.
    Spared,
    /// It has nothing to do with the session.
    Stranger,
}

/// The rule.
#[must_use]
pub fn judge(nested: bool, t: Traits) -> Membership {
    if t.leader {
        return Membership::Member;
    }
    // In a nested session the shell that it was started from sits on the same terminal.
    if t.on_terminal && (!nested || t.descendant || t.in_scope || t.same_audit) {
        return Membership::Member;
    }
    if t.descendant || t.in_scope {
        // A login through an sshd that was started from this session sits in the same scope, and descends from
        // the leader where somebody adopts orphans (PR_SET_CHILD_SUBREAPER).
        return if t.other_audit { Membership::Spared } else { Membership::Member };
    }
    if t.same_audit {
        // A service that is restarted from the session keeps the id.
        return if t.other_user { Membership::Spared } else { Membership::Member };
    }
    Membership::Stranger
}

/// A process of the session's.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The process.
    pub process: Process,
    /// It is the leader.
    pub leader: bool,
    /// It is one only because the leader is among its ancestors.
    pub by_descent: bool,
    /// It is sshd's own child.
    pub connection: bool,
    /// One of the session's terminals is its controlling terminal.
    pub on_terminal: bool,
}

/// All processes, sorted out.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Those the end applies to.
    pub members: Vec<Member>,
    /// Those that look like it and are left alone.
    pub spared: Vec<Pid>,
    /// Processes were started or vanished while we looked: somebody may have been missed.
    pub unsettled: bool,
}

impl SessionIdentity {
    /// Found when the watchdog is armed, right after the leader's stack set the session up. `cgroups`
    /// are the leader's.
    #[must_use]
    pub fn of(proc: &Proc, leader: &Process, cgroups: &Cgroups, owner: Owner) -> Self {
        let parent = leader.parent;
        let audit = proc.audit_session(leader.id.pid);
        let own_audit = audit.is_some() && proc.audit_session(parent) != audit;
        let same_audit = audit.is_some() && !own_audit;
        let same_scope = cgroups.in_scope() && Cgroups::of(proc, parent) == *cgroups;
        // A superserver that starts `sshd -i` may share its session (setsid(2)) as a shell does, but has no
        // terminal.
        let at_terminal =
            proc.process(parent).is_some_and(|parent| parent.session == leader.session && parent.tty != 0);
        // Of a program such as su that a person runs through setsid(1) nothing else may tell. A
        // program that lets people in from outside is run by root.
        let called = proc.uids(leader.id.pid).is_some_and(|(real, _)| real != 0);
        let nested = at_terminal || same_audit || called || (same_scope && !own_audit);
        let scope = if same_scope { None } else { cgroups.scope() };
        Self { leader: *leader, owner, nested, scope, audit, own_audit }
    }

    /// Whether the leader was already inside a login session.
    #[must_use]
    pub fn nested(&self) -> bool {
        self.nested
    }

    /// Stops everything in the session's own scope, where it has one, until what is answered is dropped.
    #[must_use]
    pub fn freeze(&self) -> Option<Frozen> {
        self.scope.as_ref().and_then(SessionScope::freeze)
    }

    /// The session's processes are known by the audit id.
    fn by_audit(&self) -> bool {
        self.own_audit && self.scope.is_none()
    }

    /// The word in the record of arming: what tells the session's processes from others.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self { scope: Some(_), .. } => "scope",
            Self { own_audit: true, .. } => "audit",
            Self { nested: true, .. } => "descendants",
            _ => "descendants,terminals",
        }
    }

    /// Looks at all processes.
    ///
    /// The newest first: one that forks and exits all the time is met while it still is the one
    /// listed. `visit` is told of each member at once. Of most processes two small files are read.
    pub fn survey(
        &self,
        proc: &Proc,
        controlling: &ControllingSessions<'_>,
        visit: impl FnMut(&Member),
    ) -> Survey {
        self.survey_of(proc, proc.newest_first(), controlling, visit)
    }

    /// Looks at the processes with these numbers only, in this order.
    pub fn survey_of(
        &self,
        proc: &Proc,
        pids: Vec<Pid>,
        controlling: &ControllingSessions<'_>,
        mut visit: impl FnMut(&Member),
    ) -> Survey {
        let mut descendants = self.descendants(proc);
        // The leader's number may be somebody else's by now.
        let leader_lives =
            descendants.get(self.leader.id.pid).is_some_and(|process| process.id == self.leader.id);
        let mut survey = Survey::default();
        let strangers = Strangers::new(proc, &self.owner);
        let me = getpid();
        for (age, pid) in pids.into_iter().enumerate() {
            let Some(process) = descendants.get(pid) else {
                survey.unsettled |= age < NEWEST_STAY;
                continue;
            };
            if process.dead || pid == me {
                continue;
            }
            let leader = leader_lives && pid == self.leader.id.pid;
            let descendant = leader_lives && !leader && descendants.include(&process);
            let kin = Traits { leader, descendant, ..Traits::default() };
            let traits = self.traits(proc, &process, kin, controlling, &strangers);
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

    /// sshd's own processes but the leader, whoever they are now the children of.
    #[must_use]
    pub fn connection_holders(&self, proc: &Proc) -> Vec<Process> {
        proc.processes().filter(|process| !process.dead && self.is_connection(proc, process)).collect()
    }

    /// Whether a process is sshd's own child: it stays in the session (setsid(2)) that the leader is in. sshd
    /// puts whatever it starts for the user into another, and there is no way back.
    fn is_connection(&self, proc: &Proc, process: &Process) -> bool {
        let Process { id: ProcId { pid, started }, session, tty, .. } = self.leader;
        let inside = process.session == session && process.id.pid != pid && process.id.started >= started;
        if self.nested || tty != 0 || process.tty != 0 || !inside {
            return false;
        }
        let leader = proc.process(pid);
        let same = leader.is_some_and(|leader| leader.id == self.leader.id);
        if session == pid {
            // The number of a leader long dead may have become another's.
            return same || leader.is_none();
        }
        // The leader's session is a superserver's, whose other children are in it, too.
        (same && process.parent == pid) || self.known(proc, process.id.pid)
    }

    /// Whether the scope or the audit id says that a process is the session's.
    fn known(&self, proc: &Proc, pid: Pid) -> bool {
        match &self.scope {
            Some(scope) => scope.holds(&Cgroups::of(proc, pid)),
            None => self.own_audit && proc.audit_session(pid) == self.audit,
        }
    }

    /// For reading anew who descends from the leader.
    #[must_use]
    pub fn descendants<'a>(&self, proc: &'a Proc) -> Descendants<'a> {
        Descendants::of(proc, self.leader.id.pid)
    }

    /// All traits, where those of ancestry are known. What cannot change the verdict is not read.
    fn traits(
        &self,
        proc: &Proc,
        process: &Process,
        kin: Traits,
        controlling: &ControllingSessions<'_>,
        strangers: &Strangers<'_>,
    ) -> Traits {
        let pid = process.id.pid;
        let in_scope = self.scope.as_ref().is_some_and(|scope| scope.holds(&Cgroups::of(proc, pid)));
        let asked = self.by_audit() || kin.descendant || in_scope;
        let audit = if asked { proc.audit_session(pid) } else { None };
        let same_audit = self.by_audit() && audit == self.audit;
        // Where the leader has no id its processes may take any, once.
        let other_audit = self.audit.is_some() && audit.is_some() && audit != self.audit;
        let known = (in_scope || same_audit) && !other_audit;
        let on_terminal = process.tty != 0 && controlling.include(process, known);
        let asked = same_audit && !kin.leader && !kin.descendant && !on_terminal;
        let other_user = asked && strangers.include(pid);
        Traits { in_scope, same_audit, other_audit, on_terminal, other_user, ..kin }
    }
}

/// How many of the newest processes must not vanish under a survey that is to be believed.
const NEWEST_STAY: usize = 64;

/// Those who are not the session's user, and cannot be them under another id.
struct Strangers<'a> {
    proc: &'a Proc,
    owner: &'a Owner,
    /// Read for the first one who may be a stranger.
    subuids: OnceCell<Subuids>,
}

impl<'a> Strangers<'a> {
    fn new(proc: &'a Proc, owner: &'a Owner) -> Self {
        Self { proc, owner, subuids: OnceCell::new() }
    }

    /// Whether a process runs as somebody else. In a root session, or in one whose user is not known, root's
    /// processes pass for somebody else's.
    fn include(&self, pid: Pid) -> bool {
        let Some(ids) = self.proc.all_uids(pid) else { return false };
        match self.owner.uid {
            None => ids.first() == Some(&0),
            Some(0) => true,
            Some(uid) => !ids.contains(&uid) && !self.are_taken_on(uid, ids) && !self.proc.has_other_ids(pid),
        }
    }

    /// Whether one of the ids may be had by the user: with a setuid program that was made in a user namespace,
    /// outside of it, too.
    fn are_taken_on(&self, uid: u32, ids: [u32; 4]) -> bool {
        let subuids = self.subuids.get_or_init(|| Subuids::of(&self.owner.name, uid));
        ids.into_iter().any(|id| subuids.contain(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Traits = Traits {
        leader: false,
        descendant: false,
        in_scope: false,
        same_audit: false,
        other_audit: false,
        on_terminal: false,
        other_user: false,
    };

    /// Every process there can be.
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
