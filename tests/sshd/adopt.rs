//! Sessions that are open and have no helper: `idle-watchdog adopt` starts one.

use std::fs;
use std::process::{Command, Output};

use nix::sys::signal::Signal;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::Sshd;
use crate::support::{SOON, build_dir, now, secs, until};

/// The command, which adopts the session of this leader.
fn command(sshd: &Sshd, leader: &Process) -> Command {
    let mut command = sshd.inside(build_dir().join("idle-watchdog").to_str().unwrap());
    command.arg("adopt").arg(format!("pid:{}", leader.pid));
    command
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn adopt(sshd: &Sshd, leader: &Process) -> (i32, String) {
    said(&command(sshd, leader).output().unwrap())
}

/// Adopts the session and returns its new helper.
fn adopted(sshd: &Sshd, leader: &Process, user: &str, reason: &str) -> Process {
    let text = format!("pid:{} of {user} by sshd: adopted, {reason}\n", leader.pid);
    assert_eq!(adopt(sshd, leader), (0, text), "the log:\n{}", sshd.log);
    sshd.log.wait_for_event("adopted", user, SOON);
    one_helper(sshd)
}

/// The only helper. While it looks at a terminal, it has a child with its name.
fn one_helper(sshd: &Sshd) -> Process {
    let one = || <[Process; 1]>::try_from(sshd.helpers()).ok();
    let [helper] = wait_some(one, SOON).unwrap_or_else(|| panic!("{:?}\n{}", sshd.helpers(), sshd.log));
    helper
}

/// Kills the helper as an administrator by mistake, or the kernel, does it.
fn kill_helper(sshd: &Sshd) {
    let helper = one_helper(sshd);
    helper.kill(Signal::SIGKILL);
    assert!(helper.wait_gone(now() + SOON).is_some());
}

/// The fields that `armed` and `adopted` share.
fn facts(record: &Line) -> &str {
    record.text.split_once(" user=").unwrap().1.split(" reason=").next().unwrap()
}

/// A login while the stack has no line of ours, as before an installation.
fn opened_before(sshd: &Sshd, user: &str) -> Client {
    let path = sshd.dir.join("etc/pam.d/sshd");
    let stack = fs::read_to_string(&path).unwrap();
    let without: String =
        stack.split_inclusive('\n').filter(|line| !line.contains("pam_idle_watchdog.so")).collect();
    assert_ne!(stack, without);
    fs::write(&path, without).unwrap();
    let client = sshd.login(user);
    fs::write(&path, stack).unwrap();
    client
}

#[test]
fn a_session_whose_helper_was_killed_is_watched_as_before() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    kill_helper(&sshd);
    adopted(&sshd, &sshd.leader(), "alice", "its helper was gone");
    let record = sshd.log.wait_for_event("adopted", "alice", SOON);
    assert!(record.text.ends_with(" reason=\"its helper was gone\""), "{}", record.text);
    // All that the module knew about the login is known again.
    let facts =
        |text: &str| text.split_once(" user=").unwrap().1.split(" reason=").next().unwrap().to_owned();
    assert_eq!(facts(&record.text), facts(&armed.text));
    assert_ended_on_time(&sshd, &alice);
    sshd.log.wait_for_event("warned", "alice", SOON);
    sshd.log.wait_for_event("ended", "alice", SOON);
    assert_pam_closed(&sshd, "alice");
    assert_no_helper_left(&sshd, SOON);
    assert_no_error(&sshd);
}

#[test]
fn roots_session_is_watched_again_with_any_openssh() {
    // The leader of root's session has a child of sshd since 9.8.
    for builder in [Sshd::with(LONG), Sshd::with(LONG).chaff()] {
        let sshd = builder.start();
        let root = sshd.login("root");
        let armed = sshd.log.wait_for_event("armed", "root", SOON);
        kill_helper(&sshd);
        let helper = adopted(&sshd, &sshd.leader(), "root", "its helper was gone");
        assert_eq!(facts(&sshd.log.wait_for_event("adopted", "root", SOON)), facts(&armed));
        root.type_line("exit");
        sshd.log.wait_for_event("closed", "root", SOON);
        assert!(helper.wait_gone(now() + SOON).is_some());
    }
}

