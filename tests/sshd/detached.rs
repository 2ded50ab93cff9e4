//! What a logout leaves behind. The private sshd's sessions are known by their audit session ID, or by a scope.

use std::time::{Duration, Instant};

use pam_idle_watchdog::policy::{Options, Settings};
use pam_idle_watchdog::protocol::ask::ask;
use pam_idle_watchdog::protocol::request::{Reply, Request};
use pam_idle_watchdog::protocol::status::State;

use crate::guest::with_scope;
use crate::openers::{OK, Opener};
use crate::promise::*;
use crate::reload::id;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::{Builder, Sshd};
use crate::support::{SOON, now, secs};

const STAYS: &str = "timeout=1h grace=2s detached=10s debug";

fn start(builder: Builder) -> (Sshd, Client) {
    let sshd = builder.start();
    let alice = sshd.login("alice");
    (sshd, alice)
}

/// Starts a detached tmux with a shell in it.
fn start_tmux(sshd: &Sshd, alice: &Client) {
    alice.run(&format!("tmux -S {}/tmux new-session -d sh", sshd.home("alice").display()));
    let server = || sshd.processes_of("alice").into_iter().find(|one| one.comm.starts_with("tmux: server"));
    wait_some(server, SOON).expect("a server");
}

/// Leaves the session. Returns the time of the last key.
fn log_out(alice: &Client) -> Instant {
    alice.type_line("exit");
    assert!(alice.exit(SOON).is_some());
    alice.last_key()
}

/// The record of the close, which names what is left.
fn left(sshd: &Sshd, names: &str) -> Line {
    let closed = sshd.log.wait_for_event("closed", "alice", SOON);
    assert!(closed.field("left").is_some() && closed.text.contains(names), "{}", closed.text);
    closed
}

/// What is left is ended, no earlier than the limit after this time, and not much later.
fn assert_forgotten(sshd: &Sshd, since: Instant) {
    let ending = sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE + secs(10));
    let idle = ending.at - since;
    assert!(idle >= LIMIT && idle < LATEST_BY_STAMPS + secs(4), "after {idle:?}; the log:\n{}", sshd.log);
    assert_eq!(
        (ending.field("by"), ending.field("limit")),
        (Some("detached"), Some("10")),
        "{}",
        ending.text
    );
    let ended = sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    assert_eq!(
        (ended.field("by"), ended.field("survivors")),
        (Some("detached"), Some("0")),
        "{}",
        ended.text
    );
}

#[test]
fn by_default_it_lives_on_and_is_on_record() {
    let (sshd, alice) = start(Sshd::with("timeout=1h"));
    start_tmux(&sshd, &alice);
    alice.run("nohup sleep 1005 >/dev/null 2>&1 &");
    log_out(&alice);
    // This record does not need the option debug.
    left(&sshd, "tmux: server");
    left(&sshd, "sleep");
    assert_no_helper_left(&sshd, SOON);
    assert_untouched(&sshd, "alice");
    let work = sshd.processes_of("alice");
    assert!(work.iter().any(|one| one.is_running("sleep 1005")), "{work:#?}");
    assert!(work.iter().any(|one| one.comm.starts_with("tmux: server")), "{work:#?}");
}

#[test]
fn if_nothing_is_left_nobody_stays() {
    let (sshd, alice) = start(Sshd::with(STAYS));
    log_out(&alice);
    let closed = sshd.log.wait_for_event("closed", "alice", SOON);
    assert_eq!(closed.field("left"), None, "{}", closed.text);
    assert_no_helper_left(&sshd, SOON);
}

#[test]
fn work_without_a_terminal_of_its_own_is_left_alone() {
    let (sshd, alice) = start(Sshd::with(STAYS));
    alice.run("nohup sleep 1006 >/dev/null 2>&1 &");
    log_out(&alice);
    left(&sshd, "sleep");
    assert_no_helper_left(&sshd, SOON);
    assert!(sshd.processes_of("alice").iter().any(|one| one.is_running("sleep 1006")));
    assert_untouched(&sshd, "alice");
}

