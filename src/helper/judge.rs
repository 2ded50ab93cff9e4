//! Judges a session: when somebody was last active, how this is known, and what is due.
//!
//! It samples the terminals, the connection, the console and the foreground jobs. [`crate::helper::judgement`]
//! decides what the samples mean. This file does nothing to the session and writes no records.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::helper::connection::ClientConnection;
use crate::helper::judgement::activity::{Activity, Sample};
use crate::helper::judgement::cpu::{Jobs, Snapshot};
use crate::helper::judgement::credits::Doubt;
use crate::helper::judgement::schedule::{Due, JudgedBy, Schedule, Shown};
use crate::helper::judgement::witness::Witness;
use crate::helper::session::WatchedSession;
use crate::helper::terminals::FoundBy;
use crate::helper::terminals::console::Console;
use crate::policy::{self, Kill, Settings};
use crate::protocol::start::Assignment;
use crate::sys::clock::{Moment, Nanos, from_duration};
use crate::sys::devnode::{self, DeviceId};
use crate::sys::offload::Offload;
use crate::sys::proc::{Process, Usage};
use crate::sys::socket::Silence;

/// What a look has shown that an administrator may want to know.
pub enum Note {
    /// A terminal's stamp may be forged.
    Tampering(DeviceId, Doubt),
    /// A display server has taken the console, or has left it.
    Console { graphical: bool },
    /// Something failed, as a whole phrase.
    Error(String),
}

/// The result of a look.
pub struct Look {
    pub now: Moment,
    pub due: Option<Due>,
    /// When to look again, on the boot clock.
    pub next: Nanos,
}

/// The facts about the session's activity.
pub struct Judge {
    activity: Activity,
    /// The foreground jobs, if their processor time counts.
    jobs: Option<Jobs>,
    schedule: Schedule,
    /// The virtual console, if a display server may take it.
    console: Option<Console>,
    by: JudgedBy,
    /// The client's connection, if it is known.
    connection: Option<ClientConnection>,
    /// The connection could not be asked, and there already is a note about this.
    asking_failed: bool,
    /// How many forgeries were not believed. Only the first one gets a note.
    disbelieved: usize,
    notes: Vec<Note>,
}

impl Judge {
    /// Starts to judge a session that opened at this time. Nothing has been sampled yet.
    #[must_use]
    pub fn new(opened: Moment, assignment: &Assignment, session: &WatchedSession, leader: &Process) -> Self {
        let settings = &assignment.settings;
        let mut activity = Activity::new(opened, settings.activity.output);
        if settings.activity.cpu {
            // Nobody has measured yet whether a job was busy. We assume that one was.
            activity.note(Moment::now().boot);
        }
        Self {
            activity,
            jobs: settings.activity.cpu.then(Jobs::default),
            schedule: schedule(settings),
            console: Console::of(&session.proc, leader, session.finder.own()),
            by: JudgedBy::Nothing,
            connection: assignment.connection.map(ClientConnection::new),
            asking_failed: false,
            disbelieved: 0,
            notes: Vec::new(),
        }
    }

    /// Checks whether the client's connection can be asked. Returns whether it is a witness about keys.
    pub fn choose_witness(&mut self, session: &WatchedSession, assignment: &Assignment) -> bool {
        // A kernel that cannot look for connections says that there is none.
        if matches!(self.ask_connection(session, assignment), Ok(None)) {
            self.connection = None;
        }
        self.witness(session, assignment).is_some()
    }

    /// Applies new settings.
    pub fn change_settings(&mut self, now: Moment, settings: &Settings) {
        if self.by == JudgedBy::Detached {
            return self.set_schedule(now, detached(settings));
        }
        self.activity.count_output(settings.activity.output);
        if settings.activity.cpu && self.jobs.is_none() {
            // Until now nobody has measured whether a job was busy. We assume that one was.
            self.activity.note(now.boot);
        }
        self.jobs = settings.activity.cpu.then(|| self.jobs.take().unwrap_or_default());
        self.set_schedule(now, schedule(settings));
    }

    /// Replaces the schedule. An administrator's extension stays.
    fn set_schedule(&mut self, now: Moment, schedule: Schedule) {
        let not_before = self.schedule.not_before();
        self.schedule = schedule;
        not_before.iter().for_each(|until| self.schedule.extend(now, *until));
    }

    /// Rules out the end before this time has passed.
    pub fn extend(&mut self, now: Moment, time: Duration) {
        self.schedule.extend(now, now.boot.saturating_add(from_duration(time)));
    }

