//! `idle-watchdog`, the administrator's command. It shows which settings apply to a login, checks that sessions are
//! watched at all, applies a changed policy to open sessions, and reports what happened.
#![forbid(unsafe_code)]

mod args;
mod check;
mod facts;
mod installed_helper;
pub mod machine;
mod output;
pub mod pam_stack;
mod records;
pub mod reload;
mod report;
mod sshd;
#[cfg(test)]
mod test_tree;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use args::Verb;
use output::{BROKEN, CLEAN, complain};

use crate::record::shown;

/// Runs the command.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let verb = match args::read(args) {
        Ok(verb) => verb,
        Err(problem) => {
            complain(format_args!("idle-watchdog: {problem}"));
            eprintln!("{}", args::usage());
            return ExitCode::from(BROKEN);
        }
    };
    let (text, code) = match verb {
        Verb::Help => (args::help(), CLEAN),
        Verb::Version => (concat!("idle-watchdog ", env!("CARGO_PKG_VERSION"), "\n").to_owned(), CLEAN),
        Verb::Check(check) => check::run(&check),
        Verb::Reload => reload::run(),
        Verb::Report(wanted) => report::run(&wanted),
    };
    // Each line escapes foreign text when it is made. This escapes it again, in case one does not.
    let text: String = text.split_inclusive('\n').map(shown_line).collect();
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as head(1) may close the pipe early. That is not an error.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("idle-watchdog: {e}"));
            ExitCode::from(BROKEN)
        }
        _ => ExitCode::from(code),
    }
}

fn shown_line(line: &str) -> String {
    match line.strip_suffix('\n') {
        Some(line) => shown(line) + "\n",
        None => shown(line),
    }
}
