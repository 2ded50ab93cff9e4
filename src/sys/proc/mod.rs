//! Reads `/proc/PID`, below a root that tests may choose. A process may lie about its name, vanish between two
//! reads, or be hidden. In doubt a function returns `None` or an error. It never guesses.
#![forbid(unsafe_code)]

mod parse;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use nix::unistd::Pid;

pub use self::parse::{
    parse_all_uids, parse_ignored, parse_newest, parse_pending, parse_socket, parse_stat, parse_tty_index,
    parse_uids, parse_usage,
};

use super::clock::Nanos;
use super::devnode::DeviceId;
use super::link;

/// When a process was started, in nanoseconds on the boot clock, exact to 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Started(pub Nanos);

/// Identifies a process forever. The kernel uses a PID again, but not within the same 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcId {
    pub pid: Pid,
    pub started: Started,
}

/// An audit session id, which pam_loginuid(8) sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSession(pub u32);

impl fmt::Display for AuditSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub id: ProcId,
    pub parent: Pid,
    /// Its session (setsid(2)). 0 if that is outside of our PID namespace.
    pub session: Pid,
    /// The device number of its controlling terminal. 0 means none.
    pub tty: u64,
    /// It is dead (`Z` or `X`), and none of its threads runs. (A process whose first thread has ended looks
    /// like a zombie but goes on.)
    pub dead: bool,
}

/// The processor time of a process, as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub process: Process,
    pub group: Pid,
    /// The foreground process group of its controlling terminal.
    pub foreground: Option<Pid>,
    /// The processor time that all its threads have used.
    pub own: Nanos,
    /// The processor time of the children that it has waited for, and of their children.
    pub reaped: Nanos,
}

