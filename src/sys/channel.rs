//! A channel between the command and a helper. The command offers it by the number of a descriptor, and the helper takes it.
//!
//! It is a pair of sockets, of which the helper duplicates one (pidfd_getfd(2), Linux 5.6). On an older kernel it is two
//! pipes, which the helper opens by `/proc/PID/fd`. That does not work with a socket.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use super::pidfd::PidFd;
use super::proc::Proc;
use super::socket;

/// The longest message, in bytes. A pipe has room for several.
const MESSAGE_ROOM: usize = 20 * 1024;

/// One end of a channel. Nothing here waits.
#[derive(Debug)]
pub struct Channel(Way);

#[derive(Debug)]
enum Way {
    Socket(UnixDatagram),
    Pipes(Pipes),
}

/// The descriptors that the command keeps open until the helper has taken the channel.
#[derive(Debug)]
pub struct Offer {
    /// The number by which the helper takes the channel.
    pub number: RawFd,
    _ends: Vec<OwnedFd>,
}

impl Channel {
    /// A new channel, and the other end as an offer.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn offer() -> io::Result<(Self, Offer)> {
        if PidFd::can_duplicate() { socket_pair() } else { Pipes::offer() }
    }

    /// Takes the channel that a process of root offers. `None` if the descriptor is not a channel that root has made.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without the right to trace the process. `EBADF` or `NotFound` if there is no such descriptor.
    pub fn take(proc: &Proc, pid: Pid, process: &PidFd, number: RawFd) -> io::Result<Option<Self>> {
        if !PidFd::can_duplicate() {
            return Ok(Pipes::take(proc, pid, process, number)?.map(Way::Pipes).map(Self));
        }
        let socket = process.duplicate(number)?;
        if socket::maker(&socket) != Some((pid, 0)) {
            return Ok(None);
        }
        let socket = UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Some(Self(Way::Socket(socket))))
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// The other side is gone, or has not read what was sent before.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        match &self.0 {
            Way::Socket(socket) => socket.send(message).map(drop),
            Way::Pipes(pipes) => pipes.send(message),
        }
    }

    /// The next message.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no message has come.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        match &self.0 {
            Way::Socket(socket) => {
                let mut message = vec![0; MESSAGE_ROOM];
                let length = socket.recv(&mut message)?;
                message.truncate(length);
                Ok(message)
            }
            Way::Pipes(pipes) => pipes.from.receive(),
        }
    }
}

/// It is ready to read when a message has come.
impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Way::Socket(socket) => socket.as_fd(),
            Way::Pipes(pipes) => pipes.from.pipe.as_fd(),
        }
    }
}

fn socket_pair() -> io::Result<(Channel, Offer)> {
    let (ours, theirs) = UnixDatagram::pair()?;
    ours.set_nonblocking(true)?;
    let offer = Offer { number: theirs.as_raw_fd(), _ends: vec![theirs.into()] };
    Ok((Channel(Way::Socket(ours)), offer))
}

/// A message in a pipe follows its length, which has this many bytes.
const LENGTH_SIZE: usize = size_of::<u32>();

/// A channel of two pipes.
#[derive(Debug)]
struct Pipes {
    from: MessageReader,
    to: File,
}

impl Pipes {
    /// The first message tells the helper the number of the pipe for its answers.
    fn offer() -> io::Result<(Channel, Offer)> {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let ((requests, to), (from, answers)) = (pipe2(flags)?, pipe2(flags)?);
        let ours = Self { from: MessageReader::of(from.into()), to: to.into() };
        ours.send(&answers.as_raw_fd().to_ne_bytes())?;
        let offer = Offer { number: requests.as_raw_fd(), _ends: vec![requests, answers] };
        Ok((Channel(Way::Pipes(ours)), offer))
    }

    fn take(proc: &Proc, pid: Pid, process: &PidFd, number: RawFd) -> io::Result<Option<Self>> {
        // A setuid program may have inherited a pipe from its user. Its real user ID is the user's.
        if proc.all_uids(pid) != Some([0; 4]) {
            return Ok(None);
        }
        let open = |fd, options: &mut OpenOptions| roots_pipe(proc, pid, fd, options);
        let Some(requests) = open(number, OpenOptions::new().read(true))? else { return Ok(None) };
        let from = MessageReader::of(requests);
        let Ok(answers) = from.receive()?.try_into() else { return Ok(None) };
        let answers = open(RawFd::from_ne_bytes(answers), OpenOptions::new().write(true))?;
        // If the process still exists, no other process has had its PID meanwhile.
        Ok(answers.filter(|_| !process.has_exited()).map(|to| Self { from, to }))
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        (&self.to).write_all(&[&length.to_ne_bytes(), message].concat())
    }
}

/// The end of a pipe from which messages are read.
#[derive(Debug)]
struct MessageReader {
    pipe: File,
    /// The bytes of a message that is not complete yet.
    part: RefCell<Vec<u8>>,
}

impl MessageReader {
    fn of(pipe: File) -> Self {
        Self { pipe, part: RefCell::default() }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut part = self.part.borrow_mut();
        loop {
            let missing = missing(&part)?;
            if missing == 0 {
                return Ok(std::mem::take(&mut *part).split_off(LENGTH_SIZE));
            }
            let mut more = vec![0; missing];
            match (&self.pipe).read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => part.extend(more.iter().take(count)),
            }
        }
    }
}

