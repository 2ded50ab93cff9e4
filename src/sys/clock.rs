//! The three clocks of a look, and the timers that end a sleep.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};

use super::timer;

/// Nanoseconds since boot or since the epoch, depending on the clock. The type has room for 292 years.
pub type Nanos = i64;

/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;

/// Seconds and nanoseconds as one number. A sum that does not fit is clamped. The types of the C library differ between
/// machines of 32 and 64 bits.
#[must_use]
pub fn nanos(seconds: impl Into<i64>, nanoseconds: impl Into<i64>) -> Nanos {
    seconds.into().saturating_mul(SECOND).saturating_add(nanoseconds.into())
}

/// Whole seconds, and the nanoseconds that are left.
fn parts(time: Nanos) -> [i64; 2] {
    [time / SECOND, time % SECOND]
}

/// A duration in nanoseconds. More than 292 years are clamped.
#[must_use]
pub fn from_duration(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// One instant on the three clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_BOOTTIME`. Nobody can step it, and it goes on during a suspend. It measures idle time.
    pub boot: Nanos,
    /// `CLOCK_MONOTONIC`. It stops during a suspend. It measures the time of a warning.
    pub mono: Nanos,
    /// `CLOCK_REALTIME`. The kernel's stamps on terminals use this clock. Privileged processes may step it.
    pub wall: Nanos,
}

impl Moment {
    /// Reads the clocks.
    ///
    /// The wall clock is read between two reads of the boot clock. If those are far apart, we were not
    /// scheduled in between. That must not look like a step of the wall clock, so all clocks are read again.
    #[must_use]
    pub fn now() -> Self {
        const READ_TRIES: usize = 8;
        const TOGETHER: Nanos = SECOND / 1000;
        let read = || (read(Clock::CLOCK_BOOTTIME), wall(), read(Clock::CLOCK_BOOTTIME));
        let mut best = read();
        for _ in 1..READ_TRIES {
            if best.2 - best.0 < TOGETHER {
                break;
            }
            let again = read();
            if again.2 - again.0 < best.2 - best.0 {
                best = again;
            }
        }
        let (before, wall, after) = best;
        let boot = before + (after - before) / 2;
        Self { boot, mono: self::read(Clock::CLOCK_MONOTONIC), wall }
    }

    /// Wall clock minus boot clock. It is constant until somebody steps the wall clock, because a slew changes
    /// the rate of both.
    #[must_use]
    pub fn offset(&self) -> Nanos {
        self.wall.saturating_sub(self.boot)
    }
}

/// clock_gettime(2) does not fail for a clock that the kernel knows, and every kernel since 2.6.39 knows these
/// clocks.
fn read(clock: Clock) -> Nanos {
    clock_gettime(clock).map_or(0, |t| nanos(t.tv_sec(), t.tv_nsec()))
}

/// The wall clock. The standard library reads it with 64 bits on every machine. On machines of 32 bits the C library's
/// usual function fails after 2038.
#[allow(clippy::disallowed_methods)]
fn wall() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or_else(|before| from_duration(before.duration()).saturating_neg(), from_duration)
}

/// A timeout for poll(2). It is rounded up, because 0 would make a busy loop of the last millisecond.
#[must_use]
pub fn timeout(left: Nanos) -> PollTimeout {
    PollTimeout::try_from(left.max(0).saturating_add(999_999) / 1_000_000).unwrap_or(PollTimeout::MAX)
}

pub fn pause(time: Nanos) {
    let _ = poll(&mut [], timeout(time));
}

/// Waits until one of the descriptors is ready. Returns `false` if the monotonic clock reaches `due` first.
///
/// # Errors
///
/// The errors of poll(2), except that a signal does not end the wait.
pub fn poll_until(fds: &mut [PollFd<'_>], due: Nanos) -> Result<bool, Errno> {
    loop {
        let left = due.saturating_sub(Moment::now().mono);
        if left <= 0 {
            return Ok(false);
        }
        match poll(fds, timeout(left)) {
            Err(Errno::EINTR) | Ok(0) => {}
            other => return other.map(|_| true),
        }
    }
}

/// Ends a sleep at a time of the boot clock.
#[derive(Debug)]
pub struct Alarm(TimerFd);

impl Alarm {
    /// # Errors
    ///
    /// The process or the system has no free descriptor.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        TimerFd::new(ClockId::CLOCK_BOOTTIME, flags).map(Self)
    }

    /// Sets the time. If that time has passed, the timer rings at once.
    ///
    /// # Errors
    ///
    /// With the times that we set, no error is known.
    pub fn set(&self, boot: Nanos) -> Result<(), Errno> {
        // Zero would switch the timer off.
        timer::set(&self.0, parts(boot.max(1)), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    /// Takes the ring, so that the descriptor is quiet until the next one.
    pub fn silence(&self) {
        let _ = self.0.wait();
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Becomes readable when the wall clock is stepped (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)).
#[derive(Debug)]
pub struct StepWatch(TimerFd);

impl StepWatch {
    /// # Errors
    ///
    /// The process or the system has no free descriptor.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let watch = Self(TimerFd::new(ClockId::CLOCK_REALTIME, flags)?);
        watch.arm()?;
        Ok(watch)
    }

    /// Arms the timer again. Each step makes it readable once.
    ///
    /// # Errors
    ///
    /// No error is known.
    pub fn arm(&self) -> Result<(), Errno> {
        // The timer never expires. Only its cancelling is useful.
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match timer::set(&self.0, parts(Nanos::MAX), flags) {
            // The timer is armed. The error says that the clock was stepped since the last time, which we
            // already know.
            Err(Errno::ECANCELED) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for StepWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_does_not_fit_is_clamped() {
        assert_eq!(nanos(i64::MAX, 5), i64::MAX);
        assert_eq!(nanos(i64::MIN, 0), i64::MIN);
        assert_eq!(nanos(2, 5), 2_000_000_005);
    }

    #[test]
    fn the_offset_is_steady_while_nobody_steps_the_clock() {
        let (a, b) = (Moment::now(), Moment::now());
        assert!(a.boot <= b.boot && a.mono <= b.mono);
        assert!((a.offset() - b.offset()).abs() < SECOND / 200);
    }

    #[test]
    fn a_timer_knows_times_after_2038() {
        const YEARS_100: Nanos = 100 * 365 * 86_400 * SECOND;
        let alarm = Alarm::new().unwrap();
        let due = Moment::now().boot + YEARS_100;
        alarm.set(due).unwrap();
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", alarm.as_fd().as_raw_fd())).unwrap();
        // "it_value: (3153599999, 999999131)" is the time that is left.
        let left = info.lines().find_map(|line| line.strip_prefix("it_value: (")).unwrap();
        let (seconds, nanoseconds) = left.trim_end_matches(')').split_once(", ").unwrap();
        let left = nanos(seconds.parse::<i64>().unwrap(), nanoseconds.parse::<i64>().unwrap());
        assert!(left <= due - Moment::now().boot + SECOND && left > YEARS_100 - 60 * SECOND, "{info}");
    }

    #[test]
    fn a_step_watch_is_quiet_while_nobody_steps_the_clock() {
        let watch = StepWatch::new().unwrap();
        let mut fds = [PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
    }
}
