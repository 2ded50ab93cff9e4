//! Control groups: the session's scope, and how the helper leaves it.
//!
//! systemd keeps a login session in `session-ID.scope`. That is in the unified hierarchy or, with version 1, in
//! the named one (`name=systemd`). Hybrid machines have both.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{Pid, getpid};

use super::clock::{Moment, Nanos, SECOND, pause};
use super::proc::Proc;

/// The mount points of a hierarchy. systemd uses no others (file-hierarchy(7)).
const UNIFIED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const NAMED_HIERARCHY: &str = "/sys/fs/cgroup/systemd";

/// The group to which the helpers move, below the root of the hierarchy.
const OWN: &str = "idle_watchdog";

/// A hierarchy, and the control group of a process there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cgroup {
    unified: bool,
    path: String,
}

/// The control groups of a process in the hierarchies that systemd uses.
fn cgroups(text: &str) -> Vec<Cgroup> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let unified = controllers.is_empty();
            (unified || controllers == "name=systemd").then(|| Cgroup { unified, path: path.to_owned() })
        })
        .collect()
}

/// The first mount point of the unified hierarchy, from what statfs(2) says about each place.
fn mount_of(places: &[(&'static str, nix::Result<bool>)]) -> io::Result<&'static Path> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "its hierarchy is not mounted");
    for &(place, unified) in places {
        match unified {
            Ok(true) => return Ok(Path::new(place)),
            Ok(false) | Err(Errno::ENOENT) => {}
            Err(e) => error = at(place)(e.into()),
        }
    }
    Err(error)
}

/// Adds the path to an error.
fn at(path: &str) -> impl Fn(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{path}: {e}"))
}

impl Cgroup {
    /// The mount point of its hierarchy.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not mounted, and the errors of statfs(2), such as `PermissionDenied`.
    fn mount(&self) -> io::Result<&'static Path> {
        if !self.unified {
            return fs::metadata(NAMED_HIERARCHY)
                .map(|_| Path::new(NAMED_HIERARCHY))
                .map_err(at(NAMED_HIERARCHY));
        }
        mount_of(
            &UNIFIED
                .map(|mount| (mount, statfs(mount).map(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC))),
        )
    }

    /// The login session to which this scope belongs. Scopes below a user's own service manager do not count,
    /// because users choose their names.
    fn session(&self) -> Option<&str> {
        let (above, name) = self.path.rsplit_once('/')?;
        if above.split('/').any(|part| part.starts_with("user@") && part.ends_with(".service")) {
            return None;
        }
        name.strip_prefix("session-")?.strip_suffix(".scope")
    }
}

/// The control groups of a process in the hierarchies that systemd uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups(Vec<Cgroup>);

impl Cgroups {
    /// Reads them. There are none if the process is gone.
    #[must_use]
    pub fn of(proc: &Proc, pid: Pid) -> Self {
        proc.cgroup(pid).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Reads them from the text of `/proc/PID/cgroup` (cgroups(7)).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(cgroups(text))
    }

    /// Whether they are in the scope of a login session.
    #[must_use]
    pub fn in_scope(&self) -> bool {
        let scope = |part: &str| part.starts_with("session-") && part.ends_with(".scope");
        self.0.iter().any(|cgroup| cgroup.path.split('/').any(scope))
    }

    /// Whether the user may stop the processes in these groups. Users may do so in the scope of a login
    /// session, through logind, and below their own service manager.
    #[must_use]
    pub fn are_a_users(&self) -> bool {
        self.in_scope() || self.0.iter().any(|cgroup| cgroup.path.split('/').any(|part| part == "user.slice"))
    }

    /// The login session to which they belong. It comes from the name of the scope, which only root can choose.
    /// (Users can set `XDG_SESSION_ID` through pam_env's `user_readenv`.)
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.0.iter().find_map(Cgroup::session)
    }

    /// The scope to which they belong, if it is the scope of a login session.
    #[must_use]
    pub fn scope(&self) -> Option<SessionScope> {
        self.0.iter().find(|cgroup| cgroup.session().is_some()).cloned().map(SessionScope)
    }
}

