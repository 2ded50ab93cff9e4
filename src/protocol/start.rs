//! What passes between the module and the helper it starts.
//!
//! Down: a command line of resolved settings, and two descriptors. Up: one status message on the
//! pipe. Later: a real-time signal, whose value is the leader's number. All of it carries [`PROTOCOL`], for during an upgrade a new
//! module may meet an old helper.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use lexopt::prelude::*;
use nix::unistd::Pid;

use crate::policy::{Counted, Kill, Settings, Template};
use crate::sys::socket::Connection;

/// Version of this page. Raise it when an old helper could misread a new module.
pub const PROTOCOL: u32 = 4;

/// Where the helper finds a pidfd of the leader.
pub const LEADER_FD: i32 = 3;
/// Where the helper finds the write end of the status pipe.
pub const STATUS_FD: i32 = 4;

/// The signal that says that the session has closed, or has come to nothing. A real-time one, so that nothing
/// else means it, and a number, because C libraries disagree about `SIGRTMIN`.
///
/// Its value is the leader's PID. The sender need not be the leader: some leaders have a child close the
/// session. A process that may signal the helper at all has root's privileges already, so the value guards
/// against mistakes only.
pub const CLOSE_SIGNAL: i32 = 40;

/// The signal that says that the leader has opened another session, with the same value.
pub const SHARED_SIGNAL: i32 = 42;

/// The signal that brings new orders: see [`crate::protocol::reload`].
pub const RELOAD_SIGNAL: i32 = 41;

/// The helper, as an absolute path: build.rs takes it from the environment.
pub const HELPER: &str = env!("PAM_IDLE_WATCHDOG_HELPER");

/// What the helper says to whoever starts it without descriptors.
pub const BY_HAND: &str = "is started by pam_idle_watchdog.so, not by hand";

/// First byte of a status message: the watchdog is armed.
pub const ARMED: u8 = b'A';
/// First byte of a status message: the helper refuses, the rest says why.
pub const REFUSED: u8 = b'R';
/// First byte of a status message: a step between fork and exec failed. The next byte is its number,
/// the rest its errno in native byte order.
pub const NOT_EXECUTED: u8 = b'E';

/// Who is watched, as told by the process that called PAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The process that opened the PAM session.
    pub leader: Pid,
    /// PAM_SERVICE. None of what PAM says needs to be UTF-8.
    pub service: OsString,
    /// PAM_USER.
    pub user: OsString,
    /// The user's id, where name services knew it.
    pub uid: Option<u32>,
    /// PAM_RHOST.
    pub rhost: Option<OsString>,
    /// PAM_TTY: a device (`/dev/tty1`, `pts/3`), or a word such as `ssh`.
    pub tty: Option<OsString>,
    /// The client's TCP connection, where it is certain which one that is.
    pub connection: Option<Connection>,
}

/// What the helper is to do: how long, how warned, how ended. A reload may replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// How long the session may be idle; `None` is for ever, until a reload says otherwise.
    pub limit: Option<Duration>,
    /// How long before the end the person is warned, the longest first; each shorter than the limit.
    pub warn: Vec<Duration>,
    /// Time between the request to leave and SIGKILL.
    pub grace: Duration,
    /// Whom the end applies to.
    pub kill: Kill,
    /// What counts as activity.
    pub activity: Counted,
    /// How long a session without a terminal may be silent; `None` is for ever.
    pub notty: Option<Duration>,
    /// The warning's text, where it is not the built-in one.
    pub message: Option<Template>,
    /// The rule that says so, as `file:line`.
    pub rule: Option<String>,
    /// Write nothing on the terminals.
    pub quiet: bool,
    /// Log every look.
    pub debug: bool,
}

impl Orders {
    /// What settings mean for the helper, with the text of the message that they name.
    #[must_use]
    pub fn new(settings: &Settings, message: Option<Template>, rule: Option<String>) -> Self {
        let Settings { limit, warn, grace, kill, activity, notty, message: _, on_error: _, quiet, debug } =
            settings.clone();
        Self { limit, warn, grace, kill, activity, notty, message, rule, quiet, debug }
    }

