//! Asks the kernel about a TCP connection of which we have no descriptor (sock_diag(7)).
//!
//! There is one question about one connection, and one answer. The kernel makes the answer during the write of
//! the question, so nothing waits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::offset_of;
use std::net::IpAddr;

use libc::tcp_info;

use super::netlink::{self, HEADER, REQUEST, number, short};
use super::socket::{self, Connection, Silence};

/// `SOCK_DIAG_BY_FAMILY` in include/uapi/linux/sock_diag.h.
pub(super) const BY_FAMILY: u16 = 20;
/// `INET_DIAG_INFO` in include/uapi/linux/inet_diag.h: the attribute that has a `tcp_info`.
const INFO: u16 = 2;
/// `struct inet_diag_req_v2`.
pub(super) const QUESTION: usize = 56;
/// `struct inet_diag_msg`. The attributes come after it.
pub(super) const ANSWER: usize = 72;
/// The place of the cookie in an answer, as two halves. The lower half comes first.
const COOKIE: usize = HEADER + 44;

/// How long no data has gone over a connection. `None` if the connection no longer exists.
///
/// # Errors
///
/// The kernel has no `sock_diag`, or a security module forbids it.
pub fn silence(connection: &Connection) -> io::Result<Option<Silence>> {
    let mut kernel = File::from(netlink::socket(libc::NETLINK_SOCK_DIAG)?);
    kernel.write_all(&question(connection))?;
    let mut answer = [0; 4096];
    let count = kernel.read(&mut answer)?;
    read_answer(answer.get(..count).unwrap_or_default(), connection.cookie)
}

/// The message that asks about this one connection.
fn question(connection: &Connection) -> Vec<u8> {
    const LENGTH: usize = HEADER + QUESTION;
    const TCP: u8 = libc::IPPROTO_TCP as u8;
    let Connection { local, remote, interface, cookie } = connection;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let [a, b, c, d, e, f, g, h] = cookie.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend((LENGTH as u32).to_ne_bytes());
    bytes.extend([BY_FAMILY, REQUEST].map(u16::to_ne_bytes).as_flattened());
    // The sequence number is 0, because there is only one question. The port is 0, which means the kernel.
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 1 << (INFO - 1), 0]);
    // The connection may be in any state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend([local.port(), remote.port()].map(u16::to_be_bytes).as_flattened());
    bytes.extend([local.ip(), remote.ip()].map(octets).as_flattened());
    bytes.extend([*interface, low, high].map(u32::to_ne_bytes).as_flattened());
    bytes
}

/// An address in 16 bytes, which have space for an IPv6 address.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// How long the connection with this cookie has been silent, according to the kernel's answer. `None` if the
/// answer is about no connection or about another one.
///
/// # Errors
///
/// The error that the kernel returns, or `InvalidData` if the answer makes no sense.
pub fn read_answer(answer: &[u8], cookie: u64) -> io::Result<Option<Silence>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let length = usize::try_from(number(answer, 0).ok_or_else(invalid)?).map_err(io::Error::other)?;
    let message = answer.get(..length).ok_or_else(invalid)?;
    match i32::from(short(message, 4).ok_or_else(invalid)?) {
        libc::NLMSG_ERROR => {
            match number(message, HEADER).map(|errno| errno as i32).ok_or_else(invalid)? {
                // There is no such connection, or another socket has these addresses now.
                error if error == -libc::ENOENT || error == -libc::ESTALE => Ok(None),
                error @ ..0 => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                0.. => Err(invalid()),
            }
        }
        kind if kind == i32::from(BY_FAMILY) => {
            let (low, high) = (number(message, COOKIE), number(message, COOKIE + 4));
            let (Some(low), Some(high)) = (low, high) else { return Err(invalid()) };
            let same = u64::from(high) << 32 | u64::from(low) == cookie;
            let attributes = message.get(HEADER + ANSWER..).ok_or_else(invalid)?;
            Ok(if same { info(attributes) } else { None })
        }
        _ => Err(invalid()),
    }
}