    /// For how long an administrator has ruled out the end.
    #[must_use]
    pub fn extended(&self, now: Moment) -> Option<Duration> {
        let left = self.schedule.not_before()?.saturating_sub(now.boot);
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_nanos)
    }

    /// Whether the person was warned, and nobody has been active since.
    #[must_use]
    pub fn is_warned(&self) -> bool {
        self.schedule.is_warned()
    }

    /// How long until the end if nobody is active, as the last look showed. `None` if there is no end.
    #[must_use]
    pub fn ends_in(&self, now: Moment) -> Option<Duration> {
        let left = self.schedule.ends_in(now, self.shown())?;
        Some(Duration::from_nanos(u64::try_from(left).unwrap_or(0)))
    }

    /// How many claims will still be believed.
    #[must_use]
    pub fn credits(&self) -> u8 {
        self.activity.credits()
    }

    /// From now on judges what is left after the session has closed.
    pub fn stay(&mut self, now: Moment, settings: &Settings) {
        self.activity = Activity::new(now, false);
        self.set_schedule(now, detached(settings));
        (self.jobs, self.console, self.connection) = (None, None, None);
        (self.by, self.disbelieved) = (JudgedBy::Detached, 0);
    }

    /// Looks once at the terminals that are left. The samples were taken after `now`. `None` if they could not
    /// be taken: then nobody knows whether somebody was active.
    pub fn look_at_the_rest(&mut self, now: Moment, samples: Option<&BTreeMap<DeviceId, Sample>>) -> Look {
        let mut doubts = match samples {
            Some(samples) => self.activity.look(now, samples, None),
            None => {
                self.activity.note(now.boot);
                Vec::new()
            }
        };
        if self.schedule.is_due(now, self.shown()) {
            doubts.extend(self.activity.decide());
        }
        for (id, doubt) in doubts {
            self.note_doubt(id, doubt);
        }
        self.next(now)
    }

    /// Looks at the session once.
    pub fn look(
        &mut self,
        session: &mut WatchedSession,
        assignment: &Assignment,
        offload: &mut Offload,
    ) -> Look {
        // The time is read first. Otherwise a stamp from the time of the sampling could look older than the
        // look.
        let now = Moment::now();
        session.terminals = session.finder.find();
        let WatchedSession { finder, terminals, leader, .. } = session;
        let samples = finder.sample(terminals, leader, offload);
        // This is asked after the samples were taken, because `Activity::look` needs that order.
        let witness = self.witness(session, assignment);
        let mut doubts = self.activity.look(now, &samples, witness);
        self.look_at_jobs(now, session);
        self.look_at_console(now, offload);
        self.by = self.judged_by_now(session, assignment);
        if self.schedule.is_due(now, self.shown()) {
            doubts.extend(self.activity.decide());
        }
        for (id, doubt) in doubts {
            self.note_doubt(id, doubt);
        }
        self.next(now)
    }

    /// What is due after a look.
    fn next(&mut self, now: Moment) -> Look {
        let (due, next) = self.schedule.next(now, self.shown());
        let next = self.activity.looks_again().map_or(next, |again| again.min(next));
        Look { now, due, next }
    }

    /// Takes the notes since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// How long nobody has been active.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let idle = Moment::now().boot.saturating_sub(self.activity.last());
        Duration::from_nanos(u64::try_from(idle).unwrap_or(0))
    }

    /// What the session was judged by at the last look.
    #[must_use]
    pub fn judged_by(&self) -> JudgedBy {
        self.by
    }

    /// How many forgeries were not believed.
    #[must_use]
    pub fn disbelieved(&self) -> usize {
        self.disbelieved
    }

    /// How long no data has gone over the connection. `None` if it is gone.
    ///
    /// # Errors
    ///
    /// It is not known, or cannot be asked.
    pub fn silence(
        &mut self,
        session: &WatchedSession,
        assignment: &Assignment,
    ) -> io::Result<Option<Silence>> {
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotFound)?;
        connection.silence(&session.proc, assignment.leader, &session.leader)
    }

    /// Notes that we have just written to the terminals. This is not activity.
    pub fn wrote_on(&mut self, session: &WatchedSession) {
        for terminal in &session.terminals {
            if let Ok((id, stamps)) = devnode::stat(&terminal.path) {
                if id == terminal.id {
                    self.activity.wrote(id, stamps);
                }
            }
        }
    }

    fn shown(&self) -> Shown {
        Shown { last: self.activity.last(), by: self.by, undecided: self.activity.undecided() }
    }

    /// When the client last sent data. This limits the time of a key only at the terminals of sshd, because all
    /// keys there come over the connection.
    fn witness(&mut self, session: &WatchedSession, assignment: &Assignment) -> Option<Witness> {
        if session.finder.found_by() == FoundBy::Own || self.connection.is_none() {
            return None;
        }
        self.ask_connection(session, assignment).unwrap_or_else(|e| {
            // This is no failure. A leader that exits closes its files a moment before it counts as exited.
            if e.raw_os_error() != Some(Errno::ESRCH as i32) {
                self.note_failure(session, format!("cannot ask the client's connection: {e}"));
            }
            None
        })
    }

    fn ask_connection(
        &mut self,
        session: &WatchedSession,
        assignment: &Assignment,
    ) -> io::Result<Option<Witness>> {
        let not_found = || io::Error::other("it was not found when the session opened");
        let connection = self.connection.as_mut().ok_or_else(not_found)?;
        connection.ask(&session.proc, assignment.leader, &session.leader)
    }

    /// Notes once that the connection could not be asked. A leader that has exited is not a failure.
    fn note_failure(&mut self, session: &WatchedSession, error: String) {
        if !self.asking_failed && !session.leader.has_exited() {
            self.asking_failed = true;
            self.notes.push(Note::Error(error));
        }
    }

    /// Decides what the session is judged by. If this is its connection, asks it.
    fn judged_by_now(&mut self, session: &WatchedSession, assignment: &Assignment) -> JudgedBy {
        let Settings { limit, notty, .. } = &assignment.settings;
        // The keys go to the display server, and leave no trace on the console.
        if self.console.as_ref().is_some_and(Console::is_graphical) {
            return JudgedBy::Nothing;
        }
        if self.activity.has_terminals() {
            return JudgedBy::Terminals;
        }
        // su, a job and a session over a pipe have no client.
        let from = assignment.login.rhost.as_deref().unwrap_or_default();
        if limit.is_none() || notty.is_none() || policy::is_local(&from.to_string_lossy()) {
            return JudgedBy::Nothing;
        }
        match self.ask_connection(session, assignment) {
            Ok(Some(witness)) => {
                self.activity.note(witness.latest());
                JudgedBy::Connection
            }
            Ok(None) => JudgedBy::Nothing,
            Err(e) => {
                self.note_failure(session, format!("cannot ask the connection, which notty= needs: {e}"));
                JudgedBy::Nothing
            }
        }
    }

    /// Counts the processor time that the foreground jobs have used since the look before.
    fn look_at_jobs(&mut self, now: Moment, session: &WatchedSession) {
        let Some(jobs) = self.jobs.as_mut().filter(|jobs| jobs.is_due(now.mono)) else { return };
        let WatchedSession { proc, finder, leader, terminals, .. } = session;
        let ids: Vec<DeviceId> = terminals.iter().map(|terminal| terminal.id).collect();
        let usages: Vec<Usage> = if ids.is_empty() { Vec::new() } else { proc.usages().collect() };
        let controlling = finder.controlling_sessions(terminals, leader, &[]);
        let snapshot = Snapshot::of(&usages, &ids, |process| controlling.include(process, false));
        if jobs.look(now.mono, snapshot) {
            self.activity.note(now.boot);
        }
    }

    /// Asks whether a display server has the console.
    fn look_at_console(&mut self, now: Moment, offload: &mut Offload) {
        let Some(console) = &mut self.console else { return };
        let Some(graphical) = console.look(offload) else { return };
        if !graphical {
            // Nobody knows when the last key was pressed there.
            self.activity.note(now.boot);
        }
        self.notes.push(Note::Console { graphical });
    }

    /// The name of the console, if a display server may take it.
    #[must_use]
    pub fn console_name(&self) -> Option<&str> {
        self.console.as_ref().map(Console::name)
    }

    fn note_doubt(&mut self, id: DeviceId, doubt: Doubt) {
        if !matches!(doubt, Doubt::Credited { .. }) {
            self.disbelieved += 1;
            if self.disbelieved > 1 {
                return;
            }
        }
        self.notes.push(Note::Tampering(id, doubt));
    }
}

/// The schedule for what is left after the session has closed. Nobody is there to be warned.
fn detached(settings: &Settings) -> Schedule {
    Schedule::new(settings.detached, None, &[], settings.kill == Kill::None)
}

fn schedule(settings: &Settings) -> Schedule {
    Schedule::new(settings.limit, settings.notty, &settings.warn, settings.kill == Kill::None)
}
