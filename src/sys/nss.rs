//! What name services (NSS) know about users and groups.
//!
//! These functions call the C library directly: nix treats every errno as a failure, and its buffer ends at 1 MiB.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;

/// A user, as name services know them. They are asked only when needed, and only once.
#[derive(Debug)]
pub struct Person<'a> {
    name: &'a OsStr,
    user: OnceCell<Result<Option<User>, Errno>>,
    groups: OnceCell<Result<Groups, Errno>>,
    /// The ids of the groups that were looked up. `None` if a group does not exist.
    ids: RefCell<BTreeMap<String, Option<u32>>>,
}

impl<'a> Person<'a> {
    /// Names a user. Name services are not asked yet.
    #[must_use]
    pub fn named<N: AsRef<OsStr> + ?Sized>(name: &'a N) -> Self {
        let name = name.as_ref();
        Self { name, user: OnceCell::new(), groups: OnceCell::new(), ids: RefCell::default() }
    }

    /// The user's id. `None` if name services do not know the user.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.user().ok().flatten().map(|user| user.uid)
    }

    /// Checks that name services can be asked about the user. It is not an error if the user does not exist.
    ///
    /// # Errors
    ///
    /// The look-up failed.
    pub fn is_told(&self) -> Result<(), String> {
        self.user().map(drop).map_err(|e| user_failed(self.name, e))
    }

    /// The user's name as name services have it. The login may use another spelling, because some name services
    /// ignore the case or accept a domain in front of the name.
    #[must_use]
    pub fn canonical(&self) -> Option<&OsStr> {
        self.user().ok().flatten().map(|user| OsStr::from_bytes(user.name.as_bytes()))
    }

    /// Whether the user is a member of a group, as primary or supplementary group. Nobody is a member of a group that
    /// does not exist.
    ///
    /// This looks up the user's groups, not the group's members, because a group may have a hundred thousand members.
    ///
    /// # Errors
    ///
    /// The look-up failed, so the membership is unknown.
    pub fn is_in(&self, group: &str) -> Result<bool, String> {
        let failed = |e: Errno| group_failed(group, e);
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

    /// The id of a group. It is looked up once, because a name service may take seconds.
    fn id_of(&self, group: &str) -> Result<Option<u32>, Errno> {
        if let Some(id) = self.ids.borrow().get(group) {
            return Ok(*id);
        }
        let id = group_id(group.as_ref())?;
        self.ids.borrow_mut().insert(group.to_owned(), id);
        Ok(id)
    }
}

/// Whether there is a user with this name.
///
/// # Errors
///
/// The look-up failed.
pub fn user_exists(name: impl AsRef<OsStr>) -> Result<bool, String> {
    let name = name.as_ref();
    user(name).map(|user| user.is_some()).map_err(|e| user_failed(name, e))
}

/// Whether there is a group with this name.
///
/// # Errors
///
/// The look-up failed.
pub fn group_exists(name: &str) -> Result<bool, String> {
    group_id(name.as_ref()).map(|id| id.is_some()).map_err(|e| group_failed(name, e))
}

fn user_failed(name: &OsStr, e: Errno) -> String {
    format!("name services cannot look up the user {}: {e}", name.to_string_lossy().escape_debug())
}

fn group_failed(name: &str, e: Errno) -> String {
    format!("name services cannot look up the group {}: {e}", name.escape_debug())
}

/// A user's entry in the passwd database.
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

/// The type of getpwnam_r(3) and getgrnam_r(3).
type Ask<E> = unsafe extern "C" fn(*const c_char, *mut E, *mut c_char, libc::size_t, *mut *mut E) -> c_int;

/// The size of the first buffer. Few groups need more, and the part that is not filled takes no memory.
const ENTRY_FIRST: usize = 256 << 10;
/// The factor between one buffer and the next. There are few steps, because each step may ask the name service
/// again.
const ENTRY_STEP: usize = 16;
/// The size of the last buffer. A group of a million members fits. The limit stops a service that always asks for
/// more.
const ENTRY_MAX: usize = 64 << 20;

/// Looks up one entry, with larger and larger buffers until it fits. `None` if there is no such entry.
fn entry<E, T>(name: &OsStr, ask: Ask<E>, take: impl Fn(&E) -> T) -> Result<Option<T>, Errno> {
    // No name contains a NUL.
    let Ok(name) = CString::new(name.as_bytes()) else { return Ok(None) };
    let mut size = ENTRY_FIRST;
    loop {
        let mut buffer: Vec<c_char> = Vec::new();
        buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let mut filled = MaybeUninit::<E>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is terminated, and the buffer has `size` bytes. All pointers are valid during the call.
        let code =
            unsafe { ask(name.as_ptr(), filled.as_mut_ptr(), buffer.as_mut_ptr(), size, &raw mut found) };
        // SAFETY: if the pointer is not null, it points to `filled`, and the call has filled that.
        if let Some(found) = unsafe { found.as_ref() } {
            return Ok(Some(take(found)));
        }
        match Errno::from_raw(code) {
            Errno::ERANGE if size < ENTRY_MAX => size *= ENTRY_STEP,
            _ if code == 0 => return Ok(None),
            // According to getpwnam(3) these errors also mean that there is no such entry. glibc returns the error
            // of the last service, and sss, ldap and winbind return ENOENT if their daemons are not running.
            Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM => return Ok(None),
            errno => return Err(errno),
        }
    }
}

/// A user's groups.
#[derive(Debug)]
struct Groups {
    ids: Vec<u32>,
    /// Why the list may be incomplete, if it may be.
    failure: Option<Errno>,
}

/// The size of the first list of groups. Most users have fewer.
const GROUPS_FIRST: usize = 1024;

fn groups_of(user: &User) -> Result<Groups, Errno> {
    let mut ids = vec![0; GROUPS_FIRST];
    loop {
        let length = ids.len();
        let mut count = c_int::try_from(length).map_err(|_| Errno::ENOMEM)?;
        Errno::clear();
        // SAFETY: the name is terminated, and the list has `count` elements. Both are valid during the call.
        let done =
            unsafe { libc::getgrouplist(user.name.as_ptr(), user.group, ids.as_mut_ptr(), &raw mut count) };
        let errno = Errno::last();
        let count = usize::try_from(count).unwrap_or_default();
        if done >= 0 {
            ids.truncate(count);
            return Ok(Groups { ids, failure: if is_failure(errno) { Some(errno) } else { None } });
        }
        if count <= length {
            // The list was long enough, so the call failed for lack of memory.
            return Err(Errno::ENOMEM);
        }
        ids.resize(count, 0);
    }
}

/// Whether this errno, after getgrouplist(3), means that a name service failed. The function itself does not
/// report such a failure: it returns the groups of the other services. A successful service may set errno, too.
/// So only values that a success never sets count as a failure.
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
    fn a_failed_look_up_is_not_an_unknown_user() {
        assert!(Person::named("root").is_told().is_ok());
        // Without descriptors every look-up fails. This runs in a child, because the limit is for a whole process.
        let answer = Offload::default().run(|pipe| {
            let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
            let person = Person::named("root");
            let silent = person.is_told().is_err() && person.uid().is_none();
            offload::answer(pipe, &[u8::from(none && silent)]);
        });
        assert_eq!(answer, [1]);
    }

    #[test]
    fn an_incomplete_list_of_groups_does_not_rule_out_a_membership() {
        // The user and both groups are looked up before the descriptors run out. So only the look-up of the
        // user's groups fails.
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
    fn an_impossible_name_is_unknown() {
        // This runs in a child: otherwise name services that are loaded here would stay loaded in the other tests.
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