/// The scope of one login session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionScope(Cgroup);

/// How long the kernel may take to freeze a scope. It takes as long as the slowest system call there.
const FREEZING: Nanos = SECOND / 5;

/// A frozen scope. Dropping this value thaws it.
pub struct Frozen {
    directory: PathBuf,
    /// The whole scope is frozen. If not, a process there is still in a system call.
    pub whole: bool,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.directory.join("cgroup.freeze"), "0");
    }
}

impl SessionScope {
    /// Freezes the scope, so that no process starts there. SIGKILL also ends frozen processes. `None` with
    /// version 1, which cannot freeze.
    #[must_use]
    pub fn freeze(&self) -> Option<Frozen> {
        let Self(cgroup) = self;
        if !cgroup.unified {
            return None;
        }
        let directory = cgroup.mount().ok()?.join(cgroup.path.trim_start_matches('/'));
        fs::write(directory.join("cgroup.freeze"), "1").ok()?;
        let mut frozen = Frozen { directory, whole: false };
        let due = Moment::now().mono.saturating_add(FREEZING);
        while Moment::now().mono < due {
            let events = fs::read_to_string(frozen.directory.join("cgroup.events")).unwrap_or_default();
            frozen.whole = events.lines().any(|line| line == "frozen 1");
            if frozen.whole {
                break;
            }
            pause(SECOND / 1000);
        }
        Some(frozen)
    }

