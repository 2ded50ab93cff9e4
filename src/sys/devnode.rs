//! Device nodes: the identity of a terminal, and the stamps on it.
#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_PATH};

use super::clock::{Nanos, nanos};

/// Which device a node is, and in which file system it is.
///
/// Two devpts instances both have a `pts/3` with the same device number: only the file system tells
/// them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId {
    /// `st_dev`.
    pub filesystem: u64,
    /// `st_rdev`, in the form `/proc/PID/stat` shows as `tty_nr` too.
    pub device: u64,
}

/// What the kernel notes on a terminal's node, in nanoseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// Last read, in 8-second buckets (`tty_update_time()` in drivers/tty/tty_io.c), or whatever
    /// the owner set with utimensat(2).
    pub atime: Nanos,
    /// Last write by a program, by the same rule. What is written on the other side, and its echo, leave
    /// none.
    pub mtime: Nanos,
    /// Last change of the node itself. No read or write moves it; every utimensat(2) and chmod(2) does.
    pub ctime: Nanos,
    /// The user it belongs to: of a pty, who opened the master, or whom it was given to since. Root changes
    /// it, and so may the owner, to their own subordinate ids (subuid(5)).
    pub owner: u32,
}

/// Identity and stamps of the character device at a path.
///
/// # Errors
///
/// As stat(2); `InvalidInput` when it is no character device, `NotFound` when the node was removed.
pub fn stat(path: &Path) -> io::Result<(DeviceId, Stamps)> {
    read(&fs::metadata(path)?)
}

/// Identity and stamps of an open character device.
///
/// # Errors
///
/// As fstat(2); `InvalidInput` when it is no character device.
pub fn of_file(file: &File) -> io::Result<(DeviceId, Stamps)> {
    read(&file.metadata()?)
}

fn read(meta: &Metadata) -> io::Result<(DeviceId, Stamps)> {
    if !meta.file_type().is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a character device"));
    }
    // Who has it open or holds it reaches it still.
    if meta.nlink() == 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the node was removed"));
    }
    let id = DeviceId { filesystem: meta.dev(), device: meta.rdev() };
    let stamps = Stamps {
        atime: nanos(meta.atime(), meta.atime_nsec()),
        mtime: nanos(meta.mtime(), meta.mtime_nsec()),
        ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        owner: meta.uid(),
    };
    Ok((id, stamps))
}

/// A hold on a node, which neither opens the device nor keeps it: with it a node is told from a later one of the
/// same number.
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// The node of the very device at a path.
    ///
    /// # Errors
    ///
    /// As open(2); `NotFound` when another device stands there now.
    pub fn hold(path: &Path, id: DeviceId) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_PATH | O_CLOEXEC).open(path)?;
        if of_file(&file)?.0 != id {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another device stands there now"));
        }
        Ok(Self(file))
    }

    /// A path to the node that nobody can put another one in the place of, for this process and its children.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Whether it has been removed: of a pty, its master was closed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }
}

/// Opens the very device, or nothing: never as controlling terminal, never waiting for a carrier,
/// a stopped or a full line.
///
/// # Errors
///
/// As open(2); `NotFound` when another device stands there now.
pub fn open(path: &Path, id: DeviceId, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(O_NOCTTY | O_NONBLOCK | O_CLOEXEC).open(path)?;
    if of_file(&file)?.0 != id {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another device stands there now"));
    }
    Ok(file)
}

/// Whether a device number is a pty's: there may be several devices of this number, one in each devpts
/// instance. Of any other terminal's number there is one.
#[must_use]
pub fn is_pty(device: u64) -> bool {
    (136..=143).contains(&nix::sys::stat::major(device))
}

/// The node of a device number below `/dev`, for a terminal known only by `tty_nr`.
///
/// ptys by their numbers (majors 136 to 143, Documentation/admin-guide/devices.txt); the others by
/// what sysfs calls them.
#[must_use]
pub fn path_of(device: u64) -> Option<PathBuf> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    if is_pty(device) {
        return Some(PathBuf::from(format!("/dev/pts/{}", (major - 136) * 256 + minor)));
    }
    let uevent = fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/uevent")).ok()?;
    let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(Path::new("/dev").join(name))
}
