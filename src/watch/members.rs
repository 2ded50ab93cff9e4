//! Whom the end applies to.
//!
//! [`judge`] is the rule, pure; [`Standing`] is what the session is known by, found when the
//! watchdog is armed; [`Standing::survey`] applies the one to the other and to all processes.

use std::collections::BTreeMap;

use super::terminal::Terminal;
use crate::sys::cgroup::{Frozen, Places, Scope};
use crate::sys::proc::{Proc, Process};

/// What sets the session apart from all others.
#[derive(Clone, Debug)]
pub struct Standing {
    leader: Process,
    /// The leader was already inside a login session (su, sudo, login run from a shell): only its
    /// descendants are its own.
    nested: bool,
    /// The scope systemd made for this session.
    scope: Option<Scope>,
    /// The leader's audit session id.
    audit: Option<u32>,
    /// pam_loginuid made that id for this session, and there is no scope to go by.
    by_audit: bool,
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
    /// It has that very device open, and the device is still the session's.
    pub has_device: bool,
    /// Its real user id is 0.
    pub root: bool,
}

/// What the rule says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The end applies to it.
    Member,
    /// It looks like a member, and is left alone: somebody else's login, or a daemon.
    Spared,
    /// It has nothing to do with the session.
    Stranger,
}

/// The rule.
#[must_use]
pub fn judge(nested: bool, t: Traits) -> Verdict {
    if t.leader || t.descendant {
        return Verdict::Member;
    }
    if nested {
        return Verdict::Stranger;
    }
    if t.on_terminal && (t.has_device || t.same_audit) {
        return Verdict::Member;
    }
    if t.in_scope {
        // A login through an sshd that was started from this session sits in the same scope, and in
        // a devpts of its own may have a terminal of our number.
        return if t.other_audit { Verdict::Spared } else { Verdict::Member };
    }
    if t.same_audit {
        // `service ssh restart` leaves a daemon with our id behind.
        return if t.root { Verdict::Spared } else { Verdict::Member };
    }
    Verdict::Stranger
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
    pub spared: Vec<i32>,
    /// Processes were started or vanished while we looked: somebody may have been missed.
    pub unsettled: bool,
}

impl Standing {
    /// Found when the watchdog is armed, right after the leader's stack set the session up. `places`
    /// are the leader's.
    #[must_use]
    pub fn of(proc: &Proc, leader: &Process, places: &Places) -> Self {
        let parent = leader.parent;
        let audit = proc.audit_session(leader.pid);
        let own_audit = audit.filter(|id| proc.audit_session(parent) != Some(*id));
        let same_audit = audit.is_some() && own_audit.is_none();
        let same_scope = places.in_scope() && Places::of(proc, parent) == *places;
        let same_session = proc.process(parent).is_some_and(|parent| parent.session == leader.session);
        let nested = same_session || same_audit || (same_scope && own_audit.is_none());
        let scope = places.scope().filter(|_| !same_scope);
        let by_audit = own_audit.is_some() && scope.is_none();
        Self { leader: *leader, nested, scope, audit, by_audit }
    }

    /// Whether the leader was already inside a login session.
    #[must_use]
    pub fn nested(&self) -> bool {
        self.nested
    }

    /// Stops everything in the session's own scope, where it has one, until what is answered is dropped.
    #[must_use]
    pub fn freeze(&self) -> Option<Frozen> {
        self.scope.as_ref().and_then(Scope::freeze)
    }

