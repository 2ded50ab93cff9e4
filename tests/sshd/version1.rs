//! Control groups of version 1, where each controller has a hierarchy of its own.

use crate::promise::*;
use crate::support::SOON;
use crate::support::process::Process;
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
