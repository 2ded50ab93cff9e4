//! `warn=` with several values, and the administrator's own text.

use crate::promise::*;
use crate::support::sshd::Sshd;
use crate::support::{ENDED_TEXT, SOON, WARNING_TEXT, secs, until};

const TWICE: &str = "timeout=10s warn=2s,6s grace=2s debug";

#[test]
fn every_warning_comes_at_its_time_before_the_end() {
    let sshd = Sshd::with(TWICE).start();
    let alice = sshd.login("alice");
    assert_eq!(sshd.log.events("armed", "alice")[0].field("warn"), Some("6,2"), "the log:\n{}", sshd.log);
    let exit = assert_ended_on_time(&sshd, &alice);
    assert_eq!(alice.screen().to_lowercase().matches(WARNING_TEXT).count(), 2, "{}", alice.screen());
    assert!(alice.shows("ends in 6s") && alice.shows("ends in 2s"), "{}", alice.screen());
    let warned = sshd.log.events("warned", "alice");
    let [first, second] = warned.as_slice() else { panic!("the log:\n{}", sshd.log) };
    for (record, left) in [(first, 6), (second, 2)] {
        assert_eq!(record.field("remaining"), Some(&*left.to_string()), "{}", record.text);
        let before = exit.at - record.at;
        assert!((secs(left) - secs(1)..secs(left + 2)).contains(&before), "{before:?} before the end");
    }
}

#[test]
fn a_key_after_the_second_warning_cancels_both() {
    let sshd = Sshd::with(TWICE).start();
    let alice = sshd.login("alice");
    let second = |line: &crate::support::log::Line| line.is("warned") && line.field("remaining") == Some("2");
    sshd.log.wait_for("the second warning", second, PAST_THE_PROMISE);
    alice.type_keys("\r");
    sshd.log.wait_for_event("resumed", "alice", secs(3));
    assert!(alice.exit(until(alice.last_key() + LIMIT)).is_none(), "the log:\n{}", sshd.log);
    assert_ended_on_time(&sshd, &alice);
    assert_eq!(sshd.log.events("warned", "alice").len(), 4, "the log:\n{}", sshd.log);
}

#[test]
fn the_administrators_text_is_shown_with_the_name_of_each_terminal() {
    let message = "[message=Hello {user}, {terminal} closes in {remaining}, idle {{for}} {idle} of {limit}]";
    let sshd = Sshd::with(&format!("{OPTIONS} {message}")).start();
    let alice = sshd.login("alice");
    alice.run("tty");
    assert_ended_on_time(&sshd, &alice);
    let terminal = sshd.log.wait_for_event("warned", "alice", SOON).field("tty").unwrap().to_owned();
    assert!(
        alice.shows(&format!("Hello alice, {terminal} closes in 4s, idle {{for}} ")),
        "{}",
        alice.screen()
    );
    assert!(alice.shows(" of 10s\r"), "{}", alice.screen());
    // The text has the same frame as the built-in one, and the reason for the end is still shown.
    alice.expect(ENDED_TEXT, SOON);
    assert!(!alice.shows(WARNING_TEXT), "{}", alice.screen());
}
