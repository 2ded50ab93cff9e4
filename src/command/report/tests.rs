use super::*;
use crate::command::records::calendar::tests::{NOW, UTC};
use crate::command::records::{LogEntry, ParsedRecord};

/// A report about records of one helper each.
fn report(records: &[&str]) -> Report {
    let mut totals = Totals::default();
    for (at, record) in (0..).zip(records) {
        let record =
            ParsedRecord::parse(&format!("pam_idle_watchdog(sshd:session): {record}"), true).unwrap();
        totals.take(&LogEntry { at: NOW - 3600 + at, pid: Some(7), by_helper: true, record }, 9);
    }
    totals.finish();
    Report {
        facts: Facts { host: "alpha".to_owned(), versions: vec![("kernel", "6.1".to_owned())] },
        period: Period { since: NOW - 86_400, until: NOW },
        user: None,
        limit: Some(Duration::from_secs(600)),
        source: LogSource {
            name: "/var/log/auth.log".to_owned(),
            is_trusted: false,
            begins: Some(NOW - 40_000),
            left_out: vec!["/var/log/auth.log.2.gz".to_owned()],
        },
        totals,
        zone: UTC,
    }
}

const COURSE: [&str; 4] = [
    "armed user=alice session=1 limit=900 warn=60 kill=session",
    "warned user=alice session=1 idle=840 limit=900 rule=/etc/security/idle_watchdog.conf:12",
    "resumed user=alice session=1 idle=1 limit=900 rule=/etc/security/idle_watchdog.conf:12 away=871",
    "ended user=alice session=1 idle=900 limit=900 rule=/etc/security/idle_watchdog.conf:12 survivors=5",
];

#[test]
fn the_first_screen_says_what_was_read_and_what_happened() {
    let text = text::text(&report(&COURSE), true);
    for line in [
        "host          alpha",
        "period        2026-11-26 10:00 to 2026-11-27 10:00",
        "kernel        6.1",
        "log           /var/log/auth.log; 4 records",
        "              This log does not say who wrote a line.",
        "              Any user can write one like ours.",
        "              It begins at 2026-11-26 22:53. What was before is not known.",
        "              /var/log/auth.log.2.gz is compressed: not read.",
        "watched       1 session",
        "warned        1 time, in 1 session",
        "resumed       1 time, in 1 session",
        "ended         1 idle; 0 for another reason",
        "longest idle  15m, alice, 2026-11-27 09:00",
        "survivors     in 1 end",
        "              2026-11-27 09:00 alice: 5",
        "A limit of 10m, and the 2 absences on record:",
        "  ends        2; after 1 of them the person came back",
        "  limit. In this period that was after 14m in some sessions. The limit would",
        "  10m to 15m         1 ########################################",
        " watched warned resumed ended would-end exempt refused  user",
        "       1      1       1     1         0      0       0  alice",
        "       0      1       1     1         0      0       0  idle_watchdog.conf:12",
        "       1      1       1     1         0      0       0  09:00",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
    }
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    // On one screen, without the histogram and the tables.
    assert!(text.lines().take_while(|line| !line.starts_with("absences on")).count() <= 40, "{text}");
}

#[test]
fn a_log_without_records_is_a_report_too() {
    let text = text::text(&Report { limit: None, ..report(&[]) }, true);
    assert!(text.contains("watched       0 sessions\n") && text.contains("no absence on record"), "{text}");
    assert!(!text.contains("would-end exempt"), "{text}");
    assert!(data::csv(&report(&[])).ends_with("all,\"\",0,0,0,0,0,0,0,0\n"));
}

#[test]
fn a_name_from_outside_does_nothing_to_the_terminal_or_the_table() {
    let hostile = report(&[r#"armed user="a\u{1b}[2J\n,b" session=1 limit=900"#]);
    for text in [text::text(&hostile, true), data::csv(&hostile)] {
        assert!(text.contains(r"a\u{1b}[2J\n,b") && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn json_and_csv_have_the_same_numbers() {
    let report = report(&COURSE);
    let json = data::json(&report);
    assert_eq!(json["times"]["ended"], 1);
    assert_eq!((&json["host"], &json["log"]["trusted"]), (&"alpha".into(), &false.into()));
    assert_eq!(json["by_rule"][1]["rule"], "/etc/security/idle_watchdog.conf:12");
    assert_eq!(json["limit"]["ends"], 2);
    assert_eq!(json["absences"]["longest"]["seconds"], 900);
    assert_eq!(json["last_ends"][0]["idle"], 900);
    let csv = data::csv(&report);
    assert_eq!(
        csv.lines().next(),
        Some("by,name,watched,warned,resumed,ended,would-end,exempt,refused,unguarded")
    );
    assert!(csv.contains("\nuser,\"alice\",1,1,1,1,0,0,0,0\n"), "{csv}");
    assert!(csv.contains("\nrule,\"/etc/security/idle_watchdog.conf:12\",0,1,1,1,0,0,0,0\n"), "{csv}");
    assert!(csv.contains("\nhour,\"9\",1,1,1,1,0,0,0,0\n"), "{csv}");
}
