//! The result of a system call that no library wraps.

use std::ffi::c_long;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The new descriptor from a system call, or the call's error.
///
/// # Safety
///
/// The call must return a new descriptor or -1, and nobody else may own that descriptor.
pub(super) unsafe fn new_descriptor(result: impl Into<c_long>) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result.into())?).map_err(io::Error::other)?;
    // SAFETY: the contract of this function requires it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
