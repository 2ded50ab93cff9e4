//! Which terminals belong to the session. They are found again at each look.
//!
//! utmp and logind do not know all of them, and sshd sets `PAM_TTY` to `ssh`. The leader knows them. sshd keeps
//! the master of each pty that it made open. login(1) and su have a controlling terminal. If another process,
//! such as tmux or script(1), has a master open, the pty does not count, because the user can make up its
//! input.

pub mod console;
pub mod inner_pty;
pub mod made;
pub mod terminal;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::helper::judgement::activity::Sample;
use crate::helper::members::controlling::{ControllingSessions, Master};
use crate::helper::terminals::terminal::Terminal;
use crate::sys::devnode::{self, DeviceId, Node};
use crate::sys::offload::{self, Offload};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::tty::{self, Unread};

/// The value that sshd sets for `PAM_TTY` before any pty exists, below `/dev`.
const SSH: &str = "/dev/ssh";

/// How the terminals of a leader are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// They are the leader's own terminals from the time when it opened the session.
    Own,
    /// They are the terminals whose masters the leader has open.
    Masters,
    /// They are the terminals on which the leader's own processes started sessions. This is used if the
    /// leader's descriptors may not be read, as in a container without `CAP_SYS_PTRACE`.
    Sessions,
}

impl FoundBy {
    /// The value of `terminals-by=` in the record of arming.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Masters => "masters",
            Self::Sessions => "sessions",
        }
    }
}

/// Finds a session's terminals and samples them.
#[derive(Debug)]
pub struct Finder {
    proc: Proc,
    /// The leader when it opened the session.
    leader: Process,
    found_by: FoundBy,
    own: Vec<Terminal>,
    /// Their nodes. They are kept because the leader may become the person's program, and hide `/dev` from
    /// itself.
    _own_nodes: Vec<Node>,
    /// The nodes of the last look.
    nodes: BTreeMap<DeviceId, Node>,
    /// Runs the children that ask masters.
    offload: RefCell<Offload>,
}

impl Finder {
    /// Notes the leader's own terminals when the session opens, because the login(1) of util-linux later gives
    /// up its controlling terminal.
    #[must_use]
    pub fn new(proc: Proc, leader: &Process, tty: Option<&OsStr>) -> Self {
        let mut own: Vec<Terminal> = own_path(leader, tty)
            .and_then(|path| Terminal::at(&proc, leader.id.pid, &path))
            .into_iter()
            .filter(|found| found.id.device == leader.tty || tty::is_terminal(found.id.device))
            .collect();
        let mut nodes = Vec::new();
        for terminal in &mut own {
            if let Ok(node) = Node::hold(&terminal.path, terminal.id) {
                terminal.path = node.path();
                nodes.push(node);
            }
        }
        let found_by = if own.is_empty() { FoundBy::Masters } else { FoundBy::Own };
        let offload = RefCell::default();
        Self { proc, leader: *leader, found_by, own, _own_nodes: nodes, nodes: BTreeMap::new(), offload }
    }

    /// Checks whether the leader's descriptors may be read. A login need not wait for this.
    pub fn choose_how_to_find(&mut self) {
        let masters = self.proc.pty_masters(self.leader.id.pid);
        if self.found_by == FoundBy::Masters
            && masters.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
        {
            self.found_by = FoundBy::Sessions;
        }
    }

    /// How the terminals are found.
    #[must_use]
    pub fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The leader's own terminals, from the time when it opened the session.
    #[must_use]
    pub fn own(&self) -> &[Terminal] {
        &self.own
    }

    /// The present terminals.
    #[must_use]
    pub fn find(&self) -> Vec<Terminal> {
        match self.found_by {
            FoundBy::Own => self.own.iter().filter(|terminal| terminal.is_there()).cloned().collect(),
            FoundBy::Masters => self.held_by(self.leader.id.pid),
            FoundBy::Sessions => self.of_started_sessions(),
        }
    }

    /// The terminals whose masters a process has open.
    #[must_use]
    pub fn held_by(&self, holder: Pid) -> Vec<Terminal> {
        let masters = self.proc.pty_masters(holder).unwrap_or_default();
        self.unique(masters.into_iter().map(|(_, number)| pts(number)))
    }

