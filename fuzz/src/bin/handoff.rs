//! The command line from the module to the helper, and the requests to a running helper. Each line is an argument. A
//! line that starts with a tab continues the argument before it. The version of the protocol is added in front.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::protocol::request::{Reply, Request};
use pam_idle_watchdog::protocol::start::{self, Assignment, PROTOCOL};

/// The arguments. They may contain line feeds and need not be UTF-8, but they contain no NUL.
fn arguments(data: &[u8]) -> Vec<OsString> {
    let data = data.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    for line in data.strip_suffix(b"\n").unwrap_or(data).split(|byte| *byte == b'\n') {
        match arguments.last_mut() {
            Some(last) if line.starts_with(b"\t") => {
                last.push(b'\n');
                last.extend(&line[1..]);
            }
            _ => arguments.push(line.to_vec()),
        }
    }
    arguments.into_iter().map(OsString::from_vec).collect()
}

fuzz_target!(|data: &[u8]| {
    let message = [format!("--protocol={PROTOCOL}\0").as_bytes(), data].concat();
    if let Ok(read) = Request::read(&message) {
        assert_eq!(Request::read(&read.message()), Ok(read));
    }
    if let Ok(read) = Reply::read(&message) {
        assert_eq!(Reply::read(&read.message()), Ok(read));
    }
    let args = arguments(data);
    let spoken = OsString::from(format!("--protocol={PROTOCOL}"));
    match Assignment::from_args([spoken].into_iter().chain(args.iter().cloned())) {
        Ok(read) => assert_eq!(Assignment::from_args(read.to_args()).expect("its own arguments"), read),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match start::settings(args) {
        Ok(read) => {
            assert_eq!(start::settings(start::settings_args(&read)).expect("its own arguments"), read);
            let request = Request::Reload(Box::new(read));
            assert_eq!(Request::read(&request.message()), Ok(request));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
