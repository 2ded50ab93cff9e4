//! Measures the cost of a login, of a sleeping session and of a survey of all processes, all in one run. As root:
//! `make bench`.
//!
//! The lowest possible cost of a login is `vfork`, `execve` and one byte from the same helper if it refuses its
//! arguments and does nothing. The lowest possible cost of a sleeping process is that of a few instructions of
//! assembly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../tests/support/libpam.rs"]
mod libpam;
mod pam;
mod survey;
mod table;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use pam_idle_watchdog::login::Login;
use pam_idle_watchdog::policy::{Options, Settings};
use pam_idle_watchdog::protocol::start::{ARMED, Assignment, LEADER_FD, STATUS_FD};
use pam_idle_watchdog::sys::pidfd::PidFd;

use pam::Transaction;
use table::{Table, kib, milliseconds};

const HELPER: &str = "/usr/libexec/pam_idle_watchdog_helper";
const LOGINS: usize = 300;
const SLEEPERS: usize = 200;
const ROUNDS: usize = 5;
/// This is so long that nothing is due during the measurement.
const ARGS: &str = "timeout=1h";

fn main() {
    if env::args().nth(1).as_deref() == Some("typist") {
        return typist(env::args().nth(2).as_deref() == Some("typing"));
    }
    if env::var_os("IDLE_WATCHDOG_BENCH_INSIDE").is_none() {
        return enter_namespace();
    }
    let confdir = write_stacks();
    login(&confdir);
    memory(&confdir);
    survey::survey(&confdir);
    wakeups();
    fs::remove_dir_all(confdir).unwrap();
}

/// Runs this program again in a private mount namespace that has the helper in its place and a log.
fn enter_namespace() {
    let dist = env::var("IDLE_WATCHDOG_BUILD_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist").to_owned());
    let setup = format!(
        "set -e; mkdir -p /usr/libexec; mount -t tmpfs bench /usr/libexec; \
         cp {dist}/pam_idle_watchdog_helper {HELPER}; \
         for policy in /etc/security /usr/share/security; do \
             [ ! -d $policy ] || mount -t tmpfs bench $policy; \
         done; \
         exec \"$0\" inside"
    );
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &setup])
        .arg(env::current_exe().unwrap())
        .env("IDLE_WATCHDOG_BENCH_INSIDE", &dist)
        .exec();
    panic!("cannot run unshare(1), which needs root: {error}");
}

/// Writes one service file for each stack.
fn write_stacks() -> PathBuf {
    let dist = env::var("IDLE_WATCHDOG_BENCH_INSIDE").unwrap();
    let confdir = env::temp_dir().join(format!("idle-watchdog-bench-{}", std::process::id()));
    fs::create_dir(&confdir).unwrap();
    let ours = format!("session required {dist}/pam_idle_watchdog.so {ARGS}");
    for (name, line) in
        [("empty", ""), ("ours", &ours), ("pam_exec", "session required pam_exec.so /bin/true")]
    {
        let stack = format!("account required pam_permit.so\nsession required pam_permit.so\n{line}\n");
        fs::write(confdir.join(name), stack).unwrap();
    }
    confdir
}

#[allow(clippy::disallowed_methods)] // a benchmark measures time
fn clock() -> Instant {
    Instant::now()
}