#[test]
fn a_console_session_is_watched_again() {
    let sshd = Sshd::with(LONG).nested(LONG).start();
    let alice = sshd.console("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    kill_helper(&sshd);
    let leader = sshd.processes().into_iter().find(|process| process.comm == "login").unwrap();
    // Until the shell has run for a while, it may be a process of a PAM module.
    let none = format!("idle-watchdog: there is no session pid:{}\n", leader.pid);
    assert_eq!(adopt(&sshd, &leader), (2, none));
    assert!(alice.exit(secs(11)).is_none());
    let text = format!("pid:{} of alice by login: adopted, its helper was gone\n", leader.pid);
    assert_eq!(adopt(&sshd, &leader), (0, text));
    let record = sshd.log.wait_for_event("adopted", "alice", SOON);
    assert_eq!(facts(&record), facts(&armed));
    let helper = one_helper(&sshd);
    alice.type_line("exit");
    sshd.log.wait_for_event("closed", "alice", SOON);
    assert!(helper.wait_gone(now() + SOON).is_some());
}

#[test]
fn a_session_that_is_idle_for_long_gets_the_whole_warning() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    kill_helper(&sshd);
    let idle = until(alice.last_key() + PAST_THE_PROMISE);
    assert!(alice.exit(idle).is_none(), "nobody watched it");
    let helper = adopted(&sshd, &sshd.leader(), "alice", "its helper was gone");
    let warned = sshd.log.wait_for_event("warned", "alice", SOON);
    assert_eq!(warned.field("remaining"), Some("4"), "{}", warned.text);
    // The time before the adoption counts.
    let idle: u64 = warned.field("idle").unwrap().parse().unwrap();
    assert!(idle >= LIMIT.as_secs(), "{}", warned.text);
    let ending = sshd.log.wait_for_event("ending", "alice", SOON);
    let window = ending.at - warned.at;
    assert!(window >= WARN - secs(1) && window < WARN + secs(2), "{window:?}; the log:\n{}", sshd.log);
    assert!(helper.wait_gone(now() + SOON).is_some());
}

#[test]
fn a_key_in_the_warning_of_an_adopted_session_resumes_it() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    kill_helper(&sshd);
    assert!(alice.exit(until(alice.last_key() + PAST_THE_PROMISE)).is_none(), "nobody watched it");
    adopted(&sshd, &sshd.leader(), "alice", "its helper was gone");
    sshd.log.wait_for_event("warned", "alice", SOON);
    alice.type_line("");
    sshd.log.wait_for_event("resumed", "alice", SOON);
    assert_ended_on_time(&sshd, &alice);
}

#[test]
fn a_watched_session_gets_no_second_helper() {
    let sshd = Sshd::with(LONG).start();
    let _alice = sshd.login("alice");
    let leader = sshd.leader();
    let already = (0, format!("pid:{} of alice by sshd: is watched already\n", leader.pid));
    assert_eq!(adopt(&sshd, &leader), already);
    kill_helper(&sshd);
    let helper = adopted(&sshd, &leader, "alice", "its helper was gone");
    assert_eq!(adopt(&sshd, &leader), already);
    assert_eq!(one_helper(&sshd), helper);
}

#[test]
fn several_adoptions_at_once_start_one_helper() {
    let sshd = Sshd::with(LONG).start();
    let _alice = sshd.login("alice");
    let leader = sshd.leader();
    kill_helper(&sshd);
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = command(&sshd, &leader);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> =
        children.into_iter().map(|child| said(&child.wait_with_output().unwrap())).collect();
    let adopted = outputs.iter().filter(|(code, text)| *code == 0 && text.contains(": adopted, "));
    assert_eq!(adopted.count(), 1, "{outputs:?}");
    assert!(outputs.iter().all(|(code, _)| *code == 0), "{outputs:?}");
    one_helper(&sshd);
}

#[test]
fn a_logout_reaches_the_new_helper() {
    let sshd = Sshd::with(LONG).start();
    let alice = sshd.login("alice");
    kill_helper(&sshd);
    let helper = adopted(&sshd, &sshd.leader(), "alice", "its helper was gone");
    alice.type_line("exit 7");
    assert_eq!(alice.exit(SOON).expect("the logout").code(), 7);
    sshd.log.wait_for_event("closed", "alice", SOON);
    assert!(helper.wait_gone(now() + SOON).is_some());
    // The module told the new helper, so it does not miss the old one.
    let errors = sshd.log.events("error", "alice");
    assert!(errors.is_empty() && sshd.log.events("orphaned", "alice").is_empty(), "{}", sshd.log);
}

