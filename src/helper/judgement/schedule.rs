//! What is due after a look, and when to look again. A state machine. Time is a parameter.

use std::time::Duration;

use crate::sys::clock::{Moment, Nanos, SECOND, from_duration};

/// A time that never comes.
pub const NEVER: Nanos = Nanos::MAX;

/// How often a warned session is looked at. If no program reads a key, the key shows only in the input queue.
/// If somebody forges stamps, a key shows only for a short time.
const WARNED_LOOKS: Nanos = 2 * SECOND;

/// How often a reported session is looked at: once in this part of the time that it has been idle. A look shows
/// only the last key, so the time of the first one is known to this part. A night costs about eighty looks.
const REPORTED_LOOKS: Nanos = 20;

/// What decides whether a session is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedBy {
    /// The session's terminals.
    Terminals,
    /// It has no terminals. It is judged by its connection.
    Connection,
    /// It is not judged. It has neither, or there is no limit for its connection.
    Nothing,
}

/// What a look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// When somebody was last active, on the boot clock.
    pub last: Nanos,
    /// What decides about the session.
    pub by: JudgedBy,
    /// The end must not come before this time.
    pub undecided: Option<Nanos>,
}

/// What is due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Tell the person that the session ends.
    Warn {
        /// How long before the end this is.
        left: Duration,
    },
    /// Somebody was active after the warning, or after the report.
    Resume {
        /// How long nobody had been active. `None` if there was no activity: what decides about the session has
        /// changed.
        away: Option<Duration>,
    },
    /// End the session.
    End,
    /// Record that the session would have been ended.
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Watching,
    /// Warned because of what was shown. `at` is the time of the first warning on the monotonic clock. `given`
    /// is the number of warnings so far.
    Warned {
        of: Shown,
        at: Nanos,
        given: usize,
    },
    /// Reported because of what was shown.
    Reported {
        of: Shown,
    },
}

/// The course of one session.
#[derive(Clone, Debug)]
pub struct Schedule {
    limit: Option<Nanos>,
    notty: Option<Nanos>,
    /// The longest first.
    warn: Vec<Nanos>,
    report_only: bool,
    stage: Stage,
}

impl Schedule {
    /// Without `limit` nothing is judged. `notty` is the limit of a session without terminals. `warn` says how
    /// long before the end each warning comes, the longest time first. With `report_only` there are no warnings
    /// and no end.
    #[must_use]
    pub fn new(
        limit: Option<Duration>,
        notty: Option<Duration>,
        warn: &[Duration],
        report_only: bool,
    ) -> Self {
        let warn = if report_only { Vec::new() } else { warn.iter().copied().map(from_duration).collect() };
        Self {
            limit: limit.map(from_duration),
            notty: notty.map(from_duration),
            warn,
            report_only,
            stage: Stage::Watching,
        }
    }

    /// Takes the result of a look. Returns what to do now, and when to look again, on the boot clock.
    #[must_use]
    pub fn next(&mut self, now: Moment, shown: Shown) -> (Option<Due>, Nanos) {
        let Some(limit) = self.limit else { return (None, NEVER) };
        match self.stage {
            Stage::Watching => self.watch(now, shown, limit),
            Stage::Warned { of, .. } | Stage::Reported { of }
                if shown.last > of.last || shown.by != of.by =>
            {
                let away = (shown.last > of.last).then(|| to_duration(shown.last.saturating_sub(of.last)));
                let warned = matches!(self.stage, Stage::Warned { .. });
                let resumed = (warned || away.is_some()).then_some(Due::Resume { away });
                self.stage = Stage::Watching;
                let (action, wake) = self.watch(now, shown, limit);
                // The resumption comes first. The next look comes at once and does what else is due.
                if resumed.is_some() && action.is_some() {
                    self.stage = Stage::Watching;
                    (resumed, now.boot)
                } else {
                    (resumed.or(action), wake)
                }
            }
            Stage::Warned { at, given, .. } => self.wait_out(now, shown, limit, at, given),
            Stage::Reported { of } => (None, reported_look(now, of)),
        }
    }

    /// Whether a warning or the end would be due if this is all that is known.
    #[must_use]
    pub fn is_due(&self, now: Moment, shown: Shown) -> bool {
        self.limit.and_then(|limit| self.due(shown, limit)).is_some_and(|due| now.boot >= due)
    }

