//! The members that get signals. Each has a handle of its own, so that no other process can get its signal.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use nix::libc::SIGCONT;
use nix::poll::{PollFd, PollFlags};

use crate::helper::caller;
use crate::helper::members::Member;
use crate::helper::session::WatchedSession;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::pidfd::{self, PidFd};
use crate::sys::proc::{ProcId, Process};
use crate::sys::signals;

/// The most pidfds that are open at the same time. Only a process that is waited for needs an open one.
const HOLD: usize = 512;
/// How long to wait before another try if no descriptor is free.
const AGAIN: Nanos = SECOND / 20;

/// A member to end.
pub(in crate::helper) struct Target {
    pub member: Member,
    handle: Handle,
}

enum Handle {
    /// It is the leader. The watchdog has had its pidfd from the start.
    Leader,
    Open(PidFd),
    /// It is opened for each signal, and its start time is compared then.
    ById,
}

impl Target {
    /// Opens a member. `None` if the process is gone.
    pub fn new(session: &WatchedSession, member: &Member) -> Option<Self> {
        let handle =
            if member.leader { Handle::Leader } else { Handle::Open(open(session, &member.process)?) };
        Some(Self { member: *member, handle })
    }

    /// The same target without its descriptor.
    pub fn by_id(mut self) -> Self {
        if matches!(self.handle, Handle::Open(_)) {
            self.handle = Handle::ById;
        }
        self
    }

    pub fn id(&self) -> ProcId {
        self.member.process.id
    }

    /// Sends a signal. Returns whether it was sent, and counts it if it was denied.
    pub fn send(&self, session: &WatchedSession, signal: i32, denied: &mut usize) -> bool {
        self.with(session, |pidfd| send(pidfd, signal, denied)).unwrap_or(false)
    }

    /// Sends a signal that the process may handle. SIGCONT follows, because a stopped process cannot handle a
    /// signal.
    pub fn ask(&self, session: &WatchedSession, signal: i32, denied: &mut usize) -> bool {
        let asked = self.with(session, |pidfd| {
            let asked = send(pidfd, signal, denied);
            let _ = pidfd.send(SIGCONT);
            asked
        });
        asked.unwrap_or(false)
    }

    fn with<T>(&self, session: &WatchedSession, act: impl FnOnce(&PidFd) -> T) -> Option<T> {
        match &self.handle {
            Handle::Leader => Some(act(&session.leader)),
            Handle::Open(pidfd) => Some(act(pidfd)),
            Handle::ById => open(session, &self.member.process).as_ref().map(act),
        }
    }

    fn pidfd<'a>(&'a self, session: &'a WatchedSession) -> Option<&'a PidFd> {
        match &self.handle {
            Handle::Leader => Some(&session.leader),
            Handle::Open(pidfd) => Some(pidfd),
            Handle::ById => None,
        }
    }

    /// Whether it has exited. `false` if it has no open descriptor.
    pub fn has_exited(&self, session: &WatchedSession) -> bool {
        self.pidfd(session).is_some_and(PidFd::has_exited)
    }
}

fn send(pidfd: &PidFd, signal: i32, denied: &mut usize) -> bool {
    let sent = pidfd.send(signal);
    // A security module's refusal is EACCES, and that of the kernel itself is EPERM.
    *denied += usize::from(sent.as_ref().is_err_and(|e| e.kind() == ErrorKind::PermissionDenied));
    sent.is_ok()
}

fn open(session: &WatchedSession, process: &Process) -> Option<PidFd> {
    PidFd::of(&session.proc, process.id)
}

/// Whether a member still exists and lives.
pub(in crate::helper) fn is_there(session: &WatchedSession, member: &Member) -> bool {
    if member.leader {
        return !session.leader.has_exited();
    }
    session.proc.find(member.process.id).is_some_and(|process| !process.dead)
}

/// Waits until all targets have exited or the monotonic clock reaches `until`. Drops targets that have exited.
/// Answers requests meanwhile.
pub(in crate::helper) fn wait_for_exit(session: &WatchedSession, targets: &mut Vec<Target>, until: Nanos) {
    loop {
        open_some(session, targets);
        let now = Moment::now().mono;
        if targets.is_empty() || now >= until {
            return;
        }
        let open: Vec<&PidFd> = targets.iter().filter_map(|one| one.pidfd(session)).collect();
        let due = if open.is_empty() { until.min(now.saturating_add(AGAIN)) } else { until };
        let mut asked = [PollFd::new(session.signals.as_fd(), PollFlags::POLLIN)];
        if pidfd::wait(&open, &mut asked, due).is_err() {
            return;
        }
        if asked.iter().any(|fd| fd.any().unwrap_or(false)) {
            caller::answer_meanwhile(&session.proc, &session.signals, session.ending.as_ref());
        }
        targets.retain(|one| !one.has_exited(session));
    }
}

/// Opens targets without a descriptor, up to the limit. Drops targets that are gone.
fn open_some(session: &WatchedSession, targets: &mut Vec<Target>) {
    if !targets.iter().any(|one| matches!(one.handle, Handle::ById)) {
        return;
    }
    let open_now = targets.iter().filter(|one| matches!(one.handle, Handle::Open(_))).count();
    let mut room = room_for_pidfds().min(HOLD.saturating_sub(open_now));
    targets.retain_mut(|one| {
        if room == 0 || !matches!(one.handle, Handle::ById) {
            return true;
        }
        room -= 1;
        match open(session, &one.member.process) {
            Some(pidfd) => one.handle = Handle::Open(pidfd),
            // It may still exist, because the descriptors may have run out.
            None => return is_there(session, &one.member),
        }
        true
    });
}

/// How many more pidfds may be opened. The survey needs half of the free descriptors.
pub(in crate::helper) fn room_for_pidfds() -> usize {
    (signals::free_descriptors() / 2).min(HOLD)
}
