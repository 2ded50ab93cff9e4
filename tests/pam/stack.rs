//! Runs a stack of PAM through libpam, and collects what the module logs meanwhile.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::PAM_SUCCESS;
use super::libpam::*;

pub type Call = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

/// An entry for journald, and the sender's socket.
pub type Entry = (Vec<u8>, PathBuf);

thread_local! {
    static LOGGED: RefCell<Vec<(c_int, String)>> = const { RefCell::new(Vec::new()) };
    /// What journald has got. `None` means that it does not run.
    pub static JOURNAL: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// Replaces the function of libpam, because a function of the program takes precedence over one with the same
/// name in a library. So the module's log arrives here. (The module passes one text. The real function takes
/// any number of arguments.)
#[unsafe(no_mangle)]
extern "C" fn pam_syslog(_: *const c_void, priority: c_int, format: *const c_char, text: *const c_char) {
    // SAFETY: both are terminated strings, and `text` is present if the format is the module's "%s".
    let text = unsafe {
        let format = CStr::from_ptr(format);
        if format == c"%s" { CStr::from_ptr(text) } else { format }
    };
    LOGGED.with_borrow_mut(|logged| logged.push((priority, text.to_string_lossy().into_owned())));
}

/// Replaces the function of the C library in the same way. So the module's entries for journald arrive here, and never
/// in the journal of this machine.
#[unsafe(no_mangle)]
extern "C" fn sendto(
    socket: c_int,
    data: *const c_void,
    length: usize,
    flags: c_int,
    address: *const libc::sockaddr,
    size: libc::socklen_t,
) -> isize {
    // SAFETY: the caller of sendto(2) gives a buffer and an address with these lengths, or no address.
    let (data, unix) = unsafe {
        let unix = !address.is_null() && i32::from((*address).sa_family) == libc::AF_UNIX;
        (std::slice::from_raw_parts(data.cast::<u8>(), length), unix)
    };
    if !unix {
        // SAFETY: the arguments of the caller.
        return unsafe {
            libc::syscall(libc::SYS_sendto, socket, data.as_ptr(), length, flags, address, size) as isize
        };
    }
    JOURNAL.with_borrow_mut(|journal| match journal {
        Some(entries) => {
            // SAFETY: system calls on integers.
            let (status, descriptor) =
                unsafe { (libc::fcntl(socket, libc::F_GETFL), libc::fcntl(socket, libc::F_GETFD)) };
            assert_ne!(status & libc::O_NONBLOCK, 0, "the socket blocks");
            assert_ne!(descriptor & libc::FD_CLOEXEC, 0, "a child of the host inherits the socket");
            entries.push((data.to_vec(), fs::read_link(format!("/proc/self/fd/{socket}")).unwrap()));
            length as isize
        }
        None => {
            // SAFETY: errno belongs to this thread.
            unsafe { *libc::__errno_location() = libc::ECONNREFUSED };
            -1
        }
    })
}

/// A PAM stack of one service, and a handle on it. There is one at a time in all threads, because the module guards
/// none of several sessions of one process.
pub struct Stack {
    pub directory: PathBuf,
    handle: *mut c_void,
    _alone: MutexGuard<'static, ()>,
}

/// The module that was built.
fn module() -> PathBuf {
    let built = std::env::var_os("IDLE_WATCHDOG_BUILD_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist")), PathBuf::from);
    let module = built.join("pam_idle_watchdog.so");
    assert!(module.exists(), "{} is missing: run make first", module.display());
    module
}

/// The places where the host may have a policy.
const POLICIES: [&str; 3] = [
    "/etc/security/idle_watchdog.conf",
    "/etc/security/idle_watchdog.conf.d",
    "/usr/share/security/idle_watchdog.conf",
];

/// Hides the host's policy from this thread, if there is one. That needs root.
fn hide_the_hosts_policy() {
    let is_there = |path: &&&str| fs::symlink_metadata(path).is_ok();
    if POLICIES.iter().find(is_there).is_none() {
        return;
    }
    // SAFETY: a system call on an integer. Only this thread gets its own mount namespace.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(alone, 0, "this machine has a policy of its own, and hiding it from the tests needs root");
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE);
    while let Some(path) = POLICIES.iter().find(is_there) {
        let directory = Path::new(path).parent().unwrap().to_str().unwrap();
        mount(Some(c"tmpfs"), &CString::new(directory).unwrap(), 0);
    }
}

fn mount(kind: Option<&CStr>, target: &CStr, flags: libc::c_ulong) {
    let kind = kind.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings are terminated, or null pointers if mount(2) allows them.
    let done = unsafe { libc::mount(c"none".as_ptr(), target.as_ptr(), kind, flags, ptr::null()) };
    assert_eq!(done, 0, "mount {target:?}: {}", std::io::Error::last_os_error());
}

impl Stack {
    /// A service with these lines. `@MODULE@` means our module.
    pub fn new(service: &str, user: Option<&str>, lines: &str) -> Self {
        Self::of(service, user, &[(service, lines)])
    }

    /// A service with these files: the name and the lines of each. `@DIRECTORY@` means the directory of the files,
    /// because some versions of libpam look for included files in /etc/pam.d only.
    pub fn of(service: &str, user: Option<&str>, files: &[(&str, &str)]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        hide_the_hosts_policy();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("idle-watchdog-pam-{}-{serial}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for (name, lines) in files {
            let lines = lines.replace("@MODULE@", module().to_str().unwrap());
            let lines = lines.replace("@DIRECTORY@", directory.to_str().unwrap());
            fs::write(directory.join(name), lines + "\n").unwrap();
        }
        let handle = start(&directory, service, user);
        Self { directory, handle, _alone }
    }

    /// A session stack with only our line. The line has these options.
    pub fn session(service: &str, words: &str) -> Self {
        Self::new(service, Some("nobody"), &format!("session required @MODULE@ {words}"))
    }

    pub fn put_env(&self, setting: &str) {
        let setting = CString::new(setting).unwrap();
        // SAFETY: the handle is open and the text is terminated. libpam copies the text.
        assert_eq!(unsafe { pam_putenv(self.handle, setting.as_ptr()) }, PAM_SUCCESS);
    }

    /// Returns the result of libpam, and what the module logged meanwhile, with its priority.
    pub fn call(&self, call: Call, flags: c_int) -> (c_int, Vec<(c_int, String)>) {
        LOGGED.with_borrow_mut(Vec::clear);
        // SAFETY: the handle is open, and belongs to this thread only.
        let code = unsafe { call(self.handle, flags) };
        (code, LOGGED.take())
    }

    pub fn open(&self) -> (c_int, Vec<(c_int, String)>) {
        self.call(pam_open_session, 0)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and not used again.
        unsafe { pam_end(self.handle, PAM_SUCCESS) };
        let _ = fs::remove_dir_all(&self.directory);
    }
}
