//! Device nodes: the identity of a terminal, and its time stamps.
#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_PATH};

use super::clock::{Nanos, nanos};

/// A device, and the file system of its node.
///
/// Two instances of devpts both have a `pts/3` with the same device number. Only the file system tells them
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId {
    /// `st_dev`.
    pub filesystem: u64,
    /// `st_rdev`, in the same form as `tty_nr` in `/proc/PID/stat`.
    pub device: u64,
}

/// The stamps of a terminal's node, in nanoseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The last read, in 8-second buckets (`tty_update_time()` in drivers/tty/tty_io.c), or any time that the
    /// owner has set with utimensat(2).
    pub atime: Nanos,
    /// The last write by a program, with the same rule. Data that the master writes, and its echo, do not
    /// change it.
    pub mtime: Nanos,
    /// The last change of the node itself. Reads and writes do not change it. Each utimensat(2) and chmod(2)
    /// does.
    pub ctime: Nanos,
    /// The owner. For a pty this is first the user who opened the master. Root may change the owner. The owner
    /// may change it, too, to their own subordinate ids (subuid(5)).
    pub owner: u32,
}

/// Identity and stamps of the character device at a path.
///
/// # Errors
///
/// The errors of stat(2). `InvalidInput` if it is not a character device, `NotFound` if the node was removed.
pub fn stat(path: &Path) -> io::Result<(DeviceId, Stamps)> {
    read(&fs::metadata(path)?)
}

/// Identity and stamps of an open character device.
///
/// # Errors
///
/// The errors of fstat(2). `InvalidInput` if it is not a character device.
pub fn of_file(file: &File) -> io::Result<(DeviceId, Stamps)> {
    read(&file.metadata()?)
}

fn read(meta: &Metadata) -> io::Result<(DeviceId, Stamps)> {
    if !meta.file_type().is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a character device"));
    }
    // The node was removed, but an open descriptor still leads to it.
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

/// A reference to a node. It does not open the device or keep it alive. It tells a node from a later one with
/// the same number.
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// Refers to the node of exactly this device.
    ///
    /// # Errors
    ///
    /// The errors of open(2). `NotFound` if the path now leads to another device.
    pub fn hold(path: &Path, id: DeviceId) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_PATH | O_CLOEXEC).open(path)?;
        if of_file(&file)?.0 != id {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another device is there now"));
        }
        Ok(Self(file))
    }

    /// A path to the node for this process and its children. Nobody can put another node there.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Whether the node has been removed. For a pty this means that its master was closed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }
}

/// Opens exactly this device. It does not become the controlling terminal, and the call does not wait for a
/// carrier or for a stopped or full line.
///
/// # Errors
///
/// The errors of open(2). `NotFound` if the path now leads to another device.
pub fn open(path: &Path, id: DeviceId, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(O_NOCTTY | O_NONBLOCK | O_CLOEXEC).open(path)?;
    if of_file(&file)?.0 != id {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another device is there now"));
    }
    Ok(file)
}

/// Whether a device number belongs to a pty. There may be several ptys with the same number, one in each
/// instance of devpts. Other terminals have unique numbers.
#[must_use]
pub fn is_pty(device: u64) -> bool {
    (136..=143).contains(&nix::sys::stat::major(device))
}

/// The node of a device number below `/dev`, for a terminal that is known only by `tty_nr`.
///
/// The path of a pty comes from its number (majors 136 to 143, Documentation/admin-guide/devices.txt). The path
/// of another terminal comes from sysfs.
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
