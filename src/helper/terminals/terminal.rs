//! One terminal, as the helper knows it.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::sys::devnode::{self, DeviceId};
use crate::sys::proc::Proc;

/// One terminal of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// As records show it: `pts/3`, `tty1`.
    pub name: String,
    /// Its node, as this process reaches it.
    pub path: PathBuf,
    /// Identifies the device, because another node may be at the path later.
    pub id: DeviceId,
}

impl Terminal {
    /// The terminal at a path as the leader sees it, if there is one.
    #[must_use]
    pub fn at(proc: &Proc, leader: Pid, path: &Path) -> Option<Self> {
        // The leader may have a devpts instance of its own. If we may not read its root, or it is gone, we look in ours,
        // because that was the leader's when it started us.
        let theirs = proc.seen_by(leader, path);
        let (path, (id, _)) = [theirs, path.to_owned()]
            .into_iter()
            .find_map(|path| devnode::stat(&path).ok().map(|found| (path, found)))?;
        let text = path.to_string_lossy();
        let name = text.rsplit_once("/dev/").map_or(&*text, |(_, name)| name).to_owned();
        Some(Self { name, path, id })
    }

    /// Whether the same device is still there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        devnode::stat(&self.path).is_ok_and(|(id, _)| id == self.id)
    }
}