    /// The arguments that say so. [`Assignment::from_args`] and [`Orders::from_args`] read them back.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let Self { limit, warn, grace, kill, activity, notty, message, rule, quiet, debug } = self;
        let mut args = Vec::new();
        let mut optional = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        optional("timeout-ms", limit.map(|limit| limit.as_millis().to_string()));
        for warn in warn {
            optional("warn-ms", Some(warn.as_millis().to_string()));
        }
        optional("grace-ms", Some(grace.as_millis().to_string()));
        optional("kill", Some(kill.word().to_owned()));
        optional("activity", Some(activity.word().to_owned()));
        optional("notty-ms", notty.map(|notty| notty.as_millis().to_string()));
        optional("message", message.as_ref().map(|message| message.source().to_owned()));
        optional("rule", rule.clone());
        args.extend(quiet.then(|| "--quiet".to_owned()));
        args.extend(debug.then(|| "--debug".to_owned()));
        args
    }

    /// Reads what [`Orders::to_args`] wrote.
    ///
    /// # Errors
    ///
    /// Says which argument is unknown, malformed or missing.
    pub fn from_args<I>(args: I) -> Result<Self, lexopt::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut parser = lexopt::Parser::from_args(args);
        let mut draft = OrdersDraft::default();
        while let Some(arg) = parser.next()? {
            let Long(name) = arg else { return Err(arg.unexpected()) };
            let name = name.to_owned();
            if !draft.take(&name, &mut parser)? {
                return Err(Long(&name).unexpected());
            }
        }
        draft.finish()
    }
}

/// Orders as far as they have been read.
#[derive(Default)]
struct OrdersDraft {
    limit: Option<Duration>,
    warn: Vec<Duration>,
    grace: Option<Duration>,
    kill: Option<Kill>,
    activity: Option<Counted>,
    notty: Option<Duration>,
    message: Option<Template>,
    rule: Option<String>,
    quiet: bool,
    debug: bool,
}

impl OrdersDraft {
    /// Takes one option's value; `false`, if it is none of the orders'.
    fn take(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "timeout-ms" => self.limit = Some(milliseconds(parser)?),
            "warn-ms" => self.warn.push(milliseconds(parser)?),
            "grace-ms" => self.grace = Some(milliseconds(parser)?),
            "kill" => self.kill = Some(word(name, parser, Kill::from_word)?),
            "activity" => self.activity = Some(word(name, parser, Counted::from_word)?),
            "notty-ms" => self.notty = Some(milliseconds(parser)?),
            "message" => self.message = Some(Template::parse(&parser.value()?.string()?)?),
            "rule" => self.rule = Some(parser.value()?.string()?),
            "quiet" => self.quiet = true,
            "debug" => self.debug = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self) -> Result<Orders, lexopt::Error> {
        let Self { limit, warn, grace, kill, activity, notty, message, rule, quiet, debug } = self;
        let grace = grace.ok_or_else(|| missing("grace-ms"))?;
        let kill = kill.ok_or_else(|| missing("kill"))?;
        let activity = activity.ok_or_else(|| missing("activity"))?;
        Ok(Orders { limit, warn, grace, kill, activity, notty, message, rule, quiet, debug })
    }
}

/// Everything a helper is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who is watched.
    pub session: Session,
    /// The words of the PAM line: with them a reload decides anew.
    pub line: Vec<String>,
    /// What is to be done.
    pub orders: Orders,
}

