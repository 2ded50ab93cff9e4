//! What weakens the guard on this machine.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::SigSet;
use nix::unistd::setsid;

use super::libpam::unsafe_module;
use super::machine::Machine;
use super::services::{self, Policies, Service};
use crate::helper::terminals::inner_pty;
use crate::protocol::start::{BY_HAND, HELPER, LEADER_FD, STATUS_FD};
use crate::sys::clock::{Nanos, SECOND, timeout};
use crate::sys::inherit::keep_from_children;
use crate::sys::offload::{self, Offload};

/// What was found out about a machine.
#[derive(Debug, Default)]
pub struct Found {
    /// What every service does with idle sessions.
    pub services: Vec<Service>,
    /// All that weakens the guard, in words.
    pub findings: Vec<String>,
    /// Hints.
    pub notes: Vec<String>,
}

/// Looks at a machine.
#[must_use]
pub fn look(machine: &Machine, policies: &Policies) -> Found {
    let services = services::all(machine, policies);
    let (mut findings, notes) = services::around(machine, policies, &services);
    let helper = machine.file(HELPER);
    findings.extend(machine.helper_fails().map(str::to_owned).or_else(|| helper_is_open(&helper)));
    findings.extend(services.iter().flat_map(|service| service.findings.iter().cloned()));
    let sysctl = fs::read_to_string(machine.file("/proc/sys/dev/tty/legacy_tiocsti"));
    findings.extend(tiocsti(sysctl.ok().as_deref()));
    findings.extend(dev_tty());
    findings.extend(hidden(&fs::read_to_string(machine.file("/proc/self/mountinfo")).unwrap_or_default()));
    Found { services, findings, notes }
}

/// Why no session can be guarded, if the helper is the reason.
#[must_use]
pub fn helper_fails(path: &Path) -> Option<String> {
    let problem = match fs::metadata(path) {
        Err(e) => e.to_string(),
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            "cannot be executed".to_owned()
        }
        // It runs as whoever asks, so only what nobody else may change is started.
        Ok(_) if helper_is_open(path).is_some() => return None,
        Ok(_) => started(path).err()?,
    };
    Some(format!("the helper {HELPER}: {problem}: no session can be guarded"))
}

/// Starts the helper without what the module gives it. It refuses that in words of its own.
fn started(path: &Path) -> Result<(), String> {
    // With descriptors of ours it would take itself for one that the module has started.
    for fd in [LEADER_FD, STATUS_FD] {
        let _ = keep_from_children(fd);
    }
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let said = child.stderr.take().map(said).unwrap_or_default();
    // One that is still there after all this is not our helper, and one that has ended does not notice.
    let _ = child.kill();
    let status = child.wait().map_err(|e| e.to_string())?;
    let refuses = String::from_utf8_lossy(&said).contains(BY_HAND);
    if refuses && !status.success() { Ok(()) } else { Err("is not our helper, or a damaged one".to_owned()) }
}

/// What a program writes until it ends, at most for two seconds.
fn said(mut stderr: ChildStderr) -> Vec<u8> {
    const SLICE: Nanos = SECOND / 20;
    const SLICES: usize = 40;
    let mut all = Vec::new();
    // A program that writes on and on is cut off as well as one that is silent.
    for _ in 0..SLICES {
        let mut part = [0; 4096];
        match poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)], timeout(SLICE)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => match stderr.read(&mut part) {
                Ok(count @ 1..) => all.extend(part.iter().take(count)),
                Ok(0) | Err(_) => break,
            },
            Err(_) => break,
        }
    }
    all
}

fn helper_is_open(path: &Path) -> Option<String> {
    let why = unsafe_module(path)?;
    Some(format!("the helper {HELPER} {why}"))
}

/// Of the sysctl's text; none is a kernel before 6.2, or one built that way.
fn tiocsti(sysctl: Option<&str>) -> Option<String> {
    let consequence = "a program can put keys into its own terminal's input";
    match sysctl.map(str::trim) {
        Some("0") => None,
        Some(value) => Some(format!("dev.tty.legacy_tiocsti is {value}: {consequence}; set it to 0")),
        None => Some(format!("dev.tty.legacy_tiocsti is not there, as before Linux 6.2: {consequence}")),
    }
}

/// Tried out in a child: it takes a session of its own.
fn dev_tty() -> Option<String> {
    let answer = Offload::default().run(|pipe| {
        let alone = SigSet::all().thread_block().and_then(|()| setsid());
        let needs = alone.is_ok() && inner_pty::kernel_needs_it();
        offload::answer(pipe, &[u8::from(needs)]);
    });
    (answer == [1]).then(|| {
        "the kernel does not note reads through /dev/tty (before 6.5): who types in a program that does that looks idle"
            .to_owned()
    })
}

/// Of the text of mountinfo.
fn hidden(mounts: &str) -> Option<String> {
    let proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let Some(line) = proc else {
        return Some("/proc is not mounted: no session can be guarded".to_owned());
    };
    let option = line.split([' ', ',']).find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(option, "0" | "off")).then(|| {
        format!(
            "/proc is mounted with hidepid={option}: where the helper lacks CAP_SYS_PTRACE it sees no session"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tree::Tree;

    #[test]
    fn only_a_helper_that_starts_can_guard() {
        let here = HELPER.trim_start_matches('/');
        let tree = Tree::with("");
        let fails = || helper_fails(&tree.machine().file(HELPER));
        if !nix::unistd::geteuid().is_root() {
            // The file is somebody else's, and is not started.
            return assert_eq!(fails(), None);
        }
        assert_eq!(fails(), None);
        for text in ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nexec sleep 60\n", "\x7fELF", ""] {
            tree.program(here, text);
            assert!(fails().is_some_and(|why| why.ends_with(": no session can be guarded")), "{text}");
        }
        tree.allow(here, 0o777);
        assert_eq!(fails(), None);
        let open = |tree: &Tree| helper_is_open(&tree.machine().file(HELPER)).unwrap();
        assert!(open(&tree).ends_with("may be written by others than root"));
        tree.allow(here, 0o755);
        std::os::unix::fs::chown(tree.machine().file(HELPER), Some(65534), None).unwrap();
        assert!(open(&tree).ends_with("does not belong to root"));
    }

    #[test]
    fn keys_that_programs_make_and_processes_that_are_hidden() {
        assert_eq!(tiocsti(Some("0\n")), None);
        assert!(tiocsti(Some("1\n")).is_some_and(|text| text.contains("set it to 0")));
        assert!(tiocsti(None).is_some_and(|text| text.contains("not there")));
        let mount = |options: &str| {
            format!(
                "22 1 0:21 / /proc rw,nosuid - proc proc rw{options}\n23 1 0:5 / /dev rw - devtmpfs dev rw\n"
            )
        };
        assert_eq!(hidden(&mount("")), None);
        assert_eq!(hidden(&mount(",hidepid=off")), None);
        assert!(hidden(&mount(",hidepid=invisible")).is_some());
        assert!(hidden("").is_some_and(|text| text.contains("not mounted")));
    }
}
