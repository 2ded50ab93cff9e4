//! What a process was started with: descriptors that it needs, and settings of others that it must not keep.

use std::ffi::{c_int, c_long, c_ulong};
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes over a descriptor by number; nothing we start inherits it again. Once for each number, and
/// before anything else is opened.
///
/// # Errors
///
/// `EBADF` when we were started without it.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    keep_from_children(fd)?;
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sees to it that nothing we start inherits a descriptor that we may have been started with.
///
/// # Errors
///
/// `EBADF` when we were started without it.
pub fn keep_from_children(fd: RawFd) -> io::Result<()> {
    // SAFETY: the borrow lasts for one fcntl(2), which returns EBADF if there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Undoes what the process that started us, or a person through a setuid program such as su, has set for
/// itself and for us. SECURITY.md has the list. Limits, niceness, scheduling class, personality and the
/// working directory were reset before execve(2), because they also act on that.
///
/// First of all that the helper does: nobody may lengthen its waits, and on some machines
/// every reading of a clock uses the instruction that `PR_SET_TSC` forbids.
pub fn reset() {
    const DEFAULT_SLACK: c_ulong = 50_000;
    const ENABLE: c_ulong = 1;
    // SAFETY: prctl(2) and umask(2) with integers; none of them touches memory of ours.
    unsafe {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        libc::prctl(libc::PR_SET_TSC, ENABLE, 0, 0, 0);
        // Not 0: that means the default, which our parent had set, too.
        libc::prctl(libc::PR_SET_TIMERSLACK, DEFAULT_SLACK, 0, 0, 0);
        libc::umask(0o077);
    }
    listen_to_all_signals();
    share_the_machine();
}

/// The rest of it, of which nothing depends that a login waits for.
pub fn reset_the_rest() {
    const SHARE_FROM: c_ulong = 3;
    const INIT: c_ulong = 1;
    const JOIN_SESSION_KEYRING: c_int = 1;
    const NO_NAME: c_long = 0;
    // SAFETY: system calls with integers; none of them touches memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_MCE_KILL, libc::PR_MCE_KILL_CLEAR, 0, 0, 0);
        // A cookie cannot be given up, only exchanged: init has none.
        libc::prctl(libc::PR_SCHED_CORE, SHARE_FROM, INIT, 0, 0);
        // A new keyring, so that we hold no keys that belong to the person.
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, NO_NAME);
    }
    let _ = fs::write("/proc/self/coredump_filter", "0x33");
}

/// Sets all signals to their defaults, but SIGPIPE, which the standard library has just ignored. A process
/// that inherits an ignored SIGCHLD cannot wait for a child.
fn listen_to_all_signals() {
    const LAST: c_int = 64;
    for signal in (1..=LAST).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: SIG_DFL installs no handler. Numbers that may not be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Takes any processor and any memory node that init may take, and the usual places in the queues.
fn share_the_machine() {
    /// Of sched_setattr(2), as Linux 5.3 knows it.
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
    const INIT: c_int = 1;
    // Room for as many processors as any kernel is built for.
    let mut processors = [0u8; 1024];
    let scheduling = Scheduling {
        size: size_of::<Scheduling>() as u32,
        flags: KEEP_POLICY_AND_PARAMETERS | CLAMP_UTILIZATION,
        util_min: DEFAULT_CLAMP,
        util_max: DEFAULT_CLAMP,
        ..Scheduling::default()
    };
    // SAFETY: the mask and the attributes outlive the calls, and their sizes are those that are told.
    unsafe {
        // Of init, because the administrator may have kept some processors for other things.
        let (room, mask) = (size_of_val(&processors), processors.as_mut_ptr());
        let known = libc::syscall(libc::SYS_sched_getaffinity, INIT, room, mask);
        if let Ok(length @ 1..) = usize::try_from(known) {
            libc::syscall(libc::SYS_sched_setaffinity, 0, length, mask);
        }
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const scheduling, 0);
        // By the niceness, as if it had never been set.
        libc::syscall(libc::SYS_ioprio_set, THIS_PROCESS, 0, 0);
        // MPOL_DEFAULT, which has no nodes.
        libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<c_ulong>(), 0);
    }
}
