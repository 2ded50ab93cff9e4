//! Finds all login sessions of this machine, watched or not.
//!
//! There are three sources: the running helpers, logind's list, and the processes of sshd and login(1). A session
//! inside another one (su, sudo) is found only if it has a helper.

mod leaders;
pub mod unwatched;

use std::io;

use nix::unistd::{Pid, getpid};

use self::leaders::LeaderProgram;
use crate::command::machine::Machine;
use crate::helper::connection;
use crate::helper::terminals::Finder;
use crate::login::Login;
use crate::policy::exceptions;
use crate::protocol::running::{self, RunningHelper};
use crate::sys::cgroup::Cgroups;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::logind::{self, Kind, LogindSession};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::sock_list;
use crate::sys::socket::Stream;

/// How old a session of another program than sshd or login(1) must be. While it is younger, its login may not
/// have finished.
const SETTLED_SESSION: Nanos = 60 * SECOND;

/// What sshd sets as PAM_RHOST if it does not know the client's address.
const UNKNOWN_HOST: &str = "UNKNOWN";

/// One login session of this machine.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name on the command line: logind's ID, or `pid:LEADER`.
    pub name: String,
    pub login: Login,
    /// The PID of the process that opened it.
    pub leader: Pid,
    /// This process. `None` if it has ended, and only the helper is left.
    pub process: Option<Process>,
    /// The names of its terminals, such as `pts/3`.
    pub terminals: Vec<String>,
    /// What logind says about it. Empty if logind does not know it.
    pub kind: Kind,
    pub helper: Option<RunningHelper>,
}

impl Session {
    /// Its other name, which every session has.
    #[must_use]
    pub fn by_pid(&self) -> String {
        format!("pid:{}", self.leader)
    }
}

/// All login sessions. Only root can see all of them. A login or a logout that goes on at this moment is left
/// out, unless it has a helper.
#[must_use]
pub fn all(machine: &Machine) -> Vec<Session> {
    let sources = Sources {
        proc: Proc::default(),
        helpers: running::helpers(),
        listed: logind::sessions(),
        now: Moment::now(),
    };
    sources.sessions(|| machine.sshd().service().to_owned())
}

/// Finds the session with this name.
///
/// # Errors
///
/// The text is not a name, or no session has it.
pub fn named<'a>(sessions: &'a [Session], name: &str) -> Result<&'a Session, String> {
    let is_id = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_pid = name.strip_prefix("pid:").is_some_and(|pid| pid.parse::<i32>().is_ok_and(|pid| pid > 0));
    if !is_id && !is_pid {
        return Err(format!("{name:?} is not a session; expected an ID such as 12, or pid:NUMBER"));
    }
    let found = sessions.iter().find(|session| session.name == name || session.by_pid() == name);
    found.ok_or_else(|| format!("there is no session {name}"))
}

/// All that is read to find the sessions.
struct Sources {
    proc: Proc,
    helpers: Vec<RunningHelper>,
    listed: Vec<LogindSession>,
    now: Moment,
}

impl Sources {
    /// `sshd_service` returns the name of sshd's PAM service.
    fn sessions(&self, sshd_service: impl Fn() -> String) -> Vec<Session> {
        let all: Vec<Process> = self.proc.processes().collect();
        let mut found: Vec<Session> =
            self.helpers.iter().filter_map(|helper| self.watched(helper, &all)).collect();
        // A helper may outlive its leader. Another process may have that PID by then.
        let led: Vec<Pid> = found.iter().filter_map(|session| Some(session.process?.id.pid)).collect();
        let others = self.listed.iter().filter(|listed| !led.contains(&listed.leader));
        found.extend(others.filter_map(|listed| self.listed(listed, &all)));
        let ours = self.proc.pid_namespace(getpid());
        for process in &all {
            let pid = process.id.pid;
            let known = found.iter().any(|one| one.process.is_some_and(|leader| leader.id == process.id))
                || self.listed.iter().any(|listed| self.leads(listed, process));
            // A container has its own root and its own policy.
            if !known && leaders::program(&self.proc, pid).is_some() && self.proc.pid_namespace(pid) == ours {
                found.extend(self.unlisted(process, &all, &sshd_service));
            }
        }
        // Of two sessions with one name, the open one comes first.
        found.sort_by_key(|session| (session.leader, session.process.is_none()));
        found
    }

    /// Whether a process is the leader of a session of logind.
    fn leads(&self, listed: &LogindSession, process: &Process) -> bool {
        listed.leader == process.id.pid
            && !process.dead
            && listed.has(&self.proc.cgroup(process.id.pid).unwrap_or_default())
    }

