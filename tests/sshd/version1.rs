//! Control groups of version 1, where each controller has a hierarchy of its own.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use pam_idle_watchdog::sys::cgroup::Cgroups;
use pam_idle_watchdog::sys::proc::Proc;

use crate::guest::{assert_done, in_child};
use crate::policy::{error, refused};
use crate::promise::*;
use crate::support::SOON;
use crate::support::process::{Process, wait_some};
use crate::support::sshd::Sshd;

/// A host with version 1 only. A kernel whose unified hierarchy has the controller `pids` cannot mount it here.
const VERSION_1: &str = "
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
cd /sys/fs/cgroup
mkdir systemd freezer pids
mount -t cgroup -o none,name=systemd cgroup systemd
mount -t cgroup -o freezer cgroup freezer
mount -t cgroup -o pids cgroup pids || rmdir pids
";

/// Moves the leader into a scope in the hierarchies that are named. It runs from pam_exec, whose parent is the leader.
const MAKE_SCOPES: &str = r#"#!/bin/sh
set -eu
[ "$PAM_TYPE" = open_session ] || exit 0
dir=${0%/*}
for hierarchy; do
    [ -d "/sys/fs/cgroup/$hierarchy" ] || continue
    slice=/sys/fs/cgroup/$hierarchy/${dir##*/}.slice
    scope=$slice/session-t1.scope
    mkdir -p "$scope"
    printf '%s\n' "$scope" "$slice" >>"$dir/cgroups"
    echo "$PPID" >"$scope/cgroup.procs"
    [ "$hierarchy" != pids ] || echo 24 >"$scope/pids.max"
done
"#;

/// Starts an sshd on a host with version 1. Its sessions have a scope in these hierarchies, and at most 24 processes.
fn with_scopes_in(hierarchies: &str) -> Sshd {
    let make = format!("session required pam_exec.so quiet @DIR@/make-scopes {hierarchies}");
    let sshd = Sshd::with(OPTIONS).on_a_host(VERSION_1).before(&[&make]).start();
    sshd.script("make-scopes", MAKE_SCOPES);
    sshd
}

/// The hierarchies in which a process is in the scope.
fn scopes_of(process: &Process) -> Vec<String> {
    let text = process.text("cgroup");
    let scopes = text.lines().filter(|line| line.ends_with("/session-t1.scope"));
    scopes.filter_map(|line| Some(line.split(':').nth(1)?.to_owned())).collect()
}

/// systemd itself uses no group of the freezer. If a session has one, whoever owns it could stop the helper.
#[test]
fn the_helper_leaves_each_hierarchy() {
    let sshd = with_scopes_in("systemd pids freezer");
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let scopes = scopes_of(&sshd.leader());
    assert!(scopes.contains(&"name=systemd".into()) && scopes.contains(&"freezer".into()), "{scopes:?}");
    assert_eq!(scopes_of(&sshd.helper()), Vec::<String>::new());
    assert!(sshd.helper().text("cgroup").contains(":name=systemd:/idle_watchdog\n"), "a group of its own");
    assert_ended_on_time(&sshd, &alice);
}

/// As in a container whose control groups cannot be changed.
#[test]
fn a_helper_that_cannot_leave_one_hierarchy_does_not_start() {
    let make = "session required pam_exec.so quiet @DIR@/make-scopes systemd freezer";
    let forbid = "session required pam_exec.so quiet /bin/mount -o remount,bind,ro /sys/fs/cgroup/freezer";
    let sshd = Sshd::with(OPTIONS).on_a_host(VERSION_1).before(&[make, forbid]).start();
    sshd.script("make-scopes", MAKE_SCOPES);
    refused(&sshd, "alice");
    let text = error(&sshd, "session", "alice").text;
    // So that the scope can be removed.
    let allow = ["-o", "remount,bind,rw", "/sys/fs/cgroup/freezer"];
    assert!(sshd.inside("mount").args(allow).status().unwrap().success());
    let why = "control group: /sys/fs/cgroup/freezer: Read-only file system";
    assert!(text.contains(why), "{text}");
}

