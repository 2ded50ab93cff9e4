//! A workaround for kernels before 6.5, which do not note reads through `/dev/tty`. There a person who types inside
//! `sudo -i` moves only the stamp of the pty that sudo made.
//!
//! Such an *inner* pty counts only if the kernel needs that, and if only sudo can have written to its master.
//! So the process with the master must have the effective user ID 0. Its controlling terminal and its standard
//! input must be one of the session's terminals. The pty must not belong to the user who called the process.
//! Therefore `su --pty` that reads from a pipe does not count, and sudo inside a detached tmux does not count.

use std::fs::File;
use std::io;

use once_cell::sync::OnceCell;

use crate::helper::members::controlling::ControllingSessions;
use crate::helper::terminals::terminal::Terminal;
use crate::sys::devnode::{self, DeviceId, Stamps};
use crate::sys::held;
use crate::sys::kernel;
use crate::sys::offload::{self, Offload};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::tty;

/// The stamps of the inner ptys that count. There are none if the kernel does not need them.
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
    // Opening the terminal of a master may hang while another process has its lock.
    let answer = offload.run(|pipe| {
        let holders = proc.processes().filter(|process| relays(proc, process, terminals, &controlling));
        for (id, stamps) in holders.flat_map(|holder| slaves(proc, &holder)) {
            offload::answer(pipe, line(id, stamps).as_bytes());
        }
    });
    String::from_utf8_lossy(&answer).split_inclusive('\n').filter_map(read).collect()
}

/// A line that passes a terminal and its stamps from one process to another.
pub(super) fn line(id: DeviceId, stamps: Stamps) -> String {
    let DeviceId { filesystem, device } = id;
    let Stamps { atime, mtime, ctime, owner } = stamps;
    format!("{filesystem} {device} {atime} {mtime} {ctime} {owner}\n")
}

/// Reads what [`line()`] wrote, if the line is complete.
pub(super) fn read(line: &str) -> Option<(DeviceId, Stamps)> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let id = DeviceId { filesystem: fields.next()?.parse().ok()?, device: fields.next()?.parse().ok()? };
    let mut time = || fields.next()?.parse().ok();
    let (atime, mtime, ctime) = (time()?, time()?, time()?);
    Some((id, Stamps { atime, mtime, ctime, owner: fields.next()?.parse().ok()? }))
}

/// Whether reads through `/dev/tty` leave no trace on the terminal itself.
///
/// The kernel's version tells. An older kernel is probed, because distributions have backported the change. If
/// the probe fails, for example because no descriptor is free, the next look tries again. Like
/// [`tty::notes_reads_through_dev_tty`], this needs a session leader without a terminal.
#[must_use]
pub fn kernel_needs_it() -> bool {
    static NOTED: OnceCell<bool> = OnceCell::new();
    let noted = NOTED.get_or_try_init(|| match kernel::version(&kernel::release()) {
        Some(version) if version >= NOTES_READS => Ok(true),
        _ => tty::notes_reads_through_dev_tty(),
    });
    noted.is_ok_and(|noted| !noted)
}

/// The first kernel that notes reads through `/dev/tty` (commit 360c11e2258c).
const NOTES_READS: (u32, u32) = (6, 5);

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

/// The terminals of the masters that a process has open, without those that were closed meanwhile. The masters
/// themselves are asked, because their numbers may belong to another instance of devpts. Opening a terminal may
/// hang.
///
/// # Errors
///
/// `PermissionDenied` if the process may not be traced, `NotFound` if it is gone. `PermissionDenied` instead of a
/// terminal if the terminal may not be opened.
pub(super) fn peers(proc: &Proc, holder: &Process) -> io::Result<Vec<io::Result<File>>> {
    let masters = proc.pty_masters(holder.id.pid)?;
    let Some(pidfd) = PidFd::of(proc, holder.id).filter(|_| !masters.is_empty()) else {
        return Ok(Vec::new());
    };
    let pid = holder.id.pid;
    let peer = |(fd, number)| unless_denied(held::peer(proc, pid, &pidfd, fd, number)).transpose();
    Ok(masters.into_iter().filter_map(peer).collect())
}

/// The thing that was looked for, or `None` if it is gone.
///
/// # Errors
///
/// `PermissionDenied`, because then something may be there.
pub(super) fn unless_denied<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(e),
        Err(_) => Ok(None),
    }
}

/// The same with their stamps, without those that belong to the caller of the process.
fn slaves(proc: &Proc, holder: &Process) -> Vec<(DeviceId, Stamps)> {
    let peers = peers(proc, holder).unwrap_or_default();
    let slaves = peers.iter().flatten().filter_map(|peer| devnode::of_file(peer).ok());
    // A setuid program such as su may have inherited the master from its caller, who can write to it. Then the
    // terminal belongs to the caller. A terminal that sudo made belongs to the target user of sudo.
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
