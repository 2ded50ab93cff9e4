//! Goes on in another process.

use nix::errno::Errno;
use nix::unistd::{ForkResult, fork};

/// Ends this process and goes on in a child of it. So a process that waits for the end of this one need not
/// wait for the work that follows.
///
/// The process must have only one thread.
///
/// # Errors
///
/// There is no room for another process. Then this one goes on.
pub fn go_on_in_a_child() -> Result<(), Errno> {
    // SAFETY: this process has no second thread that could own a lock at the fork.
    match unsafe { fork() }? {
        // SAFETY: _exit takes an integer and does not return. No destructor runs, because all that this process
        // owns belongs to the child from now on.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => Ok(()),
    }
}
