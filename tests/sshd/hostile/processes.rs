//! Processes that try to survive the end.

use std::fs;
use std::path::Path;

use crate::promise::*;
use crate::support::SOON;
use crate::support::process::wait_some;

/// `chain SETSID DELAY SECONDS`: after DELAY each process forks a child and exits at once. So a process that
/// looks for the chain finds only exited processes.
const CHAIN: &str = r#"#!/usr/bin/perl
use POSIX ();
my ($setsid, $delay, $seconds) = @ARGV;
$SIG{HUP} = $SIG{TERM} = $SIG{INT} = 'IGNORE';
exit if fork;
POSIX::setsid() if $setsid;
sleep $delay;
my $end = time + $seconds;
for (my $hops = 0; time < $end && $hops < 100_000; $hops++) {
    my $child = fork;
    exit if $child;
    POSIX::setsid() if defined $child && $setsid;
}
"#;

/// `tree DEPTH SECONDS`: every process keeps three children and replaces those that exit.
const TREE: &str = r#"#!/usr/bin/perl
my ($depth, $seconds) = @ARGV;
my $end = time + $seconds;
$SIG{HUP} = $SIG{TERM} = $SIG{INT} = 'IGNORE';
sub grow {
    my $depth = shift;
    my $children = 0;
    while (time < $end) {
        if ($depth > 0 && $children < 3) {
            my $child = fork;
            if (defined $child && !$child) { grow($depth - 1); exit }
            $children++ if $child;
        } elsif ($depth > 0) {
            $children-- if wait > 0;
        } else {
            sleep 1;
        }
    }
}
exit if fork;
grow($depth);
"#;

/// No test of this file looks so late.
const LIFETIME: u32 = 40;

#[test]
fn traps_do_not_help() {
    let town = Town::awake();
    town.alice.run("trap '' HUP TERM INT; sh -c 'while :; do sleep 1; done' & nohup sleep 1000 &");
    town.assert_promise();
}

#[test]
fn daemons_do_not_escape() {
    let town = Town::awake();
    let daemon = "$SIG{HUP}=$SIG{TERM}=\"IGNORE\"; exit if fork; setsid; exit if fork; sleep 1000";
    town.alice.run(&format!("perl -MPOSIX -e '{daemon}'"));
    town.alice.run("setsid -f sleep 1000");
    for name in ["perl", "sleep"] {
        let daemon = || town.sshd.processes_of("alice").into_iter().find(|p| p.comm == name && p.ppid == 1);
        wait_some(daemon, SOON).unwrap_or_else(|| panic!("no daemon {name}"));
    }
    town.assert_promise();
}

/// The chain lasts from a second before the session may end until well past the promise.
fn assert_chain_ends(setsid: &str) {
    let town = Town::awake();
    let chain = town.sshd.script("chain", CHAIN);
    town.alice.run(&format!("{} {setsid} 9 16", chain.display()));
    town.assert_promise();
}

#[test]
fn a_chain_of_forks_ends() {
    assert_chain_ends("0");
}

#[test]
fn a_chain_of_sessions_ends() {
    assert_chain_ends("1");
}

#[test]
fn a_tree_that_grows_again_ends() {
    let town = Town::awake();
    let tree = town.sshd.script("tree", TREE);
    town.alice.run(&format!("{} 3 {LIFETIME}", tree.display()));
    town.assert_promise();
}

/// A process that handles SIGHUP is still there and gets SIGTERM, too.
#[test]
fn a_program_that_goes_on_after_a_hangup_is_asked_to_terminate() {
    let town = Town::awake();
    let asked = town.sshd.home("alice").join("asked");
    let handlers =
        format!("$SIG{{HUP}} = sub {{}}; $SIG{{TERM}} = sub {{ open F, q(>{}); exit }};", asked.display());
    town.alice
        .type_line(&format!("perl -e '$| = 1; {handlers} print qq(does not hang\\x20up); sleep 1 while 1'"));
    town.alice.expect("does not hang up", SOON);
    let ended = town.sshd.log.wait_for_event("ended", "alice", PAST_THE_PROMISE + SOON);
    assert!(asked.exists(), "{}", ended.text);
    assert_eq!(ended.field("sigkill"), Some("0"), "{}", ended.text);
    town.assert_promise();
}

/// Its first thread ends, so it looks like a zombie.
const THREAD: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *stay(void *unused)
{
	for (;;)
		pause();
}

int main(void)
{
	pthread_t thread;

	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (fork())
		return 0;
	setsid();
	pthread_create(&thread, 0, stay, 0);
	printf("process %d.\r\n", getpid());
	fflush(stdout);
	syscall(SYS_exit, 0);
}
"#;

#[test]
fn a_process_without_its_first_thread_ends() {
    let town = Town::awake();
    let program = town.sshd.program("thread", THREAD);
    town.alice.run(&program.display().to_string());
    let pid = || {
        let screen = town.alice.screen();
        Some(screen.split_once("process ")?.1.split_once('.')?.0.to_owned())
    };
    let directory = Path::new("/proc").join(wait_some(pid, SOON).expect("its number"));
    assert!(directory.join("stat").exists());
    town.assert_promise();
    // A dead process is a child of init, which may reap it late.
    let stat = fs::read_to_string(directory.join("stat")).unwrap_or_default();
    let threads = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(17));
    assert!(matches!(threads, None | Some("0" | "1")), "{stat}");
}

#[test]
fn stopped_processes_end() {
    let town = Town::awake();
    town.alice.run("sleep 1000 & kill -STOP $!");
    // The shell and the user's own sshd are stopped, too.
    town.alice.type_line("(sleep 1; kill -STOP $PPID) & echo stop''ping; kill -STOP $$");
    town.alice.expect("stopping", SOON);
    town.assert_promise();
}
