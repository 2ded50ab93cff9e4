//! Whether authselect will overwrite a line of ours. It writes files from a profile into `/etc/authselect`. Files in
//! `/etc/pam.d` are links to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::services::Service;
use crate::command::machine::Machine;
use crate::command::pam_stack::stack::{Entry, MODULE};

const PROFILES: &str = "/etc/authselect";
/// The first line is the name of the profile. Each other line is a feature that is on.
const CONF: &str = "/etc/authselect/authselect.conf";

/// Where the administrator should put the line.
const INSTEAD: &str =
    "put it at the end of the service's own file, such as /etc/pam.d/sshd, or see docs/rhel.md";

/// The lines of ours that authselect will overwrite.
#[must_use]
pub fn findings(machine: &Machine) -> BTreeSet<String> {
    let lines = machine.libpam.stacks().flat_map(|stack| stack.entries).filter(Entry::is_ours);
    lines.filter_map(|line| lost(machine, &line.place)).collect()
}

/// Where the line belongs, if no service has it yet and authselect is in use.
#[must_use]
pub fn note(machine: &Machine, services: &[Service]) -> Option<String> {
    let is_missing = !services.iter().any(|service| service.has_line);
    (is_missing && machine.file(CONF).exists()).then(|| {
        format!(
            "authselect writes system-auth, password-auth and postlogin, so the line does not belong there: {INSTEAD}"
        )
    })
}

/// `place` is the file and the number of a line.
fn lost(machine: &Machine, place: &str) -> Option<String> {
    let (file, _) = place.rsplit_once(':')?;
    let target = machine.own_path(&fs::canonicalize(machine.file(file)).ok()?);
    let name = target.strip_prefix(PROFILES).ok()?;
    if profile_has_line(machine, name) {
        return None;
    }
    Some(format!("{place}: authselect writes this file, so the line is lost at the next change: {INSTEAD}"))
}

/// Whether the profile in use is a custom one that has our line in this file. The line may need a feature, which must be on.
fn profile_has_line(machine: &Machine, name: &Path) -> bool {
    let conf = fs::read_to_string(machine.file(CONF)).unwrap_or_default();
    let mut lines = conf.lines().map(str::trim);
    let Some(profile) = lines.next().filter(|profile| profile.starts_with("custom/")) else { return false };
    let features: Vec<&str> = lines.collect();
    let is_on = |line: &str| {
        let needed = line.split_once("{include if \"").and_then(|(_, rest)| rest.split_once('"'));
        needed.is_none_or(|(feature, _)| features.contains(&feature))
    };
    let text = fs::read_to_string(machine.file(PROFILES).join(profile).join(name));
    let ours =
        |line: &str| line.trim_start().starts_with(['-', 's', '{']) && line.contains(MODULE) && is_on(line);
    text.is_ok_and(|text| text.lines().any(ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_line_in_a_file_of_authselect_is_lost_unless_its_profile_has_it() {
        let tree = Tree::with("session include postlogin");
        assert_eq!(note(&tree.machine(), &[]), None);
        tree.put("etc/authselect/authselect.conf", "sssd\nwith-mkhomedir\n");
        assert!(note(&tree.machine(), &[]).is_some());
        let line = "# authselect\nsession required pam_idle_watchdog.so timeout=15m\n";
        tree.put("etc/pam.d/postlogin", line);
        assert_eq!(findings(&tree.machine()).len(), 0);
        tree.remove("etc/pam.d/postlogin");
        tree.link("etc/pam.d/postlogin", "etc/authselect/postlogin");
        tree.put("etc/authselect/postlogin", line);
        let found = findings(&tree.machine());
        assert!(found.iter().all(|text| text.starts_with("/etc/pam.d/postlogin:2: authselect")), "{found:?}");
        assert_eq!(found.len(), 1);
        tree.put("etc/authselect/authselect.conf", "custom/ours\n");
        tree.put("etc/authselect/custom/ours/postlogin", "# pam_idle_watchdog.so\n");
        assert_eq!(findings(&tree.machine()).len(), 1);
        tree.put("etc/authselect/custom/ours/postlogin", line);
        assert_eq!(findings(&tree.machine()).len(), 0);
        let template = line.replace("15m", "15m {include if \"with-idle-watchdog\"}");
        tree.put("etc/authselect/custom/ours/postlogin", &template);
        assert_eq!(findings(&tree.machine()).len(), 1, "the feature is off");
        tree.put("etc/authselect/authselect.conf", "custom/ours\nwith-mkhomedir\nwith-idle-watchdog\n");
        assert_eq!(findings(&tree.machine()).len(), 0);
    }
}
