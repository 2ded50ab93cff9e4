//! The audit event for the end of a session, which Common Criteria asks for (FTA_SSL.3).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{Pid, getpid};

use crate::login::Login;
use crate::policy;
use crate::protocol::start::{Assignment, HELPER};
use crate::sys::audit;
use crate::sys::proc::{AuditSession, Proc, ProcId};

/// Why a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody was active for as long as the limit.
    Idle,
    /// The leader has ended without closing the session.
    LeaderGone,
    /// An administrator has asked for the end.
    Administrator,
}

impl Cause {
    /// The value of `op=`.
    const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle-timeout",
            Self::LeaderGone => "leader-gone",
            Self::Administrator => "administrator",
        }
    }
}

/// The login to which a process belongs, as the kernel's audit knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditIds {
    auid: Option<u32>,
    ses: Option<AuditSession>,
}

impl AuditIds {
    fn of(proc: &Proc, pid: Pid) -> Self {
        Self { auid: proc.login_uid(pid), ses: proc.audit_session(pid) }
    }
}

/// The login to which a session's leader belongs.
#[derive(Clone, Copy, Debug)]
pub struct LeaderIds {
    leader: ProcId,
    armed: AuditIds,
}

impl LeaderIds {
    /// Reads those of the leader when the watchdog is armed.
    #[must_use]
    pub fn of(proc: &Proc, leader: ProcId) -> Self {
        Self { leader, armed: AuditIds::of(proc, leader.pid) }
    }

    /// Those of now, because pam_loginuid(8) may come after us in the stack. If the leader is gone, those of then.
    #[must_use]
    pub fn read(&self, proc: &Proc) -> AuditIds {
        let now = AuditIds::of(proc, self.leader.pid);
        // This is asked last. Otherwise the IDs may be those of another process that got the PID.
        if proc.find(self.leader).is_some() { now } else { self.armed }
    }
}

/// The end of a session.
#[derive(Clone, Copy, Debug)]
pub struct EndEvent<'a> {
    pub cause: Cause,
    /// A terminal of the session, if it has one.
    pub terminal: Option<&'a str>,
    /// Those of the leader before the end.
    pub ids: AuditIds,
    /// No process has survived.
    pub success: bool,
}

impl EndEvent<'_> {
    /// Sends the event.
    ///
    /// # Errors
    ///
    /// Why it could not be sent, as a phrase. It is no error if the kernel does not audit.
    pub fn report(&self, proc: &Proc, assignment: &Assignment) -> Result<(), String> {
        let text = self.text(assignment, AuditIds::of(proc, getpid()));
        audit::session_terminated(&text).map_err(|e| format!("cannot send the audit event: {e}"))
    }

    /// The text, with the fields of libaudit's audit_log_acct_message(3) in their order. The kernel writes the IDs of
    /// the sender before it: `own`. The session's IDs are added if they differ. The names of the user's IDs are `id` and
    /// `sauid`, because ausearch shows a second `uid` or `auid` with the name of the first.
    fn text(&self, assignment: &Assignment, own: AuditIds) -> String {
        let Assignment { login: Login { user, uid, rhost, tty, .. }, connection, .. } = assignment;
        let rhost = rhost.as_deref().and_then(OsStr::to_str);
        let address: Option<IpAddr> =
            connection.map(|connection| connection.remote.ip()).or_else(|| policy::address(rhost?));
        let tty = tty.as_deref().and_then(OsStr::to_str).map(|tty| tty.strip_prefix("/dev/").unwrap_or(tty));
        let mut text = format!("op={}", self.cause.word());
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            let added = write!(text, " {name}={value}");
            // Writing to a String does not fail.
            debug_assert!(added.is_ok());
        };
        if self.ids != own {
            self.ids.auid.iter().for_each(|auid| add("sauid", auid));
            self.ids.ses.iter().for_each(|ses| add("ses", ses));
        }
        uid.iter().for_each(|uid| add("id", uid));
        add("acct", &encoded(user.as_deref().unwrap_or_default()));
        add("exe", &encoded(HELPER.as_ref()));
        add("hostname", &plain(rhost));
        add("addr", &address.map_or_else(|| "?".to_owned(), |address| address.to_string()));
        add("terminal", &plain(self.terminal.or(tty)));
        add("res", &if self.success { "success" } else { "failed" });
        text
    }
}

