//! New settings for sessions that are already watched.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Pid, Uid};
use pam_idle_watchdog::command::machine::Machine;
use pam_idle_watchdog::command::reload::{Reloaded, reload as reload_with};
use pam_idle_watchdog::policy::{Options, Settings};
use pam_idle_watchdog::protocol::ask::{NoAnswer, ask};
use pam_idle_watchdog::protocol::request::{Reply, Request};
use pam_idle_watchdog::protocol::running;
use pam_idle_watchdog::protocol::start::REQUEST_SIGNAL;
use pam_idle_watchdog::sys::channel::Channel;
use pam_idle_watchdog::sys::clock::SECOND;
use pam_idle_watchdog::sys::pidfd::PidFd;
use pam_idle_watchdog::sys::proc::{ProcId, Started};

use crate::promise::*;
use crate::support::process::Process;
use crate::support::sshd::Sshd;
use crate::support::{SOON, WARNING_TEXT, now, secs};

const LONG: &str = "timeout=1h debug";
const BUDGET: std::time::Duration = secs(10);

fn settings(words: &str) -> Settings {
    let line = Options::of_line(words.split_whitespace()).unwrap();
    Settings { rule: Some("idle_watchdog.conf:3".parse().unwrap()), ..Settings::of(&line, None) }
}

/// The process as `reload` names it.
pub fn id(helper: &Process) -> ProcId {
    let started = i64::try_from(helper.started).unwrap() * (SECOND / 100);
    ProcId { pid: Pid::from_raw(helper.pid), started: Started(started) }
}

fn give(helper: &Process, words: &str) -> Result<(), String> {
    match ask(id(helper), &Request::Reload(Box::new(settings(words))), BUDGET) {
        Ok(Reply::Reloaded(_)) => Ok(()),
        Ok(Reply::Refused(why)) => Err(why),
        Ok(other) => panic!("{other:?}"),
        Err(why) => Err(why.to_string()),
    }
}

/// Does what the administrator's command does, for this sshd's sessions only, because its files are in a mount
/// namespace.
fn reload_sessions(sshd: &Sshd) -> Reloaded {
    let namespace = std::fs::File::open(sshd.daemon().file("ns/mnt")).unwrap();
    let ours: Vec<ProcId> = sshd.helpers().iter().map(id).collect();
    let call = move || {
        // SAFETY: both take integers, and the descriptor is open. They change this thread alone.
        let done = unsafe {
            libc::unshare(libc::CLONE_FS) == 0 && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) == 0
        };
        assert!(done, "{}", std::io::Error::last_os_error());
        let helpers: Vec<_> =
            running::helpers().into_iter().filter(|helper| ours.contains(&helper.id)).collect();
        reload_with(&helpers, &Machine::here())
    };
    std::thread::spawn(call).join().unwrap()
}

/// Replaces our lines, as an administrator changes them.
fn change_line(sshd: &Sshd, old: &str, new: &str) {
    let path = sshd.dir.join("etc/pam.d/sshd");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    std::fs::write(&path, text.replace(old, new)).unwrap();
}

#[test]
fn a_changed_pam_line_applies_to_open_sessions() {
    let sshd = Sshd::with("timeout=1h kill=none debug").start();
    let alice = sshd.login("alice");
    change_line(&sshd, "timeout=1h kill=none debug", OPTIONS);
    let Reloaded { text, problems, code } = reload_sessions(&sshd);
    assert_eq!((problems, code), (vec![], 0));
    // The command names the session as its records do.
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    let ids = ["session", "ses"].map(|key| armed.field(key).map(|id| format!("{key}={id}")));
    let name = format!("alice by sshd, {}: ", ids.into_iter().flatten().collect::<Vec<_>>().join(" "));
    assert!(text.starts_with(&format!("{name}timeout=10s (was 1h) ")), "{text}");
    assert!(text.contains(" kill=session (was none)"), "{text}");
    assert_eq!(text.lines().last(), Some("1 session is watched"));
    assert_ended_on_time(&sshd, &alice);
}

