//! The command line.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::login::Login;

/// In short.
pub const USAGE: &str = "usage: idle-watchdog check [FILE] [--line WORDS] [--system] [--strict] [--json]
                           [--user USER [--service SERVICE] [--tty TTY] [--from HOST]]
       idle-watchdog reload
       idle-watchdog --help | --version";

/// In full.
pub const HELP: &str = "\
idle-watchdog: what pam_idle_watchdog does with whom, and whether it can

idle-watchdog check             whether the policy's files can be read
    --file FILE, FILE           this file instead, which need not be installed; - is standard input
    --user USER                 whether a login of this user is watched, and what holds by which rule:
        --service SERVICE       by this service; default sshd
        --tty TTY               on this terminal; default ssh for sshd, else none
        --from HOST             from this host, as PAM_RHOST has it; default none
    --line WORDS                with these words on the PAM line; default those of the service's own
    --system                    which services end idle sessions, and what weakens the guard here
    --strict                    notes count as findings
    --json                      for machines

idle-watchdog reload            policy and PAM line as they are now hold for the sessions that are watched already, too

Exit status: 0 nothing found, 1 something weakens the guard, nobody watches the login, a session keeps an
old policy, or with --strict there is a note, 2 the command line or the policy is broken.
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `check`
    Check(Check),
    /// `reload`
    Reload,
}

/// What is to be checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Instead of the installed files.
    pub file: Option<PathBuf>,
    /// A login to decide about.
    pub login: Option<Login>,
    /// The service of that login as it was written, where libpam has another name for it.
    pub spelled: Option<String>,
    /// The words of the PAM line.
    pub line: Option<String>,
    /// This machine.
    pub system: bool,
    /// Notes count as findings.
    pub strict: bool,
    /// For machines.
    pub json: bool,
}

/// Where nothing is said about it.
const SERVICE: &str = "sshd";

/// Reads the command line, without the command's own name.
///
/// # Errors
///
/// What is wrong with it.
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
        Some(Value(verb)) => Err(format!("{verb:?} is no command, expected check or reload").into()),
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
        return Err("--user: nobody has an empty name".into());
    }
    if service.as_deref().is_some_and(|service| as_libpam_has_it(service).is_empty()) {
        return Err("--service: no service has an empty name".into());
    }
    if check.system && check.line.is_some() {
        let why = "--system judges every service by its own PAM line: --line cannot go with it";
        return Err(why.into());
    }
    if user.is_none() && (service.is_some() || tty.is_some() || from.is_some()) {
        return Err("--service, --tty and --from say more about a --user".into());
    }
    check.login = user.map(|user| {
        let written = service.unwrap_or_else(|| SERVICE.to_owned());
        let service = as_libpam_has_it(&written);
        check.spelled = Some(written).filter(|written| *written != service);
        let default = if service == SERVICE { "ssh" } else { "" };
        let item = |text: String| Some(OsString::from(text)).filter(|text| !text.is_empty());
        let tty = item(tty.unwrap_or_else(|| default.to_owned()));
        // A policy says `local` for a login without a remote host.
        let rhost = from.filter(|from| !from.eq_ignore_ascii_case("local")).and_then(item);
        Login { service: service.into(), user: Some(user), uid: None, rhost, tty }
    });
    Ok(Verb::Check(check))
}

fn another_file(slot: &mut Option<PathBuf>, file: PathBuf) -> Result<(), lexopt::Error> {
    match slot.replace(file) {
        None => Ok(()),
        Some(_) => Err("one file is checked at a time".into()),
    }
}

/// The service that libpam takes for this name: the last part of a path, in small letters.
fn as_libpam_has_it(service: &str) -> String {
    service.rsplit('/').next().unwrap_or(service).to_ascii_lowercase()
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), lexopt::Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("--{name} stands there twice").into()),
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
    fn what_is_not_said_has_a_default() {
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
    fn a_service_is_named_as_libpam_names_it_and_local_is_no_host() {
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
        assert_eq!(refused("check a b"), "one file is checked at a time");
        assert_eq!(refused("check --user a --service pam.d/"), "--service: no service has an empty name");
        assert_eq!(refused("check --user="), "--user: nobody has an empty name");
        assert!(refused("check --line quiet --system").ends_with("--line cannot go with it"));
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
    fn what_cannot_be_meant_is_refused() {
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
