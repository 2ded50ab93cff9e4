//! The command line.

mod given;
mod help;
pub mod table;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::command::adopt::Wanted;
use crate::login::Login;
use crate::policy::duration;
use crate::policy::table::{LIMIT_MAX, LIMIT_MIN};
use crate::protocol::request::Reason;
use given::Given;
pub use help::{help, usage};
use table::{SUBCOMMANDS, Subcommand};

/// What the command should do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Help,
    Version,
    Check(Check),
    Reload,
    Adopt(Wanted),
    Status(StatusArgs),
    Extend(ExtendArgs),
    End(EndArgs),
    Report(ReportWanted),
}

/// The arguments of `status`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StatusArgs {
    /// The only session to show.
    pub session: Option<String>,
    pub json: bool,
    /// Whether to show it again and again.
    pub watch: bool,
}

/// The arguments of `extend`.
#[derive(Debug, PartialEq, Eq)]
pub struct ExtendArgs {
    pub session: String,
    pub time: Duration,
    pub reason: Option<Reason>,
}

/// The arguments of `end`.
#[derive(Debug, PartialEq, Eq)]
pub struct EndArgs {
    pub session: String,
    pub reason: Option<Reason>,
}

/// The arguments of `report`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReportWanted {
    /// When the period begins, as written.
    pub since: Option<String>,
    /// Only this user counts.
    pub user: Option<String>,
    /// The limit that is tried on the absences.
    pub limit: Option<Duration>,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether to print CSV.
    pub csv: bool,
}

/// The arguments of `check`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// The file to check instead of the installed ones.
    pub file: Option<PathBuf>,
    /// The login in question.
    pub login: Option<Login>,
    /// The service of the login as written, if libpam uses another name.
    pub spelled: Option<String>,
    /// The options of the PAM line.
    pub line: Option<String>,
    /// Whether to check the whole machine.
    pub system: bool,
    /// Whether to print the page for an auditor.
    pub report: bool,
    /// Whether notes count as warnings.
    pub strict: bool,
    /// Whether to print JSON.
    pub json: bool,
}

/// The default service.
const SERVICE: &str = "sshd";

/// Parses the command line, without the command's own name.
///
/// # Errors
///
/// The command line is wrong. The error says why.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Verb, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let word = match parser.next()? {
        Some(Short('h') | Long("help")) => return Ok(Verb::Help),
        Some(Short('V') | Long("version")) => return Ok(Verb::Version),
        Some(Value(word)) => word,
        Some(other) => return Err(other.unexpected()),
        None => return Err(format!("expected {}", names()).into()),
    };
    let Some(sub) = word.to_str().and_then(Subcommand::named) else {
        return Err(format!("{word:?} is not a command; expected {}", names()).into());
    };
    let Some(given) = Given::read(sub, &mut parser)? else { return Ok(Verb::Help) };
    match sub.name {
        "check" => Check::of(&given).map(Verb::Check),
        "adopt" => wanted(&given).map(Verb::Adopt),
        "status" => StatusArgs::of(&given).map(Verb::Status),
        "extend" => ExtendArgs::of(&given).map(Verb::Extend),
        "end" => EndArgs::of(&given).map(Verb::End),
        "report" => ReportWanted::of(&given).map(Verb::Report),
        _ => Ok(Verb::Reload),
    }
}

/// The sessions to adopt.
fn wanted(given: &Given) -> Result<Wanted, lexopt::Error> {
    match (given.text("SESSION")?, given.is_set("all")) {
        (Some(session), false) => Ok(Wanted::One(session.to_owned())),
        (None, true) => Ok(Wanted::All),
        (Some(_), true) => Err("adopt: give either SESSION or --all".into()),
        (None, false) => Err("adopt: SESSION or --all is missing".into()),
    }
}

