//! Makes one look and writes its records.

use crate::helper::journal::names;
use crate::helper::judge::{Look, Note};
use crate::helper::judgement::credits::Doubt;
use crate::helper::judgement::schedule::{Due, NEVER};
use crate::helper::run::Watchdog;
use crate::record::{Event, Key, Record};
use crate::sys::clock::SECOND;
use crate::sys::devnode::DeviceId;

impl Watchdog {
    /// Looks at the session, sets the alarm for the next look, and returns what is due now.
    pub(super) fn look(&mut self) -> Option<Due> {
        let look = match self.look_at_kept() {
            Some(look) => look,
            None => self.judge.look(&mut self.session, &self.assignment, &mut self.offload),
        };
        self.looked(look)
    }

    /// Notes the result of a look, sets the alarm for the next one, and returns what is due now.
    pub(super) fn looked(&mut self, Look { now, due, next }: Look) -> Option<Due> {
        self.write_notes();
        self.set_alarm(next);
        // A session that is only watched writes no text that nobody reads.
        if self.assignment.settings.debug {
            let record = self
                .record(Event::Look)
                .with_some(Key::Tty, names(&self.session.terminals))
                .with(Key::Idle, self.judge.idle().as_secs())
                .with_some(Key::Next, (next != NEVER).then(|| next.saturating_sub(now.boot) / SECOND));
            self.journal.write(&record);
        }
        due
    }

    /// Puts on record what the judge has noted.
    pub(super) fn write_notes(&mut self) {
        for note in self.judge.take_notes() {
            let record = match note {
                Note::Tampering(id, doubt) => self.tampering(id, doubt),
                Note::Console { graphical } => self
                    .record(Event::Console)
                    .with_some(Key::Tty, self.judge.console_name())
                    .with(Key::Graphical, if graphical { "yes" } else { "no" }),
                Note::Error(error) => self.record(Event::Error).with(Key::Error, error),
            };
            self.journal.write(&record);
        }
    }

    fn tampering(&self, id: DeviceId, doubt: Doubt) -> Record {
        let tty = self.session.terminals.iter().find(|terminal| terminal.id == id);
        let record = self.record(Event::Tampering).with_some(Key::Tty, tty.map(|tty| &tty.name));
        let disbelieved = |stamp| (stamp, "no", None);
        let (stamp, believed, credits) = match doubt {
            Doubt::Credited { left } => ("doubtful", "yes", Some(left)),
            Doubt::Disbelieved => disbelieved("doubtful"),
            Doubt::Refuted => disbelieved("refuted"),
            Doubt::Future => disbelieved("future"),
        };
        record.with(Key::Stamp, stamp).with(Key::Believed, believed).with_some(Key::Credits, credits)
    }
}
