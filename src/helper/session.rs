//! What is known of the session that is watched.

use std::path::PathBuf;

use crate::helper::connection::Client;
use crate::helper::members::SessionIdentity;
use crate::helper::terminals::Finder;
use crate::helper::terminals::terminal::Terminal;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;
use crate::sys::signals::Signals;

/// The session, as far as the end has to know it.
#[derive(Debug)]
pub struct WatchedSession {
    /// Where processes are looked up.
    pub proc: Proc,
    /// What tells its processes from others.
    pub identity: SessionIdentity,
    /// What tells its terminals from others.
    pub finder: Finder,
    /// The leader, dead or alive.
    pub leader: PidFd,
    /// The path of the program that the leader ran when it opened the session.
    pub opener: Option<PathBuf>,
    /// How the client's connection is told from the leader's others.
    pub client: Client,
    /// The signals that come for us.
    pub signals: Signals,
    /// The terminals it had at the last look.
    pub terminals: Vec<Terminal>,
}
