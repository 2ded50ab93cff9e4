//! pidfds (pidfd_open(2), Linux 5.3). Unlike a PID, a pidfd always means the same process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::clock::{Nanos, timeout};
use super::proc::{Proc, ProcId};
use super::syscall::new_descriptor;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// A descriptor of one process, alive or dead.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// # Errors
    ///
    /// `ESRCH` if there is no such process (a zombie still is a process), `EINVAL` if the PID belongs to a
    /// thread, `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers and does not touch our memory.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        // SAFETY: pidfd_open(2) returns a new descriptor.
        unsafe { new_descriptor(result) }.map(Self)
    }

    /// A descriptor of this process. `None` if the process is gone, even if another process has its PID now.
    #[must_use]
    pub fn of(proc: &Proc, id: ProcId) -> Option<Self> {
        let pidfd = Self::open(id.pid).ok()?;
        proc.find(id).is_some().then_some(pidfd)
    }

    /// Another descriptor of the same process.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends a signal by number.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process is gone, `EPERM` if a security module forbids the signal.
    pub fn send(&self, signal: i32) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open. According to its documentation, the call accepts a null siginfo and
        // then works like kill(2).
        let done = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0)
        };
        Errno::result(done)?;
        Ok(())
    }

    /// Sends a signal with a value, as sigqueue(3) does.
    ///
    /// # Errors
    ///
    /// The errors of [`PidFd::send`]. `EAGAIN` if too many signals are waiting.
    pub fn queue(&self, signal: i32, value: i32) -> io::Result<()> {
        /// The fields after the code of a queued signal, see sigaction(2). `value` is `sival_int`.
        #[repr(C)]
        struct Queued {
            pid: libc::pid_t,
            uid: libc::uid_t,
            value: libc::c_int,
        }
        // They are in a union that may contain a pointer.
        const AT: usize = (3 * size_of::<libc::c_int>()).next_multiple_of(align_of::<*const ()>());
        // SAFETY: all-zero is a valid siginfo.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        (info.si_signo, info.si_code) = (signal, libc::SI_QUEUE);
        let (pid, uid) = (nix::unistd::getpid().as_raw(), nix::unistd::getuid().as_raw());
        let place = (&raw mut info).cast::<u8>().wrapping_add(AT).cast::<Queued>();
        // SAFETY: the union starts there and has at least 112 bytes, all of them in `info`.
        unsafe { place.write_unaligned(Queued { pid, uid, value }) };
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open, and `info` outlives the call.
        let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, &raw const info, 0) };
        Errno::result(done)?;
        Ok(())
    }

    /// Whether the process has ended, even if it is not reaped yet.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
    }

    /// Waits until the process has ended, but no longer than `longest`.
    pub fn wait_for_exit(&self, longest: Nanos) {
        let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout(longest));
    }

    /// Duplicates one of the process's descriptors (pidfd_getfd(2), Linux 5.6).
    ///
    /// # Errors
    ///
    /// `EPERM` without the right to trace the process, `EBADF` if it has no such descriptor.
    pub fn duplicate(&self, target: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: pidfd_getfd takes three integers and does not touch our memory.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), target, 0) };
        // SAFETY: pidfd_getfd(2) returns a new descriptor.
        unsafe { new_descriptor(result) }
    }
}

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
