//! Terminals that appear and disappear. A person may have opened or closed them, but a script may, too.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs, until};

/// This many openings and closings of terminals are believed between two proven keys.
const CREDITS: u32 = 3;

/// The latest end of a session that uses all its credits, each at the last moment. The end then waits for a
/// proven key, at most 18 s after the warning.
fn gone_by_with_credits(last_key: Instant) -> Instant {
    gone_by(last_key) + CREDITS * LATEST + secs(18) - WARN
}

/// One connection with a terminal. It can open more terminals.
struct Shared {
    sshd: Sshd,
    control: PathBuf,
    first: Client,
}

impl Shared {
    fn connect(options: &str, client: &[&str]) -> Self {
        let sshd = Sshd::with(options).start();
        let control = sshd.dir.join("control");
        let mut ssh = sshd.client_program("ssh", "-p");
        ssh.arg("-M").arg("-S").arg(&control).args(client).args(["-tt", "-l", "alice", "127.0.0.1"]);
        let first = Client::on_terminal(ssh);
        first.wait_for_first_shell();
        Self { sshd, control, first }
    }

    /// Opens another terminal over the same connection, and never over another one.
    fn terminal(&self, command: &str) -> Client {
        let mut ssh: Command = self.sshd.client_program("ssh", "-p");
        ssh.arg("-S").arg(&self.control).args(["-o", "ProxyCommand=false"]);
        ssh.args(["-tt", "-l", "alice", "127.0.0.1", command]);
        Client::on_terminal(ssh)
    }

    fn assert_gone_by(&self, deadline: Instant) {
        let patience = until(deadline);
        let gone = self.first.exit(patience);
        assert!(gone.is_some(), "lives on after {patience:?}; the log:\n{}", self.sshd.log);
        assert_no_process_left(&self.sshd, "alice", deadline);
    }
}

/// Opens several terminals at once. A program on the server closes one of them every 8 s.
fn assert_goings_cost_credits(before: &str, keys: &str) {
    // sshd allows ten terminals on a connection (`MaxSessions`).
    const OTHERS: u64 = 8;
    let shared = Shared::connect(OPTIONS, &[]);
    let others: Vec<Client> = (1..=OTHERS)
        .map(|n| {
            let other = shared.terminal(&format!("echo open; {before} sleep {}", 8 * n));
            other.expect("open", SOON);
            other.type_keys(keys);
            other
        })
        .collect();
    let last_key = others.iter().map(Client::last_key).max().unwrap();
    shared.assert_gone_by(gone_by_with_credits(last_key));
}

#[test]
fn terminals_closed_one_by_one_cost_a_credit_each() {
    assert_goings_cost_credits("", "");
}

#[test]
fn terminals_closed_one_by_one_cost_a_credit_each_even_after_keys() {
    assert_goings_cost_credits("head -n 1;", "\r");
}

#[test]
fn tasks_with_a_terminal_each_are_not_ended() {
    let sshd = Sshd::with(OPTIONS).start();
    let control = sshd.dir.join("control");
    // This resembles automation over one connection that has no terminal itself. It takes five limits.
    for n in 0..17 {
        let mut ssh = sshd.client_program("ssh", "-p");
        ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]).arg("-S").arg(&control);
        ssh.args(["-tt", "-l", "alice", "127.0.0.1", "echo task; sleep 3"]);
        let task = Client::on_terminal(ssh);
        let exit = task.exit(SOON).expect("done");
        assert_eq!(exit.code(), 0, "task {n}; the screen:\n{}\nthe log:\n{}", task.screen(), sshd.log);
    }
    assert_eq!(sshd.log.events("ending", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_person_who_opens_and_closes_terminals_and_types_in_some_is_never_ended() {
    let shared = Shared::connect(OPTIONS, &[]);
    let mut open: Vec<Client> = Vec::new();
    // This takes twelve limits. Without its other terminals the session would be idle for longer than the limit
    // between two keys.
    for n in 0..30 {
        let next = shared.terminal("echo open; exec sh -i");
        next.expect("open", SOON);
        open.push(next);
        if open.len() > 4 {
            open.remove(0);
        }
        if n % 3 == 0 {
            open.last().unwrap().type_keys("\r");
        }
        let ended = shared.first.exit(secs(4));
        assert!(ended.is_none(), "ended at terminal {n}; the log:\n{}", shared.sshd.log);
    }
    for event in ["ending", "ended"] {
        assert!(shared.sshd.log.events(event, "alice").is_empty(), "the log:\n{}", shared.sshd.log);
    }
}

/// Changes the node of the terminal. People who want no messages do so.
const MESG: &str = "while sleep 7; do mesg y; mesg n; done &";

#[test]
fn mesg_in_a_loop_costs_a_typist_nothing() {
    let sshd = Sshd::with("timeout=20s warn=5s grace=2s debug").start();
    let alice = sshd.login("alice");
    alice.run(MESG);
    let typist = alice.keep_typing(secs(1));
    assert!(alice.exit(secs(6 * 15)).is_none(), "the log:\n{}", sshd.log);
    typist.stop();
    assert_untouched(&sshd, "alice");
    // Whether a look needs a credit depends on when mesg runs. A key between two runs gives the credit back.
    let tampering = sshd.log.events("tampering", "alice");
    let believed = tampering.iter().all(|line| line.field("believed") == Some("yes"));
    assert!(believed, "taken for a forger; the log:\n{}", sshd.log);
    // The loop goes on, and nobody types.
    let exit = alice.exit(until(gone_by(alice.last_key()) + LIMIT)).expect("ended");
    let idle = exit.at - alice.last_key();
    assert!(2 * LIMIT <= idle && idle < LATEST + LIMIT, "after {idle:?}; the log:\n{}", sshd.log);
}

/// Opens one pty after another, and types into each. If terminals are recognized by the parents of their
/// processes, these look like terminals of the session: each process has sshd's own child as its parent.
const BORN: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	char key, name[64];
	int master, n, slave;

	signal(SIGHUP, SIG_IGN);
	for (;;) {
		master = posix_openpt(O_RDWR | O_NOCTTY);
		grantpt(master);
		unlockpt(master);
		ptsname_r(master, name, sizeof name);
		if (syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0) == 0) {
			close(master);
			setsid();
			/* This becomes the controlling terminal, because O_NOCTTY is not set. */
			slave = open(name, O_RDWR);
			while (read(slave, &key, 1) > 0)
				;
			_exit(0);
		}
		for (n = 0; n < 5; n++) {
			sleep(1);
			write(master, "\n", 1);
		}
		close(master);
		puts("one was born\r");
		fflush(stdout);
	}
}
"#;

#[test]
fn own_ptys_that_look_like_the_sessions_gain_nothing_while_the_client_is_silent() {
    let sshd = Sshd::with(OPTIONS).without_ptrace().start();
    let alice = sshd.login("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("terminals-by"), Some("sessions"), "{}", armed.text);
    let program = sshd.program("born", BORN);
    alice.type_line(&format!("exec {}", program.display()));
    alice.expect("one was born", SOON);
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}
