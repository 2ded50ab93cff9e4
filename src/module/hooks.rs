//! The functions that libpam calls, and what they return.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use super::SESSION;
use super::session::{self, Refusal};
use crate::login::Login;
use crate::record::{Event, Key};
use crate::sys::pam::log;

struct IdleWatchdog;

pam::pam_hooks!(IdleWatchdog);

impl PamHooks for IdleWatchdog {
    fn sm_open_session(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        match session::open(pamh, &args, flags & PAM_SILENT != 0) {
            Ok(true) => PamResultCode::PAM_SUCCESS,
            Ok(false) => PamResultCode::PAM_IGNORE,
            Err(refusal) => refused(pamh, SESSION, refusal, PamResultCode::PAM_SUCCESS),
        }
    }

    fn sm_close_session(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        session::close(pamh);
        PamResultCode::PAM_SUCCESS
    }

    fn acct_mgmt(pamh: &mut PamHandle, args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        // PAM_SUCCESS must not be returned here: this module does not know who may log in, and a `sufficient`
        // line would let anybody in.
        match session::preflight(pamh, &args) {
            Ok(()) => PamResultCode::PAM_IGNORE,
            Err(refusal) => refused(pamh, "account", refusal, PamResultCode::PAM_IGNORE),
        }
    }

    fn sm_authenticate(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "auth", "auth")
    }

    fn sm_setcred(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "setcred", "auth")
    }

    fn sm_chauthtok(pamh: &mut PamHandle, _args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        refuse(pamh, "chauthtok", "password")
    }
}

/// What libpam gets for a login that cannot be guarded: `unguarded` if the login goes on all the same. Both
/// cases go on record.
fn refused(pamh: &PamHandle, call: &str, refusal: Refusal, unguarded: PamResultCode) -> PamResultCode {
    log(pamh, call, &refusal.record);
    let Some(reason) = refusal.goes_on else { return refusal.code };
    log(pamh, call, &Login::of(pamh).record(Event::Unguarded).with(Key::Reason, reason));
    unguarded
}

/// Refuses a line of another type, because it is a mistake. If it were ignored, it could let somebody in. `call` is
/// what libpam's log calls the call.
fn refuse(pamh: &PamHandle, call: &str, kind: &str) -> PamResultCode {
    let error =
        format!("a line of type {kind} is a mistake: this module works in session and account lines only");
    log(pamh, call, &Login::of(pamh).record(Event::Error).with(Key::Error, error));
    PamResultCode::PAM_SERVICE_ERR
}
