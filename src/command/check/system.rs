//! `check --system`: everything on this machine that prevents the end of idle sessions.

use std::fs;

use nix::sys::signal::SigSet;
use nix::unistd::setsid;

use super::selinux::{self, Problem};
use super::services::{self, Policies, Service};
use super::{authselect, fapolicyd};
use crate::command::installed_helper::unsafe_file;
use crate::command::machine::Machine;
use crate::helper::terminals::inner_pty;
use crate::protocol::start::HELPER;
use crate::sys::offload::{self, Offload};

/// The result of `check --system`.
#[derive(Debug, Default)]
pub struct SystemReport {
    /// What each service does with idle sessions.
    pub services: Vec<Service>,
    /// The warnings.
    pub findings: Vec<String>,
    /// Things that may be mistakes.
    pub notes: Vec<String>,
}

/// Checks a machine.
#[must_use]
pub fn check(machine: &Machine, policies: &Policies) -> SystemReport {
    let services = services::all(machine, policies);
    let (mut findings, mut notes) = services::general(machine, policies, &services);
    let helper = machine.file(HELPER);
    findings.extend(machine.helper_fails().map(str::to_owned).or_else(|| unsafe_file(&helper)));
    findings.extend(services.iter().flat_map(|service| service.findings.iter().cloned()));
    match selinux::problem(machine) {
        Some(Problem::Now(text)) => findings.push(text),
        Some(Problem::IfEnforced(text)) => notes.push(text),
        None => {}
    }
    findings.extend(fapolicyd::findings(machine));
    findings.extend(authselect::findings(machine));
    notes.extend(authselect::note(machine, &services));
    let sysctl = fs::read_to_string(machine.file("/proc/sys/dev/tty/legacy_tiocsti"));
    findings.extend(tiocsti(sysctl.ok().as_deref()));
    findings.extend(dev_tty());
    findings.extend(hidden(&fs::read_to_string(machine.file("/proc/self/mountinfo")).unwrap_or_default()));
    SystemReport { services, findings, notes }
}

/// Checks the text of the sysctl. It does not exist before Linux 6.2, or if the kernel was built without it.
fn tiocsti(sysctl: Option<&str>) -> Option<String> {
    let consequence = "a program can fake keystrokes on its own terminal";
    match sysctl.map(str::trim) {
        Some("0") => None,
        Some(value) => Some(format!("dev.tty.legacy_tiocsti is {value}: {consequence}; set it to 0")),
        None => Some(format!("dev.tty.legacy_tiocsti does not exist, as before Linux 6.2: {consequence}")),
    }
}

/// Tests the kernel in a child, because the test needs a session of its own.
fn dev_tty() -> Option<String> {
    let answer = Offload::default().run(|pipe| {
        let alone = SigSet::all().thread_block().and_then(|()| setsid());
        let needs = alone.is_ok() && inner_pty::kernel_needs_it();
        offload::answer(pipe, &[u8::from(needs)]);
    });
    (answer == [1]).then(|| {
        "the kernel does not record reads through /dev/tty, as before Linux 6.5: users who type into a program that \
         reads it look idle"
            .to_owned()
    })
}

/// Checks the text of `/proc/self/mountinfo`.
fn hidden(mounts: &str) -> Option<String> {
    let proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let Some(line) = proc else {
        return Some("/proc is not mounted: no session can be guarded".to_owned());
    };
    let option = line.split([' ', ',']).find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(option, "0" | "off")).then(|| {
        format!(
            "/proc is mounted with hidepid={option}: a helper without CAP_SYS_PTRACE cannot see any session"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;
    use crate::policy::Policy;

    #[test]
    fn each_part_of_the_machine_is_checked() {
        let tree = Tree::with("session include postlogin");
        tree.put("etc/authselect/postlogin", "session required pam_idle_watchdog.so timeout=15m\n");
        tree.link("etc/pam.d/postlogin", "etc/authselect/postlogin");
        tree.put("proc/sys/kernel/osrelease", "3.10.0-1160.el7.x86_64\n");
        tree.put("run/fapolicyd.pid", "7\n");
        tree.put("sys/fs/selinux/enforce", "1");
        let found = check(&tree.machine(), &Policies::new(Some(Policy::default()))).findings;
        for begin in
            ["the kernel is Linux 3.10.0-", "fapolicyd runs", "SELinux: ", "/etc/pam.d/postlogin:1: "]
        {
            assert!(found.iter().any(|finding| finding.starts_with(begin)), "{begin}: {found:#?}");
        }
    }

    #[test]
    fn fake_keystrokes_and_hidden_processes_are_found() {
        assert_eq!(tiocsti(Some("0\n")), None);
        assert!(tiocsti(Some("1\n")).is_some_and(|text| text.contains("set it to 0")));
        assert!(tiocsti(None).is_some_and(|text| text.contains("does not exist")));
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
