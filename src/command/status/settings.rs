//! The settings of a watched session, with their origins.
//!
//! A watchdog knows its settings, but not where they come from. The PAM line and the policy say that, as they are
//! now. If they would set something else, a reload changes it.

use serde_json::Value;

use crate::command::check::report;
use crate::command::current_line::CurrentLine;
use crate::command::decisions::Decisions;
use crate::policy::{Origin, Settings, table};
use crate::protocol::start::Assignment;

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    pub name: &'static str,
    /// What applies, as text and as JSON.
    pub text: String,
    pub value: Value,
    /// `rule`, `line`, `default`, or `before` if the files set something else by now.
    pub origin: &'static str,
    /// What a reload would make of it, if that is something else.
    pub now: Option<String>,
}

/// The settings that a watchdog has told, with what the files say. If the files are broken or the line is gone,
/// a reload changes nothing, and the origins are `before`.
#[must_use]
pub fn rows(decisions: &mut Decisions<'_>, told: &Assignment, settings: &Settings) -> Vec<SettingRow> {
    let (now, origins) = decide(decisions, told).unwrap_or_else(|| (settings.clone(), Vec::new()));
    let known = !origins.is_empty();
    let now = compared(&now);
    let rows = report::rows(settings, &origins).into_iter().zip(report::rows(&now, &origins));
    rows.map(|(row, now)| {
        let changed = row.text != now.text && is_told(row.name);
        SettingRow {
            name: row.name,
            origin: if known && !changed { row.origin } else { BEFORE },
            text: row.text,
            value: row.value,
            now: changed.then_some(now.text),
        }
    })
    .filter(|row| is_told(row.name))
    .collect()
}

/// The origin of a setting that the files do not set like this any more.
const BEFORE: &str = "before";

/// Whether the watchdog has the setting. The others matter to the module alone.
fn is_told(name: &str) -> bool {
    let told = |option: &&table::OptionSpec| option.is_allowed(table::Within::Helper);
    table::settings().filter(told).any(|option| option.name == name)
}

/// The watchdog gets the text of a message, and not the file from which it came.
fn compared(settings: &Settings) -> Settings {
    Settings { message_file: None, ..settings.clone() }
}

/// What the files say now.
fn decide(
    decisions: &mut Decisions<'_>,
    told: &Assignment,
) -> Option<(Settings, Vec<(&'static str, Origin)>)> {
    let (place, words) = match decisions.line(&told.login.service_text()) {
        CurrentLine::Known(place, words) => (place, words),
        CurrentLine::Unclear(_) => ("the PAM line".to_owned(), told.line.clone()),
        CurrentLine::Gone(_) => return None,
    };
    let now = decisions.decide(&told.login, &place, &words).ok()?;
    let origins = decisions.origins(&place, &words, &now).ok()?;
    Some((now, origins))
}
