//! Activity without keys.

use crate::promise::*;
use crate::support::client::Client;
use crate::support::sshd::Sshd;
use crate::support::{SOON, now, secs};

/// How many doubtful stamps of a session are believed.
const CREDITS: u32 = 3;

/// Reads a pty of the user's own all the time and types into it itself. With a number, it is a pty of that
/// number. `automaton MASTER SLAVES [NUMBER]`
pub const AUTOMATON: &str = r#"#!/usr/bin/perl
use POSIX ();
my ($ptmx, $slaves, $wanted) = @ARGV;
my (@masters, $number);
do {
    open(my $master, '+<', $ptmx) or die "$ptmx: $!";
    push @masters, $master;
    my $unlocked = pack('i', 0);
    ioctl($master, 0x40045431, $unlocked) or die "TIOCSPTLCK: $!";
    my $answer = pack('i', 0);
    ioctl($master, 0x80045430, $answer) or die "TIOCGPTN: $!";
    $number = unpack('i', $answer);
} until !defined $wanted || $number >= $wanted;
die "have $number, not $wanted" if defined $wanted && $number != $wanted;
if (!fork) {
    POSIX::setsid();
    # This becomes the controlling terminal, because O_NOCTTY is not set.
    open(my $slave, '+<', "$slaves/$number") or die "$slaves/$number: $!";
    close $_ for @masters;
    1 while <$slave>;
    exit;
}
print "automaton at $number\n";
while (1) { syswrite $masters[-1], "\n"; sleep 1 }
"#;

/// Sets the terminal's read time once a second.
const TOUCHES: &str = "t=$(tty); while sleep 1; do touch -a $t; done &";

#[test]
fn touching_the_terminal_in_a_loop_gains_nothing_while_the_client_is_silent() {
    let town = Town::awake();
    town.alice.run(TOUCHES);
    let log = town.sshd.log.clone();
    town.assert_promise();
    let tampering = log.events("tampering", "alice");
    assert!(tampering.iter().any(|line| line.field("stamp") == Some("refuted")), "the log:\n{log}");
    assert!(tampering.iter().all(|line| line.field("believed") == Some("no")), "the log:\n{log}");
}

#[test]
fn touching_the_terminal_in_a_loop_with_keepalives_gains_three_credits_and_no_more() {
    let sshd = Sshd::with(OPTIONS).start();
    let mut command = sshd.ssh("alice");
    command.args(["-tt", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=60"]);
    let alice = Client::on_terminal(command);
    alice.wait_for_first_shell();
    alice.run(TOUCHES);
    // A believed stamp may be as late as the look that sees it. Then the end waits for a proven key, at most 18
    // s after the warning.
    let waits = secs(18) - WARN;
    let deadline = gone_by(alice.last_key()) + CREDITS * LATEST + waits;
    assert_no_process_left(&sshd, "alice", deadline);
    let idle = now() - alice.last_key();
    assert!(idle > 2 * LIMIT, "nothing was believed: {idle:?}; the log:\n{}", sshd.log);
    let tampering = sshd.log.events("tampering", "alice");
    assert!(tampering.iter().any(|line| line.field("credits") == Some("0")), "the log:\n{}", sshd.log);
    assert!(tampering.iter().any(|line| line.field("believed") == Some("no")), "the log:\n{}", sshd.log);
}

#[test]
fn a_stamp_in_the_future_gains_nothing() {
    let town = Town::awake();
    // This is after the last key, because reading a key corrects the stamp, and after the first look.
    town.alice.run("(sleep 8; touch -a -d 2099-01-01 $(tty)) &");
    let log = town.sshd.log.clone();
    town.assert_promise();
    let tampering = log.events("tampering", "alice");
    assert!(!tampering.is_empty(), "not on record; the log:\n{log}");
}

#[test]
fn a_stamp_kept_in_the_future_gains_nothing() {
    let town = Town::awake();
    town.alice.run("t=$(tty); while sleep 1; do touch -a -d 2099-01-01 $t; done &");
    town.assert_promise();
}

#[test]
fn an_automaton_on_the_users_own_pty_is_not_activity() {
    let town = Town::awake();
    let automaton = town.sshd.script("automaton", AUTOMATON);
    town.alice.type_line(&format!("{} /dev/ptmx /dev/pts", automaton.display()));
    town.alice.expect("automaton at", SOON);
    town.assert_promise();
}

#[test]
fn su_with_a_pty_and_input_from_a_pipe_is_not_activity() {
    let town = Town::awake();
    town.alice.type_line("(while sleep 1; do echo fed; done) | su --pty alice -c cat");
    town.alice.expect("fed\r", SOON);
    town.assert_promise();
}

#[test]
fn a_terminal_with_our_number_in_another_devpts_is_not_activity() {
    let town = Town::awake();
    let automaton = town.sshd.script("automaton", AUTOMATON);
    let line = format!("{} /dev/pts2/ptmx /dev/pts2 $(tty | tr -dc 0-9)", automaton.display());
    town.alice.type_line(&line);
    town.alice.expect("automaton at", SOON);
    town.assert_promise();
}
