//! One session in full.

use super::row::SessionRow;
use super::settings::SettingRow;
use crate::policy::duration;
use crate::record::shown;

/// All that is known about a session.
#[must_use]
pub fn text(row: &SessionRow, settings: &[SettingRow]) -> String {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push(format!("{name:<9}  {value}"));
    add("session", format!("{} (pid:{})", row.name, row.leader));
    let uid = row.uid.map(|uid| format!(" (uid {uid})")).unwrap_or_default();
    add("user", format!("{}{uid}", row.user));
    add("from", if row.from.is_empty() { "no remote host" } else { &row.from }.to_owned());
    add("service", row.service.clone());
    add("terminals", terminals(row));
    let why = row.why().map(|why| format!(": {why}")).unwrap_or_default();
    add("state", format!("{}{why}", row.state()));
    if let Some(helper) = row.helper {
        add("helper", format!("{helper}"));
    }
    if let Some(status) = row.told() {
        let by = match status.by.as_deref() {
            Some("detached") => ", judged by the terminals that are left".to_owned(),
            Some(by) => format!(", judged by its {by}"),
            None => ", not judged".to_owned(),
        };
        add("idle", duration::print(status.idle) + &by);
        add("limit", status.limit.map_or_else(|| "off".to_owned(), duration::print));
        add("ends in", status.ends_in.map_or_else(|| "never".to_owned(), duration::print));
        if let Some(extended) = status.extended {
            add("extended", format!("does not end as idle for {}", duration::print(extended)));
        }
        if let Some(members) = &status.members {
            add("members", format!("{} by {}: {}", members.count, status.members_by, members.names));
        }
        add("witness", status.witness.clone());
        add("credits", format!("{}; {} forged time stamps not believed", status.credits, status.disbelieved));
    }
    let rule = row.rule().map_or_else(|| "none matches".to_owned(), ToString::to_string);
    if row.told().is_some() || row.rule().is_some() {
        add("rule", rule);
    }
    if !settings.is_empty() {
        lines.push("settings".to_owned());
    }
    for SettingRow { name, text, origin, now, .. } in settings {
        let now = now.as_ref().map(|now| format!("; a reload makes it {now}")).unwrap_or_default();
        lines.push(format!("  {name:<9} {text}  ({origin}{now})"));
    }
    lines.iter().map(|line| shown(line) + "\n").collect()
}

fn terminals(row: &SessionRow) -> String {
    let names = row.terminals.join(",");
    match row.terminal_count.saturating_sub(row.terminals.len()) {
        0 if names.is_empty() => "none".to_owned(),
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{row, status, told};
    use super::super::row::{Finding, SessionRow};
    use super::*;
    use crate::protocol::status::{MemberCount, State, Status};
    use serde_json::Value;
    use std::time::Duration;

    #[test]
    fn a_session_is_shown_with_all_that_its_watchdog_tells() {
        let members = Some(MemberCount { count: 3, names: "sshd,bash,vim".to_owned() });
        let extended = Some(Duration::from_secs(7200));
        let status = Status { members, extended, ..status(State::Warned, 843, 900, Some(57)) };
        let setting = SettingRow {
            name: "timeout",
            text: "15m".to_owned(),
            value: Value::from(900),
            origin: "rule",
            now: Some("20m".to_owned()),
        };
        let text = text(&row("12", 2300, told(status)), &[setting]);
        for line in [
            "session    12 (pid:2300)",
            "user       alice (uid 1000)",
            "from       192.0.2.7",
            "state      warned",
            "helper     2301",
            "idle       14m3s, judged by its terminal",
            "limit      15m",
            "ends in    57s",
            "extended   does not end as idle for 2h",
            "members    3 by scope: sshd,bash,vim",
            "witness    connection",
            "credits    3; 0 forged time stamps not believed",
            "rule       /etc/security/idle_watchdog.conf:12",
            "  timeout   15m  (rule; a reload makes it 20m)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_session_without_a_watchdog_has_a_reason() {
        let unwatched = Finding::Unwatched("opened before\ninstallation".to_owned());
        let row = SessionRow { helper: None, from: String::new(), ..row("c1", 7, unwatched) };
        let text = text(&row, &[]);
        assert!(text.contains("\nstate      unwatched: opened before\\ninstallation\n"), "{text}");
        assert!(text.contains("\nfrom       no remote host\n") && !text.contains("helper"), "{text}");
    }
}
