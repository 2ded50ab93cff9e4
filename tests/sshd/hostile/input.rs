//! Input that a program on this machine puts into a terminal of the session, or reads late. The client is
//! silent meanwhile, so nobody types.

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::process::wait_some;
use crate::support::sshd::Sshd;
use crate::support::{SOON, old_kernel};

/// Puts a line into its terminal once a second (`TIOCSTI`), for the shell to read.
const FEEDER: &str = r#"#!/usr/bin/perl
$| = 1;
while (sleep 1) {
    for my $key (split //, ": fed\n") {
        ioctl(STDIN, 0x5412, $key) or die "TIOCSTI: $!";
    }
}
"#;

/// This is root's session, because Linux 6.2 and newer may allow this only with `CAP_SYS_ADMIN`
/// (`dev.tty.legacy_tiocsti`).
#[test]
fn keys_that_a_program_puts_into_the_terminal_gain_nothing_while_the_client_is_silent() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    let feeder = sshd.script("feeder", FEEDER);
    root.type_line(&format!("{} &", feeder.display()));
    root.expect(": fed", SOON);
    assert_ended_on_time(&sshd, &root);
    assert_no_helper_left(&sshd, GRACE + SOON);
}

/// Reads one key, or one line, each second. Input that was typed ahead waits meanwhile. `slow ICANON|0`
const SLOW: &str = r#"#!/usr/bin/perl
use POSIX;
$| = 1;
my ($canonical) = @ARGV;
my $modes = POSIX::Termios->new;
$modes->getattr(0);
$modes->setlflag($modes->getlflag & ~ECHO & ~($canonical ? 0 : ICANON));
$modes->setattr(0, TCSANOW);
print "reading slowly\r\n";
for (my $n = 1; sysread STDIN, my $key, $canonical ? 100 : 1; $n++) {
    print "read $n\r\n";
    sleep 1;
}
"#;

/// The program reads fewer keys than this until one limit after the latest end.
const AHEAD: usize = 60;

fn assert_typed_ahead_buys_nothing(argument: &str, keys: &str) {
    let town = Town::awake();
    let slow = town.sshd.script("slow", SLOW);
    town.alice.type_line(&format!("{} {argument}", slow.display()));
    town.alice.expect("reading slowly", SOON);
    town.alice.type_keys(keys);
    town.alice.expect("read 3\r", SOON);
    town.assert_promise();
}

#[test]
fn keys_that_a_program_reads_slowly_count_from_when_they_were_typed() {
    assert_typed_ahead_buys_nothing("0", &"x".repeat(AHEAD));
}

#[test]
fn lines_that_a_program_reads_slowly_count_from_when_they_were_typed() {
    assert_typed_ahead_buys_nothing("1", &"x\n".repeat(AHEAD));
}

/// Reads keys slowly, too. After five keys it writes more than the client will read, and stops the sshd process
/// of its user. So no process notices that the client is gone. `orphan SSHD FILE`
const ORPHAN: &str = r#"#!/usr/bin/perl
use POSIX;
$| = 1;
$SIG{HUP} = 'IGNORE';
my ($sshd, $file) = @ARGV;
my $modes = POSIX::Termios->new;
$modes->getattr(0);
$modes->setlflag($modes->getlflag & ~ECHO & ~ICANON);
$modes->setattr(0, TCSANOW);
print "reading slowly\r\n";
for (my $n = 1; sysread STDIN, my $key, 1; $n++) {
    print "read $n\r\n" if $n < 5;
    if ($n == 5) {
        print 'x' x 20000;
        select undef, undef, undef, 0.5;
        kill 'STOP', $sshd;
        open my $stopped, '>', $file;
    }
    sleep 1;
}
"#;

