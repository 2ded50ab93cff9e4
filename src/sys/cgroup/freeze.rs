//! Freezes the scope of a session.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SessionScope, put};
use crate::sys::clock::{Moment, Nanos, SECOND, pause};

/// How long the kernel may take to freeze a scope. It takes as long as the slowest system call there.
const FREEZING: Nanos = SECOND / 5;

/// A frozen scope. Dropping this value thaws it.
pub struct Frozen {
    directory: PathBuf,
    /// The whole scope is frozen. If not, a process there is still in a system call.
    pub whole: bool,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = put(&self.directory.join("cgroup.freeze"), "0");
    }
}

impl SessionScope {
    /// Freezes the scope, so that no process starts there. SIGKILL also ends frozen processes. `None` with
    /// version 1, which cannot freeze.
    #[must_use]
    pub fn freeze(&self) -> Option<Frozen> {
        let directory = self.directory().ok()?;
        let due = Moment::now().mono.saturating_add(FREEZING);
        put(&directory.join("cgroup.freeze"), "1").ok()?;
        let mut frozen = Frozen { directory, whole: false };
        frozen.whole = is_frozen_by(due, &frozen.directory);
        Some(frozen)
    }
}

/// Waits until a scope is frozen. Returns `false` if the monotonic clock reaches `due` first.
fn is_frozen_by(due: Nanos, scope: &Path) -> bool {
    while Moment::now().mono < due {
        let events = fs::read_to_string(scope.join("cgroup.events")).unwrap_or_default();
        if events.lines().any(|line| line == "frozen 1") {
            return true;
        }
        pause(SECOND / 1000);
    }
    false
}
