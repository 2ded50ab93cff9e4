//! What weakens the guard on this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::SigSet;
use nix::unistd::setsid;

use super::check::MODULE;
use super::stack::{self, Entry};
use crate::handoff::HELPER;
use crate::sys::aside::{self, Aside};
use crate::watch::inner;

/// The module that puts a session into the scope which tells its processes from others.
const SYSTEMD: &str = "pam_systemd.so";

/// All that weakens the guard here, in words.
#[must_use]
pub fn findings() -> Vec<String> {
    let mut found = Vec::new();
    found.extend(helper());
    found.extend(stacks(&stack::services(), &stack::of_service));
    found.extend(tiocsti(fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").ok().as_deref()));
    found.extend(dev_tty());
    found.extend(hidden(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()));
    found
}

fn helper() -> Option<String> {
    let problem = match fs::metadata(HELPER) {
        Err(e) => e.to_string(),
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            "cannot be executed".to_owned()
        }
        Ok(file) if file.uid() != 0 || file.mode() & 0o022 != 0 => {
            "may be written by others than root".to_owned()
        }
        Ok(_) => return None,
    };
    Some(format!("the helper {HELPER}: {problem}: no session can be guarded"))
}

/// What is wrong with the stacks of services.
fn stacks(services: &[String], of_service: &impl Fn(&str) -> Option<Vec<Entry>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut any = false;
    for service in services {
        let Some(stack) = of_service(service) else { continue };
        // It says yes to whomever it could guard, and is no judge of whether he may come in.
        let judge = |entry: &&Entry| {
            (entry.kind.as_str(), entry.module.as_str()) == ("account", MODULE)
                && entry.control == "sufficient"
        };
        found.extend(stack.iter().filter(judge).map(|line| {
            format!(
                "{service}: {} is sufficient: account lines after it are not asked whether one may come in",
                line.place
            )
        }));
        let sessions: Vec<&Entry> = stack.iter().filter(|entry| entry.kind == "session").collect();
        let ours = sessions.iter().position(|entry| entry.module == MODULE);
        let systemd = sessions.iter().position(|entry| entry.module == SYSTEMD);
        let Some((at, line)) = ours.and_then(|at| Some((at, sessions.get(at)?))) else {
            // Whoever has the module for consoles alone still wants to know that.
            if service == "sshd" {
                found.push("sshd: no line of ours in its session stack: nobody is watched there".to_owned());
            }
            continue;
        };
        any = true;
        if systemd.is_some_and(|systemd| at < systemd) {
            found.push(format!(
                "{service}: {} stands before {SYSTEMD}: the session's scope is not known yet",
                line.place
            ));
        }
        if matches!(line.control.as_str(), "optional" | "sufficient") {
            found.push(format!(
                "{service}: {} is {}: what cannot be guarded goes on unguarded, whatever onerr= says",
                line.place, line.control
            ));
        }
    }
    if !any {
        found.push("no service has a line of ours in its session stack".to_owned());
    }
    found
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
    let answer = Aside::default().run(|pipe| {
        let alone = SigSet::all().thread_block().and_then(|()| setsid());
        let needs = alone.is_ok() && inner::kernel_needs_it();
        aside::answer(pipe, &[u8::from(needs)]);
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

    fn entry(kind: &str, control: &str, module: &str) -> Entry {
        let place = format!("/p/{module}");
        Entry {
            place,
            kind: kind.to_owned(),
            control: control.to_owned(),
            module: module.to_owned(),
            words: Vec::new(),
        }
    }

    fn judged(sshd: &[Entry]) -> Vec<String> {
        stacks(&["sshd".to_owned()], &|_| Some(sshd.to_vec()))
    }

    #[test]
    fn a_line_after_pam_systemd_is_as_it_should_be() {
        let ours = entry("session", "required", MODULE);
        assert!(judged(&[entry("session", "optional", SYSTEMD), ours.clone()]).is_empty());
        assert!(judged(&[ours]).is_empty());
    }

    #[test]
    fn a_line_that_is_missing_too_early_or_optional_is_found() {
        let systemd = entry("session", "optional", SYSTEMD);
        let found = judged(&[entry("session", "required", MODULE), systemd.clone()]);
        assert!(matches!(&found[..], [one] if one.contains("before pam_systemd.so")), "{found:?}");
        let found = judged(&[systemd.clone(), entry("session", "optional", MODULE)]);
        assert!(matches!(&found[..], [one] if one.contains("is optional")), "{found:?}");
        let ours = entry("session", "required", MODULE);
        let found = judged(&[entry("account", "sufficient", MODULE), ours.clone()]);
        assert!(matches!(&found[..], [one] if one.contains("account lines after it")), "{found:?}");
        assert!(judged(&[entry("account", "required", MODULE), ours]).is_empty());
        let found = judged(&[systemd, entry("account", "required", MODULE)]);
        assert!(
            matches!(&found[..], [one, two] if one.starts_with("sshd: no line") && two.starts_with("no service")),
            "{found:?}"
        );
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
