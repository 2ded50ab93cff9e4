//! The helper's main loop: arm, then sleep and look until the session ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::helper::audit::LeaderIds;
use crate::helper::connection::Client;
use crate::helper::journal::{Journal, ordered};
use crate::helper::judge::Judge;
use crate::helper::judgement::schedule::Due;
use crate::helper::kept::KeptConnection;
use crate::helper::leader::Leader;
use crate::helper::members::{Owner, SessionIdentity};
use crate::helper::session::WatchedSession;
use crate::helper::terminals::Finder;
use crate::helper::waiting::Waiting;
use crate::policy::{self, Kill, Settings};
use crate::protocol::start::{
    ARMED, Assignment, BY_HAND, CLOSE_SIGNAL, LEADER_FD, REFUSED, SHARED_SIGNAL, STATUS_FD,
};
use crate::record::{Event, Key, Record};
use crate::sys::cgroup::{self, Cgroups};
use crate::sys::clock::{Alarm, Moment, Nanos, SECOND, StepWatch, timeout};
use crate::sys::confine::confine;
use crate::sys::heap;
use crate::sys::inherit;
use crate::sys::newer_calls::kernel_is_old;
use crate::sys::offload::Offload;
use crate::sys::pidfd::{self, PidFd};
use crate::sys::proc::{Proc, Process};
use crate::sys::selinux;
use crate::sys::signals::{self, Signals};

/// How long to wait before a record is offered again to a log daemon that did not take it.
const RETRY: Nanos = SECOND;

/// A leader that executes the person's program does so within this time after it has opened the session.
const CHANGE: Nanos = 2 * SECOND;

/// The whole life of the helper. Its arguments are [`Assignment::to_args`]. The descriptors 3 and 4 are the
/// leader's pidfd and the status pipe.
///
/// # Errors
///
/// Why it is not armed. The module has got this text, too, if there is one.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let not_started = |_: io::Error| BY_HAND.to_owned();
    let leader = PidFd::from(inherit::take(LEADER_FD).map_err(not_started)?);
    let mut status = File::from(inherit::take(STATUS_FD).map_err(not_started)?);
    inherit::reset();
    let armed = Assignment::from_args(args)
        .map_err(|e| e.to_string())
        .and_then(|assignment| Watchdog::arm(assignment, leader));
    match armed {
        Ok(mut watchdog) => {
            // If the module has given up waiting, it kills us.
            let told = status.write_all(&[ARMED]);
            drop(status);
            told.map_err(|e| format!("the module is gone: {e}"))?;
            watchdog.note_arming();
            watchdog.watch();
            watchdog.linger();
            cgroup::tidy_up(&watchdog.session.proc);
            Ok(())
        }
        Err(why) => {
            let _ = status.write_all(&[&[REFUSED], why.as_bytes()].concat());
            Err(why)
        }
    }
}

/// Why the helper woke up.
enum Wake {
    /// It is time to look, or somebody stepped the clock.
    Look,
    /// The PAM session was closed or did not open.
    Closed,
    /// The leader has opened another session.
    Shared,
    /// The leader has exited without closing the session.
    LeaderGone,
    /// The leader had become the person's own program, and this program has ended.
    ProgramEnded,
}

/// The running helper. [`crate::helper::look`] and [`crate::helper::actions`] have the code for what it does
/// when it wakes up.
pub(super) struct Watchdog {
    pub(super) assignment: Assignment,
    pub(super) session: WatchedSession,
    pub(super) judge: Judge,
    pub(super) journal: Journal,
    leader: Leader,
    /// The leader opened the session a moment ago, so it may still execute another program.
    leader_may_change: bool,
    pub(super) alarm: Alarm,
    pub(super) steps: StepWatch,
    pub(super) offload: Offload,
    pub(super) waiting: Waiting,
    /// The value of `witness=` in the record of arming.
    pub(super) witness: &'static str,
    /// The terminals have ended, and the connection is kept for a while.
    pub(super) kept: Option<KeptConnection>,
}

