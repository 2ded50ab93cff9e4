//! The session's connection: the leader's own TCP sockets. A session without a terminal is judged by it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;

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
    let mut shortest: Option<Duration> = None;
    each_socket(proc, pid, leader, |socket| {
        shortest = [shortest, tcp::silence(&socket)].into_iter().flatten().min();
    })?;
    let at = |silence: Duration| {
        let silence = from_duration(silence);
        Moment::now().boot.saturating_sub(silence).saturating_add(TICK)
    };
    Ok(shortest.map(at))
}

/// Closes the connection for both sides, whoever else has it open. To sshd that is a client that has
/// disconnected. Returns whether there was one.
///
/// # Errors
///
/// `PermissionDenied` where the leader's descriptors may not be had.
pub fn close(proc: &Proc, pid: i32, leader: &PidFd) -> io::Result<bool> {
    let mut closed = false;
    each_socket(proc, pid, leader, |socket| {
        // The others are no connections: a socket that listens is shared with sshd itself.
        if tcp::silence(&socket).is_some() {
            closed |= TcpStream::from(socket).shutdown(Shutdown::Both).is_ok();
        }
    })?;
    Ok(closed)
}

/// Visits a duplicate of each socket that the leader has open.
fn each_socket(proc: &Proc, pid: i32, leader: &PidFd, mut visit: impl FnMut(OwnedFd)) -> io::Result<()> {
    for fd in proc.sockets(pid)? {
        match leader.duplicate(fd) {
            Ok(socket) => visit(socket),
            // Closed since it was listed.
            Err(e) if e.raw_os_error() == Some(Errno::EBADF as i32) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
