//! The client's TCP connection: when the client last sent data, and how the connection is closed at the end.

use std::io;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::helper::judgement::witness::Witness;
use crate::sys::clock::{Moment, from_duration};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;
use crate::sys::sock_diag;
use crate::sys::socket::{self, Connection, Silence};

/// Which of the leader's TCP connections belong to the client.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// The connection with this cookie.
    Connection(u64),
    /// All connections to this address.
    At(IpAddr),
    /// All connections, because the client is unknown.
    Unknown,
}

/// The client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    connection: Connection,
    /// `sock_diag` has found it once. If neither it nor the leader's descriptor finds it later, the connection is gone.
    found: bool,
    /// Only the leader's descriptor has found it, so `sock_diag` is not asked each time.
    unlisted: bool,
    /// The time when it was first missing. No key can have come later.
    gone: Option<Witness>,
}

impl ClientConnection {
    /// A connection that has not been asked yet.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection, found: false, unlisted: false, gone: None }
    }

    /// When the client last sent data. After the connection is gone, the answer no longer changes. `None` if
    /// the connection was never found, neither among the leader's descriptors nor in the kernel's list.
    ///
    /// # Errors
    ///
    /// Neither the kernel's list nor the leader's descriptor can be asked.
    pub fn ask(&mut self, proc: &Proc, pid: Pid, leader: &PidFd) -> io::Result<Option<Witness>> {
        match self.silence(proc, pid, leader)? {
            Some(silence) => Ok(Some(since(silence.received))),
            None if self.found => Ok(Some(*self.gone.get_or_insert_with(|| since(Duration::ZERO)))),
            None => Ok(None),
        }
    }

    /// How long no data has gone over it. `None` if it is not found, or is gone.
    ///
    /// # Errors
    ///
    /// Neither the kernel's list nor the leader's descriptor can be asked.
    pub fn silence(&mut self, proc: &Proc, pid: Pid, leader: &PidFd) -> io::Result<Option<Silence>> {
        if !self.unlisted {
            if let Ok(Some(silence)) = sock_diag::silence(&self.connection) {
                self.found = true;
                return Ok(Some(silence));
            }
        }
        // The list has neither a connection that was reset, nor one in another network namespace. The leader's
        // descriptor has both. It is asked second, because that needs the right to trace the leader.
        match by_descriptor(proc, pid, leader, self.connection.cookie) {
            Ok(Some(silence)) => {
                self.unlisted = !self.found;
                Ok(Some(silence))
            }
            Err(e) if !matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
                Err(e)
            }
            Ok(None) | Err(_) => {
                let silence = sock_diag::silence(&self.connection)?;
                self.found |= silence.is_some();
                Ok(silence)
            }
        }
    }
}

/// Asks the leader's socket with this cookie.
fn by_descriptor(proc: &Proc, pid: Pid, leader: &PidFd, cookie: u64) -> io::Result<Option<Silence>> {
    for socket in sockets(proc, pid, leader)? {
        let socket = socket?;
        if socket::cookie(&socket) == Some(cookie) {
            return Ok(socket::silence_of_once_connected(&socket));
        }
    }
    Ok(None)
}

/// Closes the client's connection for both sides, even if other processes have it open. sshd then behaves as if
/// the client had disconnected. Returns whether there was a connection. If it is known which connection belongs
/// to the client, the others stay open, because a PAM module may need one to close the session.
///
/// # Errors
///
/// `PermissionDenied` if the leader's descriptors may not be duplicated.
pub fn close(proc: &Proc, pid: Pid, leader: &PidFd, client: Client) -> io::Result<bool> {
    let is_clients = |socket: &OwnedFd| match client {
        Client::Connection(cookie) => socket::cookie(socket) == Some(cookie),
        Client::At(address) => socket::peer(socket) == Some(address),
        Client::Unknown => true,
    };
    let mut closed = false;
    for socket in sockets(proc, pid, leader)? {
        let socket = socket?;
        // A listening socket is shared with the daemon of sshd, and must stay open.
        if socket::silence(&socket).is_some() && is_clients(&socket) {
            closed |= socket::close(&socket);
        }
    }
    Ok(closed)
}

/// The leader's sockets. Each is duplicated when the iterator reaches it.
///
/// # Errors
///
/// `PermissionDenied` if the leader may not be traced, `NotFound` if it is gone.
pub fn sockets<'a>(
    proc: &Proc,
    pid: Pid,
    leader: &'a PidFd,
) -> io::Result<impl Iterator<Item = io::Result<OwnedFd>> + use<'a>> {
    let duplicate = |socket: io::Result<(RawFd, u32)>| match socket.and_then(|(fd, _)| leader.duplicate(fd)) {
        // It was closed after it was listed.
        Err(e) if e.raw_os_error() == Some(Errno::EBADF as i32) => None,
        duplicate => Some(duplicate),
    };
    Ok(proc.sockets(pid)?.filter_map(duplicate))
}

