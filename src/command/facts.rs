//! The facts about this machine that an auditor asks for first: its name, and what runs on it.

use std::fs;
use std::process::{Command, Stdio};

use super::machine::Machine;
use super::sshd;

/// Names and versions. What cannot be found out is `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub host: String,
    /// Each program with its version.
    pub versions: Vec<(&'static str, String)>,
}

impl Facts {
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        let line = |path| fs::read_to_string(machine.file(path)).ok().map(|text| text.trim().to_owned());
        let os = line("/etc/os-release").or_else(|| line("/usr/lib/os-release"));
        let known = |text: Option<String>| {
            text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
        };
        Self {
            host: known(line("/proc/sys/kernel/hostname")),
            versions: vec![
                ("idle-watchdog", env!("CARGO_PKG_VERSION").to_owned()),
                ("distribution", known(os.as_deref().and_then(distribution))),
                ("kernel", known(line("/proc/sys/kernel/osrelease"))),
                ("OpenSSH", known(openssh(machine))),
                ("libpam", known(machine.libpam.version())),
            ],
        }
    }
}

/// The name in the text of `/etc/os-release`.
fn distribution(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// The version of the machine's sshd. Before OpenSSH 9.3, sshd prints it with an error about the option.
fn openssh(machine: &Machine) -> Option<String> {
    let program = sshd::program(&machine.file("/"))?;
    let output = Command::new(program).arg("-V").stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    version_of_openssh(&String::from_utf8_lossy(&text))
}

fn version_of_openssh(text: &str) -> Option<String> {
    let version = text.lines().find_map(|line| line.strip_prefix("OpenSSH_"))?;
    Some(version.split(',').next().unwrap_or(version).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_version_of_openssh_is_found_in_both_answers() {
        let new = "OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.4 30 Sep 2025\n";
        assert_eq!(version_of_openssh(new).as_deref(), Some("10.0p2 Debian-7"));
        let old =
            "unknown option -- V\nOpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025\nusage: sshd\n";
        assert_eq!(version_of_openssh(old).as_deref(), Some("9.2p1 Debian-2+deb12u7"));
        assert_eq!(version_of_openssh("usage"), None);
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let tree = Tree::with("");
        tree.put("etc/os-release", "ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        let facts = Facts::of(&tree.machine());
        let of =
            |name| facts.versions.iter().find(|(found, _)| *found == name).map(|(_, text)| text.as_str());
        assert_eq!(of("distribution"), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!((of("kernel"), facts.host.as_str()), (Some("unknown"), "unknown"));
        assert_eq!(of("idle-watchdog"), Some(env!("CARGO_PKG_VERSION")));
    }
}
