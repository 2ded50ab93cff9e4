//! Ring 1: the administrator's command, as it is called.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const POLICY: &str = "\
root,@root       *      *      *            timeout=10m
deploy           sshd   *      10.0.0.0/8   timeout=off
uid:0-1999       *      tty*   local        timeout=5m activity=input,cpu warn=2m,30s
@nobody-knows    *      *      *            timeout=1m
*                *      *      *            kill=tty
";

/// What was answered: standard output, standard error, exit status.
struct Answer(String, String, Option<i32>);

/// Runs the command with a policy on its standard input.
fn ask(policy: &str, line: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_idle-watchdog"))
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who has refused the command line reads no policy.
    let _ = child.stdin.take().unwrap().write_all(policy.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer(text(output.stdout), text(output.stderr), output.status.code())
}

fn decision(line: &str) -> Value {
    let Answer(out, err, code) = ask(POLICY, &format!("check --file - --json --line timeout=1h {line}"));
    let found: Value = serde_json::from_str(&out).unwrap();
    let watched = found["watched"].as_bool().unwrap();
    assert_eq!(code, Some(i32::from(!watched)), "{line}: {err}");
    found
}

#[test]
fn a_decision_names_the_rule_and_every_setting_with_its_origin() {
    let Answer(out, err, code) =
        ask(POLICY, "check --file - --user daemon --service login --tty tty1 --line quiet");
    assert_eq!(code, Some(0), "{err}");
    for line in [
        "daemon, by login on tty1, from here",
        "  rule      -:3",
        "  line      as given",
        "  timeout   5m  (rule)",
        "  warn      2m,30s  (rule)",
        "  activity  input,cpu  (rule)",
        "  quiet     yes  (line)",
        "  grace     10s  (default)",
        "  message   built-in  (default)",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
}

#[test]
fn for_machines_a_decision_is_one_object() {
    let found = decision("--user root --from 192.0.2.1");
    assert_eq!(found["watched"], json!(true));
    assert_eq!((&found["timeout"], &found["rule"]), (&json!(600), &json!({"file": "-", "line": 1})));
    assert_eq!(found["settings"]["timeout"], json!({"value": 600, "origin": "rule"}));
    let found = decision("--user deploy --from 10.1.1.1");
    assert_eq!((&found["timeout"], &found["rule"]["line"]), (&Value::Null, &json!(2)));
    assert_eq!((&found["watched"], &found["because"]), (&json!(false), &json!("-:2 says timeout=off")));
    assert_eq!(found["settings"]["timeout"], json!({"value": null, "origin": "rule"}));
    let found = decision("--user deploy --from 11.1.1.1");
    assert_eq!((&found["timeout"], &found["rule"]["line"]), (&json!(3600), &json!(5)));
    assert_eq!(found["settings"]["timeout"], json!({"value": 3600, "origin": "line"}));
    assert_eq!(found["settings"]["kill"], json!({"value": "tty", "origin": "rule"}));
    assert_eq!(found["settings"]["warn"], json!({"value": [60], "origin": "default"}));
    // For no rule there is none.
    let Answer(out, ..) = ask("", "check --file - --json --user root");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["rule"], Value::Null);
}

#[test]
fn who_is_not_watched_is_told_first() {
    let because = "sessions of cron are never watched: service cron";
    let Answer(out, _, code) = ask("", "check --file - --user root --service cron");
    assert_eq!(
        (code, out.lines().next()),
        (Some(1), Some(format!("not watched, because {because}").as_str()))
    );
    let Answer(out, _, code) = ask("", "check --file - --user root --service cron --json");
    let first = format!("{{\n  \"watched\": false,\n  \"because\": \"{because}\",\n  \"");
    assert!(code == Some(1) && out.starts_with(&first), "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["service"], json!("cron"));
    let Answer(out, _, code) = ask("", "check --file - --user root --line timeout=5m");
    let first = "watched, because the PAM line was given; the stack was not looked at";
    assert_eq!((code, out.lines().next()), (Some(0), Some(first)));
}

#[test]
fn nothing_is_well_beside_a_fault() {
    let Answer(out, err, code) = ask("* * * * timeot=5m\n", "check --file - --system");
    assert!(code == Some(2) && err.contains("timeot=5m: unknown"), "{err}");
    assert!(!out.contains("nothing weakens"), "{out}");
}

#[test]
fn a_supplementary_group_is_asked_of_name_services() {
    let Answer(out, ..) = ask("@root * * * timeout=7m\n", "check --file - --json --user root --line quiet");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["timeout"], json!(420));
}

#[test]
fn a_broken_policy_is_told_with_line_column_and_word() {
    let policy = "* * * * quiet\n* sshd * * timeot=5m\n* * * timeout=5m\n";
    let Answer(out, err, code) = ask(policy, "check --file -");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with("-:2:12: timeot=5m: unknown; expected one of timeout="), "{err}");
    assert!(lines[1].starts_with("-:3:7: timeout=5m: expected a host"), "{err}");
    let Answer(out, _, code) = ask(policy, "check --file - --json --user root");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, found["faults"][0]["line"].as_u64()), (Some(2), Some(2)));
    assert_eq!(found["faults"][0]["word"], json!("timeot=5m"));
}

#[test]
fn a_bad_pam_line_and_a_missing_file_are_broken_too() {
    let Answer(_, err, code) = ask("", "check --file - --user root --line timeout=1");
    assert_eq!(
        (code, err.as_str()),
        (Some(2), "PAM line, as given: timeout=1: out of range, expected 10s to 365d, or off\n")
    );
    let Answer(_, err, code) = ask("", "check --file /nowhere/at-all");
    assert!(code == Some(2) && err.starts_with("/nowhere/at-all: No such file"), "{err}");
}

#[test]
fn what_may_be_a_slip_is_noted_and_no_fault() {
    let Answer(out, err, code) = ask(POLICY, "check --file -");
    assert_eq!((code, out.as_str()), (Some(0), "5 rules, of -: no fault\n"));
    assert!(err.contains("note: -:4: @nobody-knows is not known on this machine"), "{err}");
    let Answer(_, err, code) = ask("* * * * quiet\nroot * * * timeout=1m\n", "check --file -");
    assert_eq!((code, err.as_str()), (Some(0), "note: -:2: is never reached: -:1 is for everybody\n"));
    let policy = "* sshd pts/*,!ssh * quiet\n* sshd,login tty* * quiet\n* sshd !tty* * quiet\n";
    let Answer(_, err, code) = ask(policy, "check --file -");
    let never = "note: -:1: never matches: the terminal of every session of sshd is ssh\n";
    assert_eq!((code, err.as_str()), (Some(0), never));
    let Answer(_, err, code) = ask("", "check --file - --user nobody-knows --line quiet");
    assert_eq!((code, err.as_str()), (Some(0), "note: nobody-knows is not known on this machine\n"));
}

#[test]
fn a_command_line_that_cannot_be_meant_shows_how_it_goes() {
    for line in ["", "chek", "check --usr a", "check --from h"] {
        let Answer(out, err, code) = ask("", line);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}");
        assert!(err.starts_with("idle-watchdog: ") && err.contains("usage: idle-watchdog check"), "{err}");
    }
    let Answer(out, _, code) = ask("", "--help");
    assert!(code == Some(0) && out.contains("--system"), "{out}");
    let Answer(out, _, code) = ask("", "--version");
    assert_eq!((code, out), (Some(0), format!("idle-watchdog {}\n", env!("CARGO_PKG_VERSION"))));
}
