//! The sessions that this process has opened and not closed yet.
//!
//! A leader is a process that serves one session. If a process opens a second session while the first is open,
//! it serves both. If it were ended because of one session, the other one would end, too. So it is not a leader:
//! the watchdog of the first session is told to leave, and the second session cannot be guarded.
//!
//! The list outlives the transactions, because libpam never unloads this module. A forked child has a copy of
//! the list but is another process, so each entry names its opener.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use nix::unistd::{Pid, getpid};

use crate::sys::proc::ProcId;

/// One session.
struct Open {
    ticket: u64,
    opener: Pid,
    service: OsString,
    user: OsString,
    /// The helper that guards it. There is none while the helper is being started, or if there are other
    /// sessions.
    helper: Option<ProcId>,
    /// The process has or had another session open at the same time.
    shared: bool,
    /// Its transaction has ended without closing it, so the session goes on.
    detached: bool,
}

static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// Locks the list. `None` if that fails: a fork may have lost the thread that had the lock.
fn list() -> Option<MutexGuard<'static, Vec<Open>>> {
    // Each lock takes microseconds.
    const LOCK_TRIES: usize = 1000;
    for _ in 0..LOCK_TRIES {
        match OPEN.try_lock() {
            Ok(list) => return Some(list),
            Err(TryLockError::Poisoned(list)) => return Some(list.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

/// The start of a session.
pub struct Begun {
    /// The name of the session in this list.
    pub ticket: u64,
    /// This process has other sessions open.
    pub shared: bool,
    /// The helpers that guarded those sessions until now.
    pub helpers: Vec<ProcId>,
}

/// Notes that a session begins. `lives` tells whether a helper still runs. If a helper has left, its session
/// has closed: a forked child of ours told the helper.
pub fn begin(service: &OsStr, user: &OsStr, lives: impl Fn(ProcId) -> bool) -> Option<Begun> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
    let opener = getpid();
    let mut list = list()?;
    // If a session goes on without a transaction, only its helper knows about it. After the helper has left,
    // the session may have closed long ago, or may never have opened.
    let unknown = |open: &Open| open.detached && open.helper.is_none();
    list.retain(|open| open.opener == opener && open.helper.is_none_or(&lives) && !unknown(open));
    for other in list.iter_mut() {
        other.shared = true;
    }
    let helpers: Vec<ProcId> = list.iter_mut().filter_map(|other| other.helper.take()).collect();
    let shared = !list.is_empty();
    let (service, user) = (service.to_owned(), user.to_owned());
    list.push(Open { ticket, opener, service, user, helper: None, shared, detached: false });
    Some(Begun { ticket, shared, helpers })
}

/// Notes the helper of a session. Returns `false` if another thread has begun another session meanwhile.
pub fn guarded_by(ticket: u64, helper: ProcId) -> bool {
    let Some(mut list) = list() else { return false };
    let open = list.iter_mut().find(|open| open.ticket == ticket && !open.shared);
    open.map(|open| open.helper = Some(helper)).is_some()
}

/// Notes that a session has closed or did not open. Returns its helper.
pub fn end(ticket: u64) -> Option<ProcId> {
    let mut list = list()?;
    let at = list.iter().position(|open| open.ticket == ticket)?;
    list.swap_remove(at).helper
}

/// Notes that a session goes on although its transaction has ended.
pub fn detach(ticket: u64) {
    let Some(mut list) = list() else { return };
    for open in list.iter_mut().filter(|open| open.ticket == ticket) {
        open.detached = true;
    }
}

/// The session of this service and user that is open without a transaction of its own.
pub fn detached(service: &OsStr, user: &OsStr) -> Option<u64> {
    let opener = getpid();
    let list = list()?;
    let same =
        |open: &&Open| open.detached && open.opener == opener && open.service == service && open.user == user;
    list.iter().find(same).map(|open| open.ticket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::Started;

    fn helper(pid: i32) -> ProcId {
        ProcId { pid: Pid::from_raw(pid), started: Started(1) }
    }

    fn start(user: &str) -> Begun {
        begin("x".as_ref(), user.as_ref(), |helper| helper != self::helper(13)).unwrap()
    }

    /// There is one test, because the process has only one list.
    #[test]
    fn of_several_sessions_none_is_guarded() {
        let alice = start("alice");
        assert!(!alice.shared && alice.helpers.is_empty());
        // Another thread begins a session before the first helper is there.
        let bob = start("bob");
        assert!(bob.shared && bob.helpers.is_empty());
        assert!(!guarded_by(alice.ticket, helper(1)) && !guarded_by(bob.ticket, helper(2)));
        assert_eq!((end(alice.ticket), end(bob.ticket)), (None, None));

        let alice = start("alice");
        assert!(guarded_by(alice.ticket, helper(1)));
        let bob = start("bob");
        assert!(bob.shared);
        assert_eq!(bob.helpers, [helper(1)], "who is to leave");
        // Unguarded sessions count, too.
        assert_eq!(end(alice.ticket), None);
        let carol = start("carol");
        assert!(carol.shared && carol.helpers.is_empty());
        assert_eq!((end(bob.ticket), end(carol.ticket)), (None, None));

        // A session whose helper has left was closed by a child.
        let alice = start("alice");
        assert!(guarded_by(alice.ticket, helper(13)));
        let bob = start("bob");
        assert!(!bob.shared && guarded_by(bob.ticket, helper(2)));
        assert_eq!((end(alice.ticket), end(bob.ticket)), (None, Some(helper(2))));

        // Another transaction closes only a session that is open without a transaction.
        let alice = start("alice");
        let of = |user: &str| detached("x".as_ref(), user.as_ref());
        assert_eq!(of("alice"), None);
        detach(alice.ticket);
        assert_eq!((of("alice"), of("bob")), (Some(alice.ticket), None));
        assert_eq!(end(alice.ticket), None);
        assert_eq!(of("alice"), None);
    }
}
