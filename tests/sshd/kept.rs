//! `kill=terminal`: a connection stays for work without a terminal, and nobody gets in over it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kill_modes::{detached_work, start_detached_work};
use crate::promise::*;
use crate::support::client::Client;
use crate::support::log::Line;
use crate::support::process::{Process, wait_none, wait_some};
use crate::support::sshd::{Builder, Sshd};
use crate::support::{ENDED_TEXT, SOON, now, secs, until};

const KEEPING: &str = "timeout=10s warn=4s grace=2s kill=terminal debug";
/// Without data a connection is kept no longer than this. It is the limit, because that is shorter than 30 s.
const SILENT: Duration = LIMIT;
/// A kept connection is looked at every 2 s. A busy machine needs some time, too.
const SEEN_WITHIN: Duration = secs(2 + 2);

/// A persisted connection without a session of its own, an idle shell on it, and a command without a terminal.
struct Shared {
    sshd: Sshd,
    user: &'static str,
    control: PathBuf,
    master: Client,
    shell: Client,
    work: Client,
}

impl Shared {
    fn connect(builder: Builder, work: &str) -> Self {
        Self::connect_as("alice", builder, work)
    }

    fn connect_as(user: &'static str, builder: Builder, work: &str) -> Self {
        let sshd = builder.start();
        let control = sshd.dir.join("control");
        let mut command = sshd.ssh(user);
        command.arg("-M").arg("-N").arg("-S").arg(&control);
        let master = Client::on_pipes(command);
        wait_some(|| control.exists().then_some(()), SOON).expect("the control socket");
        let shell = Client::on_terminal(over(&sshd, user, &control, &["-tt"], None));
        shell.wait_for_first_shell();
        let work = Client::on_pipes(over(&sshd, user, &control, &[], Some(work)));
        Self { sshd, user, control, master, shell, work }
    }

    /// Another session on the connection.
    fn another(&self, options: &[&str], command: Option<&str>) -> Command {
        over(&self.sshd, self.user, &self.control, options, command)
    }

    /// The idle shell ends as promised, and the connection stays. Returns the record.
    fn assert_kept(&self) -> Line {
        assert_ended_on_time(&self.sshd, &self.shell);
        self.shell.expect(ENDED_TEXT, SOON);
        let ending = self.sshd.log.wait_for_event("ending", self.user, SOON);
        assert_eq!(ending.field("kept"), Some("sh"), "{}", ending.text);
        assert!(self.master.exit(Duration::ZERO).is_none(), "the log:\n{}", self.sshd.log);
        ending
    }

    /// The connection has ended for this reason, and so has the session.
    fn assert_ended(&self, reason: &str, patience: Duration) {
        let gone = self.master.exit(patience);
        assert!(gone.is_some(), "still there after {patience:?}; the log:\n{}", self.sshd.log);
        let ended = self.sshd.log.wait_for_event("ended", self.user, GRACE + SOON);
        assert_eq!(ended.field("kept-until"), Some(reason), "{}", ended.text);
        assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
        assert_pam_closed(&self.sshd, self.user);
        assert_no_helper_left(&self.sshd, GRACE + secs(5));
        assert_eq!(self.sshd.log.events("ended", self.user).len(), 1, "the log:\n{}", self.sshd.log);
        assert_no_error(&self.sshd);
    }
}

/// A session over the connection, and never over another one.
fn over(sshd: &Sshd, user: &str, control: &PathBuf, options: &[&str], command: Option<&str>) -> Command {
    let mut ssh = sshd.client_program("ssh", "-p");
    ssh.arg("-S").arg(control).args(["-o", "ProxyCommand=false"]).args(options);
    ssh.args(["-l", user, "127.0.0.1"]).args(command);
    ssh
}

/// A transfer: it writes something every second, for longer than the shell may be idle.
const TRANSFER: &str =
    "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do echo $n; sleep 1; done; echo all";

