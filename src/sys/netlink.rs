//! What `sock_diag` and `audit` share: a socket to the kernel, and the header of its messages (netlink(7)).

use std::io;
use std::os::fd::OwnedFd;

use libc::c_int;

use super::syscall::new_descriptor;

/// The length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// The flag of a message to the kernel.
pub(super) const REQUEST: u16 = libc::NLM_F_REQUEST as u16;

/// Opens a socket that does not block.
pub(super) fn socket(protocol: c_int) -> io::Result<OwnedFd> {
    let kind: c_int = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes three integers and does not touch our memory.
    let result = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
    // SAFETY: socket(2) returns a new descriptor.
    unsafe { new_descriptor(result) }
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_ne_bytes(*two))
}
