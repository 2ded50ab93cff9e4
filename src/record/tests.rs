//! A record is one line, no value passes for a field, and the values are whole.

use super::*;
use std::collections::BTreeSet;

use proptest::prelude::*;

#[test]
fn every_event_and_every_key_has_a_name_of_its_own() {
    let events: BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
    let keys: BTreeSet<&str> = Key::ALL.iter().map(|key| key.name()).collect();
    assert_eq!((events.len(), keys.len()), (Event::ALL.len(), Key::ALL.len()));
    let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    assert!(events.iter().chain(&keys).all(plain), "{events:?} {keys:?}");
}

#[test]
fn a_record_matters_as_its_event_does_unless_it_says_otherwise() {
    let record = Record::new(Event::Ended);
    assert_eq!(record.severity(), Severity::Notice);
    let record = record.at(Severity::Error).with(Key::Survivors, 7);
    assert_eq!((record.severity(), record.to_string().as_str()), (Severity::Error, "ended survivors=7"));
}

#[test]
fn every_event_has_a_number_of_its_own() {
    let ids: BTreeSet<u128> = Event::ALL.iter().map(|event| event.message_id()).collect();
    assert_eq!(ids.len(), Event::ALL.len());
}

#[test]
fn the_fields_have_the_values_as_they_are() {
    let long = "é".repeat(WHOLE);
    let record = Record::new(Event::Error)
        .with(Key::User, "x uid=0")
        .with(Key::Error, "a\nb\"")
        .with(Key::Argument, long);
    let fields: Vec<(Key, &str)> = record.fields().collect();
    assert_eq!(fields[..2], [(Key::User, "x uid=0"), (Key::Error, "a\nb\"")]);
    let (Key::Argument, cut) = fields[2] else { panic!("{fields:?}") };
    assert!(cut.starts_with("éé") && cut.ends_with("é...") && cut.len() <= WHOLE + 3);
    assert_eq!(record.event(), Event::Error);
}

#[test]
fn the_line_has_the_prefix_of_libpam() {
    let line = |service: &str| Record::new(Event::Closed).line(service, "session");
    assert_eq!(line("sshd"), "pam_idle_watchdog(sshd:session): closed");
    assert_eq!(line("a\nb \u{9b}"), "pam_idle_watchdog(ab:session): closed");
}

#[test]
fn plain_values_stay_plain() {
    let record = Record::new(Event::Armed)
        .with(Key::User, "alice")
        .with(Key::Tty, "pts/0,pts/1")
        .with_some(Key::Rhost, None::<u8>);
    assert_eq!(record.to_string(), "armed user=alice tty=pts/0,pts/1");
}

#[test]
fn no_value_passes_for_a_field_or_a_line() {
    let record =
        Record::new(Event::Armed).with(Key::User, "x uid=0").with(Key::Rhost, "a\nb\"").with(Key::Tty, "");
    assert_eq!(record.to_string(), r#"armed user="x uid=0" rhost="a\nb\"" tty="""#);
}

#[test]
fn a_text_is_shown_in_its_own_letters() {
    for text in ["CORP\\zoë", "it's \"Прод\" 雪"] {
        assert_eq!(shown(text), text);
    }
    assert_eq!(shown("a\x1b[2J\u{9b}2J\u{202e}b\r\n"), r"a\u{1b}[2J\u{9b}2J\u{202e}b\r\n");
}

#[test]
fn a_list_of_thousands_is_short() {
    assert_eq!(list(Vec::<i32>::new(), MOST), None);
    assert_eq!(list([7], 1).as_deref(), Some("7"));
    assert_eq!(list(1..=3, 3).as_deref(), Some("1,2,3"));
    assert_eq!(list(1..=5000, 3).as_deref(), Some("1,2,3 and 4997 more"));
    let longest = list((0..5000).map(|_| i32::MAX), MOST).unwrap();
    assert!(Record::new(Event::Ended).with(Key::Survivors, longest).to_string().len() < 300);
}

#[test]
fn a_long_value_is_cut_and_says_so() {
    let long = "x".repeat(LONGEST);
    let field = |value: &str| Record::new(Event::Armed).with(Key::Rhost, value).to_string();
    assert_eq!(field(&long), format!("armed rhost={long}"));
    assert_eq!(field(&(long.clone() + "y")), format!("armed rhost=\"{long}...\""));
    // An escape is complete or left out.
    let cut = field(&"\u{10ffff}".repeat(LONGEST));
    assert!(cut.len() < LONGEST + 20 && cut.ends_with(r#"\u{10ffff}...""#), "{cut}");
}

proptest! {
    #[test]
    fn what_is_shown_does_nothing_to_a_terminal(text in ".*\n?.*") {
        let shown = shown(&text);
        prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
        // Harmless characters do not change.
        prop_assert_eq!(&super::shown(&shown), &shown);
    }

    #[test]
    fn a_record_is_one_printable_line(value in ".*\n?.*") {
        let text = Record::new(Event::Armed).with(Key::User, value).to_string();
        prop_assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
    }
}