    /// How long after the last activity on a terminal there is nothing to do.
    fn patience(&self, limit: Nanos) -> Nanos {
        limit.saturating_sub(self.warn.first().copied().unwrap_or(0))
    }

    fn due(&self, shown: Shown, limit: Nanos) -> Option<Nanos> {
        let patience = match shown.by {
            JudgedBy::Nothing => return None,
            JudgedBy::Terminals => self.patience(limit),
            JudgedBy::Connection => self.notty.unwrap_or(NEVER),
        };
        Some(shown.last.saturating_add(patience))
    }

    fn watch(&mut self, now: Moment, shown: Shown, limit: Nanos) -> (Option<Due>, Nanos) {
        // A terminal may appear right after this look. The next look finds it before a warning could be due there.
        let latest = now.boot.saturating_add(self.patience(limit));
        let Some(due) = self.due(shown, limit) else { return (None, latest) };
        if now.boot < due {
            return (None, due.min(latest));
        }
        // On a connection there is nothing to write a warning on.
        let unwarned = self.report_only || self.warn.is_empty() || shown.by == JudgedBy::Connection;
        if let (true, Some(until)) = (unwarned, shown.undecided) {
            return (None, until);
        }
        if self.report_only {
            self.stage = Stage::Reported { of: shown };
            return (Some(Due::Report), reported_look(now, shown));
        }
        if unwarned {
            return (Some(Due::End), now.boot);
        }
        self.stage = Stage::Warned { of: shown, at: now.mono, given: 0 };
        self.wait_out(now, shown, limit, now.mono, 0)
    }

    /// The end comes when the limit has passed and the machine was awake for the whole time of the first
    /// warning. Each later warning comes as long before the end as its setting says.
    fn wait_out(
        &mut self,
        now: Moment,
        shown: Shown,
        limit: Nanos,
        warned: Nanos,
        given: usize,
    ) -> (Option<Due>, Nanos) {
        let window = self.warn.first().copied().unwrap_or(0).saturating_sub(now.mono.saturating_sub(warned));
        let left = window.max(shown.last.saturating_add(limit).saturating_sub(now.boot));
        if left <= 0 {
            return shown.undecided.map_or((Some(Due::End), now.boot), |until| (None, until));
        }
        // Several warnings are due at the same time only on a starved machine. Then one warning is enough.
        let due = self.warn.iter().take_while(|warn| **warn >= left).count();
        let next = self.warn.get(due).map_or(left, |warn| left - warn);
        let wake = now.boot.saturating_add(next.min(WARNED_LOOKS));
        if due <= given {
            return (None, wake);
        }
        self.stage = Stage::Warned { of: shown, at: warned, given: due };
        let nominal = self.warn.iter().copied().take(due).next_back().unwrap_or(left);
        let said = if nominal - left < SECOND { nominal } else { left };
        (Some(Due::Warn { left: to_duration(said) }), wake)
    }
}

/// When to look again at a session that was reported because of what was shown.
fn reported_look(now: Moment, of: Shown) -> Nanos {
    let idle = now.boot.saturating_sub(of.last);
    now.boot.saturating_add((idle / REPORTED_LOOKS).max(WARNED_LOOKS))
}

