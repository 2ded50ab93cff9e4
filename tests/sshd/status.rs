//! The state of sessions, as the administrator's command shows it, and what it does to a session.

use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pam_idle_watchdog::protocol::ask::{NoAnswer, ask, ask_all};
use pam_idle_watchdog::protocol::request::{Reason, Reply, Request};
use pam_idle_watchdog::protocol::start::REQUEST_SIGNAL;
use pam_idle_watchdog::sys::clock::SECOND;
use pam_idle_watchdog::sys::proc::{Proc, ProcId, Started};
use serde_json::Value;

use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::Process;
use crate::support::sshd::Sshd;
use crate::support::{SOON, now, secs};

/// Part of the text on the user's screen when an administrator ends the session, in lower case.
const BY_ADMINISTRATOR: &str = "an administrator has ended this session";

/// The process, with the time of its start as the kernel's clock has it.
fn id(helper: &Process) -> ProcId {
    let started = i64::try_from(helper.started).unwrap() * (SECOND / 100);
    ProcId { pid: Pid::from_raw(helper.pid), started: Started(started) }
}

/// The administrator's command, among the files of this sshd.
fn command(sshd: &Sshd, args: &[&str]) -> Command {
    let mut command = sshd.inside(env!("CARGO_BIN_EXE_idle-watchdog"));
    command.args(args).env("TERM", "xterm");
    command
}

