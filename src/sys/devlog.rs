//! Connects to the log daemon without waiting for it.

use std::io::{self, BufWriter};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use libc::{c_char, c_int, sockaddr_un, socklen_t};
use nix::errno::Errno;
use syslog::LoggerBackend;

use super::syscall::new_descriptor;

/// Connects with a datagram socket, or with a stream if the daemon's socket is one.
///
/// `syslog::unix` blocks in connect(2) while the daemon's queue of stream connections is full. If the daemon hangs,
/// the queue stays full. Our sockets do not block, so connect(2) fails with `WouldBlock` instead.
///
/// # Errors
///
/// There is no daemon, or it accepts no connection at the moment.
pub fn connect(path: &Path) -> io::Result<LoggerBackend> {
    match connected(libc::SOCK_DGRAM, path) {
        Ok(socket) => Ok(LoggerBackend::Unix(socket.into())),
        Err(e) if e.raw_os_error() == Some(libc::EPROTOTYPE) => {
            let stream = UnixStream::from(connected(libc::SOCK_STREAM, path)?);
            Ok(LoggerBackend::UnixStream(BufWriter::new(stream)))
        }
        Err(e) => Err(e),
    }
}

fn connected(kind: c_int, path: &Path) -> io::Result<OwnedFd> {
    let mut address = sockaddr_un { sun_family: 0, sun_path: [0; 108] };
    address.sun_family = libc::AF_UNIX.try_into().map_err(io::Error::other)?;
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays 0, because it terminates the path.
    if bytes.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = c_char::from_ne_bytes([*byte]);
    }
    let length = offset_of!(sockaddr_un, sun_path) + bytes.len() + 1;
    debug_assert!(length <= size_of::<sockaddr_un>());
    let length = socklen_t::try_from(length).map_err(io::Error::other)?;

    // SAFETY: socket takes three integers and does not touch our memory.
    let result = unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: socket(2) returns a new descriptor.
    let socket = unsafe { new_descriptor(result) }?;
    // SAFETY: the kernel reads `length` bytes of the address, which belongs to us and has at least this size.
    Errno::result(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sys::once_closed::once_closed;
    use std::fs;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// Limits the queue to one waiting connection.
    pub fn shorten_queue(listener: &UnixListener) {
        // SAFETY: listen takes two integers and accesses no memory of this process.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    }

    #[test]
    fn the_socket_has_the_daemons_type_and_never_blocks() {
        let path = std::env::temp_dir().join(format!("idle-watchdog-devlog-{}", std::process::id()));
        let datagrams = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(connect(&path), Ok(LoggerBackend::Unix(_))));
        drop(datagrams);
        once_closed(|| connect(&path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused));
        fs::remove_file(&path).unwrap();
        assert_eq!(connect(&path).err().unwrap().kind(), io::ErrorKind::NotFound);

        let stream = UnixListener::bind(&path).unwrap();
        shorten_queue(&stream);
        let first = connect(&path);
        assert!(matches!(first, Ok(LoggerBackend::UnixStream(_))));
        assert_eq!(connect(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        fs::remove_file(&path).unwrap();
        let long = "x".repeat(200);
        assert_eq!(connect(Path::new(&long)).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    }
}
