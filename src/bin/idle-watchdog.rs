//! The administrator's command. See `pam_idle_watchdog::command`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pam_idle_watchdog::command::main(std::env::args_os().skip(1))
}
