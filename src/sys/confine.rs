//! Gives up the rights that a watchdog does not need, because an attacker then gains less from a fault in it.
//!
//! A watchdog runs as root beside processes that may be hostile, and it reads what they have written. It needs
//! only a few of root's rights, and cannot get the others back.

use std::ffi::{c_int, c_ulong};
use std::io;

use nix::errno::Errno;

#[cfg(target_arch = "x86_64")]
use super::seccomp;

/// The capabilities that a watchdog keeps, with what it needs them for.
const KEPT: [u32; 5] = [
    // It writes on terminals that belong to users, and reads the files of their processes in /proc.
    CAP_DAC_OVERRIDE,
    // It ends processes of other users.
    CAP_KILL,
    // It reads which files the processes of other users have open, and takes over a descriptor of theirs.
    CAP_SYS_PTRACE,
    // It opens files although a user has filled the kernel's table of open files, gets memory although a user has used up
    // what others may have, and opens terminals that their users have made exclusive (TIOCEXCL).
    CAP_SYS_ADMIN,
    // It tells the kernel's audit about an end.
    CAP_AUDIT_WRITE,
];

// The numbers are those of capability.h, which the crate libc does not have.
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_KILL: u32 = 5;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_AUDIT_WRITE: u32 = 29;
/// The kernel has no capability beyond this one.
const HIGHEST: u32 = 63;

/// Gives up all rights that a watchdog does not need. The process must have only one thread.
///
/// # Errors
///
/// Which rights the system does not allow it to give up. It has given up the others.
pub fn confine() -> Result<(), String> {
    let failed = [
        no_new_privileges().err().map(|e| format!("no_new_privs: {e}")),
        drop_capabilities().err().map(|e| format!("capabilities: {e}")),
        // This is the last, because it forbids what the others do.
        #[cfg(target_arch = "x86_64")]
        seccomp::install().err().map(|e| format!("seccomp: {e}")),
    ];
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// No program that this process executes gets more rights than it has itself.
fn no_new_privileges() -> io::Result<()> {
    const SET: c_ulong = 1;
    // SAFETY: prctl(2) takes integers here and does not touch our memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, SET, 0, 0, 0) })?;
    Ok(())
}

/// Keeps the capabilities in [`KEPT`] that this process has. In a container it may lack some.
fn drop_capabilities() -> io::Result<()> {
    // This is first, because it needs CAP_SETPCAP. A process without it keeps the set. That does no harm: with
    // no_new_privs a program gets no capability that this process does not have.
    for capability in (0..=HIGHEST).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: prctl(2) takes integers here. It refuses a capability that the kernel does not know.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), 0, 0, 0) };
    }
    // SAFETY: as above.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: version 3 of the interface fills two structures. Both live until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) })?;
    for (set, word) in sets.iter_mut().zip(words(&KEPT)) {
        set.permitted &= word;
        set.effective = set.permitted;
        set.inheritable = 0;
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })?;
    Ok(())
}

/// Capabilities as the bits of two words.
fn words(capabilities: &[u32]) -> [u32; 2] {
    let all = capabilities.iter().fold(0u64, |all, capability| all | 1 << capability);
    [all as u32, (all >> 32) as u32]
}

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::SigSet;
    use nix::unistd::setsid;

    use super::*;
    use crate::sys::offload::Offload;
    use crate::sys::tty;

    /// The answer of a child that has given up its rights.
    fn confined(ask: impl FnOnce() -> String) -> String {
        let answer = Offload::default().run(|pipe| {
            let answer = confine().map_or_else(|why| why, |()| ask());
            let _ = pipe.write_all(answer.as_bytes());
        });
        String::from_utf8(answer).unwrap()
    }

    /// A field of `/proc/self/status`.
    fn status(name: &str) -> String {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |line: &str| line.strip_prefix(name)?.strip_prefix(":\t").map(str::to_owned);
        status.lines().find_map(field).unwrap_or_default()
    }

    fn capabilities(set: &str) -> u64 {
        u64::from_str_radix(&status(set), 16).unwrap()
    }

    #[test]
    fn only_the_needed_capabilities_are_left() {
        let kept = KEPT.iter().fold(0, |all, capability| all | 1u64 << capability);
        for set in ["CapPrm", "CapEff"] {
            let left = u64::from_str_radix(&confined(|| status(set)), 16).unwrap();
            assert_eq!(left, capabilities(set) & kept, "{set}");
        }
        assert_eq!(confined(|| status("CapInh")), format!("{:016x}", 0));
        // Only root can change this set.
        if capabilities("CapEff") & 1 << 8 != 0 {
            let left = u64::from_str_radix(&confined(|| status("CapBnd")), 16).unwrap();
            assert_eq!(left, capabilities("CapBnd") & kept);
        }
    }

    #[test]
    fn what_needs_another_capability_is_refused() {
        // Only a process with CAP_SYS_RESOURCE may raise its own hard limit.
        let raise = || {
            let set = |limit| setrlimit(Resource::RLIMIT_SIGPENDING, limit, limit);
            set(10).and_then(|()| set(11)).map_or_else(|e| e.to_string(), |()| String::new())
        };
        assert_eq!(confined(raise), Errno::EPERM.to_string());
    }

    #[test]
    fn it_finds_out_whether_the_kernel_notes_reads() {
        // Kernels before 6.5 are asked at a look. This takes more than the other looks do.
        let ask = || {
            let answer = SigSet::all().thread_block().and_then(|()| setsid()).map_err(io::Error::from);
            match answer.and_then(|_| tty::notes_reads_through_dev_tty()) {
                Ok(_) => "knows".to_owned(),
                Err(e) => e.to_string(),
            }
        };
        assert_eq!(confined(ask), "knows");
    }

    #[test]
    fn a_program_gives_no_new_rights() {
        assert_eq!(confined(|| status("NoNewPrivs")), "1");
    }
}
