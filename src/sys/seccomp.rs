//! The system calls that a watchdog uses. The kernel refuses all others with EPERM, and logs that.
//!
//! There is a list only for x86_64, because nobody has tried one on another machine.

use std::ffi::{c_int, c_long, c_uint, c_ushort};
use std::io;
use std::mem::offset_of;

use nix::errno::Errno;

/// The calls that are allowed whatever their arguments are. A watchdog does not use all of them on each machine,
/// because that depends on the C library and the kernel.
const ALLOWED: &[c_long] = &[
    // Files.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets.
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Time and waiting.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Processes and signals.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_kill,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_prlimit64,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_setsid,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // These are for the C library.
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Older forms.
    libc::SYS_access,
    libc::SYS_fork,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rmdir,
    libc::SYS_stat,
];

/// A call that is allowed only with certain values of one argument.
struct Limited {
    call: c_long,
    /// The argument's position. The first one has position 0.
    argument: usize,
    only: Only,
}

enum Only {
    /// None of these bits is set.
    Without(c_int),
    OneOf(&'static [c_int]),
}

const LIMITED: &[Limited] = &[
    // No new memory can be executed.
    Limited { call: libc::SYS_mmap, argument: 2, only: Only::Without(libc::PROT_EXEC) },
    Limited { call: libc::SYS_mprotect, argument: 2, only: Only::Without(libc::PROT_EXEC) },
    // A child has no namespace of its own.
    Limited { call: libc::SYS_clone, argument: 0, only: Only::Without(NEW_NAMESPACES) },
    // Sockets are for the log, the audit and the connection's state. None of these is a socket of a network.
    Limited { call: libc::SYS_socket, argument: 0, only: Only::OneOf(&[libc::AF_UNIX, libc::AF_NETLINK]) },
    // A child names itself.
    Limited { call: libc::SYS_prctl, argument: 0, only: Only::OneOf(&[libc::PR_SET_NAME]) },
];

const NEW_NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The machine that the numbers in [`ALLOWED`] belong to: `AUDIT_ARCH_X86_64` of audit.h.
const MACHINE: u32 = 0xC000_003E;

/// Installs the filter for this process and its children.
///
/// # Errors
///
/// Those of seccomp(2). For example, a container may not allow filters.
pub fn install() -> io::Result<()> {
    install_program(program())
}

fn install_program(mut code: Vec<libc::sock_filter>) -> io::Result<()> {
    const SET_MODE_FILTER: c_uint = 1;
    const LOG: c_uint = 2;
    let length = c_ushort::try_from(code.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: code.as_mut_ptr() };
    // SAFETY: the kernel reads the program and its instructions, which live until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, LOG, &raw const program) })?;
    Ok(())
}

const ALLOW: libc::sock_filter = returned(libc::SECCOMP_RET_ALLOW);
const REFUSE: libc::sock_filter = returned(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);

/// The filter as a program for the kernel. It compares the call with one allowed call after the other.
fn program() -> Vec<libc::sock_filter> {
    let mut code = vec![
        load(offset_of!(libc::seccomp_data, arch)),
        // On another machine the numbers have other meanings.
        jump(libc::BPF_JEQ, MACHINE as c_int, 1, 0),
        REFUSE,
        load(offset_of!(libc::seccomp_data, nr)),
    ];
    for call in ALLOWED {
        code.extend([jump(libc::BPF_JEQ, *call as c_int, 0, 1), ALLOW]);
    }
    for limited in LIMITED {
        let checks = limited.checks();
        code.push(jump(libc::BPF_JEQ, limited.call as c_int, 0, checks.len() as u8));
        code.extend(checks);
    }
    code.push(REFUSE);
    code
}

impl Limited {
    /// The instructions that decide about the call's argument.
    fn checks(&self) -> Vec<libc::sock_filter> {
        // This machine is little-endian, so the lower half of an argument comes first. The kernel reads only that half of
        // these arguments.
        let mut code = vec![load(offset_of!(libc::seccomp_data, args) + self.argument * size_of::<u64>())];
        match self.only {
            Only::Without(bits) => code.extend([jump(libc::BPF_JSET, bits, 1, 0), ALLOW]),
            Only::OneOf(values) => {
                code.extend(values.iter().flat_map(|value| [jump(libc::BPF_JEQ, *value, 0, 1), ALLOW]));
            }
        }
        code.push(REFUSE);
        code
    }
}

/// Loads a word of the `seccomp_data` of the call.
const fn load(offset: usize) -> libc::sock_filter {
    let code = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    libc::sock_filter { code: code as c_ushort, jt: 0, jf: 0, k: offset as u32 }
}

/// Compares the loaded word with a value. Then it skips `yes` or `no` instructions.
const fn jump(comparison: u32, value: c_int, yes: u8, no: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | comparison | libc::BPF_K;
    libc::sock_filter { code: code as c_ushort, jt: yes, jf: no, k: value as u32 }
}

const fn returned(decision: u32) -> libc::sock_filter {
    let code = libc::BPF_RET | libc::BPF_K;
    libc::sock_filter { code: code as c_ushort, jt: 0, jf: 0, k: decision }
}

/// Lets these calls fail with this error in this thread. ENOSYS means that the kernel does not have them.
#[cfg(test)]
pub(super) fn deny(calls: &[c_long], answer: Errno) -> io::Result<()> {
    const ALWAYS: c_long = 1;
    // SAFETY: prctl(2) takes integers here.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ALWAYS, 0, 0, 0) };
    let mut code = vec![load(offset_of!(libc::seccomp_data, nr))];
    for call in calls {
        let missing = returned(libc::SECCOMP_RET_ERRNO | answer as u32);
        code.extend([jump(libc::BPF_JEQ, *call as c_int, 0, 1), missing]);
    }
    code.push(ALLOW);
    install_program(code)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sys::confine::confine;
    use crate::sys::offload::Offload;

    /// Makes a call in a child that has the filter.
    fn call(number: c_long, arguments: [c_long; 6]) -> Result<(), Errno> {
        let answer = Offload::default().run(|pipe| {
            let [a, b, c, d, e, f] = arguments;
            // SAFETY: the tests pass valid pointers.
            let call = || unsafe { libc::syscall(number, a, b, c, d, e, f) };
            let result = confine().map(|()| if call() < 0 { Errno::last_raw() } else { 0 });
            let _ = pipe.write_all(&result.unwrap_or(-1).to_ne_bytes());
        });
        match c_int::from_ne_bytes(answer.try_into().unwrap()) {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        }
    }

    fn with(first: impl Into<c_long>) -> [c_long; 6] {
        [first.into(), 0, 0, 0, 0, 0]
    }

    /// The helper does this when it freezes a session with control groups of version 1.
    #[test]
    fn a_directory_may_be_made_and_removed() {
        let root = c"/".as_ptr() as c_long;
        assert_eq!(call(libc::SYS_mkdir, [root, 0o755, 0, 0, 0, 0]), Err(Errno::EEXIST));
        assert_eq!(call(libc::SYS_rmdir, with(root)), Err(Errno::EBUSY));
    }

    #[test]
    fn a_call_that_is_not_needed_is_refused() {
        let file = c"/bin/true".as_ptr() as c_long;
        let arguments = [file, 0].as_ptr() as c_long;
        assert_eq!(call(libc::SYS_execve, [file, arguments, 0, 0, 0, 0]), Err(Errno::EPERM));
        // These succeed without the filter, whoever makes them.
        for number in [libc::SYS_unshare, libc::SYS_setpgid, libc::SYS_personality, libc::SYS_ptrace] {
            assert_eq!(call(number, with(0)), Err(Errno::EPERM), "{number}");
        }
        assert_eq!(call(libc::SYS_getpid, with(0)), Ok(()));
    }

    #[test]
    fn no_new_memory_can_be_executed() {
        let memory = |protection: c_int| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            call(libc::SYS_mmap, [0, 4096, protection.into(), flags.into(), -1, 0])
        };
        assert_eq!(memory(libc::PROT_READ | libc::PROT_WRITE), Ok(()));
        assert_eq!(memory(libc::PROT_READ | libc::PROT_EXEC), Err(Errno::EPERM));
        let page = ALLOWED.as_ptr() as c_long & !4095;
        let protect = |protection: c_int| call(libc::SYS_mprotect, [page, 4096, protection.into(), 0, 0, 0]);
        assert_eq!(protect(libc::PROT_READ), Ok(()));
        assert_eq!(protect(libc::PROT_READ | libc::PROT_EXEC), Err(Errno::EPERM));
    }

