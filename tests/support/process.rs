//! The processes of a private sshd, read from `/proc`.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{now, until};

/// The helper's command name, as truncated by the kernel.
pub const HELPER_COMM: &str = "pam_idle_watchd";

/// A process at one moment.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub comm: String,
    pub state: char,
    pub ppid: i32,
    pub sid: i32,
    pub tty: i32,
    pub uid: u32,
    /// In ticks since boot. The PID and this time identify a process.
    pub started: u64,
}

/// Whether it is the same process, even if its state has changed.
impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

impl Eq for Process {}

impl Process {
    /// Reads `/proc/PID`. `None` if the process does not exist any more.
    pub fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let comm = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            pid,
            comm,
            state: fields.first()?.chars().next()?,
            ppid: number(1)?,
            sid: number(3)?,
            tty: number(4)?,
            started: fields.get(19)?.parse().ok()?,
            uid: status_field(&status, "Uid")?.split_whitespace().next()?.parse().ok()?,
        })
    }

    /// Whether its command line starts like this.
    pub fn is_running(&self, command: &str) -> bool {
        let words = std::fs::read(self.file("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ").starts_with(command)
    }

    /// The file `name` in this process's `/proc` directory.
    pub fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// The text of a file in this process's `/proc` directory.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name} of {self:?}: {error}"))
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> String {
        status_field(&self.text("status"), field)
            .unwrap_or_else(|| panic!("no {field} in the status of {self:?}"))
    }

    pub fn kill(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap_or_else(|e| panic!("{signal} {self:?}: {e}"));
    }

    /// Waits until the process has ended, and returns when. `None` at the deadline.
    pub fn wait_gone(&self, deadline: Instant) -> Option<Instant> {
        if super::old_kernel() {
            return self.wait_gone_without_pidfd(deadline);
        }
        let Some(pidfd) = pidfd_open(self.pid) else {
            return Some(now());
        };
        // Another process may have got the PID before it was opened.
        if Self::read(self.pid).is_none_or(|other| other.started != self.started) {
            return Some(now());
        }
        let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(until(deadline)).expect("a poll timeout");
        let ended = poll(&mut ready, timeout).expect("poll a pidfd") == 1;
        ended.then(now)
    }

    fn wait_gone_without_pidfd(&self, deadline: Instant) -> Option<Instant> {
        loop {
            let process = Self::read(self.pid).filter(|process| process.started == self.started);
            if process.is_none_or(|process| matches!(process.state, 'Z' | 'X')) {
                return Some(now());
            }
            if now() > deadline {
                return None;
            }
            // Many tests wait at the same time, so none of them may keep a processor busy.
            poll(&mut [], 5u16).expect("a pause");
        }
    }
}

/// All processes, including zombies.
pub fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .expect("read /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// Waits until `list` is empty. The error is what remains at the deadline.
pub fn wait_none(list: impl Fn() -> Vec<Process>, timeout: Duration) -> Result<(), Vec<Process>> {
    let deadline = now() + timeout;
    loop {
        let left = list();
        let Some(first) = left.first() else {
            return Ok(());
        };
        // An ended process is listed until it is reaped. Its pidfd does not report that, so let the reaper run.
        if first.wait_gone(deadline).is_none() {
            return Err(left);
        }
        std::thread::yield_now();
        if until(deadline).is_zero() {
            let left = list();
            return if left.is_empty() { Ok(()) } else { Err(left) };
        }
    }
}

/// A field of `/proc/PID/status`.
pub fn status_field(status: &str, field: &str) -> Option<String> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and accesses no memory of this process.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just created this descriptor, so nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until `look` finds something.
pub fn wait_some<T>(look: impl Fn() -> Option<T>, timeout: Duration) -> Option<T> {
    let deadline = now() + timeout;
    loop {
        let found = look();
        if found.is_some() || now() > deadline {
            return found;
        }
        std::thread::yield_now();
    }
}
