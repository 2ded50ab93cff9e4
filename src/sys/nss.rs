//! What name services know of users and groups.
//!
//! The C library is asked itself, because nix takes every errno for a failure and stops at 1 MiB.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;

/// One user, asked about no more often than needed.
#[derive(Debug)]
pub struct Person<'a> {
    name: &'a OsStr,
    user: OnceCell<Result<Option<User>, Errno>>,
    groups: OnceCell<Result<Groups, Errno>>,
    /// The ids of the groups that were asked about; `None` where there is no such group.
    ids: RefCell<BTreeMap<String, Option<u32>>>,
}

impl<'a> Person<'a> {
    /// The one of that name. Nobody is asked yet.
    #[must_use]
    pub fn named<N: AsRef<OsStr> + ?Sized>(name: &'a N) -> Self {
        let name = name.as_ref();
        Self { name, user: OnceCell::new(), groups: OnceCell::new(), ids: RefCell::default() }
    }

    /// The user's id, `None` where name services do not know it.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.user().ok().flatten().map(|user| user.uid)
    }

    /// Whether name services have answered, be it that there is no such user.
    ///
    /// # Errors
    ///
    /// They have not.
    pub fn is_told(&self) -> Result<(), String> {
        self.user().map(drop).map_err(|e| no_user_told(self.name, e))
    }

    /// The user's name as name services have it: the one asked for may be spelled otherwise, where they
    /// know no capitals, or let a domain go before it.
    #[must_use]
    pub fn canonical(&self) -> Option<&OsStr> {
        self.user().ok().flatten().map(|user| OsStr::from_bytes(user.name.as_bytes()))
    }

    /// Whether the user is a member of a group, be it the primary one or another. Nobody is one of a
    /// group that does not exist.
    ///
    /// The user's groups are asked for, not the group's members: a group may have a hundred thousand.
    ///
    /// # Errors
    ///
    /// Name services do not answer: it cannot be told.
    pub fn is_in(&self, group: &str) -> Result<bool, String> {
        let failed = |e: Errno| no_group_told(group, e);
        let Some(user) = self.user().map_err(failed)? else { return Ok(false) };
        let Some(id) = self.id_of(group).map_err(failed)? else { return Ok(false) };
        let groups = self.groups.get_or_init(|| groups_of(user));
        let Groups { ids, failure } = groups.as_ref().map_err(|e| failed(*e))?;
        match failure {
            _ if ids.contains(&id) => Ok(true),
            Some(e) => Err(failed(*e)),
            None => Ok(false),
        }
    }

    fn user(&self) -> Result<Option<&User>, Errno> {
        self.user.get_or_init(|| user(self.name)).as_ref().map(Option::as_ref).map_err(|e| *e)
    }

    /// The id of a group, asked for once: a directory may take seconds.
    fn id_of(&self, group: &str) -> Result<Option<u32>, Errno> {
        if let Some(id) = self.ids.borrow().get(group) {
            return Ok(*id);
        }
        let id = group_id(group.as_ref())?;
        self.ids.borrow_mut().insert(group.to_owned(), id);
        Ok(id)
    }
}

/// Whether there is a user of that name.
///
/// # Errors
///
/// Name services do not answer.
pub fn user_exists(name: impl AsRef<OsStr>) -> Result<bool, String> {
    let name = name.as_ref();
    user(name).map(|user| user.is_some()).map_err(|e| no_user_told(name, e))
}

/// Whether there is a group of that name.
///
/// # Errors
///
/// Name services do not answer.
pub fn group_exists(name: &str) -> Result<bool, String> {
    group_id(name.as_ref()).map(|id| id.is_some()).map_err(|e| no_group_told(name, e))
}

fn no_user_told(name: &OsStr, e: Errno) -> String {
    format!("name services cannot tell who {} is: {e}", name.to_string_lossy().escape_debug())
}

fn no_group_told(name: &str, e: Errno) -> String {
    format!("name services cannot tell the members of {}: {e}", name.escape_debug())
}

/// What passwd has of a user.
#[derive(Debug)]
struct User {
    name: CString,
    uid: u32,
    group: u32,
}

fn user(name: &OsStr) -> Result<Option<User>, Errno> {
    entry(name, libc::getpwnam_r, |entry: &libc::passwd| {
        // SAFETY: `entry` has just been filled by getpwnam_r, and its name is a terminated string in the
        // buffer, which outlives this call.
        let name = unsafe { CStr::from_ptr(entry.pw_name) }.to_owned();
        User { name, uid: entry.pw_uid, group: entry.pw_gid }
    })
}

fn group_id(name: &OsStr) -> Result<Option<u32>, Errno> {
    entry(name, libc::getgrnam_r, |entry: &libc::group| entry.gr_gid)
}

/// getpwnam_r(3) or getgrnam_r(3).
type Ask<E> = unsafe extern "C" fn(*const c_char, *mut E, *mut c_char, libc::size_t, *mut *mut E) -> c_int;

