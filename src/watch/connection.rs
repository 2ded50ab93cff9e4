//! The connection that a session without a terminal is judged by: the leader's own TCP sockets.

use std::io;
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
    for fd in proc.sockets(pid)? {
        let socket = match leader.duplicate(fd) {
            Ok(socket) => socket,
            // Closed since it was listed.
            Err(e) if e.raw_os_error() == Some(Errno::EBADF as i32) => continue,
            Err(e) => return Err(e),
        };
        shortest = [shortest, tcp::silence(&socket)].into_iter().flatten().min();
    }
    let at = |silence: Duration| {
        let silence = from_duration(silence);
        Moment::now().boot.saturating_sub(silence).saturating_add(TICK)
    };
    Ok(shortest.map(at))
}