impl Watchdog {
    fn arm(assignment: Assignment, leader: PidFd) -> Result<Self, String> {
        signals::room()?;
        let signals = Signals::block().map_err(|e| format!("cannot block signals: {e}"))?;
        let timer = |e: Errno| format!("cannot create a timer: {e}");
        let (alarm, steps) = (Alarm::new().map_err(timer)?, StepWatch::new().map_err(timer)?);
        let proc = Proc::default();
        let login = &assignment.login;
        let process = proc.process(assignment.leader);
        let process = if leader.has_exited() { None } else { process };
        let process = process.ok_or("the leader is not visible in /proc")?;
        let cgroups = Cgroups::of(&proc, assignment.leader);
        let owner = Owner { name: login.user().to_owned(), uid: login.uid };
        let identity = SessionIdentity::of(&proc, &process, &cgroups, owner);
        // The module starts us in the leader's control groups.
        cgroup::leave(&proc)
            .map_err(|e| format!("cannot leave the user's control group: {e}{}", selinux::hint(&e)))?;
        let finder = Finder::new(proc.clone(), &process, login.tty.as_deref());
        let ses = proc.audit_session(process.id.pid);
        let debug = assignment.settings.debug;
        let journal = Journal::new(login.clone(), cgroups.session().map(str::to_owned), ses, debug);
        let opener = proc.program_path(process.id.pid);
        let client = client(&assignment);
        let audit = LeaderIds::of(&proc, process.id);
        let watched = WatchedSession {
            proc,
            identity,
            finder,
            leader,
            opener,
            audit,
            client,
            signals,
            terminals: Vec::new(),
            ending: None,
        };
        Ok(Self {
            judge: Judge::new(opened(&assignment, &process), &assignment, &watched, &process),
            leader: Leader::new(&watched.proc, process.id),
            leader_may_change: true,
            session: watched,
            assignment,
            journal,
            alarm,
            steps,
            offload: Offload::default(),
            waiting: Waiting::default(),
            witness: "none",
            kept: None,
        })
    }

    /// Does the part of arming for which a login need not wait.
    fn note_arming(&mut self) {
        inherit::reset_the_rest();
        signals::settle();
        // The kernel is asked first, because afterwards not all of its calls are allowed.
        let old_kernel = kernel_is_old();
        let unconfined = confine().err();
        self.session.finder.choose_how_to_find();
        if self.judge.choose_witness(&self.session, &self.assignment) {
            self.witness = "connection";
        }
        self.write_notes();
        let event = if self.assignment.adopted.is_some() { Event::Adopted } else { Event::Armed };
        let record = ordered(self.record(event), &self.assignment.settings)
            .with(Key::TerminalsBy, self.session.finder.found_by().word())
            .with(Key::MembersBy, self.session.identity.word())
            .with(Key::Witness, self.witness)
            .with_some(Key::Unconfined, unconfined)
            .with_some(Key::Kernel, old_kernel.then_some("old"))
            .with_some(Key::Reason, self.assignment.adopted.as_ref());
        self.journal.write(&record);
    }

