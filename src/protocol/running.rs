//! Finds the running helpers, and reads their command lines.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use nix::unistd::Pid;

use crate::protocol::start::{Assignment, HELPER};
use crate::sys::offload;
use crate::sys::proc::{Proc, ProcId, Process};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningHelper {
    pub id: ProcId,
    /// The leader of its session. It is known even if the helper has another version.
    pub leader: Option<Pid>,
    /// The command line of its start, which a reload does not change. The error says why it cannot be read: the
    /// helper has another version.
    pub told: Result<Assignment, String>,
}

/// The running helpers, except for those in containers.
#[must_use]
pub fn helpers() -> Vec<RunningHelper> {
    let proc = Proc::default();
    let mut found = helpers_in(&proc);
    // A container has its own root and its own policy.
    let ours = proc.pid_namespace(nix::unistd::getpid());
    found.retain(|helper| proc.pid_namespace(helper.id.pid) == ours);
    found
}

impl RunningHelper {
    /// Whether this process is the leader of its session. A helper that stays with what a logout left behind
    /// outlives its leader. A process that gets the PID after that has started later than the helper.
    #[must_use]
    pub fn is_led_by(&self, process: &Process) -> bool {
        self.leader == Some(process.id.pid) && process.id.started <= self.id.started
    }
}

/// The running helper of this leader's session.
#[must_use]
pub fn helper_of(leader: Pid) -> Option<ProcId> {
    let leader = Proc::default().process(leader)?;
    helpers().into_iter().find(|helper| helper.is_led_by(&leader)).map(|helper| helper.id)
}

fn helpers_in(proc: &Proc) -> Vec<RunningHelper> {
    let helpers: Vec<Process> = proc.processes().filter(|process| is_helper(proc, process)).collect();
    // A helper has children that talk to terminals on its behalf and look like helpers.
    let own = |process: &&Process| helpers.iter().all(|helper| helper.id.pid != process.parent);
    // Such a child outlives its helper if a terminal blocks it.
    let watches = |process: &&Process| {
        proc.command_name(process.id.pid).as_deref().map(str::as_bytes) != Some(offload::NAME.to_bytes())
    };
    let told = |process: &Process| {
        let args: Vec<OsString> = proc.arguments(process.id.pid)?.into_iter().skip(1).collect();
        let leader = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("--leader=")?.parse().ok());
        let told = Assignment::from_args(args).map_err(|e| e.to_string());
        Some(RunningHelper { id: process.id, leader: leader.map(Pid::from_raw), told })
    };
    helpers.iter().filter(own).filter(watches).filter_map(told).collect()
}

/// Whether a process is a helper, even if its program has been replaced since.
fn is_helper(proc: &Proc, process: &Process) -> bool {
    if process.dead {
        return false;
    }
    let Some(program) = proc.program(process.id.pid) else { return false };
    let program = program.to_string_lossy();
    let ours = program.strip_suffix(" (deleted)").unwrap_or(&program) == HELPER;
    ours && proc.uids(process.id.pid) == Some((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::login::Login;
    use crate::policy::{Kill, Settings};
    use crate::sys::proc::Started;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Adds a process to a `/proc` of the test's own.
    fn process(root: &std::path::Path, pid: i32, parent: i32, program: &str, uid: u32, args: &[OsString]) {
        let directory = root.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("comm"), "pam_idle_watchd\n").unwrap();
        let stat = format!("{pid} (x) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0");
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("status"), format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")).unwrap();
        let line: String = args.iter().map(|arg| format!("{}\0", arg.to_str().unwrap())).collect();
        fs::write(directory.join("cmdline"), format!("{program}\0{line}")).unwrap();
        symlink(program, directory.join("exe")).unwrap();
    }

    #[test]
    fn helpers_are_known_by_their_program_and_told_from_their_children() {
        let settings = Settings { kill: Kill::Tty, ..Settings::default() };
        let login = Login {
            service: "sshd".into(),
            user: Some("alice".into()),
            rhost: Some(OsString::new()),
            ..Login::default()
        };
        let told = |leader| Assignment {
            login: login.clone(),
            leader: Pid::from_raw(leader),
            connection: None,
            adopted: None,
            line: vec![],
            settings: settings.clone(),
        };
        let args = told(70).to_args();
        let root = std::env::temp_dir().join(format!("idle-watchdog-reload-{}", std::process::id()));
        process(&root, 101, 1, HELPER, 0, &args);
        process(&root, 102, 101, HELPER, 0, &args);
        process(&root, 103, 1, &format!("{HELPER} (deleted)"), 0, &told(71).to_args());
        process(&root, 104, 1, HELPER, 1000, &args);
        process(&root, 105, 1, "/home/alice/pam_idle_watchdog_helper", 0, &args);
        process(&root, 106, 1, HELPER, 0, &["--from-the-past".into(), "--leader=72".into()]);
        // A child that writes for its helper. The helper has ended, and the child is blocked in the kernel
        // forever.
        process(&root, 107, 1, HELPER, 0, &args);
        fs::write(root.join("107/comm"), "idle_wd_aside\n").unwrap();
        let mut found = helpers_in(&Proc::at(&root));
        fs::remove_dir_all(&root).unwrap();
        found.sort_by_key(|helper| helper.id);
        let helper = |pid, leader, told| {
            let started = Started(i64::from(pid) * 10_000_000);
            let id = ProcId { pid: Pid::from_raw(pid), started };
            RunningHelper { id, leader: Some(Pid::from_raw(leader)), told }
        };
        let unread = Err("invalid option '--from-the-past'".to_owned());
        assert_eq!(
            found,
            [helper(101, 70, Ok(told(70))), helper(103, 71, Ok(told(71))), helper(106, 72, unread)]
        );
    }

    #[test]
    fn a_process_that_got_the_leaders_pid_later_leads_nothing() {
        let id = |pid, started| ProcId { pid: Pid::from_raw(pid), started: Started(started) };
        let process = |id| Process { id, parent: Pid::from_raw(1), session: id.pid, tty: 0, dead: false };
        let told = Err("another version".to_owned());
        let helper = RunningHelper { id: id(8, 100), leader: Some(Pid::from_raw(7)), told };
        // The module may start the helper in the same 10 ms as the leader.
        for (pid, started, leads) in [(7, 99, true), (7, 100, true), (7, 101, false), (6, 99, false)] {
            assert_eq!(helper.is_led_by(&process(id(pid, started))), leads, "{pid} {started}");
        }
    }
}
