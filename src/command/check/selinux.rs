//! What SELinux does to the helper: whether it has a domain of its own, which the policy module in `dist/selinux`
//! gives it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::command::machine::Machine;
use crate::protocol::start::HELPER;
use crate::sys::xattr;

/// The type of the helper's file in the policy module.
const TYPE: &str = "pam_idle_watchdog_exec_t";

/// Why the helper does not run in its own domain, if SELinux enforces its policy.
#[must_use]
pub fn finding(machine: &Machine) -> Option<String> {
    let enforce = match fs::read_to_string(machine.file("/sys/fs/selinux/enforce")) {
        Ok(enforce) => enforce,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return Some(format!("SELinux: cannot tell whether it enforces a policy: {e}")),
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
fn judge(enforce: &str, knows_type: io::Result<bool>, label: Option<&str>) -> Option<String> {
    if enforce.trim() != "1" {
        return None;
    }
    match knows_type {
        Ok(true) if label.is_some_and(|label| label.split(':').nth(2) == Some(TYPE)) => None,
        Ok(true) => Some(format!(
            "SELinux: the label of {HELPER} is {}, not {TYPE}: run `restorecon -v {HELPER}`",
            label.unwrap_or("missing")
        )),
        Ok(false) => Some(
            "SELinux enforces a policy without the module pam_idle_watchdog, so it may deny the helper what it \
             needs: install the module (see selinux.md in the documentation)"
                .to_owned(),
        ),
        Err(e) => Some(format!(
            "SELinux: cannot tell whether the policy has the module pam_idle_watchdog: /sys/fs/selinux: {e}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_missing_module_and_a_wrong_label_are_found() {
        let ours = format!("system_u:object_r:{TYPE}:s0");
        assert_eq!(judge("0", Ok(false), None), None);
        assert_eq!(judge("1\n", Ok(true), Some(&ours)), None);
        assert_eq!(judge("1", Ok(true), Some("system_u:object_r:pam_idle_watchdog_exec_t")), None);
        let says = |knows, label, text: &str| {
            let said = judge("1", knows, label).unwrap();
            assert!(said.contains(text), "{said}");
        };
        says(Ok(false), Some("system_u:object_r:bin_t:s0"), "without the module");
        says(Ok(true), Some("system_u:object_r:bin_t:s0"), "is system_u:object_r:bin_t:s0, not ");
        says(Ok(true), None, "is missing, not ");
        says(Err(io::ErrorKind::PermissionDenied.into()), None, "cannot tell");
    }

    #[test]
    fn a_machine_without_selinux_has_no_finding() {
        let tree = Tree::with("");
        assert_eq!(finding(&tree.machine()), None);
        tree.put("sys/fs/selinux/enforce", "1");
        assert!(finding(&tree.machine()).is_some_and(|text| text.contains("cannot tell")));
        // The kernel accepts a context with a type that it knows, as a file accepts it.
        tree.put("sys/fs/selinux/mls", "1");
        tree.put("sys/fs/selinux/context", "");
        assert!(finding(&tree.machine()).is_some_and(|text| text.contains("restorecon")));
    }
}
