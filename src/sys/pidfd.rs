//! Handles of processes. Unlike a PID, a handle always means the same process. It is a pidfd (pidfd_open(2), Linux 5.3). On
//! an older kernel it is an open file of `/proc`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::clock::{Moment, Nanos, SECOND, poll_until, timeout};
use super::newer_calls::{PIDFD_GETFD, PIDFD_OPEN, PIDFD_SEND_SIGNAL};
use super::proc::{Proc, ProcId};
use super::stat_file::StatFile;
use super::syscall::new_descriptor;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// A descriptor of one process, alive or dead.
#[derive(Debug)]
pub struct PidFd(OpenProcess);

#[derive(Debug)]
enum OpenProcess {
    Pidfd(OwnedFd),
    Stat(StatFile),
}

/// Whether the kernel has pidfds and sends signals to them.
fn has_pidfds() -> bool {
    !PIDFD_OPEN.is_missing() && !PIDFD_SEND_SIGNAL.is_missing()
}

impl PidFd {
    /// # Errors
    ///
    /// `ESRCH` if there is no such process (a zombie still is a process), `EINVAL` if the PID belongs to a
    /// thread (an old kernel does not tell that), `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn open(pid: Pid) -> io::Result<Self> {
        if !has_pidfds() {
            return StatFile::open(pid).map(OpenProcess::Stat).map(Self);
        }
        // SAFETY: pidfd_open takes two integers and does not touch our memory.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        // SAFETY: pidfd_open(2) returns a new descriptor.
        unsafe { new_descriptor(result) }.map(OpenProcess::Pidfd).map(Self)
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
        match &self.0 {
            OpenProcess::Pidfd(fd) => fd.try_clone().map(OpenProcess::Pidfd).map(Self),
            OpenProcess::Stat(file) => file.try_clone().map(OpenProcess::Stat).map(Self),
        }
    }

    /// Sends a signal by number.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process is gone, `EPERM` if a security module forbids the signal.
    pub fn send(&self, signal: i32) -> io::Result<()> {
        let done = match &self.0 {
            // SAFETY: the descriptor is open. According to its documentation, the call accepts a null siginfo and
            // then works like kill(2).
            OpenProcess::Pidfd(fd) => unsafe {
                let (fd, info) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
                libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0)
            },
            OpenProcess::Stat(file) => {
                let pid = file.process()?.id.pid.as_raw();
                // SAFETY: kill(2) takes integers.
                unsafe { libc::kill(pid, signal) }.into()
            }
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
        let done = match &self.0 {
            // SAFETY: the descriptor is open, and `info` outlives the call.
            OpenProcess::Pidfd(fd) => unsafe {
                libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, &raw const info, 0)
            },
            OpenProcess::Stat(file) => {
                let pid = file.process()?.id.pid.as_raw();
                // SAFETY: `info` outlives the call.
                unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, &raw const info) }
            }
        };
        Errno::result(done)?;
        Ok(())
    }

    /// Whether the process has ended, even if it is not reaped yet.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        match &self.0 {
            OpenProcess::Pidfd(fd) => {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
            }
            OpenProcess::Stat(file) => file.has_exited(),
        }
    }

    /// Waits until the process has ended, but no longer than `longest`.
    pub fn wait_for_exit(&self, longest: Nanos) {
        let _ = wait(&[self], &mut [], Moment::now().mono.saturating_add(longest));
    }

    /// Whether the kernel can duplicate descriptors of other processes at all.
    #[must_use]
    pub fn can_duplicate() -> bool {
        has_pidfds() && !PIDFD_GETFD.is_missing()
    }

    /// Duplicates one of the process's descriptors (pidfd_getfd(2), Linux 5.6).
    ///
    /// # Errors
    ///
    /// `EPERM` without the right to trace the process, `EBADF` if it has no such descriptor. `Unsupported` if the kernel
    /// lacks the call.
    pub fn duplicate(&self, target: RawFd) -> io::Result<OwnedFd> {
        let OpenProcess::Pidfd(fd) = &self.0 else { return Err(Errno::ENOSYS.into()) };
        if !Self::can_duplicate() {
            return Err(Errno::ENOSYS.into());
        }
        // SAFETY: pidfd_getfd takes three integers and does not touch our memory.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd.as_raw_fd(), target, 0) };
        // SAFETY: pidfd_getfd(2) returns a new descriptor.
        unsafe { new_descriptor(result) }
    }
}

/// A descriptor that another process of this machine has opened with [`PidFd::open`].
impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        Self(if has_pidfds() { OpenProcess::Pidfd(fd) } else { OpenProcess::Stat(fd.into()) })
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        match &self.0 {
            OpenProcess::Pidfd(fd) => fd.as_raw_fd(),
            OpenProcess::Stat(file) => file.as_raw_fd(),
        }
    }
}