impl Assignment {
    /// The helper's arguments, without its own name. [`Assignment::from_args`] reads them back.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let Self { session: Session { leader, service, user, uid, rhost, tty, connection }, line, orders } =
            self;
        let mut args = vec![OsString::from(format!("--protocol={PROTOCOL}"))];
        let mut add = |name: &str, value: &OsStr| {
            let mut arg = OsString::from(format!("--{name}="));
            arg.push(value);
            args.push(arg);
        };
        add("leader", leader.to_string().as_ref());
        add("service", service);
        add("user", user);
        uid.iter().for_each(|uid| add("uid", uid.to_string().as_ref()));
        rhost.iter().for_each(|rhost| add("rhost", rhost));
        tty.iter().for_each(|tty| add("tty", tty));
        connection.iter().for_each(|connection| add("connection", connection.to_string().as_ref()));
        line.iter().for_each(|word| add("word", word.as_ref()));
        args.extend(orders.to_args().into_iter().map(OsString::from));
        args
    }

    /// Reads what [`Assignment::to_args`] wrote.
    ///
    /// # Errors
    ///
    /// Says which argument is unknown, malformed or missing, or that the protocol is another one.
    pub fn from_args<I>(args: I) -> Result<Self, lexopt::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut parser = lexopt::Parser::from_args(args);
        let (mut protocol, mut leader, mut service, mut user) = (None, None, None, None);
        let (mut uid, mut rhost, mut tty, mut connection, mut line) = (None, None, None, None, Vec::new());
        let mut orders = OrdersDraft::default();
        while let Some(arg) = parser.next()? {
            let Long(name) = arg else { return Err(arg.unexpected()) };
            match name {
                "protocol" => {
                    let version: u32 = parser.value()?.parse()?;
                    if version != PROTOCOL {
                        return Err(format!(
                            "protocol {version} is not spoken, this helper speaks {PROTOCOL}"
                        )
                        .into());
                    }
                    protocol = Some(version);
                }
                "leader" => leader = Some(Pid::from_raw(parser.value()?.parse()?)),
                "service" => service = Some(parser.value()?),
                "user" => user = Some(parser.value()?),
                "uid" => uid = Some(parser.value()?.parse()?),
                "rhost" => rhost = Some(parser.value()?),
                "tty" => tty = Some(parser.value()?),
                "connection" => connection = Some(parser.value()?.parse()?),
                "word" => line.push(parser.value()?.string()?),
                name => {
                    let name = name.to_owned();
                    if !orders.take(&name, &mut parser)? {
                        return Err(Long(&name).unexpected());
                    }
                }
            }
        }
        protocol.ok_or_else(|| missing("protocol"))?;
        Ok(Self {
            session: Session {
                leader: leader.ok_or_else(|| missing("leader"))?,
                service: service.ok_or_else(|| missing("service"))?,
                user: user.ok_or_else(|| missing("user"))?,
                uid,
                rhost,
                tty,
                connection,
            },
            line,
            orders: orders.finish()?,
        })
    }
}

fn missing(name: &str) -> lexopt::Error {
    format!("--{name} is missing").into()
}

fn milliseconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    Ok(Duration::from_millis(parser.value()?.parse()?))
}

fn word<T>(
    name: &str,
    parser: &mut lexopt::Parser,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, lexopt::Error> {
    let word = parser.value()?.string()?;
    read(&word).ok_or_else(|| format!("--{name}={word} is not known").into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};
    use std::os::unix::ffi::OsStringExt;

    use proptest::option;
    use proptest::prelude::*;

    /// What PAM may say: any bytes but NUL.
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
        fn sessions()(
            leader in 1..i32::MAX, service in item(), user in item(), uid: Option<u32>,
            rhost in option::of(item()), tty in option::of(item()), connection in option::of(connections()),
        ) -> Session {
            Session { leader: Pid::from_raw(leader), service, user, uid, rhost, tty, connection }
        }
    }

    prop_compose! {
        pub(crate) fn orders()(
            limit in option::of(10u64..1_000_000_000), warn: Vec<u32>, grace: u16, notty: Option<u32>,
            kill in prop::sample::select(&[Kill::Session, Kill::Tty, Kill::Connection, Kill::None][..]),
            output: bool, cpu: bool, quiet: bool, debug: bool,
            message in option::of("[a-z\n é]{0,9}x\\{idle\\}"), rule in option::of("[^\0]{0,20}"),
        ) -> Orders {
            let ms = Duration::from_millis;
            Orders {
                limit: limit.map(ms), warn: warn.into_iter().map(|n| ms(n.into())).collect(),
                grace: ms(grace.into()), kill, activity: Counted { output, cpu },
                notty: notty.map(|n| ms(n.into())), message: message.map(|text| Template::parse(&text).unwrap()),
                rule, quiet, debug,
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_module_writes_the_helper_reads(
            session in sessions(), orders in orders(), line in proptest::collection::vec("[^\0]{0,9}", 0..3),
        ) {
            let assignment = Assignment { session, line, orders: orders.clone() };
            prop_assert_eq!(Assignment::from_args(assignment.to_args()).unwrap(), assignment);
            prop_assert_eq!(Orders::from_args(orders.to_args()).unwrap(), orders);
        }

        #[test]
        fn no_command_line_makes_it_panic(args in proptest::collection::vec(".*", 0..6)) {
            let _ = (Assignment::from_args(args.clone()), Orders::from_args(args));
        }
    }

    #[test]
    fn another_protocol_is_refused_by_name() {
        let error = Assignment::from_args(["--protocol=1", "--from-the-past"]).unwrap_err();
        assert_eq!(error.to_string(), "protocol 1 is not spoken, this helper speaks 4");
    }
}
