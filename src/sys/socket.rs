//! Asks the kernel about sockets: which TCP connection a socket is, how long the other side has been silent,
//! and which process made a unix socket.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::mem::{ManuallyDrop, size_of, zeroed};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::str::FromStr;
use std::time::Duration;

use libc::{c_int, c_void, socklen_t, ucred};
use nix::errno::Errno;
use nix::unistd::Pid;

/// `TCP_CLOSE` and `TCP_LISTEN` in include/net/tcp_states.h: sockets without a connection.
const NOT_CONNECTED: [u8; 2] = [7, 10];
/// `TCP_ESTABLISHED` in the same file.
const ESTABLISHED: u8 = 1;

/// `SO_COOKIE` in include/uapi/asm-generic/socket.h. Only the newest versions of the libc crate have it.
const SO_COOKIE: c_int = if cfg!(target_arch = "sparc64") { 0x003b } else { 57 };

/// `SO_BINDTOIFINDEX` in the same file.
pub(super) const SO_BINDTOIFINDEX: c_int = if cfg!(target_arch = "sparc64") { 0x0041 } else { 62 };

/// One TCP connection, as this machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The address at this end. If an IPv6 socket has a mapped IPv4 address, this is the IPv4 address.
    pub local: SocketAddr,
    /// The address at the other end.
    pub remote: SocketAddr,
    /// The number of the interface to which the socket is bound, for example because of a link-local address. 0
    /// means none.
    pub interface: u32,
    /// The kernel's cookie of the socket. The kernel never uses it again.
    pub cookie: u64,
}

impl Connection {
    /// The connection of a socket. `None` if the descriptor is not a TCP connection.
    #[must_use]
    pub fn of(socket: &impl AsRawFd) -> Option<Self> {
        silence(socket)?;
        let stream = as_stream(socket);
        let interface = interface(socket)?;
        Some(Self {
            local: plain(stream.local_addr().ok()?),
            remote: plain(stream.peer_addr().ok()?),
            interface,
            cookie: cookie(socket)?,
        })
    }
}

/// The number of the interface to which a socket is bound. 0 means none.
fn interface(socket: &impl AsRawFd) -> Option<u32> {
    match option::<c_int>(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX) {
        Ok(interface) => interface.try_into().ok(),
        Err(e) if e.raw_os_error() == Some(Errno::ENOPROTOOPT as i32) => interface_by_name(socket),
        Err(_) => None,
    }
}

/// The same on a kernel before 5.1, which tells only the name of the interface.
fn interface_by_name(socket: &impl AsRawFd) -> Option<u32> {
    let name: [u8; libc::IFNAMSIZ] = option(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE).ok()?;
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    if name.is_empty() {
        return Some(0);
    }
    // SAFETY: the name is terminated and outlives the call.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number != 0).then_some(number)
}

/// The address in a form that can be printed and read back without a change.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `LOCAL,REMOTE,INTERFACE,COOKIE`.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, remote, interface, cookie } = self;
        write!(f, "{local},{remote},{interface},{cookie}")
    }
}

impl FromStr for Connection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.split(',');
            let connection = Self {
                local: plain(parts.next()?.parse().ok()?),
                remote: plain(parts.next()?.parse().ok()?),
                interface: parts.next()?.parse().ok()?,
                cookie: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(connection)
        };
        read().ok_or("expected LOCAL,REMOTE,INTERFACE,COOKIE")
    }
}

/// How long ago data last came in, or the connection was accepted. The time is in steps of the kernel's tick,
/// and does not count while the machine is suspended. After 49 days it starts at 0 again. `None` if the
/// descriptor is not a TCP connection.
#[must_use]
pub fn silence(socket: &impl AsRawFd) -> Option<Duration> {
    let info = info(socket)?;
    is_connected(info.tcpi_state).then(|| Duration::from_millis(info.tcpi_last_data_recv.into()))
}

/// How long no data has gone over a connection. The times are like that of [`silence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// No data from the other side.
    pub received: Duration,
    /// No data to the other side.
    pub sent: Duration,
    /// Neither side has closed the connection.
    pub is_open: bool,
}

