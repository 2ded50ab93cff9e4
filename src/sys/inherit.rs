//! What a process inherits when it starts: descriptors that it needs, and foreign settings that it must not
//! keep.

use std::ffi::{c_int, c_long, c_ulong};
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes over an inherited descriptor by its number. Children do not inherit it again. Call this once for each
/// number, before anything else is opened.
///
/// # Errors
///
/// `EBADF` if we did not inherit the descriptor.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    keep_from_children(fd)?;
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets close-on-exec on a descriptor that we may have inherited.
///
/// # Errors
///
/// `EBADF` if we did not inherit the descriptor.
pub fn keep_from_children(fd: RawFd) -> io::Result<()> {
    // SAFETY: the borrow lasts for one fcntl(2), which returns EBADF if there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Resets what our parent process has set for itself and for us. A person may have set it, too, through a
/// setuid program such as su. SECURITY.md has the list. Limits, niceness, scheduling class, personality and the
/// working directory were already reset before execve(2), because they also affect that call.
///
/// The helper does this first, because nobody may lengthen its waits. Also, on some machines each reading of a
/// clock uses the instruction that `PR_SET_TSC` forbids.
pub fn reset() {
    const DEFAULT_SLACK: c_ulong = 50_000;
    // prctl(2) reads all its arguments as long.
    const NONE: c_ulong = 0;
    // SAFETY: prctl(2) and umask(2) take integers here and do not touch our memory.
    unsafe {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_ENABLE as c_ulong, NONE, NONE, NONE);
        // This is not 0, because 0 means the default, and our parent may have changed the default, too.
        libc::prctl(libc::PR_SET_TIMERSLACK, DEFAULT_SLACK, NONE, NONE, NONE);
        libc::umask(0o077);
    }
    listen_to_all_signals();
    share_the_machine();
}

/// Resets the rest. The login need not wait for this part.
pub fn reset_the_rest() {
    const SHARE_FROM: c_ulong = 3;
    const INIT: c_ulong = 1;
    const CLEAR: c_ulong = libc::PR_MCE_KILL_CLEAR as c_ulong;
    const JOIN_SESSION_KEYRING: c_int = 1;
    const NO_NAME: c_long = 0;
    // prctl(2) reads all its arguments as long.
    const NONE: c_ulong = 0;
    // SAFETY: system calls that take integers and do not touch our memory.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, NONE, NONE, NONE, NONE);
        libc::prctl(libc::PR_MCE_KILL, CLEAR, NONE, NONE, NONE);
        // A process cannot give up a cookie. It can only take over another one, and init has none.
        libc::prctl(libc::PR_SCHED_CORE, SHARE_FROM, INIT, NONE, NONE);
        // A new keyring, so that we have no keys of the person.
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, NO_NAME);
    }
    let _ = fs::write("/proc/self/coredump_filter", "0x33");
}

/// Sets all signals to their defaults, except for SIGPIPE, which the standard library has just ignored. A
/// process that inherits an ignored SIGCHLD cannot wait for a child.
fn listen_to_all_signals() {
    const LAST: c_int = 64;
    for signal in (1..=LAST).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: SIG_DFL installs no handler. The kernel refuses signals that may not be set.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Uses the same processors and memory nodes as init, and the usual priorities.
fn share_the_machine() {
    /// The structure of sched_setattr(2), as Linux 5.3 defines it.
    #[repr(C)]
    #[derive(Default)]
    struct Scheduling {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
        util_min: u32,
        util_max: u32,
    }
    const KEEP_POLICY_AND_PARAMETERS: u64 = 0x08 | 0x10;
    const CLAMP_UTILIZATION: u64 = 0x20 | 0x40;
    const DEFAULT_CLAMP: u32 = u32::MAX;
    const THIS_PROCESS: c_long = 1;
    const NO_NODES: c_ulong = 0;
    const INIT: c_int = 1;
    // There is room for the largest number of processors of any kernel.
    let mut processors = [0u8; 1024];
    let mut scheduling = Scheduling {
        size: size_of::<Scheduling>() as u32,
        flags: KEEP_POLICY_AND_PARAMETERS | CLAMP_UTILIZATION,
        util_min: DEFAULT_CLAMP,
        util_max: DEFAULT_CLAMP,
        ..Scheduling::default()
    };
    // SAFETY: the mask and the attributes outlive the calls, and their sizes are correct. A kernel before 5.3 does not know
    // attributes of this size: it fails, and writes its own size into them.
    unsafe {
        // The mask is that of init, because the administrator may have reserved some processors.
        let (room, mask) = (size_of_val(&processors), processors.as_mut_ptr());
        let known = libc::syscall(libc::SYS_sched_getaffinity, INIT, room, mask);
        if let Ok(length @ 1..) = usize::try_from(known) {
            libc::syscall(libc::SYS_sched_setaffinity, 0, length, mask);
        }
        libc::syscall(libc::SYS_sched_setattr, 0, &raw mut scheduling, 0);
        // The priority depends on the niceness, as if it had never been set.
        libc::syscall(libc::SYS_ioprio_set, THIS_PROCESS, 0, 0);
        // This is MPOL_DEFAULT, which has no nodes.
        libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<c_ulong>(), NO_NODES);
    }
}
