//! One file for each interface to the outside: the kernel, the C library, libpam, logind, the log. Nothing
//! here decides about sessions.

pub mod aside;
pub mod cgroup;
pub mod clock;
pub mod devlog;
pub mod devnode;
pub mod guard;
pub mod heap;
pub mod inherit;
pub mod link;
pub mod log;
pub mod logind;
pub mod names;
#[cfg(feature = "module")]
pub mod pam;
pub mod peer;
pub mod pidfd;
pub mod proc;
pub mod sock_diag;
pub mod subuid;
pub mod tcp;
pub mod trusted;
pub mod tty;