    /// Watches the session until it has ended.
    fn watch(&mut self) {
        self.look_soon();
        loop {
            let due = match self.sleep() {
                Wake::Look => self.look(),
                Wake::Closed => return self.closed(),
                Wake::Shared => {
                    let shared = "cannot guard this session any longer: its process has opened another";
                    return self.error(shared);
                }
                // Nobody may have told us that the session closed, because its stack may not have our line.
                Wake::LeaderGone if self.assignment.adopted.is_some() => return self.leave_or_take_over(),
                Wake::LeaderGone => {
                    self.take_over();
                    // The shell of a nested session goes on at the terminal of the outer session.
                    if !self.session.identity.nested() {
                        self.leave_the_rest(true);
                    }
                    return;
                }
                Wake::ProgramEnded => return self.leave_or_take_over(),
            };
            self.answer_waiting(due == Some(Due::End));
            if self.end_if_asked() {
                return self.leave_the_rest(true);
            }
            match due {
                None => {}
                Some(Due::Warn { left }) => self.warn(left),
                Some(Due::Resume { away }) => self.resume(away),
                Some(Due::Report) => self.report(),
                Some(Due::End) if self.end() => return self.leave_the_rest(true),
                Some(Due::End) => {}
            }
        }
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self) -> Wake {
        heap::trim();
        loop {
            let mut fds = [
                PollFd::new(self.session.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.steps.as_fd(), PollFlags::POLLIN),
            ];
            // No event tells when a log daemon comes back, or when a leader executes a program.
            let longest = match (self.journal.is_behind(), self.leader_may_change) {
                (true, _) => RETRY,
                (_, true) => CHANGE,
                _ => Nanos::MAX,
            };
            let due = Moment::now().mono.saturating_add(longest);
            let woken = pidfd::wait(&[&self.session.leader], &mut fds, due);
            let [_, alarm, step] = fds.map(|fd| fd.any().unwrap_or(false));
            if woken == Ok(false) {
                self.journal.flush();
                self.leader_may_change = false;
            }
            if woken.is_err() {
                continue;
            }
            // A leader closes the session before it exits. So this looks at the leader first, then reads the signals, and
            // lets the signals decide.
            let leader_is_gone = self.session.leader.has_exited();
            let came = self.session.signals.take();
            let leader_pid = self.assignment.leader.as_raw();
            let said = |signal| came.iter().any(|came| (came.signal, came.value) == (signal, leader_pid));
            if said(CLOSE_SIGNAL) {
                return Wake::Closed;
            }
            if said(SHARED_SIGNAL) {
                return Wake::Shared;
            }
            let replaced = self.leader.is_replaced(&self.session.proc);
            self.hear(&came);
            if leader_is_gone {
                return if replaced { Wake::ProgramEnded } else { Wake::LeaderGone };
            }
            if step {
                if let Err(e) = self.steps.arm() {
                    self.error(&format!("cannot watch for steps of the clock: {e}"));
                }
            }
            if alarm {
                self.alarm.silence();
            }
            if alarm || step || self.waiting.is_any() {
                return Wake::Look;
            }
        }
    }

    pub(super) fn change_settings(&mut self, settings: Settings) {
        // A reload because of another rule must not take back a warning.
        if settings == self.assignment.settings {
            return;
        }
        self.judge.change_settings(Moment::now(), &settings);
        // An administrator who turns the module off also lets a kept connection go on.
        self.kept = self.kept.take().filter(|_| settings.limit.is_some() && settings.kill != Kill::None);
        self.journal.set_debug(settings.debug);
        let record = ordered(self.record(Event::Reloaded), &settings);
        self.assignment.settings = settings;
        self.journal.write(&record);
        self.look_soon();
    }

    pub(super) fn look_soon(&mut self) {
        // An alarm in the past rings at once.
        self.set_alarm(0);
    }

    pub(super) fn set_alarm(&mut self, boot: Nanos) {
        if let Err(e) = self.alarm.set(boot) {
            self.error(&format!("cannot set the alarm: {e}"));
        }
    }

    /// Puts on record what failed and why. `error` is a whole phrase.
    pub(super) fn error(&mut self, error: &str) {
        let record = self.record(Event::Error).with(Key::Error, error);
        self.journal.write(&record);
    }

    pub(super) fn record(&self, event: Event) -> Record {
        self.journal.record(event)
    }

    /// Waits for a log daemon that restarts, so that it gets the last records.
    fn linger(&mut self) {
        while self.journal.is_behind() {
            let _ = poll(&mut [PollFd::new(self.session.signals.as_fd(), PollFlags::POLLIN)], timeout(RETRY));
            self.answer_after_the_end();
            self.journal.flush();
        }
    }
}

/// When the session opened. It opens now, unless it was adopted: then its leader began about when it opened. We
/// assume that nobody has stepped the clock since. If somebody has, a stamp may count as activity now.
fn opened(assignment: &Assignment, leader: &Process) -> Moment {
    let now = Moment::now();
    if assignment.adopted.is_none() {
        return now;
    }
    let ago = now.boot.saturating_sub(leader.id.started.0).max(0);
    let before = |clock: Nanos| clock.saturating_sub(ago);
    Moment { boot: before(now.boot), mono: before(now.mono), wall: before(now.wall) }
}

/// How to recognize the client's connection among the leader's connections.
fn client(assignment: &Assignment) -> Client {
    let address = || assignment.login.rhost.as_ref().and_then(|rhost| policy::address(rhost.to_str()?));
    match &assignment.connection {
        Some(connection) => Client::Connection(connection.cookie),
        None => address().map_or(Client::Unknown, Client::At),
    }
}
