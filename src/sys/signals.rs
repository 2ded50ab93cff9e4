//! What the helper does to itself so that nobody else's signals, masks or memory shortage end it.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// A signal that has come. Of one with a value, sender and user are the sender's word (sigqueue(3)), of
/// others the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it.
    pub sender: Pid,
    /// The real user id of who did.
    pub uid: u32,
    /// The value that came with it.
    pub value: i32,
}

/// Takes every signal that can be blocked away from its default action, and tells of those that come.
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

    /// Takes all that has come. Only who may signal root's processes gets here.
    #[must_use]
    pub fn take(&self) -> Vec<Received> {
        let mut all = Vec::new();
        while let Ok(Some(info)) = self.0.read_signal() {
            all.push(Received {
                signal: i32::try_from(info.ssi_signo).unwrap_or_default(),
                sender: Pid::from_raw(i32::try_from(info.ssi_pid).unwrap_or_default()),
                uid: info.ssi_uid,
                value: info.ssi_int,
            });
        }
        all
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How many more descriptors this process may open.
#[must_use]
pub fn free_descriptors() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    // One of those that are listed is the directory itself.
    let used = fs::read_dir("/proc/self/fd").map_or(usize::MAX, |open| open.count().saturating_sub(1));
    usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(used)
}

/// What the helper needs at least, by the names that `/proc/PID/limits` has for it. The module raises all of
/// them, but in a container without `CAP_SYS_RESOURCE` a person can set limits that last.
const NEEDED: [(Resource, &str, u64); 5] = [
    // With fewer nobody could be ended.
    (Resource::RLIMIT_NOFILE, "Max open files", 64),
    // In seconds: the helper uses some milliseconds a day, and would be killed when they are used up.
    (Resource::RLIMIT_CPU, "Max cpu time", 3600),
    // With none left nobody could bring new orders.
    (Resource::RLIMIT_SIGPENDING, "Max pending signals", 64),
    (Resource::RLIMIT_DATA, "Max data size", 256 << 20),
    (Resource::RLIMIT_AS, "Max address space", 256 << 20),
];

/// Whether there is room to do what the helper has to do, for as long as a session may last.
///
/// # Errors
///
/// Which limit forbids it.
pub fn room() -> Result<(), String> {
    for (resource, name, needed) in NEEDED {
        let (soft, _) = getrlimit(resource).map_err(|e| format!("getrlimit: {e}"))?;
        if soft < needed {
            return Err(format!("{name} is {soft}, the helper needs {needed}, and may not raise the limit"));
        }
    }
    Ok(())
}

/// Takes a place of its own among those of the out-of-memory killer and of the sessions. A container may
/// forbid it.
pub fn settle() {
    // At least not the place that the person chose: everybody may move up to where they began.
    if fs::write("/proc/self/oom_score_adj", "-1000").is_err() {
        let _ = fs::write("/proc/self/oom_score_adj", "0");
    }
    // A niceness counts within a session (setsid(2)) only, and this among sessions: sched(7), autogroup.
    let _ = fs::write("/proc/self/autogroup", "-20");
}
