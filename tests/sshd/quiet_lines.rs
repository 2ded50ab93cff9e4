//! `notty=`: sessions without a terminal are judged by their connection.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::promise::*;
use crate::support::client::Client;
use crate::support::process::wait_some;
use crate::support::sshd::Sshd;
use crate::support::{SOON, now, secs, until};

const NOTTY: &str = "timeout=10s warn=4s grace=2s notty=10s debug";
/// limit ≤ true silence at the end < limit + 3 s, on a busy machine.
const SILENT: Range<Duration> = secs(10)..secs(13);

/// Waits for the end of a session whose client last sent data at this time.
fn assert_ended_in_silence(sshd: &Sshd, heard: Instant) {
    let ending = sshd.log.wait_for_event("ending", "alice", SOON);
    let silence = ending.at - heard;
    assert!(SILENT.contains(&silence), "after {silence:?}; the log:\n{}", sshd.log);
    let limit = (ending.field("limit"), ending.field("by"));
    assert_eq!(limit, (Some("10"), Some("connection")), "{}", ending.text);
    assert_eq!((ending.field("notty"), ending.field("tty")), (None, None), "{}", ending.text);
    assert_eq!(sshd.log.events("warned", "alice").len(), 0, "the log:\n{}", sshd.log);
    assert_pam_closed(sshd, "alice");
    sshd.log.wait_for_event("ended", "alice", GRACE + SOON);
    assert_no_error(sshd);
}

/// When the client was let in. It sends its last data right after that.
fn accepted(sshd: &Sshd) -> Instant {
    sshd.log.wait_for("the login", |line| line.text.starts_with("Accepted publickey"), SOON).at
}

#[test]
fn a_tunnel_that_carries_nothing_is_ended() {
    let sshd = Sshd::with(NOTTY).start();
    let mut command = sshd.ssh("alice");
    command.arg("-N");
    let alice = Client::on_pipes(command);
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("notty"), Some("10"), "{}", armed.text);
    assert_ended_in_silence(&sshd, accepted(&sshd));
    assert!(alice.exit(SOON).is_some());
    assert_no_process_left(&sshd, "alice", now() + SOON);
}

#[test]
fn keepalives_of_the_clients_are_heard() {
    let sshd = Sshd::with(NOTTY).start();
    let mut command = sshd.ssh("alice");
    command.args(["-N", "-o", "ServerAliveInterval=4"]);
    let alice = Client::on_pipes(command);
    sshd.log.wait_for_event("armed", "alice", SOON);
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_untouched(&sshd, "alice");
}

#[test]
fn an_sftp_lives_while_it_is_used() {
    let sshd = Sshd::with(NOTTY).start();
    let mut sftp = sshd.client_program("sftp", "-P");
    sftp.arg("alice@127.0.0.1");
    let alice = Client::on_pipes(sftp);
    alice.type_keys("pwd\n");
    alice.expect("Remote working directory", SOON);
    for n in 0..4 {
        assert!(alice.exit(secs(6)).is_none(), "the log:\n{}", sshd.log);
        alice.type_keys(&format!("mkdir made-{n}\nls\n"));
        alice.expect(&format!("made-{n}"), SOON);
    }
    assert_untouched(&sshd, "alice");
    // sftp itself waits for the next command.
    assert_ended_in_silence(&sshd, alice.last_key());
}

#[test]
fn while_a_terminal_exists_the_session_is_judged_by_it() {
    let sshd = Sshd::with(NOTTY).start();
    let control: PathBuf = sshd.dir.join("control");
    let shared = |extra: &[&str]| -> Command {
        let mut ssh = sshd.client_program("ssh", "-p");
        ssh.arg("-S").arg(&control).args(extra).args(["-l", "alice", "127.0.0.1"]);
        ssh
    };
    let master = Client::on_pipes(shared(&["-M", "-N"]));
    sshd.log.wait_for_event("armed", "alice", SOON);
    wait_some(|| control.exists().then_some(()), SOON).expect("the control socket");
    let second = Client::on_terminal(shared(&["-tt"]));
    second.wait_for_first_shell();
    // On the terminal it is warned, and a key keeps the session.
    sshd.log.wait_for_event("warned", "alice", PAST_THE_PROMISE);
    second.type_keys("\r");
    sshd.log.wait_for_event("resumed", "alice", SOON);
    second.type_line("exit");
    let gone = second.exit(SOON).expect("the shell exits").at;
    let left = second.last_key();
    let exit = master.exit(until(gone + PAST_THE_PROMISE + LIMIT)).expect("ended");
    assert!(exit.at - left >= LIMIT, "the log:\n{}", sshd.log);
    let ending = sshd.log.wait_for_event("ending", "alice", SOON);
    let limit = (ending.field("limit"), ending.field("by"));
    assert_eq!(limit, (Some("10"), Some("connection")), "{}", ending.text);
    assert_eq!(sshd.log.events("warned", "alice").len(), 1, "the log:\n{}", sshd.log);
}

#[test]
fn roots_own_connection_is_heard_and_ended() {
    let sshd = Sshd::with(NOTTY).start();
    let mut command = sshd.ssh("root");
    command.arg("sleep 1000");
    let root = Client::on_pipes(command);
    sshd.log.wait_for_event("armed", "root", SOON);
    let exit = root.exit(SOON + secs(10)).expect("ended");
    assert!(SILENT.contains(&(exit.at - accepted(&sshd))), "the log:\n{}", sshd.log);
}

#[test]
fn a_connection_that_su_inherits_is_not_the_sessions() {
    let sshd = Sshd::with("timeout=10m").nested(NOTTY).start();
    let alice = sshd.login("alice");
    // Such a su is part of a daemon's job that forgot to close a connection.
    let port = sshd.port;
    let su = format!("exec 9<>/dev/tcp/127.0.0.1/{port}; exec setsid su bob -c 'sleep 1000'");
    alice.run(&format!("bash -c \"{su}\" </dev/null >/dev/null 2>&1 &"));
    sshd.log.wait_for_event("armed", "bob", SOON);
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("ending", "bob").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn the_connection_is_heard_even_without_the_right_to_trace() {
    let sshd = Sshd::with(NOTTY).without_ptrace().start();
    let mut command = sshd.ssh("alice");
    command.arg("-N");
    let _alice = Client::on_pipes(command);
    assert_ended_in_silence(&sshd, accepted(&sshd));
    assert!(sshd.log.events("error", "alice").is_empty(), "the log:\n{}", sshd.log);
}
