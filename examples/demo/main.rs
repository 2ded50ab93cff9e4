//! `sudo make demo`: warns and ends a real ssh session on this machine, and shows it. `sudo make pictures` does
//! the same and draws it, see [`picture`].
//!
//! The sshd is private. It has its own mount namespace, `/etc/pam.d` and users, and uses only the loopback
//! interface. Nothing in the host's configuration is changed, and nothing is left behind, even after Ctrl-C:
//! the launcher of the sshd notices that this program ends, and cleans up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod picture;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use picture::Recording;
use support::client::Client;
use support::log::Line;
use support::sshd::Sshd;
use support::{ENDED_TEXT, SOON, WARNING_TEXT, now, process, secs, until};

/// The limit in seconds, as in `OPTIONS`.
const LIMIT: u64 = 10;
const WARN: u64 = 5;
const OPTIONS: &str = "timeout=10s warn=5s grace=2s";

/// It is the same on every machine.
const PROMPT: &str = "alice@server:~$ ";

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

/// With a path as its argument, this also draws a picture there.
fn main() {
    let picture = std::env::args_os().nth(1).map(PathBuf::from);
    let narrator = Narrator { start: now() };
    narrator.say("starting a private sshd on 127.0.0.1 whose PAM stack has the line");
    println!("            session required pam_idle_watchdog.so {OPTIONS}");
    // The private terminals have the same names on every machine.
    let sshd = Sshd::with(OPTIONS).own_terminals().start();
    let recording = show(&narrator, &sshd);
    drop(sshd);
    narrator.say("the private sshd has ended, and its files are removed");
    if let Some(path) = picture {
        std::fs::write(&path, picture::draw(&recording)).unwrap();
        narrator.say(&format!("the picture is in {}", path.display()));
    }
}

fn show(narrator: &Narrator, sshd: &Sshd) -> Recording {
    let connect = now();
    narrator.say(&format!("alice logs in: ssh -p {} alice@127.0.0.1", sshd.port));
    let alice = login(sshd);
    narrator.quote(&sshd.log.wait_for_event("armed", "alice", SOON));
    type_slowly(&alice, "nohup sleep 1000 >/dev/null 2>&1 &");
    alice.expect(&format!("2>&1 &\r\n{PROMPT}"), SOON);
    type_slowly(&alice, "echo Back in five minutes.");
    alice.expect(&format!("\nBack in five minutes.\r\n{PROMPT}"), SOON);
    let last_key = alice.last_key();
    narrator.say("alice starts a job that ignores SIGHUP, and leaves her desk");
    let processes = of_the_session(sshd);
    for process in &processes {
        println!("            {:>7}  {}", process.pid, process.comm);
    }

    narrator.quote(&sshd.log.wait_for_event("warned", "alice", secs(20)));
    alice.expect(WARNING_TEXT, SOON);
    show_screen(narrator, &alice.screen(), WARNING_TEXT);

    let exit = alice.exit(secs(20)).expect("the session ends");
    alice.expect(ENDED_TEXT, SOON);
    show_screen(narrator, &alice.screen(), ENDED_TEXT);
    let late = (exit.at - last_key).as_secs_f64();
    narrator.say_at(
        exit.at,
        &format!(
            "alice's ssh has ended with status {}, {late:.1} s after her last key (promised: 10 to 11 s)",
            exit.code()
        ),
    );
    let closed = |line: &Line| line.text.contains("session closed for user alice");
    narrator.quote(&sshd.log.wait_for_event("ending", "alice", SOON));
    narrator.quote(&sshd.log.wait_for("PAM's close", closed, SOON));
    narrator.quote(&sshd.log.wait_for_event("ended", "alice", SOON));

    let deadline = now() + secs(5);
    if let Err(left) = process::wait_none(|| of_the_session(sshd), until(deadline)) {
        panic!("left running: {left:#?}");
    }
    let gone = now();
    narrator.say("no process of the session is left");
    let is_ours = |line: &Line| line.text.contains("pam_idle_watchdog(") || closed(line);
    Recording {
        connect,
        last_key,
        screen: alice.pieces(),
        status: (exit.at, exit.code()),
        log: sshd.log.all(is_ours).into_iter().map(|line| (line.at, line.text)).collect(),
        processes: processes.into_iter().map(|process| process.comm).collect(),
        gone,
    }
}

/// Logs alice in. Her prompt does not depend on the machine.
fn login(sshd: &Sshd) -> Client {
    std::fs::write(sshd.home("alice").join(".profile"), format!("PS1='{PROMPT}'\n")).unwrap();
    let mut command = sshd.ssh("alice");
    command.arg("-tt");
    let alice = Client::on_terminal(command);
    alice.expect(PROMPT, SOON);
    alice
}

/// Types a line and Enter, at a speed that can be followed.
#[allow(clippy::disallowed_methods)] // nothing is waited for: a person takes time between keys
fn type_slowly(alice: &Client, line: &str) {
    const BETWEEN_KEYS: Duration = Duration::from_millis(55);
    for key in line.chars() {
        alice.type_keys(key.encode_utf8(&mut [0; 4]));
        std::thread::sleep(BETWEEN_KEYS);
    }
    alice.type_keys("\r");
}

fn of_the_session(sshd: &Sshd) -> Vec<process::Process> {
    let mut processes = sshd.processes_of("alice");
    processes.extend(sshd.helpers());
    processes
}

/// Prints the user's screen, from the line that contains `text`.
fn show_screen(narrator: &Narrator, screen: &str, text: &str) {
    narrator.say("on alice's screen:");
    let lines = screen.lines().map(str::trim_end).filter(|line| !line.is_empty());
    for line in lines.skip_while(|line| !line.to_lowercase().contains(text)) {
        println!("            | {line}");
    }
}
