//! Tells which device a descriptor of another process is. This does not ask the file system, because it may
//! belong to that process (FUSE), or be on a server that does not reply. (Linux before 4.20 does ask FUSE.)

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};

use super::devnode::DeviceId;

/// The character device behind a link such as `/proc/PID/fd/0`. `None` if the link is something else.
///
/// # Errors
///
/// Those of statx(2): `NotFound` if the link no longer exists, `PermissionDenied` if a security module or a FUSE file
/// system does not allow it.
pub fn device(link: &Path) -> io::Result<Option<DeviceId>> {
    let path = CString::new(link.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid statx structure.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT, libc::STATX_BASIC_STATS);
    // SAFETY: the path is terminated, and the structure belongs to us. Both are valid during the call.
    Errno::result(unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, &raw mut found) })?;
    let kind = u32::from(found.stx_mode) & libc::S_IFMT;
    Ok((kind == libc::S_IFCHR).then(|| DeviceId {
        filesystem: nix::sys::stat::makedev(found.stx_dev_major.into(), found.stx_dev_minor.into()),
        device: nix::sys::stat::makedev(found.stx_rdev_major.into(), found.stx_rdev_minor.into()),
    }))
}

/// Whether a file is in a FUSE file system. Such a file system answers at once if this process may not use it.
#[must_use]
pub fn is_in_fuse(link: &Path) -> bool {
    statfs(link).is_ok_and(|found| found.filesystem_type() == FUSE_SUPER_MAGIC)
}
