//! `announce`: what the person is told at login, and what is never said into the output of a program.

use std::process::Command;

use crate::openers::{OK, Opener};
use crate::support::client::Client;
use crate::support::sshd::{Builder, Sshd};
use crate::support::{SOON, secs};

const ANNOUNCED: &str = "timeout=10m announce debug";
const TEXT: &str = "This session ends after 10m without a key.";

/// The machine's OpenSSH, and a newer one if `tests/prepare` has unpacked one.
fn both() -> [Builder; 2] {
    [Sshd::with(ANNOUNCED), Sshd::with(ANNOUNCED).newer()]
}

#[test]
fn a_shell_on_a_terminal_shows_it_before_the_prompt() {
    for builder in both() {
        let sshd = builder.start();
        let alice = sshd.login("alice");
        let screen = alice.screen();
        let (before, after) = screen.split_once(TEXT).unwrap_or_else(|| panic!("{screen}\n{}", sshd.log));
        assert!(!before.contains('$') && after.starts_with("\r\n"), "{screen:?}");
        assert!(!after.contains(TEXT), "twice: {screen:?}");
        // The announcement is said after the watchdog is armed.
        assert_eq!(sshd.log.events("armed", "alice").len(), 1, "the log:\n{}", sshd.log);
        assert!(sshd.log.events("error", "alice").is_empty(), "the log:\n{}", sshd.log);
    }
}

/// Waits for the end of a program without a terminal. Returns all that it has written.
fn output(sshd: &Sshd, command: Command) -> String {
    let client = Client::on_pipes(command);
    let exit = client.exit(SOON).expect("it ends");
    assert_eq!(exit.code(), 0, "{}\nthe log:\n{}", client.screen(), sshd.log);
    client.whole_screen()
}

#[test]
fn the_output_of_commands_and_transfers_has_nothing_of_it() {
    for builder in both() {
        let sshd = builder.start();
        let command = |words: &[&str]| {
            let mut ssh = sshd.ssh("alice");
            ssh.args(words);
            output(&sshd, ssh)
        };
        assert_eq!(command(&["true"]), "");
        assert_eq!(command(&["echo out; echo err >&2"]).replace("err\n", ""), "out\n");
        // git talks to a program over such a connection.
        assert_eq!(command(&["-T", "printf '\\001\\002'"]), "\u{1}\u{2}");
        let source = sshd.script("source", "content\n");
        for protocol in ["-O", "-s"] {
            let mut scp = sshd.client_program("scp", "-P");
            scp.args(["-q", protocol]).arg(&source).arg("alice@127.0.0.1:target");
            assert_eq!(output(&sshd, scp), "");
            let copied = std::fs::read_to_string(sshd.home("alice").join("target")).unwrap();
            assert_eq!(copied, "content\n");
        }
        assert_eq!(sshd.log.events("error", "alice").len(), 0, "the log:\n{}", sshd.log);
    }
}

#[test]
fn a_command_on_a_terminal_shows_nothing_either() {
    let sshd = Sshd::with(ANNOUNCED).start();
    let mut ssh = sshd.ssh("alice");
    ssh.args(["-tt", "echo out"]);
    let alice = Client::on_terminal(ssh);
    alice.exit(SOON).expect("it ends");
    assert_eq!(alice.whole_screen(), "out\r\n");
}

#[test]
fn a_rule_switches_it_off_or_says_something_else() {
    let sshd = Sshd::with(ANNOUNCED).start();
    sshd.policy("alice * * * announce=off\n* * * * announce=\"Dear {user}:\\n{limit}, says {rule}\"\n");
    let alice = sshd.login("alice");
    assert!(!alice.screen().contains("session ends"), "{}", alice.screen());
    let bob = sshd.login("bob");
    let text = "Dear bob:\r\n10m, says /etc/security/idle_watchdog.conf:2\r\n";
    assert!(bob.screen().contains(text), "{:?}", bob.screen());
}

#[test]
fn nothing_is_said_where_nothing_is_ended_or_written() {
    for options in ["kill=none", "quiet"] {
        let sshd = Sshd::with(&format!("{ANNOUNCED} {options}")).start();
        let alice = sshd.login("alice");
        assert!(!alice.screen().contains("session ends"), "{options}: {}", alice.screen());
    }
}

#[test]
fn login_says_it_and_whoever_wants_a_quiet_login_is_told_nothing() {
    let sshd = Sshd::with(ANNOUNCED).nested(ANNOUNCED).start();
    let alice = sshd.console("alice");
    assert!(alice.screen().contains(TEXT), "{}\n{}", alice.screen(), sshd.log);
    std::fs::write(sshd.home("bob").join(".hushlogin"), "").unwrap();
    for bob in [sshd.console("bob"), sshd.login("bob")] {
        assert!(!bob.screen().contains(TEXT), "{}", bob.screen());
    }
    assert_eq!(sshd.log.events("armed", "bob").len(), 2, "the log:\n{}", sshd.log);
}

#[test]
fn su_says_it_on_its_terminal_and_never_into_a_file() {
    let sshd = Sshd::with("timeout=20m").nested(ANNOUNCED).start();
    let alice = sshd.login("alice");
    alice.run("echo 'echo \"in\"side' | su - bob > said");
    sshd.log.wait_for_event("armed", "bob", SOON);
    assert_eq!(std::fs::read_to_string(sshd.home("alice").join("said")).unwrap(), "inside\n");
    alice.type_line("su - bob");
    alice.expect(TEXT, SOON);
    alice.wait_for_shell();
}

#[test]
fn the_conversation_gets_it_once_the_watchdog_is_armed() {
    let opener = Opener::start(ANNOUNCED, "");
    assert_eq!(opener.ask("listen 1"), -1);
    assert_eq!(opener.ask("open 0 alice"), OK);
    opener.armed("alice");
    // PAM_TEXT_INFO is 4.
    let told = format!("told 4: {TEXT}");
    assert_eq!(opener.terminal.screen().matches(&told).count(), 1, "{}", opener.terminal.screen());
    assert_eq!(opener.ask("close 0"), OK);
    // PAM_SILENT
    assert_eq!(opener.ask("silent 1 bob"), OK);
    opener.armed("bob");
    assert_eq!(opener.terminal.screen().matches("told").count(), 1, "{}", opener.terminal.screen());
}

#[test]
fn a_conversation_that_fails_or_is_missing_changes_nothing() {
    for before in ["listen 0", "mute"] {
        let opener = Opener::start(ANNOUNCED, "");
        assert_eq!(opener.ask(before), -1);
        assert_eq!(opener.ask("open 0 alice"), OK, "{}", opener.sshd.log);
        opener.armed("alice");
        let record = opener.sshd.log.wait_for_event("error", "alice", secs(5));
        let why = "error=\"cannot announce the limit: the conversation function failed: PAM_CONV_ERR\"";
        assert!(record.text.ends_with(why), "{}", record.text);
        assert_eq!(record.priority, Some((10, 7)), "{}", record.text);
        assert_eq!(opener.ask("close 0"), OK);
    }
}

#[test]
fn without_a_watchdog_nothing_is_promised() {
    let opener = Opener::start(&format!("{ANNOUNCED} onerr=succeed"), "");
    std::fs::remove_file(opener.sshd.dir.join("libexec/pam_idle_watchdog_helper")).unwrap();
    assert_eq!(opener.ask("listen 1"), -1);
    assert_eq!(opener.ask("open 0 alice"), OK);
    opener.sshd.log.wait_for_event("unguarded", "alice", SOON);
    assert!(!opener.terminal.shows("told"), "{}", opener.terminal.screen());
}
