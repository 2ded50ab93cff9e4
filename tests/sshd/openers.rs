//! Programs that use libpam in other ways than sshd, login and su.

use std::process::Command;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::Sshd;
use crate::support::tree::{our_line, write};
use crate::support::{SOON, now, secs};

/// Calls libpam as told: one call a line. It answers "NUMBER: CODE". A slot is a transaction.
const OPENER: &str = r#"
#include <grp.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether the conversation takes what it is told. */
static int listens;

static int talk(int n, const struct pam_message **m, struct pam_response **r, void *d)
{
	if (!listens)
		return PAM_CONV_ERR;
	printf("told %d: %s\r\n", m[0]->msg_style, m[0]->msg);
	*r = calloc(n, sizeof **r);
	return PAM_SUCCESS;
}

static pam_handle_t *slots[10];

/* Does it in a child that runs as this user ID. */
static int in_child(int uid, int (*call)(pam_handle_t *, int), pam_handle_t *handle, int argument)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (uid && setuid(uid))
			_exit(99);
		_exit(call(handle, argument));
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	struct pam_conv conversation = { talk, 0 };
	char line[200], word[20], user[20];
	int number, code, argument, line_number = 0;

	printf("opener %d.\r\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		argument = 0;
		*user = 0;
		if (sscanf(line, "%19s %d %19s", word, &number, user) < 1)
			continue;
		argument = atoi(user);
		code = -1;
		if (!strcmp(word, "open") || !strcmp(word, "silent")) {
			pam_start("opener", user, &conversation, &slots[number]);
			pam_set_item(slots[number], PAM_TTY, ttyname(0));
			code = pam_open_session(slots[number], *word == 's' ? PAM_SILENT : 0);
		} else if (!strcmp(word, "listen")) {
			listens = number;
		} else if (!strcmp(word, "mute")) {
			conversation.conv = 0;
		} else if (!strcmp(word, "start")) {
			code = pam_start("opener", user, &conversation, &slots[number]);
		} else if (!strcmp(word, "close")) {
			code = pam_close_session(slots[number], 0);
		} else if (!strcmp(word, "end")) {
			code = pam_end(slots[number], argument);
		} else if (!strcmp(word, "childclose")) {
			code = in_child(argument, pam_close_session, slots[number], 0);
		} else if (!strcmp(word, "childend")) {
			code = in_child(0, pam_end, slots[number], argument);
		} else if (!strcmp(word, "become")) {
			/* systemd does the same: a child waits until we have ended, and closes the session. */
			int wire[2];

			if (pipe(wire) || fork()) {
				close(wire[0]);
				execl("/bin/sh", "sh", (char *)0);
			}
			close(wire[1]);
			if (argument && setuid(argument))
				_exit(99);
			while (read(wire[0], line, 1) > 0)
				;
			_exit(pam_close_session(slots[number], 0));
		} else if (!strcmp(word, "person")) {
			if (fchown(0, argument, -1) || setgroups(0, 0) || setgid(argument) || setuid(argument))
				_exit(99);
			execl("/bin/sh", "sh", (char *)0);
		} else if (!strcmp(word, "run")) {
			code = system(strchr(line, ' '));
		} else if (!strcmp(word, "exit")) {
			return 0;
		}
		printf("answer %d: %d.\r\n", ++line_number, code);
		fflush(stdout);
	}
	return 0;
}
"#;

/// A daemon of root on a terminal, with its own PAM stack.
pub struct Opener {
    pub sshd: Sshd,
    pub terminal: Client,
    pub process: Process,
    said: std::cell::Cell<usize>,
}

