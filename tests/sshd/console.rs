//! login(1) on a console. The terminal is the leader's own.

use crate::promise::*;
use crate::support::sshd::Sshd;
use crate::support::{ENDED_TEXT, WARNING_TEXT, secs};

#[test]
fn an_idle_console_login_is_ended() {
    let sshd = Sshd::with(OPTIONS).nested(OPTIONS).start();
    let alice = sshd.console("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", secs(5));
    assert!(armed.text.contains("(login:session)"), "{}", armed.text);
    assert_eq!(armed.field("terminals-by"), Some("own"), "{}", armed.text);
    assert_eq!(armed.field("members-by"), Some("audit"), "{}", armed.text);
    alice.run("(setsid sleep 1000 &)");

    assert_ended_by_stamps(&sshd, &alice);
    alice.expect(WARNING_TEXT, secs(1));
    alice.expect(ENDED_TEXT, secs(1));
    assert_no_process_left(&sshd, "alice", gone_by_stamps(alice.last_key()));
    assert_no_helper_left(&sshd, GRACE + secs(2));
    assert_eq!(sshd.log.events("tampering", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_person_who_types_at_a_console_is_never_ended() {
    let sshd = Sshd::with(OPTIONS).nested(OPTIONS).start();
    let alice = sshd.console("alice");
    let typist = alice.keep_typing(secs(3));
    assert!(alice.exit(2 * LATEST_BY_STAMPS).is_none(), "the log:\n{}", sshd.log);
    typist.stop();
    assert_ended_by_stamps(&sshd, &alice);
}
