//! The terminals that a session's processes have made: by tmux, screen, mosh-server, script. While the session
//! is open, they do not count. After it has closed, they are the only sign of a person who still uses what is
//! left.
//!
//! tmux and screen read some keys themselves, for example those that scroll. So the terminals count, too, that
//! the processes have open: those of a person who has attached to them from another session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::sys::stat::major;
use nix::unistd::Pid;

use crate::helper::judgement::activity::Sample;
use crate::helper::terminals::inner_pty::{self, unless_denied};
use crate::helper::terminals::terminal::Terminal;
use crate::sys::devnode::{self, DeviceId, Stamps};
use crate::sys::held;
use crate::sys::offload::{self, Offload};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId, Process, Started};
use crate::sys::tty::{self, Unread};

/// What some processes have made.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The processes that have the masters open.
    pub holders: BTreeSet<ProcId>,
    /// Their terminals.
    pub terminals: Vec<Terminal>,
    /// The samples of these terminals, and of the others that the processes have open.
    pub samples: BTreeMap<DeviceId, Sample>,
    /// The system did not allow us to look at something of a process.
    pub denied: bool,
}

/// Finds the terminals that these processes have made. `None` if it takes too long.
///
/// A child does this, because it opens the terminals, and their owner can make that hang.
pub fn find(proc: &Proc, processes: &[Process], offload: &mut Offload) -> Option<Made> {
    let answer = offload.run(|pipe| {
        for process in processes {
            tell(proc, process, pipe);
        }
        offload::answer(pipe, END.as_bytes());
    });
    read(&String::from_utf8_lossy(&answer))
}

/// The last line of an answer.
const END: &str = "end\n";
/// The line about a process at which the system did not allow us to look.
const DENIED: &str = "denied\n";

/// One terminal that a process holds or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The process that has the master open. `None` if it only reads the terminal.
    holder: Option<ProcId>,
    id: DeviceId,
    stamps: Stamps,
    unread: Option<Unread>,
}

/// Writes what one process holds and reads, or that we may not look at something.
fn tell(proc: &Proc, process: &Process, pipe: &mut File) {
    if tell_all(proc, process, pipe).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
        offload::answer(pipe, DENIED.as_bytes());
    }
}

/// Writes what one process holds and reads.
///
/// # Errors
///
/// `PermissionDenied` if we may not look at something. A security module may allow one step and refuse the next
/// one. `NotFound` if the process is gone.
fn tell_all(proc: &Proc, process: &Process, pipe: &mut File) -> io::Result<()> {
    let mut say = |holder, terminal: &File| -> io::Result<()> {
        let unread = tty::unread_of(terminal);
        // After a logout a descriptor of the console reads nothing. Another person may type there now.
        if unread.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::EIO as i32)) {
            return Ok(());
        }
        if let Some((id, stamps)) = unless_denied(devnode::of_file(terminal))? {
            let found = Found { holder, id, stamps, unread: unread.ok() };
            offload::answer(pipe, line(&found).as_bytes());
        }
        Ok(())
    };
    for terminal in inner_pty::peers(proc, process)? {
        say(Some(process.id), &terminal?)?;
    }
    let Some(holder) = PidFd::of(proc, process.id) else { return Ok(()) };
    // A process may have thousands of descriptors of one terminal.
    let mut seen = BTreeSet::new();
    for device in proc.devices(process.id.pid)? {
        let device = unless_denied(device)?.filter(|(_, id)| is_read(*id) && seen.insert(*id));
        let Some((fd, id)) = device else { continue };
        if let Some(terminal) = unless_denied(held::terminal(proc, process.id.pid, &holder, fd, id))? {
            say(None, &terminal)?;
        }
    }
    Ok(())
}

/// Whether a person may type at this device.
fn is_read(id: DeviceId) -> bool {
    /// The major number of /dev/tty, /dev/console and /dev/ptmx. Several terminals share each of these nodes.
    const SHARED: u64 = 5;
    devnode::is_pty(id.device) || (major(id.device) != SHARED && tty::is_terminal(id.device))
}

/// A line that passes a terminal from one process to another. The PID 0 means that no process holds it.
fn line(found: &Found) -> String {
    let Found { holder, id, stamps, unread } = *found;
    let (pid, started) = holder.map_or((0, 0), |holder| (holder.pid.as_raw(), holder.started.0));
    let (count, mode) = unread.map_or((-1, 0), |unread| (i64::from(unread.count), unread.mode));
    format!("{pid} {started} {count} {mode} {}", inner_pty::line(id, stamps))
}

