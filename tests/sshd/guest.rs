//! The state of the helper, and that it leaves sshd unchanged.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, close, fork, pipe, read, write};
use pam_idle_watchdog::sys::cgroup::{enter, remove_if_alone};

use crate::promise::*;
use crate::support::log::Line;
use crate::support::process::{self, Process, wait_some};
use crate::support::sshd::{Builder, Sshd};
use crate::support::{SOON, old_kernel};

/// Moves the leader into its own scope, as pam_systemd and logind do. It runs from pam_exec, whose parent is
/// the leader.
const MAKE_SCOPE: &str = r#"#!/bin/sh
set -eu
[ "$PAM_TYPE" = open_session ] || exit 0
dir=${0%/*}
while read -r _ mountpoint type options _; do
    case $type,$options in
    cgroup2,* | cgroup,*name=systemd*)
        slice=$mountpoint/${dir##*/}.slice
        scope=$slice/session-t1.scope
        mkdir -p "$scope"
        # The test removes them at its end. The innermost comes first.
        printf '%s\n' "$scope" "$slice" >>"$dir/cgroups"
        echo "$PPID" >"$scope/cgroup.procs"
        ;;
    esac
done </proc/self/mounts
[ ! -e "$dir/logind" ] || install -D "$dir/logind" /run/systemd/sessions/t1
"#;

const IN_SCOPE: [&str; 2] = [
    "session required pam_exec.so quiet @DIR@/make-scope",
    "session required pam_env.so readenv=1 envfile=@DIR@/scope-env conffile=/dev/null",
];

/// Starts an sshd whose sessions have a scope, as with systemd.
pub fn with_scope(builder: Builder) -> Sshd {
    let sshd = builder.before(&IN_SCOPE).start();
    sshd.script("make-scope", MAKE_SCOPE);
    sshd.script("scope-env", "XDG_SESSION_ID=t1\n");
    sshd
}

