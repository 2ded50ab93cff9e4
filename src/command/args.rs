//! The command line.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::login::Login;

/// The usage.
pub const USAGE: &str = "usage: idle-watchdog check [FILE] [--line OPTIONS] [--system] [--strict] [--json]
                           [--user USER [--service SERVICE] [--tty TTY] [--from HOST]]
       idle-watchdog reload
       idle-watchdog --help | --version";

/// The help text.
pub const HELP: &str = "\
idle-watchdog: shows what pam_idle_watchdog does for a login, and checks that it can

idle-watchdog check             check the policy
    --file FILE, FILE           check this file instead, installed or not; - is standard input
    --user USER                 whether logins of this user are watched, and by which rule and settings:
        --service SERVICE       with this PAM service; default sshd
        --tty TTY               on this terminal; default ssh for sshd, otherwise none
        --from HOST             from this host, written as PAM_RHOST has it; default local
    --line OPTIONS              with these options on the PAM line; default those of the service
    --system                    which services end idle sessions, and what is wrong on this machine
    --strict                    treat notes as warnings
    --json                      print JSON

idle-watchdog reload            apply the current policy and PAM lines to sessions that are open already

Exit status: 0 no problem found; 1 there is a warning, the login is not watched, a session keeps its old
settings, or there is a note with --strict; 2 the command line, a PAM line or the policy is invalid.
";

/// What the command should do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Help,
    Version,
    Check(Check),
    Reload,
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
    match parser.next()? {
        Some(Short('h') | Long("help")) => Ok(Verb::Help),
        Some(Short('V') | Long("version")) => Ok(Verb::Version),
        Some(Value(verb)) if verb == "check" => check(parser),
        Some(Value(verb)) if verb == "reload" => match parser.next()? {
            None => Ok(Verb::Reload),
            Some(other) => Err(other.unexpected()),
        },
        Some(Value(verb)) => Err(format!("{verb:?} is not a command; expected check or reload").into()),
        Some(other) => Err(other.unexpected()),
        None => Err("expected check or reload".into()),
    }
}

fn check(mut parser: lexopt::Parser) -> Result<Verb, lexopt::Error> {
    let mut check = Check::default();
    let (mut user, mut service, mut tty, mut from) = (None, None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Verb::Help),
            Long("file") => another_file(&mut check.file, PathBuf::from(parser.value()?))?,
            Value(file) => another_file(&mut check.file, PathBuf::from(file))?,
            Long("user") => once(&mut user, "user", parser.value()?)?,
            Long("service") => once(&mut service, "service", parser.value()?.string()?)?,
            Long("tty") => once(&mut tty, "tty", parser.value()?.string()?)?,
            Long("from") => once(&mut from, "from", parser.value()?.string()?)?,
            Long("line") => once(&mut check.line, "line", parser.value()?.string()?)?,
            Long("system") => check.system = true,
            Long("strict") => check.strict = true,
            Long("json") => check.json = true,
            _ => return Err(arg.unexpected()),
        }
    }
    if user.as_ref().is_some_and(|user| user.is_empty()) {
        return Err("--user: the name is empty".into());
    }
    if service.as_deref().is_some_and(|service| as_libpam_has_it(service).is_empty()) {
        return Err("--service: the name is empty".into());
    }
    if check.system && check.line.is_some() {
        let why = "--line cannot be used with --system, which checks the PAM line of each service";
        return Err(why.into());
    }
    if user.is_none() && (service.is_some() || tty.is_some() || from.is_some()) {
        return Err("--service, --tty and --from need --user".into());
    }
    check.login = user.map(|user| {
        let written = service.unwrap_or_else(|| SERVICE.to_owned());
        let service = as_libpam_has_it(&written);
        check.spelled = Some(written).filter(|written| *written != service);
        let default = if service == SERVICE { "ssh" } else { "" };
        let item = |text: String| Some(OsString::from(text)).filter(|text| !text.is_empty());
        let tty = item(tty.unwrap_or_else(|| default.to_owned()));
        // In a policy, `local` means that there is no remote host.
        let rhost = from.filter(|from| !from.eq_ignore_ascii_case("local")).and_then(item);
        Login { service: service.into(), user: Some(user), uid: None, rhost, tty }
    });
    Ok(Verb::Check(check))
}

fn another_file(slot: &mut Option<PathBuf>, file: PathBuf) -> Result<(), lexopt::Error> {
    match slot.replace(file) {
        None => Ok(()),
        Some(_) => Err("only one file can be checked".into()),
    }
}

/// The name that libpam uses for a service: the last part of a path, in lower case.
fn as_libpam_has_it(service: &str) -> String {
    service.rsplit('/').next().unwrap_or(service).to_ascii_lowercase()
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), lexopt::Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("--{name} is given twice").into()),
    }
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
        assert_eq!(refused("check a b"), "only one file can be checked");
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
        ] {
            assert!(read_line(line).is_err(), "{line}");
        }
    }
}
