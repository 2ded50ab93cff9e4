//! Dates: as an administrator writes them, and as a log has them. The time zone is a parameter.

use std::time::Duration;

use crate::policy::duration;
use crate::sys::local_time::{self, Civil};

/// The time zone.
#[derive(Clone, Copy)]
pub struct Zone {
    pub civil: fn(i64) -> Option<Civil>,
    pub moment: fn(Civil) -> Option<i64>,
}

impl Zone {
    /// The zone of this machine.
    pub const HERE: Self = Self { civil: local_time::of, moment: local_time::moment };

    /// The hour of the day.
    #[must_use]
    pub fn hour(&self, at: i64) -> usize {
        (self.civil)(at).and_then(|civil| usize::try_from(civil.hour).ok()).unwrap_or(0)
    }

    /// `2026-11-20 09:30`
    #[must_use]
    pub fn text(&self, at: i64) -> String {
        let text =
            |c: Civil| format!("{:04}-{:02}-{:02} {:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute);
        (self.civil)(at).map_or_else(|| at.to_string(), text)
    }

    /// When a period begins: `7d` before now, or at the start of a day, `2026-11-20`.
    ///
    /// # Errors
    ///
    /// The text is neither, or names a day that does not exist or is still to come. The error says so.
    pub fn since(&self, text: &str, now: i64) -> Result<i64, String> {
        let bad = || {
            format!("--since {text:?}: expected a duration such as 7d or 24h, or a date such as 2026-11-20")
        };
        if let Some(before) = duration::parse(text).filter(|before| *before > Duration::ZERO) {
            let before = i64::try_from(before.as_secs()).map_err(|_| bad())?;
            return now.checked_sub(before).ok_or_else(bad);
        }
        let (year, month, day) = date(text).ok_or_else(bad)?;
        let civil = Civil { year, month, day, hour: 0, minute: 0, second: 0 };
        let at = (self.moment)(civil).ok_or_else(|| format!("--since {text}: there is no such day"))?;
        if at > now { Err(format!("--since {text}: that day is still to come")) } else { Ok(at) }
    }
}

/// `2026-11-20`
fn date(text: &str) -> Option<(i32, i32, i32)> {
    let mut parts = text.split('-').zip([4, 2, 2]).map(|(part, digits)| number(part, digits));
    let date = (parts.next()??, parts.next()??, parts.next()??);
    (text.len() == 10).then_some(date)
}

/// A number of this many digits.
fn number(text: &str, digits: usize) -> Option<i32> {
    (text.len() == digits && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The seconds since the epoch of a time in UTC.
#[must_use]
pub fn utc(civil: Civil) -> Option<i64> {
    let Civil { year, month, day, hour, minute, second } = civil;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // A year that begins in March has its leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
}

/// The time at the start of a log line, and the rest of the line after a space. It is
/// `2026-11-27T09:41:40.1234+01:00` or `Nov 27 09:41:40`, which is local and has no year: it is the last one that
/// has passed, or will within a day.
#[must_use]
pub fn stamp<'a>(line: &'a str, now: i64, zone: &Zone) -> Option<(i64, &'a str)> {
    if line.starts_with(|c: char| c.is_ascii_digit()) {
        let (time, rest) = line.split_once(' ')?;
        return Some((iso(time)?, rest));
    }
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (start, rest) = (line.get(..15)?, line.get(15..)?.strip_prefix(' ')?);
    let month = MONTHS.find(start.get(..3)?).filter(|at| at % 3 == 0)? / 3 + 1;
    let day = start.get(3..6)?.strip_prefix(' ')?.trim_start();
    let (hour, minute, second) = time_of_day(start.get(6..)?.strip_prefix(' ')?)?;
    let (month, day) = (i32::try_from(month).ok()?, number(day, day.len())?);
    let year = (zone.civil)(now)?.year;
    let at = |year| (zone.moment)(Civil { year, month, day, hour, minute, second });
    // A leap day may be eight years ago.
    let year = (0..=8).map(|before| year + 1 - before);
    let at = year.filter_map(at).find(|at| *at <= now.saturating_add(86_400))?;
    Some((at, rest))
}

/// `09:41:40`
fn time_of_day(text: &str) -> Option<(i32, i32, i32)> {
    let mut parts = text.split(':').map(|part| number(part, 2));
    let time = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && time.0 < 24 && time.1 < 60 && time.2 < 61).then_some(time)
}

/// `2026-11-27T09:41:40.1234+01:00`, with or without a fraction, or with a `Z`.
fn iso(text: &str) -> Option<i64> {
    let (day, time) = text.split_once('T')?;
    let (year, month, day) = date(day)?;
    let (hour, minute, second) = time_of_day(time.get(..8)?)?;
    let zone = time.get(8..)?;
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => zone,
    };
    let offset = if zone == "Z" {
        0
    } else {
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let offset = i64::from(number(hours, 2)?) * 3600 + i64::from(number(minutes, 2)?) * 60;
        match zone.get(..1)? {
            "+" => offset,
            "-" => -offset,
            _ => return None,
        }
    };
    Some(utc(Civil { year, month, day, hour, minute, second })? - offset)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// UTC, in which the tests live.
    pub const UTC: Zone = Zone { civil: in_utc, moment: utc };
    /// 2026-11-27 10:00:00 UTC
    pub const NOW: i64 = 1_795_773_600;

