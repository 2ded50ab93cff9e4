//! Opening and closing a session, as libpam's guest.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};

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
use crate::sys::pam::{self as libpam, Helper, Level};
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
    pub why: String,
}

/// Guards the session that opens. `false`: it is not ours, or exempt.
pub fn open(pamh: &mut PamHandle, args: &[&CStr]) -> Result<bool, Refusal> {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let settings = Settings::from_words(words.iter().map(AsRef::as_ref)).map_err(|bad| Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        on_error: bad.on_error,
        why: bad.to_string(),
    })?;
    let could_not = |why: String| Refusal {
        code: PamResultCode::PAM_SESSION_ERR,
        on_error: settings.on_error,
        why: Record::new("could-not").with("what", why).to_string(),
    };
    if libpam::kept(pamh).flatten().is_some() {
        libpam::log(
            pamh,
            Level::Warning,
            "another line of this stack guards the session already; this one is ignored",
        );
        return Ok(false);
    }
    let service = pamh.get_item::<Service>().ok().flatten().map(|item| text(&item)).unwrap_or_default();
    // Of logind itself: the PAM environment is the user's to fill, through pam_env's user_readenv.
    let places = Places::of(&Proc::default(), getpid().as_raw());
    let Kind { class, kind } = places.session().map(logind::kind_of).unwrap_or_default();
    if let Some(Exception { because, routine }) = ours::exception(&service, class.as_deref(), kind.as_deref())
    {
        let level = if routine { Level::Debug } else { Level::Info };
        if settings.debug || !routine {
            libpam::log(pamh, level, &Record::new("not-ours").with("because", because).to_string());
        }
        return Ok(false);
    }
    let session = describe(pamh, service).ok_or_else(|| could_not("no user is named".to_owned()))?;
    let Some(assignment) = Assignment::new(session, &settings) else {
        let user = pamh.get_item::<UserName>().ok().flatten().map(|item| text(&item));
        libpam::log(
            pamh,
            Level::Info,
            &Record::new("exempt").with_some("user", user).with("limit", "off").to_string(),
        );
        return Ok(false);
    };
    let path = CString::new(HELPER).map_err(|e| could_not(e.to_string()))?;
    let helper = spawn::start(&path, &assignment.to_args(), BUDGET)
        .map_err(|e| could_not(format!("{HELPER}: {e}")))?;
    if let Err(code) = libpam::keep(pamh, Some(helper)) {
        // Unknown to close_session it would take the session's end for the leader's death.
        spawn::discard(helper);
        return Err(could_not(format!("pam_set_data: {code:?}")));
    }
    Ok(true)
}

/// Tells the helper that the session closes. It may be ending the session just now: then it goes on.
pub fn close(pamh: &mut PamHandle) {
    let Some(helper) = libpam::kept(pamh).flatten() else {
        return;
    };
    // Said once: what closes again, or opens anew in this transaction, finds no helper.
    let forgotten = libpam::keep(pamh, None).is_ok();
    let told = find(helper).is_some_and(|pidfd| pidfd.send(CLOSE_SIGNAL).is_ok());
    if forgotten && !told {
        let record = Record::new("could-not").with("what", "the watchdog was gone before the session closed");
        libpam::log(pamh, Level::Warning, &record.with("helper", helper.pid).to_string());
    }
}

/// The helper, if its number is still its own.
fn find(helper: Helper) -> Option<PidFd> {
    let pidfd = PidFd::open(helper.pid).ok()?;
    let process = Proc::default().process(helper.pid)?;
    (process.started == helper.started).then_some(pidfd)
}

fn describe(pamh: &mut PamHandle, service: String) -> Option<Session> {
    let user = pamh.get_item::<UserName>().ok()??;
    let user = text(&user);
    let uid = User::from_name(&user).ok().flatten().map(|user| user.uid.as_raw());
    Some(Session {
        leader: getpid().as_raw(),
        service,
        user,
        uid,
        rhost: pamh
            .get_item::<RHost>()
            .ok()
            .flatten()
            .map(|item| text(&item))
            .filter(|host| !host.is_empty()),
        tty: pamh.get_item::<Tty>().ok().flatten().map(|item| text(&item)),
    })
}

/// A PAM item, as text: none needs to be UTF-8.
fn text(item: &CStr) -> String {
    item.to_string_lossy().into_owned()
}
