//! What systemd-logind knows about a session. This comes from logind's file for the session, which libsystemd
//! reads, too. elogind has the same files.
#![forbid(unsafe_code)]

use std::fs;

use nix::unistd::Pid;

/// Where logind keeps these files. Only root can write there. The PAM environment has the same facts, but with
/// pam_env's `user_readenv` users can change it.
const SESSIONS: &str = "/run/systemd/sessions";

/// The kind of a session. pam_systemd(8) lists the classes and types. If pam_env reads the user's own file before
/// pam_systemd, the user chooses both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// For example `user`, `greeter` or `manager`.
    pub class: Option<String>,
    /// The type when the session started, such as `tty`, `x11` or `wayland`. Users can have logind change the type, even
    /// before the PAM stack of their login has finished.
    pub kind: Option<String>,
    /// The PAM service that opened the session.
    pub service: Option<String>,
    /// Whether it was opened from a remote host.
    pub remote: bool,
}

/// The kind of a logind session. Empty if there is no such session.
#[must_use]
pub fn kind_of(session: &str) -> Kind {
    parse(&file_of(session))
}

/// The kind of the elogind session that a process leads. `cgroup` is the text of its `/proc/PID/cgroup`. elogind does
/// not create scopes. It moves the leader into a control group that is named after the session and is at the root of
/// the hierarchy, where only root can create groups. Another group may have such a name by chance, so the session's
/// file must also name the process.
#[must_use]
pub fn kind_led_by(leader: Pid, cgroup: &str) -> Option<Kind> {
    let file = elogind_sessions(cgroup).map(file_of).find(|text| leads(text, leader))?;
    Some(parse(&file))
}

/// The control groups in the hierarchies that elogind can use, without the leading slash.
fn elogind_sessions(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() || controllers == "name=elogind" { path.strip_prefix('/') } else { None }
    })
}

fn leads(text: &str, leader: Pid) -> bool {
    value(text, "LEADER=").and_then(|pid| pid.parse().ok()) == Some(leader.as_raw())
}

/// The text of a session's file. Empty if there is no such session.
fn file_of(session: &str) -> String {
    if session.is_empty() || !session.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return String::new();
    }
    fs::read_to_string(format!("{SESSIONS}/{session}")).unwrap_or_default()
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// Parses the text of a session's file.
#[must_use]
pub fn parse(text: &str) -> Kind {
    let value = |key| value(text, key).map(str::to_owned);
    Kind {
        class: value("CLASS="),
        kind: value("ORIGINAL_TYPE=").or_else(|| value("TYPE=")),
        service: value("SERVICE="),
        // For logind the host `localhost` is not remote. But a user may come from elsewhere, through a forwarded port.
        remote: value("REMOTE=").is_some_and(|remote| remote == "1") || value("REMOTE_HOST=").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_file_is_parsed() {
        let kind = parse("# This is private data. Do not parse.\nUID=117\nTYPE=wayland\nCLASS=greeter\n");
        assert_eq!((kind.class.as_deref(), kind.kind.as_deref()), (Some("greeter"), Some("wayland")));
        assert_eq!(parse(""), Kind::default());
    }

    #[test]
    fn a_session_with_a_remote_host_is_remote_even_if_it_is_localhost() {
        let local = parse("REMOTE=0\nTYPE=tty\nCLASS=user\nTTY=tty1\nSERVICE=login\n");
        assert_eq!((local.remote, local.service.as_deref()), (false, Some("login")));
        assert!(parse("REMOTE=1\nCLASS=greeter\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n").remote);
        assert!(parse("REMOTE=0\nCLASS=greeter\nREMOTE_HOST=localhost\nSERVICE=sshd\n").remote);
    }

    #[test]
    fn a_type_that_was_changed_later_is_ignored() {
        let kind = parse("UID=1000\nTYPE=x11\nORIGINAL_TYPE=tty\nCLASS=user\n");
        assert_eq!(kind.kind.as_deref(), Some("tty"));
    }

    #[test]
    fn an_elogind_session_is_at_the_root_and_its_file_names_the_leader() {
        let names = |text| elogind_sessions(text).collect::<Vec<_>>();
        assert_eq!(names("2:cpu:/x\n1:name=elogind:/c1\n0::/user.slice/a\n"), ["c1", "user.slice/a"]);
        assert_eq!(names("0::/c12\n"), ["c12"]);
        assert_eq!(names("1:name=systemd:/c1\n"), [""; 0]);
        let pid = Pid::from_raw;
        let text = "UID=1000\nUSER=alice\nTYPE=x11\nCLASS=user\nLEADER=321\n";
        assert!(leads(text, pid(321)));
        assert!(!leads(text, pid(32)) && !leads("", pid(0)) && !leads("LEADER=x\n", pid(0)));
        // A session that does not exist, and texts that cannot be the name of a session.
        assert_eq!(kind_led_by(pid(321), "0::/c1nosuchsession\n"), None);
        assert_eq!(kind_led_by(pid(321), "0::/../../etc/passwd\n"), None);
        assert_eq!(kind_led_by(pid(321), "0::/\n"), None);
    }

    #[test]
    fn a_path_is_not_a_session_name() {
        assert_eq!(kind_of("../../../etc/passwd"), Kind::default());
        assert_eq!(kind_of(""), Kind::default());
    }
}
