//! A process by its open `/proc/PID/stat`, for kernels without pidfds.
//!
//! The open file belongs to that one process: after its end the kernel answers ESRCH, even if another process has its PID by
//! then. Each look is one system call and needs no other descriptor.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::proc::{Process, parse_stat};

/// One process, alive or dead.
#[derive(Debug)]
pub(super) struct StatFile(File);

impl StatFile {
    /// # Errors
    ///
    /// `ESRCH` if there is no such process (a zombie still is a process). `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn open(pid: Pid) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/stat")).map(Self).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Errno::ESRCH.into(),
            _ => e,
        })
    }

    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` if no descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The process, or the zombie that is left of it.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it is gone.
    pub fn process(&self) -> io::Result<Process> {
        /// The line has 52 fields, most of them short.
        const LINE_ROOM: usize = 2048;
        let mut line = [0; LINE_ROOM];
        let length = self.0.read_at(&mut line, 0)?;
        let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        // kill(2) takes other numbers for groups of processes.
        let pid = line.split(' ').next().and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
        pid.and_then(|pid| parse_stat(Pid::from_raw(pid), &line))
            .ok_or_else(|| io::Error::other("the stat of the process cannot be read"))
    }

    /// Whether the process has ended, even if it is not reaped yet. `false` if that is not known.
    pub fn has_exited(&self) -> bool {
        match self.process() {
            Ok(process) => process.dead,
            Err(e) => e.raw_os_error() == Some(Errno::ESRCH as i32),
        }
    }
}

impl From<OwnedFd> for StatFile {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl AsRawFd for StatFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A process that waits to be killed. It keeps nothing of ours open.
#[cfg(test)]
pub(super) fn asleep() -> std::process::Child {
    use std::process::{Command, Stdio};
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Child;

    fn sleeping() -> (Child, StatFile) {
        let child = asleep();
        let file = StatFile::open(Pid::from_raw(child.id() as i32)).unwrap();
        (child, file)
    }

    #[test]
    fn it_tells_the_end_of_its_process() {
        let (mut child, file) = sleeping();
        assert_eq!(file.process().unwrap().id.pid.as_raw(), child.id() as i32);
        assert!(!file.has_exited() && !file.try_clone().unwrap().has_exited());
        child.kill().unwrap();
        // The child is not reaped yet.
        while !file.has_exited() {
            std::thread::yield_now();
        }
        assert!(file.process().unwrap().dead);
        child.wait().unwrap();
        assert_eq!(file.process().unwrap_err().raw_os_error(), Some(Errno::ESRCH as i32));
        assert!(file.has_exited());
        let none = StatFile::open(Pid::from_raw(i32::MAX)).unwrap_err();
        assert_eq!(none.raw_os_error(), Some(Errno::ESRCH as i32));
    }

    #[test]
    fn what_is_no_stat_is_no_exit() {
        let file = StatFile::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        assert!(!file.has_exited());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_meant() {
        // Root can choose the next PID, if the kernel was built so. Another process may get it first.
        const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
        if !nix::unistd::geteuid().is_root() || !fs::exists(LAST_PID).unwrap() {
            return;
        }
        for _ in 0..1000 {
            let (mut first, file) = sleeping();
            first.kill().unwrap();
            first.wait().unwrap();
            fs::write(LAST_PID, (first.id() - 1).to_string()).unwrap();
            let mut second = asleep();
            let same = second.id() == first.id();
            let (exited, process) = (file.has_exited(), file.process().ok());
            second.kill().unwrap();
            second.wait().unwrap();
            if same {
                assert!(exited && process.is_none(), "{process:?}");
                return;
            }
        }
        panic!("no PID was used again");
    }
}
