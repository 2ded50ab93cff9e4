//! The policy file at a login.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::promise::*;
use crate::support::SOON;
use crate::support::client::{Client, Exit};
use crate::support::log::{LOG_AUTHPRIV, LOG_ERR, Line};
use crate::support::sshd::{GROUP, Sshd};
use crate::support::tree::write;

/// The path of the policy for the processes of the sshd.
const FILE: &str = "/etc/security/idle_watchdog.conf";
/// A policy with one mistake, and the fields of its record.
pub const BROKEN: &str = "* * * * timeout=11m\nalice * * * \\\n  timeot=5m\n";
const FAULT: &str = "file=/etc/security/idle_watchdog.conf line=3 column=3 argument=timeot=5m error=";

/// There are so many errors about a user from a stack.
#[track_caller]
pub fn errors(sshd: &Sshd, stack: &str, user: &str, count: usize) -> Vec<Line> {
    let from = format!("pam_idle_watchdog(sshd:{stack}): ");
    let wanted = |line: &Line| {
        let ours = line.text.contains(&from) && line.field("user") == Some(user);
        ours && line.priority == Some((LOG_AUTHPRIV, LOG_ERR))
    };
    sshd.log.wait_for_count("errors", count, wanted, SOON);
    let errors = sshd.log.all(wanted);
    assert_eq!(errors.len(), count, "the log:\n{}", sshd.log);
    errors
}

/// There is only one error.
#[track_caller]
pub fn error(sshd: &Sshd, stack: &str, user: &str) -> Line {
    errors(sshd, stack, user, 1).remove(0)
}

/// Waits for the end of a login that is refused. Returns the client and its exit.
pub fn refused(sshd: &Sshd, user: &str) -> (Client, Exit) {
    let mut command = Command::new("ssh");
    let quiet = |arg: &&OsStr| *arg == "LogLevel=ERROR";
    command.args(
        sshd.ssh(user)
            .get_args()
            .map(|arg| Some(arg).filter(|arg| !quiet(arg)).unwrap_or("LogLevel=INFO".as_ref())),
    );
    command.arg("-tt").process_group(0);
    let client = Client::on_terminal(command);
    let exit = client.exit(SOON).expect("the login ends");
    (client, exit)
}

/// Ends this login.
pub fn log_out(client: &Client) {
    client.type_line("exit 7");
    assert_eq!(client.exit(SOON).expect("the logout").code(), 7);
}

#[test]
fn the_first_rule_that_matches_sets_the_limit() {
    let sshd = Sshd::with("timeout=20m").start();
    sshd.policy(&format!(
        "alice login,su   *     *            timeout=1m\n\
         alice *          tty*  *            timeout=2m\n\
         alice *          *     10.0.0.0/8   timeout=3m\n\
         alice sshd,login ssh   127.0.0.0/8  timeout=11m warn=2m,30s\n\
         @{GROUP} *       *     *            timeout=12m\n\
         carol *          *     *            timeout=off\n"
    ));
    let line = format!("{FILE}:4");
    for (user, limit, rule) in
        [("alice", "660", Some(&*line)), ("bob", "720", Some(&*format!("{FILE}:5"))), ("root", "1200", None)]
    {
        let client = sshd.login(user);
        let armed = sshd.log.wait_for_event("armed", user, SOON);
        assert_eq!((armed.field("limit"), armed.field("rule")), (Some(limit), rule), "{}", armed.text);
        log_out(&client);
        assert_no_helper_left(&sshd, SOON);
    }
    let carol = sshd.login("carol");
    let exempt = sshd.log.wait_for_event("exempt", "carol", SOON);
    assert_eq!(exempt.field("rule"), Some(&*format!("{FILE}:6")), "{}", exempt.text);
    assert_eq!(sshd.helpers(), []);
    log_out(&carol);
}