impl Opener {
    /// Starts one. Its stack has our line with `options`, then `behind`.
    pub fn start(options: &str, behind: &str) -> Self {
        let sshd = Sshd::without_watchdog().helper(crate::support::sshd::Helper::Real).start();
        let stack = format!("session required pam_loginuid.so\n{}{behind}", our_line(options));
        write(&sshd.dir.join("etc/pam.d/opener"), &stack, 0o644);
        let source = sshd.script("opener.c", OPENER);
        let program = sshd.dir.join("opener");
        let built = Command::new("cc").arg("-o").arg(&program).arg(&source).arg("-lpam").status().unwrap();
        assert!(built.success(), "cc: {built}");
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", sshd.daemon().pid))
            .args(["setsid", "--ctty"])
            .arg(&program)
            .env("TERM", "dumb");
        let terminal = Client::on_terminal(command);
        terminal.expect("opener ", SOON);
        let pid = || {
            let screen = terminal.screen();
            screen.split_once("opener ")?.1.split_once('.')?.0.parse().ok()
        };
        let process = Process::read(wait_some(pid, SOON).expect("its number")).expect("the opener");
        Self { sshd, terminal, process, said: 0.into() }
    }

    /// Tells it to do something. Returns the code of libpam.
    pub fn ask(&self, line: &str) -> i32 {
        self.terminal.type_line(line);
        self.said.set(self.said.get() + 1);
        let begin = format!("answer {}: ", self.said.get());
        let answer = || {
            let screen = self.terminal.screen();
            screen.split_once(&begin)?.1.split_once('.')?.0.parse().ok()
        };
        wait_some(answer, SOON).unwrap_or_else(|| panic!("{line}: {}", self.terminal.screen()))
    }

    pub fn armed(&self, user: &str) -> Process {
        self.sshd.log.wait_for_event("armed", user, SOON);
        let words = format!("--user={user}\0");
        let of_user = |helper: &Process| helper.text("cmdline").contains(&words);
        self.sshd.helpers().into_iter().find(of_user).unwrap_or_else(|| panic!("{}", self.sshd.log))
    }

    #[track_caller]
    fn assert_leaves(&self, helper: &Process) {
        assert!(helper.wait_gone(now() + secs(5)).is_some(), "still there; the log:\n{}", self.sshd.log);
    }

    #[track_caller]
    pub fn assert_never(&self, event: &str) {
        let seen = self.sshd.log.all(|line| line.is(event));
        assert!(seen.is_empty(), "{event}; the log:\n{}", self.sshd.log);
    }
}

pub const OK: i32 = 0;
const SESSION_ERR: i32 = 14;

/// libpam's flag for no messages.
const SILENT: i32 = 0x4000_0000;

#[test]
fn a_session_that_another_module_refuses_leaves_no_helper() {
    let opener = Opener::start("timeout=10m debug", "session required pam_deny.so\n");
    for round in 0..3 {
        assert_eq!(opener.ask("open 0 alice"), SESSION_ERR, "{}", opener.sshd.log);
        let helper = opener.armed("alice");
        let status = if round == 1 { SESSION_ERR | SILENT } else { SESSION_ERR };
        assert_eq!(opener.ask(&format!("end 0 {status}")), OK);
        opener.assert_leaves(&helper);
    }
    opener.sshd.log.wait_for_count("closed", 3, |line| line.is("closed"), SOON);
    opener.assert_never("orphaned");
}

