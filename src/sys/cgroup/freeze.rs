//! Freezes the scope of a session.

use std::fs;
use std::path::{Path, PathBuf};

use super::freezer::Freezer;
use super::{SessionScope, place_of, put};
use crate::sys::clock::{Moment, Nanos, SECOND, pause};
use crate::sys::proc::Proc;

/// How long the kernel may take to freeze a scope. It takes as long as the slowest system call there.
const FREEZING: Nanos = SECOND / 5;

/// A frozen scope. Dropping this value thaws it. SIGKILL ends a frozen process at once. With the freezer of version 1 it
/// ends it only after the thaw.
pub struct Frozen {
    /// The whole scope is frozen. If not, a process there is still in a system call, or cannot be frozen.
    pub whole: bool,
    by: By,
}

enum By {
    /// The scope can freeze. This is its directory.
    Scope(PathBuf),
    Freezer(Freezer),
}

impl Drop for Frozen {
    fn drop(&mut self) {
        match &self.by {
            By::Scope(directory) => drop(put(&directory.join("cgroup.freeze"), "0")),
            By::Freezer(freezer) => freezer.thaw(),
        }
    }
}

impl SessionScope {
    /// Freezes the scope, so that no process starts there. If the scope itself cannot freeze, as with version 1 or
    /// before Linux 5.2, the freezer of version 1 does it. `None` if that is not mounted either.
    #[must_use]
    pub fn freeze(&self, proc: &Proc) -> Option<Frozen> {
        let scope = self.directory().ok()?;
        let due = Moment::now().mono.saturating_add(FREEZING);
        if put(&scope.join("cgroup.freeze"), "1").is_ok() {
            let mut frozen = Frozen { whole: false, by: By::Scope(scope.clone()) };
            frozen.whole = is_frozen_by(due, &scope);
            return Some(frozen);
        }
        let freezer = Freezer::new(&place_of("freezer")).ok()?;
        let whole = freezer.freeze(proc, &scope, due);
        Some(Frozen { whole, by: By::Freezer(freezer) })
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
