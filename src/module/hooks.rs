//! What libpam calls, and what it gets for an answer.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use super::session::{self, Login, Refusal};
use crate::record::{Event, Key};
use crate::sys::pam::log;

struct IdleWatchdog;

pam::pam_hooks!(IdleWatchdog);

impl PamHooks for IdleWatchdog {
    fn sm_open_session(pamh: &mut PamHandle, args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        match session::open(pamh, &args) {
            Ok(true) => PamResultCode::PAM_SUCCESS,
            Ok(false) => PamResultCode::PAM_IGNORE,
            Err(refusal) => refused(pamh, refusal, PamResultCode::PAM_SUCCESS),
        }
    }

    fn sm_close_session(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        session::close(pamh);
        PamResultCode::PAM_SUCCESS
    }

    fn acct_mgmt(pamh: &mut PamHandle, args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        // It does not know who may come in: PAM_SUCCESS of a `sufficient` line would let anybody in.
        match session::preflight(pamh, &args) {
            Ok(()) => PamResultCode::PAM_IGNORE,
            Err(refusal) => refused(pamh, refusal, PamResultCode::PAM_IGNORE),
        }
    }

    fn sm_authenticate(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "auth")
    }

    fn sm_setcred(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "auth")
    }

    fn sm_chauthtok(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "password")
    }
}

/// What libpam gets for a login that cannot be guarded: `unguarded`, where it goes on all the same. Either
/// is on record.
fn refused(pamh: &PamHandle, refusal: Refusal, unguarded: PamResultCode) -> PamResultCode {
    log(pamh, &refusal.record);
    let Some(reason) = refusal.goes_on else { return refusal.code };
    log(pamh, &Login::of(pamh).record(Event::Unguarded).with(Key::Reason, reason));
    unguarded
}

/// A line of another type is a mistake. Ignoring it could let somebody in: it fails.
fn refuse(pamh: &PamHandle, kind: &str) -> PamResultCode {
    let error = format!("a line of type {kind} is a mistake: this module is for session and account lines");
    log(pamh, &Login::of(pamh).record(Event::Error).with(Key::Error, error));
    PamResultCode::PAM_SERVICE_ERR
}
