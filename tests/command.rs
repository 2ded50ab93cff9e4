//! Ring 1: the administrator's command, called as a program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const POLICY: &str = "\
root,@root       *      *      *            timeout=10m
bin              sshd   *      10.0.0.0/8   timeout=off
uid:0-1999       *      tty*   local        timeout=5m activity=input,cpu warn=2m,30s
@nobody-knows    *      *      *            timeout=1m
*                *      *      *            kill=tty
";

/// The answer: standard output, standard error, exit status.
struct Answer(String, String, Option<i32>);

/// Runs the command with a policy on its standard input.
fn ask(policy: &str, line: &str) -> Answer {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    // The host's own PAM stack must not influence the tests.
    if words.first() == Some(&"check") && !words.contains(&"--line") {
        words.extend(["--line", ""]);
    }
    ask_with(policy, &words)
}

/// The same with words that may contain spaces.
fn ask_with(policy: &str, words: &[&str]) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_idle-watchdog"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its command line does not read the policy.
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
        "daemon, by login on tty1, from no remote host",
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
fn with_json_a_decision_is_one_object() {
    let found = decision("--user root --from 192.0.2.1");
    assert_eq!(found["watched"], json!(true));
    assert_eq!((&found["timeout"], &found["rule"]), (&json!(600), &json!({"file": "-", "line": 1})));
    assert_eq!(found["settings"]["timeout"], json!({"value": 600, "origin": "rule"}));
    let found = decision("--user bin --from 10.1.1.1");
    assert_eq!((&found["timeout"], &found["rule"]["line"]), (&Value::Null, &json!(2)));
    assert_eq!((&found["watched"], &found["because"]), (&json!(false), &json!("-:2 says timeout=off")));
    assert_eq!(found["settings"]["timeout"], json!({"value": null, "origin": "rule"}));
    let found = decision("--user bin --from 11.1.1.1");
    assert_eq!((&found["timeout"], &found["rule"]["line"]), (&json!(3600), &json!(5)));
    assert_eq!(found["settings"]["timeout"], json!({"value": 3600, "origin": "line"}));
    assert_eq!(found["settings"]["kill"], json!({"value": "tty", "origin": "rule"}));
    assert_eq!(found["settings"]["warn"], json!({"value": [60], "origin": "default"}));
    // Without a matching rule, `rule` is null.
    let Answer(out, ..) = ask("", "check --file - --json --user root");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["rule"], Value::Null);
}

#[test]
fn whether_a_login_is_watched_comes_first() {
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
    let first = "watched, because the PAM line was given with --line, so the stack was not checked";
    assert_eq!((code, out.lines().next()), (Some(0), Some(first)));
}

#[test]
fn a_broken_policy_is_never_reported_as_no_problem() {
    let Answer(out, err, code) = ask_with("* * * * timeot=5m\n", &["check", "--file", "-", "--system"]);
    assert!(code == Some(2) && err.contains("timeot=5m: unknown"), "{err}");
    assert!(!out.contains("no problem"), "{out}");
}

