//! The result of a system call that no library wraps.

use std::ffi::c_long;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The new descriptor that a system call has returned, or its error.
///
/// # Safety
///
/// The call must be one that returns a new descriptor or -1, and nobody else may own that descriptor.
pub(super) unsafe fn new_descriptor(result: impl Into<c_long>) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result.into())?).map_err(io::Error::other)?;
    // SAFETY: as this function's contract says.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