fn login(confdir: &Path) {
    let mut stacks = [("empty", Vec::new()), ("ours", Vec::new()), ("pam_exec", Vec::new())];
    let mut floor = Vec::new();
    // Each kind is measured in turn, so that a slow moment of the machine affects all of them.
    for _ in 0..LOGINS {
        for (service, times) in &mut stacks {
            let mut transaction = Transaction::start(service, confdir);
            let begin = clock();
            transaction.open_session();
            times.push(begin.elapsed());
        }
        floor.push(bare_start());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let floor_median = median(&mut floor);
    let mut table = Table::new(
        &format!("A login: pam_open_session, {LOGINS} each, in turn"),
        &["stack", "median ms", "90 % ms", "of the floor"],
    );
    let mut rows: Vec<_> = stacks.into();
    rows.push(("floor: vfork + exec + a byte", floor));
    for (name, mut times) in rows {
        let half = median(&mut times);
        let ratio = half.as_secs_f64() / floor_median.as_secs_f64();
        table.row(&[
            name,
            &milliseconds(half),
            &milliseconds(times[times.len() * 9 / 10]),
            &format!("{ratio:.2}"),
        ]);
    }
    table.print();
}

/// Starts the helper with arguments that it refuses, as fast as the C library can, and waits for its byte.
fn bare_start() -> Duration {
    let leader = PidFd::open(Pid::this()).unwrap();
    let (status, child_end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut places = pam::FileActions::new();
    places.duplicate(leader.as_raw_fd(), LEADER_FD);
    places.duplicate(child_end.as_raw_fd(), STATUS_FD);
    places.null(2);
    let begin = clock();
    let pid = places.spawn(HELPER, &["--protocol=0"]);
    drop(child_end);
    fs::File::from(status).read_exact(&mut [0]).unwrap();
    let time = begin.elapsed();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
    time
}

fn memory(confdir: &Path) {
    let mut table = Table::new(
        &format!("A sleeping process, {SLEEPERS} of them: memory, system-wide, and its own share"),
        &["process", "KiB system-wide, median", "least to most", "KiB PSS"],
    );
    let assembly = assembly_sleeper(confdir);
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    // Each kind is measured in turn, and the median is used, because other processes allocate and free more
    // memory than one sleeper has.
    for _ in 0..ROUNDS {
        floor.extend(
            assembly
                .as_ref()
                .map(|program| weigh(|| Sleepers((0..SLEEPERS).map(|_| bare_sleeper(program)).collect()))),
        );
        ours.push(weigh(|| Sleepers((0..SLEEPERS).map(|_| watching_sleeper()).collect())));
    }
    for (name, mut weights) in [("floor: bare assembly", floor), ("helper", ours)] {
        weights.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(least), Some(half), Some(most)) =
            (weights.first(), weights.get(weights.len() / 2), weights.last())
        {
            let range = format!("{} to {}", kib(least.0), kib(most.0));
            table.row(&[name, &kib(half.0), &range, &kib(half.1)]);
        }
    }
    table.print();
}

/// Processes that we started. Dropping them ends them.
struct Sleepers(Vec<i32>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for pid in self.0.iter().map(|pid| Pid::from_raw(*pid)) {
            kill(pid, Signal::SIGKILL).unwrap();
            waitpid(pid, None).unwrap();
        }
    }
}

/// A helper that watches this process. It is started without libpam, because our module starts no helper for a process
/// with several sessions.
fn watching_sleeper() -> i32 {
    let line: Vec<String> = vec![ARGS.to_owned()];
    let options = Options::of_line(line.iter().map(String::as_str)).unwrap();
    let settings = Settings::of(&options, None);
    let me = Pid::this();
    let (service, user, tty) = ("ours".into(), Some("root".into()), Some("ssh".into()));
    let login = Login { service, user, uid: Some(0), rhost: None, tty };
    let args = Assignment { login, leader: me, connection: None, adopted: None, line, settings }.to_args();
    let leader = PidFd::open(me).unwrap();
    let (status, child_end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut places = pam::FileActions::new();
    places.duplicate(leader.as_raw_fd(), LEADER_FD);
    places.duplicate(child_end.as_raw_fd(), STATUS_FD);
    (0..=2).for_each(|fd| places.null(fd));
    let pid = places.spawn(HELPER, &args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>());
    drop(child_end);
    let mut first = [0];
    fs::File::from(status).read_exact(&mut first).unwrap();
    assert_eq!(first, [ARMED]);
    pid
}

/// Bytes for each sleeper: in the whole system, and in its own PSS.
fn weigh(start: impl FnOnce() -> Sleepers) -> (f64, f64) {
    settle();
    let before = used();
    let sleepers = start();
    settle();
    let after = used();
    let pids = self::sleepers();
    assert_eq!(pids.len(), SLEEPERS);
    let pss: u64 = pids.iter().map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum();
    drop(sleepers);
    wait_until("the sleepers are gone", || self::sleepers().is_empty());
    let each = |bytes: f64| bytes / SLEEPERS as f64;
    (each(after as f64 - before as f64), each(pss as f64 * 1024.0))
}

/// Bytes in use, without caches.
fn used() -> u64 {
    let kib = |key| field("/proc/meminfo", key);
    1024 * (kib("MemTotal:") - kib("MemFree:") - kib("Buffers:") - kib("Cached:") - kib("SReclaimable:"))
}

fn field(path: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The sleepers. This process's children are found by their program, and the helpers by their arguments.
fn sleepers() -> Vec<i32> {
    let me = std::process::id();
    let ours = |pid: &i32| {
        let file = |name| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let words = file("cmdline");
        words.starts_with(HELPER.as_bytes())
            && String::from_utf8_lossy(&words).contains(&format!("--leader={me}\0"))
            || file("comm") == b"sleeper\n"
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(ours)
        .collect()
}

/// Waits until everything that was started is idle. Memory that other processes free comes back late.
fn settle() {
    pause(Duration::from_secs(2));
}

#[allow(clippy::disallowed_methods)] // this waits for a time to pass
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = clock();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        pause(Duration::from_millis(20));
    }
}

fn assembly_sleeper(dir: &Path) -> Option<PathBuf> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let (source, program) = (dir.join("sleeper.s"), dir.join("sleeper"));
    fs::write(&source, ".globl _start\n_start: mov $34, %eax\nsyscall\njmp _start\n").unwrap();
    let built = Command::new("gcc").args(["-nostdlib", "-static", "-o"]).arg(&program).arg(&source).status();
    built.is_ok_and(|status| status.success()).then_some(program)
}

