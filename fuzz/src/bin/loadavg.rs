//! `/proc/loadavg`, which has the newest PID.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::sys::proc::parse_newest;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    let _ = parse_newest(text);
    assert_eq!(parse_newest(&format!("{text} 4711\n")), Some(4711));
    Corpus::Keep
});
