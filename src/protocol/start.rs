//! How the module starts a helper.
//!
//! The module passes a command line and two descriptors. The helper sends one status message through a pipe.
//! Later, the module sends a real-time signal, whose value is the leader's PID.
//!
//! The command line has the settings as options of a PAM line (`timeout=15m warn=1m ...`), so that ps(1) shows
//! what an administrator would write. Arguments that only the protocol needs start with `--`. The first is
//! [`PROTOCOL`], because during an upgrade a new module may meet an old helper.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};

use lexopt::prelude::*;
use nix::unistd::Pid;

use crate::login::Login;
use crate::policy::{RulePlace, Settings};
use crate::sys::socket::Connection;

/// The version of the protocol. Raise it if an old helper could misread a new module.
pub const PROTOCOL: u32 = 6;

/// Where the helper finds the [`PidFd`](crate::sys::pidfd::PidFd) of the leader.
pub const LEADER_FD: i32 = 3;
/// Where the helper finds the write end of the status pipe.
pub const STATUS_FD: i32 = 4;

/// The signal that says that the session has closed or did not open. It is a real-time signal, because these
/// have no other meaning. It is a fixed number, because C libraries disagree about `SIGRTMIN`.
///
/// Its value is the leader's PID. The sender need not be the leader, because some leaders have a child close
/// the session. A process that may signal the helper already has root's privileges, so the value protects only
/// against mistakes.
pub const CLOSE_SIGNAL: i32 = 40;

/// The signal that says that the leader has opened another session. It has the same value.
pub const SHARED_SIGNAL: i32 = 42;

/// The signal that brings a request: see [`crate::protocol::request`].
pub const REQUEST_SIGNAL: i32 = 41;

/// The absolute path of the helper. build.rs takes it from the environment.
pub const HELPER: &str = env!("PAM_IDLE_WATCHDOG_HELPER");

/// What the helper says if it is started without the descriptors.
pub const BY_HAND: &str = "is started by pam_idle_watchdog.so, not by hand";

/// First byte of a status message: the watchdog is armed.
pub const ARMED: u8 = b'A';
/// First byte of a status message: the helper refuses. The rest is the reason.
pub const REFUSED: u8 = b'R';
/// First byte of a status message: a step between fork and exec failed. The next byte is the number of the
/// step. The rest is its errno in native byte order.
pub const NOT_EXECUTED: u8 = b'E';

/// The arguments that say which settings apply. [`Assignment::from_args`] and [`settings`] read them back.
#[must_use]
pub fn settings_args(settings: &Settings) -> Vec<String> {
    let mut args = settings.to_words();
    args.extend(settings.rule.as_ref().map(|place| format!("--rule={place}")));
    args
}

/// Reads what [`settings_args`] wrote.
///
/// # Errors
///
/// An argument is unknown, malformed or missing. The error names it.
pub fn settings<I>(args: I) -> Result<Settings, lexopt::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut parser = lexopt::Parser::from_args(args);
    let mut draft = Draft::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(word) => draft.words.push(word.string()?),
            Long("rule") => draft.rule = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    draft.finish()
}

/// The arguments of [`settings_args`] that have been read so far.
#[derive(Default)]
struct Draft {
    words: Vec<String>,
    rule: Option<RulePlace>,
}

impl Draft {
    fn finish(self) -> Result<Settings, lexopt::Error> {
        let settings = Settings::of_words(self.words.iter().map(String::as_str))?;
        Ok(Settings { rule: self.rule, ..settings })
    }
}

/// All that a helper is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The login whose session is watched. It always has a user.
    pub login: Login,
    /// The process that opened the PAM session.
    pub leader: Pid,
    /// The client's TCP connection, if it is certain which one that is.
    pub connection: Option<Connection>,
    /// Why the command has started the helper for a session that was open already. `None` if the module has started
    /// it because the session opens.
    pub adopted: Option<String>,
    /// The options of the PAM line. A reload decides with them again.
    pub line: Vec<String>,
    /// The settings that apply now. A reload may replace them.
    pub settings: Settings,
}

