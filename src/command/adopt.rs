//! `idle-watchdog adopt`: starts a helper for sessions that are open and have none.

use std::ffi::{CString, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use crate::command::decisions::Decisions;
use crate::command::machine::Machine;
use crate::command::output::{BROKEN, CLEAN, FINDINGS, complain};
use crate::command::sessions::unwatched::{self, Guard, Unwatched};
use crate::command::sessions::{self, Session, streams};
use crate::protocol::client;
use crate::protocol::start::{Assignment, HELPER};
use crate::record::shown;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::socket::Connection;
use crate::sys::spawn;

/// How long to wait until a helper is armed. Nobody waits for a login here, so this is longer than in the module.
const ARMING_BUDGET: Duration = Duration::from_secs(10);

/// Only root can create files here. While one process has the lock, no other one arms a helper.
const LOCK: &str = "/run/idle-watchdog-adopt.lock";

/// The sessions to adopt.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// The session with this name.
    One(String),
}

/// The result of an adoption.
#[derive(Debug, PartialEq, Eq)]
pub struct Adopted {
    /// What was done: one line for each session.
    pub text: String,
    /// The problems: one line for each.
    pub problems: Vec<String>,
    pub code: u8,
}

/// Adopts sessions of this machine. Returns the output and the exit status.
#[must_use]
pub fn run(wanted: &Wanted) -> (String, u8) {
    let Adopted { text, problems, code } = under_lock(Path::new(LOCK), wanted)
        .unwrap_or_else(|why| Adopted::nothing(vec![format!("idle-watchdog: {why}")]));
    for problem in problems {
        complain(problem);
    }
    (text, code)
}

/// The sessions are looked for only after we have the lock. So a helper that somebody else has just started is
/// seen.
fn under_lock(lock: &Path, wanted: &Wanted) -> Result<Adopted, String> {
    if !geteuid().is_root() {
        return Err("only root can adopt sessions".to_owned());
    }
    let _lock = locked(lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let machine = Machine::here();
    let all = sessions::all(&machine);
    let chosen: Vec<&Session> = match wanted {
        Wanted::All => all.iter().filter(|session| session.helper.is_none()).collect(),
        Wanted::One(name) => vec![sessions::named(&all, name)?],
    };
    Ok(adopt(&chosen, &machine))
}

/// Takes the lock, and waits if another process has it.
fn locked(path: &Path) -> io::Result<Flock<std::fs::File>> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// Adopts these sessions. If the policy or any PAM line of ours is broken, no session is adopted: the mistake may
/// hide a rule that exempts a session.
#[must_use]
pub fn adopt(sessions: &[&Session], machine: &Machine) -> Adopted {
    let mut decisions = Decisions::new(machine);
    if let Err(faults) = decisions.read_installed() {
        let none = "idle-watchdog: no session was adopted".to_owned();
        return Adopted::nothing(faults.iter().map(ToString::to_string).chain([none]).collect());
    }
    let mut done = Adopted { text: String::new(), problems: Vec::new(), code: CLEAN };
    for session in sessions {
        done.take(session, &mut decisions);
    }
    done
}

impl Adopted {
    /// Nothing was done, because of these mistakes.
    fn nothing(problems: Vec<String>) -> Self {
        Self { text: String::new(), problems, code: BROKEN }
    }

    fn take(&mut self, session: &Session, decisions: &mut Decisions<'_>) {
        let (user, service) = (session.login.user_text(), session.login.service_text());
        let who = format!("{} of {} by {}", session.name, shown(&user), shown(&service));
        let Some(process) = session.process.filter(|_| session.helper.is_none()) else {
            self.text += &format!("{who}: is watched already\n");
            return;
        };
        match unwatched::why(decisions, session) {
            Ok(Unwatched::Due(guard)) => match arm(session, &process, &guard) {
                Ok(()) => self.text += &format!("{who}: adopted, {}\n", guard.reason),
                Err(_) if Proc::default().find(process.id).is_none() => {
                    self.text += &format!("{who}: has ended\n");
                }
                Err(why) => self.failed(&who, &why),
            },
            Ok(Unwatched::Unclear(why)) => self.failed(&who, &why),
            Ok(left_alone) => self.text += &format!("{who}: not adopted, {left_alone}\n"),
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                self.failed(&who, &faults.join("; "));
            }
        }
    }

    fn failed(&mut self, who: &str, why: &str) {
        self.problems.push(format!("{who}: cannot be adopted: {why}"));
        self.code = FINDINGS;
    }
}

