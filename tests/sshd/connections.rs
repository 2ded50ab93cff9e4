//! Connections with two terminals, with none, and of root.

use std::path::PathBuf;
use std::process::Command;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::sshd::Sshd;
use crate::support::{ENDED_TEXT, SOON, WARNING_TEXT, secs};

/// Two terminals over one connection: the master and a second client.
struct Pair {
    sshd: Sshd,
    master: Client,
    second: Client,
}

impl Pair {
    fn connect() -> Self {
        let sshd = Sshd::with(OPTIONS).start();
        let control: PathBuf = sshd.dir.join("control");
        let shared = |extra: &[&str]| -> Command {
            let mut ssh = sshd.client_program("ssh", "-p");
            ssh.arg("-S").arg(&control).args(extra);
            ssh.args(["-tt", "-l", "alice", "127.0.0.1"]);
            ssh
        };
        let master = Client::on_terminal(shared(&["-M"]));
        master.wait_for_first_shell();
        let second = Client::on_terminal(shared(&[]));
        second.wait_for_first_shell();
        assert_eq!(sshd.leaders().len(), 1, "one connection");
        Self { sshd, master, second }
    }
}

#[test]
fn typing_on_one_terminal_keeps_both() {
    let pair = Pair::connect();
    let typist = pair.second.keep_typing(secs(2));
    assert!(pair.master.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", pair.sshd.log);
    typist.stop();
    pair.second.wait_for_shell();
    pair.master.wait_for_shell();
    assert_untouched(&pair.sshd, "alice");
}

#[test]
fn two_idle_terminals_end_with_their_master_connection() {
    let pair = Pair::connect();
    let last_key = pair.second.last_key();
    let exit = assert_ended_on_time(&pair.sshd, &pair.second);
    for client in [&pair.master, &pair.second] {
        client.expect(WARNING_TEXT, SOON);
        client.expect(ENDED_TEXT, SOON);
    }
    let master = pair.master.exit(secs(3)).expect("the master connection is gone");
    assert!(master.at - last_key < LATEST, "master {master:?}, second {exit:?}");
    assert_ne!(master.code(), 0);
    assert_no_process_left(&pair.sshd, "alice", gone_by(last_key));
    assert_pam_closed(&pair.sshd, "alice");
    let ending = pair.sshd.log.wait_for_event("ending", "alice", SOON);
    let terminals = ending.field("tty").expect("terminals").split(',').count();
    assert_eq!(terminals, 2, "{}", ending.text);
}

#[test]
fn a_root_login_is_ended_like_any_other() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    root.run("nohup sleep 1000 >/dev/null 2>&1 &");
    let exit = assert_ended_on_time(&sshd, &root);
    assert_ne!(exit.code(), 0);
    root.expect(WARNING_TEXT, secs(1));
    root.expect(ENDED_TEXT, secs(1));
    assert_pam_closed(&sshd, "root");
    assert_no_helper_left(&sshd, GRACE + secs(3));
    // Only sshd itself is left.
    assert_eq!(sshd.processes(), [sshd.daemon()], "the log:\n{}", sshd.log);
}

#[test]
fn a_command_without_terminal_is_untouched() {
    let sshd = Sshd::with(OPTIONS).start();
    let mut command = sshd.ssh("alice");
    command.arg("sleep 22; echo slept-well");
    let alice = Client::on_pipes(command);
    let exit = alice.exit(SOON + PAST_THE_PROMISE).expect("the command ends");
    assert_eq!(exit.code(), 0, "the log:\n{}", sshd.log);
    alice.expect("slept-well", secs(1));
    assert_untouched(&sshd, "alice");
    assert_eq!(sshd.log.events("armed", "alice").len(), 1, "the log:\n{}", sshd.log);
}

#[test]
fn a_connection_without_session_is_untouched() {
    let sshd = Sshd::with(OPTIONS).start();
    let mut command = sshd.ssh("alice");
    command.arg("-N");
    let alice = Client::on_pipes(command);
    sshd.log.wait_for_event("armed", "alice", SOON);
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_untouched(&sshd, "alice");
    assert_eq!(sshd.helpers().len(), 1);
}

#[test]
fn a_slow_copy_is_untouched() {
    let sshd = Sshd::with(OPTIONS).start();
    let content = "slow\n".repeat(240_000);
    let source = sshd.script("source", &content);
    let target = sshd.home("alice").join("target");
    // This is 1.2 MB at 300 kbit/s. scp does not delay the last 255 kB, so it takes at least 24 s.
    let mut scp = sshd.client_program("scp", "-P");
    scp.args(["-l", "300"]).arg(source);
    scp.arg(format!("alice@127.0.0.1:{}", target.display()));
    let alice = Client::on_pipes(scp);
    sshd.log.wait_for_event("armed", "alice", SOON);
    let early = alice.exit(LATEST);
    assert!(early.is_none(), "{early:?}\n{}\nthe log:\n{}", alice.screen(), sshd.log);
    let exit = alice.exit(SOON).expect("the copy ends");
    assert_eq!(exit.code(), 0, "{}\nthe log:\n{}", alice.screen(), sshd.log);
    assert_eq!(std::fs::read_to_string(target).unwrap(), content);
    assert_untouched(&sshd, "alice");
}

#[test]
fn an_idle_sftp_is_untouched() {
    let sshd = Sshd::with(OPTIONS).start();
    let mut sftp = sshd.client_program("sftp", "-P");
    sftp.arg("alice@127.0.0.1");
    let alice = Client::on_pipes(sftp);
    alice.type_keys("pwd\n");
    alice.expect("Remote working directory", SOON);
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    alice.type_keys("mkdir still-there\nbye\n");
    assert_eq!(alice.exit(SOON).expect("bye").code(), 0);
    assert!(sshd.home("alice").join("still-there").is_dir());
    assert_untouched(&sshd, "alice");
}
