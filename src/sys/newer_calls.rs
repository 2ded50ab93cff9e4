//! The system calls that an old kernel lacks. We use some that Linux 5.9 has and Linux 4.18 (RHEL 8) does not.
//!
//! The kernel is asked for each call once, before its first use. Only `sys` knows the answer: the code that uses the call
//! also has another way. The filter of a container may refuse a call that it does not know with EPERM. The kernel itself
//! never answers these questions so.

use std::ffi::c_long;
use std::sync::OnceLock;

use nix::errno::Errno;

/// A system call that the kernel may lack.
pub(super) struct NewerCall {
    number: c_long,
    /// With these arguments the call fails and does nothing else.
    harmless: [c_long; 4],
    missing: OnceLock<bool>,
}

/// Linux 5.1.
pub(super) static PIDFD_SEND_SIGNAL: NewerCall =
    NewerCall::new(libc::SYS_pidfd_send_signal, [NO_DESCRIPTOR, 0, 0, 0]);
/// Linux 5.3.
pub(super) static PIDFD_OPEN: NewerCall = NewerCall::new(libc::SYS_pidfd_open, [NO_PROCESS, 0, 0, 0]);
/// Linux 5.6.
pub(super) static PIDFD_GETFD: NewerCall =
    NewerCall::new(libc::SYS_pidfd_getfd, [NO_DESCRIPTOR, NO_DESCRIPTOR, 0, 0]);
/// Linux 5.9. These arguments are an empty range.
pub(super) static CLOSE_RANGE: NewerCall = NewerCall::new(libc::SYS_close_range, [1, 0, 0, 0]);

const NO_DESCRIPTOR: c_long = -1;
const NO_PROCESS: c_long = 0;

/// Whether the kernel lacks one of these calls, so that another way is used.
///
/// The helper must ask before it gives up its rights, because it may not use all of these calls afterwards. A program that
/// calls PAM must not ask: its own rules may forbid a call that the module does not need.
#[must_use]
pub fn kernel_is_old() -> bool {
    [&PIDFD_SEND_SIGNAL, &PIDFD_OPEN, &PIDFD_GETFD, &CLOSE_RANGE].map(NewerCall::is_missing).contains(&true)
}

impl NewerCall {
    const fn new(number: c_long, harmless: [c_long; 4]) -> Self {
        Self { number, harmless, missing: OnceLock::new() }
    }

    /// Whether the kernel lacks it.
    pub(super) fn is_missing(&self) -> bool {
        *self.missing.get_or_init(|| self.ask())
    }

    fn ask(&self) -> bool {
        let [a, b, c, d] = self.harmless;
        // SAFETY: these calls take integers. With these arguments they touch no memory and change nothing.
        let result = unsafe { libc::syscall(self.number, a, b, c, d) };
        result < 0 && matches!(Errno::last(), Errno::ENOSYS | Errno::EPERM)
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::sys::seccomp;

    static ALL: [&NewerCall; 4] = [&PIDFD_SEND_SIGNAL, &PIDFD_OPEN, &PIDFD_GETFD, &CLOSE_RANGE];

    #[test]
    fn a_call_is_missing_if_the_kernel_says_so() {
        for (missing, answer) in
            [(&ALL[..], Errno::ENOSYS), (&ALL[2..], Errno::ENOSYS), (&ALL[3..], Errno::EPERM)]
        {
            let numbers: Vec<c_long> = missing.iter().map(|call| call.number).collect();
            let ask = move || {
                seccomp::deny(&numbers, answer).unwrap();
                ALL.map(NewerCall::ask)
            };
            let told = std::thread::spawn(ask).join().unwrap();
            let expected =
                ALL.map(|call| missing.iter().any(|denied| denied.number == call.number) || call.ask());
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn the_running_kernel_is_asked_once() {
        assert_eq!(kernel_is_old(), ALL.iter().any(|call| call.ask()));
        let later = std::thread::spawn(|| {
            seccomp::deny(&[libc::SYS_close_range], Errno::ENOSYS).unwrap();
            CLOSE_RANGE.is_missing()
        });
        assert_eq!(later.join().unwrap(), CLOSE_RANGE.is_missing());
    }
}