    #[test]
    fn only_local_sockets_are_opened() {
        let socket =
            |family: c_int| call(libc::SYS_socket, [family.into(), libc::SOCK_DGRAM.into(), 0, 0, 0, 0]);
        assert_eq!(socket(libc::AF_UNIX), Ok(()));
        assert_eq!(socket(libc::AF_NETLINK), Ok(()));
        assert_eq!(socket(libc::AF_INET), Err(Errno::EPERM));
    }

    #[test]
    fn a_child_gets_no_namespace() {
        let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_VFORK;
        assert_eq!(call(libc::SYS_clone, with(flags)), Err(Errno::EPERM));
    }

    #[test]
    fn a_process_changes_only_its_name() {
        let name = c"renamed".as_ptr() as c_long;
        assert_eq!(call(libc::SYS_prctl, [libc::PR_SET_NAME.into(), name, 0, 0, 0, 0]), Ok(()));
        assert_eq!(call(libc::SYS_prctl, with(libc::PR_GET_DUMPABLE)), Err(Errno::EPERM));
    }

    #[test]
    fn the_numbers_of_another_machine_are_refused() {
        let [load, compare, refuse, ..] = program()[..] else { panic!("too short") };
        assert_eq!(load.k as usize, offset_of!(libc::seccomp_data, arch));
        assert_eq!((compare.k, compare.jt, compare.jf), (MACHINE, 1, 0));
        assert_eq!((refuse.code, refuse.k), (REFUSE.code, REFUSE.k));
    }
}