#[test]
fn a_transfer_is_finished_and_then_the_connection_ends() {
    for builder in [Sshd::with(KEEPING), Sshd::with(KEEPING).newer()] {
        let shared = Shared::connect(builder, TRANSFER);
        shared.assert_kept();
        let done = shared.work.exit(SOON).expect("the transfer ends");
        assert_eq!(done.code(), 0, "{}\nthe log:\n{}", shared.work.screen(), shared.sshd.log);
        let screen = shared.work.whole_screen();
        assert!(screen.ends_with("all\n"), "{screen}");
        shared.assert_ended("done", SEEN_WITHIN);
        assert_no_process_left(&shared.sshd, "alice", now() + SOON);
    }
}

#[test]
fn roots_transfer_is_finished() {
    // Until OpenSSH 9.7 the leader of root's session serves the connection itself.
    let shared = Shared::connect_as("root", Sshd::with(KEEPING), TRANSFER);
    shared.assert_kept();
    assert_eq!(shared.work.exit(SOON).expect("the transfer ends").code(), 0, "{}", shared.sshd.log);
    shared.assert_ended("done", SEEN_WITHIN);
    // Only sshd itself is left.
    assert_eq!(shared.sshd.processes(), [shared.sshd.daemon()], "the log:\n{}", shared.sshd.log);
}

#[test]
fn an_upload_through_sftp_is_finished() {
    let sshd = Sshd::with(KEEPING);
    let shared = Shared::connect(sshd, "exec sleep 1000");
    // This takes at least 24 s: see `a_slow_copy_is_untouched`.
    let content = "slow\n".repeat(240_000);
    let source = shared.sshd.script("source", &content);
    let mut scp = shared.sshd.client_program("scp", "-P");
    scp.args(["-l", "300", "-o"]).arg(format!("ControlPath={}", shared.control.display()));
    scp.args(["-o", "ProxyCommand=false"]).arg(source).arg("alice@127.0.0.1:target");
    let copy = Client::on_pipes(scp);
    // The client sends other data than keys.
    assert_ended_by_stamps(&shared.sshd, &shared.shell);
    let exit = copy.exit(SOON).expect("the copy ends");
    assert_eq!(exit.code(), 0, "{}\nthe log:\n{}", copy.screen(), shared.sshd.log);
    let target = shared.sshd.home("alice").join("target");
    assert_eq!(std::fs::read_to_string(target).unwrap(), content);
    // The silent command stays, and keeps nothing.
    shared.assert_ended("silent", SILENT + SEEN_WITHIN);
}

#[test]
fn with_the_other_settings_a_transfer_ends_with_the_idle_shell() {
    for (kill, lives) in [("session", 0), ("tty", 1), ("connection", 1)] {
        // It does not notice that its output goes nowhere.
        let work = "trap '' PIPE HUP; while :; do sleep 1; echo going; done";
        let shared = Shared::connect(Sshd::with(&format!("{OPTIONS} kill={kill}")), work);
        assert_ended_on_time(&shared.sshd, &shared.shell);
        let cut = shared.work.exit(SOON).expect("it loses its connection");
        assert_ne!(cut.code(), 0, "kill={kill}; the log:\n{}", shared.sshd.log);
        let ended = shared.sshd.log.wait_for_event("ended", "alice", GRACE + SOON);
        assert_eq!(ended.field("kept-until"), None, "{}", ended.text);
        let loops = || shared.sshd.processes_of("alice").into_iter().filter(|p| p.comm == "sh").count();
        wait_some(|| (loops() == lives).then_some(()), SOON)
            .unwrap_or_else(|| panic!("kill={kill}: {}", loops()));
    }
}

#[test]
fn with_kill_none_a_transfer_lives_on() {
    let shared = Shared::connect(Sshd::with(&format!("{OPTIONS} kill=none")), TRANSFER);
    shared.sshd.log.wait_for_event("would-end", "alice", PAST_THE_PROMISE);
    assert_eq!(shared.work.exit(SOON).expect("the transfer ends").code(), 0);
}

