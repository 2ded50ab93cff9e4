//! Who made a socket: `SO_PEERCRED`, which does not change with who holds it.

use std::mem::size_of;
use std::os::fd::AsRawFd;

use libc::{c_void, socklen_t, ucred};

/// Process and effective user who made the other end of a unix socket that is connected; of a pair, both.
/// `None` if it is no such socket.
#[must_use]
pub fn of(socket: &impl AsRawFd) -> Option<(i32, u32)> {
    let mut made = ucred { pid: 0, uid: 0, gid: 0 };
    let whole = socklen_t::try_from(size_of::<ucred>()).ok()?;
    let mut size = whole;
    let (fd, place) = (socket.as_raw_fd(), (&raw mut made).cast::<c_void>());
    // SAFETY: the kernel writes at most `size` bytes to the place, which is ours and so large, and any
    // bytes are a ucred.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut size) };
    // A socket without a peer has nobody: process 0.
    (done == 0 && size == whole && made.pid != 0).then_some((made.pid, made.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_pair_is_of_who_made_it_and_nothing_else_is_of_anybody() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let me = (nix::unistd::getpid().as_raw(), nix::unistd::geteuid().as_raw());
        assert_eq!((of(&one), of(&other)), (Some(me), Some(me)));
        assert_eq!(of(&UnixDatagram::unbound().unwrap()), None);
        assert_eq!(of(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(of(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(of(&File::open("/dev/null").unwrap()), None);
    }
}