/// The names of the subcommands, for an error.
fn names() -> String {
    let names: Vec<&str> = SUBCOMMANDS.iter().map(|sub| sub.name).collect();
    match names.split_last() {
        Some((last, others @ [_, ..])) => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

impl StatusArgs {
    fn of(given: &Given) -> Result<Self, lexopt::Error> {
        let (json, watch) = (given.is_set("json"), given.is_set("watch"));
        if json && watch {
            return Err("--watch cannot be used with --json".into());
        }
        Ok(Self { session: given.text("SESSION")?.map(str::to_owned), json, watch })
    }
}

impl ExtendArgs {
    fn of(given: &Given) -> Result<Self, lexopt::Error> {
        let text = given.text("DURATION")?.unwrap_or_default();
        let time = duration::parse(text).filter(|time| (LIMIT_MIN..=LIMIT_MAX).contains(time));
        let time = time.ok_or_else(|| {
            let most = duration::print(LIMIT_MAX);
            format!("{text:?} is not a duration from 10s to {most}, such as 90s, 15m or 1h30m")
        })?;
        Ok(Self { session: session(given)?, time, reason: reason(given)? })
    }
}

impl EndArgs {
    fn of(given: &Given) -> Result<Self, lexopt::Error> {
        Ok(Self { session: session(given)?, reason: reason(given)? })
    }
}

fn session(given: &Given) -> Result<String, lexopt::Error> {
    Ok(given.text("SESSION")?.unwrap_or_default().to_owned())
}

fn reason(given: &Given) -> Result<Option<Reason>, lexopt::Error> {
    let wrong = |text: &str, why: String| format!("--reason {text:?}: {why}");
    let reason = given.text("reason")?.map(|text| Reason::of(text).map_err(|why| wrong(text, why)));
    Ok(reason.transpose()?)
}

impl Check {
    fn of(given: &Given) -> Result<Self, lexopt::Error> {
        let user = given.value("user");
        let service = given.text("service")?;
        if user.is_some_and(OsStr::is_empty) {
            return Err("--user: the name is empty".into());
        }
        if service.is_some_and(|service| as_libpam_has_it(service).is_empty()) {
            return Err("--service: the name is empty".into());
        }
        let (system, line) = (given.is_set("system"), given.text("line")?);
        if system && line.is_some() {
            let why = "--line cannot be used with --system, which checks the PAM line of each service";
            return Err(why.into());
        }
        let mut check = Self {
            file: given.value("file").map(PathBuf::from),
            line: line.map(str::to_owned),
            system,
            report: given.is_set("report"),
            strict: given.is_set("strict"),
            json: given.is_set("json"),
            ..Self::default()
        };
        if let Some(user) = user {
            let written = service.unwrap_or(SERVICE);
            let service = as_libpam_has_it(written);
            check.spelled = Some(written.to_owned()).filter(|written| *written != service);
            let default = if service == SERVICE { "ssh" } else { "" };
            let item = |text: &str| Some(OsString::from(text)).filter(|text| !text.is_empty());
            let tty = item(given.text("tty")?.unwrap_or(default));
            // In a policy, `local` means that there is no remote host.
            let from = given.text("from")?.filter(|from| !from.eq_ignore_ascii_case("local"));
            let rhost = from.and_then(item);
            check.login =
                Some(Login { service: service.into(), user: Some(user.to_owned()), uid: None, rhost, tty });
        }
        Ok(check)
    }
}

impl ReportWanted {
    fn of(given: &Given) -> Result<Self, lexopt::Error> {
        let (json, csv) = (given.is_set("json"), given.is_set("csv"));
        if json && csv {
            return Err("--csv cannot be used with --json".into());
        }
        let user = given.text("user")?;
        if user.is_some_and(str::is_empty) {
            return Err("--user: the name is empty".into());
        }
        let limit = |text: &str| {
            let limit = duration::parse(text).filter(|limit| !limit.is_zero());
            limit.ok_or_else(|| format!("--limit {text:?}: expected a duration such as 10m or 1h30m"))
        };
        Ok(Self {
            since: given.text("since")?.map(str::to_owned),
            user: user.map(str::to_owned),
            limit: given.text("limit")?.map(limit).transpose()?,
            json,
            csv,
        })
    }
}

/// The name that libpam uses for a service: the last part of a path, in lower case.
fn as_libpam_has_it(service: &str) -> String {
    service.rsplit('/').next().unwrap_or(service).to_ascii_lowercase()
}

impl Check {
    /// The service whose PAM line matters.
    #[must_use]
    pub fn service(&self) -> Cow<'_, str> {
        self.login.as_ref().map_or(SERVICE.into(), Login::service_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Verb, lexopt::Error> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_have_defaults() {
        let Ok(Verb::Check(check)) = read_line("check --user alice") else { panic!() };
        let login = check.login.unwrap();
        assert_eq!(
            (login.service_text().as_ref(), login.tty_text().as_ref(), login.rhost_text().as_ref()),
            ("sshd", "ssh", "")
        );
        let Ok(Verb::Check(check)) = read_line("check --user=alice --service=login") else { panic!() };
        assert_eq!(check.login.unwrap().tty, None);
    }

    #[test]
    fn a_service_has_the_name_that_libpam_uses_and_local_is_not_a_host() {
        for name in ["SSHD", "/etc/pam.d/sshd", "pam.d/Sshd"] {
            let line = format!("check --user alice --service {name} --from Local");
            let Ok(Verb::Check(check)) = read_line(&line) else { panic!("{line}") };
            assert_eq!(check.spelled.as_deref(), Some(name));
            let login = check.login.unwrap();
            assert_eq!(
                (login.service_text().as_ref(), login.tty_text().as_ref(), login.rhost_text().as_ref()),
                ("sshd", "ssh", ""),
                "{line}"
            );
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = |line: &str| read_line(line).unwrap_err().to_string();
        assert_eq!(refused("check a b"), "unexpected argument \"b\"");
        assert_eq!(refused("check a --file b"), "--file is given twice");
        assert_eq!(refused("check --tty x"), "--tty needs --user");
        assert_eq!(
            refused("chek"),
            "\"chek\" is not a command; expected check, reload, status, adopt, extend, end or report"
        );
        assert_eq!(refused("check --report"), "--report needs --system");
        assert_eq!(refused("report --csv --json"), "--csv cannot be used with --json");
        let expected = "--limit \"x\": expected a duration such as 10m or 1h30m";
        assert_eq!(refused("report --limit x"), expected);
        assert_eq!(refused("check --user a --service pam.d/"), "--service: the name is empty");
        assert_eq!(refused("check --user="), "--user: the name is empty");
        assert!(refused("check --line quiet --system").starts_with("--line cannot be used with --system"));
    }

    #[test]
    fn one_session_is_adopted_or_all() {
        assert_eq!(read_line("adopt c1").unwrap(), Verb::Adopt(Wanted::One("c1".to_owned())));
        assert_eq!(read_line("adopt --all").unwrap(), Verb::Adopt(Wanted::All));
        assert_eq!(read_line("adopt").unwrap_err().to_string(), "adopt: SESSION or --all is missing");
    }

    #[test]
    fn status_has_another_name_and_an_extension_has_bounds() {
        let status = StatusArgs { session: Some("c1".to_owned()), json: true, watch: false };
        assert_eq!(read_line("status c1 --json").unwrap(), Verb::Status(status));
        let all = StatusArgs { watch: true, ..StatusArgs::default() };
        assert_eq!(read_line("list --watch").unwrap(), Verb::Status(all));
        let reason = Some(Reason::of("backup").unwrap());
        let extend = ExtendArgs { session: "pid:7".to_owned(), time: Duration::from_secs(5400), reason };
        assert_eq!(read_line("extend pid:7 1h30m --reason backup").unwrap(), Verb::Extend(extend));
        for time in ["9s", "366d", "0", "off", "2hours", "1h ", "99999999999999999999h"] {
            let error = read(["extend", "7", time].map(OsString::from)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{time:?} is not a duration from 10s to 365d")), "{error}");
        }
    }

    #[test]
    fn a_reason_that_is_none_is_named() {
        for text in ["", "a\nb", "\u{1b}c"] {
            let error = read(["end", "7", "--reason", text].map(OsString::from)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--reason {text:?}: ")), "{error}");
        }
    }

    #[test]
    fn a_file_needs_no_option() {
        for line in
            ["check new.conf --strict", "check --strict --file new.conf", "check --strict -- new.conf"]
        {
            let Ok(Verb::Check(check)) = read_line(line) else { panic!("{line}") };
            assert_eq!((check.file, check.strict), (Some(PathBuf::from("new.conf")), true), "{line}");
        }
        let Ok(Verb::Check(check)) = read_line("check -") else { panic!() };
        assert_eq!(check.file, Some(PathBuf::from("-")));
    }

    #[test]
    fn invalid_command_lines_are_refused() {
        for line in [
            "",
            "chek",
            "check --usr a",
            "check a b",
            "check a --file b",
            "check --strict=1",
            "check --from h",
            "check --user",
            "check --user a --user b",
            "check --json=1",
            "--json",
            "reload now",
            "reload --json",
            "adopt",
            "adopt 12 --all",
            "adopt 12 13",
            "adopt --all --json",
            "status 1 2",
            "status --json --watch",
            "list --jsn",
            "extend",
            "extend 1",
            "extend 1 2h 3",
            "extend 1 2h --reason",
            "end",
            "end 1 2h",
            "end --all",
            "report now",
            "report --since",
            "report --limit 0",
            "report --user=",
            "report --strict",
        ] {
            assert!(read_line(line).is_err(), "{line}");
        }
    }
}
