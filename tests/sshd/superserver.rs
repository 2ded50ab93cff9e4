//! `sshd -i`, started by another program than the daemon of sshd.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::{Sshd, free_port};
use crate::support::{SOON, secs, until};

/// `superserver ADDRESS PORT COMMAND`: like socat, it gives its children no session (setsid) of their own.
const SUPERSERVER: &str = r#"#!/usr/bin/perl
use IO::Socket::IP;
my ($address, $port, $command) = @ARGV;
$| = 1;
my $socket = IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 10, ReuseAddr => 1, V6Only => 0)
    or die $@;
print "listening\n";
while (my $client = $socket->accept) {
    if (!fork) {
        open STDIN, '<&', $client;
        open STDOUT, '>&', $client;
        exec '/bin/bash', '-c', $command;
    }
    close $client;
}
"#;

pub struct Superserver {
    child: Child,
    pub port: u16,
}

impl Superserver {
    fn start(sshd: &Sshd) -> Self {
        Self::with(sshd, "127.0.0.1", "exec @SSHD@")
    }

    /// Starts one that listens at this address, and runs a command in bash for each client. `@SSHD@` means
    /// sshd.
    pub fn with(sshd: &Sshd, address: &str, command: &str) -> Self {
        let port = free_port();
        let config = sshd.dir.join("sshd_config");
        let command = command.replace("@SSHD@", &format!("/usr/sbin/sshd -i -f {}", config.display()));
        let mut child = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", sshd.daemon().pid))
            .arg("setsid")
            .arg(sshd.script("superserver", SUPERSERVER))
            .args([address, &port.to_string(), &command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the superserver");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self { child, port }
    }

    pub fn login(&self, sshd: &Sshd, user: &str) -> Client {
        self.login_to(sshd, user, "127.0.0.1")
    }

    pub fn login_to(&self, sshd: &Sshd, user: &str, address: &str) -> Client {
        let mut command = sshd.ssh_to(address, self.port, user);
        command.arg("-tt");
        let client = Client::on_terminal(command);
        client.wait_for_first_shell();
        client
    }

    fn process(&self) -> Process {
        Process::read(self.child.id() as i32).expect("the superserver runs")
    }
}

impl Drop for Superserver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_the_whole_session_ends_under_a_superserver() {
    let sshd = Sshd::with(OPTIONS).start();
    let superserver = Superserver::start(&sshd);
    let bob = superserver.login(&sshd, "bob");
    let typist = bob.keep_typing(secs(2));
    let alice = superserver.login(&sshd, "alice");
    let leader = || sshd.processes().into_iter().find(|p| p.ppid == superserver.process().pid);
    assert_eq!(leader().expect("a leader").sid, superserver.process().sid, "no session of its own");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("members-by"), Some("audit"), "{}", armed.text);
    alice.run("setsid -f sleep 1000 </dev/null >/dev/null 2>&1");

    assert_ended_on_time(&sshd, &alice);
    let ended = sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    typist.stop();
    bob.wait_for_shell();
    assert_untouched(&sshd, "bob");
    superserver.process();
}

#[test]
fn a_killed_leader_of_a_superserver_leaves_no_connected_shell() {
    let sshd = Sshd::with(OPTIONS).start();
    let superserver = Superserver::start(&sshd);
    let alice = superserver.login(&sshd, "alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    let leader = || sshd.processes().into_iter().find(|p| p.ppid == superserver.process().pid);
    let leader = wait_some(leader, SOON).expect("a leader");
    let bob = superserver.login(&sshd, "bob");
    let killed = crate::support::now();
    leader.kill(Signal::SIGKILL);
    let deadline = killed + GRACE + secs(3);
    assert!(alice.exit(until(deadline)).is_some(), "{}; the log:\n{}", armed.text, sshd.log);
    assert_no_process_left(&sshd, "alice", deadline);
    bob.wait_for_shell();
    superserver.process();
}

#[test]
fn a_session_inside_a_session_is_known_by_its_own_audit_id() {
    let sshd = Sshd::with(OPTIONS).start();
    sshd.policy("root * * * timeout=10m\n");
    let root = sshd.login("root");
    let here = sshd.dir.display();
    // ssh shares root's terminal and session (setsid) with the sshd that it starts.
    root.type_line(&format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {here}/user_key \
         -o ProxyCommand='/usr/sbin/sshd -i -f {here}/sshd_config' -tt bob@proxied"
    ));
    let armed = sshd.log.wait_for_event("armed", "bob", SOON);
    assert_eq!(armed.field("members-by"), Some("audit"), "{}", armed.text);
    root.wait_for_first_shell();
    root.run("setsid -f sleep 1000 </dev/null >/dev/null 2>&1");
    let left = || sshd.processes_of("bob").into_iter().find(|p| p.comm == "sleep" && p.ppid == 1);
    wait_some(left, SOON).expect("a process that left the tree");

    let ended = sshd.log.wait_for_event("ended", "bob", PAST_THE_PROMISE + GRACE);
    let idle = ended.at - root.last_key();
    assert!(idle >= LIMIT, "after {idle:?}; the log:\n{}", sshd.log);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    assert_no_process_left(&sshd, "bob", gone_by_stamps(root.last_key()));
    root.wait_for_shell();
    assert_untouched(&sshd, "root");
}
