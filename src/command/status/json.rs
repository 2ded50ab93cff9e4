//! The same as JSON. The names of the members are in idle-watchdog(8), and do not change.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::row::SessionRow;
use super::settings::SettingRow;
use crate::command::output::printable;

/// All sessions.
#[must_use]
pub fn all(rows: &[SessionRow]) -> String {
    let sessions: Vec<Value> = rows.iter().map(|row| Value::from(object(row))).collect();
    let unguarded = rows.iter().filter(|row| row.is_unguarded()).count();
    print(&json!({ "sessions": sessions, "unguarded": unguarded }))
}

/// One session in full.
#[must_use]
pub fn one(row: &SessionRow, settings: &[SettingRow]) -> String {
    let mut object = object(row);
    if let Some(status) = row.told() {
        let members = status.members.as_ref();
        let more = [
            ("members", Value::from(members.map(|members| members.count))),
            ("processes", Value::from(members.map(|members| members.names.as_str()))),
            ("members_by", Value::from(status.members_by.as_str())),
            ("terminals_by", Value::from(status.terminals_by.as_str())),
            ("witness", Value::from(status.witness.as_str())),
            ("credits", Value::from(status.credits)),
            ("disbelieved", Value::from(status.disbelieved)),
        ];
        object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    let setting = |row: &SettingRow| {
        (row.name.to_owned(), json!({ "value": row.value, "origin": row.origin, "reload": row.now }))
    };
    if !settings.is_empty() {
        object.insert("settings".to_owned(), settings.iter().map(setting).collect::<Map<_, _>>().into());
    }
    print(&Value::from(object))
}

fn object(row: &SessionRow) -> Map<String, Value> {
    let told = row.told();
    let seconds = |time: Option<Duration>| Value::from(time.map(|time| time.as_secs()));
    let rule =
        |rule: &crate::policy::RulePlace| json!({ "file": rule.file.to_string_lossy(), "line": rule.line });
    let members = [
        ("session", Value::from(row.name.as_str())),
        ("user", Value::from(row.user.as_str())),
        ("uid", Value::from(row.uid)),
        ("from", Value::from(row.from.as_str())),
        ("service", Value::from(row.service.as_str())),
        ("terminals", row.terminals.iter().map(String::as_str).collect()),
        ("terminal_count", Value::from(row.terminal_count)),
        ("interactive", Value::from(row.interactive)),
        ("leader", Value::from(row.leader)),
        ("helper", Value::from(row.helper)),
        ("state", Value::from(row.state())),
        ("reason", Value::from(row.why())),
        ("idle", seconds(told.map(|status| status.idle))),
        ("limit", seconds(told.and_then(|status| status.limit))),
        ("ends_in", seconds(told.and_then(|status| status.ends_in))),
        ("extended", seconds(told.and_then(|status| status.extended))),
        ("by", Value::from(told.and_then(|status| status.by.as_deref()))),
        ("kill", Value::from(told.map(|status| status.settings.kill.word()))),
        ("rule", row.rule().map_or(Value::Null, rule)),
    ];
    Map::from_iter(members.map(|(name, value)| (name.to_owned(), value)))
}

fn print(value: &Value) -> String {
    printable(&format!("{value:#}")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{row, sessions, status, told};
    use super::super::row::{Finding, SessionRow};
    use super::*;
    use crate::protocol::status::State;
    use proptest::prelude::*;

    #[test]
    fn every_session_has_the_same_members() {
        let read: Value = serde_json::from_str(&all(&sessions())).unwrap();
        assert_eq!((read["sessions"].as_array().unwrap().len(), &read["unguarded"]), (8, &json!(2)));
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let first = names(&read["sessions"][0]);
        assert!(read["sessions"].as_array().unwrap().iter().all(|session| names(session) == first));
        let watched = &read["sessions"][1];
        assert_eq!(watched["state"], "watched");
        assert_eq!((&watched["idle"], &watched["ends_in"]), (&json!(100), &json!(800)));
        assert_eq!(watched["rule"], json!({"file": "/etc/security/idle_watchdog.conf", "line": 12}));
        assert_eq!(read["sessions"][0]["reason"], "opened before installation");
        assert_eq!(read["sessions"][4]["ends_in"], Value::Null);
    }

    #[test]
    fn one_session_has_its_settings_and_origins() {
        let setting = SettingRow {
            name: "timeout",
            text: "15m".to_owned(),
            value: json!(900),
            origin: "rule",
            now: None,
        };
        let row = row("12", 7, told(status(State::Watched, 1, 900, Some(899))));
        let read: Value = serde_json::from_str(&one(&row, &[setting])).unwrap();
        assert_eq!(read["settings"]["timeout"], json!({"value": 900, "origin": "rule", "reload": null}));
        assert_eq!((&read["credits"], &read["witness"]), (&json!(3), &json!("connection")));
    }

    proptest! {
        #[test]
        fn names_are_read_back_and_control_nothing(user in "(?s).{0,30}", why in "(?s).{0,30}") {
            let row = SessionRow { user: user.clone(), ..row("12", 7, Finding::Unwatched(why.clone())) };
            let text = all(&[row]);
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read["sessions"][0]["user"], &Value::from(user));
            prop_assert_eq!(&read["sessions"][0]["reason"], &Value::from(why));
        }
    }
}
