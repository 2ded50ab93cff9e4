//! Terminals that another process has open. The descriptor of the process is duplicated (pidfd_getfd(2), Linux 5.6). On an
//! older kernel the terminal itself is opened.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::Pid;

use super::devnode::{self, DeviceId, Node};
use super::pidfd::PidFd;
use super::proc::Proc;
use super::tty;

/// The terminal of a pty master that a process has open. `number` is the number of the pty. Opening a terminal may hang.
///
/// # Errors
///
/// `PermissionDenied` if the process may not be traced, the terminal may not be opened, or an old kernel does not tell which
/// terminal it is. Others if the descriptor is closed.
pub fn peer(proc: &Proc, pid: Pid, process: &PidFd, fd: RawFd, number: u32) -> io::Result<File> {
    match process.duplicate(fd) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => peer_by_number(proc, pid, fd, number),
        master => tty::peer(&master?),
    }
}

/// A terminal that a process has opened by its own node. A node that several terminals share, as `/dev/tty`, does not count.
/// Opening it may hang.
///
/// # Errors
///
/// `PermissionDenied` if the process may not be traced, or the terminal may not be opened. Others if the descriptor is
/// closed.
pub fn terminal(proc: &Proc, pid: Pid, process: &PidFd, fd: RawFd, id: DeviceId) -> io::Result<File> {
    match process.duplicate(fd) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            let node = Node::hold(&proc.descriptor(pid, fd), id)?;
            devnode::open(&node.path(), id, OpenOptions::new().read(true))
        }
        duplicate => duplicate.map(File::from),
    }
}

/// The terminal with this number, if the master was opened by our own `/dev/ptmx`. A master that was opened by another node
/// may belong to another instance of devpts, which has the same numbers.
fn peer_by_number(proc: &Proc, pid: Pid, fd: RawFd, number: u32) -> io::Result<File> {
    let check = || match is_ours(&proc.descriptor(pid, fd))? && proc.pty_number(pid, fd)? == Some(number) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the master may be of another devpts")),
    };
    check()?;
    let path = format!("/dev/pts/{number}");
    let path = Path::new(&path);
    let (id, _) = devnode::stat(path)?;
    let peer = devnode::open(path, id, OpenOptions::new().read(true))?;
    // If the master was closed meanwhile, the number may belong to another pty by now.
    check()?;
    Ok(peer)
}

/// Whether a master was opened by our own `/dev/ptmx`.
fn is_ours(master: &Path) -> io::Result<bool> {
    Ok(place(master)? == place(Path::new("/dev/ptmx"))?)
}

/// Where a node is: its mount and its number there. Two mounts of the same file system differ.
fn place(node: &Path) -> io::Result<(String, u64)> {
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(node)?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", held.as_raw_fd()))?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let mount = mount.ok_or_else(|| io::Error::other("the kernel does not tell the mount"))?;
    Ok((mount.trim().to_owned(), held.metadata()?.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    fn id(file: &File) -> DeviceId {
        devnode::of_file(file).unwrap().0
    }

    #[test]
    fn a_terminal_is_the_same_on_old_and_new_kernels() {
        let (proc, me) = (Proc::default(), Pid::this());
        let pty = openpty(None, None).unwrap();
        let number = tty::number(&pty.master).unwrap();
        let slave = File::from(pty.slave);
        let [master_fd, slave_fd] = [pty.master.as_raw_fd(), slave.as_raw_fd()];
        for process in [PidFd::open(me).unwrap(), PidFd::without_pidfd(me)] {
            assert_eq!(id(&peer(&proc, me, &process, master_fd, number).unwrap()), id(&slave));
            let found = terminal(&proc, me, &process, slave_fd, id(&slave)).unwrap();
            assert_eq!(id(&found), id(&slave));
            assert!(peer(&proc, me, &process, i32::MAX, number).is_err());
            assert!(peer(&proc, me, &process, slave_fd, number).is_err());
        }
        // By now the descriptor is another master, or another terminal.
        let other = peer(&proc, me, &PidFd::without_pidfd(me), master_fd, number + 1).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::PermissionDenied);
        let other = DeviceId { device: id(&slave).device + 1, ..id(&slave) };
        assert!(terminal(&proc, me, &PidFd::without_pidfd(me), slave_fd, other).is_err());
    }

    #[test]
    fn a_master_of_another_place_is_not_known_by_its_number() {
        // The tests need not be root, who alone may open the other node of devpts.
        for master in ["/dev/pts/ptmx", "/dev/null"].map(Path::new) {
            // In a container one may be a link to the other.
            let same = fs::canonicalize("/dev/ptmx").is_ok_and(|path| path == master);
            assert_eq!(is_ours(master).unwrap(), same, "{}", master.display());
        }
    }
}
