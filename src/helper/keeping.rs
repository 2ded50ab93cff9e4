//! Keeps a connection while its terminals end, and looks at it. [`crate::helper::kept`] decides how long.

use std::time::Duration;

use crate::helper::actions::Ending;
use crate::helper::audit::Cause;
use crate::helper::judge::Look;
use crate::helper::judgement::schedule::{Due, JudgedBy};
use crate::helper::kept::{self, KeptConnection, KeptUntil, LOOKS, Traffic};
use crate::helper::run::Watchdog;
use crate::helper::terminals::FoundBy;
use crate::helper::terminals::terminal::Terminal;
use crate::helper::terminate::Reach;
use crate::policy::Kill;
use crate::record::Event;
use crate::sys::clock::{Moment, SECOND, pause};
use crate::sys::devnode::DeviceId;

impl Watchdog {
    /// The work that keeps the connection although the session has reached its limit. `None` if there is none,
    /// or if it is not certain what happens on the connection.
    pub(super) fn work(&mut self) -> Option<KeptConnection> {
        let applies = self.kept.is_none()
            && self.assignment.settings.kill == Kill::Terminal
            && !self.session.identity.nested()
            && self.session.finder.found_by() == FoundBy::Masters
            && self.judge.judged_by() == JudgedBy::Terminals;
        if applies && self.traffic() == Traffic::Busy { KeptConnection::find(&self.session) } else { None }
    }

    /// Asks the connection whether data goes over it.
    fn traffic(&mut self) -> Traffic {
        let silence = self.judge.silence(&self.session, &self.assignment);
        Traffic::of(silence, self.assignment.settings.limit)
    }

    /// Ends what is on the terminals, and keeps the connection.
    pub(super) fn end_terminals(&mut self, mut kept: KeptConnection, idle: Duration, reason: &str) {
        let ending = Ending {
            record: self.idle_record(Event::Ending, idle),
            kept: kept.names(&self.session.proc),
            text: reason,
        };
        kept.results = self.carry_out(Reach::Terminals, Vec::new(), ending, None);
        let due = Moment::now().mono.saturating_add(kept::TERMINAL_CLOSES);
        // A new terminal of a person who comes back at once does not count.
        let ended: Vec<DeviceId> = self.session.terminals.iter().map(|terminal| terminal.id).collect();
        let is_open = |terminals: Vec<Terminal>| terminals.iter().any(|one| ended.contains(&one.id));
        while is_open(self.session.finder.find()) && Moment::now().mono < due {
            pause(SECOND / 20);
        }
        self.session.ending = None;
        self.kept = Some(kept);
        self.look_soon();
    }

    /// Puts on record that the session was closed.
    pub(super) fn closed(&mut self) {
        let Some(kept) = self.kept.take() else { return self.leave_the_rest(false) };
        let ids = self.session.audit.read(&self.session.proc);
        let success = self.write_ended(self.judge.idle(), kept.results, Some(KeptUntil::Closed), None);
        self.audit(Cause::Idle, ids, success);
        self.leave_the_rest(true);
    }

    /// Looks at a kept connection, if there is one.
    pub(super) fn look_at_kept(&mut self) -> Option<Look> {
        self.kept.as_ref()?;
        let (now, traffic) = (Moment::now(), self.traffic());
        self.session.terminals = self.session.finder.find();
        let has_terminal = !self.session.terminals.is_empty();
        let is_over = self.kept.as_mut()?.is_over(&self.session.proc, has_terminal, traffic);
        Some(Look { now, due: is_over.then_some(Due::End), next: now.boot.saturating_add(LOOKS) })
    }
}
