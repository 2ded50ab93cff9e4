//! Opening and closing a session, as libpam's guest.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{AccessFlags, access, getpid};
use pam::constants::PamResultCode;
use pam::items::{RHost, Service, Tty, User as UserName};
use pam::module::PamHandle;

use super::{BUDGET, spawn};
use crate::handoff::{Assignment, CLOSE_SIGNAL, HELPER, Orders, Session};
use crate::policy::load::Files;
use crate::policy::ours::{self, Exception};
use crate::policy::{self, Fault, OnError, Resolved, Settings, Words};
use crate::record::Record;
use crate::sys::cgroup::Places;
use crate::sys::logind;
use crate::sys::names::Person;
use crate::sys::pam::{self as libpam, Level};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;

/// Why a session could not be guarded, and what the administrator wants done about that.
pub struct Refusal {
    /// What libpam is told.
    pub code: PamResultCode,
    /// Why the login goes on all the same, if it does.
    pub goes_on: Option<&'static str>,
    /// What the log is told.
    pub record: Record,
}

/// Why a login that cannot be guarded goes on, as `onerr=` says.
fn goes_on(on_error: OnError) -> Option<&'static str> {
    match on_error {
        OnError::Fail => None,
        OnError::Succeed => Some("onerr=succeed"),
    }
}

/// Who opens a session, as libpam says.
pub struct Login {
    // None of them needs to be UTF-8.
    service: OsString,
    user: Option<OsString>,
    rhost: Option<OsString>,
    tty: Option<OsString>,
}

impl Login {
    /// Asks libpam.
    pub fn of(pamh: &PamHandle) -> Self {
        fn bytes(item: &CStr) -> OsString {
            OsStr::from_bytes(item.to_bytes()).to_owned()
        }
        Self {
            service: pamh.get_item::<Service>().ok().flatten().map(|item| bytes(&item)).unwrap_or_default(),
            user: pamh.get_item::<UserName>().ok().flatten().map(|item| bytes(&item)),
            rhost: pamh
                .get_item::<RHost>()
                .ok()
                .flatten()
                .map(|item| bytes(&item))
                .filter(|host| !host.is_empty()),
            tty: pamh.get_item::<Tty>().ok().flatten().map(|item| bytes(&item)),
        }
    }

    /// A record of an event in this login.
    pub fn record(&self, event: &str) -> Record {
        let text = |item: &Option<OsString>| item.as_ref().map(|item| item.to_string_lossy().into_owned());
        Record::new(event).with_some("user", text(&self.user)).with_some("rhost", text(&self.rhost))
    }

    /// What the helper is told of it.
    fn session(self, user: OsString, uid: Option<u32>) -> Session {
        let Self { service, rhost, tty, .. } = self;
        Session { leader: getpid().as_raw(), service, user, uid, rhost, tty }
    }
}

/// Guards the session that opens. `false`: it is not ours, or exempt.
pub fn open(pamh: &mut PamHandle, args: &[&CStr]) -> Result<bool, Refusal> {
    let login = Login::of(pamh);
    let line = line(&login, args)?;
    if libpam::kept(pamh).flatten().is_some() {
        let record =
            login.record("ignored").with("what", "another line of this stack guards the session already");
        libpam::log(pamh, Level::Warning, &record);
        return Ok(false);
    }
    if let Some(Exception { because, routine }) = exception(&login) {
        let level = if routine { Level::Debug } else { Level::Info };
        if Settings::of(&line.read, None).debug || !routine {
            libpam::log(pamh, level, &login.record("not-ours").with("because", because));
        }
        return Ok(false);
    }
    let decided = decide(&login, &line.read)?;
    if let Some(record) = &decided.broken {
        libpam::log(pamh, Level::Error, record);
    }
    if decided.resolved.settings.limit.is_none() {
        let places = Places::of(&Proc::default(), getpid().as_raw());
        let record = login
            .record("exempt")
            .with_some("uid", decided.uid)
            .with_some("session", places.session())
            .with("limit", "off")
            .with_some("rule", decided.resolved.rule);
        libpam::log(pamh, Level::Info, &record);
        return Ok(false);
    }
    guard(pamh, login, line, decided).map(|()| true)
}

/// Whether a session of this login could be guarded, asked before there is one: a login refused here is
/// told so by its service, where one that fails to open its session just ends.
pub fn preflight(pamh: &PamHandle, args: &[&CStr]) -> Result<(), Refusal> {
    let login = Login::of(pamh);
    let line = line(&login, args)?;
    // Whom the session's own line will leave alone, it puts on record.
    if exception(&login).is_some() {
        return Ok(());
    }
    // A broken policy that keeps nobody out is put on record by the session's line, so once for a login.
    let resolved = match decide(&login, &line.read) {
        Ok(decided) => decided.resolved,
        Err(Refusal { goes_on: Some(_), .. }) => return Ok(()),
        Err(refusal) => return Err(refusal),
    };
    if resolved.settings.limit.is_none() {
        return Ok(());
    }
    let could_not = |why: &dyn Display| Refusal {
        code: PamResultCode::PAM_PERM_DENIED,
        goes_on: goes_on(resolved.settings.on_error),
        record: login.record("could-not").with("what", why),
    };
    if Proc::default().process(getpid().as_raw()).is_none() {
        return Err(could_not(&"/proc is hidden or not mounted"));
    }
    access(HELPER, AccessFlags::X_OK).map_err(|e| could_not(&format_args!("{HELPER}: {e}")))
}

