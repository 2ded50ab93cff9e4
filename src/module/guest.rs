//! Opening and closing a session, as libpam's guest.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fmt::Display;

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
use crate::sys::logind::{self, Kind};
use crate::sys::names::Person;
use crate::sys::pam::{self as libpam, Level};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;

/// Why a session could not be guarded, and what the administrator wants done about that.
pub struct Refusal {
    /// What libpam is told.
    pub code: PamResultCode,
    /// What `onerr=` says.
    pub on_error: OnError,
    /// What the log is told.
    pub record: Record,
}

/// Who opens a session, as libpam says.
pub struct Login {
    service: String,
    user: Option<String>,
    rhost: Option<String>,
    tty: Option<String>,
}

impl Login {
    /// Asks libpam.
    pub fn of(pamh: &PamHandle) -> Self {
        // None of them needs to be UTF-8.
        fn text(item: &CStr) -> String {
            item.to_string_lossy().into_owned()
        }
        Self {
            service: pamh.get_item::<Service>().ok().flatten().map(|item| text(&item)).unwrap_or_default(),
            user: pamh.get_item::<UserName>().ok().flatten().map(|item| text(&item)),
            rhost: pamh
                .get_item::<RHost>()
                .ok()
                .flatten()
                .map(|item| text(&item))
                .filter(|host| !host.is_empty()),
            tty: pamh.get_item::<Tty>().ok().flatten().map(|item| text(&item)),
        }
    }

    /// A record of an event in this login.
    pub fn record(&self, event: &str) -> Record {
        Record::new(event).with_some("user", self.user.as_ref()).with_some("rhost", self.rhost.as_ref())
    }

    /// What the helper is told of it.
    fn session(self, user: String, uid: Option<u32>) -> Session {
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
    let decided = decide(pamh, &login, &line.read)?;
    if decided.resolved.settings.limit.is_none() {
        let record = login.record("exempt").with("limit", "off").with_some("rule", decided.resolved.rule);
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
    let Decided { resolved, .. } = decide(pamh, &login, &line.read)?;
    if resolved.settings.limit.is_none() {
        return Ok(());
    }
    let could_not = |why: &dyn Display| Refusal {
        code: PamResultCode::PAM_PERM_DENIED,
        on_error: resolved.settings.on_error,
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
        on_error: bad.on_error,
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
    let leader = getpid().as_raw();
    let cgroup = Proc::default().cgroup(leader).unwrap_or_default();
    let told = Places::parse(&cgroup).session().map(logind::kind_of);
    let Kind { class, kind } = told.or_else(|| logind::kind_led_by(leader, &cgroup)).unwrap_or_default();
    ours::exception(&login.service, class.as_deref(), kind.as_deref())
}

/// What holds for a login.
struct Decided {
    /// The user's id, where name services know it.
    uid: Option<u32>,
    resolved: Resolved,
}

/// Decides by the policy. A broken one refuses everybody but root, who has to mend it: for him the PAM
/// line holds.
fn decide(pamh: &PamHandle, login: &Login, line: &Words) -> Result<Decided, Refusal> {
    let person = Person::named(login.user.as_deref().unwrap_or_default());
    let uid = person.uid();
    let files = Files::of(line.conf_path());
    let facts = policy::Login {
        user: login.user.as_deref().unwrap_or_default(),
        canonical: person.canonical(),
        uid,
        service: &login.service,
        tty: login.tty.as_deref().unwrap_or_default(),
        from: login.rhost.as_deref().unwrap_or_default(),
    };
    let resolved = files.load().and_then(|policy| policy::resolve(line, &policy, &files, &facts, &person));
    let faults = match resolved {
        Ok(resolved) => return Ok(Decided { uid, resolved }),
        Err(faults) => faults,
    };
    let record = |fault: &Fault| {
        let Fault { file, at, word, problem } = fault;
        let (line, column) = at.unzip();
        login
            .record("could-not")
            .with("file", file.display())
            .with_some("line", line)
            .with_some("column", column)
            .with_some("argument", word.as_ref())
            .with("what", problem)
    };
    let alone = Resolved::of_line(line, &files);
    if uid == Some(0) {
        for fault in &faults {
            libpam::log(pamh, Level::Error, &record(fault).with("instead", "the PAM line alone"));
        }
        return Ok(Decided { uid, resolved: alone });
    }
    let (last, others) = faults.split_last().map_or((None, &[][..]), |(last, others)| (Some(last), others));
    for fault in others {
        libpam::log(pamh, Level::Error, &record(fault));
    }
    Err(Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        on_error: alone.settings.on_error,
        record: last.map_or_else(|| login.record("could-not"), record),
    })
}

/// Starts the helper for a session that is ours, and keeps its number until the session closes.
fn guard(pamh: &mut PamHandle, login: Login, line: Line, decided: Decided) -> Result<(), Refusal> {
    let Decided { uid, resolved } = decided;
    let record = login.record("could-not");
    let on_error = resolved.settings.on_error;
    let could_not = |why: &dyn Display| Refusal {
        code: PamResultCode::PAM_SESSION_ERR,
        on_error,
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
