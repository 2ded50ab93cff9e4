//! Prints the results of `check`, as text and as JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::login::LoginVerdict;
use crate::command::output::printable;
use crate::login::Login;
use crate::policy::table::{self, OptionSpec};
use crate::policy::{Fault, Origin, Settings};
use crate::record::shown;

/// A setting, as text and as JSON.
pub struct Row {
    pub name: &'static str,
    pub text: String,
    pub value: Value,
    /// `default`, `line` or `rule`.
    pub origin: &'static str,
}

/// All settings.
#[must_use]
pub fn rows(settings: &Settings, origins: &[(&'static str, Origin)]) -> Vec<Row> {
    let row = |option: &OptionSpec| {
        let value = (option.get)(settings);
        let origin = origins.iter().find(|(name, _)| *name == option.name).map(|(_, origin)| origin);
        let origin = match origin {
            None | Some(Origin::Default) => "default",
            Some(Origin::Line) => "line",
            Some(Origin::Rule) => "rule",
        };
        Row { name: option.name, text: value.text(), value: json(value), origin }
    };
    table::settings().map(row).collect()
}

/// A value as JSON.
fn json(value: table::Value<'_>) -> Value {
    use table::Value as Of;
    let seconds = |duration: &Duration| Value::from(duration.as_secs());
    match value {
        Of::Duration(duration, _) => duration.as_ref().map_or(Value::Null, seconds),
        Of::Durations(list) => list.iter().map(seconds).collect(),
        Of::Word(word) => Value::from(word),
        Of::Words(words) => words.split(',').collect(),
        Of::Flag(set) => Value::from(set),
        Of::Message(_, Some(file)) => json!({"file": file.to_string_lossy()}),
        Of::Message(text, None) => text.map_or(Value::Null, |text| Value::from(text.source())),
        Of::Path(path) => path.map_or(Value::Null, |path| Value::from(path.to_string_lossy())),
    }
}

/// Whether a login is watched, as text.
#[must_use]
pub fn watched(watched: &LoginVerdict) -> String {
    let word = if watched.watched { "watched" } else { "not watched" };
    format!("{word}, because {}\n", shown(&watched.because))
}

/// The JSON object. It first says whether the login is watched, because otherwise the settings have no effect.
#[must_use]
pub fn object(watched: Option<&LoginVerdict>, rest: Map<String, Value>) -> String {
    let text = printable(&format!("{:#}", Value::from(rest)));
    let Some(LoginVerdict { watched, because }) = watched else { return text + "\n" };
    let because = printable(&Value::from(because.as_str()).to_string());
    let first = format!("{{\n  \"watched\": {watched},\n  \"because\": {because}");
    match text.strip_prefix("{\n") {
        Some(rest) => format!("{first},\n{rest}\n"),
        None => format!("{first}\n}}\n"),
    }
}

/// The decision about a login, as text.
#[must_use]
pub fn decision(
    login: &Login,
    settings: &Settings,
    origins: &[(&'static str, Origin)],
    line: &str,
) -> String {
    let (user, service, tty, from) =
        (login.user_text(), login.service_text(), login.tty_text(), login.rhost_text());
    let on = if tty.is_empty() { "no terminal" } else { &tty };
    let from = if from.is_empty() { "no remote host" } else { &from };
    let rule = settings.rule.as_ref().map_or_else(|| "none matches".to_owned(), ToString::to_string);
    let mut lines = vec![
        format!("{user}, by {service} on {on}, from {from}"),
        format!("  rule      {rule}"),
        format!("  line      {line}"),
    ];
    for Row { name, text: value, origin, .. } in rows(settings, origins) {
        lines.push(format!("  {name:<9} {value}  ({origin})"));
    }
    lines.iter().map(|line| shown(line) + "\n").collect()
}

/// The decision about a login, as JSON.
#[must_use]
pub fn decision_json(
    login: &Login,
    settings: &Settings,
    origins: &[(&'static str, Origin)],
) -> Map<String, Value> {
    let rule = settings
        .rule
        .as_ref()
        .map_or(Value::Null, |place| json!({"file": place.file.to_string_lossy(), "line": place.line}));
    let rows: Map<String, Value> = rows(settings, origins)
        .into_iter()
        .map(|Row { name, value, origin, .. }| (name.to_owned(), json!({"value": value, "origin": origin})))
        .collect();
    let timeout = settings.limit.map_or(Value::Null, |limit| Value::from(limit.as_secs()));
    Map::from_iter(
        [
            ("user", Value::from(login.user_text())),
            ("service", Value::from(login.service_text())),
            ("tty", Value::from(login.tty_text())),
            ("from", Value::from(login.rhost_text())),
            ("timeout", timeout),
            ("rule", rule),
            ("settings", Value::from(rows)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// A fault of the policy, as JSON.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Options;
    use crate::policy::table::{OPTIONS, Within};

    #[test]
    fn every_setting_has_a_line_in_the_report_that_shows_its_own_value() {
        let login = Login { user: Some("alice".into()), ..Login::default() };
        let report = |word: &str| {
            let options = Options::of_line([word]).unwrap();
            let (settings, origins) = (Settings::of(&options, None), Settings::origins(&options, None));
            let text = decision(&login, &settings, &origins, "LINE");
            (text, decision_json(&login, &settings, &origins))
        };
        let (before, _) = report("grace=10s");
        for option in OPTIONS.iter().filter(|option| option.is_allowed(Within::Rule)) {
            let changed = ["", "=1m", "=30s", "=tty", "=input,cpu", "=succeed", "=/x"]
                .map(|value| format!("{}{value}", option.name));
            let lines = |word: &String| Options::of_line([word.as_str()]).ok().map(|_| report(word));
            let differs = |(text, json): (String, Map<String, Value>)| {
                assert!(json["settings"].get(option.setting).is_some(), "{}", option.setting);
                let (value, origin) = line_of(&text, option.setting);
                origin == "line)" && value != line_of(&before, option.setting).0
            };
            assert!(changed.iter().filter_map(lines).any(differs), "{}: {before}", option.name);
        }
    }

    /// A setting's value and origin.
    fn line_of<'a>(text: &'a str, name: &str) -> (&'a str, &'a str) {
        let line = text.lines().find(|line| line.starts_with(&format!("  {name:<9} "))).expect(name);
        line.rsplit_once("  (").expect(line)
    }
}