/// Reads the words of the PAM line.
fn line(login: &Login, args: &[&CStr]) -> Result<Line, Refusal> {
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let read = Words::of_line(words.iter().map(String::as_str));
    read.map(|read| Line { words, read }).map_err(|bad| Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        goes_on: goes_on(bad.on_error),
        record: login.record("could-not").with("argument", bad.word).with("what", bad.problem),
    })
}

/// The PAM line, as written and as read.
struct Line {
    words: Vec<String>,
    read: Words,
}

/// Why a login is none of our business, if so.
fn exception(login: &Login) -> Option<Exception> {
    // Of logind itself: the PAM environment is the user's to fill, through pam_env's user_readenv.
    let places = Places::of(&Proc::default(), getpid().as_raw());
    let session = places.session().map(logind::kind_of).unwrap_or_default();
    ours::exception(&login.service.to_string_lossy(), &session, login.rhost.is_some())
}

/// What holds for a login.
struct Decided {
    /// The user's id, where name services know it.
    uid: Option<u32>,
    resolved: Resolved,
    /// What the log is told of a broken policy, in whose place the PAM line holds.
    broken: Option<Record>,
}

/// Decides by the policy. Where that is broken, the PAM line holds for everybody.
fn decide(login: &Login, line: &Words) -> Result<Decided, Refusal> {
    let person = Person::named(login.user.as_deref().unwrap_or_default());
    let uid = person.uid();
    let files = Files::of(line.conf_path());
    let facts = policy::Login {
        user: login.user.as_deref().unwrap_or_default(),
        canonical: person.canonical(),
        uid,
        service: &login.service.to_string_lossy(),
        tty: &login.tty.as_deref().unwrap_or_default().to_string_lossy(),
        from: &login.rhost.as_deref().unwrap_or_default().to_string_lossy(),
    };
    let resolved = files.load().and_then(|policy| policy::resolve(line, &policy, &files, &facts, &person));
    match resolved {
        Ok(resolved) => Ok(Decided { uid, resolved, broken: None }),
        Err(faults) => by_the_line(line, &files, uid, broken(login, &faults)),
    }
}

/// What holds while the policy is broken. A PAM line without a limit guards nobody: there `onerr=` decides,
/// but root comes in, because nobody else can mend the policy.
fn by_the_line(line: &Words, files: &Files, uid: Option<u32>, record: Record) -> Result<Decided, Refusal> {
    let resolved = Resolved::of_line(line, files);
    if resolved.settings.limit.is_some() {
        let broken = Some(record.with("instead", "the PAM line alone"));
        return Ok(Decided { uid, resolved, broken });
    }
    let root = (uid == Some(0)).then_some("root can mend the policy");
    Err(Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        goes_on: goes_on(resolved.settings.on_error).or(root),
        record,
    })
}

/// The record of a broken policy: its first fault, and how many there are.
fn broken(login: &Login, faults: &[Fault]) -> Record {
    let record = login.record("could-not");
    let Some(Fault { file, at, word, problem }) = faults.first() else { return record };
    let (line, column) = at.unzip();
    record
        .with("file", file.display())
        .with_some("line", line)
        .with_some("column", column)
        .with_some("argument", word.as_ref())
        .with("what", problem)
        .with_some("faults", Some(faults.len()).filter(|count| *count > 1))
}

/// Starts the helper for a session that is ours, and keeps its number until the session closes.
fn guard(pamh: &mut PamHandle, login: Login, line: Line, decided: Decided) -> Result<(), Refusal> {
    let Decided { uid, resolved, .. } = decided;
    let record = login.record("could-not");
    let goes_on = goes_on(resolved.settings.on_error);
    let could_not = |why: &dyn Display| Refusal {
        code: PamResultCode::PAM_SESSION_ERR,
        goes_on,
        record: record.clone().with("what", why),
    };
    let user = login.user.clone().ok_or_else(|| could_not(&"no user is named"))?;
    let rule = resolved.rule.map(|place| place.to_string());
    let orders = Orders::new(&resolved.settings, resolved.message, rule);
    let assignment = Assignment { session: login.session(user, uid), line: line.words, orders };
    let path = CString::new(HELPER).map_err(|e| could_not(&e))?;
    let helper = spawn::start(&path, &assignment.to_args(), BUDGET)
        .map_err(|e| could_not(&format_args!("{HELPER} {e}")))?;
    libpam::keep(pamh, Some(helper)).map_err(|code| {
        // Unknown to close_session it would take the session's end for the leader's death.
        spawn::discard(helper);
        could_not(&format_args!("pam_set_data: {code:?}"))
    })
}

/// Tells the helper that the session closes. It may be ending the session just now: then it goes on.
pub fn close(pamh: &mut PamHandle) {
    let Some(helper) = libpam::kept(pamh).flatten() else {
        return;
    };
    // Said once: what closes again, or opens anew in this transaction, finds no helper.
    let forgotten = libpam::keep(pamh, None).is_ok();
    let told = PidFd::of(&Proc::default(), helper.pid, helper.started)
        .is_some_and(|pidfd| pidfd.send(CLOSE_SIGNAL).is_ok());
    if forgotten && !told {
        let record = Login::of(pamh).record("could-not").with("helper", helper.pid);
        let what = "the watchdog was gone before the session closed";
        libpam::log(pamh, Level::Error, &record.with("what", what));
    }
}