    /// Whether a process is in the scope or below it.
    #[must_use]
    pub fn holds(&self, cgroups: &Cgroups) -> bool {
        let Self(scope) = self;
        cgroups.0.iter().filter(|cgroup| cgroup.unified == scope.unified).any(|cgroup| {
            cgroup.path.strip_prefix(&scope.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Moves this process from the groups `from` to the watchdogs' own group. If somebody signals all processes of
/// a session, this process then gets no signal.
///
/// # Errors
///
/// This process is still in the old group, or that is unknown.
pub fn leave(proc: &Proc, from: &Cgroups) -> io::Result<()> {
    let own = format!("/{OWN}");
    let inside = |cgroups: &Cgroups| cgroups.0.iter().any(|cgroup| cgroup.path != "/" && cgroup.path != own);
    if !inside(from) {
        return Ok(());
    }
    for cgroup in from.0.iter().filter(|cgroup| cgroup.path != "/" && cgroup.path != own) {
        let directory = cgroup.mount()?.join(OWN);
        enter(&directory).map_err(at(&directory.to_string_lossy()))?;
    }
    if inside(&Cgroups::of(proc, getpid())) {
        return Err(io::Error::other("still in the session's control group"));
    }
    Ok(())
}

/// Moves this process to a group. Creates the group if necessary.
///
/// # Errors
///
/// The group cannot be created or entered.
pub fn enter(directory: &Path) -> io::Result<()> {
    // The last process that leaves removes the group. That may happen between two steps of this function.
    const ENTER_TRIES: usize = 100;
    let removed =
        |e: &io::Error| e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::ENODEV as i32);
    let mut tried = try_to_enter(directory);
    for _ in 1..ENTER_TRIES {
        if !tried.as_ref().is_err_and(removed) {
            break;
        }
        tried = try_to_enter(directory);
    }
    tried
}

fn try_to_enter(directory: &Path) -> io::Result<()> {
    // The mode is set explicitly, because the person may have chosen the umask.
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // If the cpu controller is on, as with systemd, a niceness counts only inside the group. This file sets the
    // priority between groups. Without the controller it does not exist.
    let _ = fs::OpenOptions::new()
        .write(true)
        .open(directory.join("cpu.weight"))
        .and_then(|mut weight| weight.write_all(b"10000"));
    join(directory)
}

/// Moves this process to an existing group.
fn join(directory: &Path) -> io::Result<()> {
    // "0" means the process that writes.
    fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?.write_all(b"0")
}

/// Removes the watchdogs' own groups if this process, which is about to exit, is alone in them. If two
/// processes leave at the same time, the group may remain. An empty group does no harm, and the next process
/// removes it.
pub fn tidy_up(proc: &Proc) {
    let own = format!("/{OWN}");
    for cgroup in Cgroups::of(proc, getpid()).0.iter().filter(|cgroup| cgroup.path == own) {
        if let Ok(mount) = cgroup.mount() {
            remove_if_alone(mount, &mount.join(OWN));
        }
    }
}

/// Moves to the group above and removes the group that this process was in, unless another process is there.
pub fn remove_if_alone(above: &Path, directory: &Path) {
    let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let me = getpid().to_string();
    if inside.lines().eq([me.as_str()]) && join(above).is_ok() {
        // This fails if another process has entered the group meanwhile.
        let _ = fs::remove_dir(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scope_that_a_user_named_is_no_sessions() {
        let session = |path: &str| Cgroups(cgroups(&format!("0::{path}\n"))).session().map(str::to_owned);
        let slice = "/user.slice/user-1000.slice";
        assert_eq!(session(&format!("{slice}/session-c1.scope")).as_deref(), Some("c1"));
        assert_eq!(session(&format!("{slice}/user@1000.service/app.slice/session-c1.scope")), None);
        assert_eq!(session("/session-c1.service"), None);
    }

    #[test]
    fn reads_the_two_hierarchies_systemd_uses() {
        let text = "12:pids:/user.slice/x\n1:name=systemd:/user.slice/a:b/session-3.scope\n0::/init.scope\n";
        let found = cgroups(text);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|p| !p.unified && p.session() == Some("3")));
        assert!(found.iter().any(|p| p.unified && p.path == "/init.scope"));
    }

    #[test]
    fn a_hierarchy_that_may_not_be_seen_is_not_called_unmounted() {
        let mount = |first, second| mount_of(&[("/a", first), ("/b", second)]);
        assert_eq!(mount(Ok(true), Ok(false)).unwrap(), Path::new("/a"));
        assert_eq!(mount(Ok(false), Ok(true)).unwrap(), Path::new("/b"));
        assert_eq!(mount(Err(Errno::EACCES), Ok(true)).unwrap(), Path::new("/b"));
        let none = mount(Ok(false), Err(Errno::ENOENT)).unwrap_err();
        assert_eq!(
            (none.kind(), none.to_string().as_str()),
            (io::ErrorKind::NotFound, "its hierarchy is not mounted")
        );
        let denied = mount(Err(Errno::EACCES), Ok(false)).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        assert!(denied.to_string().starts_with("/a: Permission denied"), "{denied}");
    }

    #[test]
    fn a_session_is_known_by_its_scope() {
        let session = |path: &str| Cgroups::parse(&format!("0::{path}")).session().map(str::to_owned);
        assert_eq!(session("/user.slice/user-0.slice/session-c1.scope").as_deref(), Some("c1"));
        assert_eq!(session("/user.slice/session-1.scope/below"), None);
        assert_eq!(session("/user.slice/session-1.service"), None);
        assert_eq!(session("/"), None);
    }

    #[test]
    fn a_users_own_groups_are_told_from_the_systems() {
        let users = |path: &str| Cgroups::parse(&format!("0::{path}")).are_a_users();
        assert!(users("/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope"));
        assert!(users("/t.slice/session-t1.scope"));
        assert!(!users("/system.slice/ssh.service") && !users("/"));
    }

    #[test]
    fn a_scope_holds_what_is_in_it_and_below() {
        let at = |path: &str| Cgroups::parse(&format!("1:name=systemd:/x\n0::{path}"));
        let scope = at("/u/session-1.scope").scope().unwrap();
        assert!(scope.holds(&at("/u/session-1.scope")));
        assert!(scope.holds(&at("/u/session-1.scope/below")));
        assert!(!scope.holds(&at("/u/session-1.scopes")));
        assert!(!scope.holds(&at("/u")));
        assert!(!scope.holds(&Cgroups::parse("1:name=systemd:/u/session-1.scope")));
        assert!(!scope.holds(&Cgroups::default()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*\n?.*") {
            let _ = Cgroups::parse(&text).session();
        }
    }
}
