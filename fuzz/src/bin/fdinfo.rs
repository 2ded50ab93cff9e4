//! `/proc/PID/fdinfo/FD` of one of the leader's descriptors.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::sys::proc::parse_tty_index;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    // The line is found after any other lines.
    match text.contains("tty-index:") {
        true => drop(parse_tty_index(text)),
        false => assert_eq!(parse_tty_index(&format!("{text}\ntty-index:\t5\n")), Some(5)),
    }
    Corpus::Keep
});
