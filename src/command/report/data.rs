//! The report for programs: JSON and CSV.

use serde_json::{Value, json};

use super::about::{SessionEnd, Whose};
use super::absences::{Trial, Until};
use super::counts::{Counts, Happening};
use super::{Period, Report};
use crate::record::shown;

/// The report as one JSON object. Times are seconds since the epoch, and durations are seconds.
#[must_use]
pub fn json(report: &Report) -> Value {
    let Report { facts, period: Period { since, until }, source, totals, .. } = report;
    let versions: serde_json::Map<String, Value> =
        facts.versions.iter().map(|(name, version)| ((*name).to_owned(), json!(version))).collect();
    let user = |(name, counts): (&String, &Counts)| row("user", json!(name), counts);
    let rule = |(name, counts): (&Option<String>, &Counts)| row("rule", json!(name), counts);
    let hour = |(name, counts): (&usize, &Counts)| row("hour", json!(name), counts);
    json!({
        "host": facts.host,
        "versions": versions,
        "since": since,
        "until": until,
        "user": report.user,
        "log": {
            "name": source.name,
            "trusted": source.is_trusted,
            "begins": source.begins,
            "not_read": source.left_out,
            "records": totals.records,
        },
        "times": counts(&totals.times),
        "sessions": counts(&totals.sessions),
        "other_ends": totals.other_ends,
        "ends_with_survivors": totals.survivor_count,
        "survivors": totals.survivors.iter().map(end).collect::<Vec<_>>(),
        "last_ends": totals.ends.iter().map(end).collect::<Vec<_>>(),
        "absences": absences(report),
        "limit": report.limit.map_or(Value::Null, |limit| {
            let Trial { ended, of_people_who_came_back, shorter, unknown } = totals.absences.try_limit(limit);
            json!({
                "seconds": limit.as_secs(), "ends": ended, "of_people_who_came_back": of_people_who_came_back,
                "leaves": shorter, "unknown": unknown,
            })
        }),
        "by_user": totals.by_user.iter().map(user).collect::<Vec<_>>(),
        "by_rule": totals.by_rule.iter().map(rule).collect::<Vec<_>>(),
        "by_hour": totals.by_hour.iter().map(hour).collect::<Vec<_>>(),
    })
}

fn absences(report: &Report) -> Value {
    let absences = &report.totals.absences;
    let class = |(lower, upper, count): &(u32, Option<u32>, usize)| json!({"from": lower, "to": upper, "count": count});
    let longest = absences
        .longest()
        .map(|(seconds, Whose { at, user, .. })| json!({"seconds": seconds, "user": user, "at": at}));
    json!({
        "count": absences.len(),
        "came_back": absences.count(Until::Back),
        "ended": absences.count(Until::Ended),
        "unknown": absences.count(Until::Unknown),
        "recorded_from": report.totals.recorded_from,
        "longest": longest,
        "histogram": absences.histogram().iter().map(class).collect::<Vec<_>>(),
    })
}

fn counts(counts: &Counts) -> Value {
    Happening::ALL.iter().map(|what| (what.name().to_owned(), json!(counts.of(*what)))).collect()
}

fn row(kind: &str, name: Value, of: &Counts) -> Value {
    let mut row = counts(of);
    if let Some(fields) = row.as_object_mut() {
        fields.insert(kind.to_owned(), name);
    }
    row
}

/// A session that was ended, as JSON.
#[must_use]
pub fn end(end: &SessionEnd) -> Value {
    let SessionEnd { about: Whose { at, user, service, rhost, tty, rule }, idle, limit, survivors } = end;
    json!({
        "at": at, "user": user, "service": service, "from": rhost, "tty": tty, "rule": rule, "idle": idle,
        "limit": limit, "survivors": survivors,
    })
}

/// The report as CSV: a row for all, and one for each user, rule and hour.
#[must_use]
pub fn csv(report: &Report) -> String {
    let totals = &report.totals;
    let heads: Vec<&str> = Happening::ALL.iter().map(|what| what.name()).collect();
    let mut text = format!("by,name,{}\n", heads.join(","));
    let mut row = |by: &str, name: &str, counts: &Counts| {
        let cells: Vec<String> = Happening::ALL.iter().map(|what| counts.of(*what).to_string()).collect();
        text += &format!("{by},{},{}\n", cell(name), cells.join(","));
    };
    row("all", "", &totals.times);
    totals.by_user.iter().for_each(|(user, counts)| row("user", user, counts));
    totals.by_rule.iter().for_each(|(rule, counts)| row("rule", rule.as_deref().unwrap_or(""), counts));
    totals.by_hour.iter().for_each(|(hour, counts)| row("hour", &hour.to_string(), counts));
    text
}

/// A cell. A name may have a comma or a quotation mark. A spreadsheet takes a cell that starts with one of these
/// signs for a formula, so a name has an apostrophe before them.
fn cell(text: &str) -> String {
    let text = shown(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{formula}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_cell_and_is_no_formula() {
        assert_eq!(cell("alice"), "\"alice\"");
        assert_eq!(cell("a,\"b\n"), "\"a,\"\"b\\n\"");
        assert_eq!(cell("=cmd|x"), "\"'=cmd|x\"");
    }
}
