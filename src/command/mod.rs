//! `idle-watchdog`, the administrator's command. It shows which settings apply to a login, checks that sessions are
//! watched at all, shows all sessions, applies a changed policy to open sessions, watches those that have no watchdog,
//! extends or ends one, and reports what happened.
#![forbid(unsafe_code)]

pub mod adopt;
pub mod args;
mod check;
mod current_line;
mod decisions;
mod facts;
mod installed_helper;
mod intervene;
pub mod machine;
mod output;
pub mod pam_stack;
mod records;
pub mod reload;
mod report;
pub mod sessions;
mod sshd;
mod status;
#[cfg(test)]
mod test_tree;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Verb;
use output::{BROKEN, CLEAN, complain, finish};

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
        Verb::Adopt(wanted) => adopt::run(&wanted),
        Verb::Status(args) => return status::run(&args),
        Verb::Extend(args) => intervene::extend(&args),
        Verb::End(args) => intervene::end(&args),
        Verb::Report(wanted) => report::run(&wanted),
    };
    // Each line escapes foreign text when it is made. This escapes it again, in case one does not.
    let text: String = text.split_inclusive('\n').map(shown_line).collect();
    finish(&text, code)
}

fn shown_line(line: &str) -> String {
    match line.strip_suffix('\n') {
        Some(line) => shown(line) + "\n",
        None => shown(line),
    }
}
