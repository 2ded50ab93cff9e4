//! PAM sessions inside a PAM session. Each has a watchdog, and none affects the other session.

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::process::wait_some;
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs};

/// The options of a session that must not end during the test.
const LONG: &str = "timeout=10m debug";

#[test]
fn an_idle_su_ends_alone() {
    let sshd = Sshd::with(LONG).nested(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.type_line("su bob");
    sshd.log.wait_for_event("armed", "bob", SOON);
    alice.run("sleep 1000 &");
    assert_eq!(sshd.helpers().len(), 2);

    let ended = sshd.log.wait_for_event("ended", "bob", PAST_THE_PROMISE);
    assert!(ended.text.contains("(su:session)"), "{}", ended.text);
    let idle = ended.at - alice.last_key();
    assert!(idle >= LIMIT, "after {idle:?}; the log:\n{}", sshd.log);
    assert_no_process_left(&sshd, "bob", gone_by_stamps(alice.last_key()));
    // The shell in which su was started is still there, and so is its watchdog.
    alice.wait_for_shell();
    assert_eq!(sshd.log.events("ended", "alice").len(), 0, "the log:\n{}", sshd.log);
    wait_some(|| (sshd.helpers().len() == 1).then_some(()), SOON).expect("the outer one's helper alone");
}

#[test]
fn an_idle_sudo_shell_ends_alone() {
    let sshd = Sshd::with(LONG).nested(OPTIONS).start();
    let root = sshd.login("root");
    root.type_line("sudo -i");
    let armed = sshd.log.wait_for("sudo's watchdog", |l| l.is("armed") && l.text.contains("(sudo"), SOON);
    assert_eq!(armed.field("members-by"), Some("descendants"), "{}", armed.text);
    root.run("echo inside");

    let ended =
        sshd.log.wait_for("sudo's end", |l| l.is("ended") && l.text.contains("(sudo"), PAST_THE_PROMISE);
    let idle = ended.at - root.last_key();
    assert!(
        (LIMIT..LATEST_BY_STAMPS + GRACE + secs(1)).contains(&idle),
        "after {idle:?}; the log:\n{}",
        sshd.log
    );
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    root.wait_for_shell();
    wait_some(|| (sshd.helpers().len() == 1).then_some(()), SOON).expect("the outer one's helper alone");
}

#[test]
fn a_person_who_types_inside_sudo_is_not_idle() {
    let sshd = Sshd::with(OPTIONS).nested(LONG).start();
    let root = sshd.login("root");
    root.type_line("sudo -i");
    sshd.log.wait_for("sudo's watchdog", |l| l.is("armed") && l.text.contains("(sudo"), SOON);
    let typist = root.keep_typing(secs(3));
    assert!(root.exit(2 * LATEST_BY_STAMPS).is_none(), "the log:\n{}", sshd.log);
    typist.stop();
    assert_ended_on_time(&sshd, &root);
}

#[test]
fn the_end_of_a_session_ends_its_su_too() {
    let sshd = Sshd::with(OPTIONS).nested(LONG).start();
    let alice = sshd.login("alice");
    alice.type_line("su bob");
    sshd.log.wait_for_event("armed", "bob", SOON);
    alice.run("sleep 1000 &");
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "bob", gone_by_stamps(alice.last_key()));
    assert_no_helper_left(&sshd, GRACE + secs(2));
}

/// Neither systemd nor pam_loginuid shows here that the session is inside another one.
#[test]
fn a_su_through_setsid_is_still_inside_a_session() {
    let sshd = Sshd::with(LONG).without_loginuid().nested(LONG).start();
    let alice = sshd.login("alice");
    alice.type_line("setsid -w su bob");
    let armed = sshd.log.wait_for_event("armed", "bob", SOON);
    assert_eq!(armed.field("members-by"), Some("descendants"), "{}", armed.text);
    alice.wait_for_shell();
    let su = || sshd.processes().into_iter().find(|process| process.comm == "su");
    su().expect("su").kill(Signal::SIGKILL);
    let orphaned = sshd.log.wait_for_event("orphaned", "bob", SOON);
    assert_eq!(orphaned.field("action"), Some("none"), "{}", orphaned.text);
    // Alice's own watchdog ends what it leaves on her terminal.
    for user in ["alice", "bob"] {
        assert_untouched(&sshd, user);
    }
}
