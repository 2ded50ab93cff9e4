//! The course of an ordinary session.

use crate::guest::with_scope;
use crate::promise::*;
use crate::support::client::Typist;
use crate::support::log::{HangingDaemon, LOG_AUTHPRIV, Log};
use crate::support::sshd::Sshd;
use crate::support::tree::our_line;
use crate::support::{ENDED_TEXT, SOON, WARNING_TEXT, now, secs, until};

/// How long a record may take to reach our log daemon on a busy machine.
const LOG_DELAY: std::time::Duration = std::time::Duration::from_millis(300);

#[test]
fn an_idle_session_is_ended_within_the_promise() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.run("nohup sleep 1000 >/dev/null 2>&1 &");

    let exit = assert_ended_on_time(&sshd, &alice);
    assert_ne!(exit.code(), 0);
    alice.expect(WARNING_TEXT, secs(1));
    alice.expect(ENDED_TEXT, secs(1));

    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    assert_no_helper_left(&sshd, secs(2));
    assert_pam_closed(&sshd, "alice");
    assert_eq!(sshd.leaders(), []);
    assert_no_error(&sshd);
}

#[test]
fn every_decision_is_on_record_once() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.run("tty");
    assert_ended_on_time(&sshd, &alice);

    let ended = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    let uid = sshd.uid("alice").to_string();
    for event in ["armed", "warned", "ending", "ended"] {
        let records = sshd.log.events(event, "alice");
        let [record] = records.as_slice() else {
            panic!("{} records of {event}; the log:\n{}", records.len(), sshd.log);
        };
        assert_eq!(record.field("uid"), Some(&*uid), "{}", record.text);
        assert_eq!(record.field("rhost"), Some("127.0.0.1"), "{}", record.text);
        assert_eq!(record.field("limit"), Some("10"), "{}", record.text);
        let by = (event != "armed").then_some("terminal");
        assert_eq!(record.field("by"), by, "{}", record.text);
        assert!(record.text.contains("pam_idle_watchdog(sshd:session): "), "{}", record.text);
        assert_eq!(record.priority.map(|(facility, _)| facility), Some(LOG_AUTHPRIV));
    }
    let ending = &sshd.log.events("ending", "alice")[0];
    let terminal = ending.field("tty").expect("a terminal");
    assert!(alice.shows(terminal), "{terminal} is not what tty said:\n{}", alice.screen());
    let idle: u64 = ending.field("idle").unwrap().parse().unwrap();
    assert!((10..=19).contains(&idle), "{}", ending.text);
}

/// The end takes the whole grace period here, which is not idle time.
#[test]
fn ending_and_ended_tell_the_same_idle_time() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.run("trap '' HUP TERM; sleep 1000 &");
    let ending = sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE);
    let ended = sshd.log.wait_for_event("ended", "alice", GRACE + SOON);
    assert_ne!(ended.field("sigkill"), Some("0"), "{}", ended.text);
    assert!(ended.at - ending.at + LOG_DELAY >= GRACE, "the log:\n{}", sshd.log);
    assert_eq!(ended.field("idle"), ending.field("idle"), "the log:\n{}", sshd.log);
}

#[test]
fn the_end_comes_after_the_whole_warning() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.expect(WARNING_TEXT, PAST_THE_PROMISE);
    let shown = now();
    let exit = assert_ended_on_time(&sshd, &alice);
    let notice = exit.at - shown;
    assert!(notice + LOG_DELAY >= WARN, "{notice:?} of warning; the log:\n{}", sshd.log);
}

#[test]
fn a_person_who_types_is_never_ended() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let typist = alice.keep_typing(secs(2));
    assert!(alice.exit(PAST_THE_PROMISE + LIMIT).is_none(), "the log:\n{}", sshd.log);
    typist.stop();
    assert_untouched(&sshd, "alice");
    alice.wait_for_shell();
}

/// Changes the terminal's node once before each look that is due, as `su -` to root does on Debian.
const MESG: &str = "while sleep 14; do mesg y; mesg n; done &";

#[test]
fn a_person_who_types_is_never_ended_however_often_mesg_runs() {
    const SETTINGS: &str = "timeout=20s warn=5s grace=2s debug";
    let sshd = Sshd::with(SETTINGS).nested(SETTINGS).start();
    // One user's connection is a witness. The other one has no witness.
    let alice = sshd.login("alice");
    let bob = sshd.console("bob");
    alice.run(MESG);
    bob.run(MESG);
    let typists = [alice.keep_typing(secs(1)), bob.keep_typing(secs(1))];
    // Without the rule under test, so many looks would use up all credits, and the end would come.
    assert!(alice.exit(secs(6 * 15)).is_none(), "the log:\n{}", sshd.log);
    assert!(bob.exit(secs(0)).is_none(), "the log:\n{}", sshd.log);
    for user in ["alice", "bob"] {
        assert_untouched(&sshd, user);
        // If the stamps were not in doubt, there would be only one look every 15 s.
        let looks = sshd.log.events("look", user).len();
        assert!(looks > 9, "mesg is not seen in {looks} looks; the log:\n{}", sshd.log);
    }
    typists.into_iter().for_each(Typist::stop);
    alice.wait_for_shell();
    bob.wait_for_shell();
}

