//! The command line.

mod given;
mod help;
mod table;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::login::Login;
use crate::policy::duration;
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
    Report(ReportWanted),
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
        "report" => ReportWanted::of(&given).map(Verb::Report),
        _ => Ok(Verb::Reload),
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
        assert_eq!(refused("chek"), "\"chek\" is not a command; expected check, reload or report");
        assert_eq!(refused("check --report"), "--report needs --system");
        assert_eq!(refused("report --csv --json"), "--csv cannot be used with --json");
        let expected = "--limit \"x\": expected a duration such as 10m or 1h30m";
        assert_eq!(refused("report --limit x"), expected);
        assert_eq!(refused("check --user a --service pam.d/"), "--service: the name is empty");
        assert_eq!(refused("check --user="), "--user: the name is empty");
        assert!(refused("check --line quiet --system").starts_with("--line cannot be used with --system"));
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
