//! What SELinux does to the helper: whether it has a domain of its own, which the policy module in `dist/selinux`
//! gives it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::command::machine::Machine;
use crate::protocol::start::HELPER;
use crate::sys::xattr;

/// The type of the helper's file in the policy module.
const TYPE: &str = "pam_idle_watchdog_exec_t";

const NO_MODULE: &str = "the policy lacks the module pam_idle_watchdog, so it may deny the helper what it needs: install the \
                         module (see docs/selinux.md)";

/// Why the helper does not run in its own domain, or would not.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// SELinux enforces its policy.
    Now(String),
    /// SELinux only logs what it would deny.
    IfEnforced(String),
}

/// Why the helper does not run in its own domain, or would not if SELinux enforced its policy.
#[must_use]
pub fn problem(machine: &Machine) -> Option<Problem> {
    let enforce = match fs::read_to_string(machine.file("/sys/fs/selinux/enforce")) {
        Ok(enforce) => enforce,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => {
            return Some(Problem::Now(format!("SELinux: cannot tell whether it enforces a policy: {e}")));
        }
    };
    // Another finding says that there is no helper.
    let label = match xattr::get(&machine.file(HELPER), c"security.selinux") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        label => label.ok(),
    };
    let label = label.map(|label| String::from_utf8_lossy(&label).trim_end_matches('\0').to_owned());
    judge(&enforce, knows_type(machine), label.as_deref())
}

/// Asks the kernel whether the policy that is loaded has our type. The kernel refuses a context with an unknown
/// type with `EINVAL`.
fn knows_type(machine: &Machine) -> io::Result<bool> {
    let levels = fs::read_to_string(machine.file("/sys/fs/selinux/mls"))?;
    let level = if levels.trim() == "1" { ":s0" } else { "" };
    let mut file = OpenOptions::new().write(true).open(machine.file("/sys/fs/selinux/context"))?;
    match file.write_all(format!("system_u:object_r:{TYPE}{level}\0").as_bytes()) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(e) => Err(e),
    }
}

/// `label` is the label of the helper's file.
fn judge(enforce: &str, knows_type: io::Result<bool>, label: Option<&str>) -> Option<Problem> {
    let problem = match knows_type {
        Ok(true) if label.is_some_and(|label| label.split(':').nth(2) == Some(TYPE)) => return None,
        Ok(true) => {
            let label = label.unwrap_or("missing");
            format!("the label of {HELPER} is {label}, not {TYPE}: run `restorecon -v {HELPER}`")
        }
        Ok(false) => NO_MODULE.to_owned(),
        Err(e) => {
            format!("cannot tell whether the policy has the module pam_idle_watchdog: /sys/fs/selinux: {e}")
        }
    };
    Some(if enforce.trim() == "1" {
        Problem::Now(format!("SELinux: {problem}"))
    } else {
        Problem::IfEnforced(format!("SELinux does not enforce its policy now. If it did: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_missing_module_and_a_wrong_label_are_found() {
        let ours = format!("system_u:object_r:{TYPE}:s0");
        let permissive = judge("0\n", Ok(false), None).unwrap();
        assert!(
            matches!(&permissive, Problem::IfEnforced(text) if text.contains("If it did: the policy lacks"))
        );
        assert_eq!(judge("0", Ok(true), Some(&ours)), None);
        assert_eq!(judge("1\n", Ok(true), Some(&ours)), None);
        assert_eq!(judge("1", Ok(true), Some("system_u:object_r:pam_idle_watchdog_exec_t")), None);
        let says = |knows, label, text: &str| {
            let said = judge("1", knows, label).unwrap();
            assert!(matches!(&said, Problem::Now(said) if said.contains(text)), "{said:?}");
        };
        says(Ok(false), Some("system_u:object_r:bin_t:s0"), "lacks the module");
        says(Ok(true), Some("system_u:object_r:bin_t:s0"), "is system_u:object_r:bin_t:s0, not ");
        says(Ok(true), None, "is missing, not ");
        says(Err(io::ErrorKind::PermissionDenied.into()), None, "cannot tell");
    }

    #[test]
    fn a_machine_without_selinux_has_no_finding() {
        let tree = Tree::with("");
        assert_eq!(problem(&tree.machine()), None);
        tree.put("sys/fs/selinux/enforce", "1");
        let finds =
            |what: &str| matches!(problem(&tree.machine()), Some(Problem::Now(text)) if text.contains(what));
        assert!(finds("cannot tell"));
        // The kernel accepts a context with a type that it knows, as a file accepts it.
        tree.put("sys/fs/selinux/mls", "1");
        tree.put("sys/fs/selinux/context", "");
        assert!(finds("restorecon"));
    }
}
