//! The parts of libpam that pam-bindings does not wrap, or wraps unsafely.

use std::ffi::{CString, c_char, c_int};

use pam::module::{PamHandle, PamResult};

use crate::record::Record;

/// syslog(3) priorities, in the words of the Linux-PAM module writers' guide.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Level {
    /// Something is wrong and an administrator must act.
    Error = libc::LOG_ERR,
    /// Something an administrator may have meant otherwise.
    Warning = libc::LOG_WARNING,
    /// A decision.
    Info = libc::LOG_INFO,
    /// Asked for by `debug`.
    Debug = libc::LOG_DEBUG,
}

// pam_modules.h, pam_ext.h. pam-bindings links the library.
unsafe extern "C" {
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
}

/// Logs under the host's ident, as `pam_idle_watchdog(SERVICE:TYPE): record`, to the facility
/// AUTHPRIV.
pub fn log(pamh: &PamHandle, level: Level, record: &Record) {
    // No record holds a NUL: it is printable.
    let Ok(text) = CString::new(record.to_string()) else {
        return;
    };
    // SAFETY: the handle is libpam's own, borrowed for the call; the format takes one string.
    unsafe { pam_syslog(pamh, level as c_int, c"%s".as_ptr(), text.as_ptr()) }
}

/// The key of what [`keep`] stores. pam_get_data(3) knows no types, so the name must be ours alone.
const STATE: &str = "pam_idle_watchdog.state";

/// Keeps a value from open_session to close_session. Its type has no `Drop` of its own: libpam also
/// frees it in forked children.
///
/// # Errors
///
/// As pam_set_data(3).
pub fn keep(pamh: &mut PamHandle, state: State) -> PamResult<()> {
    pamh.set_data(STATE, Box::new(state))
}

/// What [`keep`] stored last.
#[must_use]
pub fn kept(pamh: &PamHandle) -> Option<State> {
    // SAFETY: the key is ours, and only `keep` stores under it, always a `State`.
    unsafe { pamh.get_data::<State>(STATE) }.ok().copied()
}

/// The helper of an open session, by number and start time: a number alone may be somebody else's
/// by the time the session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its process number.
    pub pid: i32,
    /// Its start, as [`crate::sys::proc::Process::started`].
    pub started: i64,
}

/// Whether a session is open, and who watches it.
pub type State = Option<Helper>;
