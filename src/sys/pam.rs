//! The parts of libpam that pam-bindings does not wrap, or wraps unsafely.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use nix::unistd::Pid;
use pam::module::PamHandle;

use crate::record::{Record, Severity};
use crate::sys::proc::ProcId;

/// A severity as syslog(3) numbers it.
const fn priority(severity: Severity) -> c_int {
    match severity {
        Severity::Error => libc::LOG_ERR,
        Severity::Warning => libc::LOG_WARNING,
        Severity::Notice => libc::LOG_NOTICE,
        Severity::Info => libc::LOG_INFO,
        Severity::Debug => libc::LOG_DEBUG,
    }
}

// _pam_types.h
const PAM_SUCCESS: c_int = 0;

// pam_modules.h, pam_ext.h. pam-bindings links the library.
unsafe extern "C" {
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_set_data(
        pamh: *mut PamHandle,
        key: *const c_char,
        data: *mut c_void,
        cleanup: extern "C" fn(*mut PamHandle, *mut c_void, c_int),
    ) -> c_int;
}

/// Logs under the host's ident, as `pam_idle_watchdog(SERVICE:TYPE): record`, to the facility
/// AUTHPRIV.
pub fn log(pamh: &PamHandle, record: &Record) {
    // No record holds a NUL: it is printable.
    let Ok(text) = CString::new(record.to_string()) else {
        return;
    };
    let priority = priority(record.severity());
    // SAFETY: the handle is libpam's own, borrowed for the call; the format takes one string.
    unsafe { pam_syslog(pamh, priority, c"%s".as_ptr(), text.as_ptr()) }
}

/// The key of what [`keep`] stores. pam_get_data(3) knows no types, so the name must be ours alone.
const STATE: &CStr = c"pam_idle_watchdog.state";

/// What is stored under it.
struct Kept {
    state: State,
    ended: fn(State, Ended),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The application says that all went well.
    Well,
    /// The application says that something failed.
    Failed,
}

/// Keeps a value from open_session to close_session. `ended` is called with it if the transaction ends
/// (pam_end(3)) before another value is kept, also in forked children, each of which has a copy.
///
/// # Errors
///
/// The code of pam_set_data(3).
pub fn keep(pamh: &mut PamHandle, state: State, ended: fn(State, Ended)) -> Result<(), c_int> {
    let kept = Box::into_raw(Box::new(Kept { state, ended }));
    // SAFETY: the handle is libpam's own and the key terminated. From here on libpam has the value and
    // gives it back once, to `cleanup`; the module stays loaded until then (`-z nodelete`).
    let code = unsafe { pam_set_data(pamh, STATE.as_ptr(), kept.cast(), cleanup) };
    if code == PAM_SUCCESS {
        return Ok(());
    }
    // SAFETY: libpam did not take it.
    drop(unsafe { Box::from_raw(kept) });
    Err(code)
}

extern "C" fn cleanup(_: *mut PamHandle, data: *mut c_void, status: c_int) {
    // _pam_types.h. The second asks for no messages, and says nothing of how it went.
    const REPLACED: c_int = 0x2000_0000;
    const SILENT: c_int = 0x4000_0000;
    if data.is_null() {
        return;
    }
    // SAFETY: libpam gives back what `keep` gave it, once.
    let kept = unsafe { Box::from_raw(data.cast::<Kept>()) };
    if status & REPLACED == 0 {
        let ended = if status & !SILENT == PAM_SUCCESS { Ended::Well } else { Ended::Failed };
        // No panic may unwind into libpam.
        let _ = std::panic::catch_unwind(|| (kept.ended)(kept.state, ended));
    }
}

/// What [`keep`] stored last.
#[must_use]
pub fn kept(pamh: &PamHandle) -> Option<State> {
    // SAFETY: the key is ours, and only `keep` stores under it, always a `Kept`.
    unsafe { pamh.get_data::<Kept>(STATE.to_str().ok()?) }.ok().map(|kept| kept.state)
}

/// A session that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its place among the sessions of the process that opened it.
    pub ticket: u64,
    /// That process.
    pub opener: Pid,
    /// The helper that guards it, if one does.
    pub helper: Option<ProcId>,
}

/// Whether a session is open.
pub type State = Option<Opened>;