    /// The sessions that these terminals control, if the terminals still belong to our session. The leader's
    /// own terminals belong to it while the leader lives. sshd's terminals belong to it while the leader
    /// (`pidfd`) has their masters open or, after its end, one of `holders`.
    #[must_use]
    pub fn controlling_sessions<'a>(
        &'a self,
        terminals: &[Terminal],
        pidfd: &'a PidFd,
        holders: &[Process],
    ) -> ControllingSessions<'a> {
        let mut controlling = ControllingSessions::new(&self.proc, self.leader, pidfd, holders);
        if self.found_by != FoundBy::Masters && !(self.found_by == FoundBy::Sessions && pidfd.has_exited()) {
            for terminal in terminals.iter().filter(|terminal| terminal.is_there()) {
                controlling.add(terminal.id.device);
            }
            return controlling;
        }
        let opened = |holder: &Process| PidFd::of(&self.proc, holder.id);
        let others: Vec<(Pid, PidFd)> =
            holders.iter().filter_map(|holder| Some((holder.id.pid, opened(holder)?))).collect();
        let leader = Some((self.leader.id.pid, pidfd)).filter(|(_, pidfd)| !pidfd.has_exited());
        let holders = leader.into_iter().chain(others.iter().map(|(pid, pidfd)| (*pid, pidfd)));
        let masters: Vec<Master<'_>> =
            holders.flat_map(|(pid, holder)| self.masters_of(terminals, pid, holder)).collect();
        controlling.ask(&masters, &mut self.offload.borrow_mut());
        controlling
    }

    /// The masters of these terminals that a process has open.
    fn masters_of<'a>(&self, terminals: &[Terminal], pid: Pid, holder: &'a PidFd) -> Vec<Master<'a>> {
        let mut masters = self.proc.pty_masters(pid).unwrap_or_default();
        // A process may have a master open several times.
        masters.sort_by_key(|(_, number)| *number);
        masters.dedup_by_key(|(_, number)| *number);
        let master = |(fd, number)| {
            let found = Terminal::at(&self.proc, self.leader.id.pid, &pts(number))?.id;
            let ours = terminals.iter().any(|terminal| terminal.id == found);
            ours.then_some(Master { holder, fd, number, device: found.device })
        };
        masters.into_iter().filter_map(master).collect()
    }

    fn of_started_sessions(&self) -> Vec<Terminal> {
        let table: Vec<Process> = self.proc.processes().collect();
        let started = started_by_host(&table, self.leader.id.pid);
        self.unique(started.filter_map(|process| devnode::path_of(process.tty)))
    }

    fn unique(&self, paths: impl Iterator<Item = PathBuf>) -> Vec<Terminal> {
        let mut found: BTreeMap<DeviceId, Terminal> = BTreeMap::new();
        for terminal in paths.filter_map(|path| Terminal::at(&self.proc, self.leader.id.pid, &path)) {
            found.entry(terminal.id).or_insert(terminal);
        }
        found.into_values().collect()
    }

    /// Samples the terminals for one look. `pidfd` belongs to the leader.
    #[must_use]
    pub fn sample(
        &mut self,
        terminals: &[Terminal],
        pidfd: &PidFd,
        offload: &mut Offload,
    ) -> BTreeMap<DeviceId, Sample> {
        let mut samples = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        for (Terminal { path, id, .. }, unread) in terminals.iter().zip(unread(terminals, offload)) {
            // Another pty may have got the number since the last look. The node is held before its stamps are
            // read, so the stamps belong to this node. If it is a later pty's node, the next look finds that
            // out.
            let before = self.nodes.remove(id);
            let anew = before.as_ref().is_some_and(Node::is_gone);
            let node = if anew { None } else { before }.or_else(|| Node::hold(path, *id).ok());
            nodes.extend(node.map(|node| (*id, node)));
            let Some((_, stamps)) = devnode::stat(path).ok().filter(|(found, _)| found == id) else {
                continue;
            };
            let by_client = self.found_by == FoundBy::Masters;
            samples.insert(*id, Sample { stamps, unread, inner: false, anew, by_client });
        }
        self.nodes = nodes;
        for (id, stamps) in inner_pty::stamps(
            &self.proc,
            terminals,
            || self.controlling_sessions(terminals, pidfd, &[]),
            offload,
        ) {
            samples.entry(id).or_insert(Sample {
                stamps,
                unread: None,
                inner: true,
                anew: false,
                by_client: false,
            });
        }
        samples
    }
}

