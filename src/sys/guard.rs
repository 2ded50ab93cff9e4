//! What the helper does to itself so that nobody else's signals, masks or memory shortage end it.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};

/// Takes every signal that can be blocked away from its default action, and tells of the leader's.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks all signals and opens the descriptor they are read from.
    ///
    /// # Errors
    ///
    /// When the process or the system has no descriptor left.
    pub fn block() -> Result<Self, Errno> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self)
    }

    /// Takes all that has come; tells whether `signal` from process `sender` was among it.
    ///
    /// The sender's number is the kernel's word: only who may signal root's processes gets here.
    #[must_use]
    pub fn came_from(&self, sender: i32, signal: i32) -> bool {
        let mut came = false;
        while let Ok(Some(info)) = self.0.read_signal() {
            came |= i32::try_from(info.ssi_signo) == Ok(signal) && i32::try_from(info.ssi_pid) == Ok(sender);
        }
        came
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is left of the host's process after `execve`: its umask and its place in the queue of the
/// out-of-memory killer, which a container may not let us leave.
pub fn settle() {
    umask(Mode::from_bits_truncate(0o077));
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
}