/// The first buffer for an entry. Few groups need more, and what is not filled costs nothing.
const ENTRY_FIRST: usize = 256 << 10;
/// How much larger the next one is. Few steps, because a directory may be asked anew for each.
const ENTRY_STEP: usize = 16;
/// The last one. A group of a million members fits; a service that always asks for more gets no more.
const ENTRY_MAX: usize = 64 << 20;

/// Asks for one entry, with buffers that grow until it fits. `None`: there is none.
fn entry<E, T>(name: &OsStr, ask: Ask<E>, take: impl Fn(&E) -> T) -> Result<Option<T>, Errno> {
    // Nobody has a name that holds a NUL.
    let Ok(name) = CString::new(name.as_bytes()) else { return Ok(None) };
    let mut size = ENTRY_FIRST;
    loop {
        let mut buffer: Vec<c_char> = Vec::new();
        buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let mut filled = MaybeUninit::<E>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is terminated, and `size` bytes of the buffer are ours. All of them outlive the call.
        let code =
            unsafe { ask(name.as_ptr(), filled.as_mut_ptr(), buffer.as_mut_ptr(), size, &raw mut found) };
        // SAFETY: where it is not null it points to `filled`, which the call has filled.
        if let Some(found) = unsafe { found.as_ref() } {
            return Ok(Some(take(found)));
        }
        match Errno::from_raw(code) {
            Errno::ERANGE if size < ENTRY_MAX => size *= ENTRY_STEP,
            _ if code == 0 => return Ok(None),
            // By the manual these, too, mean that there is no such entry. glibc says what the last service
            // said, and sss, ldap and winbind without their daemons say ENOENT.
            Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM => return Ok(None),
            errno => return Err(errno),
        }
    }
}

/// The groups that a user is a member of.
#[derive(Debug)]
struct Groups {
    ids: Vec<u32>,
    /// Why there may be more of them.
    failure: Option<Errno>,
}

/// The first list of groups. Most fit.
const GROUPS_FIRST: usize = 1024;

fn groups_of(user: &User) -> Result<Groups, Errno> {
    let mut ids = vec![0; GROUPS_FIRST];
    loop {
        let length = ids.len();
        let mut count = c_int::try_from(length).map_err(|_| Errno::ENOMEM)?;
        Errno::clear();
        // SAFETY: the name is terminated, and `count` elements of the list are ours. Both outlive the call.
        let done =
            unsafe { libc::getgrouplist(user.name.as_ptr(), user.group, ids.as_mut_ptr(), &raw mut count) };
        let errno = Errno::last();
        let count = usize::try_from(count).unwrap_or_default();
        if done >= 0 {
            ids.truncate(count);
            return Ok(Groups { ids, failure: Some(errno).filter(|errno| is_failure(*errno)) });
        }
        if count <= length {
            // The list was not too short: there was no memory.
            return Err(Errno::ENOMEM);
        }
        ids.resize(count, 0);
    }
}

/// Whether an errno that getgrouplist(3) left behind means that a service failed. The function itself
/// reports no service that fails: it returns the groups of the others. Services that do answer leave
/// numbers behind, too, so only those count that no success leaves.
fn is_failure(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EIO
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOMEM
            | Errno::EFAULT
            | Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::ETIMEDOUT
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::offload::{self, Offload};
    use nix::sys::resource::{Resource, setrlimit};

    #[test]
    fn silence_of_name_services_is_no_answer() {
        assert!(Person::named("root").is_told().is_ok());
        // Without a descriptor nothing can be asked. In a child, because that is the whole process's.
        let answer = Offload::default().run(|pipe| {
            let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
            let person = Person::named("root");
            let silent = person.is_told().is_err() && person.uid().is_none();
            offload::answer(pipe, &[u8::from(none && silent)]);
        });
        assert_eq!(answer, [1]);
    }

    #[test]
    fn groups_that_may_be_incomplete_are_no_proof_against_membership() {
        // The user and both groups are known already when the descriptors run out: only the list of the
        // user's groups fails then.
        let answer = Offload::default().run(|pipe| {
            let person = Person::named("root");
            let id = |group| matches!(person.id_of(group), Ok(Some(_)));
            let known = person.is_told().is_ok() && id("root") && id("daemon");
            let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
            let told = person.is_in("daemon").is_err() && person.is_in("root") == Ok(true);
            offload::answer(pipe, &[u8::from(known && none && told)]);
        });
        assert_eq!(answer, [1]);
    }

    #[test]
    fn a_name_that_nobody_can_have_is_not_known() {
        // In a child, because services that are asked here for the first time would answer in the other
        // tests, too.
        let answer = Offload::default().run(|pipe| {
            let unknown = [&b"no-such-name"[..], b"\xff\xfe", b"a\0b", b""].iter().all(|name| {
                let name = OsStr::from_bytes(name);
                user_exists(name) == Ok(false) && Person::named(name).uid().is_none()
            });
            offload::answer(pipe, &[u8::from(unknown && group_exists("no-such-group") == Ok(false))]);
        });
        assert_eq!(answer, [1]);
    }
}