/// The unread bytes in the queue of each terminal, in the same order.
fn unread(terminals: &[Terminal], offload: &mut Offload) -> Vec<Option<Unread>> {
    const TOLD: u8 = 1;
    // There are nine bytes for each terminal: whether it told the count, and the count.
    let answer = if terminals.is_empty() {
        Vec::new()
    } else {
        offload.run(|pipe| {
            for Terminal { path, id, .. } in terminals {
                let (told, bytes) = match tty::unread(path, *id) {
                    Ok(unread) => (TOLD, unread.to_bytes()),
                    Err(_) => (0, [0; 8]),
                };
                offload::answer(pipe, &[&[told][..], &bytes].concat());
            }
        })
    };
    let told = answer.chunks_exact(9).map(|part| match part {
        [TOLD, bytes @ ..] => bytes.try_into().ok().map(Unread::from_bytes),
        _ => None,
    });
    // If one terminal hangs, there is no answer about the terminals after it.
    told.chain(std::iter::repeat(None)).take(terminals.len()).collect()
}

/// The path of the terminal on which the leader was started, if there is one. This is its controlling terminal.
/// If it has none, this is the terminal in `PAM_TTY`. It is never both, because su takes `PAM_TTY` from its
/// standard input. A user can make that a terminal whose input they make up.
fn own_path(leader: &Process, pam_tty: Option<&OsStr>) -> Option<PathBuf> {
    // If the name is an absolute path, it replaces `/dev`.
    let named = pam_tty.map(|name| Path::new("/dev").join(name));
    if named.as_deref() == Some(Path::new(SSH)) {
        return None;
    }
    if leader.tty == 0 {
        return named;
    }
    let same = |path: &PathBuf| devnode::stat(path).is_ok_and(|(id, _)| id.device == leader.tty);
    named.filter(same).or_else(|| devnode::path_of(leader.tty))
}

/// The session leaders (setsid(2)) with a terminal that sshd's own processes have started. They are children of
/// the leader, or of a child of the leader without a terminal, such as sshd's unprivileged process. (A shell
/// that this process started can put another process there with CLONE_PARENT, see SECURITY.md.)
fn started_by_host(table: &[Process], leader: Pid) -> impl Iterator<Item = &Process> {
    let children = table.iter().filter(|p| p.parent == leader && p.tty == 0).map(|p| p.id.pid);
    let hosts: BTreeSet<Pid> = children.chain([leader]).collect();
    table.iter().filter(move |p| p.tty != 0 && p.session == p.id.pid && !p.dead && hosts.contains(&p.parent))
}

/// The path of a pty.
fn pts(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/pts/{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::{ProcId, Started};

    fn process(pid: i32, parent: i32, session: i32, tty: u64) -> Process {
        let [pid, parent, session] = [pid, parent, session].map(Pid::from_raw);
        Process { id: ProcId { pid, started: Started(0) }, parent, session, tty, dead: false }
    }

    #[test]
    fn only_sshd_starts_sessions() {
        let table = [
            process(100, 1, 100, 0),       // the leader
            process(101, 100, 100, 0),     // sshd's unprivileged child
            process(110, 101, 110, 34816), // the shell it started
            process(111, 110, 111, 34817), // a pty of the user's own
            process(120, 101, 120, 0),     // ssh host command
            process(121, 120, 121, 34818), // a pty that one made
            process(130, 100, 130, 34819), // a root shell of an old sshd's leader
            process(131, 130, 131, 34820), // a pty that one made
        ];
        let found: Vec<i32> =
            started_by_host(&table, Pid::from_raw(100)).map(|p| p.id.pid.as_raw()).collect();
        assert_eq!(found, [110, 130]);
    }
}
