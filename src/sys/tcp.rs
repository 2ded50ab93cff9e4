//! TCP connections: how long the other side has been silent.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};
use nix::sys::stat::fstat;

/// `TCP_CLOSE` and `TCP_LISTEN` in include/net/tcp_states.h: sockets that no connection goes through.
const NOT_CONNECTED: [u8; 2] = [7, 10];

/// How long ago data last came in, in steps of the kernel's tick and without the time that the
/// machine was suspended; at the begin, how long ago it was accepted. After 49 days it begins at 0
/// again. `None` if the descriptor is no TCP connection.
#[must_use]
pub fn silence(socket: &impl AsRawFd) -> Option<Duration> {
    // Only these two have the option that is asked for then by that number.
    let domain: c_int = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
    let protocol: c_int = option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).ok()?;
    if !matches!(domain, libc::AF_INET | libc::AF_INET6) || protocol != libc::IPPROTO_TCP {
        return None;
    }
    let info: libc::tcp_info = option(socket, libc::IPPROTO_TCP, libc::TCP_INFO).ok()?;
    let connected = !NOT_CONNECTED.contains(&info.tcpi_state);
    connected.then(|| Duration::from_millis(info.tcpi_last_data_recv.into()))
}

/// The number of the socket, if it is a stream that a client elsewhere may be connected by: TCP, another
/// protocol of the Internet's (MPTCP, SCTP), or vsock. A socket that listens is none, and neither is
/// one to a process of this machine.
#[must_use]
pub fn stream(socket: &(impl AsRawFd + AsFd)) -> Option<u64> {
    let domain: c_int = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
    let kind: c_int = option(socket, libc::SOL_SOCKET, libc::SO_TYPE).ok()?;
    let listens: c_int = option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).ok()?;
    let local = matches!(domain, libc::AF_UNIX | libc::AF_NETLINK);
    let stream = !local && listens == 0 && matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET);
    fstat(socket).ok().filter(|_| stream).map(|stat| stat.st_ino)
}

/// The address at the other end of a connection; `None` where that is no address of the Internet's.
#[must_use]
pub fn peer(socket: &impl AsFd) -> Option<IpAddr> {
    let socket = TcpStream::from(socket.as_fd().try_clone_to_owned().ok()?);
    socket.peer_addr().ok().map(|address| address.ip().to_canonical())
}

/// What the kernel may fill with any bytes.
trait Plain {}
impl Plain for c_int {}
impl Plain for libc::tcp_info {}

fn option<T: Plain>(socket: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: all-zero is a valid value of the plain types above.
    let mut value: T = unsafe { zeroed() };
    let mut size = socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: the kernel writes at most `size` bytes to the place, which is ours and so large, and
    // whatever bytes these are, they are a value of a plain type.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    #[test]
    fn data_that_comes_in_ends_the_silence_and_what_goes_out_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // Long enough to be told from none, by whatever tick.
        let pause = || nix::poll::poll(&mut [], 60u16).unwrap();
        pause();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(silence(&server).unwrap() >= Duration::from_millis(40));
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let fresh = silence(&server).unwrap();
        pause();
        assert!(silence(&server).unwrap() > fresh);
    }

    #[test]
    fn nothing_else_is_a_connection() {
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(silence(&unix), None);
        assert_eq!(silence(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(silence(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(silence(&File::open("/dev/null").unwrap()), None);
        assert_eq!(stream(&unix), None);
        assert_eq!(stream(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(stream(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(peer(&unix), None);
    }

    #[test]
    fn a_stream_keeps_its_number_in_all_its_descriptors() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, from) = listener.accept().unwrap();
        assert_eq!(stream(&server), stream(&server.try_clone().unwrap()));
        assert!(stream(&server).is_some() && stream(&server) != stream(&client));
        assert_eq!(peer(&server), Some(from.ip()));
    }
}
