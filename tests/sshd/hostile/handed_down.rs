//! The state that the helper inherits from the caller of su, with the worst values.

use std::collections::BTreeSet;
use std::fs;

use crate::promise::*;
use crate::support::log::Line;
use crate::support::process::{Process, wait_some};
#[cfg(target_arch = "x86_64")]
use crate::support::sshd::Helper;
use crate::support::sshd::Sshd;
use crate::support::{SOON, now, secs};

/// Sets the state that a process without privileges can set and that survives execve(2). Then it runs its
/// arguments. It says "refused NAME" if a setting that must fail has failed, and "kept NAME" if a setting did
/// not work on this kernel.
///
/// `PR_TSC_SIGSEGV` is left out, because su would crash.
const WORST: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static void set(const char *name, long result)
{
	if (result < 0)
		printf("kept %s: %s\r\n", name, strerror(errno));
}

static void refuse(const char *name, long result)
{
	printf(result < 0 ? "refused %s\r\n" : "allowed %s\r\n", name);
}

static long put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	long done = write(fd, text, strlen(text));

	close(fd);
	return done;
}

static long limit(int resource, unsigned long value)
{
	struct rlimit limit = { value, value };

	return setrlimit(resource, &limit);
}

int main(int argc, char **argv)
{
	struct sched_param normal = { 0 };
	struct itimerval hour = { { 3600, 0 }, { 3600, 0 } };
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog filter = { 1, &allow };
	unsigned long first = 1;
	sigset_t all;
	int i;

	refuse("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
	refuse("securebits", prctl(PR_SET_SECUREBITS, 1));
	refuse("bounding", prctl(PR_CAPBSET_DROP, 5, 0, 0, 0));

	/* This comes before the limit on CPUs, so that the limit cannot be the reason for a failure. */
	set("batch", sched_setscheduler(0, SCHED_BATCH, &normal));
	set("nice", setpriority(PRIO_PROCESS, 0, 10));
	set("affinity", syscall(SYS_sched_setaffinity, 0, sizeof first, &first));
	set("ioprio", syscall(SYS_ioprio_set, 1, 0, 3 << 13));
	set("mempolicy", syscall(SYS_set_mempolicy, 2, &first, 8 * sizeof first));
	set("personality", personality(UNAME26 | STICKY_TIMEOUTS | SHORT_INODE | WHOLE_SECONDS));
	set("session keyring", syscall(SYS_keyctl, 1, "idle-watchdog-worst"));
	set("oom_score_adj", put("/proc/self/oom_score_adj", "1000"));
	set("coredump_filter", put("/proc/self/coredump_filter", "0x7f"));
	set("thp", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	set("mce", prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	set("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	set("pdeathsig", prctl(PR_SET_PDEATHSIG, SIGKILL));
	set("mdwe", prctl(65, 1, 0, 0, 0));
	set("timer", setitimer(ITIMER_REAL, &hour, 0));
	set("files", limit(RLIMIT_NOFILE, 64));
	set("processor", limit(RLIMIT_CPU, 7200));
	set("size", limit(RLIMIT_FSIZE, 1 << 20));
	set("stack", limit(RLIMIT_STACK, 1 << 20));
	umask(0);
	for (i = 1; i <= 64; i++)
		signal(i, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, 0);
	/* This comes last, because from here on none of our waits times out. */
	set("timerslack", prctl(PR_SET_TIMERSLACK, 1UL << 62));
	fflush(stdout);
	execvp(argv[1], argv + 1);
	return 127;
}
"#;

/// The text of a file below `/proc/PID`, or why it cannot be read. The kernel may not have it.
fn text(process: &Process, name: &str) -> String {
    fs::read_to_string(process.file(name)).unwrap_or_else(|error| error.to_string())
}

/// Whether the helper has `CAP_SYS_RESOURCE`. Some containers do not give it.
fn may_raise_limits() -> bool {
    let own = Process::read(std::process::id().try_into().unwrap()).expect("this process");
    let effective = u64::from_str_radix(&own.status("CapEff"), 16).expect("a number");
    effective & (1 << 24) != 0
}

/// The visible part of the inherited state, one fact a line.
fn state(helper: &Process) -> Vec<String> {
    let mut facts: Vec<String> = ["timerslack_ns", "personality", "coredump_filter", "oom_score_adj"]
        .map(|name| format!("{name} {}", text(helper, name).trim()))
        .into();
    let kept = ["Umask:", "SigBlk:", "SigIgn:", "Cpus_allowed:", "THP_enabled:", "NoNewPrivs:", "Seccomp:"];
    let status = text(helper, "status");
    facts.extend(status.lines().filter(|line| kept.iter().any(|k| line.starts_with(k))).map(str::to_owned));
    if may_raise_limits() {
        facts.extend(text(helper, "limits").lines().map(str::to_owned));
    }
    let sched = text(helper, "sched");
    let scheduling =
        |line: &&str| ["policy", "prio ", "uclamp", "effective"].iter().any(|k| line.starts_with(k));
    facts.extend(sched.lines().filter(scheduling).map(str::to_owned));
    let maps = text(helper, "numa_maps");
    let policy = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let policies: BTreeSet<String> = maps.lines().map(policy).collect();
    facts.push(format!("memory policies {policies:?}"));
    // SAFETY: ioprio_get takes two integers. 1 means one process.
    let urgency = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, helper.pid) };
    facts.push(format!("I/O class {}", urgency >> 13));
    facts
}

#[test]
fn nothing_that_the_caller_of_su_sets_delays_the_end() {
    let sshd = Sshd::with("timeout=10m debug").nested(OPTIONS).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let outer = sshd.helper();
    let worst = sshd.program("worst", WORST);
    alice.type_line(&format!("{} su bob", worst.display()));
    sshd.log.wait_for_event("armed", "bob", SOON);
    alice.wait_for_shell();
    println!("{}", alice.screen());
    for name in ["seccomp", "securebits", "bounding"] {
        alice.expect(&format!("refused {name}"), SOON);
    }
    assert!(!alice.shows("kept timerslack"), "{}", alice.screen());

    let inner = sshd.helpers().into_iter().find(|helper| *helper != outer).expect("bob's helper");
    assert_eq!(state(&inner), state(&outer));

    // The end does not take an hour, as it would with the timers of the caller.
    let ended = sshd.log.wait_for_event("ended", "bob", PAST_THE_PROMISE + GRACE);
    let idle = ended.at - alice.last_key();
    assert!(
        (LIMIT..LATEST_BY_STAMPS + GRACE + secs(1)).contains(&idle),
        "after {idle:?}; the log:\n{}",
        sshd.log
    );
    assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);
    assert_no_process_left(&sshd, "bob", gone_by_stamps(alice.last_key()));
    wait_some(|| (sshd.helpers() == [outer.clone()]).then_some(()), SOON).expect("alice's helper alone");
}

/// If the helper cannot raise a limit, it does not pretend to guard.
#[test]
fn a_limit_that_would_end_the_helper_is_raised_or_the_session_refused() {
    let sshd = Sshd::with("timeout=10m").nested(OPTIONS).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    let outer = sshd.helper();
    let limits = [
        ("--cpu=5", "Max cpu time"),
        ("--as=67108864", "Max address space"),
        ("--data=16777216", "Max data size"),
        ("--sigpending=4", "Max pending signals"),
    ];
    for (limit, name) in limits {
        alice.type_line(&format!("prlimit {limit} su bob"));
        if may_raise_limits() {
            let armed = |line: &Line| line.is("armed") && line.text.contains("(su:session)");
            sshd.log.wait_for(name, armed, SOON);
            alice.wait_for_shell();
            let inner = sshd.helpers().into_iter().find(|helper| *helper != outer).expect("bob's helper");
            let limits = inner.text("limits");
            let line = limits.lines().find(|line| line.starts_with(name)).expect("the limit");
            assert_eq!(line.matches("unlimited").count(), 2, "{line}");
            alice.type_line("exit");
            assert!(inner.wait_gone(now() + SOON).is_some(), "the log:\n{}", sshd.log);
        } else {
            let refused = |line: &Line| line.is("error") && line.text.contains(&format!("refuses: {name}"));
            sshd.log.wait_for(name, refused, SOON);
            alice.wait_for_shell();
            assert_eq!(sshd.helpers(), std::slice::from_ref(&outer), "the log:\n{}", sshd.log);
        }
    }
}

/// Forbids the time stamp counter, and starts the helper. su itself would crash.
#[cfg(target_arch = "x86_64")]
const TRAP: Helper = Helper::Script(
    r#"#!/usr/bin/perl
use constant { SYS_prctl => 157, PR_SET_TSC => 26, PR_TSC_SIGSEGV => 2 };
syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0 or die;
exec { '@HELPER@' } $0, @ARGV;
"#,
);

#[cfg(target_arch = "x86_64")]
#[test]
fn a_trap_on_reading_the_clock_does_not_end_the_helper() {
    let sshd = Sshd::with(OPTIONS).helper(TRAP).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    assert_ended_on_time(&sshd, &alice);
}
