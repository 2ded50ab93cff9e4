//! What a logout leaves behind: mosh, tmux, screen, and other processes with terminals of their own making.
//!
//! The record `closed` names it. With `detached=` the watchdog then stays, and ends it as soon as nobody has
//! typed at these terminals for that long. Members must be known by the session's scope or audit session ID,
//! because nothing else shows after the leader's end to which session a process belonged.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags};

use crate::helper::judgement::schedule::Due;
use crate::helper::notice;
use crate::helper::run::Watchdog;
use crate::helper::terminals::made::{self, Made};
use crate::helper::terminate::{Reach, commands};
use crate::protocol::status::State;
use crate::record::{Event, Key, Severity};
use crate::sys::aside;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::heap;
use crate::sys::pidfd::{self, PidFd};
use crate::sys::proc::{ProcId, Process};

/// How long the processes of a session may take to leave after its close. After that they count as left behind.
/// A shell writes its history in this time, and mosh-server opens its terminal.
const LEFT_AFTER: Nanos = 3 * SECOND;
/// How long the leader may take to exit after the close. It may have other PAM modules that are slow.
const LEADER_EXITS: Nanos = 60 * SECOND;
/// How long after the end of a process with a terminal to look what is left. A program that makes one every moment
/// must not keep the watchdog busy.
const AFTER_AN_EXIT: Nanos = 2 * SECOND;
/// The most processes for which the watchdog waits at the same time.
const AWAITED: usize = 64;
/// How long to wait before a record is offered again to a log daemon that did not take it.
const RETRY: Nanos = SECOND;

impl Watchdog {
    /// Acts after the session has closed. `ended` says that the watchdog has ended it.
    pub(super) fn leave_the_rest(&mut self, ended: bool) {
        let leaving = self.left();
        if leaving.is_empty() {
            return self.note_the_close(&[], ended);
        }
        // The program that closes the session may wait until this process has ended. Without room for another
        // process it waits a little longer.
        let _ = aside::go_on_in_a_child();
        self.wait_for(&leaving);
        let left = self.left();
        self.note_the_close(&left, ended);
        if left.is_empty() || !self.ends_the_rest() {
            return;
        }
        // A leader that lives on may open another session, whose processes would look like those of this one.
        if !self.leader_exits() {
            self.dismiss(State::Closed);
            let error = "cannot stay with what is left: the process that opened the session goes on";
            return self.error(error);
        }
        self.judge.stay(Moment::now(), &self.assignment.settings);
        self.stay();
    }

    /// Whether what is left will be ended, or reported with `kill=none`.
    fn ends_the_rest(&self) -> bool {
        let settings = &self.assignment.settings;
        settings.limit.is_some() && settings.detached.is_some()
    }

    /// The processes that are left, the newest first.
    fn left(&self) -> Vec<Process> {
        let controlling = self.session.finder.controlling_sessions(&[], &self.session.leader, &[]);
        self.session.identity.left(&self.session.proc, &controlling)
    }

    /// Puts the close on record, and what is left. If the watchdog has ended the session and nothing is left,
    /// the record `ended` was the last one.
    fn note_the_close(&mut self, left: &[Process], ended: bool) {
        let names = left.iter().rev().filter_map(|one| self.session.proc.command_name(one.id.pid));
        let names = commands::field(names);
        if names.is_none() && ended {
            return;
        }
        let record = self.record(Event::Closed);
        let record = if names.is_some() { record.at(Severity::Info) } else { record };
        self.journal.write(&record.with_some(Key::Left, names));
    }

    /// Waits until the leader and these processes have left, but not for long.
    fn wait_for(&self, leaving: &[Process]) {
        let until = Moment::now().mono.saturating_add(LEFT_AFTER);
        let mut leaving = self.opened(leaving.iter().map(|process| process.id));
        loop {
            leaving.retain(|process| !process.has_exited());
            let leader = Some(&self.session.leader).filter(|leader| !leader.has_exited());
            let awaited: Vec<&PidFd> = leaving.iter().chain(leader).collect();
            if awaited.is_empty() || !pidfd::wait(&awaited, &mut [], until).is_ok_and(|woken| woken) {
                return;
            }
        }
    }

