//! What passes between the module and the helper it starts.
//!
//! Down: a command line of resolved settings, and two descriptors. Up: one status message on the
//! pipe. Later: one real-time signal. All of it carries [`PROTOCOL`], for during an upgrade a new
//! module may meet an old helper.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;

use crate::policy::{Kill, OnError, Settings};

/// Version of this page. Raise it when an old helper could misread a new module.
pub const PROTOCOL: u32 = 1;

/// Where the helper finds a pidfd of the leader.
pub const LEADER_FD: i32 = 3;
/// Where the helper finds the write end of the status pipe.
pub const STATUS_FD: i32 = 4;

/// The signal by which the leader says that its session closes. A real-time one, so that nothing
/// else means it, and a number, for C libraries disagree about `SIGRTMIN`.
pub const CLOSE_SIGNAL: i32 = 40;

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
    pub leader: i32,
    /// PAM_SERVICE.
    pub service: String,
    /// PAM_USER.
    pub user: String,
    /// The user's id, where name services knew it.
    pub uid: Option<u32>,
    /// PAM_RHOST.
    pub rhost: Option<String>,
    /// PAM_TTY: a device (`/dev/tty1`, `pts/3`), or a word such as `ssh`.
    pub tty: Option<String>,
}

/// Everything a helper is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who is watched.
    pub session: Session,
    /// How long the session may be idle.
    pub limit: Duration,
    /// How long before the end the person is warned; zero is no warning.
    pub warn: Duration,
    /// Time between the request to leave and SIGKILL.
    pub grace: Duration,
    /// Whom the end applies to.
    pub kill: Kill,
    /// Write nothing on the terminals.
    pub quiet: bool,
    /// Log every look.
    pub debug: bool,
}

impl Assignment {
    /// The assignment for a session, unless the settings exempt it.
    #[must_use]
    pub fn new(session: Session, settings: &Settings) -> Option<Self> {
        let Settings { limit, warn, grace, kill, on_error: OnError::Fail | OnError::Succeed, quiet, debug } =
            *settings;
        Some(Self { session, limit: limit?, warn, grace, kill, quiet, debug })
    }

    /// The helper's arguments, without its own name. [`Assignment::from_args`] reads them back.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let Self { session, limit, warn, grace, kill, quiet, debug } = self;
        let mut args = vec![
            format!("--protocol={PROTOCOL}"),
            format!("--leader={}", session.leader),
            format!("--service={}", session.service),
            format!("--user={}", session.user),
        ];
        let mut optional = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        optional("uid", session.uid.map(|uid| uid.to_string()));
        optional("rhost", session.rhost.clone());
        optional("tty", session.tty.clone());
        args.push(format!("--timeout-ms={}", limit.as_millis()));
        args.push(format!("--warn-ms={}", warn.as_millis()));
        args.push(format!("--grace-ms={}", grace.as_millis()));
        args.push(format!("--kill={}", kill.word()));
        args.extend(quiet.then(|| "--quiet".to_owned()));
        args.extend(debug.then(|| "--debug".to_owned()));
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
        let (mut uid, mut rhost, mut tty) = (None, None, None);
        let (mut limit, mut warn, mut grace, mut kill) = (None, None, None, None);
        let (mut quiet, mut debug) = (false, false);
        while let Some(arg) = parser.next()? {
            match arg {
                Long("protocol") => {
                    let version: u32 = parser.value()?.parse()?;
                    if version != PROTOCOL {
                        return Err(format!(
                            "protocol {version} is not spoken, this helper speaks {PROTOCOL}"
                        )
                        .into());
                    }
                    protocol = Some(version);
                }
                Long("leader") => leader = Some(parser.value()?.parse()?),
                Long("service") => service = Some(parser.value()?.string()?),
                Long("user") => user = Some(parser.value()?.string()?),
                Long("uid") => uid = Some(parser.value()?.parse()?),
                Long("rhost") => rhost = Some(parser.value()?.string()?),
                Long("tty") => tty = Some(parser.value()?.string()?),
                Long("timeout-ms") => limit = Some(milliseconds(&mut parser)?),
                Long("warn-ms") => warn = Some(milliseconds(&mut parser)?),
                Long("grace-ms") => grace = Some(milliseconds(&mut parser)?),
                Long("kill") => {
                    let word = parser.value()?.string()?;
                    kill = Some(Kill::from_word(&word).ok_or_else(|| format!("--kill={word} is not known"))?);
                }
                Long("quiet") => quiet = true,
                Long("debug") => debug = true,
                _ => return Err(arg.unexpected()),
            }
        }
        let missing = |name: &str| lexopt::Error::from(format!("--{name} is missing"));
        protocol.ok_or_else(|| missing("protocol"))?;
        Ok(Self {
            session: Session {
                leader: leader.ok_or_else(|| missing("leader"))?,
                service: service.ok_or_else(|| missing("service"))?,
                user: user.ok_or_else(|| missing("user"))?,
                uid,
                rhost,
                tty,
            },
            limit: limit.ok_or_else(|| missing("timeout-ms"))?,
            warn: warn.ok_or_else(|| missing("warn-ms"))?,
            grace: grace.ok_or_else(|| missing("grace-ms"))?,
            kill: kill.ok_or_else(|| missing("kill"))?,
            quiet,
            debug,
        })
    }
}

fn milliseconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    Ok(Duration::from_millis(parser.value()?.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option;
    use proptest::prelude::*;

    prop_compose! {
        fn sessions()(
            leader in 1..i32::MAX, service in "[^\0]{0,20}", user in "[^\0]{0,20}", uid: Option<u32>,
            rhost in option::of("[^\0]{0,20}"), tty in option::of("[^\0]{0,20}"),
        ) -> Session {
            Session { leader, service, user, uid, rhost, tty }
        }
    }

    prop_compose! {
        fn assignments()(
            session in sessions(), limit in 10u64..1_000_000_000, warn: u32, grace: u16,
            kill in prop::sample::select(&[Kill::Session, Kill::Tty, Kill::Connection, Kill::None][..]),
            quiet: bool, debug: bool,
        ) -> Assignment {
            let ms = |n: u64| Duration::from_millis(n);
            Assignment { session, limit: ms(limit), warn: ms(warn.into()), grace: ms(grace.into()), kill, quiet, debug }
        }
    }

    proptest! {
        #[test]
        fn what_the_module_writes_the_helper_reads(assignment in assignments()) {
            prop_assert_eq!(Assignment::from_args(assignment.to_args()).unwrap(), assignment);
        }

        #[test]
        fn no_command_line_makes_it_panic(args in proptest::collection::vec(".*", 0..6)) {
            let _ = Assignment::from_args(args);
        }
    }

    #[test]
    fn another_protocol_is_refused_by_name() {
        let error = Assignment::from_args(["--protocol=2", "--from-the-future"]).unwrap_err();
        assert_eq!(error.to_string(), "protocol 2 is not spoken, this helper speaks 1");
    }
}
