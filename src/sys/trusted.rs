//! Reads configuration files, and refuses files that users other than their owner could have written.
#![forbid(unsafe_code)]

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The size of the largest file that is read. Nobody writes a larger policy by hand.
const SIZE_MAX: u64 = 1 << 20;

/// The mode bits that let the group or others write.
const WRITABLE: u32 = 0o022;

/// Reads a file that `owner` owns (root, except in tests). The path must be absolute. The file must be a regular
/// file and not a symbolic link. Nobody else may be able to write it. It must be UTF-8 and at most 1 MiB.
/// # Errors
///
/// The condition that is not met. `NotFound` if there is no such file.
pub fn read(path: &Path, owner: u32) -> io::Result<String> {
    if !path.is_absolute() {
        return Err(refused("is not an absolute path"));
    }
    // Without these flags a FIFO would wait for a writer, and a terminal would become our controlling terminal.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| {
            if e.raw_os_error() == Some(libc::ELOOP) { refused("is a symbolic link") } else { e }
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("is not a regular file"));
    }
    check_rights(&metadata, owner)?;
    text(file)
}

/// Reads a file without checking who wrote it. It must be UTF-8 and at most 1 MiB, too.
/// # Errors
///
/// The file is too large, is not UTF-8 or cannot be read.
pub fn text(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(refused("is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| refused("is not UTF-8"))
}

/// Checks that `owner` owns a directory and that nobody else can write to it.
///
/// # Errors
///
/// The condition that is not met. `NotFound` if there is no such directory.
pub fn check_directory(path: &Path, owner: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(refused("is not a directory"));
    }
    check_rights(&metadata, owner)
}

fn check_rights(metadata: &Metadata, owner: u32) -> io::Result<()> {
    if metadata.uid() != owner {
        return Err(refused(if owner == 0 { "is not owned by root" } else { "is not owned by its user" }));
    }
    if metadata.mode() & WRITABLE != 0 {
        return Err(refused("is writable by users other than its owner"));
    }
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
