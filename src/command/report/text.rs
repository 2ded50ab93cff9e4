//! The report as text, for a terminal of 80 columns.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::about::{SessionEnd, Whose};
use super::absences::{Trial, Until};
use super::counts::{Counts, Happening};
use super::{Period, Report};
use crate::policy::duration;
use crate::record::shown;

/// The widest bar of a histogram.
const BAR: usize = 40;
/// How many rows a table has. A log may have thousands of users.
const ROWS: usize = 20;

/// The report. With `bars` the histogram is drawn.
#[must_use]
pub fn text(report: &Report, bars: bool) -> String {
    let mut lines = head(report);
    lines.extend(summary(report));
    lines.extend(report.limit.map(|limit| trial(report, limit)).unwrap_or_default());
    if bars {
        lines.extend(histogram(report));
    }
    let totals = &report.totals;
    lines.extend(table("user", &by_size(&totals.by_user), |user| shown(user)));
    lines.extend(table("rule", &by_size(&totals.by_rule), rule_name));
    let hours: Vec<(&usize, &Counts)> = totals.by_hour.iter().collect();
    lines.extend(table("hour", &hours, |hour| format!("{hour:02}:00")));
    lines.concat()
}

fn line(name: &str, value: impl Display) -> String {
    format!("{name:<14}{value}\n")
}

fn seconds(seconds: impl Into<u64>) -> String {
    duration::print(Duration::from_secs(seconds.into()))
}

/// Which machine, which period, which programs, which log.
fn head(report: &Report) -> Vec<String> {
    let Report { facts, period: Period { since, until }, source, zone, .. } = report;
    let mut lines = vec![
        line("host", shown(&facts.host)),
        line("period", format_args!("{} to {}", zone.text(*since), zone.text(*until))),
    ];
    lines.extend(report.user.iter().map(|user| line("only user", shown(user))));
    lines.extend(facts.versions.iter().map(|(name, version)| line(name, shown(version))));
    let records = report.totals.records;
    lines.push(line("log", format_args!("{}; {records} records", shown(&source.name))));
    if !source.is_trusted {
        lines.push(line("", "This log does not say who wrote a line."));
        lines.push(line("", "Any user can write one like ours."));
    }
    lines.extend(report.gap().map(|from| {
        line("", format_args!("It begins at {}. What was before is not known.", zone.text(from)))
    }));
    lines.extend(
        source.left_out.iter().map(|file| line("", format_args!("{} is compressed: not read.", shown(file)))),
    );
    lines
}

fn summary(report: &Report) -> Vec<String> {
    let totals = &report.totals;
    let times = |what: Happening| totals.times.of(what);
    let both = |what| match totals.sessions.of(what) {
        0 => times(what).to_string(),
        sessions => {
            let times = times(what);
            format!("{times} {}, in {sessions} {}", noun(times, "time"), noun(sessions, "session"))
        }
    };
    let mut lines = vec![
        "\n".to_owned(),
        line(
            "watched",
            format_args!("{} {}", times(Happening::Watched), noun(times(Happening::Watched), "session")),
        ),
        line("warned", both(Happening::Warned)),
        line("resumed", both(Happening::Resumed)),
        line(
            "ended",
            format_args!("{} idle; {} for another reason", times(Happening::Ended), totals.other_ends),
        ),
        line("would-end", both(Happening::WouldEnd)),
        line("exempt", times(Happening::Exempt)),
        line("refused", times(Happening::Refused)),
        line("unguarded", times(Happening::Unguarded)),
    ];
    let longest = totals.absences.longest().map_or_else(
        || "no absence on record".to_owned(),
        |(longest, Whose { user, at, .. })| {
            format!("{}, {}, {}", seconds(longest), shown(user), report.zone.text(*at))
        },
    );
    lines.push(line("longest idle", longest));
    lines.push(line(
        "survivors",
        match totals.survivor_count {
            0 => "none".to_owned(),
            count => format!("in {count} {}", noun(count, "end")),
        },
    ));
    lines.extend(totals.survivors.iter().map(|end| {
        let SessionEnd { about: Whose { at, user, .. }, survivors, .. } = end;
        let pids = survivors.as_deref().unwrap_or_default();
        line("", format_args!("{} {}: {}", report.zone.text(*at), shown(user), shown(pids)))
    }));
    lines
}

