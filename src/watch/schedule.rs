//! When to look next, and what to do about what a look showed: a state machine over injected time.

use std::time::Duration;

use crate::sys::clock::{Moment, Nanos, SECOND};

/// How often a warned session is looked at: a key that nobody reads shows in the input queue alone,
/// and one among forgeries only in a short window.
const WARNED_LOOKS: Nanos = 2 * SECOND;

/// What a look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// When somebody was last active, on the boot clock.
    pub last: Nanos,
    /// Whether the session has a terminal at all. One that has none is not judged.
    pub terminals: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the person that the session ends.
    Warn,
    /// Somebody was active after the warning.
    Resume,
    /// End the session.
    End,
    /// Record that the session would have been ended.
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watching,
    /// Warned at this time of the monotonic clock, about activity that ended then.
    Warned {
        at: Nanos,
        last: Nanos,
    },
    /// Reported, about activity that ended then.
    Reported {
        last: Nanos,
    },
}

/// The course of one session.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    limit: Nanos,
    warn: Nanos,
    report_only: bool,
    state: State,
}

impl Schedule {
    /// With `report_only` nobody is warned and nobody ended.
    #[must_use]
    pub fn new(limit: Duration, warn: Duration, report_only: bool) -> Self {
        let nanos = |d: Duration| Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX);
        let warn = if report_only { 0 } else { nanos(warn) };
        Self { limit: nanos(limit), warn, report_only, state: State::Watching }
    }

    /// After a look: what to do, and when on the boot clock to look again.
    #[must_use]
    pub fn next(&mut self, now: Moment, shown: Shown) -> (Option<Action>, Nanos) {
        match self.state {
            State::Watching => self.watch(now, shown),
            State::Warned { last, .. } | State::Reported { last }
                if shown.last > last || !shown.terminals =>
            {
                let resumed = matches!(self.state, State::Warned { .. }).then_some(Action::Resume);
                self.state = State::Watching;
                let (action, wake) = self.watch(now, shown);
                // A resumption is a look of its own: what else is due follows at once.
                if resumed.is_some() && action.is_some() {
                    self.state = State::Watching;
                    (resumed, now.boot)
                } else {
                    (resumed.or(action), wake)
                }
            }
            State::Warned { at, .. } => self.wait_out(now, shown, at),
            State::Reported { .. } => (None, now.boot.saturating_add(self.limit)),
        }
    }

    fn watch(&mut self, now: Moment, shown: Shown) -> (Option<Action>, Nanos) {
        // A terminal that appears right after this look is still found before it could be warned.
        let patience = self.limit - self.warn;
        if !shown.terminals {
            return (None, now.boot.saturating_add(patience));
        }
        let due = shown.last.saturating_add(patience);
        if now.boot < due {
            return (None, due);
        }
        if self.report_only {
            self.state = State::Reported { last: shown.last };
            return (Some(Action::Report), now.boot.saturating_add(self.limit));
        }
        if self.warn == 0 {
            return (Some(Action::End), now.boot);
        }
        self.state = State::Warned { at: now.mono, last: shown.last };
        let (_, wake) = self.wait_out(now, shown, now.mono);
        (Some(Action::Warn), wake)
    }

    /// The end comes when the limit has passed *and* the whole warning window, in which the machine
    /// was awake.
    fn wait_out(&self, now: Moment, shown: Shown, warned: Nanos) -> (Option<Action>, Nanos) {
        let window = self.warn - now.mono.saturating_sub(warned);
        let limit = shown.last.saturating_add(self.limit).saturating_sub(now.boot);
        let left = window.max(limit);
        if left <= 0 {
            return (Some(Action::End), now.boot);
        }
        (None, now.boot.saturating_add(left.min(WARNED_LOOKS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment { boot: seconds * SECOND, mono: seconds * SECOND, wall: seconds * SECOND }
    }

    fn shown(last: i64) -> Shown {
        Shown { last: last * SECOND, terminals: true }
    }

    fn schedule() -> Schedule {
        Schedule::new(Duration::from_secs(900), Duration::from_secs(60), false)
    }

    #[test]
    fn one_look_a_deadline() {
        let mut s = schedule();
        assert_eq!(s.next(at(0), shown(0)), (None, 840 * SECOND));
        assert_eq!(s.next(at(840), shown(800)), (None, 1640 * SECOND));
        assert_eq!(s.next(at(1640), shown(800)), (Some(Action::Warn), 1642 * SECOND));
        assert_eq!(s.next(at(1699), shown(800)), (None, 1700 * SECOND));
        assert_eq!(s.next(at(1700), shown(800)).0, Some(Action::End));
    }

    #[test]
    fn a_key_in_the_window_resumes() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, Some(Action::Warn));
        assert_eq!(s.next(at(842), shown(841)), (Some(Action::Resume), (841 + 840) * SECOND));
        assert_eq!(s.next(at(1681), shown(841)).0, Some(Action::Warn));
    }

    #[test]
    fn a_key_before_a_suspend_resumes_and_the_warning_follows() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, Some(Action::Warn));
        let woken = at(4440);
        assert_eq!(s.next(woken, shown(841)), (Some(Action::Resume), woken.boot));
        assert_eq!(s.next(woken, shown(841)), (Some(Action::Warn), 4442 * SECOND));
        assert_eq!(s.next(at(4499), shown(841)).0, None);
        assert_eq!(s.next(at(4500), shown(841)).0, Some(Action::End));
    }

    #[test]
    fn a_suspend_does_not_eat_the_window() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, Some(Action::Warn));
        // An hour of sleep in the window: boot clock on, monotonic clock not.
        let woken = Moment { boot: 4440 * SECOND, ..at(841) };
        assert_eq!(s.next(woken, shown(0)), (None, 4442 * SECOND));
        assert_eq!(s.next(Moment { boot: 4499 * SECOND, ..at(900) }, shown(0)).0, Some(Action::End));
    }

    #[test]
    fn a_late_look_still_warns_in_full() {
        let mut s = schedule();
        assert_eq!(s.next(at(5000), shown(0)), (Some(Action::Warn), 5002 * SECOND));
        assert_eq!(s.next(at(5059), shown(0)).0, None);
        assert_eq!(s.next(at(5060), shown(0)).0, Some(Action::End));
    }

    #[test]
    fn a_session_without_terminals_is_not_judged() {
        let none = Shown { last: 0, terminals: false };
        let mut s = schedule();
        assert_eq!(s.next(at(100_000), none), (None, 100_840 * SECOND));
        assert_eq!(s.next(at(100_840), shown(0)).0, Some(Action::Warn));
        assert_eq!(s.next(at(100_842), none).0, Some(Action::Resume));
    }

    #[test]
    fn without_a_warning_the_limit_is_the_end() {
        let mut s = Schedule::new(Duration::from_secs(900), Duration::ZERO, false);
        assert_eq!(s.next(at(899), shown(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), shown(0)).0, Some(Action::End));
    }

    #[test]
    fn report_only_reports_once_for_each_idle_time() {
        let mut s = Schedule::new(Duration::from_secs(900), Duration::from_secs(60), true);
        assert_eq!(s.next(at(840), shown(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), shown(0)), (Some(Action::Report), 1800 * SECOND));
        assert_eq!(s.next(at(1800), shown(0)), (None, 2700 * SECOND));
        assert_eq!(s.next(at(2700), shown(2000)), (None, 2900 * SECOND));
        assert_eq!(s.next(at(2900), shown(2000)).0, Some(Action::Report));
    }
}