    fn in_utc(at: i64) -> Option<Civil> {
        let (days, rest) = (at.div_euclid(86_400), i32::try_from(at.rem_euclid(86_400)).ok()?);
        let from = |year| utc(Civil { year, month: 1, day: 1, hour: 0, minute: 0, second: 0 });
        let year = (1900..3000).rev().find(|year| from(*year).is_some_and(|start| start <= at))?;
        let month = (1..=12).rev();
        let start = |month| utc(Civil { year, month, day: 1, hour: 0, minute: 0, second: 0 });
        let month = month.into_iter().find(|month| start(*month).is_some_and(|start| start <= at))?;
        let day = i32::try_from(days - start(month)? / 86_400).ok()? + 1;
        Some(Civil { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 })
    }

    #[test]
    fn a_period_begins_a_while_ago_or_with_a_day() {
        assert_eq!(UTC.text(NOW), "2026-11-27 10:00");
        assert_eq!(UTC.since("7d", NOW), Ok(NOW - 7 * 86_400));
        assert_eq!(UTC.since("90", NOW), Ok(NOW - 90));
        assert_eq!(UTC.since("2026-11-20", NOW), Ok(NOW - 7 * 86_400 - 10 * 3600));
        for bad in ["", "0", "x", "-7d", "7 d", "2026-11", "2026-11-20T10:00", "26-11-2020", "2026-1-20-1"] {
            let error = UTC.since(bad, NOW).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")) && error.contains("expected"), "{bad}: {error}");
        }
        assert!(Zone::HERE.since("2026-02-30", NOW).unwrap_err().contains("no such day"));
        assert!(UTC.since("2026-11-28", NOW).unwrap_err().contains("still to come"));
        assert!(UTC.since("99999999999999999999d", NOW).is_err());
    }

    #[test]
    fn the_time_of_a_log_line_is_read() {
        let read = |line| stamp(line, NOW, &UTC);
        for line in [
            "2026-11-27T09:41:40.123456+00:00 x",
            "2026-11-27T10:41:40+01:00 x",
            "2026-11-27T04:11:40.1-05:30 x",
            "2026-11-27T09:41:40Z x",
            "Nov 27 09:41:40 x",
        ] {
            assert_eq!(read(line), Some((NOW - 18 * 60 - 20, "x")), "{line}");
        }
        // The year is the last one that fits.
        assert_eq!(read("Nov  1 00:00:00 x"), Some((NOW - 26 * 86_400 - 36_000, "x")));
        assert_eq!(read("Nov 28 09:59:59 x").map(|(at, _)| at - NOW), Some(86_399));
        assert_eq!(read("Dec 27 10:00:00 x").map(|(at, _)| NOW - at), Some(335 * 86_400));
        for bad in [
            "",
            "Nov 27 09:41:40",
            "Nov 27 09:41 x y z",
            "Nop 27 09:41:40 x",
            "ovD 27 09:41:40 x",
            "Nov 27 25:41:40 x",
            "2026-11-27 09:41:40 x",
            "2026-13-27T09:41:40Z x",
            "2026-11-27T09:41:40 x",
            "2026-11-27T09:41:40*01:00 x",
            "Növ 27 09:41:40 x",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn utc_is_what_the_calendar_says(at in -2_000_000_000i64..4_000_000_000) {
            prop_assert_eq!(utc(in_utc(at).unwrap()), Some(at));
        }

        #[test]
        fn no_line_makes_it_panic(line in ".*") {
            let _ = stamp(&line, NOW, &UTC);
            let _ = UTC.since(&line, NOW);
        }
    }
}
