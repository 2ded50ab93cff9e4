//! Opening and closing a session, as libpam's guest.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fmt::Display;

use nix::unistd::{User, getpid};
use pam::constants::PamResultCode;
use pam::items::{RHost, Service, Tty, User as UserName};
use pam::module::PamHandle;

use super::ours::{self, Exception};
use super::{BUDGET, spawn};
use crate::handoff::{Assignment, CLOSE_SIGNAL, Session};
use crate::policy::{OnError, Settings};
use crate::record::Record;
use crate::sys::cgroup::Places;
use crate::sys::logind::{self, Kind};
use crate::sys::pam::{self as libpam, Level};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;

/// The helper, as an absolute path: build.rs takes it from the environment.
const HELPER: &str = env!("PAM_IDLE_WATCHDOG_HELPER");

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

    /// What the helper is told of it. The user's id is asked of name services, as the host has just done.
    fn session(self, user: String) -> Session {
        let Self { service, rhost, tty, .. } = self;
        let uid = User::from_name(&user).ok().flatten().map(|user| user.uid.as_raw());
        Session { leader: getpid().as_raw(), service, user, uid, rhost, tty }
    }
}

/// Guards the session that opens. `false`: it is not ours, or exempt.
pub fn open(pamh: &mut PamHandle, args: &[&CStr]) -> Result<bool, Refusal> {
    let login = Login::of(pamh);
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let settings = Settings::from_words(words.iter().map(AsRef::as_ref)).map_err(|bad| Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        on_error: bad.on_error,
        record: login.record("could-not").with("argument", bad.word).with("what", bad.problem),
    })?;
    if libpam::kept(pamh).flatten().is_some() {
        let record =
            login.record("ignored").with("what", "another line of this stack guards the session already");
        libpam::log(pamh, Level::Warning, &record);
        return Ok(false);
    }
    // Of logind itself: the PAM environment is the user's to fill, through pam_env's user_readenv.
    let places = Places::of(&Proc::default(), getpid().as_raw());
    let Kind { class, kind } = places.session().map(logind::kind_of).unwrap_or_default();
    let exception = ours::exception(&login.service, class.as_deref(), kind.as_deref());
    if let Some(Exception { because, routine }) = exception {
        let level = if routine { Level::Debug } else { Level::Info };
        if settings.debug || !routine {
            libpam::log(pamh, level, &login.record("not-ours").with("because", because));
        }
        return Ok(false);
    }
    if settings.limit.is_none() {
        libpam::log(pamh, Level::Info, &login.record("exempt").with("limit", "off"));
        return Ok(false);
    }
    guard(pamh, login, &settings).map(|()| true)
}

/// Starts the helper for a session that is ours, and keeps its number until the session closes.
fn guard(pamh: &mut PamHandle, login: Login, settings: &Settings) -> Result<(), Refusal> {
    let record = login.record("could-not");
    let could_not = |why: &dyn Display| Refusal {
        code: PamResultCode::PAM_SESSION_ERR,
        on_error: settings.on_error,
        record: record.clone().with("what", why),
    };
    let user = login.user.clone().ok_or_else(|| could_not(&"no user is named"))?;
    let Some(assignment) = Assignment::new(login.session(user), settings) else { return Ok(()) };
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