impl Assignment {
    /// The helper's arguments, without its own name. [`Assignment::from_args`] reads them back.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let Self { login, leader, connection, adopted, line, settings } = self;
        let Login { service, user, uid, rhost, tty } = login;
        let mut args = vec![OsString::from(format!("--protocol={PROTOCOL}"))];
        let mut add = |name: &str, value: &OsStr| {
            let mut arg = OsString::from(format!("--{name}="));
            arg.push(value);
            args.push(arg);
        };
        add("leader", leader.to_string().as_ref());
        add("service", service);
        user.iter().for_each(|user| add("user", user));
        uid.iter().for_each(|uid| add("uid", uid.to_string().as_ref()));
        rhost.iter().for_each(|rhost| add("rhost", rhost));
        tty.iter().for_each(|tty| add("tty", tty));
        connection.iter().for_each(|connection| add("connection", connection.to_string().as_ref()));
        adopted.iter().for_each(|reason| add("adopted", reason.as_ref()));
        line.iter().for_each(|word| add("word", word.as_ref()));
        args.extend(settings_args(settings).into_iter().map(OsString::from));
        args
    }

    /// Reads what [`Assignment::to_args`] wrote.
    ///
    /// # Errors
    ///
    /// An argument is unknown, malformed or missing (the error names it), or the protocol differs.
    pub fn from_args<I>(args: I) -> Result<Self, lexopt::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut parser = lexopt::Parser::from_args(args);
        let (mut protocol, mut leader, mut service, mut user) = (None, None, None, None);
        let (mut uid, mut rhost, mut tty, mut connection) = (None, None, None, None);
        let (mut adopted, mut line) = (None, Vec::new());
        let mut draft = Draft::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("protocol") => {
                    let version: u32 = parser.value()?.parse()?;
                    if version != PROTOCOL {
                        return Err(unsupported(&version.to_string()).into());
                    }
                    protocol = Some(version);
                }
                Long("leader") => leader = Some(Pid::from_raw(parser.value()?.parse()?)),
                Long("service") => service = Some(parser.value()?),
                Long("user") => user = Some(parser.value()?),
                Long("uid") => uid = Some(parser.value()?.parse()?),
                Long("rhost") => rhost = Some(parser.value()?),
                Long("tty") => tty = Some(parser.value()?),
                Long("connection") => connection = Some(parser.value()?.parse()?),
                Long("adopted") => adopted = Some(parser.value()?.string()?),
                Long("word") => line.push(parser.value()?.string()?),
                Long("rule") => draft.rule = Some(parser.value()?.parse()?),
                Value(word) => draft.words.push(word.string()?),
                other => return Err(other.unexpected()),
            }
        }
        protocol.ok_or_else(|| missing("protocol"))?;
        Ok(Self {
            login: Login {
                service: service.ok_or_else(|| missing("service"))?,
                user: Some(user.ok_or_else(|| missing("user"))?),
                uid,
                rhost,
                tty,
            },
            leader: leader.ok_or_else(|| missing("leader"))?,
            connection,
            adopted,
            line,
            settings: draft.finish()?,
        })
    }
}

fn missing(name: &str) -> lexopt::Error {
    format!("--{name} is missing").into()
}

