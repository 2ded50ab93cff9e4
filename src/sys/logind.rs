//! What systemd-logind says of a session, in the file that libsystemd reads, too; and elogind, which keeps
//! the same files.
#![forbid(unsafe_code)]

use std::fs;

use nix::unistd::Pid;

/// Where logind keeps them. Only root writes there, unlike in the PAM environment, which a user fills
/// through pam_env's `user_readenv`.
const SESSIONS: &str = "/run/systemd/sessions";

/// What kind of session it is; class and type as pam_systemd(8) lists them. Where pam_env reads the user's own
/// file first, the user chooses both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// `user`, `greeter`, `manager` ...
    pub class: Option<String>,
    /// `tty`, `x11`, `wayland` ..., as it was when the session began: the user may have logind change
    /// it, and be quicker than the rest of their own login's PAM stack.
    pub kind: Option<String>,
    /// The PAM service that opened the session.
    pub service: Option<String>,
    /// It was opened from a remote host.
    pub remote: bool,
}

/// What logind says; nothing where there is no such session.
#[must_use]
pub fn kind_of(session: &str) -> Kind {
    parse(&file_of(session))
}

/// What elogind says of the session that a process leads, by the text of its `/proc/PID/cgroup`. elogind
/// makes no scopes: it puts the leader into a control group of the session's name at the root of the
/// hierarchy, where only root makes groups. A group may have such a name by chance, so the session's file
/// must name the process.
#[must_use]
pub fn kind_led_by(leader: Pid, cgroup: &str) -> Option<Kind> {
    let file = elogind_sessions(cgroup).map(file_of).find(|text| leads(text, leader))?;
    Some(parse(&file))
}

/// The names of control groups at the root of the hierarchies that elogind uses.
fn elogind_sessions(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if !matches!(controllers, "" | "name=elogind") {
            return None;
        }
        path.strip_prefix('/')
    })
}

fn leads(text: &str, leader: Pid) -> bool {
    value(text, "LEADER=").and_then(|pid| pid.parse().ok()) == Some(leader.as_raw())
}

/// The text of a session's file; none where there is no such session.
fn file_of(session: &str) -> String {
    if session.is_empty() || !session.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return String::new();
    }
    fs::read_to_string(format!("{SESSIONS}/{session}")).unwrap_or_default()
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// The same, of the text of logind's file.
#[must_use]
pub fn parse(text: &str) -> Kind {
    let value = |key| value(text, key).map(str::to_owned);
    Kind {
        class: value("CLASS="),
        kind: value("ORIGINAL_TYPE=").or_else(|| value("TYPE=")),
        service: value("SERVICE="),
        // logind takes the host `localhost` for a local one, but a user can come in through it.
        remote: value("REMOTE=").is_some_and(|remote| remote == "1") || value("REMOTE_HOST=").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_logind_writes() {
        let kind = parse("# This is private data. Do not parse.\nUID=117\nTYPE=wayland\nCLASS=greeter\n");
        assert_eq!((kind.class.as_deref(), kind.kind.as_deref()), (Some("greeter"), Some("wayland")));
        assert_eq!(parse(""), Kind::default());
    }

    #[test]
    fn a_session_from_a_remote_host_is_one_whatever_the_host_is_called() {
        let local = parse("REMOTE=0\nTYPE=tty\nCLASS=user\nTTY=tty1\nSERVICE=login\n");
        assert_eq!((local.remote, local.service.as_deref()), (false, Some("login")));
        assert!(parse("REMOTE=1\nCLASS=greeter\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n").remote);
        assert!(parse("REMOTE=0\nCLASS=greeter\nREMOTE_HOST=localhost\nSERVICE=sshd\n").remote);
    }

    #[test]
    fn a_type_set_later_is_the_users_word() {
        let kind = parse("UID=1000\nTYPE=x11\nORIGINAL_TYPE=tty\nCLASS=user\n");
        assert_eq!(kind.kind.as_deref(), Some("tty"));
    }

    #[test]
    fn elogind_has_its_sessions_at_the_root_and_names_their_leader() {
        let names = |text| elogind_sessions(text).collect::<Vec<_>>();
        assert_eq!(names("2:cpu:/x\n1:name=elogind:/c1\n0::/user.slice/a\n"), ["c1", "user.slice/a"]);
        assert_eq!(names("0::/c12\n"), ["c12"]);
        assert_eq!(names("1:name=systemd:/c1\n"), [""; 0]);
        let pid = Pid::from_raw;
        let text = "UID=1000\nUSER=alice\nTYPE=x11\nCLASS=user\nLEADER=321\n";
        assert!(leads(text, pid(321)));
        assert!(!leads(text, pid(32)) && !leads("", pid(0)) && !leads("LEADER=x\n", pid(0)));
        // No session of such a name, and what is no name at all.
        assert_eq!(kind_led_by(pid(321), "0::/c1nosuchsession\n"), None);
        assert_eq!(kind_led_by(pid(321), "0::/../../etc/passwd\n"), None);
        assert_eq!(kind_led_by(pid(321), "0::/\n"), None);
    }

    #[test]
    fn a_name_is_no_path() {
        assert_eq!(kind_of("../../../etc/passwd"), Kind::default());
        assert_eq!(kind_of(""), Kind::default());
    }
}