#[test]
fn a_login_without_a_tcp_connection_is_local() {
    let sshd = Sshd::with("timeout=20m").start();
    sshd.policy("* sshd * *,!local timeout=11m\n* sshd * local timeout=12m\n");
    let proxy = format!(
        "ProxyCommand=nsenter --mount=/proc/{}/ns/mnt /usr/sbin/sshd -i -f {}/sshd_config",
        sshd.daemon().pid,
        sshd.dir.display()
    );
    let mut ssh = sshd.ssh("alice");
    ssh.args(["-o", &proxy, "-tt"]);
    let client = Client::on_terminal(ssh);
    client.wait_for_first_shell();
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    let found = (armed.field("limit"), armed.field("rhost"));
    assert_eq!(found, (Some("720"), Some("UNKNOWN")), "{}", armed.text);
    log_out(&client);
}

#[test]
fn a_rule_ends_a_session_that_the_line_would_not() {
    let sshd = Sshd::with("timeout=20m").start();
    sshd.policy("alice * * * timeout=10s warn=4s grace=2s\n");
    let alice = sshd.login("alice");
    assert_ended_on_time(&sshd, &alice);
    let ended = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(ended.field("limit"), Some("10"), "{}", ended.text);
    for event in ["warned", "ending", "ended"] {
        let record = &sshd.log.events(event, "alice")[0];
        assert_eq!(record.field("rule"), Some(&*format!("{FILE}:1")), "{}", record.text);
    }
}

/// The login is guarded by the PAM line alone, and one record of it has these words about the policy.
#[track_caller]
pub fn assert_guarded_by_the_line(sshd: &Sshd, user: &str, limit: &str, says: &str) -> Client {
    let client = sshd.login(user);
    let armed = sshd.log.wait_for_event("armed", user, SOON);
    assert_eq!((armed.field("limit"), armed.field("rule")), (Some(limit), None), "{}", armed.text);
    let error = error(sshd, "session", user);
    assert!(error.is("error") && error.text.contains(says), "{}", error.text);
    assert!(error.text.contains("fallback=\"the PAM line alone\""), "{}", error.text);
    client
}

#[test]
fn while_the_policy_is_broken_everybody_is_guarded_by_the_line() {
    let sshd = Sshd::with("timeout=20m").start();
    sshd.policy(&format!("{BROKEN}bob * * * timeout=of\n"));
    // The rule on the first line is correct, and would apply to alice.
    for user in ["alice", "bob", "root"] {
        let client = assert_guarded_by_the_line(&sshd, user, "1200", FAULT);
        let error = error(&sshd, "session", user);
        assert_eq!(error.field("faults"), Some("2"), "{}", error.text);
        log_out(&client);
        assert_no_helper_left(&sshd, SOON);
    }
    // No program needs a restart.
    sshd.policy("* * * * timeout=11m\n");
    let carol = sshd.login("carol");
    let armed = sshd.log.wait_for_event("armed", "carol", SOON);
    assert_eq!(armed.field("limit"), Some("660"), "{}", armed.text);
    log_out(&carol);
}

#[test]
fn while_the_policy_is_broken_an_idle_session_ends_all_the_same() {
    let sshd = Sshd::with(OPTIONS).start();
    // A mistyped exemption exempts nobody.
    sshd.policy("alice * * * timeout=off\n* * * * timeout=1h warm=5m\n");
    let alice = sshd.login("alice");
    assert_ended_on_time(&sshd, &alice);
    let error = error(&sshd, "session", "alice");
    assert!(error.text.contains("line=2 column=20 argument=warm=5m"), "{}", error.text);
}

#[test]
fn while_the_policy_is_broken_onerr_decides_about_a_line_without_a_limit() {
    let sshd = Sshd::with("timeout=off").start();
    sshd.policy(BROKEN);
    let (client, exit) = refused(&sshd, "alice");
    assert_eq!(exit.code(), 254, "{}\nthe log:\n{}", client.screen(), sshd.log);
    let of_alice = error(&sshd, "session", "alice");
    assert!(of_alice.is("error") && of_alice.text.contains(FAULT), "{}", of_alice.text);
    // Root can mend it.
    let root = sshd.login("root");
    let of_root = errors(&sshd, "session", "root", 2);
    let [fault, unguarded] = &of_root[..] else { panic!("{of_root:?}") };
    assert!(fault.text.contains(FAULT) && unguarded.is("unguarded"), "{of_root:?}");
    root.run(&format!("sed -i s/timeot/timeout/ {FILE}"));
    log_out(&sshd.login("alice"));
}