#[test]
fn a_session_that_outlives_its_connection_gains_nothing() {
    for without_ptrace in [false, true] {
        let sshd = Sshd::with(OPTIONS);
        let sshd = if without_ptrace { sshd.without_ptrace().start() } else { sshd.start() };
        let alice = sshd.login("alice");
        let orphan = sshd.script("orphan", ORPHAN);
        let stopped = sshd.home("alice").join("stopped");
        alice.type_line(&format!("{} $PPID {}", orphan.display(), stopped.display()));
        alice.expect("reading slowly", SOON);
        alice.type_keys(&"x".repeat(AHEAD));
        alice.expect("read 4\r", SOON);
        // The client has unread data when it dies, so it resets the connection.
        alice.signal(Signal::SIGSTOP);
        wait_some(|| stopped.exists().then_some(()), SOON).expect("sshd is stopped");
        alice.signal(Signal::SIGKILL);
        let ending = sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE);
        let idle = ending.at - alice.last_key();
        // If the leader's descriptor cannot be asked, the client counts as heard until the look that misses its connection.
        let latest = if without_ptrace || old_kernel() { 2 * LIMIT } else { LATEST };
        assert!((LIMIT..latest).contains(&idle), "after {idle:?}; the log:\n{}", sshd.log);
        assert_no_process_left(&sshd, "alice", ending.at + GRACE + SOON);
    }
}

/// Changes everything that the terminal driver lets the owner set. Every second it reads one of the keys that
/// were typed ahead. If this kernel refuses something, it goes on. `games NUMBER` also switches to that line
/// discipline and back.
const GAMES: &str = r#"#!/usr/bin/perl
use POSIX;
use constant { TIOCEXCL => 0x540c, TIOCNXCL => 0x540d, TIOCSWINSZ => 0x5414, TIOCPKT => 0x5420,
    TIOCSETD => 0x5423, EXTPROC => 0x10000 };
$| = 1;
my ($discipline) = @ARGV;
my $lines = POSIX::Termios->new;
$lines->getattr(0);
sub mode {
    my ($off, $on, $end) = @_;
    my $modes = POSIX::Termios->new;
    $modes->getattr(0);
    $modes->setlflag(($modes->getlflag | $on) & ~$off);
    $modes->setcc(VEOL, $end) if defined $end;
    $modes->setcc(VMIN, 0);
    $modes->setcc(VTIME, 0);
    $modes->setattr(0, TCSANOW);
}
mode(ICANON | ECHO, 0);
print "playing\r\n";
sleep 3;
for (my $n = 1; ; $n++) {
    mode(0, ICANON, ord 'x');
    mode(0, EXTPROC);
    mode(EXTPROC | ISIG, ECHO | ECHONL);
    mode(ICANON | ECHO, ISIG, 0);
    my $key;
    sysread STDIN, $key, 1;
    tcflow(0, $_) for TCOOFF, TCIOFF, TCION, TCOON;
    ioctl(STDIN, $_, 0) for TIOCEXCL, TIOCNXCL;
    ioctl(STDIN, TIOCPKT, pack('i', $_)) for 1, 0;
    ioctl(STDIN, TIOCSWINSZ, pack('S4', 20 + $n % 9, 80, 0, 0));
    if (defined $discipline) {
        ioctl(STDIN, TIOCSETD, pack('i', $_)) for $discipline, 0;
    }
    print "round $n\r\n";
    sleep 1;
}
"#;

fn assert_games_buy_nothing(discipline: &str) {
    let town = Town::awake();
    let games = town.sshd.script("games", GAMES);
    town.alice.type_line(&format!("{} {discipline}", games.display()));
    town.alice.expect("playing\r", SOON);
    // A NUL counts in one mode and not in the other.
    town.alice.type_keys(&"x\0\ny".repeat(AHEAD / 2));
    town.alice.expect("round 3\r", SOON);
    town.assert_promise();
}

#[test]
fn changes_of_the_terminals_modes_gain_nothing() {
    assert_games_buy_nothing("");
}

/// Every kernel since 4.15 has `N_NULL`. The queue of keys is lost at each switch.
#[test]
fn changes_of_the_line_discipline_gain_nothing() {
    assert_games_buy_nothing("27");
}

/// Only a process with CAP_SYS_ADMIN can open an exclusive terminal (TIOCEXCL).
#[test]
fn a_terminal_that_others_may_not_open_is_warned_and_ended() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.run("perl -e 'ioctl(STDIN, 0x540c, 0) or die'");
    assert_ended_on_time(&sshd, &alice);
    let warned = sshd.log.wait_for_event("warned", "alice", SOON);
    assert_eq!(warned.field("not-shown"), None, "{}", warned.text);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}
