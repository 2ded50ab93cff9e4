//! The facts about the watched session.

use std::path::PathBuf;

use crate::helper::audit::LeaderIds;
use crate::helper::connection::Client;
use crate::helper::members::SessionIdentity;
use crate::helper::terminals::Finder;
use crate::helper::terminals::terminal::Terminal;
use crate::protocol::status::Status;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;
use crate::sys::signals::Signals;

/// The watched session.
#[derive(Debug)]
pub struct WatchedSession {
    pub proc: Proc,
    /// Distinguishes its processes from others.
    pub identity: SessionIdentity,
    /// Distinguishes its terminals from others.
    pub finder: Finder,
    /// The leader, alive or dead.
    pub leader: PidFd,
    /// The path of the program that the leader ran when it opened the session.
    pub opener: Option<PathBuf>,
    /// The leader's IDs for the kernel's audit.
    pub audit: LeaderIds,
    /// How to recognize the client's connection among the leader's connections.
    pub client: Client,
    /// The signals that this process gets.
    pub signals: Signals,
    /// The terminals it had at the last look.
    pub terminals: Vec<Terminal>,
    /// How it was when its end began. This answers whoever asks meanwhile.
    pub ending: Option<Status>,
}
