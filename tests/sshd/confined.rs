//! The rights of a helper that is armed.

use std::fs;
#[cfg(target_arch = "x86_64")]
use std::{
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd},
};

#[cfg(target_arch = "x86_64")]
use nix::{
    poll::{PollFd, PollFlags, poll},
    unistd::execv,
};
#[cfg(target_arch = "x86_64")]
use pam_idle_watchdog::sys::{confine::confine, offload::Offload};

use crate::support::SOON;
use crate::support::process::status_field;
use crate::support::sshd::Sshd;

/// CAP_DAC_OVERRIDE, CAP_KILL, CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_AUDIT_WRITE.
const KEPT: u64 = 1 << 1 | 1 << 5 | 1 << 19 | 1 << 21 | 1 << 29;

#[test]
fn the_helper_has_given_up_what_it_does_not_need() {
    let sshd = Sshd::with("timeout=1h").start();
    let _alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let helper = fs::read_to_string(sshd.helper().file("status")).unwrap();
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let set = |status: &str, name: &str| {
        u64::from_str_radix(status_field(status, name).unwrap().trim(), 16).unwrap()
    };
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        // In a container we may lack some, too.
        assert_eq!(set(&helper, name), set(&ours, name) & KEPT, "{name}");
    }
    assert_eq!((set(&helper, "CapInh"), set(&helper, "CapAmb")), (0, 0));
    assert_eq!(status_field(&helper, "NoNewPrivs").unwrap().trim(), "1");
    // 2 means a filter of system calls.
    let filter = if cfg!(target_arch = "x86_64") { "2" } else { "0" };
    assert_eq!(status_field(&helper, "Seccomp").unwrap().trim(), filter);
}

/// A socket that gets what the kernel's audit records, even if auditd runs.
#[cfg(target_arch = "x86_64")]
fn audit() -> File {
    const READERS: u32 = 1;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: all fields of the address are integers.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = READERS;
    // SAFETY: the socket is new and belongs to nobody else. The address lives until bind(2) returns.
    unsafe {
        let socket = File::from_raw_fd(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_AUDIT));
        let length = size_of_val(&address) as u32;
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length), 0);
        socket
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_refused_system_call_is_on_record() {
    let mut audit = audit();
    let program = CString::new("/bin/true").unwrap();
    let error = Offload::default().run(|pipe| {
        confine().unwrap();
        let error = execv(&program, &[&program]).unwrap_err();
        pipe.write_all(error.to_string().as_bytes()).unwrap();
    });
    assert_eq!(String::from_utf8(error).unwrap(), nix::errno::Errno::EPERM.to_string());
    loop {
        let ready = poll(&mut [PollFd::new(audit.as_fd(), PollFlags::POLLIN)], 10_000u16);
        assert_eq!(ready, Ok(1), "no record");
        let mut record = [0; 8192];
        let length = audit.read(&mut record).unwrap();
        let record = String::from_utf8_lossy(&record[..length]);
        if record.contains("comm=\"idle_wd_aside\"") && record.contains(" syscall=59 ") {
            // This is SECCOMP_RET_ERRNO.
            assert!(record.contains("code=0x50000"), "{record}");
            return;
        }
    }
}
