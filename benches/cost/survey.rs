//! Measures the cost of finding a session's members among all processes, for several shapes of these processes.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pam_idle_watchdog::helper::members::{Owner, SessionIdentity};
use pam_idle_watchdog::helper::terminals::Finder;
use pam_idle_watchdog::sys::cgroup::Cgroups;
use pam_idle_watchdog::sys::pidfd::PidFd;
use pam_idle_watchdog::sys::proc::Proc;

use crate::table::{Table, milliseconds};
use crate::{clock, wait_until};

const SURVEYS: usize = 7;

/// `shape CHAIN LEAVES FILES [PTMX DIRECTORY NUMBER]`: starts a chain of parents, and leaves below it. Each leaf
/// has that many descriptors and is on the terminal with that number. It writes a byte when it is ready. All
/// processes exit when standard input ends.
const SHAPE: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void rest(void)
{
	char byte;

	if (getpid() == getsid(0)) {
		while (read(0, &byte, 1) > 0)
			;
		kill(0, SIGKILL);
	}
	for (;;)
		pause();
}

static int grow(void)
{
	int child = fork();

	if (child < 0)
		kill(0, SIGKILL);
	return child;
}

int main(int argc, char **argv)
{
	int chain = atoi(argv[1]), leaves = atoi(argv[2]), files = atoi(argv[3]), number = -1, master, zero = 0;
	char path[256];

	if (argv[0][0] == '/')
		setsid();
	while (argc > 6 && number != atoi(argv[6])) {
		master = open(argv[4], O_RDWR | O_NOCTTY);
		if (master < 0 || ioctl(master, TIOCGPTN, &number) < 0)
			return 1;
	}
	if (argc > 6) {
		ioctl(master, TIOCSPTLCK, &zero);
		snprintf(path, sizeof path, "%s/%d", argv[5], number);
		if (ioctl(open(path, O_RDWR), TIOCSCTTY, 0) < 0)
			return 1;
	}
	if (chain > 0) {
		if (grow())
			rest();
		/* After a thousand forks of the same memory, each fork and each exit would be slow. */
		snprintf(path, sizeof path, "%d", chain - 1);
		argv[0] = "link";
		argv[1] = path;
		return execv("/proc/self/exe", argv);
	}
	while (leaves-- > 0)
		if (!grow()) {
			while (files-- > 0)
				open("/dev/null", O_RDONLY);
			write(1, ".", 1);
			rest();
		}
	rest();
}
"#;

/// Processes of one shape. Dropping them ends them.
struct Shape(Child);

impl Shape {
    fn grow(program: &Path, args: &[&str]) -> Self {
        let mut child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut there = vec![0; args[1].parse().unwrap()];
        let read = child.stdout.as_mut().unwrap().read_exact(&mut there);
        let shape = Self(child);
        read.unwrap_or_else(|e| panic!("processes {args:?} (a limit?): {e}"));
        shape
    }
}

impl Drop for Shape {
    fn drop(&mut self) {
        let session = Pid::from_raw(self.0.id() as i32);
        let _ = killpg(session, Signal::SIGKILL);
        let _ = self.0.wait();
        wait_until("the shape is gone", || {
            Proc::default().processes().all(|process| process.session != session || process.dead)
        });
    }
}

/// A leader with a terminal in use. It has its own audit ID if the kernel has audit IDs.
struct Leader {
    child: Child,
    sitting: Child,
    number: u32,
}

impl Leader {
    fn start() -> Self {
        let pty = openpty(None, None).unwrap();
        let number = pam_idle_watchdog::sys::tty::number(&pty.master).unwrap();
        let script = "echo 4242 2>/dev/null >/proc/self/loginuid; exec sleep 600";
        let child = Command::new("setsid").args(["sh", "-c", script]).stdin(pty.master).spawn().unwrap();
        let sitting =
            Command::new("setsid").args(["--ctty", "sleep", "600"]).stdin(pty.slave).spawn().unwrap();
        let leader = Self { child, sitting, number };
        let sleeps =
            |pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
        wait_until("the leader is there", || sleeps(leader.child.id()) && sleeps(leader.sitting.id()));
        leader
    }

    /// The median time of some surveys, and the number of processes.
    fn survey(&self) -> (Duration, usize) {
        let (proc, pid) = (Proc::default(), Pid::from_raw(self.child.id() as i32));
        let (leader, pidfd) = (proc.process(pid).unwrap(), PidFd::open(pid).unwrap());
        let identity = SessionIdentity::of(&proc, &leader, &Cgroups::default(), Owner::default());
        let finder = Finder::new(proc.clone(), &leader, Some("ssh".as_ref()));
        let terminals = finder.find();
        assert_eq!(terminals.len(), 1);
        let mut times: Vec<Duration> = (0..SURVEYS)
            .map(|_| {
                let begin = clock();
                let controlling = finder.controlling_sessions(&terminals, &pidfd, &[]);
                let survey = identity.survey(&proc, &controlling, |_| {});
                assert_eq!(survey.members.len(), 2);
                begin.elapsed()
            })
            .collect();
        times.sort();
        (times[times.len() / 2], proc.processes().count())
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.sitting] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn build(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("shape.c"), dir.join("shape"));
    fs::write(&source, SHAPE).unwrap();
    let built = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status();
    assert!(built.unwrap().success(), "gcc");
    program
}

/// A devpts instance of its own, in this mount namespace.
fn another_devpts(dir: &Path) -> PathBuf {
    let directory = dir.join("pts");
    fs::create_dir(&directory).unwrap();
    let options = ["-t", "devpts", "-o", "newinstance,ptmxmode=666", "pts"];
    let mounted = Command::new("mount").args(options).arg(&directory).status().unwrap();
    assert!(mounted.success(), "mount devpts");
    directory
}

pub fn survey(dir: &Path) {
    let program = build(dir);
    let leader = Leader::start();
    let devpts = another_devpts(dir);
    let most: usize = env::var("IDLE_WATCHDOG_BENCH_PROCESSES").map_or(10_000, |text| text.parse().unwrap());
    let mut table = Table::new(
        &format!("A survey: who is a member of one session, median of {SURVEYS}"),
        &["among", "processes", "ms", "microseconds a process"],
    );
    let mut row = |name: &str| {
        let (time, count) = leader.survey();
        let each = time.as_secs_f64() * 1e6 / count as f64;
        table.row(&[name, &count.to_string(), &milliseconds(time), &format!("{each:.1}")]);
    };
    for count in [100, 1000, 10_000].into_iter().filter(|count| *count <= most) {
        let _shape = Shape::grow(&program, &["0", &count.to_string(), "0"]);
        row(&format!("{count} that sleep"));
    }
    // Shapes that a hostile user may choose.
    let (chain, leaves) = (most.min(12_000) / 3, most.min(12_000) / 3 * 2);
    {
        let _shape = Shape::grow(&program, &[&chain.to_string(), &leaves.to_string(), "0"]);
        row(&format!("{leaves} below a chain of {chain} parents"));
    }
    let (ptmx, number) = (devpts.join("ptmx"), leader.number.to_string());
    let paths = [ptmx.to_str().unwrap(), devpts.to_str().unwrap(), &number];
    {
        let _shape = Shape::grow(&program, &[&["0", "500", "500"][..], &paths].concat());
        row("500 with 500 descriptors, on another terminal of our number");
    }
    table.print();
    let _ = Command::new("umount").arg(&devpts).status();
}