    /// The word in the record of arming: what tells the session's processes from others.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self { nested: true, .. } => "descendants",
            Self { scope: Some(_), .. } => "scope",
            Self { by_audit: true, .. } => "audit",
            _ => "descendants,terminals",
        }
    }

    /// Looks at all processes.
    ///
    /// The newest first: one that forks and exits all the time is met while it still is the one
    /// listed. `visit` is told of each member at once. `ours` tells whether a terminal still is the
    /// session's: asked after a process was seen on it, for a number may be given to the next login
    /// the moment it is free.
    pub fn survey(
        &self,
        proc: &Proc,
        terminals: &[Terminal],
        ours: impl Fn(&Terminal) -> bool,
        visit: impl FnMut(&Member),
    ) -> Survey {
        self.survey_of(proc, proc.newest_first(), terminals, ours, visit)
    }

    /// Looks at the processes with these numbers only, in this order.
    pub fn survey_of(
        &self,
        proc: &Proc,
        pids: Vec<i32>,
        terminals: &[Terminal],
        ours: impl Fn(&Terminal) -> bool,
        mut visit: impl FnMut(&Member),
    ) -> Survey {
        let mut table = Table::new(proc);
        // The leader's number may be somebody else's by now.
        let leader_lives = table.get(self.leader.pid).is_some_and(|p| p.started == self.leader.started);
        let mut survey = Survey::default();
        let me = nix::unistd::getpid().as_raw();
        for (age, pid) in pids.into_iter().enumerate() {
            let Some(process) = table.get(pid) else {
                survey.unsettled |= age < NEWEST;
                continue;
            };
            if process.dead || pid == me {
                continue;
            }
            let mut traits = self.traits(proc, &process, terminals);
            if leader_lives {
                traits.leader = pid == self.leader.pid;
                traits.descendant = !traits.leader && table.descends(&process, self.leader.pid);
            }
            if traits.on_terminal && judge(self.nested, traits) != Verdict::Member {
                let on = |t: &&Terminal| t.id.device == process.tty && proc.has_open(pid, t.id) && ours(t);
                traits.has_device = terminals.iter().any(|terminal| on(&terminal));
            }
            match judge(self.nested, traits) {
                Verdict::Member => {
                    let member = Member {
                        process,
                        leader: traits.leader,
                        by_descent: traits.descendant && !traits.in_scope && !traits.same_audit,
                        connection: self.is_connection(proc, &process),
                        on_terminal: traits.on_terminal,
                    };
                    visit(&member);
                    survey.members.push(member);
                }
                Verdict::Spared => survey.spared.push(pid),
                Verdict::Stranger => {}
            }
        }
        survey
    }

    /// sshd's own processes but the leader, whoever they are now the children of.
    #[must_use]
    pub fn connection_holders(&self, proc: &Proc) -> Vec<Process> {
        proc.processes().filter(|process| !process.dead && self.is_connection(proc, process)).collect()
    }

    /// Whether a process is sshd's own child: it stays in the session (setsid(2)) that the leader made
    /// for itself. sshd puts whatever it starts for the user into another, and there is no way back.
    fn is_connection(&self, proc: &Proc, process: &Process) -> bool {
        let Process { pid, session, started, tty, .. } = self.leader;
        let inside = process.session == session && process.pid != pid && process.started >= started;
        let leader_is_sshd = !self.nested && session == pid && tty == 0;
        // The number of a leader long dead may have become another's.
        inside
            && leader_is_sshd
            && process.tty == 0
            && proc.process(pid).is_none_or(|leader| leader.started == started)
    }

    /// For reading anew who descends from the leader.
    #[must_use]
    pub fn lineage<'a>(&self, proc: &'a Proc) -> Lineage<'a> {
        Lineage { leader: self.leader.pid, table: Table::new(proc) }
    }

    /// All traits but those of kinship, and that of the very device.
    fn traits(&self, proc: &Proc, process: &Process, terminals: &[Terminal]) -> Traits {
        let pid = process.pid;
        let audit = proc.audit_session(pid);
        let same_audit = self.by_audit && audit == self.audit;
        Traits {
            leader: false,
            descendant: false,
            in_scope: self.scope.as_ref().is_some_and(|scope| scope.holds(&Places::of(proc, pid))),
            same_audit,
            // Where the leader has no id its processes may take any, once.
            other_audit: self.audit.is_some() && audit.is_some() && audit != self.audit,
            on_terminal: terminals.iter().any(|terminal| terminal.id.device == process.tty),
            has_device: false,
            root: same_audit && proc.uids(pid).is_some_and(|(real, _)| real == 0),
        }
    }
}