#[test]
fn a_forked_child_that_ends_its_copy_changes_nothing() {
    let opener = Opener::start(OPTIONS, "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let helper = opener.armed("alice");
    for status in [OK, SESSION_ERR, SILENT] {
        assert_eq!(opener.ask(&format!("childend 0 {status}")), OK);
    }
    let ended = opener.sshd.log.wait_for_event("ended", "alice", PAST_THE_PROMISE);
    assert!(ended.at - opener.terminal.last_key() >= LIMIT, "the log:\n{}", opener.sshd.log);
    opener.assert_leaves(&helper);
}

/// Samba and JupyterHub open a session in one transaction and close it in another.
#[test]
fn a_transaction_that_ends_well_leaves_its_session_guarded() {
    let opener = Opener::start("timeout=10m debug", "");
    for _ in 0..2 {
        assert_eq!(opener.ask("open 0 alice"), OK, "{}", opener.sshd.log);
        let helper = opener.armed("alice");
        assert_eq!(opener.ask("end 0 0"), OK);
        assert_eq!(opener.ask("start 1 bob"), OK);
        assert_eq!(opener.ask("close 1"), OK);
        assert_eq!(opener.ask("end 1 0"), OK);
        assert!(Process::read(helper.pid).is_some(), "gone; the log:\n{}", opener.sshd.log);
        assert_eq!(opener.ask("start 1 alice"), OK);
        assert_eq!(opener.ask("close 1"), OK);
        opener.assert_leaves(&helper);
        assert_eq!(opener.ask("end 1 0"), OK);
    }
    opener.assert_never("error");
}

#[test]
fn a_forked_child_may_close_the_session() {
    let opener = Opener::start("timeout=10m debug", "");
    for _ in 0..2 {
        assert_eq!(opener.ask("open 0 alice"), OK, "{}", opener.sshd.log);
        let helper = opener.armed("alice");
        assert_eq!(opener.ask("childclose 0"), OK);
        opener.assert_leaves(&helper);
        assert_eq!(opener.ask("end 0 0"), OK);
    }
    opener.assert_never("orphaned");
    opener.assert_never("error");
    // Now the helper is told twice: by a child and by the opener itself.
    assert_eq!(opener.ask("open 0 alice"), OK, "{}", opener.sshd.log);
    let helper = opener.armed("alice");
    assert_eq!(opener.ask("childclose 0"), OK);
    opener.assert_leaves(&helper);
    assert_eq!(opener.ask("close 0"), OK);
    assert_eq!(opener.ask("end 0 0"), OK);
}

#[test]
fn a_child_that_may_not_signal_the_helper_is_no_failure() {
    let opener = Opener::start(OPTIONS, "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let uid = opener.sshd.uid("alice");
    assert_eq!(opener.ask(&format!("childclose 0 {uid}")), OK);
    opener.assert_never("error");
    // No process that the helper believes has told it about the end of the session.
    opener.sshd.log.wait_for_event("ended", "alice", PAST_THE_PROMISE);
}

/// What systemd does for `PAMName=`, run0 and `machinectl shell`.
fn assert_ordinary_end_of_a_leader_that_became_a_shell(uid: u32) {
    let opener = Opener::start("timeout=10m debug", "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let helper = opener.armed("alice");
    opener.terminal.type_line(&format!("become 0 {uid}"));
    opener.terminal.wait_for_shell();
    // Its parent reaps it at once, so the helper must have noticed the change before.
    assert!(opener.terminal.exit(secs(4)).is_none());
    opener.terminal.type_line("exit");
    assert!(opener.process.wait_gone(now() + SOON).is_some());
    opener.assert_leaves(&helper);
    opener.assert_never("orphaned");
    opener.assert_never("error");
    opener.sshd.log.wait_for_event("closed", "alice", SOON);
}

#[test]
fn a_leader_that_became_a_shell_ends_as_a_shell() {
    assert_ordinary_end_of_a_leader_that_became_a_shell(0);
}

#[test]
fn a_leader_that_became_a_shell_and_is_closed_by_the_person_ends_as_a_shell() {
    assert_ordinary_end_of_a_leader_that_became_a_shell(12_345);
}

#[test]
fn a_killed_leader_is_not_an_ordinary_end() {
    let opener = Opener::start("timeout=10m debug", "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let helper = opener.armed("alice");
    opener.process.kill(nix::sys::signal::Signal::SIGKILL);
    opener.assert_leaves(&helper);
    opener.sshd.log.wait_for_event("orphaned", "alice", SOON);
}

/// The opener serves both sessions, and is not ended because of one of them.
#[test]
fn a_process_with_several_sessions_is_not_ended() {
    let opener = Opener::start(OPTIONS, "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let helper = opener.armed("alice");
    assert_eq!(opener.ask("open 1 bob"), SESSION_ERR, "{}", opener.sshd.log);
    let begun = opener.terminal.last_key();
    opener.assert_leaves(&helper);
    let error = opener.sshd.log.wait_for_event("error", "alice", SOON);
    assert!(error.text.contains("has opened another"), "{}", error.text);
    let error = opener.sshd.log.wait_for_event("error", "bob", SOON);
    assert!(error.text.contains("cannot be ended alone"), "{}", error.text);
    assert!(opener.process.wait_gone(begun + PAST_THE_PROMISE).is_none(), "the log:\n{}", opener.sshd.log);
    opener.assert_never("ending");
    // After one session has closed, the opener serves one again, and that is guarded. A refused session does
    // not count, however its transaction ends.
    assert_eq!(opener.ask("end 1 0"), OK);
    assert_eq!(opener.ask("close 0"), OK);
    assert_eq!(opener.ask("end 0 0"), OK);
    assert_eq!(opener.ask("open 2 carol"), OK, "{}", opener.sshd.log);
    opener.armed("carol");
    opener.sshd.log.wait_for_event("ended", "carol", PAST_THE_PROMISE);
    assert!(opener.process.wait_gone(now() + SOON).is_some(), "the log:\n{}", opener.sshd.log);
}

#[test]
fn with_onerr_succeed_a_process_opens_several_sessions_unguarded() {
    let opener = Opener::start("timeout=10s warn=4s grace=2s onerr=succeed", "");
    for (slot, user) in ["alice", "bob", "carol"].iter().enumerate() {
        assert_eq!(opener.ask(&format!("open {slot} {user}")), OK, "{}", opener.sshd.log);
    }
    let unguarded = |line: &Line| line.is("unguarded");
    opener.sshd.log.wait_for_count("unguarded", 2, unguarded, SOON);
    // An unguarded session counts, too.
    for slot in 0..2 {
        assert_eq!(opener.ask(&format!("close {slot}")), OK);
        assert_eq!(opener.ask(&format!("end {slot} 0")), OK);
    }
    assert_eq!(opener.ask("open 0 alice"), OK);
    opener.sshd.log.wait_for_count("unguarded", 3, unguarded, SOON);
    assert!(opener.process.wait_gone(opener.terminal.last_key() + PAST_THE_PROMISE).is_none());
    assert_eq!(opener.sshd.helpers(), [], "the log:\n{}", opener.sshd.log);
}

/// The stack has our line twice, and the session cannot be guarded.
#[test]
fn a_second_line_does_not_claim_that_the_first_one_guards() {
    let opener = Opener::start(OPTIONS, &our_line(OPTIONS));
    assert_eq!(opener.ask("open 0 alice"), OK);
    opener.sshd.log.wait_for("the second line", |line| line.is("ignored"), SOON);
    assert_eq!(opener.ask("open 1 bob"), SESSION_ERR);
    opener.sshd.log.wait_for_count("both lines", 2, |line| line.text.contains("cannot be ended alone"), SOON);
    assert_eq!(opener.sshd.log.all(|line| line.is("ignored")).len(), 1, "the log:\n{}", opener.sshd.log);
}

/// The process serves the exempt session, too.
#[test]
fn an_exempt_session_is_not_ended_because_of_another_one() {
    let opener = Opener::start(OPTIONS, "");
    opener.sshd.policy("bob * * * timeout=off\n");
    assert_eq!(opener.ask("open 0 alice"), OK);
    let helper = opener.armed("alice");
    assert_eq!(opener.ask("open 1 bob"), OK);
    opener.assert_leaves(&helper);
    opener.sshd.log.wait_for_event("error", "alice", SOON);
    assert_eq!(opener.ask("close 1"), OK);
    assert_eq!(opener.ask("close 0"), OK);
    // The process serves one session again.
    assert_eq!(opener.ask("open 2 carol"), OK);
    opener.armed("carol");
}

/// Another module refused the session, and the application has not noticed it.
#[test]
fn a_session_that_never_opened_refuses_at_most_one_other() {
    let opener = Opener::start("timeout=10m", "session required pam_succeed_if.so quiet user != alice\n");
    assert_ne!(opener.ask("open 0 alice"), OK);
    assert_eq!(opener.ask("end 0 0"), OK);
    assert_eq!(opener.ask("open 1 bob"), SESSION_ERR);
    assert_eq!(opener.ask("end 1 14"), OK);
    assert_eq!(opener.ask("open 2 bob"), OK, "the log:\n{}", opener.sshd.log);
    opener.armed("bob");
}
