//! 13: a user who does not want to be ended. None lives past the promise, none delays
//! another session's end, nobody else is touched: see [`Town`](crate::promise::Town).

mod activity;
mod crowd;
mod handed_down;
mod helper;
mod leaders;
mod others;
mod processes;
mod terminals;

use std::path::PathBuf;
use std::process::Command;

use crate::support::sshd::Sshd;

/// A program of a user's, built of its C source.
fn program(sshd: &Sshd, name: &str, source: &str) -> PathBuf {
    let source = sshd.script(&format!("{name}.c"), source);
    let program = sshd.dir.join(name);
    let built = Command::new("cc").arg("-pthread").arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(built.success(), "cc: {built}");
    program
}