/// Waits until one of the processes has ended or one of the descriptors is ready. Returns `false` if the monotonic clock
/// reaches `due` first. [`PidFd::has_exited`] tells which process has ended.
///
/// # Errors
///
/// The errors of poll(2), except that a signal does not end the wait.
pub fn wait(processes: &[&PidFd], fds: &mut [PollFd<'_>], due: Nanos) -> Result<bool, Errno> {
    let pidfds = processes.iter().filter_map(|process| match &process.0 {
        OpenProcess::Pidfd(fd) => Some(PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        OpenProcess::Stat(_) => None,
    });
    let mut all: Vec<PollFd<'_>> = pidfds.collect();
    if all.len() < processes.len() {
        return look_again_and_again(processes, fds, due);
    }
    all.extend(fds.iter().cloned());
    if !poll_until(&mut all, due)? {
        return Ok(false);
    }
    // The caller wants to know which of its own descriptors are ready.
    while poll(fds, PollTimeout::ZERO) == Err(Errno::EINTR) {}
    Ok(true)
}

/// The same if the kernel does not tell when a process ends.
///
/// A process that is waited for often ends soon. The longer it has not, the longer are the pauses between two looks.
fn look_again_and_again(processes: &[&PidFd], fds: &mut [PollFd<'_>], due: Nanos) -> Result<bool, Errno> {
    let begun = Moment::now().mono;
    loop {
        let now = Moment::now().mono;
        let exited = processes.iter().any(|process| process.has_exited());
        if !exited && now >= due {
            return Ok(false);
        }
        let longest = pause_after(now.saturating_sub(begun)).min(due.saturating_sub(now));
        match poll(fds, if exited { PollTimeout::ZERO } else { timeout(longest) }) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) if !exited => {}
            Ok(_) => return Ok(true),
        }
    }
}

/// The pause before the next look at processes that have been waited for this long.
///
/// An exit is noticed late by at most an eighth of the wait, or 20 ms if that is longer, but never by more than a second.
/// One look takes about ten microseconds for each process.
fn pause_after(waited: Nanos) -> Nanos {
    const FIRST_PAUSE: Nanos = SECOND / 50;
    const LAST_PAUSE: Nanos = SECOND;
    (waited / 8).clamp(FIRST_PAUSE, LAST_PAUSE)
}

#[cfg(test)]
impl PidFd {
    /// The handle that an old kernel would give.
    pub(super) fn without_pidfd(pid: Pid) -> Self {
        Self(OpenProcess::Stat(StatFile::open(pid).unwrap()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::offload::{self, Offload};
    use crate::sys::signals::Signals;
    use crate::sys::stat_file::asleep;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Child;

    /// Two handles of the same process: that of this kernel, and that of an old one.
    fn sleeping() -> (Child, [PidFd; 2]) {
        let child = asleep();
        let pid = Pid::from_raw(child.id() as i32);
        (child, [PidFd::open(pid).unwrap(), PidFd::without_pidfd(pid)])
    }

    #[test]
    fn a_signal_reaches_the_process_and_no_other() {
        for which in 0..2 {
            let (mut child, handles) = sleeping();
            let handle = &handles[which];
            handle.send(0).unwrap();
            handle.send(libc::SIGKILL).unwrap();
            handle.wait_for_exit(60 * SECOND);
            // A zombie still is a process.
            assert!(handle.has_exited() && handle.send(0).is_ok(), "{handle:?}");
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            for gone in [handle.send(libc::SIGKILL), handle.queue(libc::SIGKILL, 0)] {
                assert_eq!(gone.unwrap_err().raw_os_error(), Some(Errno::ESRCH as i32), "{handle:?}");
            }
            assert!(handle.has_exited() && handle.try_clone().unwrap().has_exited());
        }
    }

    #[test]
    fn a_value_comes_with_a_signal() {
        for old in [false, true] {
            // The signal goes to a child, because the other threads of this process do not block it.
            let came = Offload::default().run(|pipe| {
                let signals = Signals::block().unwrap();
                let me = nix::unistd::getpid();
                let handle = if old { PidFd::without_pidfd(me) } else { PidFd::open(me).unwrap() };
                handle.queue(libc::SIGUSR1, -42).unwrap();
                let came = signals.take();
                let said = came.iter().map(|came| (came.signal, came.value, came.sender == me));
                offload::answer(pipe, format!("{:?}", said.collect::<Vec<_>>()).as_bytes());
            });
            assert_eq!(String::from_utf8(came).unwrap(), format!("[({}, -42, true)]", libc::SIGUSR1));
        }
    }

    #[test]
    fn a_wait_ends_with_an_exit_or_a_message_or_the_time() {
        for which in 0..2 {
            let (mut child, handles) = sleeping();
            let processes = [&handles[which]];
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
            let ready = |fds: &[PollFd; 1]| fds[0].any().unwrap();
            let begun = Moment::now().mono;
            assert_eq!(wait(&processes, &mut fds, begun + SECOND / 10), Ok(false));
            assert!(Moment::now().mono >= begun + SECOND / 10 && !ready(&fds));
            theirs.write_all(b"x").unwrap();
            let due = begun + 60 * SECOND;
            assert_eq!(wait(&processes, &mut fds, due), Ok(true));
            assert!(ready(&fds) && !processes[0].has_exited());
            child.kill().unwrap();
            assert_eq!(wait(&processes, &mut [], due), Ok(true));
            assert!(processes[0].has_exited());
            // After an exit, it also tells which descriptors are ready.
            let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
            assert_eq!((wait(&processes, &mut fds, due), ready(&fds)), (Ok(true), true));
            assert!(Moment::now().mono < due);
            child.wait().unwrap();
        }
    }

    #[test]
    fn the_pauses_of_a_wait_grow_to_a_second() {
        assert_eq!(pause_after(0), SECOND / 50);
        assert_eq!(pause_after(4 * SECOND), SECOND / 2);
        assert_eq!(pause_after(100 * SECOND), SECOND);
    }

    #[test]
    fn an_old_handle_does_not_duplicate() {
        let (mut child, [_, old]) = sleeping();
        assert_eq!(old.duplicate(0).unwrap_err().kind(), io::ErrorKind::Unsupported);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