impl Silence {
    /// From what the kernel tells: the state, and two times in milliseconds.
    pub(super) fn of(state: u8, last_data_recv: u32, last_data_sent: u32) -> Self {
        let [received, sent] =
            [last_data_recv, last_data_sent].map(|time| Duration::from_millis(time.into()));
        Self { received, sent, is_open: state == ESTABLISHED }
    }

    /// No data either way.
    #[must_use]
    pub fn both_ways(self) -> Duration {
        self.received.min(self.sent)
    }
}

/// The silence of a socket that may no longer be connected: the kernel remembers when data last went.
#[must_use]
pub fn silence_of_once_connected(socket: &impl AsRawFd) -> Option<Silence> {
    info(socket).map(|info| Silence::of(info.tcpi_state, info.tcpi_last_data_recv, info.tcpi_last_data_sent))
}

/// What the kernel tells about a TCP socket. `None` if the descriptor is not a TCP socket.
fn info(socket: &impl AsRawFd) -> Option<libc::tcp_info> {
    // Only sockets of these two families know the next option by this number.
    let domain: c_int = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
    let protocol: c_int = option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).ok()?;
    if !matches!(domain, libc::AF_INET | libc::AF_INET6) || protocol != libc::IPPROTO_TCP {
        return None;
    }
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO).ok()
}

/// Whether a socket in this state is a connection.
pub(super) fn is_connected(state: u8) -> bool {
    !NOT_CONNECTED.contains(&state)
}

/// The kernel's cookie of the socket. The kernel never uses it again. `None` if the descriptor is not a socket.
#[must_use]
pub fn cookie(socket: &impl AsRawFd) -> Option<u64> {
    option(socket, libc::SOL_SOCKET, SO_COOKIE).ok()
}

/// A stream that may connect a client on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The kernel's cookie of the socket.
    pub cookie: u64,
    /// The address at the other end. `None` if that is not an Internet address.
    pub peer: Option<IpAddr>,
    /// The connection, if the stream is a TCP connection.
    pub connection: Option<Connection>,
}

impl Stream {
    /// The stream of a TCP socket, of another Internet protocol (MPTCP, SCTP) or of vsock. `None` if the
    /// descriptor is not a socket, or the socket listens, is not connected, or connects only processes of this
    /// machine.
    #[must_use]
    pub fn of(socket: &impl AsRawFd) -> Option<Self> {
        let domain: c_int = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
        let kind: c_int = option(socket, libc::SOL_SOCKET, libc::SO_TYPE).ok()?;
        let listens: c_int = option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).ok()?;
        let local = matches!(domain, libc::AF_UNIX | libc::AF_NETLINK);
        if local || listens != 0 || !matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET) {
            return None;
        }
        let peer = as_stream(socket).peer_addr();
        if peer.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::ENOTCONN as i32)) {
            return None;
        }
        let peer = peer.ok().map(|address| address.ip().to_canonical());
        Some(Self { cookie: cookie(socket)?, peer, connection: Connection::of(socket) })
    }
}

/// The address at the other end of a connection. `None` if that is not an Internet address.
#[must_use]
pub fn peer(socket: &impl AsRawFd) -> Option<IpAddr> {
    as_stream(socket).peer_addr().ok().map(|address| address.ip().to_canonical())
}

/// Closes a connection for both sides, even if other processes have it open. Returns whether it did.
#[must_use]
pub fn close(socket: &impl AsRawFd) -> bool {
    as_stream(socket).shutdown(Shutdown::Both).is_ok()
}

/// The socket as a type of std, so that std can ask it. The descriptor still belongs to its owner.
fn as_stream(socket: &impl AsRawFd) -> ManuallyDrop<TcpStream> {
    // SAFETY: std passes the number to system calls only. It does not close the descriptor, because the stream
    // is never dropped. If the number is not a socket, or another thread closes it, these calls fail.
    ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(socket.as_raw_fd()) })
}

/// A type for which any bytes from the kernel are a valid value.
trait Plain {}
impl Plain for c_int {}
impl Plain for u64 {}
impl Plain for libc::tcp_info {}
impl Plain for [u8; libc::IFNAMSIZ] {}

fn option<T: Plain>(socket: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: all-zero is a valid value of the plain types above.
    let mut value: T = unsafe { zeroed() };
    let mut size = socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: the kernel writes at most `size` bytes to the place. The place belongs to us and has that size.
    // Any bytes are a valid value of a plain type.
    Errno::result(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut size) })?;
    Ok(value)
}

