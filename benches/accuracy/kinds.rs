//! The kinds of sessions that are measured, and what each is started with.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::log::Log;
use crate::support::sshd::Sshd;

/// A newer OpenSSH than this machine's, where `tests/prepare` has unpacked one. `launch.sh` runs this script in the
/// mount namespace of the private sshd, where a whole `/usr` then is the newer one.
const NEWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/openssh/usr");
const USE_NEWER: &str = concat!("mount --bind '", env!("CARGO_MANIFEST_DIR"), "/target/openssh/usr' /usr\n");

/// One kind of session.
pub struct Kind {
    pub name: &'static str,
    /// What the client gets besides the usual options. None: there is no ssh.
    client: Option<&'static [&'static str]>,
    /// The client hides the timing of keys, which takes OpenSSH 9.5 or newer at both ends.
    pub chaff: bool,
}

/// An older client does not know the option, and sends no chaff either.
const NO_CHAFF: &[&str] = &["-o", "IgnoreUnknown=ObscureKeystrokeTiming", "-o", "ObscureKeystrokeTiming=no"];
const KEEPALIVES: &[&str] =
    &[NO_CHAFF[0], NO_CHAFF[1], NO_CHAFF[2], NO_CHAFF[3], "-o", "ServerAliveInterval=5"];

pub const KINDS: [Kind; 4] = [
    Kind { name: "TMOUT of bash: the floor", client: None, chaff: false },
    Kind { name: "silent clients", client: Some(NO_CHAFF), chaff: false },
    Kind { name: "clients with chaff", client: Some(&["-vvv"]), chaff: true },
    Kind { name: "ServerAliveInterval=5", client: Some(KEEPALIVES), chaff: false },
];

/// The private sshds of one round.
pub struct Machines {
    ours: Sshd,
    chaff: Sshd,
    newer: bool,
}

impl Machines {
    pub fn start(options: &str) -> Self {
        let newer = Path::new(NEWER).exists();
        let chaff = Sshd::with(options);
        let chaff = if newer { chaff.on_a_host(USE_NEWER) } else { chaff };
        Self { ours: Sshd::with(options).start(), chaff: chaff.start(), newer }
    }

    fn sshd(&self, kind: &Kind) -> &Sshd {
        if kind.chaff { &self.chaff } else { &self.ours }
    }

    /// Where the records of such a session are; bash writes none.
    pub fn log(&self, kind: &Kind) -> Option<&Log> {
        kind.client.map(|_| &self.sshd(kind).log)
    }

    /// What starts a session, to be run on a terminal.
    pub fn command(&self, kind: &Kind, limit: Duration) -> Command {
        let Some(options) = kind.client else {
            return bash(limit);
        };
        let sshd = self.sshd(kind);
        let mut ssh = sshd.ssh("alice");
        ssh.arg("-tt").args(options);
        if kind.chaff && self.newer { within(sshd, &ssh) } else { ssh }
    }
}

/// The client that is as new as its sshd: it runs in the same mount namespace.
fn within(sshd: &Sshd, ssh: &Command) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--mount=/proc/{}/ns/mnt", sshd.daemon().pid))
        .arg(ssh.get_program())
        .args(ssh.get_args())
        .env("TERM", "dumb");
    command
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
