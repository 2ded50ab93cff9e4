//! Control groups: those of a process, and the scope of a session. `leave` lets the helper leave a session's groups,
//! `freeze` freezes a scope.
//!
//! systemd keeps a login session in `session-ID.scope`. That is in the unified hierarchy or, with version 1, in
//! the named one (`name=systemd`). Hybrid machines have both. With version 1 each controller, such as `memory`, has
//! a hierarchy of its own, and the session may have a group there, too.
#![forbid(unsafe_code)]

mod freeze;
mod freezer;
mod leave;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use super::proc::Proc;

pub use freeze::Frozen;
pub use leave::{enter, leave, remove_if_alone, tidy_up};

/// The hierarchies are mounted here or, with version 1, below. systemd uses no other place (file-hierarchy(7)).
const MOUNTS: &str = "/sys/fs/cgroup";
/// The mount points of the unified hierarchy. Hybrid machines have the second one.
const UNIFIED: [&str; 2] = [MOUNTS, "/sys/fs/cgroup/unified"];

/// The control group of a process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cgroup {
    /// The hierarchy, as `/proc/PID/cgroup` names it: by its controllers (`cpu,cpuacct`) or its name
    /// (`name=systemd`). It is empty for the unified one.
    hierarchy: String,
    path: String,
}

/// The control groups in all hierarchies, from the text of `/proc/PID/cgroup` (cgroups(7)).
fn parse_all(text: &str) -> impl Iterator<Item = Cgroup> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, hierarchy, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Cgroup { hierarchy: hierarchy.to_owned(), path: path.to_owned() })
    })
}

/// The control groups of a process in all hierarchies. There are none if the process is gone.
fn all_of(proc: &Proc, pid: Pid) -> Vec<Cgroup> {
    parse_all(&proc.cgroup(pid).unwrap_or_default()).collect()
}

/// The first mount point of the unified hierarchy, from what statfs(2) says about each place.
fn mount_of(places: &[(&'static str, nix::Result<bool>)]) -> io::Result<PathBuf> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "its hierarchy is not mounted");
    for &(place, unified) in places {
        match unified {
            Ok(true) => return Ok(place.into()),
            Ok(false) | Err(Errno::ENOENT) => {}
            Err(e) => error = at(Path::new(place))(e.into()),
        }
    }
    Err(error)
}

/// The place where systemd mounts a hierarchy of version 1.
fn place_of(hierarchy: &str) -> PathBuf {
    Path::new(MOUNTS).join(hierarchy.strip_prefix("name=").unwrap_or(hierarchy))
}

/// Adds the path to an error.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// Writes into a file of a control group. The file must exist.
fn put(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

impl Cgroup {
    fn is_unified(&self) -> bool {
        self.hierarchy.is_empty()
    }

    /// The mount point of its hierarchy.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not mounted, and the errors of statfs(2), such as `PermissionDenied`.
    fn mount(&self) -> io::Result<PathBuf> {
        if !self.is_unified() {
            let place = place_of(&self.hierarchy);
            return fs::metadata(&place).map_err(at(&place)).map(|_| place);
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

    /// Whether it is in the scope of a login session.
    fn in_scope(&self) -> bool {
        self.path.split('/').any(|part| part.starts_with("session-") && part.ends_with(".scope"))
    }

    /// Whether the user may stop the processes in this group. Users may do so in the scope of a login session,
    /// through logind, and below their own service manager.
    fn is_a_users(&self) -> bool {
        self.in_scope() || self.path.split('/').any(|part| part == "user.slice")
    }
}

/// The control groups of a process in the hierarchies that systemd uses for all units, with or without
/// controllers.
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
        let systemds = |cgroup: &Cgroup| cgroup.is_unified() || cgroup.hierarchy == "name=systemd";
        Self(parse_all(text).filter(systemds).collect())
    }

    /// Whether they are in the scope of a login session.
    #[must_use]
    pub fn in_scope(&self) -> bool {
        self.0.iter().any(Cgroup::in_scope)
    }

    /// The login session to which they belong. It comes from the name of the scope, which only root can choose.
    /// (Users can set `XDG_SESSION_ID` through pam_env's `user_readenv`.)
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.0.iter().find_map(Cgroup::session)
    }

    /// The scope to which they belong, if it is the scope of a login session. On a hybrid machine this is the
    /// scope in the unified hierarchy, because the kernel can freeze that one.
    #[must_use]
    pub fn scope(&self) -> Option<SessionScope> {
        let scopes = self.0.iter().filter(|cgroup| cgroup.session().is_some());
        scopes.max_by_key(|cgroup| cgroup.is_unified()).cloned().map(SessionScope)
    }
}

/// The scope of one login session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionScope(Cgroup);

impl SessionScope {
    /// Whether a process is in the scope or below it.
    #[must_use]
    pub fn holds(&self, cgroups: &Cgroups) -> bool {
        let Self(scope) = self;
        cgroups.0.iter().filter(|cgroup| cgroup.hierarchy == scope.hierarchy).any(|cgroup| {
            cgroup.path.strip_prefix(&scope.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The scope's directory.
    ///
    /// # Errors
    ///
    /// Those of [`Cgroup::mount`].
    fn directory(&self) -> io::Result<PathBuf> {
        let Self(scope) = self;
        Ok(scope.mount()?.join(scope.path.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scope_that_a_user_named_is_no_sessions() {
        let session = |path: &str| Cgroups::parse(&format!("0::{path}\n")).session().map(str::to_owned);
        let slice = "/user.slice/user-1000.slice";
        assert_eq!(session(&format!("{slice}/session-c1.scope")).as_deref(), Some("c1"));
        assert_eq!(session(&format!("{slice}/user@1000.service/app.slice/session-c1.scope")), None);
        assert_eq!(session("/session-c1.service"), None);
    }

    #[test]
    fn reads_the_two_hierarchies_systemd_uses() {
        let text = "12:pids:/user.slice/x\n1:name=systemd:/user.slice/a:b/session-3.scope\n0::/init.scope\n";
        let Cgroups(found) = Cgroups::parse(text);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|p| !p.is_unified() && p.session() == Some("3")));
        assert!(found.iter().any(|p| p.is_unified() && p.path == "/init.scope"));
        assert_eq!(parse_all(text).count(), 3);
    }

    #[test]
    fn a_hierarchy_of_version_1_is_mounted_below_its_name() {
        assert_eq!(place_of("name=systemd"), Path::new("/sys/fs/cgroup/systemd"));
        assert_eq!(place_of("cpu,cpuacct"), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        let nowhere = Cgroup { hierarchy: "no-controller".into(), path: "/".into() };
        let error = nowhere.mount().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("/sys/fs/cgroup/no-controller: "), "{error}");
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
        let users = |path: &str| Cgroup { hierarchy: "pids".into(), path: path.into() }.is_a_users();
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

    #[test]
    fn on_a_hybrid_machine_the_scope_is_the_one_that_can_freeze() {
        for text in [
            "1:name=systemd:/u/session-1.scope\n0::/u/session-1.scope",
            "0::/u/session-1.scope\n1:name=systemd:/u/session-1.scope",
        ] {
            let SessionScope(scope) = Cgroups::parse(text).scope().unwrap();
            assert!(scope.is_unified(), "{text}");
        }
        let SessionScope(scope) = Cgroups::parse("1:name=systemd:/u/session-1.scope\n0::/").scope().unwrap();
        assert_eq!(scope.hierarchy, "name=systemd");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*\n?.*") {
            let _ = Cgroups::parse(&text).session();
        }
    }
}