/// The process (and its effective user) that made the other end of a connected unix socket. For a socket pair
/// it made both ends. `None` if the descriptor is not such a socket.
#[must_use]
pub fn maker(socket: &impl AsRawFd) -> Option<(Pid, u32)> {
    let mut made = ucred { pid: 0, uid: 0, gid: 0 };
    let whole = socklen_t::try_from(size_of::<ucred>()).ok()?;
    let mut size = whole;
    let (fd, place) = (socket.as_raw_fd(), (&raw mut made).cast::<c_void>());
    // SAFETY: the kernel writes at most `size` bytes to the place. The place belongs to us and has that size.
    // Any bytes are a valid ucred.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut size) };
    // For a socket without a peer the kernel returns process 0.
    (done == 0 && size == whole && made.pid != 0).then_some((Pid::from_raw(made.pid), made.uid))
}

#[cfg(test)]
mod tests {
    use super::super::sock_diag;
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn data_that_comes_in_ends_the_silence_and_what_goes_out_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // The pause is longer than any tick, so the silence is not zero.
        let pause = || nix::poll::poll(&mut [], 60u16).unwrap();
        pause();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(silence(&server).unwrap() >= Duration::from_millis(40));
        let both = silence_of_once_connected(&server).unwrap();
        assert!(both.sent < both.received && both.both_ways() == both.sent, "{both:?}");
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let fresh = silence(&server).unwrap();
        pause();
        assert!(silence(&server).unwrap() > fresh);
    }

    #[test]
    fn a_connection_is_open_until_a_side_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let connection = Connection::of(&server).unwrap();
        let is_open = |answer: Option<Silence>| answer.unwrap().is_open;
        let asked = |server: &TcpStream| {
            [silence_of_once_connected(server), sock_diag::silence(&connection).unwrap()].map(is_open)
        };
        assert_eq!(asked(&server), [true; 2]);
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        assert_eq!(asked(&server), [false; 2]);
    }

    #[test]
    fn nothing_else_is_a_connection() {
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(silence(&unix), None);
        assert_eq!(silence(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(silence(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(silence(&File::open("/dev/null").unwrap()), None);
        assert_eq!(Stream::of(&unix), None);
        assert_eq!(Stream::of(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(Stream::of(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(peer(&unix), None);
        // SAFETY: socket takes three integers, and its result is a descriptor that nobody else owns.
        let unconnected = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        assert_eq!((silence(&unconnected), Stream::of(&unconnected)), (None, None));
    }

    #[test]
    fn a_connection_that_was_printed_can_be_read_again() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]"), ("[::]:0", "127.0.0.1")]
        {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{connect}:{port}")).unwrap();
            let (server, _) = listener.accept().unwrap();
            let connection = Connection::of(&server).unwrap();
            assert_eq!(connection.to_string().parse(), Ok(connection));
            assert_eq!(connection.remote, client.local_addr().unwrap(), "{connection}");
            assert_eq!(connection.local, client.peer_addr().unwrap(), "{connection}");
        }
        for bad in ["", "127.0.0.1:22,127.0.0.1:50000,0", "127.0.0.1:22,host:50000,0,1", "::1,::1,0,1"] {
            assert!(bad.parse::<Connection>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_keeps_its_number_in_all_its_descriptors() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, from) = listener.accept().unwrap();
        assert_eq!(Stream::of(&server), Stream::of(&server.try_clone().unwrap()));
        assert!(Stream::of(&server).is_some() && cookie(&server) != cookie(&client));
        assert_eq!(peer(&server), Some(from.ip()));
    }

    #[test]
    fn a_pair_is_of_who_made_it_and_nothing_else_is_of_anybody() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let me = (nix::unistd::getpid(), nix::unistd::geteuid().as_raw());
        assert_eq!((maker(&one), maker(&other)), (Some(me), Some(me)));
        assert_eq!(maker(&UnixDatagram::unbound().unwrap()), None);
        assert_eq!(maker(&UdpSocket::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(maker(&TcpListener::bind("127.0.0.1:0").unwrap()), None);
        assert_eq!(maker(&File::open("/dev/null").unwrap()), None);
    }
}