    fn watched(&self, helper: &RunningHelper, all: &[Process]) -> Option<Session> {
        let leader = helper.leader?;
        let process = self.proc.process(leader).filter(|process| !process.dead && helper.is_led_by(process));
        let listed = self.listed.iter().find(|listed| match &process {
            Some(process) => self.leads(listed, process),
            None => listed.leader == leader && !all.iter().any(|process| self.leads(listed, process)),
        });
        // A helper of another version does not say whose session this is.
        let login = helper.told.as_ref().ok().map(|told| told.login.clone());
        let login = login.or_else(|| self.listed(listed?, all).map(|session| session.login));
        Some(self.session(login.unwrap_or_default(), leader, process, listed, Some(helper.clone())))
    }

    fn listed(&self, listed: &LogindSession, all: &[Process]) -> Option<Session> {
        let process = self.proc.process(listed.leader).filter(|process| self.leads(listed, process))?;
        let settled = self.now.mono.saturating_sub(listed.opened) >= SETTLED_SESSION;
        let (user, tty, service) = match leaders::program(&self.proc, listed.leader) {
            Some(LeaderProgram::Sshd) => {
                // sshd's own title has the name as PAM has it.
                let open = leaders::login(&self.proc, &process, all, self.now.boot)?;
                (open.user, open.tty, "sshd")
            }
            Some(LeaderProgram::Login) => {
                let open = leaders::login(&self.proc, &process, all, self.now.boot)?;
                (listed.user.clone().into(), listed.tty.clone().map(Into::into).or(open.tty), "login")
            }
            None if settled => (listed.user.clone().into(), listed.tty.clone().map(Into::into), ""),
            None => return None,
        };
        let login = Login {
            service: listed.kind.service.as_deref().unwrap_or(service).into(),
            user: Some(user),
            uid: Some(listed.uid),
            rhost: listed.rhost.clone().map(Into::into),
            tty,
        };
        let exception = exceptions::exception(&login.service_text(), &listed.kind, login.rhost.is_some());
        // These are jobs and service managers. There are many, and nobody has logged in.
        if exception.is_some_and(|exception| exception.routine) {
            return None;
        }
        Some(self.session(login, listed.leader, Some(process), Some(listed), None))
    }

    fn unlisted(
        &self,
        process: &Process,
        all: &[Process],
        sshd_service: impl Fn() -> String,
    ) -> Option<Session> {
        let open = leaders::login(&self.proc, process, all, self.now.boot)?;
        let (service, rhost) = match open.program {
            LeaderProgram::Sshd => (sshd_service(), Some(self.client_of(process))),
            LeaderProgram::Login => ("login".to_owned(), None),
        };
        let login = Login {
            service: service.into(),
            user: Some(open.user),
            uid: Some(open.uid),
            rhost: rhost.map(Into::into),
            tty: open.tty,
        };
        Some(self.session(login, process.id.pid, Some(*process), None, None))
    }

    /// The address of sshd's client: the only address to which the leader has a connection.
    fn client_of(&self, leader: &Process) -> String {
        let pid = leader.id.pid;
        let pidfd = PidFd::of(&self.proc, leader.id);
        let streams = pidfd.map(|pidfd| streams(&self.proc, pid, &pidfd)).unwrap_or_default();
        let mut peers: Vec<_> = streams.into_iter().flatten().filter_map(|stream| stream.peer).collect();
        peers.sort();
        peers.dedup();
        match peers.as_slice() {
            [peer] => peer.to_string(),
            _ => UNKNOWN_HOST.to_owned(),
        }
    }

    fn session(
        &self,
        login: Login,
        leader: Pid,
        process: Option<Process>,
        listed: Option<&LogindSession>,
        helper: Option<RunningHelper>,
    ) -> Session {
        let terminals = process.map(|process| {
            let mut finder = Finder::new(self.proc.clone(), &process, login.tty.as_deref());
            finder.choose_how_to_find();
            finder.find().into_iter().map(|terminal| terminal.name).collect()
        });
        // A session inside another one has the kind of the outer one, as in the module.
        let cgroups = Cgroups::of(&self.proc, leader);
        let outer = |listed: &&LogindSession| cgroups.session() == Some(&listed.id);
        let kind = listed.or_else(|| self.listed.iter().find(outer)).map(|listed| listed.kind.clone());
        Session {
            name: listed.map_or_else(|| format!("pid:{leader}"), |listed| listed.id.clone()),
            login,
            leader,
            process,
            terminals: terminals.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            helper,
        }
    }
}

/// The streams among the leader's sockets. Another socket is `None`. A socket that may not be looked at is left out.
#[must_use]
pub fn streams(proc: &Proc, pid: Pid, leader: &PidFd) -> Vec<Option<Stream>> {
    let mut found = Vec::new();
    for socket in connection::sockets(proc, pid, leader).into_iter().flatten() {
        match socket {
            Ok(socket) => found.push(Stream::of(&socket)),
            // The kernel is too old to duplicate a socket. It can list the connections instead.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                return sock_list::streams(proc, pid, leader)
                    .unwrap_or_default()
                    .into_iter()
                    .map(Some)
                    .collect();
            }
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests;
