//! The command line between module and helper, and the message of a reload. An argument begins on each
//! line that begins with `--`; the protocol's number stands before them.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::protocol::reload;
use pam_idle_watchdog::protocol::start::{Assignment, Orders, PROTOCOL};

/// The arguments: they may hold line feeds, and be no UTF-8, but hold no NUL.
fn arguments(data: &[u8]) -> Vec<OsString> {
    let data = data.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    for line in data.strip_suffix(b"\n").unwrap_or(data).split(|byte| *byte == b'\n') {
        match arguments.last_mut() {
            Some(last) if !line.starts_with(b"--") => {
                last.push(b'\n');
                last.extend(line);
            }
            _ => arguments.push(line.to_vec()),
        }
    }
    arguments.into_iter().map(OsString::from_vec).collect()
}

fuzz_target!(|data: &[u8]| {
    let _ = reload::orders(&[format!("--protocol={PROTOCOL}\0").as_bytes(), data].concat());
    let args = arguments(data);
    let spoken = OsString::from(format!("--protocol={PROTOCOL}"));
    match Assignment::from_args([spoken].into_iter().chain(args.iter().cloned())) {
        Ok(read) => assert_eq!(Assignment::from_args(read.to_args()).expect("its own arguments"), read),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match Orders::from_args(args) {
        Ok(read) => {
            assert_eq!(Orders::from_args(read.to_args()).expect("its own arguments"), read);
            assert_eq!(reload::orders(&reload::message(&read)), Ok(read));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