/// How many bytes are missing of a message, or of its length.
fn missing(part: &[u8]) -> io::Result<usize> {
    let Some((length, message)) = part.split_first_chunk::<LENGTH_SIZE>() else {
        return Ok(LENGTH_SIZE.saturating_sub(part.len()));
    };
    let length = usize::try_from(u32::from_ne_bytes(*length)).map_err(io::Error::other)?;
    if length > MESSAGE_ROOM {
        return Err(io::Error::other("the message is too long"));
    }
    Ok(length.saturating_sub(message.len()))
}

/// Opens a pipe that another process has open. `None` if it is not a pipe, or root has not made it.
fn roots_pipe(proc: &Proc, pid: Pid, fd: RawFd, options: &mut OpenOptions) -> io::Result<Option<File>> {
    // This opens nothing yet. If the process opens something else by this number, we keep what was there.
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(proc.descriptor(pid, fd))?;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    // Another file has a path here. It may be on a file system that does not answer, so nothing else is asked of it.
    let is_pipe = fs::read_link(&path)?.to_string_lossy().starts_with("pipe:[");
    if !is_pipe || held.metadata()?.uid() != 0 {
        return Ok(None);
    }
    options.custom_flags(libc::O_NONBLOCK).open(path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::offload::{self, Offload};
    use crate::sys::once_closed::once_closed;
    use crate::sys::stat_file::asleep;
    use std::os::unix::fs::fchown;

    /// Takes a channel that this process has offered itself.
    fn taken(number: RawFd, pipes: bool) -> io::Result<Option<Channel>> {
        let (proc, pid) = (Proc::default(), Pid::this());
        let process = PidFd::open(pid).unwrap();
        if pipes {
            return Ok(Pipes::take(&proc, pid, &process, number)?.map(Way::Pipes).map(Channel));
        }
        Channel::take(&proc, pid, &process, number)
    }

    fn would_block(channel: &Channel) -> bool {
        channel.receive().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn whole_messages_go_both_ways() {
        if !nix::unistd::geteuid().is_root() {
            // Only what root has made is taken.
            let (_ours, offer) = Pipes::offer().unwrap();
            return assert!(taken(offer.number, true).unwrap().is_none());
        }
        for pipes in [false, true] {
            let (ours, offer) = if pipes { Pipes::offer() } else { Channel::offer() }.unwrap();
            let long = vec![7; 16 * 1024];
            ours.send(&long).unwrap();
            let theirs = taken(offer.number, pipes).unwrap().expect("a channel of root");
            assert_eq!(theirs.receive().unwrap(), long);
            assert!(would_block(&theirs) && would_block(&ours));
            for message in [&b"begun"[..], &long, b"done"] {
                theirs.send(message).unwrap();
            }
            for message in [&b"begun"[..], &long, b"done"] {
                assert_eq!(ours.receive().unwrap(), message);
            }
            assert!(would_block(&ours));
        }
    }

    #[test]
    fn what_root_has_not_made_is_no_channel() {
        let (_ours, offer) = Pipes::offer().unwrap();
        let users = &offer._ends[1];
        if nix::unistd::geteuid().is_root() {
            fchown(users, Some(65_534), None).unwrap();
            assert!(taken(offer.number, true).unwrap().is_none(), "the answers");
        }
        let (null, (socket, _other)) = (File::open("/dev/null").unwrap(), UnixDatagram::pair().unwrap());
        // To open a named pipe may take forever.
        let named = std::env::temp_dir().join(format!("pam_idle_watchdog-fifo-{}", std::process::id()));
        nix::unistd::mkfifo(&named, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        let fifo = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&named);
        fs::remove_file(&named).unwrap();
        for number in [users.as_raw_fd(), null.as_raw_fd(), socket.as_raw_fd(), fifo.unwrap().as_raw_fd()] {
            assert!(taken(number, true).unwrap().is_none(), "{number}");
        }
        assert!(taken(i32::MAX, true).is_err() || !nix::unistd::geteuid().is_root());
    }

    #[test]
    fn a_process_that_is_not_wholly_roots_or_has_ended_offers_nothing() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let told = Offload::default().run(|pipe| {
            let [(_a, roots), (_b, users)] = [(); 2].map(|()| Pipes::offer().unwrap());
            let before = taken(roots.number, true).unwrap().is_some();
            let (nobody, root) = (65_534.into(), 0.into());
            nix::unistd::setresuid(nobody, root, root).unwrap();
            offload::answer(pipe, &[before, taken(users.number, true).unwrap().is_some()].map(u8::from));
        });
        assert_eq!(told, [1, 0]);
        let mut child = asleep();
        let ended = PidFd::open(Pid::from_raw(child.id() as i32)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (_ours, offer) = Pipes::offer().unwrap();
        assert!(Pipes::take(&Proc::default(), Pid::this(), &ended, offer.number).unwrap().is_none());
    }

    #[test]
    fn a_part_of_a_message_is_kept_until_the_rest_comes() {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let (from, to) = pipe2(flags).unwrap();
        let (reader, mut writer) = (MessageReader::of(from.into()), File::from(to));
        let mut message = 5u32.to_ne_bytes().to_vec();
        message.extend(b"hello");
        for byte in &message {
            assert_eq!(reader.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            writer.write_all(&[*byte]).unwrap();
        }
        assert_eq!(reader.receive().unwrap(), b"hello");
        writer.write_all(&0u32.to_ne_bytes()).unwrap();
        assert_eq!(reader.receive().unwrap(), b"");
        writer.write_all(&u32::MAX.to_ne_bytes()).unwrap();
        assert!(reader.receive().unwrap_err().to_string().contains("too long"));
        let (from, to) = pipe2(flags).unwrap();
        drop(to);
        let reader = MessageReader::of(from.into());
        once_closed(|| reader.receive().unwrap_err().kind() == io::ErrorKind::UnexpectedEof);
    }
}