/// Starts the helper of a session, and waits until it is armed.
fn arm(session: &Session, process: &Process, guard: &Guard) -> Result<(), String> {
    let leader = PidFd::of(&Proc::default(), process.id).ok_or("its process has ended")?;
    let assignment = Assignment {
        login: session.login.clone(),
        leader: session.leader,
        connection: client_of(session, &leader),
        adopted: Some(guard.reason.to_owned()),
        line: guard.line.clone(),
        settings: guard.settings.clone(),
    };
    let path = CString::new(HELPER).map_err(|e| e.to_string())?;
    spawn::start(&path, &assignment.to_args(), &leader, ARMING_BUDGET)
        .map(drop)
        .map_err(|e| format!("{HELPER} {e}"))
}

/// The client's connection, from the leader's sockets.
fn client_of(session: &Session, leader: &PidFd) -> Option<Connection> {
    let rhost: &OsString = session.login.rhost.as_ref()?;
    let streams = streams(&Proc::default(), session.leader, leader);
    client::of_client(streams.into_iter(), rhost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;
    use crate::login::Login;
    use crate::sys::logind::Kind;
    use crate::sys::once_closed::once_closed;

    /// A session of this service whose leader is this process. Its user should be root, because another name may
    /// load name services, which stay loaded in the other tests.
    fn session(service: &str, user: &str) -> Session {
        let leader = nix::unistd::getpid();
        Session {
            name: "12".to_owned(),
            login: Login { service: service.into(), user: Some(user.into()), ..Login::default() },
            leader,
            process: Proc::default().process(leader),
            terminals: vec![],
            kind: Kind::default(),
            helper: None,
        }
    }

    fn adopted(line: &str, session: &Session) -> Adopted {
        adopt(&[session], &Tree::with(line).machine())
    }

    #[test]
    fn sessions_that_nobody_should_watch_are_left_alone_and_named() {
        let said = |line: &str, session: &Session| {
            let Adopted { text, problems, code } = adopted(line, session);
            assert_eq!((problems, code), (vec![], CLEAN));
            text
        };
        let sshd = session("sshd", "root");
        let off = "session required pam_idle_watchdog.so timeout=off";
        assert_eq!(said(off, &sshd), "12 of root by sshd: not adopted, exempt by its PAM line\n");
        let why = "the session stack of sshd has no pam_idle_watchdog.so line";
        assert_eq!(said("", &sshd), format!("12 of root by sshd: not adopted, {why}\n"));
        let kind = Some("wayland".to_owned());
        let desktop = Session { kind: Kind { kind, ..Kind::default() }, ..session("gdm-password", "alice") };
        let never = "12 of alice by gdm-password: not adopted, never watched: session type wayland\n";
        assert_eq!(said(off, &desktop), never);
        let on = "session required pam_idle_watchdog.so timeout=15m";
        let without = "12 of root by sshd: not adopted, its process has loaded no PAM module\n";
        assert_eq!(said(on, &sshd), without);
        let gone = Session { process: None, ..session("sshd", "root") };
        assert_eq!(said(off, &gone), "12 of root by sshd: is watched already\n");
    }

    #[test]
    fn nothing_is_guessed_and_a_broken_policy_adopts_nobody() {
        let jump = "session [success=1 default=ignore] pam_succeed_if.so shell = /bin/sh";
        let line = "session required pam_idle_watchdog.so timeout=15m";
        let Adopted { text, problems, code } = adopted(&format!("{jump}\n{line}"), &session("sshd", "root"));
        assert_eq!((text.as_str(), code), ("", FINDINGS));
        assert!(problems[0].contains("root by sshd: cannot be adopted: it depends on"), "{problems:?}");
        let Adopted { text, problems, code } =
            adopted("session required pam_idle_watchdog.so timeot=15m", &session("sshd", "root"));
        assert_eq!((text.as_str(), code), ("", BROKEN));
        assert!(problems[0].starts_with("/etc/pam.d/sshd:9: timeot=15m: unknown"), "{problems:?}");
        assert_eq!(problems[1], "idle-watchdog: no session was adopted");
        // A hostile name does not reach the terminal as it is.
        let Adopted { problems, .. } = adopted(&format!("{jump}\n{line}"), &session("sshd", "a\x1b[2J"));
        assert!(!problems[0].contains('\x1b'), "{problems:?}");
    }

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let path = std::env::temp_dir().join(format!("idle-watchdog-lock-{}", std::process::id()));
        let first = locked(&path).unwrap();
        let other = std::fs::File::open(&path).unwrap();
        let (_, errno) = Flock::lock(other, FlockArg::LockExclusiveNonblock).unwrap_err();
        assert_eq!(errno, nix::errno::Errno::EWOULDBLOCK);
        drop(first);
        once_closed(|| {
            let file = std::fs::File::open(&path).unwrap();
            Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
        });
        std::fs::remove_file(&path).unwrap();
        // A link that somebody has put there is not followed.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(locked(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
