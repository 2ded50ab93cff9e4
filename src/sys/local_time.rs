//! The time of day at this place, from the C library: it knows the time zone.

use std::mem::MaybeUninit;

// These have 64 bits on every machine. The functions of the libc crate have 32 bits on machines of 32 bits, which is enough
// until 2038.
unsafe extern "C" {
    #[cfg_attr(all(target_pointer_width = "32", not(target_arch = "riscv32")), link_name = "__localtime64_r")]
    fn localtime_r(at: *const i64, tm: *mut libc::tm) -> *mut libc::tm;
    #[cfg_attr(all(target_pointer_width = "32", not(target_arch = "riscv32")), link_name = "__mktime64")]
    fn mktime(tm: *mut libc::tm) -> i64;
}

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    pub year: i32,
    /// From 1.
    pub month: i32,
    /// From 1.
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
}

/// The local time of a moment, which is in seconds since the epoch.
#[must_use]
pub fn of(at: i64) -> Option<Civil> {
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: localtime_r reads the first pointer and writes to the second, and both are valid.
    let written = unsafe { localtime_r(&raw const at, tm.as_mut_ptr()) };
    if written.is_null() {
        return None;
    }
    // SAFETY: zeroes are a valid tm, and localtime_r has filled it.
    let tm = unsafe { tm.assume_init() };
    Some(Civil {
        year: tm.tm_year.checked_add(1900)?,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
    })
}

/// The moment of a local time, in seconds since the epoch. `None` for a date that does not exist.
#[must_use]
pub fn moment(civil: Civil) -> Option<i64> {
    // SAFETY: zeroes are a valid tm: integers, and no name of a zone.
    let mut tm: libc::tm = unsafe { MaybeUninit::zeroed().assume_init() };
    tm.tm_year = civil.year.checked_sub(1900)?;
    tm.tm_mon = civil.month.checked_sub(1)?;
    (tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec) = (civil.day, civil.hour, civil.minute, civil.second);
    // Whether it is summer time is for the library to find out.
    tm.tm_isdst = -1;
    // SAFETY: mktime reads and writes the tm, which is ours.
    let at = unsafe { mktime(&raw mut tm) };
    // mktime takes February 31 for a day in March.
    let same = (tm.tm_mon, tm.tm_mday) == (civil.month - 1, civil.day);
    (at != -1 && same).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_local_time_and_the_other_way_round() {
        for at in [0, 951_782_400, 1_795_687_200, 4_000_000_000] {
            assert_eq!(moment(of(at).unwrap()), Some(at));
        }
        assert_eq!(of(i64::MAX), None);
    }

    #[test]
    fn a_day_that_does_not_exist_has_no_moment() {
        let day = |month, day| Civil { year: 2026, month, day, hour: 0, minute: 0, second: 0 };
        assert!(moment(day(2, 28)).is_some());
        for (month, number) in [(2, 29), (2, 31), (13, 1), (0, 1), (1, 0)] {
            assert_eq!(moment(day(month, number)), None, "{month}-{number}");
        }
    }
}
