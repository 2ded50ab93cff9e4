//! Descriptors a process was started with.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes over a descriptor by number; nothing we start inherits it again. Once for each number, and
/// before anything else is opened.
///
/// # Errors
///
/// `EBADF` when we were started without it.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow lasts for one fcntl(2), which answers EBADF if there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
