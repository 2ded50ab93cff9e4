//! The client's connection as a witness: which connection it is, and how it is asked.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;

use crate::promise::*;
use crate::superserver::Superserver;
use crate::support::client::Client;
use crate::support::process::wait_some;
use crate::support::sshd::{Sshd, free_port};
use crate::support::{SOON, old_kernel, secs, until};

const NOTTY: &str = "timeout=10s warn=4s grace=2s notty=10s debug";
/// Sets the terminal's read time once a second, after the first look at the terminal.
const TOUCHES: &str = "t=$(tty); (sleep 8; while sleep 1; do touch -a $t; done) &";

/// The field `witness=` of the record `armed` has this value.
#[track_caller]
fn assert_witness(sshd: &Sshd, user: &str, expected: &str) {
    let armed = sshd.log.wait_for_event("armed", user, SOON);
    assert_eq!(armed.field("witness"), Some(expected), "{}", armed.text);
}

/// The session of `client` ends like the session of an idle person, and no forged stamp is believed.
#[track_caller]
fn assert_forger_ends_on_time(sshd: &Sshd, client: &Client, user: &str) {
    client.run(TOUCHES);
    let exit = client.exit(until(gone_by(client.last_key())));
    assert!(exit.is_some(), "the log:\n{}", sshd.log);
    let tampering = sshd.log.events("tampering", user);
    assert!(!tampering.is_empty(), "nothing was forged; the log:\n{}", sshd.log);
    assert!(tampering.iter().all(|line| line.field("believed") == Some("no")), "the log:\n{}", sshd.log);
}

#[test]
fn a_session_over_ssh_has_a_witness_and_others_have_none() {
    let sshd = Sshd::with("timeout=10m").nested("timeout=10m").start();
    let alice = sshd.login("alice");
    let _root = sshd.login("root");
    assert_witness(&sshd, "alice", "connection");
    assert_witness(&sshd, "root", "connection");
    alice.type_line("su bob");
    assert_witness(&sshd, "bob", "none");
    let _carol = sshd.console("carol");
    assert_witness(&sshd, "carol", "none");
}

#[test]
fn sshd_on_a_pipe_has_no_witness() {
    let sshd = Sshd::with(NOTTY).start();
    let here = sshd.dir.display();
    let mut command = sshd.ssh("alice");
    // ssh would give sshd a socket. The shell between them gives it pipes.
    let proxy = format!(
        "nsenter --mount=/proc/{}/ns/mnt sh -c 'cat | /usr/sbin/sshd -i -f {here}/sshd_config | cat'",
        sshd.daemon().pid
    );
    command.arg("-N").arg("-o").arg(format!("ProxyCommand={proxy}"));
    let alice = Client::on_pipes(command);
    assert_witness(&sshd, "alice", "none");
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    // The login comes from no remote host.
    assert!(sshd.log.events("error", "alice").is_empty(), "the log:\n{}", sshd.log);
    assert_untouched(&sshd, "alice");
}

#[test]
fn a_session_has_a_witness_even_without_the_right_to_trace() {
    let sshd = Sshd::with(OPTIONS).without_ptrace().start();
    let alice = sshd.login("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("terminals-by"), Some("sessions"), "{}", armed.text);
    assert_witness(&sshd, "alice", "connection");
    assert_forger_ends_on_time(&sshd, &alice, "alice");
}

#[test]
fn a_session_over_ipv6_has_a_witness() {
    for (listen, client) in [("::1", "::1"), ("::", "127.0.0.1")] {
        let sshd = Sshd::with("timeout=10m").start();
        let superserver = Superserver::with(&sshd, listen, "exec @SSHD@");
        let _alice = superserver.login_to(&sshd, "alice", client);
        let armed = sshd.log.wait_for_event("armed", "alice", SOON);
        assert_eq!(
            (armed.field("rhost"), armed.field("witness")),
            (Some(client), Some("connection")),
            "{listen}"
        );
    }
}

/// An sshd whose standard error is a connection to this address.
fn with_its_log_at(sshd: &Sshd, address: &str) -> (Superserver, TcpListener) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let command = format!("exec 2<>/dev/tcp/{address}/{port}; exec @SSHD@ -e");
    (Superserver::with(sshd, "127.0.0.1", &command), listener)
}

