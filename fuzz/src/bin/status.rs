//! `/proc/PID/status`. Users may choose the command name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::sys::proc::{parse_all_uids, parse_ignored, parse_pending, parse_uids};

const FIELDS: &str = "Umask:\t0022\nState:\tS (sleeping)\nPid:\t7\nUid:\t1000\t0\t0\t0\nSigIgn:\t8000000000000001\nShdPnd:\t0000010000000000\n";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let _ = (parse_uids(&text), parse_all_uids(&text), parse_ignored(&text), parse_pending(&text));
    // As a command name, which the kernel escapes, the text changes no field.
    let name = text.replace('\\', "\\\\").replace('\n', "\\n");
    let status = format!("Name:\t{name}\n{FIELDS}");
    assert_eq!(parse_uids(&status), Some((1000, 0)));
    assert_eq!(parse_all_uids(&status), Some([1000, 0, 0, 0]));
    assert_eq!(parse_ignored(&status), Some(0x8000_0000_0000_0001));
    assert_eq!(parse_pending(&status), Some(0x0100_0000_0000));
});
