//! Which sessions are never watched: those in which nobody uses a terminal.

use crate::sys::logind::Kind;

/// Services that run jobs, not people.
const JOBS: [&str; 4] = ["cron", "crond", "atd", "systemd-user"];
/// Classes of logind that are not login sessions. These are the first letters, because some classes have
/// variants that end in `-early` or `-light` (pam_systemd(8)).
const NO_LOGIN: [&str; 4] = ["greeter", "lock-screen", "background", "manager"];
/// Services that open only text sessions. Their users may have chosen the class and the type.
const TEXT: [&str; 14] = [
    "doas",
    "login",
    "remote",
    "rlogin",
    "rsh",
    "runuser",
    "runuser-l",
    "sshd",
    "su",
    "su-l",
    "sudo",
    "sudo-i",
    "systemd-run0",
    "telnet",
];
/// Types of logind whose sessions have a screen lock.
const GRAPHICAL: [&str; 3] = ["x11", "wayland", "mir"];

/// Why a session is never watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The reason for the record.
    pub because: String,
    /// There are hundreds of such sessions, so they are recorded only with `debug`.
    pub routine: bool,
}

/// Why this session is never watched, if it is not. `session` is logind's kind of the login session that this
/// session is or is inside. `remote` says that this login came from a remote host.
#[must_use]
pub fn exception(service: &str, session: &Kind, remote: bool) -> Option<Exception> {
    if JOBS.contains(&service) {
        return Some(Exception { because: format!("service {service}"), routine: true });
    }
    // In these sessions users may have chosen the class and the type, through pam_env's user_readenv.
    let opener = session.service.as_deref().unwrap_or(service);
    if remote || session.remote || TEXT.contains(&opener) {
        return None;
    }
    let class = session.class.as_ref().filter(|class| NO_LOGIN.iter().any(|no| class.starts_with(no)));
    let kind = session.kind.as_ref().filter(|kind| GRAPHICAL.contains(&kind.as_str()));
    let because = class
        .map(|class| format!("session class {class}"))
        .or_else(|| kind.map(|kind| format!("session type {kind}")))?;
    Some(Exception { because, routine: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of a session that this service opened at the machine itself.
    fn kept(service: &str, class: &str, kind: &str) -> Kind {
        let text = |text: &str| Some(text.to_owned());
        Kind { class: text(class), kind: text(kind), service: text(service), remote: false }
    }

    #[test]
    fn logins_at_terminals_are_ours() {
        for service in ["sshd", "login", "su", "sudo", "remote"] {
            assert_eq!(exception(service, &kept(service, "user", "tty"), false), None);
            assert_eq!(exception(service, &Kind::default(), false), None);
        }
        assert_eq!(exception("sshd", &kept("sshd", "user-early", "unspecified"), true), None);
    }

    #[test]
    fn jobs_greeters_and_desktops_are_not() {
        for service in ["cron", "crond", "atd", "systemd-user"] {
            assert!(exception(service, &Kind::default(), false).is_some(), "{service}");
        }
        for class in ["greeter", "lock-screen", "background", "background-light", "manager", "manager-early"]
        {
            assert!(exception("gdm", &kept("gdm", class, "x11"), false).is_some(), "{class}");
        }
        for kind in ["x11", "wayland", "mir"] {
            let desktop = kept("gdm-password", "user", kind);
            assert!(exception("gdm-password", &desktop, false).is_some(), "{kind}");
            // The same is true for a session inside it.
            assert!(exception("su", &desktop, false).is_some(), "{kind}");
        }
    }

    /// The kinds that a user can choose through pam_env's user_readenv.
    const CHOSEN: [(&str, &str); 3] = [("greeter", "tty"), ("user", "wayland"), ("background", "x11")];

    #[test]
    fn nobody_from_a_remote_host_is_excepted_by_class_or_type() {
        for (class, kind) in CHOSEN {
            for service in ["sshd", "gdm-password", "my-sshd"] {
                let session = kept(service, class, kind);
                assert_eq!(exception(service, &session, true), None, "{service} {class} {kind}");
                // The session inside it has no remote host of its own.
                let session = Kind { remote: true, ..session };
                assert_eq!(exception("su", &session, false), None, "{service} {class} {kind}");
            }
        }
    }

    #[test]
    fn nobody_at_a_text_terminal_is_excepted_by_class_or_type() {
        for (class, kind) in CHOSEN {
            for service in ["login", "su-l", "sudo-i"] {
                let session = kept(service, class, kind);
                assert_eq!(exception(service, &session, false), None, "{service} {class} {kind}");
                assert_eq!(exception("su", &session, false), None, "{service} {class} {kind}");
                // An older logind does not say which service opened the session.
                let session = Kind { service: None, ..session };
                assert_eq!(exception(service, &session, false), None, "{service} {class} {kind}");
            }
        }
    }
}
