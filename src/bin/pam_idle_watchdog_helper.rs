//! The helper of one session, which pam_idle_watchdog.so starts. See `pam_idle_watchdog::helper`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use pam_idle_watchdog::helper::run;
use pam_idle_watchdog::record::shown;

fn main() -> ExitCode {
    match run::main(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pam_idle_watchdog_helper: {}", shown(&why));
            ExitCode::from(2)
        }
    }
}