#[test]
fn it_is_ended_when_nobody_types_there() {
    let (sshd, alice) = start(Sshd::with(STAYS));
    let before = sshd.helper();
    start_tmux(&sshd, &alice);
    let since = log_out(&alice);
    left(&sshd, "tmux: server");
    // Whoever closes the session may wait for the end of the process that has guarded it.
    assert_ne!(sshd.helper().pid, before.pid);
    assert_forgotten(&sshd, since);
    assert_no_process_left(&sshd, "alice", now() + SOON);
    assert_no_helper_left(&sshd, SOON);
}

#[test]
fn a_scope_shows_what_is_left() {
    let sshd = with_scope(Sshd::with(STAYS).without_loginuid());
    let alice = sshd.login("alice");
    start_tmux(&sshd, &alice);
    let since = log_out(&alice);
    assert_forgotten(&sshd, since);
    assert_no_process_left(&sshd, "alice", now() + SOON);
}

#[test]
fn without_a_scope_or_an_audit_id_nothing_is_known() {
    let (sshd, alice) = start(Sshd::with(STAYS).without_loginuid());
    start_tmux(&sshd, &alice);
    log_out(&alice);
    let closed = sshd.log.wait_for_event("closed", "alice", SOON);
    assert_eq!(closed.field("left"), None, "{}", closed.text);
    assert_no_helper_left(&sshd, SOON);
    assert!(!sshd.processes_of("alice").is_empty());
}

#[test]
fn somebody_who_attaches_from_another_session_keeps_it() {
    // tmux reads some keys itself, such as those that scroll. Then nothing in it reads any.
    for bound in [false, true] {
        let (sshd, alice) = start(Sshd::with(STAYS));
        start_tmux(&sshd, &alice);
        log_out(&alice);
        left(&sshd, "tmux: server");
        let again = sshd.login("alice");
        again.type_line(&format!("TERM=vt100 tmux -S {}/tmux attach", sshd.home("alice").display()));
        again.wait_for_shell();
        if bound {
            again.type_line("tmux bind-key -n Enter display-message");
        }
        let typist = again.keep_typing(secs(2));
        let early = sshd.log.find(|line| line.is("ending"), PAST_THE_PROMISE);
        assert!(early.is_none(), "{}; the log:\n{}", early.unwrap().text, sshd.log);
        typist.stop();
        let since = again.last_key();
        assert_forgotten(&sshd, since);
        again.expect("exited", SOON);
        again.wait_for_shell();
    }
}

#[test]
fn what_kill_tty_leaves_alone_is_ended_later() {
    let (sshd, alice) = start(Sshd::with("timeout=10s warn=4s grace=2s kill=tty detached=20s debug"));
    start_tmux(&sshd, &alice);
    alice.run("nohup sleep 1007 >/dev/null 2>&1 &");
    assert_ended_on_time(&sshd, &alice);
    left(&sshd, "tmux: server");
    let by_detached = |line: &Line| line.is("ended") && line.field("by") == Some("detached");
    sshd.log.wait_for("the end of what is left", by_detached, secs(20) + PAST_THE_PROMISE);
    assert_no_process_left(&sshd, "alice", now() + SOON);
}

#[test]
fn kill_none_ends_nothing() {
    let (sshd, alice) = start(Sshd::with("timeout=1h kill=none detached=10s debug"));
    start_tmux(&sshd, &alice);
    log_out(&alice);
    let record = sshd.log.wait_for_event("would-end", "alice", PAST_THE_PROMISE + secs(10));
    assert_eq!(
        (record.field("by"), record.field("limit")),
        (Some("detached"), Some("10")),
        "{}",
        record.text
    );
    assert!(!sshd.processes_of("alice").is_empty());
    // The watchdog leaves with the last process that has a terminal.
    let kill = format!("tmux -S {}/tmux kill-server", sshd.home("alice").display());
    let again = sshd.login("alice");
    again.run(&kill);
    log_out(&again);
    assert_no_helper_left(&sshd, SOON);
    assert_eq!(sshd.log.events("ending", "alice").len(), 0, "the log:\n{}", sshd.log);
}