/// How many of the newest processes must not vanish under a survey that is to be believed.
const NEWEST: usize = 64;

/// Who descends from the leader, each process read once since this was made.
pub struct Lineage<'a> {
    leader: i32,
    table: Table<'a>,
}

impl Lineage<'_> {
    /// Whether the leader is among a process's ancestors.
    pub fn confirms(&mut self, process: &Process) -> bool {
        self.table.descends(process, self.leader)
    }
}

/// Processes read during one survey, each once.
struct Table<'a> {
    proc: &'a Proc,
    read: BTreeMap<i32, Option<Process>>,
}

impl<'a> Table<'a> {
    fn new(proc: &'a Proc) -> Self {
        Self { proc, read: BTreeMap::new() }
    }

    fn get(&mut self, pid: i32) -> Option<Process> {
        *self.read.entry(pid).or_insert_with(|| self.proc.process(pid))
    }

    /// Whether `ancestor` is among a process's ancestors.
    fn descends(&mut self, process: &Process, ancestor: i32) -> bool {
        // Numbers are used again while we read: a chain longer than any real one is a broken one.
        const DEEP: usize = 4096;
        let mut parent = process.parent;
        for _ in 0..DEEP {
            if parent == ancestor {
                return true;
            }
            match self.get(parent) {
                Some(next) if parent > 1 => parent = next.parent,
                _ => return false,
            }
        }
        false
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
        has_device: false,
        root: false,
    };

    #[test]
    fn the_leader_and_its_descendants_are_members_always() {
        for nested in [false, true] {
            assert_eq!(judge(nested, Traits { leader: true, ..NONE }), Verdict::Member);
            assert_eq!(judge(nested, Traits { descendant: true, root: true, ..NONE }), Verdict::Member);
            let login_below = Traits { descendant: true, in_scope: true, other_audit: true, ..NONE };
            assert_eq!(judge(nested, login_below), Verdict::Member);
        }
    }

    #[test]
    fn a_nested_session_never_touches_the_outer_one() {
        let outer_shell =
            Traits { in_scope: true, same_audit: true, on_terminal: true, has_device: true, ..NONE };
        assert_eq!(judge(true, outer_shell), Verdict::Stranger);
    }

    #[test]
    fn the_scope_holds_all_but_other_peoples_logins() {
        assert_eq!(judge(false, Traits { in_scope: true, ..NONE }), Verdict::Member);
        assert_eq!(judge(false, Traits { in_scope: true, root: true, ..NONE }), Verdict::Member);
        let other = Traits { in_scope: true, other_audit: true, ..NONE };
        assert_eq!(judge(false, other), Verdict::Spared);
        // Of our number, in a devpts of its own: still somebody else's.
        assert_eq!(judge(false, Traits { on_terminal: true, ..other }), Verdict::Spared);
        assert_eq!(judge(false, Traits { on_terminal: true, has_device: true, ..other }), Verdict::Member);
    }

    #[test]
    fn without_a_scope_a_daemon_of_roots_is_spared() {
        assert_eq!(judge(false, Traits { same_audit: true, ..NONE }), Verdict::Member);
        assert_eq!(judge(false, Traits { same_audit: true, root: true, ..NONE }), Verdict::Spared);
        let at_terminal = Traits { same_audit: true, root: true, on_terminal: true, ..NONE };
        assert_eq!(judge(false, at_terminal), Verdict::Member);
    }

    #[test]
    fn a_terminals_number_alone_makes_no_member() {
        assert_eq!(judge(false, Traits { on_terminal: true, ..NONE }), Verdict::Stranger);
        assert_eq!(judge(false, Traits { on_terminal: true, has_device: true, ..NONE }), Verdict::Member);
        assert_eq!(judge(false, Traits { other_audit: true, ..NONE }), Verdict::Stranger);
    }
}