/// The error for another protocol.
#[must_use]
pub fn unsupported(version: &str) -> String {
    format!("protocol {version}, expected {PROTOCOL}: module, helper and command must have the same version")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};
    use std::os::unix::ffi::OsStringExt;
    use std::rc::Rc;
    use std::time::Duration;

    use crate::policy::{Counted, Kill, Template};
    use proptest::option;
    use proptest::prelude::*;

    /// Any bytes that PAM may give: all but NUL.
    fn item() -> impl Strategy<Value = OsString> {
        proptest::collection::vec(1..=u8::MAX, 0..20).prop_map(OsString::from_vec)
    }

    prop_compose! {
        fn connections()(
            local: IpAddr, remote: IpAddr, ports: (u16, u16), interface: u32, cookie: u64,
        ) -> Connection {
            Connection {
                local: SocketAddr::new(local.to_canonical(), ports.0),
                remote: SocketAddr::new(remote.to_canonical(), ports.1),
                interface,
                cookie,
            }
        }
    }

    prop_compose! {
        fn logins()(
            service in item(), user in item(), uid: Option<u32>,
            rhost in option::of(item()), tty in option::of(item()),
        ) -> Login {
            Login { service, user: Some(user), uid, rhost, tty }
        }
    }

    prop_compose! {
        pub(crate) fn all_settings()(
            limit in option::of(10u64..=31_536_000),
            warn in proptest::collection::btree_set(1u64..400, 0..8),
            grace in 0u64..=300, notty in option::of(10u64..=2_592_000),
            detached in option::of(10u64..=31_536_000),
            kill in prop::sample::select(
                &[Kill::Session, Kill::Tty, Kill::Terminal, Kill::Connection, Kill::None][..]
            ),
            output: bool, cpu: bool, quiet: bool, debug: bool,
            message in option::of("[a-z\n é]{0,9}x\\{idle\\}"), rule in option::of(("[^\0]{0,20}", 1usize..)),
        ) -> Settings {
            let seconds = Duration::from_secs;
            let fits = |warn: &u64| limit.is_none_or(|limit| *warn < limit);
            Settings {
                limit: limit.map(seconds),
                warn: warn.into_iter().rev().filter(fits).map(seconds).collect(),
                grace: seconds(grace), kill, activity: Counted { output, cpu },
                notty: notty.map(seconds), detached: detached.map(seconds),
                message: message.map(|text| Template::parse(&text).unwrap()),
                rule: rule.map(|(file, line)| RulePlace { file: Rc::new(file.into()), line }),
                quiet, debug, ..Settings::default()
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_module_writes_the_helper_reads(
            login in logins(), leader in (1..i32::MAX).prop_map(Pid::from_raw), connection in option::of(connections()),
            adopted: Option<String>, given in all_settings(), line in proptest::collection::vec("[^\0]{0,9}", 0..3),
        ) {
            let adopted = adopted.map(|reason| reason.replace('\0', " "));
            let settings = given.clone();
            let assignment = Assignment { login, leader, connection, adopted, line, settings };
            prop_assert_eq!(Assignment::from_args(assignment.to_args()).unwrap(), assignment);
            prop_assert_eq!(super::settings(settings_args(&given)).unwrap(), given);
        }

        #[test]
        fn no_command_line_makes_it_panic(args in proptest::collection::vec(".*", 0..6)) {
            let _ = (Assignment::from_args(args.clone()), settings(args));
        }
    }

    #[test]
    fn another_protocol_is_refused_by_name() {
        let error = Assignment::from_args(["--protocol=1", "--from-the-past"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "protocol 1, expected 6: module, helper and command must have the same version"
        );
    }

    #[test]
    fn the_command_line_shows_what_an_administrator_would_write() {
        let login = Login { service: "sshd".into(), user: Some("alice".into()), ..Login::default() };
        let line = vec!["timeout=900".to_owned()];
        let settings = Settings { rule: Some("/f:3".parse().unwrap()), ..Settings::default() };
        let args =
            Assignment { login, leader: Pid::from_raw(70), connection: None, adopted: None, line, settings }
                .to_args();
        let shown = "--protocol=6 --leader=70 --service=sshd --user=alice --word=timeout=900 timeout=15m warn=1m \
                     grace=10s kill=session activity=input notty=ignore detached=ignore --rule=/f:3";
        assert_eq!(args.join(" ".as_ref()), shown);
    }
}
