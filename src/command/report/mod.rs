//! `idle-watchdog report`: what the watchdogs of this machine did in a period, from the log.

mod about;
mod absences;
mod counts;
mod data;
mod text;
mod totals;

use std::io::{self, IsTerminal};
use std::time::Duration;

use nix::unistd::geteuid;

use super::args::ReportWanted;
use super::facts::Facts;
use super::machine::Machine;
use super::output::{BROKEN, CLEAN, complain, printable};
use super::records::calendar::Zone;
use super::records::{self, LogSource};
use crate::sys::clock::{Moment, SECOND};
pub use about::{SessionEnd, Whose};
pub use data::end as end_json;
pub use totals::Totals;

/// A period without `--since`.
const DEFAULT_PERIOD: &str = "7d";

/// A period, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub since: i64,
    pub until: i64,
}

/// All that a report says.
pub struct Report {
    facts: Facts,
    period: Period,
    /// Only this user counts.
    user: Option<String>,
    /// The limit that is tried.
    limit: Option<Duration>,
    source: LogSource,
    totals: Totals,
    zone: Zone,
}

impl Report {
    /// When the log begins, if that is later than the period.
    fn gap(&self) -> Option<i64> {
        // The first entry of a log that was not rotated is a moment after the start of the machine.
        self.source.begins.filter(|begins| *begins > self.period.since)
    }
}

/// Reads the log and prints the report. Returns the output and the exit status.
#[must_use]
pub fn run(wanted: &ReportWanted) -> (String, u8) {
    match made(wanted) {
        Err(why) => {
            complain(format_args!("idle-watchdog: {why}"));
            (String::new(), BROKEN)
        }
        Ok(report) if wanted.json => (printable(&format!("{:#}\n", data::json(&report))), CLEAN),
        Ok(report) if wanted.csv => (data::csv(&report), CLEAN),
        Ok(report) => (text::text(&report, io::stdout().is_terminal()), CLEAN),
    }
}

fn made(wanted: &ReportWanted) -> Result<Report, String> {
    let (zone, until) = (Zone::HERE, now());
    let since = zone.since(wanted.since.as_deref().unwrap_or(DEFAULT_PERIOD), until)?;
    if !geteuid().is_root() {
        return Err("only root can read the whole log".to_owned());
    }
    let period = Period { since, until };
    let (source, totals) = add_up(period, &zone, wanted.user.as_deref())?;
    Ok(Report {
        facts: Facts::of(&Machine::here()),
        period,
        user: wanted.user.clone(),
        limit: wanted.limit,
        source,
        totals,
        zone,
    })
}

/// Adds up the records of a period, of one user or of all.
///
/// # Errors
///
/// The log cannot be read, or there is none.
pub fn add_up(period: Period, zone: &Zone, user: Option<&str>) -> Result<(LogSource, Totals), String> {
    let mut totals = Totals::default();
    let source = records::read(period.since, period.until, zone, |entry| {
        if user.is_none_or(|user| user == entry.record.user()) {
            totals.take(entry, zone.hour(entry.at));
        }
    })?;
    totals.finish();
    Ok((source, totals))
}

/// Now, in seconds since the epoch.
#[must_use]
pub fn now() -> i64 {
    Moment::now().wall / SECOND
}

#[cfg(test)]
mod tests;