/// The silence in the attributes. A connection that is closed at both ends has no `tcp_info`.
fn info(mut attributes: &[u8]) -> Option<Silence> {
    loop {
        let length = usize::from(short(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if short(attributes, 2)? == INFO {
            let state = *value.get(offset_of!(tcp_info, tcpi_state))?;
            let received = number(value, offset_of!(tcp_info, tcpi_last_data_recv))?;
            let sent = number(value, offset_of!(tcp_info, tcpi_last_data_sent))?;
            return socket::is_connected(state).then(|| Silence::of(state, received, sent));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{Moment, from_duration};
    use super::*;
    use libc::c_int;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use proptest::prelude::*;

    /// The longest tick of any kernel.
    const TICK: Duration = Duration::from_millis(10);

    /// Both ends of a connection to that address, and the description of the accepted end.
    fn connected(listen: &str, connect: &str) -> (TcpStream, TcpStream, Connection) {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(SocketAddr::new(connect.parse().unwrap(), port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        let connection = Connection::of(&server).unwrap();
        (client, server, connection)
    }

    #[test]
    fn it_says_what_the_socket_says() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let (mut client, mut server, connection) = connected(listen, connect);
            // Longer than a tick.
            nix::poll::poll(&mut [], 60u16).unwrap();
            let before = socket::silence(&server).unwrap();
            let asked = silence(&connection).unwrap().unwrap().received;
            let after = socket::silence(&server).unwrap();
            assert!(before <= asked && asked <= after, "{connection}: {before:?} {asked:?} {after:?}");
            assert!(before > TICK, "{connection}: {before:?}");
            let written = Moment::now().mono;
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            let asked = silence(&connection).unwrap().unwrap();
            let since = Moment::now().mono - written;
            assert!(from_duration(asked.received) <= since + from_duration(TICK), "{connection}: {asked:?}");
            assert!(
                asked.sent > asked.received && asked.both_ways() == asked.received,
                "{connection}: {asked:?}"
            );
            server.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            assert!(silence(&connection).unwrap().unwrap().sent < asked.sent, "{connection}: {asked:?}");
        }
    }

    #[test]
    fn a_socket_that_is_bound_to_an_interface_is_found() {
        let loopback: c_int = 1;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: the number outlives the call.
        let bound = unsafe {
            let (name, size) = (socket::SO_BINDTOIFINDEX, size_of::<c_int>() as libc::socklen_t);
            libc::setsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const loopback).cast(), size)
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let connection = Connection::of(&server).unwrap();
        assert_eq!(connection.interface, 1);
        assert!(silence(&connection).unwrap().is_some());
        assert_eq!(silence(&Connection { interface: 0, ..connection }).unwrap(), None);
    }

    #[test]
    fn another_connection_is_none() {
        let (client, _server, connection) = connected("127.0.0.1:0", "127.0.0.1");
        let other = Connection::of(&client).unwrap();
        for wrong in [
            Connection { cookie: other.cookie, ..connection },
            Connection { local: other.local, remote: other.remote, ..connection },
            Connection { remote: "127.0.0.1:1".parse().unwrap(), ..connection },
            Connection { remote: "[::1]:1".parse().unwrap(), ..connection },
            Connection { interface: 9999, ..connection },
        ] {
            let asked = silence(&wrong).unwrap();
            // A connection that is bound to no interface is found by any.
            let expected = wrong.interface != 0;
            assert_eq!(asked.is_some(), expected, "{wrong}");
        }
    }

    /// What the kernel would answer.
    fn answer(cookie: u64, state: u8, received: u32, sent: u32) -> Vec<u8> {
        let mut info = vec![0; size_of::<tcp_info>()];
        info[offset_of!(tcp_info, tcpi_state)] = state;
        for (at, milliseconds) in [
            (offset_of!(tcp_info, tcpi_last_data_recv), received),
            (offset_of!(tcp_info, tcpi_last_data_sent), sent),
        ] {
            info[at..at + 4].copy_from_slice(&milliseconds.to_ne_bytes());
        }
        let mut bytes = vec![0; HEADER + ANSWER];
        bytes[COOKIE..COOKIE + 4].copy_from_slice(&(cookie as u32).to_ne_bytes());
        bytes[COOKIE + 4..COOKIE + 8].copy_from_slice(&((cookie >> 32) as u32).to_ne_bytes());
        // Another attribute: five bytes of data and three of padding.
        bytes.extend([9, 8].map(u16::to_ne_bytes).as_flattened());
        bytes.extend([7; 8]);
        bytes.extend([4 + info.len() as u16, INFO].map(u16::to_ne_bytes).as_flattened());
        bytes.extend(info);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        bytes
    }

    fn error(errno: i32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&36u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        bytes.extend((-errno).to_ne_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn errors_are_told_from_a_connection_that_is_gone() {
        assert_eq!(read_answer(&error(libc::ENOENT), 1).unwrap(), None);
        assert_eq!(read_answer(&error(libc::ESTALE), 1).unwrap(), None);
        let denied = read_answer(&error(libc::EPERM), 1).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        for odd in [0, -5] {
            assert!(read_answer(&error(odd), 1).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_closed_connection_is_none() {
        assert_eq!(read_answer(&answer(5, 7, 1, 1), 5).unwrap(), None);
        assert_eq!(read_answer(&answer(5, 1, 1234, 56), 5).unwrap(), Some(Silence::of(1, 1234, 56)));
    }

    proptest! {
        #[test]
        fn only_the_answer_about_this_connection_counts(cookie: u64, other: u64, received: u32, sent: u32) {
            let bytes = answer(cookie, 1, received, sent);
            let expected = Silence::of(1, received, sent);
            prop_assert_eq!(read_answer(&bytes, cookie).unwrap(), Some(expected));
            prop_assert_eq!(read_answer(&bytes, other).unwrap().is_some(), other == cookie);
        }

        #[test]
        fn a_short_answer_is_an_error(cut in 0usize..320) {
            let bytes = answer(5, 1, 1234, 56);
            prop_assume!(cut < bytes.len());
            prop_assert!(read_answer(&bytes[..cut], 5).is_err());
        }

        #[test]
        fn no_answer_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..300, byte: u8, length in 0u32..400,
        ) {
            let _ = read_answer(&bytes, 5);
            let mut mangled = answer(5, 1, 1234, 56);
            if let Some(place) = mangled.get_mut(at) {
                *place = byte;
            }
            let _ = read_answer(&mangled, 5);
            mangled[..4].copy_from_slice(&length.to_ne_bytes());
            let _ = read_answer(&mangled, 5);
        }
    }
}
