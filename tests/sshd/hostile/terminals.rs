//! Terminals that do not take a warning, or do not answer.

use crate::promise::*;
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs};

#[test]
fn a_stopped_terminal_delays_nothing() {
    let town = Town::awake();
    town.alice.type_keys("\x13");
    town.assert_promise();
}

#[test]
fn a_full_terminal_delays_nothing() {
    let town = Town::awake();
    town.alice.type_line("yes");
    town.alice.expect("y\r\ny\r\ny", SOON);
    town.alice.stop_reading();
    town.assert_promise();
}

#[test]
fn a_terminal_without_permissions_delays_nothing() {
    let town = Town::awake();
    town.alice.run("chmod 0 $(tty)");
    town.assert_promise();
}

/// A process that asks a terminal whose lock is taken gets no answer, and cannot be killed.
const HANG: &str = include_str!("hang.c");

#[test]
fn a_terminal_that_blocks_every_question_delays_nothing() {
    let town = Town::awake();
    let program = town.sshd.program("hang", HANG);
    town.alice.type_line(&format!("{} {}/mnt", program.display(), town.sshd.home("alice").display()));
    town.alice.expect("reading now", SOON);
    // This is longer than the buffer that the kernel uses for a copy.
    town.alice.type_line(&"x".repeat(200));
    town.alice.expect("the terminal hangs", SOON);
    let log = town.sshd.log.clone();
    town.assert_promise();
    let warned = &log.events("warned", "alice")[0];
    assert!(warned.field("not-shown").is_some(), "{}", warned.text);
}

/// Makes sshd's own child, the parent of the shell, the parent of new leaders of the session's terminal, one
/// after another. Each of them changes the terminal's node.
const ADOPTED: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	char tty[64];
	int first = 1, fd;

	signal(SIGHUP, SIG_IGN);
	ttyname_r(0, tty, sizeof tty);
	puts("adopted now\r");
	fflush(stdout);
	for (;;) {
		if (syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0) > 0) {
			fd = open("/dev/tty", O_RDWR);
			ioctl(fd, TIOCNOTTY);
			while (first)
				pause();
			_exit(0);
		}
		first = 0;
		setsid();
		fd = open(tty, O_RDWR | O_NOCTTY);
		while (ioctl(fd, TIOCSCTTY, 0) < 0)
			usleep(1000);
		fchmod(fd, 0620);
		close(fd);
		sleep(2);
	}
}
"#;

#[test]
fn a_terminal_that_gets_new_leaders_all_the_time_is_not_a_new_one() {
    let town = Town::awake();
    let program = town.sshd.program("adopted", ADOPTED);
    town.alice.type_line(&format!("exec {}", program.display()));
    town.alice.expect("adopted now", SOON);
    town.assert_promise();
}

/// Switches between two ways to count the input queue, faster than a process can ask for both.
const FLICKER: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct termios lines, keys;

static void *flicker(void *unused)
{
	for (;;) {
		tcsetattr(0, TCSANOW, &lines);
		tcsetattr(0, TCSANOW, &keys);
	}
}

int main(void)
{
	pthread_t thread;

	tcgetattr(0, &lines);
	keys = lines;
	keys.c_lflag &= ~ICANON;
	puts("flickering now\r");
	fflush(stdout);
	pthread_create(&thread, 0, flicker, 0);
	flicker(0);
}
"#;

#[test]
fn a_queue_whose_mode_flickers_gains_nothing() {
    // There are many looks, one every 2 s, because the result depends on luck.
    let sshd = Sshd::with("timeout=20s warn=19s grace=0 debug").start();
    let alice = sshd.login("alice");
    alice.type_line(&sshd.program("flicker", FLICKER).display().to_string());
    alice.expect("flickering now", SOON);
    alice.type_keys("\0");
    let begin = alice.last_key();
    let idle = alice.exit(secs(40)).expect("ended").at - begin;
    assert!(secs(20) <= idle && idle < secs(20 + 8 + 2), "{idle:?}");
}

/// Switches between two ways to count the input queue. In one a NUL counts, in the other it does not.
const SWITCH: &str = "use POSIX; $t = POSIX::Termios->new; $| = 1; print \"switch\", \"ing\"; \
    while (1) { $t->getattr(0); $t->setlflag($t->getlflag ^ ICANON); $t->setattr(0, TCSANOW); \
    select(undef, undef, undef, 0.3) }";

#[test]
fn a_queue_counted_in_two_modes_gains_nothing() {
    let town = Town::awake();
    town.alice.type_line(&format!("perl -e '{SWITCH}'"));
    town.alice.expect("switching", SOON);
    town.alice.type_keys("\0");
    town.assert_promise();
}
