//! Lists the TCP connections of this network namespace (sock_diag(7)). This tells which connection another process has open,
//! without a descriptor of it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netlink::{self, HEADER, REQUEST, number, short};
use super::pidfd::PidFd;
use super::proc::Proc;
use super::sock_diag::{ANSWER, BY_FAMILY, QUESTION};
use super::socket::{Connection, Stream};
use nix::unistd::Pid;

/// A connection, and the number that `/proc/PID/fd` shows for its socket.
type Listed = (u32, Connection);

/// The TCP connections that a process has open. Its other streams are not in the list.
///
/// # Errors
///
/// `PermissionDenied` if the process may not be traced. `NotFound` if it is gone. Others if the kernel cannot list
/// connections.
pub fn streams(proc: &Proc, pid: Pid, process: &PidFd) -> io::Result<Vec<Stream>> {
    let open = proc.sockets(pid)?.map(|socket| Ok(socket?.1)).collect::<io::Result<Vec<u32>>>()?;
    let all = connections()?;
    // Another process may have had the PID meanwhile.
    if process.has_exited() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let theirs =
        all.into_iter().filter(|(socket, _)| open.contains(socket)).map(|(_, connection)| connection);
    let stream = |connection: Connection| Stream {
        cookie: connection.cookie,
        peer: Some(connection.remote.ip()),
        connection: Some(connection),
    };
    Ok(theirs.map(stream).collect())
}

/// All connections, with the number of each socket.
///
/// # Errors
///
/// The kernel has no `sock_diag`, or a security module forbids it.
fn connections() -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut kernel = File::from(netlink::socket(libc::NETLINK_SOCK_DIAG)?);
        kernel.write_all(&question(family as u8))?;
        // The kernel makes a part of the list whenever it is read. A part is never longer than this.
        let mut part = vec![0; 32 * 1024];
        loop {
            let count = kernel.read(&mut part)?;
            if read_part(part.get(..count).unwrap_or_default(), &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// The message that asks for all connections of a family of addresses.
fn question(family: u8) -> Vec<u8> {
    const LENGTH: usize = HEADER + QUESTION;
    const TCP: u8 = libc::IPPROTO_TCP as u8;
    const DUMP: u16 = libc::NLM_F_DUMP as u16;
    /// `TCP_ESTABLISHED`, `TCP_FIN_WAIT1` and 2, `TCP_CLOSE_WAIT`, `TCP_LAST_ACK` and `TCP_CLOSING` in
    /// include/net/tcp_states.h. In other states there is no connection, or no process has it.
    const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend((LENGTH as u32).to_ne_bytes());
    bytes.extend([BY_FAMILY, REQUEST | DUMP].map(u16::to_ne_bytes).as_flattened());
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend(STATES.to_ne_bytes());
    bytes.resize(LENGTH, 0);
    bytes
}

/// Reads one part of the list. Returns whether it is the last one.
///
/// # Errors
///
/// The error that the kernel returns, or `InvalidData` if the part makes no sense.
fn read_part(mut part: &[u8], found: &mut Vec<Listed>) -> io::Result<bool> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    while !part.is_empty() {
        let length = usize::try_from(number(part, 0).ok_or_else(invalid)?).map_err(io::Error::other)?;
        let message = part.get(..length.max(HEADER)).ok_or_else(invalid)?;
        match i32::from(short(message, 4).ok_or_else(invalid)?) {
            // Both have a number: 0, or an error as a negative number.
            end @ (libc::NLMSG_DONE | libc::NLMSG_ERROR) => {
                let errno = number(message, HEADER).ok_or_else(invalid)? as i32;
                if end == libc::NLMSG_DONE && errno >= 0 {
                    return Ok(true);
                }
                return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
            }
            kind if kind == i32::from(BY_FAMILY) => {
                let answer = message.get(HEADER..HEADER + ANSWER).ok_or_else(invalid)?;
                found.extend(listed(answer));
            }
            _ => return Err(invalid()),
        }
        part = part.get(message.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// A connection from a `struct inet_diag_msg`. `None` if nobody has its socket open.
fn listed(answer: &[u8]) -> Option<Listed> {
    const PORTS_AT: [usize; 2] = [4, 6];
    const ADDRESSES_AT: [usize; 2] = [8, 24];
    const INTERFACE_AT: usize = 40;
    const COOKIE_AT: usize = 44;
    const INODE_AT: usize = 68;
    let family = i32::from(*answer.first()?);
    let end = |which: usize| {
        let port =
            answer.get(*PORTS_AT.get(which)?..)?.first_chunk().map(|port| u16::from_be_bytes(*port))?;
        let address = answer.get(*ADDRESSES_AT.get(which)?..)?;
        let ip = match family {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?)),
            _ => IpAddr::V6(Ipv6Addr::from(*address.first_chunk::<16>()?)),
        };
        Some(SocketAddr::new(ip.to_canonical(), port))
    };
    let (low, high) = (number(answer, COOKIE_AT)?, number(answer, COOKIE_AT + 4)?);
    let connection = Connection {
        local: end(0)?,
        remote: end(1)?,
        interface: number(answer, INTERFACE_AT)?,
        cookie: u64::from(high) << 32 | u64::from(low),
    };
    number(answer, INODE_AT).filter(|inode| *inode != 0).map(|inode| (inode, connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    #[test]
    fn a_connection_is_listed_as_its_socket_says() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]"), ("[::]:0", "127.0.0.1")]
        {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{connect}:{port}")).unwrap();
            let (server, _) = listener.accept().unwrap();
            let me = Pid::this();
            let streams = streams(&Proc::default(), me, &PidFd::open(me).unwrap()).unwrap();
            let of = |socket: &TcpStream| Stream::of(socket).unwrap();
            for socket in [&server, &client] {
                assert!(streams.contains(&of(socket)), "{socket:?}: {streams:?}");
            }
        }
    }

    fn message(kind: i32, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + content.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend([kind as u16, 0].map(u16::to_ne_bytes).as_flattened());
        bytes.extend([0; 8]);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_list_ends_with_its_end_or_an_error() {
        let connection_with = |inode: u32| {
            let mut answer = [0; ANSWER];
            answer[0] = libc::AF_INET as u8;
            answer[68..72].copy_from_slice(&inode.to_ne_bytes());
            message(BY_FAMILY.into(), &answer)
        };
        let connection = connection_with(7);
        let mut found = Vec::new();
        assert!(!read_part(&[connection.clone(), connection.clone()].concat(), &mut found).unwrap());
        assert_eq!(found.iter().map(|(inode, _)| *inode).collect::<Vec<_>>(), [7, 7]);
        // A socket that nobody has open.
        let unused = connection_with(0);
        assert!(read_part(&[unused, message(libc::NLMSG_DONE, &[0; 4])].concat(), &mut found).unwrap());
        assert_eq!(found.len(), 2);
        let denied = read_part(&message(libc::NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()), &mut found);
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let cannot = read_part(&message(libc::NLMSG_DONE, &(-libc::ENOENT).to_ne_bytes()), &mut found);
        assert_eq!(cannot.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read_part(connection.get(..connection.len() - 1).unwrap(), &mut found).is_err());
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), length in 0u32..400) {
            let _ = read_part(&bytes, &mut Vec::new());
            let mut mangled = message(BY_FAMILY.into(), &bytes);
            mangled[..4].copy_from_slice(&length.to_ne_bytes());
            let _ = read_part(&mangled, &mut Vec::new());
        }
    }
}
