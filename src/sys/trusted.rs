//! Files that decide about other users. They are read only if nobody except their owner can have written them.
#![forbid(unsafe_code)]

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// More than anybody writes by hand.
const SIZE_MAX: u64 = 1 << 20;

/// Group and others may write.
const WRITABLE: u32 = 0o022;

/// Reads a file that `owner` owns (root, except in tests). The path must be absolute. The file must be regular, not a
/// symbolic link, writable by nobody else, and have at most 1 MiB of UTF-8.
///
/// # Errors
///
/// Which of these does not apply. `NotFound` if there is no such file.
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

/// The text of a file that anybody may have written, of at most the same size.
///
/// # Errors
///
/// As reading.
pub fn text(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(refused("is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| refused("is not UTF-8"))
}

/// Checks that `owner` owns a directory and nobody else may write to it.
///
/// # Errors
///
/// Why not. `NotFound` if there is no such directory.
pub fn check_folder(path: &Path, owner: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(refused("is not a folder"));
    }
    check_rights(&metadata, owner)
}

fn check_rights(metadata: &Metadata, owner: u32) -> io::Result<()> {
    if metadata.uid() != owner {
        return Err(refused(if owner == 0 { "is not owned by root" } else { "is not owned by its user" }));
    }
    if metadata.mode() & WRITABLE != 0 {
        return Err(refused("may be written by others than its owner"));
    }
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
