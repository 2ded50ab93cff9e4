//! The freezer of version 1 (cgroup-v1/freezer-subsystem.rst of the kernel's documentation).
//!
//! systemd puts no session into the freezer's hierarchy. So the helper makes a group there while it ends a session
//! and moves the session's processes to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

use super::{all_of, put};
use crate::sys::clock::{Moment, Nanos, SECOND, pause};
use crate::sys::proc::Proc;

/// Each helper has a group of its own. Its name is this and the helper's PID.
const GROUP_NAME: &str = "idle_watchdog-";
/// How long killed processes may take to leave the group. Those that take longer keep it.
const EMPTYING: Nanos = SECOND / 5;

/// A helper's group in the freezer's hierarchy.
pub(super) struct Freezer {
    root: PathBuf,
    group: PathBuf,
}

/// Where the processes of a scope were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// All were in the group.
    All,
    /// Some were not, and have been moved to it. They may have started others meanwhile.
    Newcomers,
    /// Some were in groups of somebody else's, and stay there. All others were in the group.
    Foreign,
}

impl Freezer {
    /// Creates the group, or takes over the one that it has left behind.
    ///
    /// # Errors
    ///
    /// The hierarchy is not mounted at `root`, or no group can be created there.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let group = root.join(format!("{GROUP_NAME}{}", getpid()));
        match fs::create_dir(&group) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(Self { root: root.to_owned(), group }),
        }
    }

    /// Moves the processes of the scope to the group and freezes them, until none is outside of it. It stops when the
    /// monotonic clock reaches `due`. Returns whether all of them are frozen.
    pub(super) fn freeze(&self, proc: &Proc, scope: &Path, due: Nanos) -> bool {
        while Moment::now().mono < due {
            let gathered = self.gather(proc, scope, due);
            // The order is repeated, so it does not matter whether the kernel freezes a process that enters a frozen group.
            let frozen = self.order("FROZEN") && self.state() == "FROZEN";
            match gathered {
                Gathered::Newcomers => {}
                Gathered::All if frozen => return true,
                Gathered::Foreign if frozen => return false,
                Gathered::All | Gathered::Foreign => pause(SECOND / 1000),
            }
        }
        false
    }

    /// Thaws the group, moves the processes that are left back to the root, and removes the group.
    pub(super) fn thaw(&self) {
        self.order("THAWED");
        let due = Moment::now().mono.saturating_add(EMPTYING);
        loop {
            for pid in pids_in(&self.group) {
                let _ = enter(&self.root, pid);
            }
            let removed = fs::remove_dir(&self.group);
            let busy = removed.is_err_and(|e| e.raw_os_error() == Some(Errno::EBUSY as i32));
            if !busy || Moment::now().mono >= due {
                return;
            }
            pause(SECOND / 1000);
        }
    }

    fn order(&self, state: &str) -> bool {
        put(&self.group.join("freezer.state"), state).is_ok()
    }

    fn state(&self) -> String {
        let state = fs::read_to_string(self.group.join("freezer.state")).unwrap_or_default();
        state.trim_end().to_owned()
    }

    /// Moves the processes of the scope to the group. Stops when the monotonic clock reaches `due`.
    fn gather(&self, proc: &Proc, scope: &Path, due: Nanos) -> Gathered {
        let mut gathered = Gathered::All;
        let inside: BTreeSet<Pid> = pids_in(&self.group).collect();
        for pid in pids_below(scope).into_iter().filter(|pid| !inside.contains(pid)) {
            let freezer = all_of(proc, pid).into_iter().find(|cgroup| cgroup.hierarchy == "freezer");
            if freezer.is_some_and(|freezer| is_foreign(&freezer.path)) {
                if gathered == Gathered::All {
                    gathered = Gathered::Foreign;
                }
            } else {
                // If it has just exited, it may have started another process.
                let _ = enter(&self.group, pid);
                gathered = Gathered::Newcomers;
            }
            if Moment::now().mono >= due {
                break;
            }
        }
        gathered
    }
}