#[test]
fn a_connection_to_another_address_does_not_hide_the_clients() {
    let sshd = Sshd::with(OPTIONS).start();
    let (superserver, _listener) = with_its_log_at(&sshd, "127.0.0.2");
    let alice = superserver.login(&sshd, "alice");
    assert_witness(&sshd, "alice", "connection");
    assert_forger_ends_on_time(&sshd, &alice, "alice");
}

/// A session without a terminal and without a witness. It is not judged, and one record says so.
#[track_caller]
fn assert_unasked(sshd: &Sshd, superserver: &Superserver) {
    let mut command = sshd.ssh_at(superserver.port, "alice");
    command.arg("-N");
    let alice = Client::on_pipes(command);
    assert_witness(sshd, "alice", "none");
    let error = sshd.log.wait_for_event("error", "alice", SOON);
    assert!(error.text.contains("error=\"cannot ask the connection, which notty= needs: "), "{}", error.text);
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("error", "alice").len(), 1, "the log:\n{}", sshd.log);
    assert_untouched(sshd, "alice");
}

#[test]
fn a_second_connection_to_the_clients_address_leaves_no_witness() {
    let sshd = Sshd::with(NOTTY).start();
    let (superserver, _listener) = with_its_log_at(&sshd, "127.0.0.1");
    assert_unasked(&sshd, &superserver);
}

#[test]
fn a_session_has_no_witness_if_neither_way_finds_the_connection() {
    let sshd = Sshd::with(NOTTY).start();
    // The socket is in another network namespace than sshd.
    let command = "exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace unshare --net @SSHD@";
    assert_unasked(&sshd, &Superserver::with(&sshd, "127.0.0.1", command));
}

#[test]
fn the_leaders_descriptor_is_asked_in_another_network_namespace() {
    let sshd = Sshd::with(OPTIONS).start();
    let superserver = Superserver::with(&sshd, "127.0.0.1", "exec unshare --net @SSHD@");
    let _alice = superserver.login(&sshd, "alice");
    // An old kernel does not let the helper have that descriptor.
    assert_witness(&sshd, "alice", if old_kernel() { "none" } else { "connection" });
}

/// A client whose port sshd forwards, and a process on the server that keeps sending to that port.
struct Forwarding {
    client: Client,
    _sink: TcpListener,
    _stop: Sender<()>,
}

impl Forwarding {
    fn start(sshd: &Sshd, user: &str, option: &str, start: impl Fn(std::process::Command) -> Client) -> Self {
        let port = free_port();
        let sink = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = sink.local_addr().unwrap();
        let mut command = sshd.ssh(user);
        command.arg(option).arg("-R").arg(format!("127.0.0.1:{port}:{to}"));
        let client = start(command);
        let connect = || TcpStream::connect(("127.0.0.1", port)).ok();
        let mut busy = wait_some(connect, SOON).expect("the forwarded port");
        let (stop, stopped) = mpsc::channel();
        thread::spawn(move || {
            while stopped.recv_timeout(secs(1)) == Err(RecvTimeoutError::Timeout)
                && busy.write_all(b"x").is_ok()
            {}
        });
        Self { client, _sink: sink, _stop: stop }
    }
}

#[test]
fn a_port_that_the_session_forwards_does_not_hide_the_connection() {
    let sshd = Sshd::with(OPTIONS).start();
    let terminal = |command| {
        let client = Client::on_terminal(command);
        client.wait_for_first_shell();
        client
    };
    let root = Forwarding::start(&sshd, "root", "-tt", terminal);
    assert_witness(&sshd, "root", "connection");
    assert_forger_ends_on_time(&sshd, &root.client, "root");
}

#[test]
fn data_for_a_port_that_the_session_forwards_is_not_the_clients() {
    let sshd = Sshd::with(NOTTY).start();
    let root = Forwarding::start(&sshd, "root", "-N", Client::on_pipes);
    assert!(root.client.exit(PAST_THE_PROMISE).is_some(), "the log:\n{}", sshd.log);
    let ending = sshd.log.wait_for_event("ending", "root", SOON);
    let limit = (ending.field("limit"), ending.field("by"));
    assert_eq!(limit, (Some("10"), Some("connection")), "{}", ending.text);
}
