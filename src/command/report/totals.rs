//! Adds up the records of a period. Pure. It keeps the sessions that are open, not the records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::about::{SessionEnd, Whose};
use super::absences::{Absences, Until};
use super::counts::{Counts, Happening};
use crate::command::records::LogEntry;
use crate::record::{Event, Key};

/// How many ends are shown.
const SHOWN_ENDS: usize = 5;
/// How many survivors are shown.
const SHOWN_SURVIVORS: usize = 20;
/// Records of one refused login are not further apart, in seconds.
const ONE_LOGIN: i64 = 600;
/// Two absences that begin within this time are the same one, in seconds.
const SAME_START: u64 = 30;

/// How a record names its session: logind's ID, the audit ID or the helper's PID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SessionName {
    Logind(String),
    Audit(String),
    Helper(u32),
}

impl SessionName {
    fn of(entry: &LogEntry) -> Option<Self> {
        let text = |key| entry.record.get(key).map(str::to_owned);
        let known = text(Key::Session).map(Self::Logind).or_else(|| text(Key::Ses).map(Self::Audit));
        known.or_else(|| entry.pid.map(Self::Helper))
    }
}

/// A session that has not ended yet.
#[derive(Debug, Default)]
struct OpenSession {
    /// What happened to it before, so that it counts once.
    had: BTreeSet<Happening>,
    /// The absence that goes on.
    absence: Option<OpenAbsence>,
    /// Its next end is not because it is idle.
    other_end: bool,
}

#[derive(Debug)]
struct OpenAbsence {
    start: i64,
    idle: u64,
    had: BTreeSet<Happening>,
    about: Whose,
}

/// What the records of a period add up to.
#[derive(Debug, Default)]
pub struct Totals {
    /// How often.
    pub times: Counts,
    /// In how many sessions.
    pub sessions: Counts,
    pub by_user: BTreeMap<String, Counts>,
    /// `None` if no rule matched.
    pub by_rule: BTreeMap<Option<String>, Counts>,
    pub by_hour: BTreeMap<usize, Counts>,
    pub absences: Absences,
    /// The last ends, the newest last.
    pub ends: VecDeque<SessionEnd>,
    /// Ends with survivors, the oldest first.
    pub survivors: Vec<SessionEnd>,
    pub survivor_count: u64,
    /// Sessions that were ended although they were not idle.
    pub other_ends: u64,
    /// How long an absence had to be to get on record, in the sessions that began in the period.
    pub recorded_from: BTreeSet<u64>,
    /// The number of records.
    pub records: u64,
    open: BTreeMap<(String, SessionName), OpenSession>,
    /// When the process with this PID last refused a login or let it in unguarded.
    refused: BTreeMap<u32, (i64, Happening)>,
}

impl Totals {
    /// Takes one record. `hour` is its hour of the day.
    pub fn take(&mut self, entry: &LogEntry, hour: usize) {
        self.records += 1;
        let event = entry.record.event;
        match (entry.by_helper, event) {
            (false, Event::Exempt) => self.count(Happening::Exempt, entry, hour),
            (false, Event::Error | Event::Unguarded) => self.refuse(entry, hour),
            (false, _) => {}
            (true, _) => self.of_session(entry, hour),
        }
    }

    /// Ends the period. Nobody knows how the absences that go on will end.
    pub fn finish(&mut self) {
        for (_, session) in std::mem::take(&mut self.open) {
            self.settle(session.absence);
        }
    }

    fn count(&mut self, what: Happening, entry: &LogEntry, hour: usize) {
        self.change(entry, hour, |counts| counts.add(what));
    }

    fn change(&mut self, entry: &LogEntry, hour: usize, change: impl Fn(&mut Counts)) {
        change(&mut self.times);
        change(self.by_user.entry(entry.record.user().to_owned()).or_default());
        change(self.by_rule.entry(entry.record.get(Key::Rule).map(str::to_owned)).or_default());
        change(self.by_hour.entry(hour).or_default());
    }

    /// A login that could not be guarded. The module first writes why, then that it goes on all the same. The
    /// account line and the session line may both write that.
    fn refuse(&mut self, entry: &LogEntry, hour: usize) {
        let Some(pid) = entry.pid else { return };
        let guarded = entry.record.get(Key::Fallback).or(entry.record.get(Key::Helper)).is_some();
        let before =
            self.refused.get(&pid).filter(|(at, _)| entry.at - at < ONE_LOGIN).map(|(_, what)| *what);
        let what = match (entry.record.event, before) {
            (Event::Unguarded, Some(Happening::Unguarded)) | (Event::Error, Some(_)) => return,
            (Event::Unguarded, Some(refused)) => {
                self.change(entry, hour, |counts| counts.take_back(refused));
                Happening::Unguarded
            }
            (Event::Unguarded, None) => Happening::Unguarded,
            _ if guarded => return,
            _ => Happening::Refused,
        };
        self.refused.insert(pid, (entry.at, what));
        self.count(what, entry, hour);
    }

