//! `/proc/PID/stat`. Users may choose the command name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::sys::proc::{Pid, Started, parse_stat, parse_usage};

const PID: Pid = Pid::from_raw(7);
const FIELDS: &str = "S 10 20 30 34819 40 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 9 9\n";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Some(process) = parse_stat(PID, &text) {
        assert!(process.id.pid == PID && process.id.started >= Started(0));
        assert!(process.tty <= u64::from(u32::MAX), "a device's number");
    }
    if let Some(usage) = parse_usage(PID, &text) {
        assert_eq!(parse_stat(PID, &text), Some(usage.process));
        assert!(usage.own >= 0 && usage.reaped >= 0);
    }
    // As a command name the text changes no field.
    let (named, plain) = (format!("7 ({text}) {FIELDS}"), format!("7 (x) {FIELDS}"));
    assert_eq!(parse_stat(PID, &named), parse_stat(PID, &plain));
    assert_eq!(parse_usage(PID, &named), parse_usage(PID, &plain));
});
