//! Asks the terminal driver: which input nobody has read yet, and which terminal belongs to a pty master.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{posix_openpt, unlockpt};
use nix::sys::stat::futimens;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use super::devnode::{self, DeviceId};
use super::syscall::new_descriptor;

/// The bytes in a terminal's input queue that nobody has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// How many (`FIONREAD`). In canonical mode only complete lines count.
    pub count: u32,
    /// The local modes that decide what is counted. Counts of different modes cannot be compared.
    pub mode: u32,
}

impl Unread {
    /// The bytes that pass the value from one process to another.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.count) << 32 | u64::from(self.mode)).to_ne_bytes()
    }

    /// Reads what [`Unread::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_ne_bytes(bytes);
        let half = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(0);
        Self { count: half(both >> 32), mode: half(both) }
    }
}

/// The unread input of a terminal. The terminal's owner may make this call hang for as long as they like, so
/// run it in [`Offload`](super::offload::Offload).
///
/// # Errors
///
/// The node is gone or is another device, the line discipline does not tell, or the queue or its mode changes
/// at this moment.
pub fn unread(path: &Path, id: DeviceId) -> io::Result<Unread> {
    unread_of(&devnode::open(path, id, OpenOptions::new().read(true))?)
}

/// The same for an open terminal.
///
/// # Errors
///
/// The errors of [`unread`].
pub fn unread_of(tty: &File) -> io::Result<Unread> {
    /// A program may switch the mode between our reads, and back, but not so often.
    const COUNTS: usize = 16;
    let found = count(tty)?;
    for _ in 1..COUNTS {
        if count(tty)? != found {
            return Err(io::Error::other("the queue is changing"));
        }
    }
    Ok(found)
}

/// Reads the mode, then the count.
fn count(tty: &File) -> io::Result<Unread> {
    let counted = LocalFlags::ICANON | LocalFlags::EXTPROC;
    let mode = tcgetattr(tty)?.local_flags & counted;
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores one int, and the pointer is to one that outlives the call.
    Errno::result(unsafe { libc::ioctl(tty.as_raw_fd(), libc::FIONREAD, &raw mut count) })?;
    Ok(Unread { count: u32::try_from(count).map_err(io::Error::other)?, mode: mode.bits() })
}

/// Writes a text, if the terminal takes it at once. It may hang like [`unread`], so run it in
/// [`Offload`](super::offload::Offload).
///
/// # Errors
///
/// `WouldBlock` if the terminal is stopped (^S) or full. Others if the terminal is gone or is another device.
pub fn write(path: &Path, id: DeviceId, text: &str) -> io::Result<()> {
    let mut tty = devnode::open(path, id, OpenOptions::new().write(true))?;
    match tty.write(text.as_bytes())? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// Whether a device number belongs to a terminal. The list of drivers tells (proc_tty(5)), because the device
/// itself could hang.
#[must_use]
pub fn is_terminal(device: u64) -> bool {
    let drivers = std::fs::read_to_string("/proc/tty/drivers").unwrap_or_default();
    let major = nix::sys::stat::major(device).to_string();
    // "pty_slave  /dev/pts  136 0-1048575 pty:slave"
    drivers.lines().any(|line| line.split_whitespace().nth(2) == Some(&*major))
}

/// Whether a device number belongs to a virtual console: `/dev/tty1` to `/dev/tty63`
/// (Documentation/admin-guide/devices.txt).
#[must_use]
pub fn is_virtual_console(device: u64) -> bool {
    const TTY: u64 = 4;
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    major == TTY && (1..=63).contains(&minor)
}

/// How many columns and rows a terminal shows. Each is `None` if it is not known.
#[must_use]
pub fn size(terminal: &impl AsRawFd) -> (Option<usize>, Option<usize>) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ stores one winsize, and the pointer is to one that outlives the call.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    let known = |count: u16| Some(usize::from(count)).filter(|count| done == 0 && *count > 0);
    (known(size.ws_col), known(size.ws_row))
}