/// Whether a process in this group of the freezer must stay there, because somebody else has put it there, for example a
/// manager of containers. We move a process only out of the root group, or out of the group of a helper that was killed
/// while its session was frozen.
fn is_foreign(group: &str) -> bool {
    group != "/" && !group.trim_start_matches('/').starts_with(GROUP_NAME)
}

/// Moves a process to a group.
fn enter(group: &Path, pid: Pid) -> io::Result<()> {
    put(&group.join("cgroup.procs"), &pid.to_string())
}

/// The processes in a group.
fn pids_in(group: &Path) -> impl Iterator<Item = Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    // 0 is a process of another PID namespace. To the kernel it would mean the process that writes.
    pids.into_iter().filter(|pid| *pid > 0).map(Pid::from_raw)
}

/// The processes in a group and below it.
fn pids_below(group: &Path) -> Vec<Pid> {
    let mut pids: Vec<Pid> = pids_in(group).collect();
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        pids.extend(pids_below(&entry.path()));
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories in place of the freezer's hierarchy, of a scope and of /proc.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let tree = Self(std::env::temp_dir().join(format!("freezer-{name}-{}", getpid())));
            let _ = fs::remove_dir_all(&tree.0);
            for directory in ["root", "scope/below", "proc"] {
                fs::create_dir_all(tree.0.join(directory)).unwrap();
            }
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// A process of the scope, and its group in the freezer's hierarchy.
        fn process(&self, pid: i32, group: &str) {
            self.write(&format!("proc/{pid}/cgroup"), &format!("5:freezer:{group}\n1:name=systemd:/x\n"));
        }

        fn freezer(&self) -> Freezer {
            let freezer = Freezer::new(&self.0.join("root")).unwrap();
            for file in ["cgroup.procs", "freezer.state"] {
                fs::write(freezer.group.join(file), "").unwrap();
            }
            freezer
        }

        fn gather(&self, freezer: &Freezer) -> Gathered {
            freezer.gather(&Proc::at(self.0.join("proc")), &self.0.join("scope"), Nanos::MAX)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn moved(freezer: &Freezer) -> String {
        fs::read_to_string(freezer.group.join("cgroup.procs")).unwrap()
    }

    #[test]
    fn the_processes_of_the_scope_and_below_are_moved_once() {
        let tree = Tree::new("moves");
        let freezer = tree.freezer();
        tree.write("scope/below/cgroup.procs", "30\n");
        tree.process(30, "/");
        assert_eq!(tree.gather(&freezer), Gathered::Newcomers);
        // A file, unlike the kernel, keeps what was written last.
        assert_eq!(moved(&freezer), "30");
        assert_eq!(tree.gather(&freezer), Gathered::All);
    }

    #[test]
    fn a_process_in_somebody_elses_group_stays_there() {
        let tree = Tree::new("foreign");
        let freezer = tree.freezer();
        tree.write("scope/cgroup.procs", "40\n");
        tree.process(40, "/docker/1");
        assert_eq!(tree.gather(&freezer), Gathered::Foreign);
        assert_eq!(moved(&freezer), "");
        // A helper was killed and has left a frozen process behind.
        tree.process(40, "/idle_watchdog-7");
        assert_eq!(tree.gather(&freezer), Gathered::Newcomers);
        assert_eq!(moved(&freezer), "40");
    }

    #[test]
    fn a_process_of_another_pid_namespace_is_not_taken_for_this_one() {
        let tree = Tree::new("namespace");
        let freezer = tree.freezer();
        tree.write("scope/cgroup.procs", "0\n");
        assert_eq!(tree.gather(&freezer), Gathered::All);
        assert_eq!(moved(&freezer), "");
    }

    #[test]
    fn a_process_that_has_just_exited_may_have_left_a_child() {
        let tree = Tree::new("exited");
        tree.write("scope/cgroup.procs", "50\n");
        assert_eq!(tree.gather(&tree.freezer()), Gathered::Newcomers);
    }

    #[test]
    fn without_the_hierarchy_there_is_no_freezer() {
        let tree = Tree::new("none");
        assert!(Freezer::new(&tree.0.join("not-mounted")).is_err());
    }
}
