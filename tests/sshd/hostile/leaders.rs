//! A leader that has become the person's own program, as with `run0` and `PAMName=`. The person may do anything
//! with it.

use crate::openers::{OK, Opener};
use crate::promise::*;
use crate::support::SOON;

/// An opener whose leader has become the person's shell. It is watched with [`OPTIONS`].
fn shell_of_the_person() -> Opener {
    let opener = Opener::start(OPTIONS, "");
    assert_eq!(opener.ask("open 0 alice"), OK);
    opener.armed("alice");
    opener.terminal.type_line(&format!("person 0 {}", opener.sshd.uid("alice")));
    opener.terminal.wait_for_shell();
    opener
}

#[test]
fn a_leader_that_hides_its_terminal_from_itself_is_ended() {
    let opener = shell_of_the_person();
    let hide = "mount -t tmpfs none /dev && exec sleep 1000";
    opener.terminal.type_line(&format!("exec unshare -Ur -m sh -c '{hide}'"));
    let gone = opener.process.wait_gone(opener.terminal.last_key() + PAST_THE_PROMISE);
    assert!(gone.is_some(), "the log:\n{}", opener.sshd.log);
}

/// Whoever closes its sockets last has to wait as long as the program likes.
const LINGER: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT 400

int main(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 60 };
	struct pollfd polled[COUNT];
	socklen_t length = sizeof address;
	static char text[65536];
	int i, small = 2048, listener = socket(AF_INET, SOCK_STREAM, 0);

	for (i = 1; i < 32; i++)
		if (i != SIGCHLD)
			signal(i, SIG_IGN);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	bind(listener, (void *)&address, sizeof address);
	listen(listener, COUNT + 1);
	getsockname(listener, (void *)&address, &length);
	if (!fork()) {
		for (i = 0; i < COUNT; i++)
			accept(listener, 0, 0);
		for (;;)
			pause();
	}
	for (i = 0; i < COUNT; i++) {
		int one = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(one, (void *)&address, sizeof address))
			return 1;
		setsockopt(one, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		fcntl(one, F_SETFL, O_NONBLOCK);
		while (write(one, text, sizeof text) > 0)
			;
		polled[i].fd = one;
		polled[i].events = POLLRDHUP;
	}
	close(listener);
	ioctl(0, TIOCNOTTY);
	/* The process that shuts down the first one has the others open, too. */
	sleep(8);
	for (i = 0; i < 3000 && poll(polled, 1, 0) == 0; i++)
		usleep(5000);
	close_range(3, ~0U, 0);
	for (;;)
		pause();
}
"#;

#[test]
fn a_leader_whose_sockets_linger_delays_nothing() {
    let opener = shell_of_the_person();
    let program = opener.sshd.program("linger", LINGER);
    opener.terminal.type_line(&format!("exec {}", program.display()));
    let gone = opener.process.wait_gone(opener.terminal.last_key() + PAST_THE_PROMISE);
    assert!(gone.is_some(), "the log:\n{}", opener.sshd.log);
    opener.sshd.log.wait_for_event("ended", "alice", SOON);
}

/// Its child takes the terminal again after the hang-up.
const STAY: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	char tty[64];

	strcpy(tty, ttyname(0));
	signal(SIGHUP, SIG_IGN);
	if (!fork()) {
		setsid();
		sleep(4);
		usleep(600000);
		close(0);
		open(tty, O_RDWR);
		dup2(0, 1);
		dup2(0, 2);
		ioctl(0, TIOCSCTTY, 0);
		execl("/bin/sh", "sh", "-i", (char *)0);
	}
	sleep(4);
	return 0;
}
"#;

#[test]
fn a_leader_that_leaves_a_shell_on_its_terminal_is_not_an_ordinary_end() {
    let opener = shell_of_the_person();
    let program = opener.sshd.program("stay", STAY);
    opener.terminal.type_line(&format!("exec {}", program.display()));
    let ended = opener.sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(ended.field("survivors"), Some("0"), "the log:\n{}", opener.sshd.log);
    opener.sshd.log.wait_for_event("orphaned", "alice", SOON);
}
