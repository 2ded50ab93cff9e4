//! Functions of libpam that pam-bindings does not wrap, or does not wrap safely.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use nix::unistd::Pid;
use pam::constants::PAM_TEXT_INFO;
use pam::conv::Conv;
use pam::items::Service;
use pam::module::PamHandle;

use crate::record::Record;
use crate::sys::journald::{self, Sent};
use crate::sys::proc::ProcId;

// These are from _pam_types.h.
const PAM_SUCCESS: c_int = 0;

// These are from pam_modules.h and pam_ext.h. pam-bindings links the library.
unsafe extern "C" {
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_set_data(
        pamh: *mut PamHandle,
        key: *const c_char,
        data: *mut c_void,
        cleanup: extern "C" fn(*mut PamHandle, *mut c_void, c_int),
    ) -> c_int;
}

// This is from errno.h: the name of the host's program.
unsafe extern "C" {
    static program_invocation_short_name: *const c_char;
}

/// Logs `pam_idle_watchdog(SERVICE:CALL): record` to the facility AUTHPRIV, in journald's native form where journald
/// runs. The ident is the application's, such as `sshd`. `call` is what libpam's log calls this call.
pub fn log(pamh: &PamHandle, call: &str, record: &Record) {
    let service = pamh.get_item::<Service>().ok().flatten();
    let service = service.as_ref().map_or("<unknown>".into(), |service| service.to_string_lossy());
    let line = record.line(&service, call);
    // If journald is too busy, pam_syslog waits for it, as each module does.
    if journald::send(Path::new(journald::SOCKET), &journald::entry(record, &line, &program())) == Sent::Taken
    {
        return;
    }
    // A record contains no NUL, because all its characters are printable.
    let Ok(text) = CString::new(record.to_string()) else {
        return;
    };
    // SAFETY: the handle belongs to libpam and is borrowed for the call. The format takes one string.
    unsafe { pam_syslog(pamh, record.severity().number().into(), c"%s".as_ptr(), text.as_ptr()) }
}

/// The name of the host's program. It is also the ident of syslog(3), unless the host chose another with openlog(3), as
/// cron does.
fn program() -> String {
    // SAFETY: the C library sets this to a terminated string before `main`. A program that changes it sets it to another.
    unsafe { CStr::from_ptr(program_invocation_short_name) }.to_string_lossy().into_owned()
}

/// Says a text to the person through the application's conversation function (`PAM_TEXT_INFO`).
///
/// # Errors
///
/// Why the person may not have got it.
pub fn say(pamh: &PamHandle, text: &str) -> Result<(), String> {
    let conversation = pamh.get_item::<Conv<'_>>();
    let conversation = conversation.ok().flatten().ok_or("there is no conversation function")?;
    let answer = conversation.send(PAM_TEXT_INFO, text);
    answer.map(drop).map_err(|code| format!("the conversation function failed: {code:?}"))
}

/// The key under which [`keep`] stores its value. pam_get_data(3) does not check types, so no other module may use
/// this name.
const STATE: &CStr = c"pam_idle_watchdog.state";

/// The value that is stored.
struct Kept {
    state: State,
    ended: fn(State, Ended),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The application reported success.
    Well,
    /// The application reported a failure.
    Failed,
}

/// Keeps a value from open_session to close_session. If the transaction ends (pam_end(3)) before another value is
/// kept, `ended` is called with the value. That happens in forked children, too: each of them has a copy.
///
/// # Errors
///
/// The code of pam_set_data(3).
pub fn keep(pamh: &mut PamHandle, state: State, ended: fn(State, Ended)) -> Result<(), c_int> {
    let kept = Box::into_raw(Box::new(Kept { state, ended }));
    // SAFETY: the handle comes from libpam, and the key is a terminated string. From here on libpam owns the
    // value and passes it to `cleanup` once. The module stays loaded until then (`-z nodelete`).
    let code = unsafe { pam_set_data(pamh, STATE.as_ptr(), kept.cast(), cleanup) };
    if code == PAM_SUCCESS {
        return Ok(());
    }
    // SAFETY: libpam refused the value, so we still own it.
    drop(unsafe { Box::from_raw(kept) });
    Err(code)
}

extern "C" fn cleanup(_: *mut PamHandle, data: *mut c_void, status: c_int) {
    // _pam_types.h. PAM_DATA_SILENT only asks for no messages. It says nothing about success.
    const REPLACED: c_int = 0x2000_0000;
    const SILENT: c_int = 0x4000_0000;
    if data.is_null() {
        return;
    }
    // SAFETY: libpam passes the value of `keep` to this function once.
    let kept = unsafe { Box::from_raw(data.cast::<Kept>()) };
    if status & REPLACED == 0 {
        let ended = if status & !SILENT == PAM_SUCCESS { Ended::Well } else { Ended::Failed };
        // A panic must not unwind into libpam.
        let _ = std::panic::catch_unwind(|| (kept.ended)(kept.state, ended));
    }
}

/// The value that [`keep`] stored last.
#[must_use]
pub fn kept(pamh: &PamHandle) -> Option<State> {
    // SAFETY: only `keep` uses this key, and it always stores a `Kept`.
    unsafe { pamh.get_data::<Kept>(STATE.to_str().ok()?) }.ok().map(|kept| kept.state)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number among the sessions that this process opened.
    pub ticket: u64,
    /// The process that opened it.
    pub opener: Pid,
    /// Its helper, if it is watched.
    pub helper: Option<ProcId>,
}

/// The open session, if there is one.
pub type State = Option<Opened>;
