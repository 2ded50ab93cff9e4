//! One look: samples of what counts, judged, and what is to be done and when to look next.

use std::io;

use crate::helper::journal::names;
use crate::helper::judgement::cpu::Snapshot;
use crate::helper::judgement::credits::Doubt;
use crate::helper::judgement::schedule::{Action, Ground, NEVER, Shown};
use crate::helper::judgement::witness::Witness;
use crate::helper::run::Watchdog;
use crate::helper::session::Watched;
use crate::helper::terminals::Way;
use crate::helper::terminals::console::Console;
use crate::policy;
use crate::protocol::start::Orders;
use crate::record::{Event, Key};
use crate::sys::clock::{Moment, SECOND};
use crate::sys::devnode::DeviceId;
use crate::sys::proc::Usage;

impl Watchdog {
    /// Looks once, and does what is due but the end.
    pub(super) fn look(&mut self) -> Result<Option<Action>, String> {
        // The time first: what is stamped while we sample must not look older than the look.
        let now = Moment::now();
        self.watched.terminals = self.watched.finder.find();
        let Watched { finder, terminals, leader, .. } = &mut self.watched;
        let samples = finder.sample(terminals, leader, &mut self.aside);
        let witness = self.witness();
        let mut doubts = self.activity.look(now, &samples, witness);
        self.look_at_jobs(now);
        self.look_at_console(now);
        self.ground = self.ground();
        if self.schedule.is_due(now, self.shown()) {
            doubts.extend(self.activity.decide());
        }
        for (id, doubt) in doubts {
            self.record_doubt(id, doubt);
        }
        let (action, wake) = self.schedule.next(now, self.shown());
        match action {
            Some(Action::Warn { left }) => self.warn(left),
            Some(Action::Resume) => {
                let record = self.idle_record(Event::Resumed, self.idle());
                self.journal.write(&record);
            }
            Some(Action::Report) => self.report(),
            Some(Action::End) | None => {}
        }
        let wake = self.activity.looks_again().map_or(wake, |again| again.min(wake));
        self.alarm.set(wake).map_err(|e| format!("cannot set the alarm: {e}"))?;
        let record = self
            .record(Event::Look)
            .with_some(Key::Tty, names(&self.watched.terminals))
            .with(Key::Idle, self.idle().as_secs())
            .with_some(Key::Next, (wake != NEVER).then(|| wake.saturating_sub(now.boot) / SECOND));
        self.journal.write(&record);
        Ok(action)
    }

    /// What the look has shown until now.
    fn shown(&self) -> Shown {
        let Self { activity, ground, .. } = self;
        Shown { last: activity.last(), ground: *ground, undecided: activity.undecided() }
    }

    /// When the client was last heard, where all keys come over its connection: at sshd's terminals. Where
    /// the connection cannot be asked, the terminals alone tell.
    pub(super) fn witness(&mut self) -> Option<Witness> {
        if self.watched.finder.way() == Way::Own || self.connection.is_none() {
            return None;
        }
        self.ask_connection().unwrap_or_else(|e| {
            self.note_unasked(&format!("cannot ask the client's connection: {e}"));
            None
        })
    }

    /// When the client was last heard.
    pub(super) fn ask_connection(&mut self) -> io::Result<Option<Witness>> {
        let Watched { proc, leader, .. } = &self.watched;
        let not_found = || io::Error::other("it was not found when the session opened");
        let connection = self.connection.as_mut().ok_or_else(not_found)?;
        connection.ask(proc, self.assignment.session.leader, leader)
    }

    /// Puts on record, once, that the connection could not be asked. A leader that is gone is another matter.
    fn note_unasked(&mut self, error: &str) {
        if !self.unasked && !self.watched.leader.has_exited() {
            self.unasked = true;
            self.error(error);
        }
    }

    /// What the session is judged by. If that is its connection, that is asked.
    fn ground(&mut self) -> Ground {
        let Orders { limit, notty, .. } = &self.assignment.orders;
        // The keys go to the display server, and leave no trace on the console.
        if self.console.as_ref().is_some_and(Console::is_graphical) {
            return Ground::Nothing;
        }
        if self.activity.has_terminals() {
            return Ground::Terminals;
        }
        // A su or a job has no client, and neither has a session over a pipe.
        let from = self.assignment.session.rhost.as_deref().unwrap_or_default();
        if limit.is_none() || notty.is_none() || policy::is_local(&from.to_string_lossy()) {
            return Ground::Nothing;
        }
        match self.ask_connection() {
            Ok(Some(witness)) => {
                self.activity.note(witness.latest());
                Ground::Connection
            }
            Ok(None) => Ground::Nothing,
            Err(e) => {
                self.note_unasked(&format!("cannot ask the connection, which notty= needs: {e}"));
                Ground::Nothing
            }
        }
    }

    /// Where processor time counts: whether the foreground jobs have used some since the look before.
    fn look_at_jobs(&mut self, now: Moment) {
        let Some(jobs) = self.jobs.as_mut().filter(|jobs| jobs.is_due(now.mono)) else { return };
        let Watched { proc, finder, leader, terminals, .. } = &self.watched;
        let ids: Vec<DeviceId> = terminals.iter().map(|terminal| terminal.id).collect();
        let usages: Vec<Usage> = if ids.is_empty() { Vec::new() } else { proc.usages().collect() };
        let seats = finder.seats(terminals, leader, &[]);
        let snapshot = Snapshot::of(&usages, &ids, |process| seats.hold(process, false));
        if jobs.look(now.mono, snapshot) {
            self.activity.note(now.boot);
        }
    }

    /// Whether a display server has the console, where one may have it.
    fn look_at_console(&mut self, now: Moment) {
        let Some(console) = &mut self.console else { return };
        let Some(graphical) = console.look(&mut self.aside) else { return };
        if !graphical {
            // Nobody knows when the last key was pressed there.
            self.activity.note(now.boot);
        }
        let tty = console.name().to_owned();
        let record = self.record(Event::Console).with(Key::Tty, tty);
        let record = record.with(Key::Graphical, if graphical { "yes" } else { "no" });
        self.journal.write(&record);
    }

    fn record_doubt(&mut self, id: DeviceId, doubt: Doubt) {
        let tty = self
            .watched
            .terminals
            .iter()
            .find(|terminal| terminal.id == id)
            .map(|terminal| terminal.name.clone());
        let record = self.record(Event::Tampering).with_some(Key::Tty, tty);
        let record = match doubt {
            Doubt::Credited { left } => {
                record.with(Key::Stamp, "doubtful").with(Key::Believed, "yes").with(Key::Credits, left)
            }
            Doubt::Disbelieved | Doubt::Refuted | Doubt::Future => {
                self.disbelieved += 1;
                if self.disbelieved > 1 {
                    return;
                }
                let stamp = match doubt {
                    Doubt::Future => "future",
                    Doubt::Refuted => "refuted",
                    _ => "doubtful",
                };
                record.with(Key::Stamp, stamp).with(Key::Believed, "no")
            }
        };
        self.journal.write(&record);
    }
}