/// A text as audit's tools read it: in quotes, or in hexadecimal digits if it has other characters than printable ones.
/// A single quote would end the message in the log.
fn encoded(text: &OsStr) -> String {
    let bytes = text.as_bytes();
    if bytes.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'".contains(byte)) {
        return format!("\"{}\"", text.to_string_lossy());
    }
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A text that audit's tools read as it is. `?` means that it is unknown, or has characters that such a text cannot have.
fn plain(text: Option<&str>) -> &str {
    let is_plain =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"\"'".contains(c));
    text.filter(is_plain).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::policy::Settings;
    use crate::sys::proc::Started;
    use crate::sys::socket::Connection;

    const IDS: AuditIds = AuditIds { auid: Some(1000), ses: Some(AuditSession(343)) };

    fn text(login: Login, connection: Option<Connection>, end: EndEvent<'_>, own: AuditIds) -> String {
        let assignment = Assignment {
            adopted: None,
            login,
            leader: Pid::from_raw(70),
            connection,
            line: vec![],
            settings: Settings::default(),
        };
        end.text(&assignment, own)
    }

    fn alice() -> Login {
        Login {
            service: "sshd".into(),
            user: Some("alice".into()),
            uid: Some(1000),
            rhost: Some("192.0.2.7".into()),
            tty: Some("ssh".into()),
        }
    }

    const IDLE: EndEvent<'_> =
        EndEvent { cause: Cause::Idle, terminal: Some("pts/3"), ids: IDS, success: true };

    #[test]
    fn an_idle_end_has_the_fields_of_libaudit() {
        let expected = format!(
            "op=idle-timeout id=1000 acct=\"alice\" exe=\"{HELPER}\" hostname=192.0.2.7 addr=192.0.2.7 \
             terminal=pts/3 res=success"
        );
        assert_eq!(text(alice(), None, IDLE, IDS), expected);
    }

    #[test]
    fn the_ids_of_the_session_are_added_if_the_header_has_others() {
        let adopted = text(alice(), None, IDLE, AuditIds { auid: Some(0), ses: Some(AuditSession(7)) });
        assert!(adopted.starts_with("op=idle-timeout sauid=1000 ses=343 id=1000 acct="), "{adopted}");
        let gone = EndEvent { cause: Cause::LeaderGone, ids: AuditIds::default(), ..IDLE };
        let gone = text(alice(), None, gone, IDS);
        assert!(gone.starts_with("op=leader-gone id=1000 acct="), "{gone}");
    }

    #[test]
    fn the_address_is_that_of_the_connection_and_what_is_unknown_is_a_question_mark() {
        let connection = "198.51.100.1:22,198.51.100.9:5000,0,1".parse().ok();
        let named = Login { rhost: Some("client.example".into()), ..alice() };
        let end = EndEvent { terminal: None, success: false, ..IDLE };
        let text = |login, connection| text(login, connection, end, IDS);
        assert!(
            text(named.clone(), connection)
                .ends_with(" hostname=client.example addr=198.51.100.9 terminal=ssh res=failed")
        );
        assert!(text(named, None).ends_with(" hostname=client.example addr=? terminal=ssh res=failed"));
        let console = Login { rhost: None, tty: Some("/dev/tty1".into()), uid: None, ..alice() };
        let console = text(console, None);
        assert!(console.starts_with("op=idle-timeout acct="), "{console}");
        assert!(console.ends_with(" hostname=? addr=? terminal=tty1 res=failed"), "{console}");
    }

    #[test]
    fn no_name_passes_for_a_field() {
        let strange = Login {
            user: Some("al ice' res=failed".into()),
            rhost: Some("x' res=failed".into()),
            tty: Some("a b".into()),
            ..alice()
        };
        let text = text(strange, None, EndEvent { terminal: None, ..IDLE }, IDS);
        assert!(text.contains(" acct=616C2069636527207265733D6661696C6564 exe="), "{text}");
        assert!(text.ends_with(" hostname=? addr=? terminal=? res=success"), "{text}");
        for (value, hex) in [("\u{e9}\"", "C3A922"), ("o'x", "6F2778")] {
            assert_eq!((encoded(value.as_ref()).as_str(), plain(Some(value))), (hex, "?"));
        }
    }

    #[test]
    fn a_leader_that_is_gone_has_the_ids_of_before() {
        let (proc, pid) = (Proc::default(), getpid());
        let own = proc.process(pid).unwrap().id;
        let before = LeaderIds { leader: own, armed: IDS };
        assert_eq!(before.read(&proc), AuditIds::of(&proc, pid));
        let another = LeaderIds { leader: ProcId { started: Started(0), ..own }, armed: IDS };
        assert_eq!(another.read(&proc), IDS);
        assert_eq!(LeaderIds::of(&proc, own).armed, AuditIds::of(&proc, pid));
    }
}