    fn of_session(&mut self, entry: &LogEntry, hour: usize) {
        let Some(name) = SessionName::of(entry) else { return };
        // A su inside a session has the IDs of that session.
        let name = (entry.record.service.clone(), name);
        let event = entry.record.event;
        let known = self.open.remove(&name);
        // What a logout leaves behind is not a session of its own. Neither is an error before the start or after
        // the end.
        let is_rest = entry.record.get(Key::By) == Some("detached");
        if is_rest || (known.is_none() && matches!(event, Event::Closed | Event::Error)) {
            if event == Event::Ended {
                self.end(&mut OpenSession { other_end: true, ..OpenSession::default() }, entry, hour);
            }
            return;
        }
        let mut session = known.unwrap_or_default();
        if event == Event::Armed {
            // The machine was started again, and its sessions are numbered from the start.
            self.settle(session.absence.take());
            session = OpenSession::default();
        }
        if session.had.insert(Happening::Watched) {
            self.sessions.add(Happening::Watched);
            self.count(Happening::Watched, entry, hour);
        }
        let goes_on = match event {
            Event::Armed | Event::Adopted | Event::Reloaded => {
                self.recorded_from.extend(recorded_from(entry));
                true
            }
            Event::Warned => self.away(&mut session, Happening::Warned, entry, hour),
            Event::WouldEnd => self.away(&mut session, Happening::WouldEnd, entry, hour),
            Event::Resumed => self.back(&mut session, entry, hour),
            Event::Orphaned => {
                session.other_end = true;
                entry.record.get(Key::Action).is_none()
            }
            Event::Ended => self.end(&mut session, entry, hour),
            Event::Closed => false,
            _ => true,
        };
        if goes_on {
            self.open.insert(name, session);
        } else {
            self.settle(session.absence);
        }
    }

    /// The session is warned or reported.
    fn away(&mut self, session: &mut OpenSession, what: Happening, entry: &LogEntry, hour: usize) -> bool {
        let idle = entry.record.number(Key::Idle).unwrap_or(0);
        let start = entry.at.saturating_sub(i64::try_from(idle).unwrap_or(i64::MAX));
        let about = Whose::of(entry);
        let mut absence = match session.absence.take() {
            Some(same) if start.abs_diff(same.start) <= SAME_START => OpenAbsence { idle, about, ..same },
            other => {
                self.settle(other);
                OpenAbsence { start, idle, had: BTreeSet::new(), about }
            }
        };
        if absence.had.insert(what) {
            self.count(what, entry, hour);
        }
        session.absence = Some(absence);
        self.count_session(session, what);
        true
    }

    fn back(&mut self, session: &mut OpenSession, entry: &LogEntry, hour: usize) -> bool {
        let absence = session.absence.take();
        match entry.record.number(Key::Away) {
            Some(away) => {
                self.absences.add(away, Until::Back, &Whose::of(entry));
                self.count(Happening::Resumed, entry, hour);
                self.count_session(session, Happening::Resumed);
            }
            // Nobody came back: the session has other terminals now.
            None => self.settle(absence),
        }
        true
    }

    fn end(&mut self, session: &mut OpenSession, entry: &LogEntry, hour: usize) -> bool {
        let record = &entry.record;
        let idle = record.number(Key::Idle);
        let survivors = record.get(Key::Survivors).filter(|pids| *pids != "0").map(str::to_owned);
        let about = Whose::of(entry);
        let limit = record.get(Key::Limit).map(str::to_owned);
        let end = SessionEnd { about: about.clone(), idle, limit, survivors };
        if end.survivors.is_some() {
            self.survivor_count += 1;
            if self.survivors.len() < SHOWN_SURVIVORS {
                self.survivors.push(end.clone());
            }
        }
        if session.other_end || record.is_by_request() {
            self.other_ends += 1;
            return false;
        }
        self.ends.push_back(end);
        if self.ends.len() > SHOWN_ENDS {
            self.ends.pop_front();
        }
        session.absence = None;
        self.absences.add(idle.unwrap_or(0), Until::Ended, &about);
        self.count(Happening::Ended, entry, hour);
        self.count_session(session, Happening::Ended);
        false
    }

    fn count_session(&mut self, session: &mut OpenSession, what: Happening) {
        if session.had.insert(what) {
            self.sessions.add(what);
        }
    }

    /// Puts an absence down whose end is not known.
    fn settle(&mut self, absence: Option<OpenAbsence>) {
        if let Some(OpenAbsence { idle, about, .. }) = absence {
            self.absences.add(idle, Until::Unknown, &about);
        }
    }
}

/// How long an absence must be to get on record: until the first warning, or with `kill=none` until the limit.
fn recorded_from(entry: &LogEntry) -> Option<u64> {
    let limit = entry.record.number(Key::Limit)?;
    if entry.record.get(Key::Kill) == Some("none") {
        return Some(limit);
    }
    let first = entry.record.get(Key::Warn).and_then(|warn| warn.split(',').next()?.parse().ok());
    Some(limit.saturating_sub(first.unwrap_or(0)))
}

#[cfg(test)]
mod tests;
