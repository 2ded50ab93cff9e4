//! `sudo make demo`: shows how a real ssh session on this machine is warned and ended.
//!
//! The demo starts an sshd of its own, with its own mount namespace, `/etc/pam.d` and users. It listens on the
//! loopback interface only. The host's configuration is not changed, and nothing is left behind, even after
//! Ctrl-C: the launcher of the sshd notices that this program has ended, and cleans up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use support::log::Line;
use support::sshd::Sshd;
use support::{ENDED_TEXT, SOON, WARNING_TEXT, now, process, secs, until};

const OPTIONS: &str = "timeout=10s warn=5s grace=2s";

/// Prints what happens, with the seconds since the start.
struct Narrator {
    start: Instant,
}

impl Narrator {
    fn say(&self, text: &str) {
        self.say_at(now(), text);
    }

    fn say_at(&self, at: Instant, text: &str) {
        let since = at.saturating_duration_since(self.start).as_secs_f64();
        println!("{since:6.1} s  {text}");
    }

    /// Prints a record as it is in the log.
    fn quote(&self, line: &Line) {
        self.say_at(line.at, &format!("log:    {}", line.text));
    }
}

fn main() {
    let narrator = Narrator { start: now() };
    narrator.say("starting a private sshd on 127.0.0.1 whose PAM stack has the line");
    println!("            session required pam_idle_watchdog.so {OPTIONS}");
    let sshd = Sshd::with(OPTIONS).start();

    narrator.say(&format!("alice logs in: ssh -p {} alice@127.0.0.1", sshd.port));
    let alice = sshd.login("alice");
    narrator.quote(&sshd.log.wait_for_event("armed", "alice", SOON));
    alice.run("nohup sleep 1000 >/dev/null 2>&1 &");
    narrator.say("alice starts a job that ignores SIGHUP, and leaves her desk");
    for process in sshd.processes_of("alice").into_iter().chain(sshd.helpers()) {
        println!("            {:>7}  {}", process.pid, process.comm);
    }

    let last_key = alice.last_key();
    narrator.quote(&sshd.log.wait_for_event("warned", "alice", secs(20)));
    alice.expect(WARNING_TEXT, SOON);
    show_screen(&narrator, &alice.screen(), WARNING_TEXT);

    let exit = alice.exit(secs(20)).expect("the session ends");
    alice.expect(ENDED_TEXT, SOON);
    show_screen(&narrator, &alice.screen(), ENDED_TEXT);
    narrator.say_at(
        exit.at,
        &format!(
            "alice's ssh has ended with status {}, {:.1} s after her last key (promised: 10 to 11 s)",
            exit.code(),
            (exit.at - last_key).as_secs_f64()
        ),
    );
    narrator.quote(&sshd.log.wait_for_event("ending", "alice", SOON));
    narrator.quote(&sshd.log.wait_for(
        "PAM's close",
        |line| line.text.contains("session closed for user alice"),
        SOON,
    ));
    narrator.quote(&sshd.log.wait_for_event("ended", "alice", SOON));

    let deadline = now() + secs(5);
    let of_the_session = || {
        let mut processes = sshd.processes_of("alice");
        processes.extend(sshd.helpers());
        processes
    };
    match process::wait_none(of_the_session, until(deadline)) {
        Ok(()) => narrator.say("no process of the session is left"),
        Err(left) => panic!("left running: {left:#?}"),
    }
    drop(sshd);
    narrator.say("the private sshd has ended, and its files are removed");
}

/// Prints the user's screen, from the line that contains `text`.
fn show_screen(narrator: &Narrator, screen: &str, text: &str) {
    narrator.say("on alice's screen:");
    let lines = screen.lines().map(str::trim_end).filter(|line| !line.is_empty());
    for line in lines.skip_while(|line| !line.to_lowercase().contains(text)) {
        println!("            | {line}");
    }
}
