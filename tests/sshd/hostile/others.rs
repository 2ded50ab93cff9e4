//! Processes of others, which look like processes of the ended session and are not.

use std::io::Write;
use std::net::TcpStream;

use super::activity::AUTOMATON;
use crate::guest::with_scope;
use crate::promise::*;
use crate::support::client::{Client, Typist};
use crate::support::process::{Process, wait_some};
use crate::support::sshd::{Sshd, free_port};
use crate::support::{SOON, secs};

#[test]
fn another_users_terminal_with_our_number_is_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let carol = sshd.login("carol");
    let (alices_shell, automaton) = (shell_of(&sshd, "alice"), sshd.script("automaton", AUTOMATON));
    // The numbers of ptys are the minor numbers. Below 256 they are the low byte of tty_nr.
    let number = alices_shell.tty & 0xff;
    carol.type_line(&format!("{} /dev/pts2/ptmx /dev/pts2 {number} &", automaton.display()));
    carol.expect("automaton at", SOON);
    let typist = carol.keep_typing(secs(2));

    assert_ended_on_time(&sshd, &alice);
    sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    typist.stop();
    carol.wait_for_shell();
    let looks_like_alices: Vec<_> =
        sshd.processes_of("carol").into_iter().filter(|process| process.tty == alices_shell.tty).collect();
    assert_eq!(looks_like_alices.len(), 1, "the log:\n{}", sshd.log);
}

fn shell_of(sshd: &Sshd, user: &str) -> Process {
    let shell = || sshd.processes_of(user).into_iter().find(|process| process.comm == "sh");
    wait_some(shell, SOON).unwrap_or_else(|| {
        panic!("no shell of {user}: {:#?}; the log:\n{}", sshd.processes_of(user), sshd.log)
    })
}

#[test]
fn the_next_login_on_the_same_terminal_number_is_spared() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=8s debug").own_terminals().start();
    let alice = sshd.login("alice");
    // This makes the end of alice's session last while bob logs in.
    alice.run("setsid -f sh -c \"trap '' HUP TERM; sleep 1000 & wait\" </dev/null >/dev/null 2>&1");
    let number = shell_of(&sshd, "alice").tty;
    assert_ended_on_time(&sshd, &alice);

    let bob = sshd.login("bob");
    assert_eq!(shell_of(&sshd, "bob").tty, number, "bob's shell is where alice's was");
    assert_eq!(sshd.log.events("ended", "alice").len(), 0, "alice's end has not ended yet");
    let typist = bob.keep_typing(secs(2));
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()) + secs(8));
    sshd.log.wait_for_event("ended", "alice", SOON);
    typist.stop();
    assert!(bob.exit(secs(1)).is_none(), "bob was ended with alice; the log:\n{}", sshd.log);
    bob.wait_for_shell();
    assert_untouched(&sshd, "bob");
}

/// Starts a second sshd in a session, with `before` in front of its command. Waits until it listens, and
/// returns its port.
fn second_sshd(sshd: &Sshd, client: &Client, before: &str) -> u16 {
    let port = free_port();
    let config = sshd.dir.join("sshd_config");
    client.type_line(&format!("{before} /usr/sbin/sshd -f {} -p {port}", config.display()));
    let listening = format!("Server listening on 127.0.0.1 port {port}.");
    sshd.log.wait_for("the second sshd", |line| line.text.contains(&listening), SOON);
    port
}

/// A shell of a person who types, through the sshd at a port.
fn typing_at(sshd: &Sshd, port: u16, user: &str) -> (Client, Typist) {
    let mut command = sshd.ssh_at(port, user);
    command.arg("-tt");
    let client = Client::on_terminal(command);
    client.wait_for_first_shell();
    let typist = client.keep_typing(secs(2));
    (client, typist)
}

#[test]
fn a_login_through_an_sshd_in_roots_session_is_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    let port = second_sshd(&sshd, &root, "");
    root.wait_for_shell();
    let is_daemon = |p: &Process| p.comm == "sshd" && p.ppid == 1;
    let daemon = sshd.processes().into_iter().find(is_daemon).expect("the second sshd");
    let (bob, typist) = typing_at(&sshd, port, "bob");

    assert_ended_on_time(&sshd, &root);
    sshd.log.wait_for_event("ended", "root", GRACE + secs(5));
    typist.stop();
    bob.wait_for_shell();
    assert_untouched(&sshd, "bob");
    assert!(sshd.processes().contains(&daemon), "the daemon is spared; the log:\n{}", sshd.log);
}

/// `adopt COMMAND ...`: runs a command and becomes the parent of the processes that it leaves behind.
const ADOPT: &str = r#"
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (fork() == 0)
		return execv(argv[1], argv + 1);
	for (;;)
		pause();
}
"#;