#[test]
fn a_session_from_before_the_installation_is_watched() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = opened_before(&sshd, "alice");
    adopted(&sshd, &sshd.leader(), "alice", "opened before installation");
    let record = sshd.log.wait_for_event("adopted", "alice", SOON);
    assert_eq!((record.field("witness"), record.field("rhost")), (Some("connection"), Some("127.0.0.1")));
    assert_ended_on_time(&sshd, &alice);
    sshd.log.wait_for_event("ended", "alice", SOON);
    assert_no_process_left(&sshd, "alice", now() + SOON);
    assert_no_helper_left(&sshd, SOON);
}

#[test]
fn a_logout_without_our_line_is_no_crash() {
    let sshd = Sshd::with(LONG).start();
    for user in ["alice", "root"] {
        let client = opened_before(&sshd, user);
        let helper = adopted(&sshd, &sshd.leader(), user, "opened before installation");
        client.run("nohup setsid sleep 1000 >/dev/null 2>&1 &");
        client.type_line("exit 7");
        assert_eq!(client.exit(SOON).expect("the logout").code(), 7);
        sshd.log.wait_for_event("closed", user, SOON);
        assert!(helper.wait_gone(now() + SOON).is_some());
        assert!(sshd.log.events("orphaned", user).is_empty(), "{}", sshd.log);
    }
}

#[test]
fn a_crash_without_our_line_leaves_no_connected_shell_behind() {
    let sshd = Sshd::with(LONG).start();
    let alice = opened_before(&sshd, "alice");
    let helper = adopted(&sshd, &sshd.leader(), "alice", "opened before installation");
    sshd.leader().kill(Signal::SIGKILL);
    assert!(alice.exit(SOON).is_some(), "connected; the log:\n{}", sshd.log);
    assert_no_process_left(&sshd, "alice", now() + SOON);
    assert!(helper.wait_gone(now() + SOON).is_some());
    assert!(sshd.log.events("closed", "alice").is_empty(), "{}", sshd.log);
}

#[test]
fn a_session_is_left_alone_if_its_login_would_be() {
    let sshd = Sshd::with(LONG).start();
    let _alice = opened_before(&sshd, "alice");
    let leader = sshd.leader();
    sshd.policy("alice * * * timeout=off\n");
    let (code, text) = adopt(&sshd, &leader);
    let rule = "not adopted, exempt by /etc/security/idle_watchdog.conf:1";
    assert_eq!((code, text), (0, format!("pid:{} of alice by sshd: {rule}\n", leader.pid)));
    sshd.policy("alice * * * timeot=5m\n");
    let (code, text) = adopt(&sshd, &leader);
    assert!(code == 2 && text.ends_with("idle-watchdog: no session was adopted\n"), "{code} {text}");
    assert!(sshd.helpers().is_empty());
    // The settings of a rule apply as to a login.
    sshd.policy("alice * * 127.0.0.0/8 timeout=20m\n");
    let _helper = adopted(&sshd, &leader, "alice", "opened before installation");
    let record = sshd.log.wait_for_event("adopted", "alice", SOON);
    assert_eq!(record.field("limit"), Some("1200"), "{}", record.text);
}

#[test]
fn a_login_that_goes_on_is_left_to_the_module() {
    // The stack stops before our line until the test writes into the pipe.
    let sshd = Sshd::with(LONG)
        .before(&["session required pam_exec.so type=open_session /bin/sh -c [read line <@DIR@/pipe]"])
        .start();
    let pipe = sshd.dir.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut login = sshd.ssh("alice");
    login.arg("-tt");
    let alice = Client::on_terminal(login);
    // This waits until the stack has opened the pipe.
    let mut go = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let leader = sshd.leader();
    let none = format!("idle-watchdog: there is no session pid:{}\n", leader.pid);
    assert_eq!(adopt(&sshd, &leader), (2, none));
    std::io::Write::write_all(&mut go, b"\n").unwrap();
    alice.wait_for_first_shell();
    one_helper(&sshd);
    assert!(sshd.log.events("adopted", "alice").is_empty(), "{}", sshd.log);
}

const LONG: &str = "timeout=1h warn=4s grace=2s debug";
