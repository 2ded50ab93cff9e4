//! The limits and priorities of a new helper.

use std::ffi::c_int;
use std::ptr;

/// Resets what pam_limits and the host have set. A limit of processor time would end the helper, and a niceness
/// would delay it.
///
/// # Safety
///
/// Only in a child. It makes bare system calls, and does not allocate memory.
pub(super) unsafe fn reset() {
    const URGENT: c_int = -20;
    // The kernel's numbers have 64 bits. Those of `rlimit` have 32 on a machine of 32 bits.
    const DESCRIPTORS: libc::rlim64_t = 4096;
    const INFINITY: libc::rlim64_t = libc::rlim64_t::MAX;
    const STACK_LIMIT: libc::rlimit64 = libc::rlimit64 { rlim_cur: 8 << 20, rlim_max: INFINITY };
    const ZERO: libc::rlimit64 = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    const FREE: libc::rlimit64 = libc::rlimit64 { rlim_cur: INFINITY, rlim_max: INFINITY };
    let limits = [
        (libc::RLIMIT_CPU, &FREE),
        (libc::RLIMIT_FSIZE, &FREE),
        (libc::RLIMIT_DATA, &FREE),
        (libc::RLIMIT_AS, &FREE),
        (libc::RLIMIT_RSS, &FREE),
        (libc::RLIMIT_NPROC, &FREE),
        (libc::RLIMIT_MEMLOCK, &FREE),
        (libc::RLIMIT_SIGPENDING, &FREE),
        (libc::RLIMIT_RTTIME, &FREE),
        (libc::RLIMIT_STACK, &STACK_LIMIT),
        (libc::RLIMIT_CORE, &ZERO),
        // The end of a session needs many pidfds.
        (libc::RLIMIT_NOFILE, &libc::rlimit64 { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS }),
    ];
    let none = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the limits outlive the calls. If a container forbids a change, the limit stays.
    unsafe {
        for (resource, limit) in limits {
            if libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::from_ref(limit), none) < 0 {
                // A process may always raise its limit to the hard limit.
                let mut own = ZERO;
                libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<libc::rlimit64>(), &raw mut own);
                own.rlim_cur = own.rlim_max;
                libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const own, none);
            }
        }
        // musl's function of this name does nothing. The kernel's structure is one number, the priority.
        let priority: c_int = 0;
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const priority);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        // This is last, because a container may forbid it. A person who keeps all processors busy must not
        // delay the end of their session.
        libc::setpriority(libc::PRIO_PROCESS, 0, URGENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// The soft and the hard limit of this process.
    fn limit(resource: c_int) -> (u64, u64) {
        let mut limit = libc::rlimit64 { rlim_cur: 7, rlim_max: 7 };
        // SAFETY: prlimit64 reads no limit and stores one, which outlives the call.
        let done = unsafe {
            libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<libc::rlimit64>(), &raw mut limit)
        };
        if done == 0 { (limit.rlim_cur, limit.rlim_max) } else { (7, 7) }
    }

    #[test]
    fn a_child_has_the_limits_of_a_helper() {
        let (_, files) = limit(libc::RLIMIT_NOFILE as c_int);
        // SAFETY: the child makes only system calls, and leaves by _exit.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => unsafe {
                // SAFETY: this is a child.
                reset();
                let files = files.min(4096);
                let done = [
                    limit(libc::RLIMIT_CORE as c_int) == (0, 0),
                    limit(libc::RLIMIT_NOFILE as c_int) == (files, files),
                ];
                libc::_exit(done.iter().position(|good| !good).map_or(0, |place| place as c_int + 1))
            },
        };
        assert_eq!(
            waitpid(child, None).unwrap(),
            WaitStatus::Exited(child, 0),
            "the number is that of a limit"
        );
    }
}
