//! Why a session has no watchdog, and whether it should have one.

use std::fmt;

use super::Session;
use crate::command::current_line::{self, CurrentLine};
use crate::command::decisions::Decisions;
use crate::policy::{Fault, RulePlace, Settings, exceptions};
use crate::sys::proc::Proc;

/// The path of our module in a process that has loaded it.
const MAPPED_MODULE: &str = "/pam_idle_watchdog.so";
/// The start of the path of any module. libpam looks for them in a directory of this name.
const MAPPED_MODULES: &str = "/security/pam_";

/// What is known about a session without a watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwatched {
    /// A rule, or the PAM line, exempts it.
    Exempt(Option<RulePlace>),
    /// Sessions of this kind are never watched, for this reason.
    Skipped(String),
    /// No line of ours applies to it, for this reason.
    WithoutLine(String),
    /// It cannot be known whether a line applies to it, or which one. The text says why.
    Unclear(String),
    /// Its process has no PAM session. sshd may not use PAM, or the process that opened the session has become
    /// another program, as in run0.
    WithoutPam,
    /// It should be watched.
    Due(Box<Guard>),
}

/// How a session should be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Why it is not watched yet.
    pub reason: &'static str,
    /// The options of its PAM line.
    pub line: Vec<String>,
    pub settings: Settings,
}

impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exempt(Some(rule)) => write!(f, "exempt by {rule}"),
            Self::Exempt(None) => f.write_str("exempt by its PAM line"),
            Self::Skipped(because) => write!(f, "never watched: {because}"),
            Self::WithoutLine(why) | Self::Unclear(why) => f.write_str(why),
            Self::WithoutPam => f.write_str("its process has loaded no PAM module"),
            Self::Due(guard) => f.write_str(guard.reason),
        }
    }
}

/// The session was opened when no line of ours was in its stack.
const OPENED_BEFORE: &str = "opened before installation";
/// Our module has run in the leader. It started a helper, or it could not or need not start one.
const HELPER_GONE: &str = "its helper was gone";

/// Decides about a session without a watchdog, as the module decides about a login.
///
/// # Errors
///
/// The mistakes in the PAM line or in the policy.
pub fn why(decisions: &mut Decisions<'_>, session: &Session) -> Result<Unwatched, Vec<Fault>> {
    let login = &session.login;
    let service = login.service_text();
    if let Some(exception) = exceptions::exception(&service, &session.kind, login.rhost.is_some()) {
        return Ok(Unwatched::Skipped(exception.because));
    }
    let (place, words) = match current_line::line(decisions.machine, &service, Some(login)) {
        CurrentLine::Known(place, words) => (place, words),
        CurrentLine::Gone(why) => return Ok(Unwatched::WithoutLine(why)),
        CurrentLine::Unclear(why) => return Ok(Unwatched::Unclear(why)),
    };
    let settings = decisions.decide(login, &place, &words)?;
    if settings.limit.is_none() {
        return Ok(Unwatched::Exempt(settings.rule));
    }
    let proc = Proc::default();
    let loaded = |file| proc.has_mapped(session.leader, file);
    // A process of the person can lock its list of mappings, and then a reader waits.
    let is_root = proc.uids(session.leader).is_some_and(|(_, effective)| effective == 0);
    if !is_root || !loaded(MAPPED_MODULES) {
        return Ok(Unwatched::WithoutPam);
    }
    let reason = if loaded(MAPPED_MODULE) { HELPER_GONE } else { OPENED_BEFORE };
    Ok(Unwatched::Due(Box::new(Guard { reason, line: words, settings })))
}
