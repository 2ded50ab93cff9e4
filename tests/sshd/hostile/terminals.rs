//! Terminals that take no notice.

use crate::promise::*;
use crate::support::SOON;

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
fn a_terminal_with_its_permissions_gone_delays_nothing() {
    let town = Town::awake();
    town.alice.run("chmod 0 $(tty)");
    town.assert_promise();
}

/// Nobody who asks a terminal whose lock is held gets an answer, or can be killed.
const HANG: &str = include_str!("hang.c");

#[test]
fn a_terminal_that_hangs_whoever_asks_it_delays_nothing() {
    let town = Town::awake();
    let source = town.sshd.script("hang.c", HANG);
    let program = town.sshd.dir.join("hang");
    let built = std::process::Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(built.success(), "cc: {built}");
    town.alice.type_line(&format!("{} {}/mnt", program.display(), town.sshd.home("alice").display()));
    town.alice.expect("reading now", SOON);
    // Longer than what the kernel copies through a buffer of its own.
    town.alice.type_line(&"x".repeat(200));
    town.alice.expect("the terminal hangs", SOON);
    let log = town.sshd.log.clone();
    town.assert_promise();
    let warned = &log.events("warned", "alice")[0];
    assert!(warned.field("unwritten").is_some(), "{}", warned.text);
}

/// Switches between two ways to count the input queue, in which a NUL counts and does not.
const SWITCH: &str = "use POSIX; $t = POSIX::Termios->new; $| = 1; print \"switch\", \"ing\"; \
    while (1) { $t->getattr(0); $t->setlflag($t->getlflag ^ ICANON); $t->setattr(0, TCSANOW); \
    select(undef, undef, undef, 0.3) }";

#[test]
fn a_queue_counted_in_two_ways_buys_nothing() {
    let town = Town::awake();
    town.alice.type_line(&format!("perl -e '{SWITCH}'"));
    town.alice.expect("switching", SOON);
    town.alice.type_keys("\0");
    town.assert_promise();
}
