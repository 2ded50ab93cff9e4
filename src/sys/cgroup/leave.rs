//! How the helper leaves the groups of a session.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::getpid;

use super::{Cgroup, all_of, at, put};
use crate::sys::proc::Proc;

/// The group to which the helpers move, below the root of the hierarchy.
const OWN: &str = "idle_watchdog";

impl Cgroup {
    /// Whether this is the watchdogs' own group.
    fn is_own(&self) -> bool {
        self.path.strip_prefix('/') == Some(OWN)
    }

    /// Whether it is a hierarchy of version 1 that limits or counts something, such as memory.
    fn has_controllers(&self) -> bool {
        !self.is_unified() && !self.hierarchy.starts_with("name=")
    }

    /// Moves this process out of this group.
    fn leave(&self) -> io::Result<()> {
        let mount = self.mount()?;
        // No limit applies in the root group. A new group would have to be set up, for example with processors (cpuset(7)).
        if self.has_controllers() {
            return join(&mount).map_err(at(&mount));
        }
        let directory = mount.join(OWN);
        enter(&directory).map_err(at(&directory))
    }
}

/// Moves this process out of its groups, in each hierarchy. Afterwards this process is not affected if somebody signals,
/// stops or limits all processes of a session. In groups that are not a user's, only root can do that. So a
/// failure to leave such a group is no error.
///
/// # Errors
///
/// This process is still in a user's group.
pub fn leave(proc: &Proc) -> io::Result<()> {
    for cgroup in all_of(proc, getpid()).iter().filter(|cgroup| cgroup.path != "/" && !cgroup.is_own()) {
        let left = cgroup.leave();
        if cgroup.is_a_users() {
            left?;
        }
    }
    match all_of(proc, getpid()).iter().find(|cgroup| cgroup.is_a_users()) {
        Some(Cgroup { hierarchy, path }) => Err(io::Error::other(format!("still in {hierarchy}:{path}"))),
        None => Ok(()),
    }
}

/// Moves this process to a group. Creates the group if necessary.
///
/// # Errors
///
/// The group cannot be created or entered.
pub fn enter(directory: &Path) -> io::Result<()> {
    // The last process that leaves removes the group. That may happen between two steps of this function.
    const ENTER_TRIES: usize = 100;
    let removed =
        |e: &io::Error| e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::ENODEV as i32);
    let mut tried = try_to_enter(directory);
    for _ in 1..ENTER_TRIES {
        if !tried.as_ref().is_err_and(removed) {
            break;
        }
        tried = try_to_enter(directory);
    }
    tried
}

fn try_to_enter(directory: &Path) -> io::Result<()> {
    // The mode is set explicitly, because the person may have chosen the umask.
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // If the cpu controller is on, as with systemd, a niceness counts only inside the group. This file sets the
    // priority between groups. Without the controller it does not exist.
    let _ = put(&directory.join("cpu.weight"), "10000");
    join(directory)
}

/// Moves this process to an existing group.
fn join(directory: &Path) -> io::Result<()> {
    // "0" means the process that writes.
    put(&directory.join("cgroup.procs"), "0")
}

/// Removes the watchdogs' own groups if this process, which is about to exit, is alone in them. If two
/// processes leave at the same time, the group may remain. An empty group does no harm, and the next process
/// removes it.
pub fn tidy_up(proc: &Proc) {
    for cgroup in all_of(proc, getpid()).iter().filter(|cgroup| cgroup.is_own()) {
        if let Ok(mount) = cgroup.mount() {
            remove_if_alone(&mount, &mount.join(OWN));
        }
    }
}

/// Moves to the group above and removes the group that this process was in, unless another process is there.
pub fn remove_if_alone(above: &Path, directory: &Path) {
    let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let me = getpid().to_string();
    if inside.lines().eq([me.as_str()]) && join(above).is_ok() {
        // This fails if another process has entered the group meanwhile.
        let _ = fs::remove_dir(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hierarchy_of_version_1_has_controllers_of_its_own() {
        let has =
            |hierarchy: &str| Cgroup { hierarchy: hierarchy.into(), path: "/".into() }.has_controllers();
        assert!(has("pids") && has("cpu,cpuacct"));
        assert!(!has("") && !has("name=systemd") && !has("name=elogind"));
    }

    #[test]
    fn the_own_group_is_at_the_root() {
        let own = |path: &str| Cgroup { hierarchy: String::new(), path: path.into() }.is_own();
        assert!(own("/idle_watchdog"));
        assert!(!own("/") && !own("/a/idle_watchdog") && !own("idle_watchdog"));
    }
}