/// Reads what [`line()`] wrote, if the line is complete.
fn read_line(line: &str) -> Option<Found> {
    let mut fields = line.splitn(5, ' ');
    let (pid, started) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let count: i64 = fields.next()?.parse().ok()?;
    let mode = fields.next()?.parse().ok()?;
    let (id, stamps) = inner_pty::read(fields.next()?)?;
    let holder = (pid != 0).then_some(ProcId { pid: Pid::from_raw(pid), started: Started(started) });
    let unread = u32::try_from(count).ok().map(|count| Unread { count, mode });
    Some(Found { holder, id, stamps, unread })
}

/// Reads a whole answer. `None` if its end is missing.
fn read(answer: &str) -> Option<Made> {
    let lines = answer.strip_suffix(END)?;
    let mut made = Made { denied: lines.contains(DENIED), ..Made::default() };
    for Found { holder, id, stamps, unread } in lines.split_inclusive('\n').filter_map(read_line) {
        let sample = Sample { stamps, unread, inner: false, anew: false, by_client: false };
        made.samples.insert(id, sample);
        let Some(holder) = holder else { continue };
        made.holders.insert(holder);
        let Some(path) = devnode::path_of(id.device) else { continue };
        let name = path.strip_prefix("/dev").unwrap_or(&path).to_string_lossy().into_owned();
        let terminal = Terminal { name, path, id };
        if !made.terminals.contains(&terminal) {
            made.terminals.push(terminal);
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    use nix::pty::openpty;

    const PTY: DeviceId = DeviceId { filesystem: 24, device: 34819 };
    const STAMPS: Stamps = Stamps { atime: 1, mtime: -2, ctime: i64::MAX, owner: 1000 };

    fn found(pid: i32, device: u64, unread: Option<Unread>) -> Found {
        let holder = ProcId { pid: Pid::from_raw(pid), started: Started(7) };
        let id = DeviceId { device, ..PTY };
        Found { holder: (pid != 0).then_some(holder), id, stamps: STAMPS, unread }
    }

    #[test]
    fn what_is_passed_on_is_read_if_it_came_whole() {
        for unread in [None, Some(Unread { count: 3, mode: 2 })] {
            for pid in [0, 4711] {
                let found = found(pid, PTY.device, unread);
                let line = line(&found);
                assert_eq!(read_line(&line), Some(found));
                assert!((0..line.len()).all(|end| read_line(&line[..end]).is_none()), "{line}");
            }
        }
        let whole = line(&found(70, PTY.device, None)) + END;
        assert!(read(&whole).is_some());
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_none()));
    }

    #[test]
    fn a_terminal_that_is_only_read_counts_but_is_not_theirs() {
        let text: String = [
            found(70, PTY.device, None),
            found(70, PTY.device, None),
            found(71, PTY.device + 1, None),
            found(0, PTY.device + 2, None),
        ]
        .iter()
        .map(line)
        .collect();
        let made = read(&(text.clone() + END)).unwrap();
        let names: Vec<&str> = made.terminals.iter().map(|terminal| terminal.name.as_str()).collect();
        assert_eq!((names, made.samples.len(), made.holders.len()), (vec!["pts/3", "pts/4"], 3, 2));
        assert!(!made.denied && read(&(text + DENIED + END)).unwrap().denied);
    }

    #[test]
    fn a_process_has_made_the_terminals_whose_masters_it_has_open() {
        let pty = openpty(None, None).unwrap();
        let proc = Proc::default();
        let process = proc.process(Pid::this()).unwrap();
        let made = find(&proc, &[process], &mut Offload::default()).expect("in time");
        let (id, stamps) = devnode::of_file(&File::from(pty.slave)).unwrap();
        assert_eq!(made.samples.get(&id).map(|sample| sample.stamps), Some(stamps));
        assert!(made.holders.contains(&process.id) && !made.denied);
        let terminal = made.terminals.iter().find(|terminal| terminal.id == id).expect("it is theirs");
        assert_eq!(terminal.name, format!("pts/{}", tty::number(&pty.master).unwrap()));
        drop(pty.master);
        let made = find(&proc, &[process], &mut Offload::default()).expect("in time");
        assert!(!made.samples.contains_key(&id), "{made:?}");
    }

    #[test]
    fn several_terminals_share_some_nodes() {
        for (minor, typed_at) in [(0, false), (1, false), (2, false)] {
            assert_eq!(is_read(DeviceId { device: 5 << 8 | minor, ..PTY }), typed_at);
        }
        assert!(is_read(PTY) && !is_read(DeviceId { device: 1 << 8 | 3, ..PTY }));
    }
}
