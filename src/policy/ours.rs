//! Which sessions are watched: all that a person may sit at a terminal of.

/// Services that run jobs, not people.
const JOBS: [&str; 4] = ["cron", "crond", "atd", "systemd-user"];
/// Classes of logind's that are no login session, by their beginnings (pam_systemd(8): there are
/// `-early` and `-light` ones, too).
const NO_LOGIN: [&str; 4] = ["greeter", "lock-screen", "background", "manager"];
/// Types of logind's that have a screen lock of their own.
const GRAPHICAL: [&str; 3] = ["x11", "wayland", "mir"];

/// Why a session is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What the record says.
    pub because: String,
    /// It happens every minute, and is worth a record only to who debugs.
    pub routine: bool,
}

/// Why a session is not ours, if it is not. `class` and `kind` are what logind says.
#[must_use]
pub fn exception(service: &str, class: Option<&str>, kind: Option<&str>) -> Option<Exception> {
    if JOBS.contains(&service) {
        return Some(Exception { because: format!("service {service}"), routine: true });
    }
    let class = class.filter(|class| NO_LOGIN.iter().any(|no| class.starts_with(no)));
    let kind = kind.filter(|kind| GRAPHICAL.contains(kind));
    let because = class
        .map(|class| format!("session class {class}"))
        .or_else(|| kind.map(|kind| format!("session type {kind}")))?;
    Some(Exception { because, routine: false })
}

#[cfg(test)]
mod tests {
    use super::exception;

    #[test]
    fn logins_at_terminals_are_ours() {
        for service in ["sshd", "login", "su", "sudo", "remote"] {
            assert_eq!(exception(service, Some("user"), Some("tty")), None);
            assert_eq!(exception(service, None, None), None);
        }
        assert_eq!(exception("sshd", Some("user-early"), Some("unspecified")), None);
    }

    #[test]
    fn jobs_greeters_and_desktops_are_not() {
        for service in ["cron", "crond", "atd", "systemd-user"] {
            assert!(exception(service, None, None).is_some(), "{service}");
        }
        for class in ["greeter", "lock-screen", "background", "background-light", "manager", "manager-early"]
        {
            assert!(exception("gdm", Some(class), None).is_some(), "{class}");
        }
        for kind in ["x11", "wayland", "mir"] {
            assert!(exception("gdm-password", Some("user"), Some(kind)).is_some(), "{kind}");
        }
    }
}
