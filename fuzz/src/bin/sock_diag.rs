//! The kernel's answer about a connection.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::sys::sock_diag::read_answer;

/// The place of the cookie in an answer.
const COOKIE: usize = 60;

fuzz_target!(|data: &[u8]| {
    let part =
        |at: usize| data.get(at..at + 4).map_or(0, |part| u32::from_ne_bytes(part.try_into().unwrap()));
    let cookie = u64::from(part(COOKIE + 4)) << 32 | u64::from(part(COOKIE));
    if let Ok(Some(silence)) = read_answer(data, cookie) {
        assert!(silence.both_ways() <= Duration::from_millis(u32::MAX.into()));
        assert_eq!(read_answer(data, !cookie).unwrap(), None, "another connection's");
    }
});