fn noun(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// What another limit would have done, and what is not known about it.
fn trial(report: &Report, limit: Duration) -> Vec<String> {
    let absences = &report.totals.absences;
    let Trial { ended, of_people_who_came_back, shorter, unknown } = absences.try_limit(limit);
    let mut lines = vec![
        format!("\nA limit of {}, and the {} absences on record:\n", duration::print(limit), absences.len()),
        line("  ends", format_args!("{ended}; after {of_people_who_came_back} of them the person came back")),
        line("  leaves", shorter),
        line("  not known", format_args!("{unknown}: the session was over before this limit")),
    ];
    let from = report.totals.recorded_from.last().copied().unwrap_or(0);
    if limit.as_secs() < from {
        lines.push(format!(
            "  An absence is on record only if it reached a warning, or with kill=none the\n  \
             limit. In this period that was after {} in some sessions. The limit would\n  \
             have ended shorter absences, too, which are not counted here.\n",
            seconds(from)
        ));
    }
    lines
}

fn histogram(report: &Report) -> Vec<String> {
    let absences = &report.totals.absences;
    let classes = absences.histogram();
    let most = classes.iter().map(|(.., count)| *count).max().unwrap_or(0).max(1);
    if classes.is_empty() {
        return Vec::new();
    }
    let ended = absences.count(Until::Ended);
    let mut lines = vec![format!(
        "\nabsences on record: {}; {ended} of them were cut short by the end\n",
        absences.len()
    )];
    lines.extend(classes.iter().map(|(lower, upper, count)| {
        let name = match upper {
            Some(upper) => format!("{} to {}", seconds(*lower), seconds(*upper)),
            None => format!("{} or more", seconds(*lower)),
        };
        // A class with an absence has a bar.
        let bar = (count * BAR).div_ceil(most);
        format!("  {name:<12} {count:>7} {}\n", "#".repeat(bar))
    }));
    lines
}

/// The rows with the most, first those with ends.
fn by_size<K: Ord>(rows: &BTreeMap<K, Counts>) -> Vec<(&K, &Counts)> {
    let mut rows: Vec<_> = rows.iter().collect();
    let size = |counts: &Counts| {
        [Happening::Ended, Happening::WouldEnd, Happening::Warned, Happening::Watched]
            .map(|what| counts.of(what))
    };
    rows.sort_by_key(|(_, counts)| Reverse(size(counts)));
    rows
}

/// One row for each name. The name is last, because it may be long.
fn table<K>(title: &str, rows: &[(&K, &Counts)], name: impl Fn(&K) -> String) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let shown = Happening::ALL.into_iter().filter(|what| *what != Happening::Unguarded);
    let columns: Vec<(Happening, usize)> = shown.map(|what| (what, what.name().len() + 1)).collect();
    let row = |cell: &dyn Fn(Happening) -> String| -> String {
        columns.iter().map(|(what, width)| format!("{:>width$}", cell(*what))).collect()
    };
    let mut lines = vec![format!("\n{}  {title}\n", row(&|what| what.name().to_owned()))];
    for (key, counts) in rows.iter().take(ROWS) {
        lines.push(format!("{}  {}\n", row(&|what| counts.of(what).to_string()), name(key)));
    }
    if rows.len() > ROWS {
        lines.push(format!("and {} more: --csv and --json have all\n", rows.len() - ROWS));
    }
    lines
}

/// A rule. The directory of the policy is left out, because the line is long.
fn rule_name(rule: &Option<String>) -> String {
    let short = |rule: &str| shown(rule.strip_prefix("/etc/security/").unwrap_or(rule));
    rule.as_deref().map_or_else(|| "none matched".to_owned(), short)
}
