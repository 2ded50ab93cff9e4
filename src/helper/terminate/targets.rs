//! Members that are signalled and waited for.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::SIGCONT;
use nix::poll::{PollFd, PollFlags};

use crate::helper::members::Member;
use crate::helper::session::WatchedSession;
use crate::protocol::caller;
use crate::sys::clock::{Moment, Nanos, SECOND, poll_until};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{ProcId, Process};
use crate::sys::signals;

/// How many pidfds are open at a time, at most. Only those that are waited for need one that stays open.
const HOLD: usize = 512;
/// How long we wait before we try again, where no descriptor is to be had.
const AGAIN: Nanos = SECOND / 20;

/// A member that no other process can take the place of.
pub(in crate::helper) struct Target {
    pub member: Member,
    handle: Handle,
}

enum Handle {
    /// It is the leader. The watchdog has had its pidfd from the beginning, whatever else runs out.
    Leader,
    Open(PidFd),
    /// It is opened anew for each signal, and compared by its start time then.
    Number,
}

impl Target {
    /// `None` when the process is gone, or its number is another one's by now.
    pub fn new(session: &WatchedSession, member: &Member) -> Option<Self> {
        let handle =
            if member.leader { Handle::Leader } else { Handle::Open(open(session, &member.process)?) };
        Some(Self { member: *member, handle })
    }

    /// Gives its descriptor back.
    pub fn by_number(mut self) -> Self {
        if matches!(self.handle, Handle::Open(_)) {
            self.handle = Handle::Number;
        }
        self
    }

    pub fn id(&self) -> ProcId {
        self.member.process.id
    }

    /// Sends a signal, and tells whether it was sent. One that is forbidden is counted.
    pub fn send(&self, session: &WatchedSession, signal: i32, forbidden: &mut usize) -> bool {
        self.with(session, |pidfd| send(pidfd, signal, forbidden)).unwrap_or(false)
    }

    /// Asks it to leave. SIGCONT follows, because a stopped process does not hear the request.
    pub fn ask(&self, session: &WatchedSession, signal: i32, forbidden: &mut usize) -> bool {
        let asked = self.with(session, |pidfd| {
            let asked = send(pidfd, signal, forbidden);
            let _ = pidfd.send(SIGCONT);
            asked
        });
        asked.unwrap_or(false)
    }

    fn with<T>(&self, session: &WatchedSession, act: impl FnOnce(&PidFd) -> T) -> Option<T> {
        match &self.handle {
            Handle::Leader => Some(act(&session.leader)),
            Handle::Open(pidfd) => Some(act(pidfd)),
            Handle::Number => open(session, &self.member.process).as_ref().map(act),
        }
    }

    fn fd<'a>(&'a self, session: &'a WatchedSession) -> Option<BorrowedFd<'a>> {
        match &self.handle {
            Handle::Leader => Some(session.leader.as_fd()),
            Handle::Open(pidfd) => Some(pidfd.as_fd()),
            Handle::Number => None,
        }
    }

    /// Whether its descriptor says that it has exited.
    pub fn has_exited(&self, session: &WatchedSession) -> bool {
        match &self.handle {
            Handle::Leader => session.leader.has_exited(),
            Handle::Open(pidfd) => pidfd.has_exited(),
            Handle::Number => false,
        }
    }
}

fn send(pidfd: &PidFd, signal: i32, forbidden: &mut usize) -> bool {
    let sent = pidfd.send(signal);
    *forbidden += usize::from(sent.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::EPERM as i32)));
    sent.is_ok()
}

fn open(session: &WatchedSession, process: &Process) -> Option<PidFd> {
    PidFd::of(&session.proc, process.id)
}

/// Whether a member is still there, and not dead.
pub(in crate::helper) fn is_there(session: &WatchedSession, member: &Member) -> bool {
    if member.leader {
        return !session.leader.has_exited();
    }
    session.proc.find(member.process.id).is_some_and(|process| !process.dead)
}

/// Drops everybody who has exited, until nobody is left or time is up (of the monotonic clock). New
/// orders are refused meanwhile.
pub(in crate::helper) fn wait_for_exit(session: &WatchedSession, held: &mut Vec<Target>, until: Nanos) {
    loop {
        open_some(session, held);
        let now = Moment::now().mono;
        if held.is_empty() || now >= until {
            return;
        }
        let mut fds: Vec<PollFd> = held
            .iter()
            .filter_map(|one| one.fd(session))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let due = if fds.is_empty() { until.min(now.saturating_add(AGAIN)) } else { until };
        fds.push(PollFd::new(session.signals.as_fd(), PollFlags::POLLIN));
        if poll_until(&mut fds, due).is_err() {
            return;
        }
        if fds.last().is_some_and(|fd| fd.any().unwrap_or(false)) {
            caller::refuse(&session.proc, &session.signals);
        }
        held.retain(|one| !one.has_exited(session));
    }
}

/// Opens as many as may be open, and drops those that turn out to be gone.
fn open_some(session: &WatchedSession, held: &mut Vec<Target>) {
    if !held.iter().any(|one| matches!(one.handle, Handle::Number)) {
        return;
    }
    let open_now = held.iter().filter(|one| matches!(one.handle, Handle::Open(_))).count();
    let mut room = room_for_pidfds().min(HOLD.saturating_sub(open_now));
    held.retain_mut(|one| {
        if room == 0 || !matches!(one.handle, Handle::Number) {
            return true;
        }
        room -= 1;
        match open(session, &one.member.process) {
            Some(pidfd) => one.handle = Handle::Open(pidfd),
            // Descriptors may have run out.
            None => return is_there(session, &one.member),
        }
        true
    });
}

/// How many more pidfds may be open: the survey needs some descriptors, too.
pub(in crate::helper) fn room_for_pidfds() -> usize {
    (signals::free_descriptors() / 2).min(HOLD)
}
