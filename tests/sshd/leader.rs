//! The leader's end, and a helper that does not start.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::{LOG_AUTHPRIV, LOG_ERR};
use crate::support::process::{self, wait_some};
use crate::support::sshd::{Helper, Sshd};
use crate::support::{SOON, secs, until};

#[test]
fn a_killed_leader_leaves_no_connected_shell_behind() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    let killed = crate::support::now();
    sshd.leader().kill(Signal::SIGKILL);
    // The shell ends at once, not after the idle limit.
    let deadline = killed + GRACE + secs(3);
    assert!(alice.exit(until(deadline)).is_some(), "connected; the log:\n{}", sshd.log);
    assert_no_process_left(&sshd, "alice", deadline);
    assert!(helper.wait_gone(deadline).is_some(), "the log:\n{}", sshd.log);
}

#[test]
fn a_killed_root_leader_leaves_no_shell_behind() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    let helper = sshd.helper();
    let killed = crate::support::now();
    sshd.leader().kill(Signal::SIGKILL);
    let deadline = killed + GRACE + secs(3);
    assert!(root.exit(until(deadline)).is_some(), "connected; the log:\n{}", sshd.log);
    assert!(helper.wait_gone(deadline).is_some(), "the log:\n{}", sshd.log);
    assert_eq!(sshd.processes(), [sshd.daemon()], "the log:\n{}", sshd.log);
}

#[test]
fn a_logout_ends_the_helper_and_nothing_else() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    alice.run("nohup setsid sleep 1000 >/dev/null 2>&1 &");
    alice.type_line("exit 7");
    let exit = alice.exit(SOON).expect("the logout");
    assert_eq!(exit.code(), 7);
    let gone = helper.wait_gone(exit.at + secs(1));
    assert!(gone.is_some(), "helper still there; the log:\n{}", sshd.log);
    assert_untouched(&sshd, "alice");
    // setsid(1) may not have started the program yet.
    let left = || sshd.processes_of("alice").into_iter().map(|p| p.comm).collect::<Vec<_>>();
    let sleeps = wait_some(|| (left() == ["sleep"]).then_some(()), SOON);
    assert!(sleeps.is_some(), "left: {:?}; the log:\n{}", left(), sshd.log);
}

/// A module that closes the session slowly, as one does that asks a service.
const SLOW: &str = r#"
#include <errno.h>
#include <poll.h>
#include <syslog.h>

int pam_sm_open_session(void *pam, int flags, int count, const char **words)
{
	return 0;
}

int pam_sm_close_session(void *pam, int flags, int count, const char **words)
{
	int interrupted = poll(0, 0, 1200) < 0 && errno == EINTR;

	syslog(LOG_AUTHPRIV | LOG_INFO, "slow module: %s", interrupted ? "interrupted" : "done");
	return 0;
}
"#;

#[test]
fn a_leader_that_is_closing_its_session_is_not_interrupted() {
    let sshd = Sshd::with(OPTIONS).before(&["session optional @DIR@/slow.so"]).start();
    let source = sshd.script("slow.c", SLOW);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(sshd.dir.join("slow.so")).arg(source);
    assert!(compiler.status().unwrap().success());
    let alice = sshd.login("alice");
    assert_ended_on_time(&sshd, &alice);
    let closed = sshd.log.wait_for("the slow module", |line| line.text.contains("slow module: "), SOON);
    assert!(closed.text.ends_with("done"), "the log:\n{}", sshd.log);
    let ended = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(ended.field("sigterm"), Some("0"), "{}", ended.text);
    assert_pam_closed(&sshd, "alice");
}

/// Two seconds for the start and arming of the helper, and the time of the login itself on a busy machine.
const BUDGET: std::time::Duration = secs(2 + 2);

/// The helper's failure is in the log as an error, and no process of it is left.
fn assert_failure_logged(sshd: &Sshd) {
    sshd.log.wait_for(
        "the failure",
        |line| {
            line.text.contains("pam_idle_watchdog(sshd:session): ")
                && line.priority == Some((LOG_AUTHPRIV, LOG_ERR))
        },
        secs(1),
    );
    assert!(sshd.log.all(|line| line.is("armed")).is_empty(), "the log:\n{}", sshd.log);
    let hanging = || sshd.processes().into_iter().filter(|p| p.comm == "sleep").collect();
    assert_eq!(process::wait_none(hanging, secs(1)), Ok(()), "the log:\n{}", sshd.log);
}

/// With `onerr=fail` the login ends with sshd's code 254, without a message.
fn assert_login_fails(helper: Helper) {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s onerr=fail").helper(helper).start();
    let mut command = sshd.ssh("alice");
    command.arg("-tt");
    let alice = Client::on_terminal(command);
    let exit = alice.exit(SOON).expect("the login ends");
    assert_eq!(exit.code(), 254, "{}\nthe log:\n{}", alice.screen(), sshd.log);
    let accepted = sshd.log.wait_for("login", |l| l.text.starts_with("Accepted publickey"), SOON);
    let took = exit.at - accepted.at;
    assert!(took < BUDGET, "took {took:?}; the log:\n{}", sshd.log);
    assert_failure_logged(&sshd);
}

/// With `onerr=succeed` the login goes on without a watchdog.
fn assert_login_goes_on(helper: Helper) {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s onerr=succeed").helper(helper).start();
    let alice = sshd.login("alice");
    let accepted = sshd.log.wait_for("login", |l| l.text.starts_with("Accepted publickey"), SOON);
    let session = sshd.log.wait_for("shell", |l| l.text.starts_with("Starting session"), SOON);
    let took = session.at - accepted.at;
    assert!(took < BUDGET, "took {took:?}; the log:\n{}", sshd.log);
    assert_failure_logged(&sshd);
    alice.type_line("exit 7");
    assert_eq!(alice.exit(SOON).expect("the logout").code(), 7);
}

/// It dies before it is armed.
const CRASHING: Helper = Helper::Script("#!/bin/sh\nkill -SEGV $$\n");
/// It ends before it is armed, with success.
const QUITTING: Helper = Helper::Script("#!/bin/sh\nexit 0\n");
/// It is never armed.
const HANGING: Helper = Helper::Script("#!/bin/sh\nexec sleep 1000\n");

#[test]
fn a_missing_helper_fails_the_login() {
    assert_login_fails(Helper::Missing);
}

#[test]
fn a_missing_helper_is_survived_with_onerr_succeed() {
    assert_login_goes_on(Helper::Missing);
}

#[test]
fn a_helper_that_is_not_executable_fails_the_login() {
    assert_login_fails(Helper::NotExecutable);
}

#[test]
fn a_helper_that_is_not_executable_is_survived_with_onerr_succeed() {
    assert_login_goes_on(Helper::NotExecutable);
}

#[test]
fn a_crashing_helper_fails_the_login() {
    assert_login_fails(CRASHING);
}

#[test]
fn a_crashing_helper_is_survived_with_onerr_succeed() {
    assert_login_goes_on(CRASHING);
}

#[test]
fn a_quitting_helper_fails_the_login() {
    assert_login_fails(QUITTING);
}

#[test]
fn a_quitting_helper_is_survived_with_onerr_succeed() {
    assert_login_goes_on(QUITTING);
}

#[test]
fn a_hanging_helper_fails_the_login() {
    assert_login_fails(HANGING);
}

#[test]
fn a_hanging_helper_is_survived_with_onerr_succeed() {
    assert_login_goes_on(HANGING);
}
