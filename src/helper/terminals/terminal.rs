//! One terminal of the session, as the helper knows it.

use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::sys::devnode::{self, DeviceId};
use crate::sys::proc::Proc;

/// One terminal of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its name in records, such as `pts/3` or `tty1`.
    pub name: String,
    /// The path of its node for this process.
    pub path: PathBuf,
    /// The identity of the device. Another node may be at the path later.
    pub id: DeviceId,
}

impl Terminal {
    /// The terminal at a path that the leader uses, if there is one.
    #[must_use]
    pub fn at(proc: &Proc, leader: Pid, path: &Path) -> Option<Self> {
        // The leader may have its own instance of devpts. If its root may not be read, or it is gone, we use
        // our own instance, because that was the leader's when it started us.
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