/// A user has as many processes as the session may have, so no process there can start another.
#[test]
fn a_user_at_the_limit_of_processes_changes_nothing() {
    let sshd = with_scopes_in("systemd pids");
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let limited = scopes_of(&sshd.leader()).contains(&"pids".into());
    if !limited {
        println!("not tried: the unified hierarchy of this machine has the controller pids");
        return;
    }
    let fill = "$SIG{HUP} = $SIG{TERM} = q(IGNORE); 1 while $child = fork; defined $child or print qq(fu), qq(ll\\n); sleep 1000";
    alice.type_line(&format!("perl -e '$| = 1; {fill}' &"));
    alice.expect("full", SOON);
    // Another process of the helper's writes the warning.
    alice.expect("press Enter", LIMIT);
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    let ended = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
}

/// A scope with processes that fork and exit all the time.
struct Restless {
    slice: PathBuf,
    scope: PathBuf,
}

impl Restless {
    fn new() -> Self {
        let slice = PathBuf::from(format!("/sys/fs/cgroup/systemd/idle-watchdog-test-{}.slice", getpid()));
        let scope = slice.join("session-t1.scope");
        fs::create_dir_all(&scope).unwrap();
        let restless = Self { slice, scope };
        let chain = "perl -e 'while (1) { fork and exit }' &";
        let script = format!(
            "echo $$ >{}/cgroup.procs; sleep 1000 & {chain} {chain} {chain}",
            restless.scope.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        restless
    }

    fn pids(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.scope.join("cgroup.procs")).unwrap();
        text.lines().map(|line| Pid::from_raw(line.parse().unwrap())).collect()
    }

    fn kill_all(&self) {
        for pid in self.pids() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        while !self.pids().is_empty() {
            self.kill_all();
        }
        let _ = fs::remove_dir(&self.scope);
        let _ = fs::remove_dir(&self.slice);
    }
}

#[test]
fn the_freezer_freezes_a_scope_whose_processes_fork_all_the_time() {
    assert_done(in_child(|| {
        // SAFETY: unshare(2) takes an integer.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        let host = format!("mount --make-rprivate /\n{VERSION_1}");
        assert!(Command::new("sh").args(["-euc", &host]).status().unwrap().success());
        let restless = Restless::new();
        let proc = Proc::default();
        let scope = wait_some(|| Cgroups::of(&proc, *restless.pids().first()?).scope(), SOON).unwrap();

        let frozen = scope.freeze(&proc).expect("a freezer");
        assert!(frozen.whole);
        let pids = restless.pids();
        assert!(pids.len() >= 4, "{pids:?}");
        // In this time each chain would have got other PIDs.
        assert!(Command::new("true").status().unwrap().success());
        assert_eq!(restless.pids(), pids);
        restless.kill_all();
        drop(frozen);

        let gone = || restless.pids().is_empty().then_some(());
        wait_some(gone, SOON).expect("killed");
        let group = format!("/sys/fs/cgroup/freezer/idle_watchdog-{}", getpid());
        assert!(!Path::new(&group).exists());
        true
    }));
}

/// Gets the names of the directories that are made in a directory from now on (inotify(7)).
fn watch(directory: &str) -> File {
    let directory = CString::new(directory).unwrap();
    // SAFETY: the descriptor is new and belongs to nobody else. The path lives until the call returns.
    unsafe {
        let watch = File::from_raw_fd(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK));
        assert!(libc::inotify_add_watch(watch.as_raw_fd(), directory.as_ptr(), libc::IN_CREATE) >= 0);
        watch
    }
}

#[test]
fn a_helper_that_has_given_up_its_rights_uses_the_freezer() {
    let sshd = with_scopes_in("systemd");
    let alice = sshd.login("alice");
    let group = format!("idle_watchdog-{}", sshd.helper().pid);
    let mut made = watch(&format!("/proc/{}/root/sys/fs/cgroup/freezer", sshd.daemon().pid));
    let chains = "$SIG{HUP} = $SIG{TERM} = q(IGNORE); sleep 8; for (1 .. 3) { fork and next; while (1) { fork and exit } }";
    alice.run(&format!("setsid -f perl -e '{chains}'"));
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    let ended = sshd.log.wait_for_event("ended", "alice", SOON);
    assert_eq!((ended.field("survivors"), ended.field("incomplete")), (Some("0"), None), "{}", ended.text);
    let mut events = [0; 4096];
    let length = made
        .read(&mut events)
        .unwrap_or_else(|e| panic!("no group of the freezer was made: {e}; the log:\n{}", sshd.log));
    let events = String::from_utf8_lossy(&events[..length]).into_owned();
    assert!(events.contains(&group), "{group}: {events:?}; the log:\n{}", sshd.log);
}
