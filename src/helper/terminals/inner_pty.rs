//! A stopgap for kernels that do not note reads through `/dev/tty` (before 6.5): there a person
//! typing inside `sudo -i` moves only the stamp of the pty that sudo made.
//!
//! Such an *inner* pty counts only if the kernel was probed to need it, and only if nobody but sudo
//! can have fed it: its master's holder has effective uid 0, and controlling terminal and standard
//! input that are one of the session's terminals, and the pty does not belong to who called it.
//! `su --pty` fed by a loop through a pipe, and sudo inside a detached tmux, fail that.

use std::io;

use once_cell::sync::OnceCell;

use crate::helper::members::controlling::ControllingSessions;
use crate::helper::terminals::terminal::Terminal;
use crate::sys::devnode::{self, DeviceId, Stamps};
use crate::sys::offload::{self, Offload};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::tty;

/// The stamps of the inner ptys that count; none where the kernel does not need them.
#[must_use]
pub fn stamps<'a>(
    proc: &Proc,
    terminals: &[Terminal],
    controlling: impl FnOnce() -> ControllingSessions<'a>,
    offload: &mut Offload,
) -> Vec<(DeviceId, Stamps)> {
    if terminals.is_empty() || !kernel_needs_it() {
        return Vec::new();
    }
    let controlling = controlling();
    // To open the terminal behind a master may hang, if somebody else has its lock.
    let answer = offload.run(|pipe| {
        let holders = proc.processes().filter(|process| relays(proc, process, terminals, &controlling));
        for (id, stamps) in holders.flat_map(|holder| slaves(proc, &holder)) {
            offload::answer(pipe, line(id, stamps).as_bytes());
        }
    });
    String::from_utf8_lossy(&answer).split_inclusive('\n').filter_map(read).collect()
}

/// A terminal and its stamps, to be passed from one process to another.
fn line(id: DeviceId, stamps: Stamps) -> String {
    let DeviceId { filesystem, device } = id;
    let Stamps { atime, mtime, ctime, owner } = stamps;
    format!("{filesystem} {device} {atime} {mtime} {ctime} {owner}\n")
}

/// What [`line()`] wrote, if it has come whole.
fn read(line: &str) -> Option<(DeviceId, Stamps)> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let id = DeviceId { filesystem: fields.next()?.parse().ok()?, device: fields.next()?.parse().ok()? };
    let mut time = || fields.next()?.parse().ok();
    let (atime, mtime, ctime) = (time()?, time()?, time()?);
    Some((id, Stamps { atime, mtime, ctime, owner: fields.next()?.parse().ok()? }))
}

/// Whether reads through `/dev/tty` leave no trace on the terminal itself.
///
/// Told by the kernel's version, or else tried out: the change was backported. Tried once, and again
/// at the next look where that failed (no descriptor left, say). As [`tty::notes_reads_through_dev_tty`] it
/// wants a session leader without a terminal.
#[must_use]
pub fn kernel_needs_it() -> bool {
    static NOTED: OnceCell<bool> = OnceCell::new();
    let noted = NOTED.get_or_try_init(|| match kernel_version() {
        Some(version) if version >= NOTES_READS => Ok(true),
        _ => tty::notes_reads_through_dev_tty(),
    });
    noted.is_ok_and(|noted| !noted)
}

/// The first kernel that notes reads through `/dev/tty` (commit 360c11e2258c).
const NOTES_READS: (u32, u32) = (6, 5);

fn kernel_version() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether a process can only pass on what was typed at one of the terminals.
fn relays(
    proc: &Proc,
    process: &Process,
    terminals: &[Terminal],
    controlling: &ControllingSessions<'_>,
) -> bool {
    let reads = |terminal: &Terminal| {
        process.tty == terminal.id.device && proc.reads_from(process.id.pid, terminal.id)
    };
    process.tty != 0
        && controlling.include(process, false)
        && proc.uids(process.id.pid).is_some_and(|(_, effective)| effective == 0)
        && terminals.iter().any(reads)
}

/// The terminals behind the masters a process holds, by the masters themselves: their numbers may be
/// another devpts instance's.
fn slaves(proc: &Proc, holder: &Process) -> Vec<(DeviceId, Stamps)> {
    let Some(pidfd) = PidFd::of(proc, holder.id) else {
        return Vec::new();
    };
    let masters = proc.pty_masters(holder.id.pid).unwrap_or_default();
    let slave =
        |fd| -> io::Result<(DeviceId, Stamps)> { devnode::of_file(&tty::peer(&pidfd.duplicate(fd)?)?) };
    let slaves = masters.into_iter().filter_map(|(fd, _)| slave(fd).ok());
    // A master that was opened before the program became setuid is its caller's to feed: su would
    // inherit it. The terminal behind it belongs to the caller; sudo's, to whom sudo runs as.
    let caller = proc.uids(holder.id.pid).map(|(real, _)| real);
    slaves
        .filter(|(_, stamps)| stamps.owner == 0 || caller.is_some_and(|caller| stamps.owner != caller))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_read_if_it_came_whole() {
        let id = DeviceId { filesystem: 24, device: 34819 };
        let stamps = Stamps { atime: 1, mtime: -2, ctime: i64::MAX, owner: 1000 };
        let line = line(id, stamps);
        assert_eq!(read(&line), Some((id, stamps)));
        assert!((0..line.len()).all(|end| read(&line[..end]).is_none()));
    }
}
