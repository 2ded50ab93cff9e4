//! What `kill=` leaves alive.

use std::time::Instant;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::{Helper, Sshd};
use crate::support::{SOON, WARNING_TEXT, secs};

/// A job that outlives its terminal, and a detached tmux with a job in it.
pub fn start_detached_work(sshd: &Sshd, alice: &Client) {
    alice.run("nohup sleep 1001 >/dev/null 2>&1 &");
    alice.run(&format!("tmux -S {}/tmux new-session -d 'sleep 1002'", sshd.home("alice").display()));
    let started = detached_work(sshd);
    assert_eq!(started.len(), 3, "{started:#?}");
}

/// The processes of `start_detached_work` that are left.
pub fn detached_work(sshd: &Sshd) -> Vec<Process> {
    let is_work = |process: &Process| {
        // The server of tmux renames itself. tmux runs the job in a shell, which the job replaces.
        process.comm.starts_with("tmux: server")
            || process.is_running("sleep 1001")
            || process.is_running("sleep 1002")
    };
    let deadline = crate::support::now() + secs(5);
    loop {
        let work: Vec<_> = sshd.processes_of("alice").into_iter().filter(&is_work).collect();
        if work.len() == 3 || crate::support::now() > deadline {
            return work;
        }
        std::thread::yield_now();
    }
}

/// The record of the end, after the helper has gone and can signal no process any more.
fn wait_for_the_end(sshd: &Sshd, alice: &Client) -> (Line, Instant) {
    let exit = assert_ended_on_time(sshd, alice);
    assert_pam_closed(sshd, "alice");
    let ended = sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    assert_no_helper_left(sshd, GRACE + secs(5));
    (ended, exit.at)
}

#[test]
fn kill_tty_ends_the_terminal_and_spares_detached_work() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s kill=tty debug").start();
    let alice = sshd.login("alice");
    let mut attached = sshd.processes_of("alice");
    assert_eq!(attached.len(), 2, "sshd and the shell: {attached:#?}");
    start_detached_work(&sshd, &alice);
    alice.run("sleep 1004 &");
    alice.type_line("perl -e '$| = 1; print \"in the fore\", \"ground\"; sleep 1003'");
    alice.expect("in the foreground", SOON);
    let jobs = || {
        let is_job = |p: &Process| p.comm == "perl" || p.is_running("sleep 1004");
        let jobs: Vec<_> = sshd.processes_of("alice").into_iter().filter(is_job).collect();
        (jobs.len() == 2).then_some(jobs)
    };
    attached.extend(wait_some(jobs, SOON).expect("one in front, one behind"));
    wait_for_the_end(&sshd, &alice);
    assert_eq!(detached_work(&sshd).len(), 3, "the log:\n{}", sshd.log);
    let mut left = sshd.processes_of("alice");
    left.retain(|process| attached.iter().any(|other| other.pid == process.pid));
    assert_eq!(left, [], "the log:\n{}", sshd.log);
}

#[test]
fn kill_connection_spares_detached_work() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s kill=connection debug").start();
    let alice = sshd.login("alice");
    start_detached_work(&sshd, &alice);
    wait_for_the_end(&sshd, &alice);
    assert_eq!(detached_work(&sshd).len(), 3, "the log:\n{}", sshd.log);
}

#[test]
fn kill_session_spares_neither() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    start_detached_work(&sshd, &alice);
    wait_for_the_end(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}

#[test]
fn kill_none_ends_nothing_and_names_the_processes() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s kill=none debug").start();
    let alice = sshd.login("alice");
    let record = sshd.log.wait_for_event("would-end", "alice", PAST_THE_PROMISE);
    let idle = record.at - alice.last_key();
    assert!((LIMIT..LATEST).contains(&idle), "after {idle:?}; the log:\n{}", sshd.log);
    assert!(alice.exit(GRACE + secs(2)).is_none(), "the log:\n{}", sshd.log);
    assert!(!alice.shows(WARNING_TEXT), "{}", alice.screen());
    assert_eq!(sshd.log.events("ended", "alice").len(), 0);
    let left = alice.last_key();
    alice.wait_for_shell();
    let resumed = sshd.log.wait_for_event("resumed", "alice", SOON);
    let away: u64 = resumed.field("away").expect("on record").parse().unwrap();
    let away = secs(away);
    assert!(away >= LIMIT + GRACE + secs(2) && away <= resumed.at - left, "{}", resumed.text);
    alice.type_line("exit");
    assert!(alice.exit(SOON).is_some());
}

#[test]
fn after_a_denied_signal_the_next_step_follows() {
    // The helper may signal no process of alice except the leader, as if a security module denied it. sshd then
    // hangs up her terminal.
    let unarmed = "#!/bin/sh\nexec setpriv --bounding-set=-kill --inh-caps=-kill @HELPER@ \"$@\"\n";
    let sshd = Sshd::with(OPTIONS).helper(Helper::Script(unarmed)).start();
    let alice = sshd.login("alice");
    let (ended, _) = wait_for_the_end(&sshd, &alice);
    let forbidden: usize = ended.field("denied").expect("on record").parse().unwrap();
    assert!(forbidden > 0, "{}", ended.text);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}