#[test]
fn kill_terminal_spares_detached_work() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    start_detached_work(&shared.sshd, &shared.shell);
    shared.shell.run("sleep 1004 &");
    shared.assert_kept();
    let jobs =
        || shared.sshd.processes_of("alice").into_iter().filter(|p| p.is_running("sleep 1004")).collect();
    assert_eq!(wait_none(jobs, GRACE), Ok(()), "the log:\n{}", shared.sshd.log);
    shared.assert_ended("done", SOON);
    assert_eq!(detached_work(&shared.sshd).len(), 3, "the log:\n{}", shared.sshd.log);
}

#[test]
fn a_silent_command_keeps_nothing() {
    // Without a warning, no data has gone for the whole limit.
    let shared = Shared::connect(Sshd::with(&format!("{KEEPING} quiet")), "exec sleep 1000");
    assert_ended_on_time(&shared.sshd, &shared.shell);
    assert!(shared.master.exit(secs(2)).is_some(), "the log:\n{}", shared.sshd.log);
    let ending = shared.sshd.log.wait_for_event("ending", "alice", SOON);
    assert_eq!((ending.field("kept"), ending.field("kept-until")), (None, None), "{}", ending.text);
}

#[test]
fn a_command_that_falls_silent_keeps_the_connection_no_longer() {
    let shared = Shared::connect(Sshd::with(KEEPING), "sleep 12; echo last; exec sleep 1000");
    shared.assert_kept();
    shared.work.expect("last", SOON);
    let last = now();
    shared.assert_ended("silent", SILENT + SEEN_WITHIN);
    assert!(now() - last >= SILENT - secs(1), "the log:\n{}", shared.sshd.log);
}

#[test]
fn nothing_keeps_an_idle_connection_without_a_command() {
    let shared = Shared::connect(Sshd::with(KEEPING), "true");
    shared.work.exit(SOON).expect("done");
    assert_ended_on_time(&shared.sshd, &shared.shell);
    assert!(shared.master.exit(secs(2)).is_some(), "the log:\n{}", shared.sshd.log);
    assert_no_process_left(&shared.sshd, "alice", gone_by(shared.shell.last_key()));
}

#[test]
fn whoever_comes_back_over_a_kept_connection_is_sent_away() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.assert_kept();
    let back = Client::on_terminal(shared.another(&["-tt"], None));
    let opened = now();
    back.expect("Log in again", SEEN_WITHIN);
    assert!(back.exit(until(opened + SEEN_WITHIN)).is_some(), "the log:\n{}", shared.sshd.log);
    shared.assert_ended("opened", secs(2));
    let sat = || shared.sshd.processes_of("alice").into_iter().filter(|process| process.tty != 0).collect();
    assert_eq!(wait_none(sat, SOON), Ok(()), "the log:\n{}", shared.sshd.log);
}

/// The command starts `sleep 1001` and `sleep 1002`. The helper ends all that it has started.
fn assert_ended_with_its_connection(command: &str) {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.assert_kept();
    // We stop the helper until both run, because it must not end the command before that.
    let helper = Pid::from_raw(shared.sshd.helper().pid);
    kill(helper, Signal::SIGSTOP).unwrap();
    let _back = Client::on_pipes(shared.another(&[], Some(command)));
    let sleeping = |seconds: &[&str]| -> Vec<Process> {
        let is_one = |p: &Process| seconds.iter().any(|seconds| p.is_running(&format!("sleep {seconds}")));
        shared.sshd.processes_of("alice").into_iter().filter(is_one).collect()
    };
    let started = wait_some(|| (sleeping(&["1001", "1002"]).len() == 2).then_some(()), SOON);
    kill(helper, Signal::SIGCONT).unwrap();
    started.expect("it has started");
    // The connection ends once all of them have ended or are killed.
    shared.assert_ended("opened", SEEN_WITHIN + GRACE);
    assert_eq!(sleeping(&["1001", "1002", "1003", "1004"]), [], "the log:\n{}", shared.sshd.log);
}

