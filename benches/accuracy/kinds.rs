//! The kinds of sessions that are measured, and how each of them starts.

use std::process::Command;
use std::time::Duration;

use crate::support::log::Log;
use crate::support::sshd::Sshd;

/// One kind of session.
pub struct Kind {
    pub name: &'static str,
    /// Additional options of the client. `None` if the session does not use ssh.
    client: Option<&'static [&'static str]>,
    /// Whether the client hides the timing of keys.
    pub chaff: bool,
}

pub const KINDS: [Kind; 4] = [
    Kind { name: "TMOUT of bash: the floor", client: None, chaff: false },
    Kind { name: "silent clients", client: Some(&[]), chaff: false },
    Kind { name: "clients with chaff", client: Some(&[]), chaff: true },
    Kind { name: "ServerAliveInterval=5", client: Some(&["-o", "ServerAliveInterval=5"]), chaff: false },
];

/// The private sshds of one round.
pub struct Sshds {
    silent: Sshd,
    chaff: Sshd,
}

impl Sshds {
    pub fn start(options: &str) -> Self {
        Self { silent: Sshd::with(options).start(), chaff: Sshd::with(options).chaff().start() }
    }

    fn of(&self, kind: &Kind) -> &Sshd {
        if kind.chaff { &self.chaff } else { &self.silent }
    }

    /// The log that contains the records of such a session. bash writes none.
    pub fn log(&self, kind: &Kind) -> Option<&Log> {
        kind.client.map(|_| &self.of(kind).log)
    }

    /// The command that starts a session on a terminal.
    pub fn command(&self, kind: &Kind, limit: Duration) -> Command {
        let Some(options) = kind.client else {
            return bash(limit);
        };
        let mut ssh = self.of(kind).ssh("alice");
        ssh.arg("-tt").args(options);
        ssh
    }
}

/// An interactive bash on a terminal of its own.
fn bash(limit: Duration) -> Command {
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"])
        .env("TERM", "dumb")
        .env("TMOUT", limit.as_secs().to_string());
    command
}