/// The name of the only session.
fn name(sshd: &Sshd) -> String {
    format!("pid:{}", sshd.leader().pid)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs the command. Returns its exit status and its output.
fn run(sshd: &Sshd, args: &[&str]) -> (i32, String) {
    let output = command(sshd, args).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// What `status` says about the only session.
fn status(sshd: &Sshd) -> (i32, Value) {
    let (code, text) = run(sshd, &["status", &name(sshd), "--json"]);
    (code, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

/// A time in a status is true: it was so at some moment between the question and the answer.
fn assert_seconds(found: &Value, least: Duration, most: Duration) {
    let found = found.as_u64().unwrap();
    assert!(
        (least.as_secs().saturating_sub(1)..=most.as_secs() + 1).contains(&found),
        "{found} of {least:?} to {most:?}"
    );
}

#[test]
fn the_times_are_true_to_the_second() {
    let sshd = Sshd::with("timeout=40s warn=20s debug").start();
    let alice = sshd.login("alice");
    let look = |state: &str| {
        // sshd gets a key a moment after the client has sent it.
        let asked = (now() - alice.last_key()).saturating_sub(secs(1));
        let (code, status) = status(&sshd);
        let heard = now() - alice.last_key();
        assert_eq!((code, status["state"].as_str()), (0, Some(state)), "{status}");
        assert_seconds(&status["idle"], asked, heard);
        assert_seconds(&status["ends_in"], secs(40).saturating_sub(heard), secs(40) - asked);
        status
    };
    let first = look("watched");
    assert_eq!((first["user"].as_str(), first["limit"].as_u64()), (Some("alice"), Some(40)), "{first}");
    assert_eq!(first["helper"].as_i64(), Some(i64::from(sshd.helper().pid)));
    assert_eq!(first["terminals"].as_array().unwrap().len(), 1, "{first}");
    assert!(first["processes"].as_str().unwrap().contains("sshd"), "{first}");
    assert_eq!(first["members"], 3, "two sshd and a shell: {first}");
    assert_eq!(first["settings"]["timeout"]["origin"], "line", "{first}");
    assert_eq!(first["settings"]["grace"]["origin"], "default", "{first}");
    // No look is due for the next seconds, so it is the question that makes the helper look.
    assert!(alice.exit(secs(4)).is_none());
    look("watched");
    alice.wait_for_shell();
    look("watched");
    sshd.log.wait_for_event("warned", "alice", secs(40));
    look("warned");
}

#[test]
fn status_says_what_a_reload_would_change() {
    let sshd = Sshd::with("timeout=1h").start();
    let _alice = sshd.login("alice");
    sshd.policy("alice * * * timeout=2h\n");
    let (_, full) = run(&sshd, &["status", &name(&sshd)]);
    assert!(full.contains("  timeout   1h  (before; a reload makes it 2h)"), "{full}");
    assert!(full.contains("  kill      session  (default)"), "{full}");
}

#[test]
fn a_helper_that_is_stopped_is_silent_and_delays_no_other() {
    let sshd = Sshd::with("timeout=1h").start();
    let clients = ["alice", "bob", "carol"].map(|user| sshd.login(user));
    let helpers = sshd.helpers();
    assert_eq!(helpers.len(), 3);
    let stopped = &helpers[..2];
    let send = |signal| stopped.iter().for_each(|one| kill(Pid::from_raw(one.pid), signal).unwrap());
    send(Signal::SIGSTOP);
    let ids: Vec<ProcId> = helpers.iter().map(id).collect();
    let asked = now();
    let answers = ask_all(&ids, &Request::Status { members: false }, secs(2));
    // Two that hang take no longer than one.
    assert!((secs(2)..secs(4)).contains(&(now() - asked)));
    assert_eq!(answers[..2], [Err(NoAnswer::Late), Err(NoAnswer::Late)]);
    assert!(matches!(answers[2], Ok(Reply::Status(_))), "{answers:?}");
    // Signals of root have a limit, so no second one waits.
    let proc = Proc::default();
    let waiting = || stopped.iter().filter(|one| proc.has_pending(id(one).pid, REQUEST_SIGNAL)).count();
    let queued = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigQ:")).unwrap();
        line.split('/').next().unwrap().trim().parse::<usize>().unwrap()
    };
    assert_eq!(waiting(), 2);
    let before = queued();
    for _ in 0..9 {
        let answer = ask(ids[0], &Request::Status { members: false }, Duration::from_millis(50));
        assert_eq!(answer, Err(NoAnswer::Late));
    }
    // Other processes of root have signals, too.
    assert!(queued() < before + 9, "{before}, then {}", queued());
    // The command says so, and an administrator sees it at the exit status.
    let leader = leader_of(&stopped[0]);
    let (code, text) = run(&sshd, &["status", &leader]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("silent: its watchdog gave no answer within 5 s"), "{text}");
    let (code, text) = run(&sshd, &["extend", &leader, "1h"]);
    assert!(code == 1 && text.contains("not extended, because its watchdog does not answer"), "{text}");
    // What was asked meanwhile has no effect, because nobody waits for the answer.
    send(Signal::SIGCONT);
    let (code, text) = run(&sshd, &["status", &leader]);
    assert!(code == 0 && text.contains("\nstate      watched\n"), "{text}");
    assert!(!text.contains("extended"), "{text}");
    assert!(clients.iter().all(|client| client.exit(Duration::ZERO).is_none()));
}

/// The name of a helper's session.
fn leader_of(helper: &Process) -> String {
    let arguments = Proc::default().arguments(Pid::from_raw(helper.pid)).unwrap();
    let leader = arguments.iter().find_map(|word| word.to_str()?.strip_prefix("--leader="));
    format!("pid:{}", leader.unwrap())
}

#[test]
fn an_extension_takes_the_warning_back_and_the_end_comes_later_with_another() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("warned", "alice", PAST_THE_PROMISE);
    let asked = now();
    let (code, text) = run(&sshd, &["extend", &name(&sshd), "20s", "--reason", "a backup runs"]);
    assert_eq!(
        (code, text.as_str()),
        (
            0,
            format!("{}: alice: does not end as idle for 20s; if idle, it ends in 20s\n", name(&sshd))
                .as_str()
        )
    );
    alice.expect(
        "an administrator keeps this session: even if idle, it does not end for 20s: a backup runs",
        SOON,
    );
    let (_, shown) = status(&sshd);
    assert_eq!(shown["state"], "watched", "{shown}");
    assert!(shown["extended"].as_u64().unwrap() > 15, "{shown}");
    let exit = alice.exit(secs(30)).expect("ended");
    assert!((secs(20)..secs(22)).contains(&(exit.at - asked)), "the log:\n{}", sshd.log);
    let warned = sshd.log.events("warned", "alice");
    assert_eq!(warned.len(), 2, "the log:\n{}", sshd.log);
    let extended = &sshd.log.events("extended", "alice")[0];
    assert_eq!(extended.field("remaining"), Some("20"), "{}", extended.text);
    assert_eq!(extended.field("requester"), Some(login_uid().as_str()), "{}", extended.text);
    assert!(extended.text.contains(" reason=\"a backup runs\""), "{}", extended.text);
    // The whole warning comes before the later end.
    let ending = &sshd.log.events("ending", "alice")[0];
    let idle = |line: &Line| line.field("idle").unwrap().parse::<u64>().unwrap();
    assert_eq!(secs(idle(ending) - idle(&warned[1])), WARN, "the log:\n{}", sshd.log);
    assert_eq!((ending.field("requester"), ending.field("reason")), (None, None), "{}", ending.text);
    assert_eq!(sshd.log.events("resumed", "alice").len(), 0, "the log:\n{}", sshd.log);
}

/// The login user of the tests, as a record has it.
fn login_uid() -> String {
    let uid = Proc::default().login_uid(nix::unistd::getpid());
    uid.map_or_else(|| "unset".to_owned(), |uid| uid.to_string())
}

#[test]
fn a_reload_keeps_an_extension_and_a_shorter_one_changes_nothing() {
    let sshd = Sshd::with("timeout=1h").start();
    let alice = sshd.login("alice");
    let helper = id(&sshd.helper());
    let extend = |time| ask(helper, &Request::Extend { time, reason: None }, SOON);
    let left = |answer: &Result<Reply, NoAnswer>| match answer {
        Ok(Reply::Status(status)) => (status.extended.unwrap(), status.ends_in.unwrap()),
        other => panic!("{other:?}"),
    };
    let (extended, ends_in) = left(&extend(secs(60)));
    assert!(extended <= secs(60) && ends_in > secs(3500), "the end came nearer: {ends_in:?}");
    assert!(left(&extend(secs(9000))).1 > secs(8900));
    assert!(left(&extend(secs(10))).0 > secs(8900));
    let settings = pam_idle_watchdog::policy::Options::of_line(["timeout=10s", "warn=4s"]).unwrap();
    let settings = pam_idle_watchdog::policy::Settings::of(&settings, None);
    assert!(matches!(ask(helper, &Request::Reload(Box::new(settings)), SOON), Ok(Reply::Reloaded(_))));
    assert!(alice.exit(PAST_THE_PROMISE).is_none(), "the log:\n{}", sshd.log);
    assert_untouched(&sshd, "alice");
}

#[test]
fn a_session_without_a_limit_is_not_extended() {
    let sshd = Sshd::with("timeout=1h").start();
    let _alice = sshd.login("alice");
    let settings = pam_idle_watchdog::policy::Options::of_line(["timeout=off"]).unwrap();
    let settings = pam_idle_watchdog::policy::Settings::of(&settings, None);
    ask(id(&sshd.helper()), &Request::Reload(Box::new(settings)), SOON).unwrap();
    let (code, text) = run(&sshd, &["extend", &name(&sshd), "1h"]);
    assert!(code == 1 && text.contains("not extended, because the session has no limit"), "{text}");
    assert_eq!(status(&sshd).1["state"], "exempt");
}

/// Ends alice's session by the command, as a person whose login user is 4711.
fn end_as_somebody(options: &str, extra: &[&str]) -> (Sshd, Client) {
    let sshd = Sshd::with(options).start();
    let alice = sshd.login("alice");
    alice.run("(trap '' HUP; sleep 1000) >/dev/null 2>&1 &");
    let mut shell = sshd.inside("sh");
    let name = name(&sshd);
    let script = "echo 4711 >/proc/self/loginuid; exec \"$@\"";
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_idle-watchdog"), "end", &name]).args(extra);
    let output = shell.output().unwrap();
    assert_eq!((output.status.code(), text(&output)), (Some(0), format!("{name}: alice: ended\n")));
    // The command waits for the end.
    assert_eq!(sshd.processes_of("alice"), [], "the log:\n{}", sshd.log);
    assert!(alice.exit(SOON).is_some());
    (sshd, alice)
}

#[test]
fn an_administrator_ends_a_session_with_a_reason_and_on_record() {
    let (sshd, alice) = end_as_somebody("timeout=1h grace=1s", &["--reason", "the disk\u{a0}is full"]);
    alice.expect(&format!("{BY_ADMINISTRATOR}: the disk?is full ***"), SOON);
    for event in ["ending", "ended"] {
        let record = sshd.log.wait_for_event(event, "alice", SOON);
        assert_eq!(record.field("requester"), Some("4711"), "{}", record.text);
        assert!(record.field("requester-ses").is_some(), "{}", record.text);
        assert!(record.text.contains(" reason=\"the disk\\u{a0}is full\""), "{}", record.text);
    }
    assert_pam_closed(&sshd, "alice");
    assert_no_helper_left(&sshd, SOON);
    assert_no_error(&sshd);
}

#[test]
fn a_session_that_is_only_watched_is_ended_as_a_whole_if_an_administrator_asks() {
    let (sshd, alice) = end_as_somebody("timeout=1h kill=none grace=1s", &[]);
    alice.expect(&format!("{BY_ADMINISTRATOR}. ***"), SOON);
    let record = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!((record.field("reason"), record.field("survivors")), (None, Some("0")), "{}", record.text);
}

#[test]
fn a_session_that_is_being_ended_says_so_and_cannot_be_extended() {
    let sshd = Sshd::with("timeout=10s warn=4s grace=20s").start();
    let alice = sshd.login("alice");
    alice.run("(trap '' HUP TERM; sleep 1000 & wait; sleep 1000) >/dev/null 2>&1 &");
    sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE);
    let helper = id(&sshd.helper());
    match ask(helper, &Request::Status { members: true }, SOON) {
        Ok(Reply::Status(status)) => {
            assert_eq!((status.state.word(), status.ends_in), ("ending", Some(secs(0))))
        }
        other => panic!("{other:?}"),
    }
    for request in [Request::Extend { time: secs(60), reason: None }, Request::End { reason: None }] {
        let refused = Reply::Refused("the session is being ended".to_owned());
        assert_eq!(ask(helper, &request, SOON), Ok(refused));
    }
    assert!(sshd.log.events("ended", "alice").is_empty(), "the log:\n{}", sshd.log);
}

#[test]
fn a_session_without_a_watchdog_is_named_and_cannot_be_extended() {
    let sshd = Sshd::without_watchdog().start();
    let _alice = sshd.login("alice");
    let name = name(&sshd);
    let (code, status) = status(&sshd);
    assert_eq!((code, status["state"].as_str()), (1, Some("unwatched")), "{status}");
    assert!(status["reason"].as_str().unwrap().contains("no pam_idle_watchdog.so line"), "{status}");
    for args in [&["extend", &name, "1h"][..], &["end", &name]] {
        let (code, text) = run(&sshd, args);
        assert_eq!(
            (code, text.as_str()),
            (
                1,
                format!("{name}: alice: has no watchdog; give it one with: idle-watchdog adopt {name}\n")
                    .as_str()
            )
        );
    }
    assert_eq!(sshd.processes_of("alice").len(), 2);
}

#[test]
fn what_is_no_session_is_named() {
    let sshd = Sshd::with("timeout=1h").start();
    let _alice = sshd.login("alice");
    for args in [&["status", "nobody7"][..], &["extend", "nobody7", "1h"], &["end", "nobody7"]] {
        let (code, text) = run(&sshd, args);
        assert_eq!((code, text.as_str()), (2, "idle-watchdog: there is no session nobody7\n"), "{args:?}");
    }
    let (code, text) = run(&sshd, &["end", "pid:x"]);
    assert!(code == 2 && text.contains("\"pid:x\" is not a session"), "{text}");
    assert_untouched(&sshd, "alice");
}

#[test]
fn only_root_is_told_anything() {
    let sshd = Sshd::with("timeout=1h").start();
    let alice = sshd.login("alice");
    let program = sshd.dir.join("idle-watchdog");
    std::fs::copy(env!("CARGO_BIN_EXE_idle-watchdog"), &program).unwrap();
    for (args, what) in [
        ("status", "see how the sessions are watched"),
        ("extend 1 1h", "extend a session"),
        ("end 1", "end a session"),
    ] {
        alice.run(&format!("{} {args}; echo e\"\"xit-$?", program.display()));
        alice.expect(&format!("idle-watchdog: only root can {what}"), SOON);
        alice.expect("exit-2", SOON);
    }
}

/// A user's own socket in a process of root brings no request, whatever it asks.
#[test]
fn a_users_request_is_not_taken() {
    let sshd = Sshd::with("timeout=1h").start();
    let alice = sshd.login("alice");
    let helper = sshd.helper();
    let uid = sshd.uid("alice");
    let requests = || {
        let reason = Some(Reason::of("x").unwrap());
        let extend = Request::Extend { time: secs(3600), reason: reason.clone() };
        [Request::Status { members: true }, extend, Request::End { reason }]
    };
    for request in requests() {
        // A su may have such a socket if it got the PID of a command that gave up waiting.
        let message = request.message();
        let made = std::thread::spawn(move || {
            // SAFETY: setresuid takes three integers. Only this thread changes its IDs.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
            assert_eq!(done, 0);
            let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
            ours.send(&message).unwrap();
            (ours, theirs)
        });
        let (ours, theirs) = made.join().unwrap();
        let before = sshd.log.events("error", "alice").len();
        let pidfd = pam_idle_watchdog::sys::pidfd::PidFd::open(Pid::from_raw(helper.pid)).unwrap();
        pidfd.queue(REQUEST_SIGNAL, std::os::fd::AsRawFd::as_raw_fd(&theirs)).unwrap();
        let refused = |line: &crate::support::log::Line| {
            line.is("error") && line.text.contains("is no channel of its own")
        };
        sshd.log.wait_for_count("refusals", before + 1, refused, SOON);
        ours.set_nonblocking(true).unwrap();
        assert!(ours.recv(&mut [0; 100]).is_err(), "{request:?} was answered");
    }
    // The user's own process cannot even send the signal.
    let mine = move || {
        // SAFETY: setresuid takes three integers. Only this thread changes its IDs.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        assert_eq!(done, 0);
        requests().map(|request| ask(id(&helper), &request, secs(5)).unwrap_err())
    };
    for answer in std::thread::spawn(mine).join().unwrap() {
        assert!(matches!(&answer, NoAnswer::Failed(why) if why.starts_with("the signal")), "{answer:?}");
    }
    for event in ["extended", "ending"] {
        assert_eq!(sshd.log.events(event, "alice").len(), 0, "the log:\n{}", sshd.log);
    }
    assert!(alice.exit(Duration::ZERO).is_none());
}

#[test]
fn ps_shows_whose_session_it_is_and_how_its_watchdog_started() {
    let sshd = Sshd::with("timeout=1h kill=tty").start();
    let _alice = sshd.login("alice");
    let helper = sshd.helper();
    let title = || {
        let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &helper.pid.to_string()]).output();
        String::from_utf8(ps.unwrap().stdout).unwrap()
    };
    let shown = title();
    for word in [" --service=sshd ", " --user=alice ", " --rhost=127.0.0.1 ", " timeout=1h ", " kill=tty "] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(shown.contains(&format!(" --leader={} ", sshd.leader().pid)), "{shown}");
    // The manual says that a reload does not change it.
    let settings = pam_idle_watchdog::policy::Options::of_line(["timeout=2h"]).unwrap();
    let settings = pam_idle_watchdog::policy::Settings::of(&settings, None);
    ask(id(&helper), &Request::Reload(Box::new(settings)), SOON).unwrap();
    assert_eq!(title(), shown);
    assert_eq!(status(&sshd).1["limit"], 7200);
}

#[test]
fn a_watched_screen_is_refreshed_in_place_and_restored() {
    let sshd = Sshd::with("timeout=1h").start();
    let alice = sshd.login("alice");
    let watch = Client::on_terminal(command(&sshd, &["status", &name(&sshd), "--watch"]));
    watch.expect("\x1b[?1049h\x1b[?25l\x1b[hsession", SOON);
    watch.expect("\nstate      watched", SOON);
    // Two looks are enough to show another idle time.
    let times = || watch.screen().matches("\x1b[Hsession").count();
    let deadline = now() + SOON;
    while times() < 3 && now() < deadline {
        std::thread::yield_now();
    }
    assert!(times() >= 3, "{:?}", watch.screen());
    watch.signal(Signal::SIGINT);
    let exit = watch.exit(SOON).expect("the end");
    assert_eq!(exit.code(), 0);
    let screen = watch.whole_screen();
    let (_, after) = screen.rsplit_once("\x1b[?25h\x1b[?1049l").unwrap_or_else(|| panic!("{screen:?}"));
    assert!(after.contains("state      watched"), "{screen:?}");
    drop(alice);
}
