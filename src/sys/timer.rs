//! Sets a timer by a bare system call, with a time of 64 bits on every machine. The times of the C library end in 2038 on
//! machines of 32 bits: after that year a timer would expire at once, again and again.

use std::os::fd::{AsFd, AsRawFd};

use libc::c_long;
use nix::errno::Errno;
use nix::sys::timerfd::{TimerFd, TimerSetTimeFlags};

/// `timerfd_settime64` in include/uapi/asm-generic/unistd.h. It has this number on every machine of 32 bits. (The libc crate
/// does not have it.)
const SETTIME: c_long = if cfg!(target_pointer_width = "32") { 411 } else { libc::SYS_timerfd_settime };

/// `struct __kernel_itimerspec`. Each time is seconds and nanoseconds.
#[repr(C)]
struct Setting {
    interval: [i64; 2],
    value: [i64; 2],
}

/// Makes a timer expire once. `at` is in seconds and nanoseconds.
///
/// # Errors
///
/// The errors of timerfd_settime(2).
pub(super) fn set(timer: &TimerFd, at: [i64; 2], flags: TimerSetTimeFlags) -> Result<(), Errno> {
    let setting = Setting { interval: [0; 2], value: at };
    let (fd, old) = (timer.as_fd().as_raw_fd(), std::ptr::null_mut::<Setting>());
    // SAFETY: the setting outlives the call and has the layout that the kernel reads. No old setting is asked for.
    let done = unsafe { libc::syscall(SETTIME, fd, flags.bits(), &raw const setting, old) };
    Errno::result(done).map(drop)
}
