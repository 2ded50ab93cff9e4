//! What systemd-logind knows about a session. This comes from logind's file for the session, which libsystemd
//! reads, too. elogind has the same files.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use super::cgroup::Cgroups;
use super::clock::Nanos;

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

/// One session that logind lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogindSession {
    /// logind's ID, such as `12` or `c1`.
    pub id: String,
    /// The process that opened it. It may have ended.
    pub leader: Pid,
    /// The user's name as name services have it.
    pub user: String,
    pub uid: u32,
    /// The remote host, as PAM named it.
    pub rhost: Option<String>,
    /// The terminal, as PAM named it.
    pub tty: Option<String>,
    /// When it was opened, on the monotonic clock.
    pub opened: Nanos,
    pub kind: Kind,
}

impl LogindSession {
    /// Whether a process is in this session. `cgroup` is the text of its `/proc/PID/cgroup`. After the leader's
    /// end, another process may have its PID.
    #[must_use]
    pub fn has(&self, cgroup: &str) -> bool {
        Cgroups::parse(cgroup).session() == Some(&self.id) || elogind_sessions(cgroup).any(|id| id == self.id)
    }

    fn parse(id: &str, text: &str) -> Option<Self> {
        const MICROSECOND: Nanos = 1000;
        let text_of = |key| value(text, key).map(str::to_owned);
        let opened: Nanos = value(text, "MONOTONIC=")?.parse().ok()?;
        // logind may read the terminal from utmp later. PAM did not name that one.
        let from_pam = value(text, "TTY_VALIDITY=").is_none_or(|validity| validity == "from-pam");
        Some(Self {
            id: id.to_owned(),
            leader: Pid::from_raw(value(text, "LEADER=")?.parse().ok()?),
            user: text_of("USER=")?,
            uid: value(text, "UID=")?.parse().ok()?,
            rhost: text_of("REMOTE_HOST="),
            tty: text_of("TTY=").filter(|_| from_pam),
            opened: opened.saturating_mul(MICROSECOND),
            kind: parse(text),
        })
    }
}

/// The sessions that logind lists, in the order of their IDs.
#[must_use]
pub fn sessions() -> Vec<LogindSession> {
    sessions_in(Path::new(SESSIONS))
}

fn sessions_in(directory: &Path) -> Vec<LogindSession> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    // Beside `12` there is `12.ref`. It is a FIFO, so a reader would wait for a writer.
    let ids = names.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()));
    let mut found: Vec<_> = ids
        .filter_map(|id| LogindSession::parse(&id, &fs::read_to_string(directory.join(&id)).ok()?))
        .collect();
    found.sort_by(|one, other| (one.id.len(), &one.id).cmp(&(other.id.len(), &other.id)));
    found
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
    fn sessions_are_listed_with_what_pam_said() {
        let directory = std::env::temp_dir().join(format!("idle-watchdog-logind-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        put(
            "12",
            "UID=1000\nUSER=alice\nCLASS=user\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\nTTY=pts/0\n\
             TTY_VALIDITY=from-utmp\nLEADER=70\nMONOTONIC=5000000\n",
        );
        put(
            "c1",
            "UID=0\nUSER=root\nCLASS=user\nSERVICE=login\nTTY=tty1\nTTY_VALIDITY=from-pam\nLEADER=80\nMONOTONIC=1\n",
        );
        put("9", "UID=0\nUSER=root\nTTY=tty2\nLEADER=90\nMONOTONIC=1\n");
        nix::unistd::mkfifo(&directory.join("9.ref"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        put("13", "UID=0\nUSER=root\nMONOTONIC=1\n");
        let found = sessions_in(&directory);
        fs::remove_dir_all(&directory).unwrap();
        let ids: Vec<&str> = found.iter().map(|session| session.id.as_str()).collect();
        assert_eq!(ids, ["9", "12", "c1"]);
        let [ninth, alice, root] = &found[..] else { panic!() };
        assert_eq!((ninth.tty.as_deref(), root.tty.as_deref()), (Some("tty2"), Some("tty1")));
        assert_eq!((alice.tty.as_deref(), alice.rhost.as_deref()), (None, Some("192.0.2.7")));
        assert_eq!((alice.leader.as_raw(), alice.uid, alice.opened), (70, 1000, 5_000_000_000));
        assert!(alice.has("0::/user.slice/user-1000.slice/session-12.scope") && alice.has("0::/12"));
        assert!(!alice.has("0::/user.slice/user-1000.slice/session-1.scope"));
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
