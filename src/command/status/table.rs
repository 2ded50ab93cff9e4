//! The table of all sessions.

use std::time::Duration;

use super::row::SessionRow;
use crate::policy::RulePlace;
use crate::record::shown;

/// How the text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The number of columns, if lines must not be longer.
    pub width: Option<usize>,
    pub colour: bool,
}

/// A column of the table.
struct Column {
    head: &'static str,
    /// Numbers are aligned at their right ends.
    right: bool,
    /// The shortest width to which it may be cut.
    least: usize,
    /// Which end is cut off. Of a rule, the number of the line is at the end.
    keep: Keep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    Start,
    End,
}

const fn column(head: &'static str, right: bool, least: usize, keep: Keep) -> Column {
    Column { head, right, least, keep }
}

const COLUMNS: [Column; 10] = [
    column("SESSION", false, 0, Keep::All),
    column("USER", false, 6, Keep::Start),
    column("FROM", false, 9, Keep::Start),
    column("TTY", false, 6, Keep::Start),
    column("SERVICE", false, 7, Keep::Start),
    column("IDLE", true, 0, Keep::All),
    column("LIMIT", true, 0, Keep::All),
    column("ENDS", true, 0, Keep::All),
    column(COLOURED, false, 0, Keep::All),
    column("RULE", false, 6, Keep::End),
];

/// The column that is coloured.
const COLOURED: &str = "STATE";

/// The columns that are cut if the table is too wide, in this order.
const CUT: [&str; 5] = ["RULE", "FROM", "USER", "SERVICE", "TTY"];

/// The table, and the reasons why sessions have no watchdog. `rows` are sorted.
#[must_use]
pub fn table(rows: &[SessionRow], style: Style) -> String {
    let cells: Vec<[String; 10]> = rows.iter().map(|row| cells(row).map(|cell| shown(&cell))).collect();
    let heads = COLUMNS.each_ref().map(|column| column.head.to_owned());
    let mut widths: Vec<usize> = heads.iter().map(|head| length(head)).collect();
    for row in &cells {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(length(cell)));
    }
    let gap = fit(&mut widths, style.width);
    let mut text = line(&heads, &widths, gap, None);
    for (row, cells) in rows.iter().zip(&cells) {
        text += &line(cells, &widths, gap, colour(row).filter(|_| style.colour));
    }
    text += &summary(rows);
    for row in rows {
        if let Some(why) = row.why() {
            text += &wrapped(&shown(&format!("{}: {}: {why}", row.name, row.state())), style.width);
        }
    }
    text
}

fn cells(row: &SessionRow) -> [String; 10] {
    let none = || "-".to_owned();
    let or_none = |text: &str| if text.is_empty() { none() } else { text.to_owned() };
    let told = row.told();
    let time = |time: Option<Duration>| time.map_or_else(none, brief);
    let terminals = match row.terminals.first() {
        None => none(),
        Some(first) if row.terminal_count > 1 => format!("{first},+{}", row.terminal_count - 1),
        Some(first) => first.clone(),
    };
    [
        row.name.clone(),
        or_none(&row.user),
        or_none(&row.from),
        terminals,
        or_none(&row.service),
        time(told.map(|status| status.idle)),
        told.map_or_else(none, |status| status.limit.map_or_else(|| "off".to_owned(), brief)),
        time(told.and_then(|status| status.ends_in)),
        row.state().to_owned(),
        row.rule().map_or_else(none, place),
    ]
}

/// The file's name and the line. The whole path is in the other outputs.
fn place(rule: &RulePlace) -> String {
    let file = rule.file.file_name().unwrap_or(rule.file.as_os_str());
    format!("{}:{}", file.to_string_lossy(), rule.line)
}

/// A duration in its two largest units, so that it is short.
fn brief(duration: Duration) -> String {
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let mut left = duration.as_secs();
    let largest = UNITS.iter().position(|(_, scale)| left >= *scale).unwrap_or(UNITS.len() - 1);
    let mut text = String::new();
    for (unit, scale) in UNITS.iter().skip(largest).take(2) {
        let count = left / scale;
        left %= scale;
        if count > 0 || (text.is_empty() && *scale == 1) {
            text += &format!("{count}{unit}");
        }
    }
    text
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Makes the columns narrower until a line fits. Returns the gap between two columns.
fn fit(widths: &mut [usize], width: Option<usize>) -> usize {
    let gaps = COLUMNS.len() - 1;
    let sum = |widths: &[usize]| widths.iter().sum::<usize>();
    let Some(width) = width else { return 2 };
    if sum(widths) + 2 * gaps <= width {
        return 2;
    }
    for head in CUT {
        let over = (sum(widths) + gaps).saturating_sub(width);
        let columns = COLUMNS.iter().zip(widths.iter_mut());
        for (column, width) in columns.filter(|(column, _)| column.head == head) {
            *width = (*width).min(column.least.max(width.saturating_sub(over)));
        }
    }
    1
}

/// A line of the table. `colour` is for the state.
fn line(cells: &[String; 10], widths: &[usize], gap: usize, colour: Option<&str>) -> String {
    let mut line = String::new();
    for ((cell, column), width) in cells.iter().zip(&COLUMNS).zip(widths) {
        let cell = cut(cell, *width, column.keep);
        let padding = " ".repeat(width - length(&cell));
        if !line.is_empty() {
            line += &" ".repeat(gap);
        }
        match (column.right, colour.filter(|_| column.head == COLOURED)) {
            (true, _) => line += &(padding + &cell),
            (false, Some(colour)) => line += &format!("{colour}{cell}{PLAIN}{padding}"),
            (false, None) => line += &(cell + &padding),
        }
    }
    line.trim_end().to_owned() + "\n"
}

/// A cell that is not longer than `width`. A `+` stands for what is left out.
fn cut(cell: &str, width: usize, keep: Keep) -> String {
    let length = length(cell);
    let kept = width.saturating_sub(1);
    match keep {
        _ if length <= width => cell.to_owned(),
        Keep::Start | Keep::All => cell.chars().take(kept).chain(['+']).collect(),
        Keep::End => ['+'].into_iter().chain(cell.chars().skip(length - kept)).collect(),
    }
}

/// Ends a colour.
const PLAIN: &str = "\x1b[0m";

/// The colour of a state: red if somebody must act or the session is ending, yellow if it is warned.
fn colour(row: &SessionRow) -> Option<&'static str> {
    match row.state() {
        "unwatched" | "silent" | "ending" => Some("\x1b[31m"),
        "warned" | "outdated" => Some("\x1b[33m"),
        _ => None,
    }
}

/// How many sessions there are, and how many of them are not guarded.
fn summary(rows: &[SessionRow]) -> String {
    let sessions = match rows.len() {
        1 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    };
    match rows.iter().filter(|row| row.is_unguarded()).count() {
        0 => format!("{sessions}\n"),
        count => format!("{sessions}, {count} not guarded\n"),
    }
}

/// A text in lines that fit. The lines after the first are indented.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.trim().is_empty() && length(&line) + 1 + length(word) > width {
            lines += &(line + "\n");
            line = "   ".to_owned();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests;