fn give(helper: &Process, words: &str) {
    let line = Options::of_line(words.split_whitespace()).unwrap();
    let budget: Duration = secs(10);
    let request = Request::Reload(Box::new(Settings::of(&line, None)));
    assert!(matches!(ask(id(helper), &request, budget), Ok(Reply::Reloaded(_))));
}

#[test]
fn an_administrator_sees_and_ends_what_is_left() {
    let (sshd, alice) = start(Sshd::with("timeout=1h grace=2s kill=connection detached=8h debug"));
    start_tmux(&sshd, &alice);
    log_out(&alice);
    left(&sshd, "tmux: server");
    // The watchdog has gone on in a child by now.
    let helper = id(&sshd.helper());
    let Ok(Reply::Status(status)) = ask(helper, &Request::Status { members: true }, secs(10)) else {
        panic!()
    };
    assert_eq!((status.state, status.limit), (State::Detached, Some(secs(8 * 3600))));
    assert!(status.members.is_some_and(|members| members.names.contains("tmux: server")));
    ask(helper, &Request::End { reason: None }, secs(10)).unwrap();
    sshd.log.wait_for_event("ended", "alice", SOON);
    assert!(sshd.processes_of("alice").is_empty());
    assert_no_helper_left(&sshd, SOON);
}

fn tmux(opener: &Opener, command: &str) -> String {
    let home = opener.sshd.home("alice");
    format!("run setpriv --reuid=alice --clear-groups tmux -S {}/tmux {command}", home.display())
}

/// The PAM session is closed, and its leader lives on. A tmux is left. Returns the helper.
fn close_and_live_on(opener: &Opener) -> Process {
    assert_eq!(opener.ask("open 0 alice"), OK);
    assert_eq!(opener.ask(&tmux(opener, "new-session -d sh")), OK);
    assert_eq!(opener.ask("close 0"), OK);
    left(&opener.sshd, "tmux: server");
    opener.sshd.helper()
}

/// It says that the session has closed.
fn assert_answers_closed(helper: &Process) {
    let answer = ask(id(helper), &Request::Status { members: false }, secs(10));
    let Ok(Reply::Status(status)) = answer else { panic!("{answer:?}") };
    assert_eq!(status.state, State::Closed);
}

#[test]
fn until_the_leader_exits_it_answers() {
    let opener = Opener::start(STAYS, "");
    let helper = close_and_live_on(&opener);
    for _ in 0..2 {
        assert_answers_closed(&helper);
    }
    give(&helper, "timeout=1h grace=2s detached=11s debug");
    opener.terminal.type_line("exit 0");
    let ending = opener.sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE + secs(10));
    assert_eq!(ending.field("limit"), Some("11"), "{}", ending.text);
    assert_no_helper_left(&opener.sshd, SOON);
}

#[test]
fn it_does_not_stay_beside_a_leader_that_lives_on() {
    let opener = Opener::start(STAYS, "");
    let helper = close_and_live_on(&opener);
    assert_answers_closed(&helper);
    let error = opener.sshd.log.wait_for_event("error", "alice", secs(65));
    assert!(error.text.contains("the process that opened the session goes on"), "{}", error.text);
    assert_no_helper_left(&opener.sshd, SOON);
    opener.assert_never("ending");
    assert_eq!(opener.ask(&tmux(&opener, "kill-server")), OK);
}

#[test]
fn a_reload_changes_it() {
    for ends in [true, false] {
        let (sshd, alice) = start(Sshd::with("timeout=1h grace=2s detached=8h debug"));
        start_tmux(&sshd, &alice);
        let since = log_out(&alice);
        left(&sshd, "tmux: server");
        give(&sshd.helper(), if ends { STAYS } else { "timeout=1h debug" });
        sshd.log.wait_for_event("reloaded", "alice", SOON);
        if ends {
            assert_forgotten(&sshd, since);
        } else {
            assert_no_helper_left(&sshd, SOON);
            assert!(!sshd.processes_of("alice").is_empty());
        }
    }
}
