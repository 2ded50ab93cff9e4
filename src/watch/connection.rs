//! The leader's own TCP connections: a session without a terminal is judged by them, and the client's is
//! a witness of keys.

use std::io;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

use super::witness::Witness;
use crate::sys::clock::{Moment, Nanos, SECOND, from_duration};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;
use crate::sys::tcp;

/// The kernel tells of a connection in ticks, of 10 ms at the most: data may have come so much later.
const TICK: Nanos = SECOND / 100;

/// When the client was last heard of, on the boot clock: not earlier than the truth. Of several
/// connections the one that was used last counts. `None` where the leader has no TCP connection.
///
/// # Errors
///
/// `PermissionDenied` where the leader's descriptors may not be had.
pub fn heard(proc: &Proc, pid: i32, leader: &PidFd) -> io::Result<Option<Nanos>> {
    let silences = sockets(proc, pid, leader)?.into_iter().filter_map(|socket| tcp::silence(&socket));
    Ok(silences.min().map(|silence| since(silence).latest()))
}

/// What the client's connection says of keys. `None` where that is not certain: the leader must have
/// exactly one TCP connection, to the address that PAM names as the client's, and no stream of another
/// protocol that the client could have come by.
///
/// # Errors
///
/// `PermissionDenied` where the leader's descriptors may not be had.
pub fn witness(proc: &Proc, pid: i32, leader: &PidFd, rhost: Option<&str>) -> io::Result<Option<Witness>> {
    let Some(client) = rhost.and_then(address) else { return Ok(None) };
    let mut streams: Vec<(u64, OwnedFd)> = Vec::new();
    for socket in sockets(proc, pid, leader)? {
        let Some(number) = tcp::stream(&socket) else { continue };
        // The leader may have several descriptors of one socket.
        if streams.iter().all(|(known, _)| *known != number) {
            streams.push((number, socket));
        }
    }
    let [(_, socket)] = streams.as_slice() else { return Ok(None) };
    let silence = tcp::silence(socket).filter(|_| tcp::peer(socket) == Some(client));
    Ok(silence.map(since))
}

/// Closes the connection for both sides, whoever else has it open. To sshd that is a client that has
/// disconnected. Returns whether there was one. Where the client's address is known, other connections stay:
/// a PAM module may need its own to close the session.
///
/// # Errors
///
/// `PermissionDenied` where the leader's descriptors may not be had.
pub fn close(proc: &Proc, pid: i32, leader: &PidFd, client: Option<IpAddr>) -> io::Result<bool> {
    let is_clients = |socket: &OwnedFd| client.is_none_or(|client| tcp::peer(socket) == Some(client));
    let mut closed = false;
    for socket in sockets(proc, pid, leader)? {
        // The others are no connections: a socket that listens is shared with sshd itself.
        if tcp::silence(&socket).is_some() && is_clients(&socket) {
            closed |= TcpStream::from(socket).shutdown(Shutdown::Both).is_ok();
        }
    }
    Ok(closed)
}

/// The leader's sockets.
fn sockets(proc: &Proc, pid: i32, leader: &PidFd) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    for fd in proc.sockets(pid)? {
        match leader.duplicate(fd) {
            Ok(socket) => sockets.push(socket),
            // Closed since it was listed.
            Err(e) if e.raw_os_error() == Some(Errno::EBADF as i32) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sockets)
}

/// When the data came in that a connection has been silent since.
fn since(silence: Duration) -> Witness {
    let heard = Moment::now().boot.saturating_sub(from_duration(silence));
    Witness { heard, within: TICK }
}

/// The client's address as PAM names it: one, and not a name.
#[must_use]
pub fn address(rhost: &str) -> Option<IpAddr> {
    // "fe80::1%eth0"
    let address = rhost.split_once('%').map_or(rhost, |(address, _)| address);
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// Asked of this very process, which other tests give sockets, too: so in a child of its own sockets only.
    fn asked(rhost: &str, others: &[std::net::SocketAddr]) -> Option<Witness> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").stdin(OwnedFd::from(server.try_clone().unwrap())).stdout(OwnedFd::from(server));
        if let Some(other) = others.first() {
            command.stderr(OwnedFd::from(TcpStream::connect(other).unwrap()));
        }
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = witness(&Proc::default(), pid, &PidFd::open(pid).unwrap(), Some(rhost));
        child.kill().unwrap();
        child.wait().unwrap();
        found.unwrap()
    }

    #[test]
    fn the_clients_one_connection_is_a_witness() {
        let heard = asked("127.0.0.1", &[]).unwrap();
        let now = Moment::now().boot;
        assert!(heard.latest() > now - 30 * SECOND && heard.heard <= now, "{heard:?} at {now}");
        assert!(asked("::ffff:127.0.0.1", &[]).is_some());
    }

    #[test]
    fn where_it_is_not_certain_there_is_no_witness() {
        for rhost in ["192.0.2.7", "localhost", "UNKNOWN", ""] {
            assert_eq!(asked(rhost, &[]), None, "{rhost}");
        }
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(asked("127.0.0.1", &[other.local_addr().unwrap()]), None);
    }
}