/// When the last data came in on a connection that has been silent for this time.
fn since(silence: Duration) -> Witness {
    let (now, silence) = (Moment::now(), from_duration(silence));
    Witness { heard: now.boot.saturating_sub(silence), awake: now.mono.saturating_sub(silence) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::{Nanos, SECOND};
    use crate::sys::newer_calls::kernel_is_old;
    use crate::sys::once_closed::once_closed;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command};

    const TICK: Nanos = SECOND / 100;

    /// A process with its own sockets. The tests share the sockets of this process.
    struct LeaderProcess {
        child: Child,
        pidfd: PidFd,
        clients: TcpStream,
        others: TcpStream,
        connection: Connection,
    }

    impl LeaderProcess {
        fn start() -> Self {
            let [mut server, clients] = connected();
            server.write_all(b"unread").unwrap();
            let [other, others] = connected();
            let connection = Connection::of(&server).unwrap();
            let mut command = Command::new("sleep");
            command.arg("1000").stdin(OwnedFd::from(other)).stderr(OwnedFd::from(server));
            let child = command.spawn().unwrap();
            let pidfd = PidFd::open(Pid::from_raw(child.id() as i32)).unwrap();
            Self { child, pidfd, clients, others, connection }
        }

        fn pid(&self) -> Pid {
            Pid::from_raw(self.child.id() as i32)
        }

        fn witness(&self, connection: &Connection) -> Option<Witness> {
            ClientConnection::new(*connection).ask(&Proc::default(), self.pid(), &self.pidfd).unwrap()
        }
    }

    impl Drop for LeaderProcess {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn connected() -> [TcpStream; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [listener.accept().unwrap().0, client]
    }

    /// Waits until the kernel no longer lists a connection.
    fn wait_until_gone(connection: &Connection) {
        once_closed(|| sock_diag::silence(connection).unwrap().is_none());
    }

    /// Whether the other side has closed the connection.
    fn is_closed(mut socket: &TcpStream) -> bool {
        socket.set_nonblocking(true).unwrap();
        while matches!(socket.read(&mut [0; 64]), Ok(1..)) {}
        matches!(socket.read(&mut [0]), Ok(0))
    }

    #[test]
    fn only_the_clients_connection_is_asked() {
        let mut leader = LeaderProcess::start();
        let before = Moment::now().boot;
        // The pause is longer than any kernel's tick.
        nix::poll::poll(&mut [], 60u16).unwrap();
        leader.others.write_all(b"x").unwrap();
        let silent = leader.witness(&leader.connection).unwrap();
        assert!(silent.heard <= before + TICK, "{silent:?}, {before}");
        leader.clients.write_all(b"x").unwrap();
        let heard = leader.witness(&leader.connection).unwrap();
        assert!(heard.heard > before + TICK && heard.heard <= Moment::now().boot, "{heard:?}, {before}");
        assert!(heard.latest() > heard.heard);
    }

    #[test]
    fn a_client_that_has_reset_the_connection_was_heard_before_that() {
        let mut leader = LeaderProcess::start();
        let heard = leader.witness(&leader.connection).unwrap();
        // The client has not read the data that was sent to it, so its close resets the connection.
        drop(std::mem::replace(&mut leader.clients, connected()[0].try_clone().unwrap()));
        wait_until_gone(&leader.connection);
        let now = leader.witness(&leader.connection);
        if kernel_is_old() {
            // Only the descriptor knows it now, and an old kernel does not give us that.
            return assert_eq!(now, None);
        }
        assert_eq!(now.unwrap().steadied(Some(heard)), heard);
    }

    #[test]
    fn a_connection_that_is_gone_was_heard_when_it_was_missed_at_the_latest() {
        let [server, client] = connected();
        // The leader no longer has a descriptor of it, but another process has.
        let leader = LeaderProcess::start();
        let connection = Connection::of(&server).unwrap();
        let mut asked = ClientConnection::new(connection);
        let mut ask = || asked.ask(&Proc::default(), leader.pid(), &leader.pidfd).unwrap();
        assert!(ask().is_some());
        let before = Moment::now().boot;
        drop((client, server));
        wait_until_gone(&connection);
        let gone = ask().unwrap();
        assert!(gone.heard >= before, "{gone:?}, {before}");
        nix::poll::poll(&mut [], 60u16).unwrap();
        assert_eq!(ask(), Some(gone));
        // A connection that was never found is no witness.
        let never = Connection { cookie: u64::MAX - 1, ..leader.connection };
        assert_eq!(leader.witness(&never), None);
    }

    #[test]
    fn the_clients_connection_is_closed_and_others_stay() {
        let local = "127.0.0.1".parse().unwrap();
        let elsewhere = "192.0.2.7".parse().unwrap();
        let close = |client: &dyn Fn(&LeaderProcess) -> Client| {
            let leader = LeaderProcess::start();
            let closed = close(&Proc::default(), leader.pid(), &leader.pidfd, client(&leader));
            (closed.map_err(|e| e.kind()), is_closed(&leader.clients), is_closed(&leader.others))
        };
        if kernel_is_old() {
            // It does not let us have the leader's sockets.
            let denied = Err(io::ErrorKind::Unsupported);
            return assert_eq!(close(&|_| Client::Unknown), (denied, false, false));
        }
        assert_eq!(close(&|leader| Client::Connection(leader.connection.cookie)), (Ok(true), true, false));
        assert_eq!(close(&|_| Client::Connection(u64::MAX - 1)), (Ok(false), false, false));
        assert_eq!(close(&|_| Client::At(local)), (Ok(true), true, true));
        assert_eq!(close(&|_| Client::At(elsewhere)), (Ok(false), false, false));
        assert_eq!(close(&|_| Client::Unknown), (Ok(true), true, true));
    }
}
