//! Tests of the table.

use super::super::row::tests::{row, sessions, status, told};
use super::super::row::{Finding, SessionRow, sort};
use super::*;
use crate::protocol::status::{State, Status};
use proptest::prelude::*;

const WIDE: Style = Style { width: None, colour: false };

fn at(width: usize) -> Style {
    Style { width: Some(width), ..WIDE }
}

#[test]
fn the_table_says_who_ends_when_and_why_a_session_has_no_watchdog() {
    let mut rows = sessions();
    sort(&mut rows);
    let expected = "\
SESSION  USER   FROM       TTY    SERVICE   IDLE  LIMIT    ENDS  STATE      RULE
4        alice  192.0.2.7  pts/3  sshd       15m    15m      0s  ending     idle_watchdog.conf:12
3        alice  192.0.2.7  pts/3  sshd     14m10s    15m     50s  warned     idle_watchdog.conf:12
";
    let text = table(&rows, WIDE);
    let lines: Vec<&str> = text.lines().collect();
    let expected: Vec<Vec<&str>> = expected.lines().map(|line| line.split_whitespace().collect()).collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!(&words(line), expected, "{text}");
    }
    assert_eq!(
        words(lines[4]),
        [
            "5",
            "alice",
            "192.0.2.7",
            "pts/3",
            "sshd",
            "1h23m",
            "15m",
            "-",
            "reporting",
            "idle_watchdog.conf:12"
        ]
    );
    assert_eq!(
        words(lines[5]),
        ["pid:60", "alice", "192.0.2.7", "pts/3", "sshd", "-", "-", "-", "exempt", "f:3"]
    );
    assert_eq!(lines[9], "8 sessions, 2 not guarded");
    assert_eq!(lines[13], "1: unwatched: opened before installation");
}

#[test]
fn eighty_columns_are_enough() {
    let status = Status {
        terminals: vec!["pts/123".to_owned(), "pts/124".to_owned()],
        terminal_count: 2,
        ..status(State::Watched, 40_000, 90_061, Some(50_061))
    };
    let long = SessionRow {
        user: "a-user-with-a-very-long-name".to_owned(),
        from: "2001:db8:1234:5678:9abc:def0:1234:5678".to_owned(),
        service: "a-long-service".to_owned(),
        ..row("pid:4194304", 1, told(status))
    };
    let why = "the session stack of sshd has no pam_idle_watchdog.so line; /etc/pam.d/sshd:9: did you mean session?";
    let unwatched = SessionRow { terminals: vec![], ..row("c12", 2, Finding::Unwatched(why.to_owned())) };
    let text = table(&[long, unwatched], at(80));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("a-use+ 2001:db8+") && text.contains("+nf:12"), "{text}");
    assert!(text.contains("\nc12: unwatched: ") && text.contains("\n    "), "{text}");
    // Nothing is cut where there is room.
    let text = table(&sessions(), at(200));
    assert!(text.contains("idle_watchdog.conf:12") && !text.contains('+'), "{text}");
}

#[test]
fn only_the_state_has_a_colour() {
    let text = table(&sessions(), Style { colour: true, ..at(80) });
    for (state, colour) in
        [("unwatched", 31), ("silent", 31), ("ending", 31), ("warned", 33), ("outdated", 33)]
    {
        assert!(text.contains(&format!("\x1b[{colour}m{state}\x1b[0m")), "{text:?}");
    }
    assert_eq!(text.matches('\x1b').count(), 10);
    assert!(!table(&sessions(), at(80)).contains('\x1b'));
    let plain = text.replace("\x1b[31m", "").replace("\x1b[33m", "").replace(PLAIN, "");
    assert_eq!(plain, table(&sessions(), at(80)));
}

#[test]
fn times_are_short() {
    let brief = |seconds| brief(Duration::from_secs(seconds));
    let shown = [0, 59, 60, 899, 900, 3600, 3661, 86_400, 90_061, 31_536_000].map(brief);
    assert_eq!(shown, ["0s", "59s", "1m", "14m59s", "15m", "1h", "1h1m", "1d", "1d1h", "365d"]);
}

#[test]
fn no_session_is_said() {
    assert!(table(&[], WIDE).ends_with("\n0 sessions\n"));
}

proptest! {
    #[test]
    fn nothing_in_a_name_controls_the_terminal_or_breaks_the_table(
        user in "(?s).{0,40}", from in "(?s).{0,40}", tty in "(?s).{0,20}", why in "(?s).{0,90}",
    ) {
        let row = SessionRow { user, from, terminals: vec![tty], ..row("12", 2, Finding::Unwatched(why.clone())) };
        let text = table(&[row], at(80));
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        for line in text.lines().take(2) {
            prop_assert!(line.chars().count() <= 80, "{}", line);
        }
    }
}
