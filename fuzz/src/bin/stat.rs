//! `/proc/PID/stat`, whose command name is the user's to choose.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::sys::proc::{parse_stat, parse_usage};

const FIELDS: &str = "S 10 20 30 34819 40 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 9 9\n";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Some(process) = parse_stat(7, &text) {
        assert!(process.pid == 7 && process.started >= 0);
        assert!(process.tty <= u64::from(u32::MAX), "a device's number");
    }
    if let Some(usage) = parse_usage(7, &text) {
        assert_eq!(parse_stat(7, &text), Some(usage.process));
        assert!(usage.own >= 0 && usage.reaped >= 0);
    }
    // As a command name it changes nothing.
    let (named, plain) = (format!("7 ({text}) {FIELDS}"), format!("7 (x) {FIELDS}"));
    assert_eq!(parse_stat(7, &named), parse_stat(7, &plain));
    assert_eq!(parse_usage(7, &named), parse_usage(7, &plain));
});
