//! One file for each interface to the outside: the kernel, the C library, libpam, logind, the log, the audit. Nothing
//! here decides about sessions.

pub mod aside;
pub mod audit;
pub mod cgroup;
pub mod channel;
pub mod clock;
#[cfg(any(feature = "module", feature = "command"))]
mod close_from;
pub mod confine;
pub mod devlog;
pub mod devnode;
pub mod heap;
pub mod held;
pub mod inherit;
pub mod journald;
pub mod kernel;
#[cfg(any(feature = "module", feature = "command"))]
mod limits;
pub mod link;
pub mod local_time;
pub mod log;
pub mod logind;
mod netlink;
pub mod newer_calls;
pub mod nss;
pub mod offload;
#[cfg(test)]
pub mod once_closed;
#[cfg(feature = "module")]
pub mod pam;
pub mod pidfd;
pub mod proc;
#[cfg(target_arch = "x86_64")]
mod seccomp;
pub mod selinux;
pub mod signals;
pub mod sock_diag;
#[cfg(feature = "command")]
pub mod sock_list;
pub mod socket;
#[cfg(any(feature = "module", feature = "command"))]
pub mod spawn;
mod stat_file;
pub mod subuid;
mod syscall;
mod timer;
pub mod trusted;
pub mod tty;
#[cfg(feature = "command")]
pub mod xattr;