/// A `/proc` file system.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    /// A `/proc` file system at another place.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, pid: Pid, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    fn text(&self, pid: Pid, file: &str) -> Option<String> {
        // A command name may have any bytes. All that follows it is ASCII.
        read(&self.path(pid, file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn pids(&self) -> impl Iterator<Item = Pid> + use<> {
        numbers(&self.root).map(Pid::from_raw)
    }

    /// All processes, in the order of `/proc`. Each is read when the iterator reaches it.
    pub fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        self.pids().filter_map(|pid| self.process(pid))
    }

    /// The PIDs of all processes, the newest first.
    ///
    /// The kernel counts PIDs up and starts again after the largest. `/proc/loadavg` has the newest one. The further a PID
    /// is below that, the older the process is.
    #[must_use]
    pub fn newest_first(&self) -> Vec<Pid> {
        let mut pids: Vec<i32> = numbers(&self.root).collect();
        // This is read after the list. Otherwise a process that starts meanwhile would pass for one of the oldest.
        let loadavg = fs::read_to_string(self.root.join("loadavg")).unwrap_or_default();
        let newest = parse_newest(&loadavg).unwrap_or(i32::MAX);
        // PIDs above the newest one are the oldest.
        pids.sort_by_key(|pid| (*pid > newest, newest.wrapping_sub(*pid)));
        pids.into_iter().map(Pid::from_raw).collect()
    }

    /// The PIDs that were given last, the newest first. Most of these processes may be gone by now. Listing all processes
    /// takes much longer.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<Pid> {
        let loadavg = fs::read_to_string(self.root.join("loadavg")).unwrap_or_default();
        let newest = parse_newest(&loadavg).unwrap_or(0);
        (1..=newest).rev().take(count).map(Pid::from_raw).collect()
    }

    /// One process. `None` if it is gone.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<Process> {
        parse_stat(pid, &self.text(pid, "stat")?)
    }

    /// This process. `None` if it is gone, even if another process has its PID now.
    #[must_use]
    pub fn find(&self, id: ProcId) -> Option<Process> {
        self.process(id.pid).filter(|process| process.id == id)
    }

    /// The processor time of all processes, including zombies.
    pub fn usages(&self) -> impl Iterator<Item = Usage> + '_ {
        self.pids().filter_map(|pid| parse_usage(pid, &self.text(pid, "stat")?))
    }

    /// The audit session ID. `None` if it is unset (4294967295) or unknown. The process's owner cannot change
    /// it.
    #[must_use]
    pub fn audit_session(&self, pid: Pid) -> Option<AuditSession> {
        let id: u32 = self.text(pid, "sessionid")?.trim().parse().ok()?;
        (id != u32::MAX).then_some(AuditSession(id))
    }

    /// The user as whom the person logged in (auditd calls it `auid`). sudo and su do not change it. `None` if it is unset
    /// (4294967295) or unknown.
    #[must_use]
    pub fn login_uid(&self, pid: Pid) -> Option<u32> {
        let uid: u32 = self.text(pid, "loginuid")?.trim().parse().ok()?;
        (uid != u32::MAX).then_some(uid)
    }

    /// The real and effective user ID, from the `Uid:` line of status. (The owner of the directory does not
    /// tell them, because it is root if the process is not dumpable.)
    #[must_use]
    pub fn uids(&self, pid: Pid) -> Option<(u32, u32)> {
        parse_uids(&self.text(pid, "status")?)
    }

    /// The real, effective, saved and file system user ID, from the same line.
    #[must_use]
    pub fn all_uids(&self, pid: Pid) -> Option<[u32; 4]> {
        parse_all_uids(&self.text(pid, "status")?)
    }

    /// Whether the process is in a user namespace below ours. Then its map of IDs (`/proc/PID/uid_map`) differs
    /// from ours.
    #[must_use]
    pub fn has_other_ids(&self, pid: Pid) -> bool {
        let own = read(&self.root.join("self/uid_map"));
        let theirs = read(&self.path(pid, "uid_map"));
        matches!((own, theirs), (Ok(own), Ok(theirs)) if own != theirs)
    }

    /// Whether the process ignores a signal. For example, `nohup` makes a job ignore SIGHUP.
    #[must_use]
    pub fn ignores(&self, pid: Pid, signal: i32) -> bool {
        let status = self.text(pid, "status").unwrap_or_default();
        parse_ignored(&status).is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    }

    /// Whether a signal waits for the process.
    #[must_use]
    pub fn has_pending(&self, pid: Pid, signal: i32) -> bool {
        let status = self.text(pid, "status").unwrap_or_default();
        parse_pending(&status).is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    }

    /// The numbers of the ptys whose masters the process has open, each with the descriptor.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the process may not be traced, `NotFound` if it is gone.
    pub fn pty_masters(&self, pid: Pid) -> io::Result<Vec<(RawFd, u32)>> {
        let index = |path: &Path| Ok(parse_tty_index(&fs::read_to_string(path)?));
        descriptors(&self.path(pid, "fdinfo"), index)?.collect()
    }

    /// The number of the pty whose master this descriptor is. `None` if it is none.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the process may not be traced, `NotFound` if it or the descriptor is gone.
    pub fn pty_number(&self, pid: Pid, fd: RawFd) -> io::Result<Option<u32>> {
        let fdinfo = fs::read_to_string(self.path(pid, "fdinfo").join(fd.to_string()))?;
        Ok(parse_tty_index(&fdinfo))
    }

    /// The path that leads to what the process has open under this number.
    #[must_use]
    pub fn descriptor(&self, pid: Pid, fd: RawFd) -> PathBuf {
        self.path(pid, "fd").join(fd.to_string())
    }

    /// The numbers of the process's descriptors. Each is read when the iterator reaches it.
    pub fn descriptors(&self, pid: Pid) -> impl Iterator<Item = RawFd> + use<> {
        numbers(&self.path(pid, "fd"))
    }

    /// The descriptors of the process that are character devices. Each is read when the iterator reaches it.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if we may not trace the process, or if a security module does not allow us to look at one of
    /// its devices. `NotFound` if the process is gone.
    pub fn devices(
        &self,
        pid: Pid,
    ) -> io::Result<impl Iterator<Item = io::Result<(RawFd, DeviceId)>> + use<>> {
        descriptors(&self.path(pid, "fd"), |path| match link::device(path) {
            // A FUSE file system may refuse that, too, even to root. Its files are no devices.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && link::is_in_fuse(path) => Ok(None),
            found => found,
        })
    }

    /// The descriptors of the process that are sockets, each with the kernel's number of the socket. Each is read when the
    /// iterator reaches it.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the process may not be traced, `NotFound` if it is gone.
    pub fn sockets(&self, pid: Pid) -> io::Result<impl Iterator<Item = io::Result<(RawFd, u32)>> + use<>> {
        descriptors(&self.path(pid, "fd"), |path| Ok(parse_socket(&fs::read_link(path)?.to_string_lossy())))
    }

    /// The path of the program that the process runs. It ends in ` (deleted)` if the file is gone.
    #[must_use]
    pub fn program(&self, pid: Pid) -> Option<PathBuf> {
        fs::read_link(self.path(pid, "exe")).ok()
    }

    /// The path by which the program was started, even if an upgrade has replaced the file since. The file
    /// itself is not read, because it may be in a user's own file system, and hang.
    #[must_use]
    pub fn program_path(&self, pid: Pid) -> Option<PathBuf> {
        let path = self.program(pid)?.into_os_string().into_vec();
        let path = path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path);
        Some(OsString::from_vec(path).into())
    }

    /// The command name, even of a zombie. execve(2) sets it, and a process can change its own name. So it
    /// proves something only for a process of root.
    #[must_use]
    pub fn command_name(&self, pid: Pid) -> Option<String> {
        let name = self.text(pid, "comm")?;
        Some(name.strip_suffix('\n').unwrap_or(&name).to_owned())
    }

    /// Its PID namespace. The same text means the same namespace.
    #[must_use]
    pub fn pid_namespace(&self, pid: Pid) -> Option<PathBuf> {
        fs::read_link(self.path(pid, "ns/pid")).ok()
    }

    /// The words of its command line. The first one is the program's name.
    #[must_use]
    pub fn arguments(&self, pid: Pid) -> Option<Vec<OsString>> {
        let line = read(&self.path(pid, "cmdline")).ok()?;
        let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
        Some(words.map(|word| OsString::from_vec(word.to_owned())).collect())
    }

    /// Whether its standard input is this device.
    #[must_use]
    pub fn reads_from(&self, pid: Pid, id: DeviceId) -> bool {
        link::device(&self.path(pid, "fd/0")).is_ok_and(|found| found == Some(id))
    }

    /// Whether the process has mapped a file whose path has this text, even if the file has been replaced since.
    #[must_use]
    pub fn has_mapped(&self, pid: Pid, text: &str) -> bool {
        // The kernel gives this file in pieces, so one read is not enough.
        let maps = fs::read(self.path(pid, "maps")).unwrap_or_default();
        let maps = String::from_utf8_lossy(&maps);
        // Five fields come before the path.
        let path = |line: &str| line.split_ascii_whitespace().nth(5).is_some_and(|path| path.contains(text));
        maps.lines().any(path)
    }

    /// A path as the process sees it.
    #[must_use]
    pub fn seen_by(&self, pid: Pid, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        self.path(pid, "root").join(relative)
    }

    /// The text of `/proc/PID/cgroup`.
    #[must_use]
    pub fn cgroup(&self, pid: Pid) -> Option<String> {
        self.text(pid, "cgroup")
    }
}

