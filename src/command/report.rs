//! What was found, for people and for machines.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::watched::Watched;
use crate::login::Login;
use crate::policy::{Fault, Message, Origin, Resolved, Settings, duration};
use crate::record::shown;

/// A setting as both kinds of readers see it.
struct Row {
    name: &'static str,
    text: String,
    value: Value,
    origin: &'static str,
}

fn rows(settings: &Settings, origins: &[(&'static str, Origin)]) -> Vec<Row> {
    let Settings { limit, warn, grace, kill, activity, notty, message, on_error, quiet, debug } = settings;
    let seconds = |duration: &Duration| Value::from(duration.as_secs());
    let optional = |duration: &Option<Duration>, none: &str| {
        let text = duration.map_or_else(|| none.to_owned(), duration::print);
        (text, duration.as_ref().map_or(Value::Null, seconds))
    };
    let word = |word: &str| (word.to_owned(), Value::from(word));
    let flag = |flag: bool| (if flag { "yes" } else { "no" }.to_owned(), Value::from(flag));
    let said = |name: &str| match name {
        "timeout" => optional(limit, "off"),
        "warn" if warn.is_empty() => ("off".to_owned(), json!([])),
        "warn" => {
            let texts: Vec<String> = warn.iter().copied().map(duration::print).collect();
            (texts.join(","), warn.iter().map(seconds).collect())
        }
        "grace" => (duration::print(*grace), seconds(grace)),
        "kill" => word(kill.word()),
        "activity" => (activity.word().to_owned(), activity.word().split(',').collect()),
        "notty" => optional(notty, "ignore"),
        "message" => match message {
            None => ("built-in".to_owned(), Value::Null),
            Some(Message::Text(text)) => (format!("{:?}", text.source()), Value::from(text.source())),
            Some(Message::File(path)) => {
                (format!("from {}", path.display()), json!({"file": path.to_string_lossy()}))
            }
        },
        "onerr" => word(on_error.word()),
        "quiet" => flag(*quiet),
        _ => flag(*debug),
    };
    origins
        .iter()
        .map(|(name, origin)| {
            let (text, value) = said(name);
            let origin = match origin {
                Origin::Default => "default",
                Origin::Line => "line",
                Origin::Rule => "rule",
            };
            Row { name, text, value, origin }
        })
        .collect()
}

/// Whether a login is watched, for people.
#[must_use]
pub fn watched(watched: &Watched) -> String {
    let word = if watched.watched { "watched" } else { "not watched" };
    format!("{word}, because {}\n", shown(&watched.because))
}

/// An object, for machines. Whether a login is watched comes first: nothing else is worth anything where it
/// is not.
#[must_use]
pub fn object(watched: Option<&Watched>, rest: Map<String, Value>) -> String {
    let text = printable(&format!("{:#}", Value::from(rest)));
    let Some(Watched { watched, because }) = watched else { return text + "\n" };
    let because = printable(&Value::from(because.as_str()).to_string());
    let first = format!("{{\n  \"watched\": {watched},\n  \"because\": {because}");
    match text.strip_prefix("{\n") {
        Some(rest) => format!("{first},\n{rest}\n"),
        None => format!("{first}\n}}\n"),
    }
}

/// A decision about a login, for people.
#[must_use]
pub fn decision(
    login: &Login,
    resolved: &Resolved,
    origins: &[(&'static str, Origin)],
    line: &str,
) -> String {
    let (user, service, tty, from) =
        (login.user_text(), login.service_text(), login.tty_text(), login.rhost_text());
    let on = if tty.is_empty() { "no terminal" } else { &tty };
    let from = if from.is_empty() { "here" } else { &from };
    let rule = resolved.rule.as_ref().map_or_else(|| "none matches".to_owned(), ToString::to_string);
    let mut lines = vec![
        format!("{user}, by {service} on {on}, from {from}"),
        format!("  rule      {rule}"),
        format!("  line      {line}"),
    ];
    for Row { name, text: value, origin, .. } in rows(&resolved.settings, origins) {
        lines.push(format!("  {name:<9} {value}  ({origin})"));
    }
    lines.iter().map(|line| shown(line) + "\n").collect()
}

/// The same, for machines.
#[must_use]
pub fn decision_json(
    login: &Login,
    resolved: &Resolved,
    origins: &[(&'static str, Origin)],
) -> Map<String, Value> {
    let rule = resolved
        .rule
        .as_ref()
        .map_or(Value::Null, |place| json!({"file": place.file.to_string_lossy(), "line": place.line}));
    let settings: Map<String, Value> = rows(&resolved.settings, origins)
        .into_iter()
        .map(|Row { name, value, origin, .. }| (name.to_owned(), json!({"value": value, "origin": origin})))
        .collect();
    let timeout = resolved.settings.limit.map_or(Value::Null, |limit| Value::from(limit.as_secs()));
    Map::from_iter(
        [
            ("user", Value::from(login.user_text())),
            ("service", Value::from(login.service_text())),
            ("tty", Value::from(login.tty_text())),
            ("from", Value::from(login.rhost_text())),
            ("timeout", timeout),
            ("rule", rule),
            ("settings", Value::from(settings)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// A fault of the policy, for machines.
#[must_use]
pub fn fault_json(fault: &Fault) -> Value {
    let (line, column) = fault.at.unzip();
    json!({
        "file": fault.file.to_string_lossy(),
        "line": line,
        "column": column,
        "word": fault.word,
        "problem": fault.problem,
    })
}

/// The text of a JSON value, in which each character that is not printable is written by its number. `serde_json`
/// does that with the control characters of ASCII alone, and terminals know others.
fn printable(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        // The quotation marks and backslashes are JSON's own, and so are its line feeds.
        if c == '\n' || shown(c.encode_utf8(&mut [0; 4])).chars().eq([c]) {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}