    /// Waits a limited time for the leader to exit. Returns whether it has exited. The watchdog answers `status` during
    /// this wait. It acts on `extend` and `end` only after the wait, at the first look at what is left.
    fn leader_exits(&mut self) -> bool {
        let until = Moment::now().mono.saturating_add(LEADER_EXITS);
        while !self.session.leader.has_exited() {
            let mut signals = [PollFd::new(self.session.signals.as_fd(), PollFlags::POLLIN)];
            if !pidfd::wait(&[&self.session.leader], &mut signals, until).is_ok_and(|woken| woken) {
                return false;
            }
            let came = self.session.signals.take();
            self.hear(&came);
            self.answer_status(State::Closed);
        }
        true
    }

    fn opened(&self, processes: impl Iterator<Item = ProcId>) -> Vec<PidFd> {
        processes.filter_map(|id| PidFd::of(&self.session.proc, id)).take(AWAITED).collect()
    }

    /// Stays with what is left until it is gone or ended, or until new settings leave it alone.
    fn stay(&mut self) {
        let (mut asked, mut holders) = (true, Vec::new());
        self.look_soon();
        loop {
            if self.doze(&holders) {
                holders.clear();
                self.set_alarm(Moment::now().boot.saturating_add(AFTER_AN_EXIT));
                continue;
            }
            if !self.ends_the_rest() {
                return;
            }
            holders.retain(|holder: &PidFd| !holder.has_exited());
            let now = Moment::now();
            let made = made::find(&self.session.proc, &self.left(), &mut self.offload);
            if made.as_ref().is_none_or(|made| made.denied) && std::mem::take(&mut asked) {
                self.error("cannot ask all terminals of what is left, which detached= needs");
            }
            if let Some(Made { holders: found, terminals, .. }) = &made {
                if found.is_empty() {
                    return self.journal.write(&self.record(Event::Closed));
                }
                holders = self.opened(found.iter().copied());
                self.session.terminals.clone_from(terminals);
            }
            // Somebody may type at a terminal that could not be asked.
            let samples = made.as_ref().filter(|made| !made.denied).map(|made| &made.samples);
            let look = self.judge.look_at_the_rest(now, samples);
            let due = self.looked(look);
            self.answer_waiting(due == Some(Due::End));
            if self.end_if_asked() {
                return;
            }
            match due {
                Some(Due::End) => return self.end_the_rest(),
                Some(Due::Report) => self.report(),
                Some(Due::Resume { away }) => self.resume(away),
                Some(Due::Warn { .. }) | None => {}
            }
        }
    }

    /// Sleeps until a look is due, or the clock was stepped. Returns `true` if instead a process is gone that
    /// had made a terminal.
    fn doze(&mut self, holders: &[PidFd]) -> bool {
        heap::trim();
        let holders: Vec<&PidFd> = holders.iter().collect();
        loop {
            let own = [self.session.signals.as_fd(), self.alarm.as_fd(), self.steps.as_fd()];
            let mut own = own.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let longest = if self.journal.is_behind() { RETRY } else { Nanos::MAX };
            let woken = pidfd::wait(&holders, &mut own, Moment::now().mono.saturating_add(longest));
            let [_, alarm, step] = own.map(|fd| fd.any().unwrap_or(false));
            let gone = holders.iter().any(|holder| holder.has_exited());
            if woken == Ok(false) {
                self.journal.flush();
            }
            if woken.is_err() {
                continue;
            }
            let came = self.session.signals.take();
            self.hear(&came);
            if step {
                if let Err(e) = self.steps.arm() {
                    self.error(&format!("cannot watch for steps of the clock: {e}"));
                }
            }
            if alarm {
                self.alarm.silence();
            }
            if alarm || step || gone || self.waiting.is_any() {
                return gone && !alarm && !step && !self.waiting.is_any();
            }
        }
    }

    /// Ends what is left.
    fn end_the_rest(&mut self) {
        let idle = self.judge.idle();
        let reason = notice::reason(idle, self.assignment.settings.detached.unwrap_or_default());
        self.terminate(Reach::Session, Event::Ending, idle, &reason, None);
    }
}