fn to_duration(time: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(time).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment { boot: seconds * SECOND, mono: seconds * SECOND, wall: seconds * SECOND }
    }

    fn shown(last: i64) -> Shown {
        Shown { last: last * SECOND, by: JudgedBy::Terminals, undecided: None }
    }

    fn warned_at(warn: &[u64]) -> Schedule {
        let warn: Vec<Duration> = warn.iter().copied().map(Duration::from_secs).collect();
        Schedule::new(Some(Duration::from_secs(900)), None, &warn, false)
    }

    fn schedule() -> Schedule {
        warned_at(&[60])
    }

    fn warn(left: u64) -> Option<Due> {
        Some(Due::Warn { left: Duration::from_secs(left) })
    }

    fn resume(away: u64) -> Option<Due> {
        Some(Due::Resume { away: Some(Duration::from_secs(away)) })
    }

    #[test]
    fn one_look_a_deadline() {
        let mut s = schedule();
        assert_eq!(s.next(at(0), shown(0)), (None, 840 * SECOND));
        assert_eq!(s.next(at(840), shown(800)), (None, 1640 * SECOND));
        assert_eq!(s.next(at(1640), shown(800)), (warn(60), 1642 * SECOND));
        assert_eq!(s.next(at(1699), shown(800)), (None, 1700 * SECOND));
        assert_eq!(s.next(at(1700), shown(800)).0, Some(Due::End));
    }

    #[test]
    fn a_key_in_the_window_resumes() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, warn(60));
        assert_eq!(s.next(at(842), shown(841)), (resume(841), (841 + 840) * SECOND));
        assert_eq!(s.next(at(1681), shown(841)).0, warn(60));
    }

    #[test]
    fn a_key_before_a_suspend_resumes_and_the_warning_follows() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, warn(60));
        let woken = at(4440);
        assert_eq!(s.next(woken, shown(841)), (resume(841), woken.boot));
        assert_eq!(s.next(woken, shown(841)), (warn(60), 4442 * SECOND));
        assert_eq!(s.next(at(4499), shown(841)).0, None);
        assert_eq!(s.next(at(4500), shown(841)).0, Some(Due::End));
    }

    #[test]
    fn a_suspend_does_not_eat_the_window() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, warn(60));
        // An hour of suspend during the warning: the boot clock goes on, the monotonic clock does not.
        let woken = Moment { boot: 4440 * SECOND, ..at(841) };
        assert_eq!(s.next(woken, shown(0)), (None, 4442 * SECOND));
        assert_eq!(s.next(Moment { boot: 4499 * SECOND, ..at(900) }, shown(0)).0, Some(Due::End));
    }

    #[test]
    fn a_late_look_still_warns_in_full() {
        let mut s = schedule();
        assert_eq!(s.next(at(5000), shown(0)), (warn(60), 5002 * SECOND));
        assert_eq!(s.next(at(5059), shown(0)).0, None);
        assert_eq!(s.next(at(5060), shown(0)).0, Some(Due::End));
    }

    #[test]
    fn a_session_without_terminals_is_not_judged() {
        let none = Shown { by: JudgedBy::Nothing, ..shown(0) };
        let mut s = schedule();
        assert_eq!(s.next(at(100_000), none), (None, 100_840 * SECOND));
        assert_eq!(s.next(at(100_840), shown(0)).0, warn(60));
        assert_eq!(s.next(at(100_842), none).0, Some(Due::Resume { away: None }));
    }

    #[test]
    fn without_a_warning_the_limit_is_the_end() {
        let mut s = warned_at(&[]);
        assert_eq!(s.next(at(899), shown(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), shown(0)).0, Some(Due::End));
    }

    #[test]
    fn report_only_reports_once_for_each_idle_time() {
        let mut s = Schedule::new(Some(Duration::from_secs(900)), None, &[Duration::from_secs(60)], true);
        assert_eq!(s.next(at(840), shown(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), shown(0)), (Some(Due::Report), 945 * SECOND));
        assert_eq!(s.next(at(1800), shown(0)), (None, 1890 * SECOND));
        assert_eq!(s.next(at(2010), shown(2000)), (resume(2000), 2900 * SECOND));
        assert_eq!(s.next(at(2900), shown(2000)).0, Some(Due::Report));
        // The terminal is gone, but nobody came back.
        let none = Shown { by: JudgedBy::Nothing, ..shown(2000) };
        assert_eq!(s.next(at(2950), none), (None, 3850 * SECOND));
    }

    #[test]
    fn each_warning_comes_once_and_in_its_place() {
        let mut s = warned_at(&[300, 60, 59]);
        assert_eq!(s.next(at(0), shown(0)), (None, 600 * SECOND));
        assert_eq!(s.next(at(600), shown(0)), (warn(300), 602 * SECOND));
        assert_eq!(s.next(at(839), shown(0)), (None, 840 * SECOND));
        assert_eq!(s.next(at(840), shown(0)), (warn(60), 841 * SECOND));
        assert_eq!(s.next(at(841), shown(0)), (warn(59), 843 * SECOND));
        assert_eq!(s.next(at(899), shown(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), shown(0)).0, Some(Due::End));
    }

    #[test]
    fn a_key_after_any_warning_cancels_all() {
        let mut s = warned_at(&[300, 60]);
        assert_eq!(s.next(at(600), shown(0)).0, warn(300));
        assert_eq!(s.next(at(840), shown(0)).0, warn(60));
        assert_eq!(s.next(at(842), shown(841)), (resume(841), (841 + 600) * SECOND));
        assert_eq!(s.next(at(1441), shown(841)).0, warn(300));
        assert_eq!(s.next(at(1681), shown(841)).0, warn(60));
        assert_eq!(s.next(at(1741), shown(841)).0, Some(Due::End));
    }

    #[test]
    fn after_a_late_look_the_later_warnings_keep_their_places() {
        let mut s = warned_at(&[300, 60]);
        assert_eq!(s.next(at(5000), shown(0)).0, warn(300));
        assert_eq!(s.next(at(5239), shown(0)), (None, 5240 * SECOND));
        assert_eq!(s.next(at(5240), shown(0)).0, warn(60));
        assert_eq!(s.next(at(5300), shown(0)).0, Some(Due::End));
    }

    #[test]
    fn a_starved_machine_warns_once_of_what_is_left() {
        let mut s = warned_at(&[300, 60, 30]);
        assert_eq!(s.next(at(600), shown(0)).0, warn(300));
        assert_eq!(s.next(at(880), shown(0)), (warn(20), 882 * SECOND));
        assert_eq!(s.next(at(882), shown(0)).0, None);
    }

    #[test]
    fn activity_that_comes_to_light_too_late_is_warned_of_in_full() {
        let mut s = schedule();
        assert_eq!(s.next(at(840), shown(0)).0, warn(60));
        assert_eq!(s.next(at(5000), shown(10)), (resume(10), 5000 * SECOND));
        assert_eq!(s.next(at(5000), shown(10)).0, warn(60));
    }

    #[test]
    fn a_connection_has_a_limit_of_its_own_and_no_warning() {
        let seconds = |n| Some(Duration::from_secs(n));
        let by_connection = |last: i64| Shown { by: JudgedBy::Connection, ..shown(last) };
        let mut s = Schedule::new(seconds(900), seconds(2000), &[Duration::from_secs(60)], false);
        // A terminal may appear meanwhile.
        assert_eq!(s.next(at(0), by_connection(0)), (None, 840 * SECOND));
        assert_eq!(s.next(at(1680), by_connection(0)), (None, 2000 * SECOND));
        assert_eq!(s.next(at(2000), by_connection(1990)), (None, 2840 * SECOND));
        assert_eq!(s.next(at(2840), shown(2800)), (None, 3640 * SECOND));
        assert_eq!(s.next(at(3640), shown(2800)).0, warn(60));
        assert_eq!(s.next(at(3650), by_connection(3649)).0, resume(849));
        assert_eq!(s.next(at(5649), by_connection(3649)).0, Some(Due::End));
    }

    #[test]
    fn the_end_does_not_come_while_it_is_undecided() {
        let undecided = Shown { undecided: Some(930 * SECOND), ..shown(0) };
        let mut s = schedule();
        assert!(!s.is_due(at(839), undecided) && s.is_due(at(840), undecided));
        assert_eq!(s.next(at(840), undecided), (warn(60), 842 * SECOND));
        assert_eq!(s.next(at(900), undecided), (None, 930 * SECOND));
        assert_eq!(s.next(at(930), shown(0)).0, Some(Due::End));
        for report_only in [false, true] {
            let mut s = Schedule::new(Some(Duration::from_secs(900)), None, &[], report_only);
            assert_eq!(s.next(at(912), undecided), (None, 930 * SECOND));
            assert!(s.next(at(930), shown(0)).0.is_some());
        }
    }

    #[test]
    fn without_a_limit_nothing_is_judged() {
        let mut s = Schedule::new(None, Some(Duration::from_secs(10)), &[Duration::from_secs(60)], false);
        for by in [JudgedBy::Terminals, JudgedBy::Connection, JudgedBy::Nothing] {
            assert_eq!(s.next(at(1_000_000), Shown { by, ..shown(0) }), (None, NEVER));
        }
    }
}
