//! Ring 1: what the judgement needs from this kernel. This is the probe for kernels that do not record reads
//! through `/dev/tty`, and the traces that keys leave on a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::futimens;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::sys::time::TimeSpec;
use pam_idle_watchdog::sys::devnode::{self, DeviceId, Stamps};
use pam_idle_watchdog::sys::tty;

const INSIDE: &str = "IDLE_WATCHDOG_PROBE_INSIDE";

/// The probe needs a session of its own, in which SIGHUP does no harm. So the test starts itself again in a new one.
#[test]
fn the_probe_agrees_with_the_kernels_version() {
    if env::var_os(INSIDE).is_some() {
        println!("noted: {}", tty::notes_reads_through_dev_tty().unwrap());
        return;
    }
    let output = Command::new("setsid")
        .args(["--wait", "nohup"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "the_probe_agrees_with_the_kernels_version", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let new = (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 5);
    // In an older kernel the change may be backported, so both results are correct.
    assert!(text.contains("noted: true") || !new, "{text}");
}

/// A pty in canonical mode with echo. The stamps of its node show neither a read nor a write.
struct Pty {
    master: PtyMaster,
    slave: File,
    path: PathBuf,
    id: DeviceId,
    before: Stamps,
}

impl Pty {
    fn open() -> Self {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = tty::peer(&master).unwrap();
        let long_ago = TimeSpec::new(0, 0);
        futimens(&slave, &long_ago, &long_ago).unwrap();
        let (id, before) = devnode::of_file(&slave).unwrap();
        let path = ptsname_r(&master).unwrap().into();
        Self { master, slave, path, id, before }
    }

    /// Types keys, and waits until the terminal has taken them: it echoes them.
    fn press(&mut self, keys: &[u8], echo: &[u8]) {
        self.master.write_all(keys).unwrap();
        let mut shown = vec![0; echo.len()];
        self.master.read_exact(&mut shown).unwrap();
        assert_eq!(shown, echo);
    }

    fn now(&self) -> Stamps {
        devnode::of_file(&self.slave).unwrap().1
    }

    fn unread(&self) -> u32 {
        tty::unread(&self.path, self.id).unwrap().count
    }
}

/// A terminal gives no proof of a key that no process reads.
#[test]
fn an_echo_leaves_no_trace_on_the_terminal() {
    let mut pty = Pty::open();
    pty.press(b"x", b"x");
    assert_eq!((pty.now(), pty.unread()), (pty.before, 0));
    // The same applies to a key that raises a signal, which also empties the queue.
    pty.press(b"\r", b"\r\n");
    assert_eq!((pty.now(), pty.unread()), (pty.before, 2));
    pty.press(b"\x03", b"^C");
    assert_eq!((pty.now(), pty.unread()), (pty.before, 0));
}

/// A read differs from a time stamp that a process has set: only setting it changes the ctime.
#[test]
fn a_read_moves_only_the_read_time() {
    let mut pty = Pty::open();
    pty.press(b"x\r", b"x\r\n");
    assert_eq!(pty.slave.read(&mut [0; 8]).unwrap(), 2);
    let after = pty.now();
    assert!(after.atime > pty.before.atime);
    assert_eq!(after, Stamps { atime: after.atime, ..pty.before });
}

/// Otherwise a program could look like a typist: it would read again and again although there are no keys.
#[test]
fn a_read_of_nothing_leaves_no_trace() {
    let mut pty = Pty::open();
    // An end of file, which is not echoed.
    pty.press(b"\x04\r", b"\r\n");
    assert_eq!(pty.slave.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(pty.now(), pty.before);
    assert_eq!(pty.slave.read(&mut [0; 8]).unwrap(), 1);
    let nothing = pty.slave.read(&mut [0; 8]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

/// The terminal's mode decides what is counted. If a program switches the mode, the count grows without a key.
#[test]
fn a_switched_mode_makes_the_queue_look_longer() {
    let mut pty = Pty::open();
    pty.press(b"abc", b"abc");
    assert_eq!(pty.unread(), 0);
    let lines = tcgetattr(&pty.slave).unwrap();
    let mut keys = lines.clone();
    keys.local_flags.remove(LocalFlags::ICANON);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &keys).unwrap();
    assert_eq!(pty.unread(), 3);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &lines).unwrap();
    assert_eq!(pty.unread(), 3);
    assert_eq!(pty.now(), pty.before);
}
