//! Protects the helper against signals, limits, and the out-of-memory killer.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// A signal that this process got. If it has a value (sigqueue(3)), the sender wrote `sender` and `uid`, so
/// they may be false. Otherwise the kernel has set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub signal: i32,
    /// The process that sent it.
    pub sender: Pid,
    /// The sender's real user ID.
    pub uid: u32,
    /// The value that came with it.
    pub value: i32,
}

/// Blocks all signals that can be blocked, and reads them.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    /// Signals that were read and not taken yet.
    left: RefCell<Vec<Received>>,
}

impl Signals {
    /// Blocks all signals and opens the descriptor from which they are read.
    ///
    /// # Errors
    ///
    /// The process or the system has no free descriptor.
    pub fn block() -> Result<Self, Errno> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        let descriptor = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor, left: RefCell::default() })
    }

    /// Takes all signals that have come. Only a process that may signal a root process can have sent them.
    #[must_use]
    pub fn take(&self) -> Vec<Received> {
        let mut all = self.left.take();
        while let Ok(Some(info)) = self.descriptor.read_signal() {
            all.push(Received {
                signal: i32::try_from(info.ssi_signo).unwrap_or_default(),
                sender: Pid::from_raw(i32::try_from(info.ssi_pid).unwrap_or_default()),
                uid: info.ssi_uid,
                value: info.ssi_int,
            });
        }
        all
    }

    /// Takes those that are this signal. The others are left for [`Self::take`].
    #[must_use]
    pub fn take_only(&self, signal: i32) -> Vec<Received> {
        let (wanted, others) = self.take().into_iter().partition(|came| came.signal == signal);
        self.left.replace(others);
        wanted
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// How many more descriptors this process may open.
#[must_use]
pub fn free_descriptors() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    // One of the listed descriptors is the directory itself.
    let used = fs::read_dir("/proc/self/fd").map_or(usize::MAX, |open| open.count().saturating_sub(1));
    usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(used)
}

/// The lowest limits that are enough, with their names in `/proc/PID/limits`. The module raises these limits.
/// In a container without `CAP_SYS_RESOURCE` it cannot, so the limits of the person remain.
const NEEDED: [(Resource, &str, rlim_t); 5] = [
    // With fewer descriptors no process could be ended.
    (Resource::RLIMIT_NOFILE, "Max open files", 64),
    // In seconds. The helper uses some milliseconds a day, and the kernel would kill it at the limit.
    (Resource::RLIMIT_CPU, "Max cpu time", 3600),
    // With a limit of 0 a reload would not reach the helper.
    (Resource::RLIMIT_SIGPENDING, "Max pending signals", 64),
    (Resource::RLIMIT_DATA, "Max data size", 256 << 20),
    (Resource::RLIMIT_AS, "Max address space", 256 << 20),
];

/// Checks that the limits are enough even for a very long session.
///
/// # Errors
///
/// The limit that is too low.
pub fn room() -> Result<(), String> {
    for (resource, name, needed) in NEEDED {
        let (soft, _) = getrlimit(resource).map_err(|e| format!("getrlimit: {e}"))?;
        if soft < needed {
            return Err(format!(
                "{name} is {soft}, but the helper needs {needed} and may not raise the limit"
            ));
        }
    }
    Ok(())
}

/// Protects this process from the out-of-memory killer, and from lower priority than the sessions. A container
/// may not allow that.
pub fn settle() {
    // If this is not allowed, at least undo the person's change. Every process may go back to the value with
    // which it started.
    if fs::write("/proc/self/oom_score_adj", "-1000").is_err() {
        let _ = fs::write("/proc/self/oom_score_adj", "0");
    }
    // A niceness counts only within a session (setsid(2)). This one counts between sessions, see autogroup in
    // sched(7).
    let _ = fs::write("/proc/self/autogroup", "-20");
}
