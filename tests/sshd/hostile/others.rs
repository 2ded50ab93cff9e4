//! Others, who look like the ended session's own and are not.

use super::activity::AUTOMATON;
use crate::guest::with_scope;
use crate::promise::*;
use crate::support::client::Client;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::{Sshd, free_port};
use crate::support::{SOON, secs};

#[test]
fn somebody_elses_terminal_of_our_number_is_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let carol = sshd.login("carol");
    let (alices_shell, automaton) = (shell_of(&sshd, "alice"), sshd.script("automaton", AUTOMATON));
    // pts numbers are the minor numbers: below 256 the low byte of tty_nr.
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
fn the_next_login_on_the_ended_ones_terminal_number_is_spared() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=8s debug").own_terminals().start();
    let alice = sshd.login("alice");
    // Keeps the end of alice's session going while bob logs in.
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

#[test]
fn who_logged_in_through_an_sshd_of_roots_session_is_spared() {
    let sshd = Sshd::with(OPTIONS).start();
    let root = sshd.login("root");
    let port = free_port();
    let config = sshd.dir.join("sshd_config");
    root.run(&format!("/usr/sbin/sshd -f {} -p {port}", config.display()));
    let listening = format!("Server listening on 127.0.0.1 port {port}.");
    sshd.log.wait_for("the second sshd", |line| line.text.contains(&listening), SOON);
    let is_daemon = |p: &Process| p.comm == "sshd" && p.ppid == 1;
    let daemon = sshd.processes().into_iter().find(is_daemon).expect("the second sshd");

    let mut command = sshd.ssh_at(port, "bob");
    command.arg("-tt");
    let bob = Client::on_terminal(command);
    bob.wait_for_first_shell();
    let typist = bob.keep_typing(secs(2));

    assert_ended_on_time(&sshd, &root);
    sshd.log.wait_for_event("ended", "root", GRACE + secs(5));
    typist.stop();
    bob.wait_for_shell();
    assert_untouched(&sshd, "bob");
    assert!(sshd.processes().contains(&daemon), "the daemon is spared; the log:\n{}", sshd.log);
}

#[test]
fn who_logged_in_to_another_devpts_from_roots_session_is_spared() {
    // In the same scope, on a terminal of the same number: only the device itself tells.
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
    // The second sshd itself was root's, and in his scope.
    assert!(!pid_file.exists(), "the log:\n{}", sshd.log);
}
