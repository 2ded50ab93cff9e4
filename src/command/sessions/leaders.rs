//! Finds the leaders of sshd's and login's sessions among the processes, and what they tell about their logins.
//!
//! Only programs that root runs count, by the paths of their files: a user can run su under another name, and with
//! any title. sshd writes the user and the state of the login into its title, and changes it with the login's
//! progress.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::unistd::{Pid, Uid, User};

use crate::sys::clock::{Nanos, SECOND};
use crate::sys::devnode;
use crate::sys::proc::{Proc, Process};

/// How old the first process of a session of login(1) must be. PAM modules may start processes, too, but these
/// end soon.
const SETTLED_SHELL: Nanos = 10 * SECOND;

/// The program of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderProgram {
    Sshd,
    Login,
}

/// A leader whose login has finished: its PAM session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLogin {
    pub program: LeaderProgram,
    pub user: OsString,
    pub uid: u32,
    /// The terminal as PAM names it.
    pub tty: Option<OsString>,
}

/// The program of a process of root, if it is one that opens login sessions.
#[must_use]
pub fn program(proc: &Proc, pid: Pid) -> Option<LeaderProgram> {
    let path = proc.program_path(pid)?;
    let program = match path.file_name()?.to_str()? {
        "sshd" | "sshd-session" => LeaderProgram::Sshd,
        "login" => LeaderProgram::Login,
        _ => return None,
    };
    (proc.uids(pid) == Some((0, 0))).then_some(program)
}

/// The login of a leader of sshd or login(1), if its session is open. `None` while the login or the logout goes
/// on. `all` are the processes of the machine, and `now` is the time on the boot clock.
#[must_use]
pub fn login(proc: &Proc, leader: &Process, all: &[Process], now: Nanos) -> Option<OpenLogin> {
    if leader.dead {
        return None;
    }
    let children = || all.iter().filter(|child| child.parent == leader.id.pid && !child.dead);
    match program(proc, leader.id.pid)? {
        LeaderProgram::Sshd => {
            let (user, uid) = of_sshd(proc, leader, children())?;
            Some(OpenLogin { program: LeaderProgram::Sshd, user, uid, tty: Some("ssh".into()) })
        }
        LeaderProgram::Login => {
            let settled = |child: &&Process| now.saturating_sub(child.id.started.0) >= SETTLED_SHELL;
            // A shell can give up its controlling terminal, and still read from it.
            let shell = children().filter(settled).max_by_key(|child| child.tty != 0)?;
            let (uid, _) = proc.uids(shell.id.pid)?;
            let user = User::from_uid(Uid::from_raw(uid)).ok()??.name;
            let tty = devnode::path_of(shell.tty);
            let tty = tty.map(|tty| tty.strip_prefix("/dev").map(ToOwned::to_owned).unwrap_or(tty).into());
            Some(OpenLogin { program: LeaderProgram::Login, user: user.into(), uid, tty })
        }
    }
}

/// The user of a leader of sshd. After the login, the leader (`sshd: alice [priv]`, or `sshd-session: alice [postauth]`
/// since OpenSSH 10.6) has a child with the title `sshd: alice@pts/0` or `sshd: alice@notty`, or `sshd: alice` as long as
/// there is no shell. The child runs as the user. Until OpenSSH 9.7, root's leader has no such child, and has the title
/// `sshd: root@pts/0` itself.
fn of_sshd<'a>(
    proc: &Proc,
    leader: &Process,
    mut children: impl Iterator<Item = &'a Process>,
) -> Option<(OsString, u32)> {
    let own = title(proc, leader.id.pid)?;
    if let Some(user) = monitors(&own) {
        let name = proc.command_name(leader.id.pid);
        let uid = children.find_map(|child| {
            let pid = child.id.pid;
            let (real, _) = proc.uids(pid)?;
            // Before the login, the child is `sshd: alice [net]`, and runs as sshd's own user. While it takes on the
            // user's ID, it still runs as root.
            let title = title(proc, pid).filter(|title| !title.contains(&b'['))?;
            let serves = real != 0 || title.contains(&b'@');
            (serves && proc.command_name(pid) == name).then_some(real)
        })?;
        return Some((OsString::from_vec(user.to_owned()), uid));
    }
    if title(proc, leader.parent).is_some_and(|title| monitors(&title).is_some()) {
        // This is the child, and its parent is the leader.
        return None;
    }
    let at = own.iter().rposition(|byte| *byte == b'@').filter(|_| !own.contains(&b'['))?;
    Some((OsString::from_vec(own.get(..at)?.to_owned()), 0))
}

/// The user in the title of a leader that has a child for the work.
fn monitors(title: &[u8]) -> Option<&[u8]> {
    [&b" [priv]"[..], b" [postauth]"].iter().find_map(|end| title.strip_suffix(*end))
}

/// What sshd says about itself: `alice [priv]`.
fn title(proc: &Proc, pid: Pid) -> Option<Vec<u8>> {
    let first = proc.arguments(pid)?.into_iter().next()?;
    let bytes = first.as_bytes();
    let text = [&b"sshd: "[..], b"sshd-session: "].iter().find_map(|start| bytes.strip_prefix(*start))?;
    Some(text.to_owned())
}