#[test]
fn a_login_through_an_sshd_that_the_session_adopted_is_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    let adopt = sshd.program("adopt", ADOPT);
    let port = second_sshd(&sshd, &root, &adopt.display().to_string());
    let (bob, typist) = typing_at(&sshd, port, "bob");
    let parent = |process: &Process| Process::read(process.ppid);
    let leader = shell_of(&sshd, "bob");
    let up = std::iter::successors(Some(leader), parent).map(|p| p.comm).collect::<Vec<_>>();
    assert!(up.contains(&"adopt".to_owned()), "bob's shell is below the session: {up:?}");

    assert_ended_on_time(&sshd, &root);
    let ended = sshd.log.wait_for_event("ended", "root", GRACE + secs(5));
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    typist.stop();
    bob.wait_for_shell();
    assert_untouched(&sshd, "bob");
}

#[test]
fn daemons_of_another_user_and_unfinished_logins_are_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    root.run("setsid -f setpriv --reuid=daemon --clear-groups sleep 1000 </dev/null >/dev/null 2>&1");
    let port = second_sshd(&sshd, &root, "");
    root.wait_for_shell();
    // After the greeting, the process of sshd that talks to the client has another user's ID.
    let mut guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
    guest.write_all(b"SSH-2.0-guest\r\n").unwrap();
    let find = |command: &'static str| {
        let found = || sshd.processes().into_iter().find(|p| p.uid != 0 && p.is_running(command));
        wait_some(found, SOON).unwrap_or_else(|| panic!("no {command}: {:#?}", sshd.processes()))
    };
    let spared = [find("sleep 1000"), find("sshd: ")];

    assert_ended_on_time(&sshd, &root);
    let ending = sshd.log.wait_for_event("ending", "root", GRACE + secs(5));
    sshd.log.wait_for_event("ended", "root", GRACE + secs(5));
    for process in spared {
        assert_eq!(Process::read(process.pid), Some(process.clone()), "the log:\n{}", sshd.log);
        let on_record =
            ending.field("spared").unwrap_or_default().split(',').any(|pid| pid == process.pid.to_string());
        assert!(on_record, "{process:?}: {}", ending.text);
    }
}

/// Leaves the process tree. In its own user namespace it takes the first other ID that the namespace lends it.
const LENT: &str = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <unistd.h>

int main(void)
{
	if (fork())
		return 0;
	setsid();
	if (fork() || unshare(CLONE_NEWUSER))
		return 0;
	while (setresuid(1, 1, 1))
		usleep(50000);
	for (;;)
		pause();
}
"#;

#[test]
fn an_id_that_a_user_namespace_lends_spares_nobody() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    alice.run(&sshd.program("lent", LENT).display().to_string());
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    let elsewhere = |p: &Process| std::fs::read_link(p.file("ns/user")).is_ok_and(|theirs| theirs != own);
    let lent = || sshd.processes_of("alice").into_iter().find(elsewhere);
    let lent = wait_some(lent, SOON).expect("a process in a user namespace");
    // newuidmap(1) does the same for IDs in /etc/subuid.
    let map = format!("0 {} 1\n1 1165536 1\n", sshd.uid("alice"));
    std::fs::write(lent.file("uid_map"), map).unwrap();
    let taken = || Process::read(lent.pid).filter(|p| p.uid == 1_165_536);
    wait_some(taken, SOON).expect("another id");

    assert_ended_on_time(&sshd, &alice);
    sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    let left = Process::read(lent.pid).filter(|p| *p == lent && p.state != 'Z');
    assert_eq!(left, None, "the log:\n{}", sshd.log);
}

#[test]
fn a_login_to_another_devpts_from_roots_session_is_spared() {
    // It is in the same scope, on a terminal with the same number. Only the device itself shows the difference.
    let sshd = with_scope(Sshd::with(OPTIONS).own_terminals());
    let root = sshd.login("root");
    let port = free_port();
    let pid_file = sshd.dir.join("second.pid");
    let config = sshd.dir.join("sshd_config");
    let second = sshd.script(
        "second-sshd",
        &format!(
            "#!/bin/sh\nset -e\nmount --bind /dev/pts2 /dev/pts\nmount --bind /dev/pts2/ptmx /dev/ptmx\n\
             exec /usr/sbin/sshd -f {} -p {port} -o PidFile={}\n",
            config.display(),
            pid_file.display()
        ),
    );
    root.run(&format!("unshare --mount {}", second.display()));
    let listening = format!("Server listening on 127.0.0.1 port {port}.");
    sshd.log.wait_for("the second sshd", |line| line.text.contains(&listening), SOON);
    let mut command = sshd.ssh_at(port, "bob");
    command.arg("-tt");
    let bob = Client::on_terminal(command);
    bob.wait_for_first_shell();
    for client in [&root, &bob] {
        client.type_line("tty");
        client.expect("/dev/pts/0", SOON);
    }
    let typist = bob.keep_typing(secs(2));

    assert_ended_on_time(&sshd, &root);
    sshd.log.wait_for_event("ended", "root", GRACE + secs(5));
    typist.stop();
    bob.wait_for_shell();

    bob.type_line("exit");
    assert!(bob.exit(SOON).is_some());
    // The second sshd itself belonged to root, and was in root's scope.
    assert!(!pid_file.exists(), "the log:\n{}", sshd.log);
}