/// Whether a virtual console is in graphics mode, which a display server sets (`KDGETMODE`, ioctl_console(2)).
/// It may hang like [`unread`], so run it in [`Offload`](super::offload::Offload).
///
/// # Errors
///
/// `ENOTTY` if it is not a virtual console. Others if it is gone or is another device.
pub fn is_graphical(path: &Path, id: DeviceId) -> io::Result<bool> {
    /// It is in include/uapi/linux/kd.h. The libc crate does not have it.
    const KDGETMODE: libc::Ioctl = 0x4b3b;
    const KD_GRAPHICS: libc::c_int = 1;
    let console = devnode::open(path, id, OpenOptions::new().read(true))?;
    let mut mode: libc::c_int = 0;
    // SAFETY: KDGETMODE stores one int, and the pointer is to one that outlives the call.
    Errno::result(unsafe { libc::ioctl(console.as_raw_fd(), KDGETMODE, &raw mut mode) })?;
    Ok(mode == KD_GRAPHICS)
}

/// The terminal on the other side of a pty master, with any path (`TIOCGPTPEER`, Linux 4.13).
///
/// # Errors
///
/// The errors of ioctl(2). `ENOTTY` if the descriptor is not a pty master.
pub fn peer(master: &impl AsRawFd) -> io::Result<File> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open(2) flags by value and does not touch our memory.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    // SAFETY: TIOCGPTPEER returns a new descriptor.
    unsafe { new_descriptor(result) }.map(File::from)
}

/// The number of the pty that a master belongs to (`TIOCGPTN`).
///
/// # Errors
///
/// The errors of ioctl(2). `ENOTTY` if the descriptor is not a pty master.
pub fn number(master: &impl AsRawFd) -> io::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN stores one unsigned int, and the pointer is to one that outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    Ok(number)
}

/// The session (setsid(2)) whose controlling terminal is the terminal of a pty master (`TIOCGSID`). `None` if
/// there is none. A session outside this process's PID namespace is 0.
///
/// The ioctl takes no lock that the terminal's owner could keep. But closing the master may take as long as
/// they like, because the last close hangs up the terminal.
///
/// # Errors
///
/// The errors of ioctl(2).
pub fn session(master: &impl AsRawFd) -> io::Result<Option<Pid>> {
    let mut session: libc::pid_t = 0;
    // SAFETY: TIOCGSID stores one pid_t, and the pointer is to one that outlives the call.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGSID, &raw mut session) };
    match Errno::result(done) {
        Ok(_) => Ok(Some(Pid::from_raw(session))),
        // Either nobody has the master's terminal, or the descriptor is not a master.
        Err(Errno::ENOTTY) => number(master).map(|_| None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the kernel notes a read through `/dev/tty` on the terminal's own node. It does since Linux 6.5, and
/// in older kernels with a backport. This function tries it with a new pty, which becomes this process's
/// controlling terminal for a moment. The process must be a session leader without a controlling terminal, and
/// must block SIGHUP.
///
/// # Errors
///
/// A step failed, so the answer is unknown.
pub fn notes_reads_through_dev_tty() -> io::Result<bool> {
    let mut master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    unlockpt(&master)?;
    let slave = peer(&master)?;
    let long_ago = TimeSpec::new(0, 0);
    futimens(&slave, &long_ago, &long_ago)?;
    // SAFETY: TIOCSCTTY takes an int by value and does not touch our memory.
    Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    let mut read = || -> io::Result<()> {
        let mut tty = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/tty")?;
        master.write_all(b"\n")?;
        tty.read_exact(&mut [0])
    };
    let done = read();
    // SAFETY: TIOCNOTTY takes no argument.
    unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCNOTTY) };
    done?;
    Ok(devnode::of_file(&slave)?.1.atime != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_may_know_its_columns_alone() {
        let winsize = |ws_row, ws_col| nix::pty::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        for (rows, columns, found) in
            [(24, 80, (Some(80), Some(24))), (0, 80, (Some(80), None)), (0, 0, (None, None))]
        {
            let pty = nix::pty::openpty(Some(&winsize(rows, columns)), None).unwrap();
            assert_eq!(size(&pty.slave), found);
        }
        assert_eq!(size(&std::fs::File::open("/dev/null").unwrap()), (None, None));
    }

    #[test]
    fn a_master_knows_its_number_and_that_nobody_has_its_terminal() {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        let name = nix::pty::ptsname_r(&master).unwrap();
        assert_eq!(name, format!("/dev/pts/{}", number(&master).unwrap()));
        assert_eq!(session(&master).unwrap(), None);
        let null = File::open("/dev/null").unwrap();
        assert!(number(&null).is_err() && session(&null).is_err());
    }
}
