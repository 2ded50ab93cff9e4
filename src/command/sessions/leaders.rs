//! Finds the leaders of sshd's and login's sessions among the processes, and what they tell about their logins.
//!
//! Only processes of root count, because only they cannot lie about their names. sshd writes the user and the
//! state of the login into its title, and changes it with the login's progress.

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
    let program = match proc.command_name(pid)?.as_str() {
        "sshd" | "sshd-session" => LeaderProgram::Sshd,
        "login" => LeaderProgram::Login,
        _ => return None,
    };
    proc.uids(pid).is_some_and(|(_, effective)| effective == 0).then_some(program)
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
            let shell = children().filter(|child| child.tty != 0).find(settled)?;
            let (uid, _) = proc.uids(shell.id.pid)?;
            let user = User::from_uid(Uid::from_raw(uid)).ok()??.name;
            let tty = devnode::path_of(shell.tty)?;
            let tty = tty.strip_prefix("/dev").map(ToOwned::to_owned).unwrap_or(tty);
            Some(OpenLogin { program: LeaderProgram::Login, user: user.into(), uid, tty: Some(tty.into()) })
        }
    }
}

/// The user of a leader of sshd. After the login, the leader of an ordinary user (`sshd: alice [priv]`) has a
/// child that runs as this user. The leader of root's session has none, and its title is `sshd: root@pts/0` or
/// `sshd: root@notty`.
fn of_sshd<'a>(
    proc: &Proc,
    leader: &Process,
    mut children: impl Iterator<Item = &'a Process>,
) -> Option<(OsString, u32)> {
    let title = title(proc, leader.id.pid)?;
    if let Some(user) = title.strip_suffix(b" [priv]") {
        let name = proc.command_name(leader.id.pid);
        let uid = children.find_map(|child| {
            let pid = child.id.pid;
            // Before the login, the child is `sshd: alice [net]`, and runs as sshd's own user.
            let serves = proc.command_name(pid) == name && !title_ends(proc, pid, b"[net]");
            proc.uids(pid).map(|(real, _)| real).filter(|uid| serves && *uid != 0)
        })?;
        return Some((OsString::from_vec(user.to_owned()), uid));
    }
    let at = title.iter().rposition(|byte| *byte == b'@').filter(|_| !title.contains(&b'['))?;
    Some((OsString::from_vec(title.get(..at)?.to_owned()), 0))
}

/// What sshd says about itself: `alice [priv]`.
fn title(proc: &Proc, pid: Pid) -> Option<Vec<u8>> {
    let first = proc.arguments(pid)?.into_iter().next()?;
    let bytes = first.as_bytes();
    let text = [&b"sshd: "[..], b"sshd-session: "].iter().find_map(|start| bytes.strip_prefix(*start))?;
    Some(text.to_owned())
}

fn title_ends(proc: &Proc, pid: Pid, end: &[u8]) -> bool {
    title(proc, pid).is_none_or(|title| title.ends_with(end))
}
