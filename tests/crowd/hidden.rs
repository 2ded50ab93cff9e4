//! A crowd in the session itself and in another one, and processes that hide behind it.

use std::fs;
use std::time::Duration;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::process::wait_some;
use crate::support::{SOON, secs, until};

/// `hop SETSID DELAY SECONDS`: several chains, in which each process starts the next one and exits. A process
/// lives as long as a survey takes. It must not live shorter, because init may reap slowly and PIDs are few.
const HOP: &str = r#"
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int chains, sessions = atoi(argv[1]);
	time_t end;

	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (fork())
		return 0;
	if (sessions)
		setsid();
	sleep(atoi(argv[2]));
	end = time(0) + atoi(argv[3]);
	for (chains = 1; chains < 3 && fork() > 0;)
		chains++;
	while (time(0) < end) {
		pid_t child;

		usleep(10000);
		child = fork();

		if (child > 0)
			_exit(0);
		if (!child && sessions)
			setsid();
	}
	return 0;
}
"#;

/// `spring DELAY SECONDS`: starts a process four times a second. A survey that looks at the newest first comes
/// to it late, and it has started more processes by then.
const SPRING: &str = r#"#!/usr/bin/perl
use POSIX ();
my ($delay, $seconds) = @ARGV;
$SIG{HUP} = $SIG{TERM} = 'IGNORE';
exit if fork;
POSIX::setsid();
my $end = time + $delay + $seconds;
sleep $delay;
while (time < $end) {
    if (!fork) { sleep $seconds; exit }
    select undef, undef, undef, 0.25;
}
"#;

/// `crowd COUNT SECONDS [NUMBER]`: starts so many processes that do nothing and ignore requests to leave. With
/// a number, each has many descriptors and is on a terminal with that number in another devpts.
const CROWD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void sit(unsigned number)
{
	int unlocked = 0, n, master;
	unsigned found = ~0;
	char slave[32];

	if (fork())
		exit(0);
	setsid();
	do {
		master = open("/dev/pts2/ptmx", O_RDWR | O_NOCTTY);
		ioctl(master, TIOCGPTN, &found);
	} while (master >= 0 && found != number);
	ioctl(master, TIOCSPTLCK, &unlocked);
	snprintf(slave, sizeof(slave), "/dev/pts2/%u", number);
	open(slave, O_RDWR);
	for (n = 0; n < 900; n++)
		dup(0);
}

int main(int argc, char **argv)
{
	int n, count = atoi(argv[1]);

	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (argc > 3)
		sit(atoi(argv[3]));
	alarm(atoi(argv[2]));
	for (n = 0; n < count; n++)
		if (!fork()) {
			alarm(atoi(argv[2]));
			pause();
			return 0;
		}
	printf("%d stand around.\r\n", n);
	fflush(stdout);
	pause();
	return 0;
}
"#;

/// How many processes of the crowd are in the session.
const COUNT: u32 = 1000;
/// How many are in another session, which is in use.
const OTHERS: u32 = 2500;
/// The kernel needs some time to end them.
const CROWDED: Duration = secs(10);

/// The terminal number from tty(1).
fn number_of_terminal(client: &Client) -> String {
    let screen = client.screen();
    let (_, rest) = screen.split_once("/dev/pts/").expect("a terminal");
    rest.chars().take_while(char::is_ascii_digit).collect()
}

/// Alice has another session, which is in use, and a crowd in both. In the first session, which is idle, a
/// process that is older than the crowd starts processes, and a newer one hops.
#[test]
fn a_crowd_hides_nobody() {
    let town = Town::awake();
    let (hop, crowd) = (town.sshd.program("hop", HOP), town.sshd.program("crowd", CROWD));
    let other = town.sshd.login("alice");
    let spring = town.sshd.script("spring", SPRING);
    town.alice.run(&format!("{} 9 90", spring.display()));
    town.alice.run("tty");
    let number = number_of_terminal(&town.alice);
    for (client, count, number) in [(&other, OTHERS, &*number), (&town.alice, COUNT, "")] {
        client.type_line(&format!("{} {count} 100 {number} &", crowd.display()));
        client.expect(&format!("{count} stand around."), SOON);
    }
    let typist = other.keep_typing(secs(2));
    town.alice.run(&format!("for s in 0 1; do {} $s 9 80; done", hop.display()));
    let armed = &town.sshd.log.events("armed", "alice")[0];
    let audit = armed.field("ses").expect("an audit session").to_owned();

    let ended = town.sshd.log.wait_for_event("ended", "alice", secs(75));
    println!("{}", ended.text);
    assert_eq!(ended.field("ses"), Some(&*audit), "{}", ended.text);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    // A process that is there now would still be there later.
    let left = town.sshd.processes_of("alice").into_iter().filter(|process| {
        let id = fs::read_to_string(format!("/proc/{}/sessionid", process.pid));
        id.is_ok_and(|id| id == audit) && process.state != 'Z'
    });
    let left: Vec<_> = left.collect();
    assert_eq!(left, [], "the log:\n{}", town.sshd.log);
    typist.stop();
    other.wait_for_shell();
    assert!(town.sshd.processes_of("alice").len() > OTHERS as usize, "the log:\n{}", town.sshd.log);
}

#[test]
fn the_oldest_of_a_crowd_is_asked_to_leave() {
    let town = Town::awake();
    let crowd = town.sshd.program("crowd", CROWD);
    let asked = town.sshd.home("alice").join("asked");
    let oldest = format!("$SIG{{TERM}} = sub {{ open F, q(>{}); exit }}; sleep 1 while 1", asked.display());
    town.alice.run(&format!("setsid -f perl -e '{oldest}'"));
    let runs = || town.sshd.processes_of("alice").into_iter().find(|p| p.comm == "perl" && p.sid == p.pid);
    wait_some(runs, SOON).expect("the oldest");
    town.alice.type_line(&format!("{} {COUNT} 40 &", crowd.display()));
    town.alice.expect(&format!("{COUNT} stand around."), SOON);
    let deadline = gone_by(town.alice.last_key()) + CROWDED;
    let ended = town.sshd.log.wait_for_event("ended", "alice", until(deadline));
    assert!(asked.exists(), "{}", ended.text);
    let processes = ended.text.split_once("processes=").expect("what was ended").1;
    assert!(processes.contains("perl") && processes.contains("crowd"), "{}", ended.text);
    town.assert_all_by(deadline);
}