#[test]
fn a_reload_tells_what_it_cannot_apply() {
    let line = "timeout=1h kill=none";
    let sshd = Sshd::with(line).start();
    let _alice = sshd.login("alice");
    let module = crate::support::tree::our_line(line);
    let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user = nobody\n";
    change_line(&sshd, &module, &format!("{jump}{}", module.replace(line, "timeout=30m")));
    let Reloaded { text, problems, code } = reload_sessions(&sshd);
    assert!(code == 0 && text.contains(": timeout=1h kill=none, nothing changed\n"), "{text}");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.contains("keeps the PAM line options from its start"), "{problem}");
    change_line(&sshd, &module.replace(line, "timeout=30m"), "");
    let Reloaded { text, problems, code } = reload_sessions(&sshd);
    assert_eq!((text.as_str(), code), ("1 session is watched\n", 1));
    let why = "keeps its old settings, because the session stack of sshd has no pam_idle_watchdog.so line";
    assert!(matches!(&problems[..], [one] if one.ends_with(why)), "{problems:?}");
    assert_eq!(sshd.log.events("reloaded", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_session_is_given_another_limit() {
    let sshd = Sshd::with(LONG).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    give(&helper, OPTIONS).unwrap();
    let reloaded = sshd.log.wait_for_event("reloaded", "alice", SOON);
    for (key, value) in [("limit", "10"), ("warn", "4"), ("grace", "2"), ("rule", "idle_watchdog.conf:3")] {
        assert_eq!(reloaded.field(key), Some(value), "{}", reloaded.text);
    }
    assert_ended_on_time(&sshd, &alice);
    alice.expect(WARNING_TEXT, SOON);
    assert_no_helper_left(&sshd, SOON);
}

#[test]
fn a_session_past_its_new_limit_gets_the_whole_warning() {
    let sshd = Sshd::with(LONG).start();
    let alice = sshd.login("alice");
    assert!(alice.exit(secs(12)).is_none());
    let asked = now();
    give(&sshd.helper(), "timeout=10s warn=9s,5s grace=2s debug").unwrap();
    let exit = alice.exit(SOON).expect("ended");
    assert!((secs(9)..secs(12)).contains(&(exit.at - asked)), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("warned", "alice").len(), 2, "the log:\n{}", sshd.log);
}

/// It is not known what a job did before the settings asked for processor time.
#[test]
fn a_job_that_counts_from_now_on_is_not_ended_for_what_was_before() {
    let sshd = Sshd::with(LONG).start();
    let alice = sshd.login("alice");
    alice.type_line("echo work\"\"ing; while :; do :; done");
    alice.expect("working", SOON);
    assert!(alice.exit(secs(12)).is_none());
    give(&sshd.helper(), "timeout=10s warn=off grace=2s activity=input,cpu debug").unwrap();
    assert!(alice.exit(secs(13)).is_none(), "the log:\n{}", sshd.log);
}

#[test]
fn a_session_is_exempted_and_watched_again() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    sshd.log.wait_for_event("warned", "alice", PAST_THE_PROMISE);
    give(&helper, "timeout=off notty=10s debug").unwrap();
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("ending", "alice").len(), 0, "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("reloaded", "alice")[0].field("limit"), Some("off"));
    give(&helper, OPTIONS).unwrap();
    assert!(alice.exit(PAST_THE_PROMISE).is_some(), "the log:\n{}", sshd.log);
}

#[test]
fn a_malformed_reload_changes_nothing() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    let pidfd = PidFd::open(Pid::from_raw(helper.pid)).unwrap();
    // These are no descriptor, one that is no channel, one without a message, and one with a malformed message.
    pidfd.queue(REQUEST_SIGNAL, 100_000).unwrap();
    sshd.log.wait_for_event("error", "alice", SOON);
    let null = std::fs::File::open("/dev/null").unwrap();
    pidfd.queue(REQUEST_SIGNAL, null.as_raw_fd()).unwrap();
    let (_silent, nothing) = Channel::offer().unwrap();
    pidfd.queue(REQUEST_SIGNAL, nothing.number).unwrap();
    let error = |line: &crate::support::log::Line| line.is("error");
    sshd.log.wait_for_count("failures", 3, error, SOON);
    let mut broken = Request::Reload(Box::new(settings(LONG))).message();
    broken.extend_from_slice(b"\0kill=everybody");
    let (ours, theirs) = Channel::offer().unwrap();
    ours.send(&broken).unwrap();
    pidfd.queue(REQUEST_SIGNAL, theirs.number).unwrap();
    let mut answered = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut answered, 30_000u16), Ok(1), "the log:\n{}", sshd.log);
    let answer = String::from_utf8(ours.receive().unwrap()).unwrap();
    assert!(answer.contains("\0refused\0") && answer.contains("kill=everybody"), "{answer}");
    assert_ended_on_time(&sshd, &alice);
    assert_eq!(sshd.log.events("reloaded", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_session_that_is_being_ended_takes_no_settings() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=20s").start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    alice.run("(trap '' HUP TERM; sleep 1000 & wait; sleep 1000) >/dev/null 2>&1 &");
    sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE);
    let error = give(&helper, LONG).unwrap_err();
    assert_eq!(error, "the session is being ended");
    assert_eq!(sshd.log.events("reloaded", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn only_root_can_reload() {
    let sshd = Sshd::with(LONG).start();
    let _alice = sshd.login("alice");
    let helper = sshd.helper();
    let uid = Uid::from_raw(sshd.uid("alice"));
    let call = move || {
        // Only this thread changes its IDs and loses its privileges.
        // SAFETY: setresuid takes three integers.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, uid.as_raw(), uid.as_raw(), uid.as_raw()) };
        assert_eq!(done, 0);
        let error = PidFd::open(Pid::from_raw(helper.pid)).unwrap().queue(REQUEST_SIGNAL, 0).unwrap_err();
        (error.raw_os_error(), give(&helper, OPTIONS))
    };
    let (errno, handed) = std::thread::spawn(call).join().unwrap();
    assert_eq!(errno, Some(Errno::EPERM as i32));
    assert!(handed.unwrap_err().starts_with("the signal"), "the log:\n{}", sshd.log);
    assert_eq!(sshd.log.events("reloaded", "alice").len(), 0, "the log:\n{}", sshd.log);
}

#[test]
fn a_users_socket_in_a_root_process_is_not_a_reload() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    let uid = Uid::from_raw(sshd.uid("alice"));
    // A su may have such a socket if it got the PID of a reload that gave up waiting.
    let made = std::thread::spawn(move || {
        // SAFETY: setresuid takes three integers.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, uid.as_raw(), uid.as_raw(), uid.as_raw()) };
        assert_eq!(done, 0);
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        ours.send(&Request::Reload(Box::new(settings("timeout=off"))).message()).unwrap();
        (ours, theirs)
    });
    let (_ours, theirs) = made.join().unwrap();
    PidFd::open(Pid::from_raw(helper.pid)).unwrap().queue(REQUEST_SIGNAL, theirs.as_raw_fd()).unwrap();
    let failed = sshd.log.wait_for_event("error", "alice", SOON);
    assert!(failed.text.contains("is no channel of its own"), "{}", failed.text);
    assert_ended_on_time(&sshd, &alice);
}

#[test]
fn the_record_says_that_a_descriptor_cannot_be_taken() {
    let sshd = Sshd::with(OPTIONS).without_ptrace().start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    let answer = ask(id(&helper), &Request::Reload(Box::new(settings(LONG))), secs(1));
    assert_eq!(answer, Err(NoAnswer::Late));
    let failed = sshd.log.wait_for_event("error", "alice", SOON);
    assert!(failed.text.contains("error=\"cannot take a request: "), "{}", failed.text);
    assert_ended_on_time(&sshd, &alice);
}

#[test]
fn helpers_are_found_with_their_command_lines() {
    let sshd = Sshd::with("timeout=1h [message=a b]").start();
    let _alice = sshd.login("alice");
    let helper = sshd.helper();
    let found = running::helpers();
    let ours = found.iter().find(|found| found.id == id(&helper)).expect("the helper");
    let told = ours.told.as_ref().unwrap();
    assert_eq!((told.login.user_text().as_ref(), told.leader.as_raw()), ("alice", sshd.leader().pid));
    assert_eq!(told.line, ["timeout=1h", "message=a b"]);
    give(&helper, "timeout=2h").unwrap();
    assert!(running::helpers().contains(ours));
}
