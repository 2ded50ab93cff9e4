//! `/proc/PID`, under a root that tests may put elsewhere. Everything read here may lie about names,
//! vanish between two reads, or be hidden: each reader answers `None` or an error, never a guess.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use nix::unistd::Pid;

use super::clock::{Nanos, SECOND};
use super::devnode::DeviceId;
use super::link;

/// A clock tick in `/proc/PID/stat`. `USER_HZ` is 100 on every Linux port that glibc supports.
const USER_TICK: Nanos = SECOND / 100;

/// When a process was started, in nanoseconds on the boot clock, exact to 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Started(pub Nanos);

/// Identifies a process for good. The kernel uses a PID again, but not within the same 10 ms.
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
    /// Device number of its controlling terminal; 0 is none.
    pub tty: u64,
    /// Dead already: zombie or going (`Z`, `X`), and no thread is left. (One whose first thread has ended
    /// looks like a zombie, and runs on.)
    pub dead: bool,
}

/// What a process has to do with processor time, as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The process.
    pub process: Process,
    /// Its process group.
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
    /// The one below `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, pid: Pid, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    fn text(&self, pid: Pid, file: &str) -> Option<String> {
        // A command name may be any bytes; what follows it is ASCII.
        read(&self.path(pid, file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn pids(&self) -> impl Iterator<Item = Pid> + use<> {
        numbers(&self.root).map(Pid::from_raw)
    }

    /// All processes there are, in the order `/proc` lists them, read one by one as they are asked for.
    pub fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        self.pids().filter_map(|pid| self.process(pid))
    }

    /// The numbers of all processes, the newest first.
    ///
    /// Numbers are given in turn and start over at the top: the newest is the one that
    /// `/proc/loadavg` names last, and age grows with the distance below it.
    #[must_use]
    pub fn newest_first(&self) -> Vec<Pid> {
        let loadavg = fs::read_to_string(self.root.join("loadavg")).unwrap_or_default();
        let newest = parse_newest(&loadavg).unwrap_or(i32::MAX);
        let mut pids: Vec<i32> = numbers(&self.root).collect();
        // Above the newest are the oldest of the round before.
        pids.sort_by_key(|pid| (*pid > newest, newest.wrapping_sub(*pid)));
        pids.into_iter().map(Pid::from_raw).collect()
    }

    /// The numbers that were given last, the newest first. Most of these processes may be gone by now.
    /// To list all processes takes much longer.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<Pid> {
        let loadavg = fs::read_to_string(self.root.join("loadavg")).unwrap_or_default();
        let newest = parse_newest(&loadavg).unwrap_or(0);
        (1..=newest).rev().take(count).map(Pid::from_raw).collect()
    }

    /// One process; `None` when it is gone.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<Process> {
        parse_stat(pid, &self.text(pid, "stat")?)
    }

    /// That process, unless it is gone and another one has its PID.
    #[must_use]
    pub fn find(&self, id: ProcId) -> Option<Process> {
        self.process(id.pid).filter(|process| process.id == id)
    }

    /// What all processes have used, dead ones that nobody has buried included.
    pub fn usages(&self) -> impl Iterator<Item = Usage> + '_ {
        self.pids().filter_map(|pid| parse_usage(pid, &self.text(pid, "stat")?))
    }

    /// The audit session id, `None` when unset (4294967295) or unknown. Its owner cannot change it.
    #[must_use]
    pub fn audit_session(&self, pid: Pid) -> Option<AuditSession> {
        let id: u32 = self.text(pid, "sessionid")?.trim().parse().ok()?;
        (id != u32::MAX).then_some(AuditSession(id))
    }

    /// Real and effective user id, from the `Uid:` line of status. (The owner of the folder will not
    /// do: it is root's for every process that is not dumpable.)
    #[must_use]
    pub fn uids(&self, pid: Pid) -> Option<(u32, u32)> {
        parse_uids(&self.text(pid, "status")?)
    }

    /// Real, effective, saved and file system user id, from the same line.
    #[must_use]
    pub fn all_uids(&self, pid: Pid) -> Option<[u32; 4]> {
        parse_all_uids(&self.text(pid, "status")?)
    }

    /// Whether the process is in a user namespace below ours: there the map from its ids to ours
    /// (`/proc/PID/uid_map`) is another one than our own.
    #[must_use]
    pub fn has_other_ids(&self, pid: Pid) -> bool {
        let own = read(&self.root.join("self/uid_map"));
        let theirs = read(&self.path(pid, "uid_map"));
        matches!((own, theirs), (Ok(own), Ok(theirs)) if own != theirs)
    }

    /// Whether the process ignores a signal, as `nohup` makes a job ignore SIGHUP.
    #[must_use]
    pub fn ignores(&self, pid: Pid, signal: i32) -> bool {
        let status = self.text(pid, "status").unwrap_or_default();
        parse_ignored(&status).is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    }

    /// Numbers of the ptys whose masters the process has open, each with the descriptor.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where the process may not be traced; `NotFound` when it is gone.
    pub fn pty_masters(&self, pid: Pid) -> io::Result<Vec<(RawFd, u32)>> {
        let index = |path: &Path| Ok(parse_tty_index(&fs::read_to_string(path)?));
        descriptors(&self.path(pid, "fdinfo"), index)?.collect()
    }

    /// The numbers of the process's descriptors, read one by one as they are asked for.
    pub fn descriptors(&self, pid: Pid) -> impl Iterator<Item = RawFd> + use<> {
        numbers(&self.path(pid, "fd"))
    }

    /// The descriptors of the process that are sockets, read one by one as they are asked for.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where the process may not be traced; `NotFound` when it is gone.
    pub fn sockets(&self, pid: Pid) -> io::Result<impl Iterator<Item = io::Result<RawFd>> + use<>> {
        let socket = |path: &Path| {
            let target = fs::read_link(path)?;
            Ok(target.to_string_lossy().starts_with("socket:[").then_some(()))
        };
        Ok(descriptors(&self.path(pid, "fd"), socket)?.map(|found| found.map(|(fd, ())| fd)))
    }

    /// The program that the process runs, as a path; of one whose file is gone it ends in ` (deleted)`.
    #[must_use]
    pub fn program(&self, pid: Pid) -> Option<PathBuf> {
        fs::read_link(self.path(pid, "exe")).ok()
    }

    /// The path that the process's program was started by, also when another file has taken that place since, as
    /// an upgrade does. The file itself is not asked: it may be in a file system of its user's, and hang.
    #[must_use]
    pub fn program_path(&self, pid: Pid) -> Option<PathBuf> {
        let path = self.program(pid)?.into_os_string().into_vec();
        let path = path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path);
        Some(OsString::from_vec(path).into())
    }

    /// The command name, also of a process that has ended and is not reaped. execve(2) sets it, and a process can
    /// set its own: only of a root process does it prove anything.
    #[must_use]
    pub fn command_name(&self, pid: Pid) -> Option<String> {
        let name = self.text(pid, "comm")?;
        Some(name.strip_suffix('\n').unwrap_or(&name).to_owned())
    }

    /// Which numbers it sees processes by: the same text is the same namespace.
    #[must_use]
    pub fn pid_namespace(&self, pid: Pid) -> Option<PathBuf> {
        fs::read_link(self.path(pid, "ns/pid")).ok()
    }

    /// The words of its command line, its own name first.
    #[must_use]
    pub fn arguments(&self, pid: Pid) -> Option<Vec<OsString>> {
        let line = read(&self.path(pid, "cmdline")).ok()?;
        let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
        Some(words.map(|word| OsString::from_vec(word.to_owned())).collect())
    }

    /// Whether the process's standard input is that very device.
    #[must_use]
    pub fn reads_from(&self, pid: Pid, id: DeviceId) -> bool {
        link::device(&self.path(pid, "fd/0")) == Some(id)
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

/// Reads a file of `/proc`, which has no size to go by, in one piece as far as a page goes.
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

/// The entries of a folder whose names are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What `look` makes of each descriptor in such a folder, but of those that were closed since it was listed.
fn descriptors<T, L>(
    folder: &Path,
    look: L,
) -> io::Result<impl Iterator<Item = io::Result<(RawFd, T)>> + use<T, L>>
where
    L: Fn(&Path) -> io::Result<Option<T>>,
{
    Ok(fs::read_dir(folder)?.filter_map(move |entry| {
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

/// What follows a key at the start of a line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// Real and effective user id, of the text of `/proc/PID/status`. (The kernel escapes line feeds in
/// the command name, which stands before them.)
#[must_use]
pub fn parse_uids(status: &str) -> Option<(u32, u32)> {
    let mut ids = field(status, "Uid:")?.split_whitespace().map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

/// Real, effective, saved and file system user id, of the text of `/proc/PID/status`.
#[must_use]
pub fn parse_all_uids(status: &str) -> Option<[u32; 4]> {
    let ids = field(status, "Uid:")?.split_whitespace().map(|id| id.parse().ok());
    ids.collect::<Option<Vec<u32>>>()?.try_into().ok()
}

/// The signals that are ignored, of the text of `/proc/PID/status`: bit 0 is signal 1.
#[must_use]
pub fn parse_ignored(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "SigIgn:")?.trim(), 16).ok()
}

/// The pty's number, of the text of a master's `/proc/PID/fdinfo/FD`.
#[must_use]
pub fn parse_tty_index(fdinfo: &str) -> Option<u32> {
    field(fdinfo, "tty-index:")?.trim().parse().ok()
}

/// The number that was given last, of the text of `/proc/loadavg`.
#[must_use]
pub fn parse_newest(loadavg: &str) -> Option<i32> {
    loadavg.split_whitespace().last()?.parse().ok()
}

/// The fields of proc_pid_stat(5), which counts from one; the first here is the state, its field 3.
struct Stat<'a>(Vec<&'a str>);

impl<'a> Stat<'a> {
    /// The command name stands in brackets and may itself hold brackets, blanks and newlines: the
    /// fields go on after the last closing one.
    fn of(stat: &'a str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        Some(Self(fields.split_ascii_whitespace().collect()))
    }

    fn number(&self, field: usize) -> Option<i64> {
        self.0.get(field - 3)?.parse().ok()
    }

    fn pid(&self, field: usize) -> Option<Pid> {
        i32::try_from(self.number(field)?).ok().map(Pid::from_raw)
    }

    /// A field that counts clock ticks.
    fn time(&self, field: usize) -> Option<Nanos> {
        let ticks = self.number(field)?;
        if ticks < 0 { None } else { ticks.checked_mul(USER_TICK) }
    }
}

/// A process of the text of `/proc/PID/stat`.
#[must_use]
pub fn parse_stat(pid: Pid, stat: &str) -> Option<Process> {
    process(pid, &Stat::of(stat)?)
}

fn process(pid: Pid, stat: &Stat<'_>) -> Option<Process> {
    Some(Process {
        id: ProcId { pid, started: Started(stat.time(22)?) },
        parent: stat.pid(4)?,
        session: stat.pid(6)?,
        // The kernel prints new_encode_dev() as an int; rdev of stat(2) has the same bits for
        // majors below 4096 and minors below 2^20.
        tty: u64::from(u32::try_from(stat.number(7)? & 0xffff_ffff).ok()?),
        dead: matches!(*stat.0.first()?, "Z" | "X" | "x") && stat.number(20)? <= 1,
    })
}

/// What a process has used, of the text of `/proc/PID/stat`.
#[must_use]
pub fn parse_usage(pid: Pid, stat: &str) -> Option<Usage> {
    let stat = Stat::of(stat)?;
    Some(Usage {
        process: process(pid, &stat)?,
        group: stat.pid(5)?,
        foreground: stat.pid(8).map(|group| (group.as_raw() > 0).then_some(group))?,
        own: stat.time(14)?.checked_add(stat.time(15)?)?,
        reaped: stat.time(16)?.checked_add(stat.time(17)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PID: Pid = Pid::from_raw(7);
    const REST: &str = "S 10 20 30 34819 40 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 9 9";

    #[test]
    fn reads_its_own_stat() {
        let me = nix::unistd::getpid();
        let process = Proc::default().process(me).unwrap();
        assert_eq!(process.parent, nix::unistd::getppid());
        assert!(process.id.started > Started(0) && !process.dead);
    }

    #[test]
    fn a_command_name_cannot_pass_for_fields() {
        for name in ["a) 0 (b", "a) S 1 1 1 0 -1 (b", "\n) Z 1", ") )", "", "\u{fffd}"] {
            let process = parse_stat(PID, &format!("7 ({name}) {REST}\n")).unwrap();
            let expected = Process {
                id: ProcId { pid: PID, started: Started(12_340_000_000) },
                parent: Pid::from_raw(10),
                session: Pid::from_raw(30),
                tty: 34819,
                dead: false,
            };
            assert_eq!(process, expected, "{name:?}");
        }
    }

    #[test]
    fn a_cut_or_mangled_stat_is_no_process() {
        let whole = format!("7 (sh) {REST}");
        let enough = whole.find(" 1234").unwrap() + " 1".len();
        for cut in 0..enough {
            assert_eq!(parse_stat(PID, whole.get(..cut).unwrap()), None, "{cut}");
        }
        assert_eq!(parse_stat(PID, "7 (sh) S x 20 30 0 -1"), None);
    }

    proptest! {
        #[test]
        fn no_stat_makes_it_panic(text in ".*") {
            let _ = (parse_stat(PID, &text), parse_usage(PID, &format!("1 (x) {text}")));
        }
    }
}