#[test]
fn the_page_for_an_auditor_has_the_versions_and_why_somebody_is_exempt() {
    let file = std::env::temp_dir().join(format!("idle-watchdog-page-{}.conf", std::process::id()));
    let policy = "# Exception: deployment\nbin * * * timeout=off\n* * * * timeout=15m\n";
    std::fs::write(&file, policy).unwrap();
    let name = file.to_str().unwrap();
    let words = ["check", name, "--system", "--report"];
    let Answer(text, ..) = ask_with("", &words);
    let exempt =
        format!("\nexemptions:\n{name}:2: bin * * * timeout=off\n    # Exception: deployment\n\nlast ends");
    assert!(text.starts_with("host          ") && text.contains(&exempt), "{text}");
    let version = concat!("\nidle-watchdog ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text.contains(version) && text.contains("\nkernel        "), "{text}");
    let Answer(out, ..) = ask_with("", &[&words[..], &["--json"]].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["exemptions"][0]["comment"], json!("# Exception: deployment"));
    assert_eq!(found["versions"]["idle-watchdog"], json!(env!("CARGO_PKG_VERSION")));
    assert!(found["services"].is_array() && found["host"].is_string(), "{found}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn name_services_are_asked_about_supplementary_groups() {
    let Answer(out, ..) = ask("@root * * * timeout=7m\n", "check --file - --json --user root --line quiet");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["timeout"], json!(420));
}

#[test]
fn a_fault_has_a_line_a_column_and_a_word() {
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
fn a_bad_pam_line_and_a_missing_file_are_faults_too() {
    let Answer(_, err, code) = ask("", "check --file - --user root --line timeout=1");
    assert_eq!(
        (code, err.as_str()),
        (Some(2), "PAM line, as given: timeout=1: out of range, expected 10s to 365d, or off\n")
    );
    let Answer(_, err, code) = ask("", "check --file /nowhere/at-all");
    assert!(code == Some(2) && err.starts_with("/nowhere/at-all: No such file"), "{err}");
}

#[test]
fn a_possible_mistake_is_a_note_and_not_a_fault() {
    let Answer(out, err, code) = ask(POLICY, "check --file -");
    assert_eq!((code, out.as_str()), (Some(0), "5 rules in -: no errors\n"));
    assert!(err.contains("note: -:4: @nobody-knows is not known on this machine"), "{err}");
    let Answer(_, err, code) = ask("* * * * quiet\nroot * * * timeout=1m\n", "check --file -");
    assert_eq!((code, err.as_str()), (Some(0), "note: -:2: is never reached: -:1 is for everybody\n"));
    let policy = "* sshd pts/*,!ssh * quiet\n* sshd,login tty* * quiet\n* sshd *,!tty* * quiet\n";
    let Answer(_, err, code) = ask(policy, "check --file -");
    let never = "note: -:1: never matches: the terminal of every session of sshd is ssh\n";
    assert_eq!((code, err.as_str()), (Some(0), never));
    let Answer(out, err, code) = ask("", "check --file - --user nobody-knows --line quiet");
    assert_eq!((code, err.as_str()), (Some(1), "note: nobody-knows is not known on this machine\n"));
    assert!(out.starts_with("not watched, because there is no such user on this machine\n"), "{out}");
}

/// Text that acts on a terminal: an escape sequence, the same as one character, and text that runs backwards.
const HOSTILE: &str = "x\x1b[2J\u{9b}2J\u{202e}\rnote:";

#[test]
fn no_text_from_outside_acts_on_the_terminal() {
    let directory = std::env::temp_dir().join(format!("idle-watchdog-{}-{HOSTILE}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("policy\nnote: all is well");
    let file = file.to_str().unwrap();
    std::fs::write(file, "* * * * timeout=5m\n").unwrap();
    let rule = format!("\"{HOSTILE}\" * * * timeout=5m\n");
    let word = format!("* * * * \"{HOSTILE}=5m\"\n");
    let message = format!("message=\u{9b}2J{HOSTILE}");
    let quoted = format!("quiet [{message}]");
    for (policy, words) in [
        ("", &["check", "--file", "-", "--line", "quiet", "--user", HOSTILE][..]),
        ("", &["check", "--file", "-", "--line", "quiet", "--user", "root", "--service", HOSTILE]),
        (
            "",
            &[
                "check", "--file", "-", "--line", "quiet", "--user", "root", "--tty", HOSTILE, "--from",
                HOSTILE,
            ],
        ),
        ("", &["check", "--file", "-", "--line", &quoted, "--user", "root"]),
        ("", &["check", "--file", "-", "--line", HOSTILE, "--user", "root"]),
        ("", &["check", "--file", file, "--line", "quiet"]),
        ("", &["check", "--file", file, "--line", "quiet", "--user", "root"]),
        ("", &["check", "--file", &format!("{file}2"), "--line", "quiet"]),
        (&rule, &["check", "--file", "-", "--line", "quiet"]),
        (&word, &["check", "--file", "-", "--line", "quiet"]),
        ("", &["check", HOSTILE]),
        ("", &["check", &format!("--{HOSTILE}")]),
        ("", &[HOSTILE]),
    ] {
        for json in [&[][..], &["--json"]] {
            let words = [words, json].concat();
            let Answer(out, err, _) = ask_with(policy, &words);
            let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!out.contains(acts) && !err.contains(acts), "{words:?}:\n{out:?}\n{err:?}");
            let forged = |text: &str| text.lines().any(|line| line == "note: all is well" || line == "note:");
            assert!(!forged(&out) && !forged(&err), "{words:?}:\n{out:?}\n{err:?}");
            if json == ["--json"] && !out.is_empty() {
                serde_json::from_str::<Value>(&out).unwrap();
            }
        }
    }
    let Answer(out, ..) =
        ask_with("", &["check", "--file", "-", "--json", "--line", "quiet", "--user", HOSTILE]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["user"], json!(HOSTILE), "escaped, it is still the same");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn a_user_name_need_not_be_utf8() {
    let output = Command::new(env!("CARGO_BIN_EXE_idle-watchdog"))
        .args(["check", "--file", "/dev/null", "--line", "timeout=7m", "--json", "--user"])
        .arg(OsStr::from_bytes(b"m\xfcller"))
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["user"], &found["timeout"]), (&json!("m\u{fffd}ller"), &json!(420)));
}

#[test]
fn a_rule_for_addresses_is_noted_if_the_host_is_a_name() {
    let policy = "root sshd * 10.0.0.0/8,10.0.0.*,!*.example.org quiet\n* login * ::1 quiet\n* * * *,!192.0.2.7 quiet\n";
    let notes = |from: &str| {
        let Answer(_, err, code) =
            ask(policy, &format!("check --file - --user root --line quiet --from {from}"));
        assert_eq!(code, Some(0), "{err}");
        err
    };
    let says = |place: &str, item: &str| {
        format!("note: -:{place}: {item} matches addresses only, and nas.example.com is a name\n")
    };
    let expected = [says("1", "10.0.0.0/8"), says("1", "10.0.0.*"), says("3", "192.0.2.7")].concat();
    assert_eq!(notes("nas.example.com"), expected);
    for from in ["10.1.2.3", "UNKNOWN", "2001:db8::1"] {
        assert_eq!(notes(from), "", "{from}");
    }
}

/// The notes about a policy, each with the rule's line. A note is a problem only with `--strict`.
fn notes(policy: &str) -> Vec<String> {
    let Answer(_, err, code) = ask(policy, "check -");
    assert_eq!(code, Some(0), "{policy}: {err}");
    let notes: Vec<String> =
        err.lines().map(|line| line.strip_prefix("note: -:").unwrap().to_owned()).collect();
    let Answer(out, strictly, code) = ask(policy, "check --strict -");
    assert_eq!((code, &strictly), (Some(i32::from(!notes.is_empty())), &err), "{policy}: {out}");
    let Answer(out, ..) = ask(policy, "check --json --file -");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["notes"].as_array().unwrap().len(), notes.len(), "{policy}: {out}");
    notes
}

#[test]
fn a_rule_that_can_never_match_is_noted() {
    for (policy, note) in [
        ("* ssh * * quiet\n", "1: no service is called ssh: did you mean sshd?"),
        ("* cron * * quiet\n", "1: never matches, because sessions of cron are never watched"),
        ("* crond,atd * * quiet\n", "1: never matches, because sessions of crond, atd are never watched"),
        ("* SSHD,login * * quiet\n", "1: no service is called SSHD: did you mean sshd?"),
        ("root,users * * * quiet\n", "1: users is not known on this machine: did you mean @users?"),
        ("@nobody-knows * * * quiet\n", "1: @nobody-knows is not known on this machine"),
        // These are covered by names, by an existing group, and by an ID.
        ("* sshd,login * * quiet\n* sshd * 10.0.0.0/8 quiet\n", "2: is never reached: -:1 covers it"),
        ("daemon,@root * * * quiet\n\nroot sshd * * quiet\n", "3: is never reached: -:1 covers it"),
        ("uid:0-10 * * * quiet\nroot,daemon * * * quiet\n", "2: is never reached: -:1 covers it"),
        ("*,!daemon * * * quiet\nroot * * * quiet\n", "2: is never reached: -:1 covers it"),
        ("root,!@root * * * quiet\n", "1: never matches: the exceptions in who leave nothing"),
        ("* sshd,!ssh* * * quiet\n", "1: never matches: the exceptions in service leave nothing"),
    ] {
        assert_eq!(notes(policy), [note], "{policy}");
    }
}

#[test]
fn a_rule_that_still_matches_somebody_is_not_noted() {
    for policy in [
        "root sshd * * quiet\n@root * * * quiet\n* * * * quiet\n",
        "daemon,@daemon * * * quiet\nroot sshd * * quiet\n",
        "*,!root * * * quiet\nroot sshd * * quiet\n* * * * quiet\n",
        "root * tty1 * quiet\nroot * tty? * quiet\n",
        // The policy may be meant for a machine with other services.
        "* sshd,cron * * quiet\n* gdm-password,no-such-service * * quiet\n",
    ] {
        assert_eq!(notes(policy), [""; 0], "{policy}");
    }
}

#[test]
fn a_fault_in_a_column_with_only_exceptions_says_what_to_write() {
    for (policy, says) in [
        ("!hoa * * * quiet\n", "-:1:1: !hoa: only exceptions: to match everything else, write *,!hoa\n"),
        (
            "* !cron,!atd * * quiet\n",
            "-:1:3: !cron,!atd: only exceptions: to match everything else, write *,!cron,!atd\n",
        ),
    ] {
        let Answer(_, err, code) = ask(policy, "check -");
        assert_eq!((code, err.as_str()), (Some(2), says));
    }
    let Answer(_, err, code) = ask("%sudo * * * quiet\n", "check -");
    assert!(code == Some(2) && err.ends_with("; did you mean @sudo?\n"), "{err}");
}

#[test]
fn a_message_file_that_is_not_there_yet_is_noted() {
    let Answer(_, err, code) = ask("* * * * message-file=/nowhere/text\n", "check - --line quiet");
    assert!(code == Some(0) && err.starts_with("note: /nowhere/text: No such file"), "{err}");
    // With timeout=off the message is never shown.
    assert_eq!(notes("* * * * timeout=off message-file=/nowhere/text\n"), [""; 0]);
}

#[test]
fn an_invalid_command_line_shows_the_usage() {
    for line in [
        "",
        "chek",
        "check --usr a",
        "check --from h",
        "check - --file -",
        "check a b",
        "check --user=",
        "check --system --line quiet",
        "adopt",
        "adopt --all 12",
        "adopt 12 13",
    ] {
        let Answer(out, err, code) = ask("", line);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}");
        assert!(err.starts_with("idle-watchdog: ") && err.contains("usage: idle-watchdog check"), "{err}");
    }
    let Answer(out, err, code) = ask("", "check - --user root --service SSHD --from local");
    assert!(code == Some(0) && out.contains("root, by sshd on ssh, from no remote host"), "{out}");
    assert_eq!(err, "note: --service SSHD: libpam uses the service sshd\n");
    let Answer(out, _, code) = ask("", "--help");
    assert!(code == Some(0) && out.contains("--system"), "{out}");
    let Answer(out, _, code) = ask("", "--version");
    assert_eq!((code, out), (Some(0), format!("idle-watchdog {}\n", env!("CARGO_PKG_VERSION"))));
}