fn links(process: &Process) -> Vec<String> {
    let mut links: Vec<_> = fs::read_dir(process.file("fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    links.sort();
    links
}

#[test]
fn the_helper_has_nothing_of_the_session_open() {
    let sshd = with_scope(Sshd::with(OPTIONS));
    let alice = sshd.login("alice");
    let (helper, leader) = (sshd.helper(), sshd.leader());
    let of_the_leader = links(&leader);

    assert!(leader.text("cgroup").contains("session-t1.scope"), "the scope is real");
    assert!(!helper.text("cgroup").contains("session-t1.scope"), "{}", helper.text("cgroup"));
    assert_eq!(helper.text("environ"), "");
    assert_eq!(fs::read_link(helper.file("cwd")).unwrap().to_str(), Some("/"));
    assert_eq!(helper.tty, 0);
    assert_eq!(helper.sid, helper.pid, "a session of its own");
    assert_ne!(helper.ppid, leader.pid);
    // After the bracket of the name come the state, the parent and so on. The niceness is the 17th.
    let stat = helper.text("stat");
    assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').nth(16), Some("-20"), "{stat}");
    let autogroup = || helper.text("autogroup").trim_end().ends_with(" nice -20").then_some(());
    wait_some(autogroup, SOON).expect("urgent among sessions, too");
    assert_eq!(helper.status("Uid").split_whitespace().collect::<Vec<_>>(), ["0"; 4]);

    let mut handles = 0;
    for link in links(&helper) {
        match link.as_str() {
            "anon_inode:[pidfd]" => handles += 1,
            stat if old_kernel() && stat == leader.file("stat").to_str().unwrap() => handles += 1,
            "/dev/null"
            | "anon_inode:[timerfd]"
            | "anon_inode:[signalfd]"
            | "anon_inode:[eventpoll]"
            | "anon_inode:[eventfd]" => {}
            // This is the helper's own socket to the log daemon.
            socket if socket.starts_with("socket:[") => {
                assert!(!of_the_leader.contains(&link), "{socket} is the leader's");
                let inode = socket.trim_start_matches("socket:[").trim_end_matches(']');
                let unix = helper.text("net/unix");
                assert!(unix.split_whitespace().any(|w| w == inode), "{socket} of what kind?");
            }
            other => panic!("the helper holds {other}"),
        }
    }
    assert_eq!(handles, 1, "the leader's");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("kernel"), old_kernel().then_some("old"), "{}", armed.text);
    assert_ended_on_time(&sshd, &alice);
}

#[test]
fn without_an_audit_session_the_scope_shows_the_members() {
    let sshd = with_scope(Sshd::with(OPTIONS).without_loginuid());
    let alice = sshd.login("alice");
    let daemon = "exit if fork; setsid; exit if fork; sleep 1000";
    alice.run(&format!("perl -MPOSIX -e '{daemon}' </dev/null >/dev/null 2>&1"));
    let daemon = || sshd.processes_of("alice").into_iter().find(|p| p.comm == "perl" && p.ppid == 1);
    wait_some(daemon, SOON).expect("a daemon of alice's");
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}

#[test]
fn a_process_that_chooses_an_audit_id_is_not_spared() {
    let sshd = with_scope(Sshd::with(OPTIONS).without_loginuid());
    let alice = sshd.login("alice");
    alice.run("setsid -f sh -c 'echo 4242 >/proc/self/loginuid; exec sleep 1000' </dev/null >/dev/null 2>&1");
    let has_id = |p: &Process| fs::read_to_string(p.file("loginuid")).is_ok_and(|id| id == "4242");
    let picked = || sshd.processes_of("alice").into_iter().find(has_id);
    wait_some(picked, SOON).expect("an id of alice's choice");
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}

/// The record that a session of this user is skipped.
fn skipped<'a>(user: &'a str, because: &'a str) -> impl Fn(&Line) -> bool + 'a {
    move |line| {
        let text = format!("reason=\"{because}\"");
        line.is("skipped") && line.field("user") == Some(user) && line.text.contains(&text)
    }
}

#[test]
fn greeters_and_desktops_of_logind_are_skipped() {
    for (kind, because) in [
        ("TYPE=wayland\nCLASS=greeter\nSERVICE=lightdm-greeter", "session class greeter"),
        ("TYPE=x11\nCLASS=user\nSERVICE=gdm-password", "session type x11"),
    ] {
        let sshd = with_scope(Sshd::with(OPTIONS).nested(OPTIONS));
        sshd.script("logind", &format!("UID=0\nREMOTE=0\n{kind}\n"));
        // su plays the part of a display manager. A session from a remote host is watched itself.
        let root = sshd.login("root");
        sshd.log.wait_for_event("armed", "root", SOON);
        // This is like a shell in the window of a terminal emulator.
        root.type_line("su bob");
        sshd.log.wait_for("the exception", skipped("bob", because), SOON);
        assert_eq!(sshd.helpers().len(), 1);
        drop(root);
        assert_no_helper_left(&sshd, SOON);
    }
}

#[test]
fn a_login_from_a_remote_host_is_watched_whatever_logind_says() {
    for kind in ["TYPE=wayland\nCLASS=user", "TYPE=tty\nCLASS=greeter"] {
        let sshd = with_scope(Sshd::with(OPTIONS).nested("timeout=10m"));
        let record = format!("UID=0\nREMOTE=1\n{kind}\nREMOTE_HOST=127.0.0.1\nSERVICE=sshd\n");
        sshd.script("logind", &record);
        let root = sshd.login("root");
        sshd.log.wait_for_event("armed", "root", SOON);
        root.type_line("su bob");
        sshd.log.wait_for_event("armed", "bob", SOON);
        assert_eq!(sshd.log.all(|line| line.is("skipped")).len(), 0, "the log:\n{}", sshd.log);
        assert_ended_on_time(&sshd, &root);
    }
}

#[test]
fn a_session_class_chosen_by_the_user_exempts_nobody() {
    let readenv = "session required pam_env.so user_readenv=1 envfile=/dev/null conffile=/dev/null";
    let sshd = Sshd::with(OPTIONS).before(&[readenv]).start();
    let text = "XDG_SESSION_TYPE=wayland\nXDG_SESSION_CLASS=greeter\nXDG_SESSION_ID=1\n";
    std::fs::write(sshd.home("alice").join(".pam_environment"), text).unwrap();
    let alice = sshd.login("alice");
    alice.type_line("echo $XDG_SESSION_TYPE");
    alice.expect("wayland", SOON);
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("session"), None, "{}", armed.text);
    assert_ended_on_time(&sshd, &alice);
}

