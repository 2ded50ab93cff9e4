//! The records of one session: the same prefix and the same first fields, one line for each decision.

use std::time::Duration;

use nix::unistd::Pid;

use crate::helper::terminals::terminal::Terminal;
use crate::login::Login;
use crate::policy::{Counted, Settings};
use crate::record::{self, Event, Key, Record, Severity};
use crate::sys::log::Log;
use crate::sys::proc::AuditSession;

/// The queue of the session's records for the system log.
pub struct Journal {
    log: Log,
    about: About,
    debug: bool,
}

/// The start of all records of a session.
struct About {
    login: Login,
    /// logind's ID of the session.
    id: Option<String>,
    /// The audit ID of the session.
    ses: Option<AuditSession>,
}

impl About {
    fn record(&self, event: Event) -> Record {
        let Login { uid, rhost, .. } = &self.login;
        Record::new(event)
            .with(Key::User, self.login.user_text())
            .with_some(Key::Uid, *uid)
            .with_some(Key::Rhost, rhost.as_ref().map(|host| host.to_string_lossy()))
            .with_some(Key::Session, self.id.as_ref())
            .with_some(Key::Ses, self.ses)
    }

    /// The line of a record. The module's lines have the same prefix, so that one grep finds both.
    fn line(&self, record: &Record) -> String {
        record.line(&self.login.service_text(), "session")
    }
}

impl Journal {
    /// An empty queue. `debug` lets records with that severity through.
    #[must_use]
    pub fn new(login: Login, id: Option<String>, ses: Option<AuditSession>, debug: bool) -> Self {
        Self { log: Log::default(), about: About { login, id, ses }, debug }
    }

    /// A record of an event in this session. The caller completes it and gives it to [`Journal::write`].
    #[must_use]
    pub fn record(&self, event: Event) -> Record {
        self.about.record(event)
    }

    /// Sends a record. A record with the severity debug is sent only if the settings ask for it.
    pub fn write(&mut self, record: &Record) {
        if record.severity() == Severity::Debug && !self.debug {
            return;
        }
        self.log.push(record.clone(), self.about.line(record));
        self.flush();
    }

    /// Sets whether records with the severity debug are sent.
    pub fn set_debug(&mut self, debug: bool) {
        self.debug = debug;
    }

    /// Sends the records that the log daemon has not taken yet.
    pub fn flush(&mut self) {
        let about = &self.about;
        self.log.flush(|lost| {
            let error = format!("{lost} records are lost: the log daemon did not take them");
            let record = about.record(Event::Error).with(Key::Error, error);
            let line = about.line(&record);
            (record, line)
        });
    }

    /// Whether records wait and are worth another try soon.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.log.is_behind()
    }
}

/// The names of terminals, for a field.
#[must_use]
pub fn names(terminals: &[Terminal]) -> Option<String> {
    record::list(terminals.iter().map(|terminal| &terminal.name), record::MOST)
}

/// PIDs, for a field.
#[must_use]
pub fn pids(pids: &[Pid]) -> Option<String> {
    record::list(pids, record::MOST)
}

/// A limit in seconds, for a field.
#[must_use]
pub fn limit_text(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "off".to_owned(), |limit| limit.as_secs().to_string())
}

/// Adds the settings to a record. If a setting is rarely changed and has its default, it is left out.
#[must_use]
pub fn ordered(record: Record, settings: &Settings) -> Record {
    let Settings { limit, warn, grace, kill, activity, notty, detached, rule, .. } = settings;
    let seconds = |time: &Duration| time.as_secs().to_string();
    let warn: Vec<String> = warn.iter().map(seconds).collect();
    record
        .with(Key::Limit, limit_text(*limit))
        .with(Key::Warn, if warn.is_empty() { "0".to_owned() } else { warn.join(",") })
        .with(Key::Grace, grace.as_secs())
        .with(Key::Kill, kill.word())
        .with_some(Key::Activity, (*activity != Counted::default()).then(|| activity.word()))
        .with_some(Key::Notty, notty.as_ref().map(seconds))
        .with_some(Key::Detached, detached.as_ref().map(seconds))
        .with_some(Key::Rule, rule.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_processes_make_no_long_field() {
        let all: Vec<Pid> = (1..=5000).map(Pid::from_raw).collect();
        let shown = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20 and 4980 more";
        assert_eq!(pids(&all).as_deref(), Some(shown));
        assert_eq!(pids(&[]), None);
    }
}
