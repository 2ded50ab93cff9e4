//! Fifty sessions at once.

use std::collections::HashSet;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{self, HELPER_COMM};
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs};

const SESSIONS: usize = 50;

/// The audit sessions of the records of `event`. Each record must have its own.
fn audit_sessions(sshd: &Sshd, event: &str) -> HashSet<String> {
    let records = sshd.log.events(event, "alice");
    let of = |line: &Line| line.field("ses").expect("an audit session").to_owned();
    let sessions: HashSet<_> = records.iter().map(of).collect();
    assert_eq!(records.len(), SESSIONS, "{event}; the log:\n{}", sshd.log);
    assert_eq!(sessions.len(), SESSIONS, "{event}; the log:\n{}", sshd.log);
    sessions
}

#[test]
fn fifty_sessions_arm_and_end_each_on_record_once() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=2s").start();
    let clients: Vec<Client> = (0..SESSIONS)
        .map(|_| {
            let mut command = sshd.ssh("alice");
            command.arg("-tt");
            Client::on_terminal(command)
        })
        .collect();
    sshd.log.wait_for_count("sessions armed", SESSIONS, |l| l.is("armed"), secs(60));
    for client in &clients {
        let exit = client.exit(SOON + PAST_THE_PROMISE);
        assert!(exit.is_some(), "not ended; the log:\n{}", sshd.log);
    }
    sshd.log.wait_for_count("sessions ended", SESSIONS, |l| l.is("ended"), secs(60));
    assert_no_helper_left(&sshd, GRACE + secs(3));
    assert_eq!(process::wait_none(|| sshd.processes_of("alice"), secs(5)), Ok(()));

    assert_eq!(audit_sessions(&sshd, "armed"), audit_sessions(&sshd, "ended"));
    let closed = sshd.log.all(|line| line.text.contains("session closed for user alice"));
    assert_eq!(closed.len(), SESSIONS);

    let daemon = sshd.daemon().pid;
    // init reaps its own children when it has the time.
    let zombies = || {
        let mut all = process::all();
        all.retain(|p| p.state == 'Z' && p.ppid != 1 && (p.comm == HELPER_COMM || p.ppid == daemon));
        all
    };
    assert_eq!(process::wait_none(zombies, secs(5)), Ok(()));
}