/// The state that PAM modules may change in the process that calls them. Numbers of sockets, pipes and
/// terminals differ between logins.
fn leaders_state(sshd: &Sshd) -> BTreeMap<&'static str, String> {
    let leader = sshd.leader();
    let digits = |c: char| c.is_ascii_digit();
    let descriptors: Vec<_> = links(&leader).iter().map(|l| l.replace(digits, "")).collect();
    let children: Vec<_> = leader
        .text(&format!("task/{}/children", leader.pid))
        .split_whitespace()
        // A child that works or waits is alike. One that nobody has reaped is not.
        .map(|pid| Process::read(pid.parse().unwrap()).map(|p| (p.comm, p.state == 'Z')))
        .collect();
    let mut state = BTreeMap::from([
        ("descriptors", format!("{descriptors:#?}")),
        ("children", format!("{children:?}")),
        ("cwd", fs::read_link(leader.file("cwd")).unwrap().display().to_string()),
        ("limits", leader.text("limits")),
    ]);
    for field in ["SigIgn", "SigCgt", "SigBlk", "Umask", "Threads"] {
        state.insert(field, leader.status(field));
    }
    state
}

#[test]
fn the_module_leaves_sshd_unchanged() {
    let plain = Sshd::without_watchdog().start();
    let watched = Sshd::with(OPTIONS).start();
    for user in ["alice", "root"] {
        let clients = [plain.login(user), watched.login(user)];
        assert_eq!(leaders_state(&plain), leaders_state(&watched), "{user}");
        drop(clients);
        for sshd in [&plain, &watched] {
            assert_eq!(process::wait_none(|| sshd.leaders(), SOON), Ok(()));
        }
    }
}

#[test]
fn the_terminals_are_found_even_without_the_right_to_trace() {
    let sshd = Sshd::with(OPTIONS).without_ptrace().start();
    let alice = sshd.login("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("terminals-by"), Some("sessions"), "{}", armed.text);
    assert_ended_on_time(&sshd, &alice);
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
}

/// The real control groups of this machine, in the test's own directory, because other tests have watchdogs,
/// too.
fn own_hierarchy(name: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let is_hierarchy = |line: &&str| line.contains(" cgroup2 ") || line.contains("name=systemd");
    let mount = mounts.lines().find(is_hierarchy).and_then(|line| line.split(' ').nth(1)).expect("cgroups");
    let directory = Path::new(mount).join(format!("idle-watchdog-test-{name}-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    directory
}

/// Does something in a child, which may move to other control groups. Returns the child.
pub fn in_child(work: impl FnOnce() -> bool) -> Pid {
    // SAFETY: the child makes system calls, and exits without running code of its parent.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: _exit takes an integer and does not return.
            unsafe { libc::_exit(i32::from(!done)) }
        }
    }
}

/// The child has done it.
#[track_caller]
pub fn assert_done(child: Pid) {
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
}

#[test]
fn the_last_helper_removes_the_control_group() {
    let above = own_hierarchy("last");
    let directory = above.join("group");
    let (above, directory) = (&above, &directory);
    let (other_is_in, leave) = (pipe().unwrap(), pipe().unwrap());
    let other = in_child(|| {
        // The descriptor is closed, so that the child does not wait forever if this test fails.
        close(leave.1.as_raw_fd()).unwrap();
        let entered = enter(directory).is_ok();
        write(&other_is_in.1, b"x").unwrap();
        read(&leave.0, &mut [0]).unwrap();
        remove_if_alone(above, directory);
        entered && !directory.exists()
    });
    read(&other_is_in.0, &mut [0]).unwrap();
    assert_done(in_child(|| {
        let entered = enter(directory).is_ok();
        remove_if_alone(above, directory);
        // Another process is in it, and this one, too.
        let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        entered && inside.lines().count() == 2
    }));
    write(&leave.1, b"x").unwrap();
    assert_done(other);
    fs::remove_dir(above).unwrap();
}

#[test]
fn a_process_can_enter_the_control_group_while_another_removes_it() {
    let above = own_hierarchy("race");
    let directory = above.join("group");
    let children = [(); 4].map(|()| {
        in_child(|| {
            (0..200).all(|_| {
                let entered = enter(&directory).is_ok();
                remove_if_alone(&above, &directory);
                // A process that was not alone leaves, too.
                entered && fs::write(above.join("cgroup.procs"), "0").is_ok()
            })
        })
    });
    children.into_iter().for_each(assert_done);
    let _ = fs::remove_dir(&directory);
    fs::remove_dir(&above).unwrap();
}

/// The caller of su may have chosen the umask.
#[test]
fn no_umask_widens_the_mode_of_the_control_group() {
    let above = own_hierarchy("mode");
    let directory = above.join("group");
    assert_done(in_child(|| {
        umask(Mode::empty());
        let entered = enter(&directory).is_ok();
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        remove_if_alone(&above, &directory);
        entered && mode & 0o777 == 0o755
    }));
    fs::remove_dir(&above).unwrap();
}
