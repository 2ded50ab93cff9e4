//! A login's use of libpam, and posix_spawn(3).

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use crate::libpam;

const PAM_TTY: c_int = 3;

/// One login's use of libpam. Dropping it closes the session.
pub struct Transaction {
    handle: *mut c_void,
}

impl Transaction {
    /// Starts the transaction and makes libpam load the modules of the stack. A login does this before the
    /// session opens.
    pub fn start(service: &str, confdir: &Path) -> Self {
        let handle = libpam::start(confdir, service, Some("root"));
        // SAFETY: the handle is open and the text terminated; libpam copies it.
        unsafe {
            assert_eq!(libpam::pam_set_item(handle, PAM_TTY, c"ssh".as_ptr().cast()), 0);
            assert_eq!(libpam::pam_acct_mgmt(handle, 0), 0, "pam_acct_mgmt");
        }
        Self { handle }
    }

    pub fn open_session(&mut self) {
        // SAFETY: the handle is open.
        assert_eq!(unsafe { libpam::pam_open_session(self.handle, 0) }, 0, "pam_open_session");
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and not used again.
        unsafe {
            libpam::pam_close_session(self.handle, 0);
            libpam::pam_end(self.handle, 0);
        }
    }
}

/// What a spawned process does with its descriptors.
pub struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    pub fn new() -> Self {
        // SAFETY: init fills the structure before anything reads it.
        unsafe {
            let mut actions = std::mem::zeroed();
            assert_eq!(libc::posix_spawn_file_actions_init(&mut actions), 0);
            Self(actions)
        }
    }

    pub fn duplicate(&mut self, from: c_int, to: c_int) {
        // SAFETY: the structure is initialised.
        assert_eq!(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, from, to) }, 0);
    }

    pub fn null(&mut self, to: c_int) {
        let path = c"/dev/null".as_ptr();
        // SAFETY: the structure is initialised and the path is copied.
        let added = unsafe { libc::posix_spawn_file_actions_addopen(&mut self.0, to, path, libc::O_RDWR, 0) };
        assert_eq!(added, 0);
    }

    pub fn spawn(&self, path: &str, args: &[&str]) -> c_int {
        let words: Vec<CString> =
            [path].iter().chain(args).map(|word| CString::new(*word).unwrap()).collect();
        let argv: Vec<*mut c_char> =
            words.iter().map(|word| word.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
        let environment = [ptr::null_mut()];
        let mut pid = 0;
        // SAFETY: argv and environment are terminated by null and are valid during the call.
        let done = unsafe {
            libc::posix_spawn(
                &mut pid,
                words[0].as_ptr(),
                &self.0,
                ptr::null(),
                argv.as_ptr(),
                environment.as_ptr(),
            )
        };
        assert_eq!(done, 0, "posix_spawn");
        pid
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: the structure is initialised and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}
