//! The account line refuses a login that could not be guarded, before its session opens.

use crate::policy::{BROKEN, assert_guarded_by_the_line, error, errors, log_out, refused};
use crate::promise::assert_no_helper_left;
use crate::support::SOON;
use crate::support::sshd::{Builder, Helper, Sshd};
use crate::support::tree::line_of;

/// An sshd with an account line and a session line, both with these options.
fn with(options: &str) -> Builder {
    Sshd::with(options).account(&[&line_of("account", options)])
}

/// The login is not allowed, the log has one reason, and no session was opened.
#[track_caller]
fn assert_denied(sshd: &Sshd, user: &str, reason: &str) {
    let (client, exit) = refused(sshd, user);
    assert_eq!(exit.code(), 255, "{}\nthe log:\n{}", client.screen(), sshd.log);
    client.expect("closed by 127.0.0.1", SOON);
    let denied = format!("Access denied for user {user} by PAM account configuration");
    sshd.log.wait_for(&denied, |line| line.text.contains(&denied), SOON);
    let error = error(sshd, "account", user);
    assert!(error.is("error") && error.text.contains(reason), "{}", error.text);
    let session = |line: &crate::support::log::Line| line.text.contains("(sshd:session)");
    assert!(sshd.log.all(session).is_empty(), "the log:\n{}", sshd.log);
}

#[test]
fn it_accepts_a_login_that_can_be_guarded() {
    let sshd = with("timeout=20m").start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    errors(&sshd, "account", "alice", 0);
    assert_eq!(sshd.helpers().len(), 1, "the account line starts none");
    log_out(&alice);
}

#[test]
fn a_broken_policy_refuses_nobody_and_is_on_record_once() {
    let sshd = with("timeout=20m").start();
    sshd.policy(BROKEN);
    for user in ["alice", "root"] {
        let client = assert_guarded_by_the_line(&sshd, user, "1200", "line=3 column=3 argument=timeot=5m");
        errors(&sshd, "account", user, 0);
        assert_eq!(sshd.helpers().len(), 1);
        log_out(&client);
        assert_no_helper_left(&sshd, SOON);
    }
}

#[test]
fn a_broken_policy_without_a_limit_refuses_the_login() {
    let sshd = with("timeout=off").start();
    sshd.policy(BROKEN);
    assert_denied(&sshd, "alice", "line=3 column=3 argument=timeot=5m");
    // Root can mend it.
    let root = sshd.login("root");
    errors(&sshd, "account", "root", 0);
    errors(&sshd, "session", "root", 2);
    log_out(&root);
}

#[test]
fn a_helper_that_cannot_be_started_is_found_out_before() {
    for (helper, why) in [(Helper::Missing, "ENOENT"), (Helper::NotExecutable, "EACCES")] {
        let sshd = with("timeout=20m").helper(helper).start();
        assert_denied(&sshd, "alice", &format!("pam_idle_watchdog_helper cannot be started: {why}: "));
        // A login that needs no helper is let in.
        sshd.policy("bob * * * timeout=off\n");
        let bob = sshd.login("bob");
        errors(&sshd, "account", "bob", 0);
        log_out(&bob);
    }
}

#[test]
fn with_onerr_succeed_it_lets_in_on_record() {
    let sshd = with("timeout=20m onerr=succeed").helper(Helper::Missing).start();
    let alice = sshd.login("alice");
    let errors = errors(&sshd, "account", "alice", 2);
    let [error, unguarded] = &errors[..] else { panic!("{errors:?}") };
    assert!(error.is("error") && unguarded.is("unguarded"), "{errors:?}");
    log_out(&alice);
}

#[test]
fn a_hidden_proc_is_found_out_before() {
    let ours = line_of("account", "timeout=20m");
    let hide = "account required pam_exec.so quiet @DIR@/hide";
    let sshd = Sshd::with("timeout=20m").account(&[hide, &ours]).start();
    sshd.script("hide", "#!/bin/sh\nexec mount -t tmpfs hidden /proc\n");
    assert_denied(&sshd, "alice", "error=\"/proc is hidden or not mounted\"");
}