#[test]
fn with_onerr_succeed_a_broken_policy_without_a_limit_lets_everybody_in_on_record() {
    let sshd = Sshd::with("timeout=off onerr=succeed").start();
    sshd.policy(BROKEN);
    let alice = sshd.login("alice");
    let errors = errors(&sshd, "session", "alice", 2);
    let [fault, unguarded] = &errors[..] else { panic!("{errors:?}") };
    assert!(fault.text.contains(FAULT), "{}", fault.text);
    assert!(unguarded.is("unguarded"), "{}", unguarded.text);
    assert_eq!(sshd.helpers(), []);
    log_out(&alice);
}

#[test]
fn a_policy_that_other_users_may_have_written_does_not_count() {
    let sshd = Sshd::with("timeout=20m").start();
    sshd.policy("* * * * timeout=off\n");
    let path = sshd.dir.join("etc/security/idle_watchdog.conf");
    chown(&path, Some(sshd.uid("alice")), None).unwrap();
    let says = format!("file={FILE} error=\"cannot use the policy: is not owned by root\"");
    log_out(&assert_guarded_by_the_line(&sshd, "alice", "1200", &says));
}

#[test]
fn root_must_own_the_text_of_the_warning() {
    let sshd = Sshd::with("timeout=20m").start();
    let text = sshd.dir.join("text");
    write(&text, "Gone in {remaining}\n", 0o644);
    sshd.policy(&format!(
        "carol * * * timeout=off message-file=/nowhere\n* * * * timeout=10m message-file={}\n",
        text.display()
    ));
    chown(&text, Some(sshd.uid("alice")), None).unwrap();
    let says = format!("file={} error=\"cannot use the policy: is not owned by root\"", text.display());
    log_out(&assert_guarded_by_the_line(&sshd, "alice", "1200", &says));
    assert_no_helper_left(&sshd, SOON);
    // An exempt session shows no text.
    let carol = sshd.login("carol");
    sshd.log.wait_for_event("exempt", "carol", SOON);
    errors(&sshd, "session", "carol", 0);
    log_out(&carol);

    chown(&text, Some(0), None).unwrap();
    // The content of the text is checked, too.
    write(&text, "Gone in {remainder}\n", 0o644);
    log_out(&assert_guarded_by_the_line(&sshd, "bob", "1200", "unknown placeholder {remainder}"));
    assert_no_helper_left(&sshd, SOON);
    write(&text, "Gone in {remaining}\n", 0o644);
    let root = sshd.login("root");
    let armed = sshd.log.wait_for_event("armed", "root", SOON);
    assert_eq!(armed.field("limit"), Some("600"), "{}", armed.text);
    log_out(&root);
}

#[test]
fn a_policy_that_the_line_names_replaces_the_systems() {
    let conf = std::env::temp_dir().join(format!("idle-watchdog-conf-{}", std::process::id()));
    let sshd = Sshd::with(&format!("timeout=20m conf={}", conf.display())).start();
    // The system's own policy is not read.
    sshd.policy(BROKEN);
    let says = format!("file={} error=\"cannot use the policy: No such file", conf.display());
    log_out(&assert_guarded_by_the_line(&sshd, "alice", "1200", &says));
    write(&conf, "* * * * timeout=13m\n", 0o644);
    let bob = sshd.login("bob");
    let armed = sshd.log.wait_for_event("armed", "bob", SOON);
    std::fs::remove_file(&conf).unwrap();
    assert_eq!(armed.field("limit"), Some("780"), "{}", armed.text);
    log_out(&bob);
}