/// Reads a file of `/proc`. Such a file has no known size. One page is read in one piece.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = vec![0; 4096];
    let count = file.read(&mut bytes)?;
    bytes.truncate(count);
    if count == 4096 {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The entries of a directory whose names are numbers.
fn numbers(directory: &Path) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Calls `look` for each descriptor in such a directory and returns the results. Descriptors that were closed
/// meanwhile are left out.
fn descriptors<T, L>(
    directory: &Path,
    look: L,
) -> io::Result<impl Iterator<Item = io::Result<(RawFd, T)>> + use<T, L>>
where
    L: Fn(&Path) -> io::Result<Option<T>>,
{
    Ok(fs::read_dir(directory)?.filter_map(move |entry| {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(e) => return Some(Err(e)),
        };
        let fd = path.file_name()?.to_str()?.parse().ok()?;
        match look(&path) {
            Ok(seen) => seen.map(|seen| Ok((fd, seen))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(Err(e)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_long_list_of_mappings_is_read_to_its_end() {
        const THREADS: usize = 60;
        let (me, proc) = (nix::unistd::getpid(), Proc::default());
        let (started, done) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
        // Each thread has a stack, which is a mapping.
        let found = std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (started.wait(), done.wait()));
            }
            started.wait();
            let length = fs::read("/proc/self/maps").unwrap().len();
            let found =
                ["pam_idle_watchdog", "[stack]", "/security/pam_"].map(|text| proc.has_mapped(me, text));
            done.wait();
            assert!(length > 4096, "{length}");
            found
        });
        // The program is the first mapping, and the stack of the first thread is one of the last.
        assert_eq!(found, [true, true, false]);
    }

    #[test]
    fn reads_its_own_stat() {
        let me = nix::unistd::getpid();
        let process = Proc::default().process(me).unwrap();
        assert_eq!(process.parent, nix::unistd::getppid());
        assert!(process.id.started > Started(0) && !process.dead);
    }
}