fn bare_sleeper(program: &Path) -> i32 {
    Command::new(program).stdin(Stdio::null()).spawn().unwrap().id().try_into().unwrap()
}

/// Runs two sessions for ten minutes, one idle and one with keys, and counts how often their helpers woke up.
fn wakeups() {
    let seconds: u64 = env::var("IDLE_WATCHDOG_BENCH_SECONDS").map_or(600, |text| text.parse().unwrap());
    println!("Wake-ups: two sessions for {seconds} s, limit 2m, kill=none. Please wait ...");
    // Once the idle session is reported, there is a look each twentieth of its idle time.
    let reported = std::iter::successors(Some(120.0), |idle| Some(idle * 1.05));
    let due = |how: &str| match how {
        "idle" => reported.clone().take_while(|at| *at <= seconds as f64).count(),
        _ => usize::try_from(seconds / 120).unwrap(),
    };
    let mut table = Table::new(
        &format!(
            "A sleeping helper in {seconds} s, limit 120 s: how often it waited. A look is three times: for its\n\
             time, and for the answer and the end of the child that asks the terminals"
        ),
        &["session", "waits", "looks due"],
    );
    let start = |how: &str| {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["typist", how])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut byte = [0];
        while child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0].into());
        }
        (child, line.parse::<i32>().unwrap())
    };
    let sessions = ["idle", "typing"].map(|how| (how, start(how)));
    pause(Duration::from_secs(2));
    let switches = |pid: i32| field(&format!("/proc/{pid}/status"), "voluntary_ctxt_switches:");
    let before = sessions.each_ref().map(|(_, (_, pid))| switches(*pid));
    pause(Duration::from_secs(seconds));
    let after = sessions.each_ref().map(|(_, (_, pid))| switches(*pid));
    for (n, (how, (mut child, _))) in sessions.into_iter().enumerate() {
        table.row(&[how, &(after[n] - before[n]).to_string(), &due(how).to_string()]);
        child.stdin.take();
        child.wait().unwrap();
    }
    table.print();
}

/// A leader with one terminal, as sshd has. It gets a key each second or none, until its input ends.
fn typist(typing: bool) {
    let dist = env::var("IDLE_WATCHDOG_BENCH_INSIDE").unwrap();
    let confdir = env::temp_dir().join(format!("idle-watchdog-typist-{}", std::process::id()));
    fs::create_dir(&confdir).unwrap();
    let line = format!("session required {dist}/pam_idle_watchdog.so timeout=2m kill=none\n");
    fs::write(confdir.join("sshd"), format!("account required pam_permit.so\n{line}")).unwrap();
    let pty = openpty(None, None).unwrap();
    let mut reader = Command::new("cat").stdin(Stdio::from(pty.slave)).stdout(Stdio::null()).spawn().unwrap();
    let mut transaction = Transaction::start("sshd", &confdir);
    transaction.open_session();
    let helper = sleepers()[0];
    println!("{helper}");
    let mut master = fs::File::from(pty.master);
    let stdin = std::io::stdin();
    loop {
        let mut fds =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&stdin), nix::poll::PollFlags::POLLIN)];
        if nix::poll::poll(&mut fds, 1000u16).unwrap() > 0 {
            break;
        }
        if typing {
            master.write_all(b"x\n").unwrap();
        }
    }
    drop(transaction);
    reader.kill().unwrap();
    reader.wait().unwrap();
    fs::remove_dir_all(confdir).unwrap();
}