#[test]
fn a_key_in_the_warning_window_cancels_it() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let warned = sshd.log.wait_for_event("warned", "alice", PAST_THE_PROMISE);
    alice.expect(WARNING_TEXT, secs(2));
    alice.type_keys("\r");
    let resumed = sshd.log.wait_for_event("resumed", "alice", WARN + secs(1));
    assert!(resumed.at > warned.at);
    assert_eq!(sshd.log.events("ending", "alice").len(), 0, "the log:\n{}", sshd.log);
    // The course starts again.
    assert_ended_on_time(&sshd, &alice);
    assert_eq!(sshd.log.events("warned", "alice").len(), 2, "the log:\n{}", sshd.log);
}

#[test]
fn enter_cancels_the_warning_although_no_program_reads_it() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.type_line("sleep 1000");
    sshd.log.wait_for_event("warned", "alice", PAST_THE_PROMISE);
    alice.type_keys("\r");
    sshd.log.wait_for_event("resumed", "alice", WARN + secs(1));
    assert!(alice.exit(until(alice.last_key() + LIMIT)).is_none(), "the log:\n{}", sshd.log);
    // It was one key, so the session is idle from there on.
    let exit = alice.exit(PAST_THE_PROMISE);
    assert!(exit.is_some(), "never ended; the log:\n{}", sshd.log);
}

#[test]
fn a_long_line_that_nobody_has_read_is_kept_by_enter() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.type_line("cat");
    // A key comes every second, without Enter. cat has read none of them.
    for _ in 0..100 {
        if alice.shows("no input read for") {
            break;
        }
        alice.type_keys("x");
        alice.exit(secs(1));
    }
    alice.expect("no input read for", secs(1));
    assert!(!alice.shows("key pressed"), "that is not known: {}", alice.screen());
    alice.type_keys("\r");
    sshd.log.wait_for_event("resumed", "alice", WARN + secs(1));
    alice.type_keys("\x04");
    alice.wait_for_shell();
}

#[test]
fn a_restarted_log_daemon_loses_no_record() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    // The daemon is down from before the warning until after the end.
    let socket = sshd.dir.join("log");
    Log::hang_up(&socket);
    std::fs::remove_file(&socket).unwrap();
    assert_ended_on_time(&sshd, &alice);
    assert_eq!(sshd.log.events("warned", "alice").len(), 0, "the log daemon was down");
    sshd.log.listen(&socket);
    sshd.log.wait_for_event("ended", "alice", SOON);
    for event in ["warned", "ending", "ended"] {
        assert_eq!(sshd.log.events(event, "alice").len(), 1, "{event}; the log:\n{}", sshd.log);
    }
    assert_no_helper_left(&sshd, secs(2));
}

#[test]
fn a_log_daemon_that_hangs_delays_no_end_and_loses_no_record() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let socket = sshd.dir.join("log");
    Log::hang_up(&socket);
    std::fs::remove_file(&socket).unwrap();
    let daemon = HangingDaemon::at(&socket);
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    daemon.recover(&sshd.log);
    sshd.log.wait_for_event("ended", "alice", SOON);
    for event in ["warned", "ending", "ended"] {
        let records = sshd.log.events(event, "alice");
        assert_eq!(records.len(), 1, "{event}; the log:\n{}", sshd.log);
        assert_eq!(records[0].text.matches("user=").count(), 1, "{}", records[0].text);
    }
    assert_no_helper_left(&sshd, secs(2));
}

#[test]
fn a_second_line_in_the_stack_is_ignored_on_record() {
    let second = our_line("timeout=1h");
    let sshd = Sshd::with(OPTIONS).before(&[second.trim_end()]).start();
    let alice = sshd.login("alice");
    let ignored = sshd.log.wait_for_event("ignored", "alice", SOON);
    assert!(ignored.text.contains("pam_idle_watchdog(sshd:session)"), "{}", ignored.text);
    assert_eq!(sshd.helpers().len(), 1);
    assert_eq!(sshd.log.events("armed", "alice")[0].field("limit"), Some("3600"));
    alice.type_line("exit");
    assert!(alice.exit(SOON).is_some());
    assert_no_helper_left(&sshd, secs(2));
}

#[test]
fn an_exempt_session_is_on_record_and_has_no_helper() {
    let sshd = with_scope(Sshd::with("timeout=off"));
    let alice = sshd.login("alice");
    let exempt = sshd.log.wait_for_event("exempt", "alice", SOON);
    let uid = sshd.uid("alice").to_string();
    for (field, value) in [("uid", uid.as_str()), ("session", "t1"), ("limit", "off")] {
        assert_eq!(exempt.field(field), Some(value), "{}", exempt.text);
    }
    assert_eq!(sshd.helpers(), []);
    alice.type_line("exit");
    assert!(alice.exit(SOON).is_some());
}

#[test]
fn quiet_writes_nothing_on_the_terminal_and_everything_in_the_log() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s quiet").start();
    let alice = sshd.login("alice");
    assert_ended_on_time(&sshd, &alice);
    assert!(!alice.shows(WARNING_TEXT) && !alice.shows(ENDED_TEXT), "{}", alice.screen());
    sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(sshd.log.events("warned", "alice")[0].field("quiet"), Some("yes"));
}
