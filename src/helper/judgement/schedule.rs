//! What is due after a look, and when to look again. A state machine. Time is a parameter.

use std::time::Duration;

use crate::sys::clock::{Moment, Nanos, SECOND, from_duration};

/// A time that never comes.
pub const NEVER: Nanos = Nanos::MAX;

/// A time before all others.
const NEVER_YET: Nanos = Nanos::MIN;

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
    /// The session has closed. What is left is judged by the terminals that it has made.
    Detached,
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
    /// An administrator has ruled out the end before this time of the boot clock.
    not_before: Nanos,
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
            not_before: NEVER_YET,
            stage: Stage::Watching,
        }
    }

    /// Rules out the end before `until`, on the boot clock. An earlier `until` has no effect, so nothing comes
    /// sooner. If the person was warned of an end that is now too early, the warnings start again later.
    pub fn extend(&mut self, now: Moment, until: Nanos) {
        if let Stage::Warned { of, at, .. } = self.stage {
            if now.boot.saturating_add(self.left(now, of, at)) < until {
                self.stage = Stage::Watching;
            }
        }
        self.not_before = self.not_before.max(until);
    }

    /// When the end may come at the earliest, on the boot clock, if an administrator has ruled it out until
    /// then.
    #[must_use]
    pub fn not_before(&self) -> Option<Nanos> {
        (self.not_before > NEVER_YET).then_some(self.not_before)
    }

    /// Whether the person was warned, and nobody has been active since.
    #[must_use]
    pub fn is_warned(&self) -> bool {
        matches!(self.stage, Stage::Warned { .. })
    }

    /// How long until the end if nobody is active. `None` if there is no end.
    #[must_use]
    pub fn ends_in(&self, now: Moment, shown: Shown) -> Option<Nanos> {
        if self.report_only {
            return None;
        }
        let left = match self.stage {
            Stage::Warned { at, .. } => self.left(now, shown, at),
            // The whole warning comes first.
            _ => self.left(now, shown, now.mono),
        };
        let left = match shown.by {
            JudgedBy::Nothing => return None,
            JudgedBy::Connection => self.deadline(shown)?.saturating_sub(now.boot),
            JudgedBy::Terminals | JudgedBy::Detached => self.limit.map(|_| left)?,
        };
        let undecided = shown.undecided.map_or(0, |until| until.saturating_sub(now.boot));
        Some(left.max(undecided).max(0))
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
            Stage::Warned { at, given, .. } => self.wait_out(now, shown, at, given),
            Stage::Reported { of } => (None, reported_look(now, of)),
        }
    }

    /// Whether a warning or the end would be due if this is all that is known.
    #[must_use]
    pub fn is_due(&self, now: Moment, shown: Shown) -> bool {
        self.due(shown).is_some_and(|due| now.boot >= due)
    }

    /// How long after the last activity on a terminal there is nothing to do.
    fn patience(&self, limit: Nanos) -> Nanos {
        limit.saturating_sub(self.longest_warning())
    }

    /// When the session has been idle for its limit and may end.
    fn deadline(&self, shown: Shown) -> Option<Nanos> {
        let limit = match shown.by {
            JudgedBy::Nothing => return None,
            JudgedBy::Terminals | JudgedBy::Detached => self.limit?,
            JudgedBy::Connection => self.limit.and(self.notty)?,
        };
        Some(shown.last.saturating_add(limit).max(self.not_before))
    }

    /// When the first warning or the end is due.
    fn due(&self, shown: Shown) -> Option<Nanos> {
        let warning = match shown.by {
            JudgedBy::Terminals | JudgedBy::Detached => self.longest_warning(),
            JudgedBy::Connection | JudgedBy::Nothing => 0,
        };
        Some(self.deadline(shown)?.saturating_sub(warning))
    }

    fn longest_warning(&self) -> Nanos {
        self.warn.first().copied().unwrap_or(0)
    }

    /// How long until the end of a session that was first warned at `warned`, on the monotonic clock.
    fn left(&self, now: Moment, shown: Shown, warned: Nanos) -> Nanos {
        let window = self.longest_warning().saturating_sub(now.mono.saturating_sub(warned));
        let deadline = shown.last.saturating_add(self.limit.unwrap_or(NEVER)).max(self.not_before);
        window.max(deadline.saturating_sub(now.boot))
    }

    fn watch(&mut self, now: Moment, shown: Shown, limit: Nanos) -> (Option<Due>, Nanos) {
        // A terminal may appear right after this look. The next look finds it before a warning could be due there.
        let latest = now.boot.saturating_add(self.patience(limit));
        let Some(due) = self.due(shown) else { return (None, latest) };
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
        self.wait_out(now, shown, now.mono, 0)
    }

    /// The end comes when the limit has passed and the machine was awake for the whole time of the first
    /// warning. Each later warning comes as long before the end as its setting says.
    fn wait_out(&mut self, now: Moment, shown: Shown, warned: Nanos, given: usize) -> (Option<Due>, Nanos) {
        let left = self.left(now, shown, warned);
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
mod tests;