#[test]
fn a_command_that_comes_over_a_kept_connection_is_ended_with_it() {
    assert_ended_with_its_connection("trap '' HUP TERM; sleep 1001 & sleep 1002");
}

#[test]
fn what_such_a_command_starts_while_it_ends_is_ended_too() {
    // SIGTERM ends the first process. Another one then starts more. None of them descends from the first one now.
    assert_ended_with_its_connection(
        "(trap 'trap \"\" HUP TERM; sleep 1003 & exec sleep 1004' TERM; sleep 1001 & wait) & exec sleep 1002",
    );
}

#[test]
fn a_shell_that_ignores_signals_is_killed_and_the_transfer_goes_on() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.shell.run("trap '' HUP TERM; nohup sleep 1001 >/dev/null 2>&1 &");
    assert!(shared.shell.exit(LATEST + GRACE + secs(2)).is_some(), "the log:\n{}", shared.sshd.log);
    assert_eq!(shared.work.exit(SOON).expect("the transfer ends").code(), 0, "{}", shared.sshd.log);
    shared.assert_ended("done", SEEN_WITHIN);
    // As with kill=tty, what ignores SIGHUP and leads no session lives on.
    let left = shared.sshd.processes_of("alice");
    assert!(left.len() == 1 && left[0].is_running("sleep 1001"), "{left:#?}");
}

#[test]
fn a_client_that_leaves_while_the_terminals_end_is_not_taken_for_a_crash() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.shell.run("trap '' HUP TERM");
    // The shell has two seconds to handle SIGTERM.
    shared.sshd.log.wait_for_event("ending", "alice", PAST_THE_PROMISE);
    shared.master.signal(Signal::SIGTERM);
    shared.assert_ended("closed", SOON);
    assert_eq!(shared.sshd.log.events("orphaned", "alice").len(), 0, "the log:\n{}", shared.sshd.log);
}

#[test]
fn a_connection_that_its_client_closes_is_on_record_as_that() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.assert_kept();
    shared.master.signal(Signal::SIGTERM);
    shared.assert_ended("closed", SOON);
    assert_eq!(shared.sshd.log.events("ending", "alice").len(), 1, "the log:\n{}", shared.sshd.log);
}

/// Gives up its terminal, and still reads what is typed there. It then looks like a command without a terminal.
const HIDES: &str =
    "exec perl -e '$SIG{HUP} = \"IGNORE\"; ioctl(STDIN, 0x5422, 0); print \"hid\", \"den\\n\"; sleep 1000'";

#[test]
fn a_terminal_that_hides_its_shell_is_not_kept() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.shell.type_line(HIDES);
    shared.shell.expect("hidden", SOON);
    // sshd has 5 s to close the terminal.
    let patience = until(shared.shell.last_key() + LATEST + secs(5) + SEEN_WITHIN);
    assert!(shared.shell.exit(patience).is_some(), "the log:\n{}", shared.sshd.log);
    shared.assert_ended("opened", secs(2));
}

#[test]
fn where_the_connection_or_the_terminals_cannot_be_known_it_is_kill_tty() {
    let shared = Shared::connect(Sshd::with(KEEPING).without_ptrace(), TRANSFER);
    assert_ended_on_time(&shared.sshd, &shared.shell);
    assert!(shared.master.exit(secs(3)).is_some(), "the log:\n{}", shared.sshd.log);
    let ending = shared.sshd.log.wait_for_event("ending", "alice", SOON);
    assert_eq!(ending.field("kept"), None, "{}", ending.text);
}

#[test]
fn after_a_crash_of_the_leader_a_kept_connection_ends() {
    let shared = Shared::connect(Sshd::with(KEEPING), TRANSFER);
    shared.assert_kept();
    shared.sshd.leader().kill(Signal::SIGKILL);
    assert!(shared.master.exit(SEEN_WITHIN + GRACE).is_some(), "the log:\n{}", shared.sshd.log);
    shared.sshd.log.wait_for_event("orphaned", "alice", SOON);
}
