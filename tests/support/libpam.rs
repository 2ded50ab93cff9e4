//! The application's side of libpam, for ring 1 and the benchmarks.

// The tests and the benchmarks use different parts of this module.
#![allow(dead_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

#[repr(C)]
struct Conversation {
    talk: Option<extern "C" fn()>,
    data: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        confdir: *const c_char,
        handle: *mut *mut c_void,
    ) -> c_int;
    pub fn pam_end(handle: *mut c_void, status: c_int) -> c_int;
    pub fn pam_putenv(handle: *mut c_void, setting: *const c_char) -> c_int;
    pub fn pam_set_item(handle: *mut c_void, item: c_int, value: *const c_void) -> c_int;
    pub fn pam_open_session(handle: *mut c_void, flags: c_int) -> c_int;
    pub fn pam_close_session(handle: *mut c_void, flags: c_int) -> c_int;
    pub fn pam_authenticate(handle: *mut c_void, flags: c_int) -> c_int;
    pub fn pam_setcred(handle: *mut c_void, flags: c_int) -> c_int;
    pub fn pam_acct_mgmt(handle: *mut c_void, flags: c_int) -> c_int;
    pub fn pam_chauthtok(handle: *mut c_void, flags: c_int) -> c_int;
}

/// Starts a transaction with the service files of a directory, and returns the handle.
pub fn start(directory: &Path, service: &str, user: Option<&str>) -> *mut c_void {
    let service = CString::new(service).unwrap();
    let user = user.map(|user| CString::new(user).unwrap());
    let directory = CString::new(directory.as_os_str().as_bytes()).unwrap();
    let conversation = Conversation { talk: None, data: ptr::null_mut() };
    let mut handle = ptr::null_mut();
    // SAFETY: the strings are terminated (no user is a null pointer), and libpam copies the conversation.
    let code = unsafe {
        let user = user.as_ref().map_or(ptr::null(), |user| user.as_ptr());
        pam_start_confdir(
            service.as_ptr(),
            user,
            &raw const conversation,
            directory.as_ptr(),
            &raw mut handle,
        )
    };
    assert_eq!(code, 0, "pam_start_confdir");
    handle
}
