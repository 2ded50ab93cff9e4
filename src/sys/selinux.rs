//! The SELinux domain of the helper.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

/// The domain that our policy module (`dist/selinux`) gives the helper.
const OURS: &str = "pam_idle_watchdog_t";

/// A text to add to an error. It names the domain of the helper, if that is not its own. Empty for other errors than
/// `PermissionDenied`, and without SELinux.
#[must_use]
pub fn hint(error: &io::Error) -> String {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let context = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    foreign_domain(&context).filter(|_| denied).map_or_else(String::new, |domain| {
        format!(" (SELinux: no policy module gives the helper a domain of its own, so it runs in {domain}: see docs/selinux.md)")
    })
}

/// The domain in a context, such as `system_u:system_r:sshd_t:s0-s0:c0.c1023`, unless it is ours. AppArmor writes
/// other texts to the same file.
fn foreign_domain(context: &str) -> Option<&str> {
    let mut parts = context.trim_end_matches(['\n', '\0']).split(':');
    let domain = parts.nth(2)?;
    let is_name = domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && domain != OURS).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_context_of_selinux_has_a_domain() {
        assert_eq!(foreign_domain("system_u:system_r:sshd_t:s0-s0:c0.c1023\0"), Some("sshd_t"));
        assert_eq!(foreign_domain("system_u:system_r:local_login_t\n"), Some("local_login_t"));
        assert_eq!(foreign_domain("system_u:system_r:pam_idle_watchdog_t:s0\0"), None);
        for other in
            ["", "unconfined\n", "pam_idle_watchdog_helper (enforce)\n", "a//&:ns:unconfined (enforce)\n"]
        {
            assert_eq!(foreign_domain(other), None, "{other}");
        }
    }

    #[test]
    fn other_errors_have_no_hint() {
        assert_eq!(hint(&io::ErrorKind::NotFound.into()), "");
    }
}
