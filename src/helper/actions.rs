//! What is done to a session: warned, ended, or only reported; and the records of it.

use std::time::Duration;

use nix::poll::poll;

use crate::helper::journal::{limit_text, names, pids};
use crate::helper::judgement::schedule::Ground;
use crate::helper::notice::{self, Warning};
use crate::helper::run::Watchdog;
use crate::helper::terminals::Way;
use crate::helper::terminals::terminal::Terminal;
use crate::helper::terminate::{Ladder, Outcome, Reach};
use crate::policy::Kill;
use crate::protocol::start::Orders;
use crate::record::{Event, Key, Record, Severity};
use crate::sys::clock::{Moment, Nanos, SECOND, timeout};
use crate::sys::devnode;
use crate::sys::offload::Aside;

impl Watchdog {
    pub(super) fn warn(&mut self, left: Duration) {
        let Orders { limit, message, rule, quiet, .. } = &self.assignment.orders;
        let (limit, rule, quiet) = (limit.unwrap_or_default(), rule.as_deref(), *quiet);
        let user = &self.assignment.session.user.to_string_lossy();
        let idle = self.idle();
        let warning = Warning { user, idle, limit, left, rule };
        let text = |terminal: &Terminal| warning.text(message.as_ref(), &terminal.name);
        let not_shown = tell(quiet, &self.watched.terminals, text, &mut self.aside);
        if self.assignment.orders.activity.output && !quiet {
            self.disown();
        }
        let record = self.idle_record(Event::Warned, idle).with(Key::Remaining, left.as_secs());
        let record =
            if quiet { record.with(Key::Quiet, "yes") } else { record.with_some(Key::NotShown, not_shown) };
        self.journal.write(&record);
    }

    /// What we have just written on the terminals is not the session's activity.
    fn disown(&mut self) {
        for Terminal { path, id, .. } in &self.watched.terminals {
            if let Some((_, stamps)) = devnode::stat(path).ok().filter(|(found, _)| found == id) {
                self.activity.wrote(*id, stamps);
            }
        }
    }

    pub(super) fn end(&mut self) {
        let nested = self.watched.standing.nested();
        let Some(reach) = Reach::of(self.assignment.orders.kill, nested) else {
            return;
        };
        let idle = self.idle();
        let reason = notice::reason(idle, self.assignment.orders.limit.unwrap_or_default());
        self.climb(reach, Event::Ending, idle, &reason);
    }

    /// The leader is gone without a word: sshd's child and a shell may be left, connected and in no
    /// PAM session. A nested leader leaves nothing that the outer watchdog does not guard.
    pub(super) fn take_over(&mut self) {
        // Only who still holds a master vouches for a terminal: those of the last look may be
        // somebody else's by now.
        if self.watched.finder.way() != Way::Own {
            let holders = self.watched.standing.connection_holders(&self.watched.proc);
            self.watched.terminals =
                holders.iter().flat_map(|holder| self.watched.finder.held_by(holder.id.pid)).collect();
        }
        let idle = self.idle();
        let leave = self.watched.standing.nested()
            || self.watched.terminals.is_empty()
            || self.assignment.orders.kill == Kill::None
            || self.assignment.orders.limit.is_none();
        if leave {
            let record = self.idle_record(Event::Orphaned, idle).with(Key::Action, "none");
            return self.journal.write(&record);
        }
        self.climb(Reach::Orphans, Event::Orphaned, idle, notice::ORPHANED);
    }

    /// A leader that became the person's program has ended. That is how such a session ends. A process that still
    /// sits on the terminal after the hang-up is ended, as after a crash of the leader.
    pub(super) fn leave_or_take_over(&mut self) {
        const HANGING_UP: Nanos = 2 * SECOND;
        let _ = poll(&mut [], timeout(HANGING_UP));
        let Orders { kill, limit, .. } = &self.assignment.orders;
        let ends = !self.watched.standing.nested() && *kill != Kill::None && limit.is_some();
        if ends && Ladder::new(&self.watched, Reach::Orphans).members() > 0 {
            return self.take_over();
        }
        self.journal.write(&self.record(Event::Closed));
    }

    /// Ends the session, as decided when nobody had been active for `idle`.
    fn climb(&mut self, reach: Reach, event: Event, idle: Duration, reason: &str) {
        let ladder = Ladder::new(&self.watched, reach);
        let ending = self
            .idle_record(event, idle)
            .with(Key::Members, ladder.members())
            .with_some(Key::Spared, pids(ladder.spared()));
        self.journal.write(&ending);
        let quiet = self.assignment.orders.quiet || ladder.members() == 0;
        let not_shown = tell(quiet, &self.watched.terminals, |_| reason.to_owned(), &mut self.aside);
        let commands = ladder.commands();
        let Outcome { hup, term, kill, forbidden, survivors, unsettled } =
            ladder.climb(self.assignment.orders.grace);
        let record = self
            .idle_record(Event::Ended, idle)
            .with(Key::Sighup, hup)
            .with(Key::Sigterm, term)
            .with(Key::Sigkill, kill)
            .with_some(Key::Denied, (forbidden > 0).then_some(forbidden))
            .with_some(Key::NotShown, not_shown)
            .with_some(Key::Disbelieved, (self.disbelieved > 0).then_some(self.disbelieved))
            .with_some(Key::Incomplete, unsettled.then_some("yes"))
            .with(Key::Survivors, pids(&survivors).unwrap_or_else(|| "0".to_owned()))
            // The last one, because people choose these names: whoever reads up to a field finds ours.
            .with_some(Key::Processes, commands);
        let record = if survivors.is_empty() { record } else { record.at(Severity::Error) };
        self.journal.write(&record);
    }

    pub(super) fn report(&mut self) {
        let ladder = Ladder::new(&self.watched, Reach::Session);
        let record = self
            .idle_record(Event::WouldEnd, self.idle())
            .with(Key::Members, ladder.members())
            .with_some(Key::Spared, pids(ladder.spared()))
            .with_some(Key::Processes, ladder.commands());
        self.journal.write(&record);
    }

    /// A record with the terminals, the idle time, the limit that applies, and what the idle time is of.
    pub(super) fn idle_record(&self, event: Event, idle: Duration) -> Record {
        let Orders { limit, notty, .. } = &self.assignment.orders;
        let (limit, by) = match self.ground {
            Ground::Connection => (*notty, Some("connection")),
            Ground::Terminals => (*limit, Some("terminal")),
            Ground::Nothing => (*limit, None),
        };
        self.record(event)
            .with_some(Key::Tty, names(&self.watched.terminals))
            .with(Key::Idle, idle.as_secs())
            .with(Key::Limit, limit_text(limit))
            .with_some(Key::By, by)
    }

    pub(super) fn idle(&self) -> Duration {
        let idle = Moment::now().boot.saturating_sub(self.activity.last());
        Duration::from_nanos(u64::try_from(idle).unwrap_or(0))
    }
}

/// Writes on the terminals, unless it is to be quiet; answers who did not take it.
fn tell(
    quiet: bool,
    terminals: &[Terminal],
    text: impl Fn(&Terminal) -> String,
    aside: &mut Aside,
) -> Option<String> {
    if quiet { None } else { names(&notice::write(terminals, text, aside)) }
}
