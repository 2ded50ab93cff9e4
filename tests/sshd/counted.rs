//! `activity=`: what counts besides keys.

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::sshd::Sshd;
use crate::support::{SOON, WARNING_TEXT};

const OUTPUT: &str = "timeout=10s warn=6s,2s grace=2s activity=input,output debug";
const CPU: &str = "timeout=10s warn=4s grace=2s activity=input,cpu debug";

/// It has its own shell, so that it is a job of the shell into which it is typed.
const BUSY: &str = "sh -c 'while :; do :; done'";
/// This resembles a compiler: its children use all the time and soon exit.
const COMPILING: &str = "sh -c 'while :; do /bin/true; done'";

#[test]
fn output_keeps_a_session_where_it_counts() {
    let sshd = Sshd::with(OUTPUT).start();
    let alice = sshd.login("alice");
    alice.type_line("while date; do sleep 1; done");
    assert!(alice.exit(PAST_THE_PROMISE + LIMIT).is_none(), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("ending", "alice").len(), 0, "the log:\n{}", sshd.log);
    alice.type_keys("\x03");
    alice.wait_for_shell();
    assert_ended_by_stamps(&sshd, &alice);
}

#[test]
fn our_own_warnings_keep_nobody() {
    let sshd = Sshd::with(OUTPUT).start();
    let alice = sshd.login("alice");
    let armed = &sshd.log.events("armed", "alice")[0];
    assert_eq!(armed.field("activity"), Some("input,output"), "{}", armed.text);
    assert_ended_by_stamps(&sshd, &alice);
    alice.expect(WARNING_TEXT, SOON);
    assert_eq!(sshd.log.events("warned", "alice").len(), 2, "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("resumed", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_busy_job_in_the_foreground_keeps_a_session_where_cpu_counts() {
    let sshd = Sshd::with(CPU).start();
    let alice = sshd.login("alice");
    alice.type_line(BUSY);
    let bob = sshd.login("bob");
    bob.type_line(COMPILING);
    // There is no shell with jobs between sshd and the working process.
    let mut command = sshd.ssh("carol");
    command.args(["-tt", COMPILING]);
    let carol = Client::on_terminal(command);
    for client in [&alice, &bob, &carol] {
        assert!(client.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    }
    for client in [&alice, &bob] {
        client.type_keys("\x03");
        client.wait_for_shell();
    }
    assert_eq!(sshd.log.all(|line| line.is("ending")).len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn waiting_and_background_jobs_are_idle() {
    let sshd = Sshd::with(CPU).start();
    let alice = sshd.login("alice");
    alice.run(&format!("{COMPILING} &"));
    let bob = sshd.login("bob");
    bob.type_line("vi");
    let carol = sshd.login("carol");
    carol.type_line("cat");
    for client in [&alice, &bob, &carol] {
        assert_ended_by_stamps(&sshd, client);
    }
    assert_no_process_left(&sshd, "alice", gone_by_stamps(carol.last_key()));
}

#[test]
fn a_command_on_sudos_own_pty_is_in_the_foreground() {
    let sshd = Sshd::with(CPU).start();
    let root = sshd.login("root");
    root.type_line(&format!("sudo {COMPILING}"));
    assert!(root.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    // After the job has ended, nothing keeps the session.
    let job =
        sshd.processes().into_iter().find(|process| process.is_running("sh -c while")).expect("the job");
    job.kill(Signal::SIGKILL);
    let ended = sshd.log.wait_for_event("ended", "root", PAST_THE_PROMISE + LIMIT);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
}
