//! Asks sshd for its configuration: whether it uses PAM, and with which service.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

/// The places where sshd may be. The first one that exists is used. sshd must be started with an absolute path.
const PROGRAMS: [&str; 4] = ["usr/sbin/sshd", "usr/local/sbin/sshd", "usr/bin/sshd", "sbin/sshd"];

/// The answer of sshd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sshd {
    /// There is no sshd on this machine.
    Absent,
    /// sshd did not answer. This is the reason.
    Silent(String),
    /// Its configuration.
    Says {
        /// `UsePAM`
        pam: bool,
        /// `UseDNS`
        dns: bool,
        /// `PAMServiceName`
        service: String,
    },
}

impl Sshd {
    /// Asks the sshd below `root`. With a connection (user and host), `Match` blocks that apply to it are included.
    #[must_use]
    pub fn ask(root: &Path, connection: Option<(&str, &str)>) -> Self {
        let Some(program) = program(root) else { return Self::Absent };
        let asked = |options: &[&str]| {
            let output = Command::new(&program).args(options).stdin(Stdio::null()).output();
            let output = output.map_err(|e| e.to_string())?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if output.status.success() {
                return Ok(text(&output.stdout));
            }
            let said = text(&output.stderr);
            Err(reason(&said, geteuid().is_root()))
        };
        let connection = connection.and_then(|(user, from)| specification(user, from));
        let matched = connection.and_then(|connection| asked(&["-T", "-C", &connection]).ok());
        // `sshd -G` (since OpenSSH 9.3) needs no host keys and no /run/sshd.
        let answer =
            matched.map_or_else(|| asked(&["-T"]).or_else(|why| asked(&["-G"]).map_err(|_| why)), Ok);
        answer.map_or_else(Self::Silent, |text| Self::parse(&text))
    }

    /// Reads what `sshd -T` prints.
    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let mut words = text.lines().filter_map(|line| line.split_once(' '));
            words.find(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        Self::Says {
            // An sshd that was built without PAM does not print this.
            pam: value("usepam") == Some("yes"),
            dns: value("usedns") == Some("yes"),
            service: value("pamservicename").unwrap_or("sshd").to_owned(),
        }
    }

    /// Why logins through sshd have no PAM session, if they have none.
    #[must_use]
    pub fn without_pam(&self) -> Option<&'static str> {
        matches!(self, Self::Says { pam: false, .. })
            .then_some("sshd does not use PAM: `sshd -T` says UsePAM is not yes")
    }

    /// The PAM service that sshd uses.
    #[must_use]
    pub fn service(&self) -> &str {
        match self {
            Self::Says { service, .. } => service,
            Self::Absent | Self::Silent(_) => "sshd",
        }
    }
}

/// The sshd below `root`.
#[must_use]
pub fn program(root: &Path) -> Option<PathBuf> {
    PROGRAMS.iter().map(|program| root.join(program)).find(|program| program.exists())
}

/// Why sshd failed, from its error output, and what the administrator can do about it.
fn reason(said: &str, root: bool) -> String {
    let mut lines = said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.next().unwrap_or("it gave no reason");
    if last.contains("bad configuration option") {
        // The line before it names the option.
        return lines.next().map_or_else(|| last.to_owned(), |culprit| format!("{culprit}: {last}"));
    }
    if let Some((_, directory)) = last.split_once("Missing privilege separation directory:") {
        return format!(
            "{last} (systemd creates it when it starts sshd; or run: mkdir -m 755 {})",
            directory.trim()
        );
    }
    if last.contains("no hostkeys available") && !root {
        return format!("{last} (only root can read them: run this as root)");
    }
    last.to_owned()
}

/// A connection as `sshd -C` needs it. `None` if it cannot be written like that.
fn specification(user: &str, from: &str) -> Option<String> {
    let plain = |text: &str| !text.contains([',', '=', '"']) && !text.chars().any(char::is_whitespace);
    if user.is_empty() || from.is_empty() || !plain(user) || !plain(from) {
        return None;
    }
    let address = from.parse::<IpAddr>().map_or("0.0.0.0".to_owned(), |address| address.to_string());
    Some(format!("user={user},host={from},addr={address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_sshd_is_parsed() {
        let says = |pam, dns, service: &str| Sshd::Says { pam, dns, service: service.to_owned() };
        assert_eq!(Sshd::parse("port 22\nusepam yes\nusedns no\n"), says(true, false, "sshd"));
        assert_eq!(Sshd::parse("UsePAM no\nusedns yes\n"), says(false, true, "sshd"));
        assert_eq!(Sshd::parse("usepam yes\npamservicename ssh-ops\n"), says(true, false, "ssh-ops"));
        assert!(Sshd::parse("port 22\n").without_pam().is_some());
        assert!(Sshd::Absent.without_pam().is_none() && Sshd::Silent(String::new()).without_pam().is_none());
    }

    #[test]
    fn a_failure_comes_with_what_to_do() {
        let missing = "Missing privilege separation directory: /run/sshd\n";
        assert!(reason(missing, true).ends_with("or run: mkdir -m 755 /run/sshd)"));
        let keys = "sshd: no hostkeys available -- exiting.\r\n";
        assert!(reason(keys, false).ends_with("exiting. (only root can read them: run this as root)"));
        assert!(reason(keys, true).ends_with("exiting."));
        let bad = "/etc/ssh/sshd_config: line 3: Bad configuration option: UsePAN\n\
                   /etc/ssh/sshd_config: terminating, 1 bad configuration options\n";
        assert!(reason(bad, true).contains("line 3: Bad configuration option: UsePAN: "));
        assert_eq!(reason("", true), "it gave no reason");
    }

    #[test]
    fn a_connection_is_written_as_sshd_needs_it() {
        assert_eq!(specification("a", "192.0.2.7").unwrap(), "user=a,host=192.0.2.7,addr=192.0.2.7");
        assert_eq!(specification("a", "host.example").unwrap(), "user=a,host=host.example,addr=0.0.0.0");
        for (user, from) in [("a,addr=1.1.1.1", "h"), ("a", ""), ("", "h"), ("a b", "h")] {
            assert_eq!(specification(user, from), None);
        }
    }
}
