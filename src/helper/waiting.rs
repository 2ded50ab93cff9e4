//! The requests that wait until the helper has looked, and who made them.

use crate::helper::caller::{Caller, Requester};
use crate::protocol::request::Reason;
use crate::record::{Key, Record};

/// The requests that wait for the next look, which comes at once.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Those who want to know how the session is. The flag asks for the members, too.
    pub status: Vec<(Caller, bool)>,
    pub extended: Vec<(Caller, Option<Reason>)>,
    /// Only the first request for an end counts.
    pub end: Option<Asked>,
}

impl Waiting {
    /// Whether somebody waits.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.status.is_empty() || !self.extended.is_empty() || self.end.is_some()
    }
}

/// An administrator's request to end the session.
#[derive(Debug)]
pub struct Asked {
    pub caller: Caller,
    pub reason: Option<Reason>,
}

/// Adds to a record who asked, and why. The user is always there, so that it tells such a record from others.
#[must_use]
pub fn asked_by(record: Record, requester: &Requester, reason: Option<&Reason>) -> Record {
    let login_uid = requester.login_uid.map_or_else(|| "unset".to_owned(), |uid| uid.to_string());
    record
        .with(Key::Requester, login_uid)
        .with_some(Key::RequesterSes, requester.ses)
        .with_some(Key::Reason, reason.map(Reason::text))
}
