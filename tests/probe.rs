//! Ring 1: the probe for kernels that do not note reads through `/dev/tty`, on this kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::process::Command;

use pam_idle_watchdog::sys::tty;

const INSIDE: &str = "IDLE_WATCHDOG_PROBE_INSIDE";

/// The probe wants a session of its own and nobody who minds SIGHUP: this test runs itself as such.
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
    // An older one may have the change backported: then either answer is right.
    assert!(text.contains("noted: true") || !new, "{text}");
}
