//! What the helper does to a session: it warns, ends or reports, and writes the records.

use std::time::Duration;

use crate::helper::journal::{limit_text, names, pids};
use crate::helper::judgement::schedule::JudgedBy;
use crate::helper::notice::{self, Warning};
use crate::helper::run::Watchdog;
use crate::helper::terminals::FoundBy;
use crate::helper::terminals::terminal::Terminal;
use crate::helper::terminate::{Outcome, Reach, Termination};
use crate::policy::Kill;
use crate::policy::Settings;
use crate::record::{Event, Key, Record, Severity};
use crate::sys::clock::{Nanos, SECOND, pause};
use crate::sys::offload::Offload;

impl Watchdog {
    pub(super) fn warn(&mut self, left: Duration) {
        let Settings { limit, message, rule, quiet, .. } = &self.assignment.settings;
        let rule = rule.as_ref().map(ToString::to_string);
        let (limit, rule, quiet) = (limit.unwrap_or_default(), rule.as_deref(), *quiet);
        let user = &self.assignment.login.user_text();
        let idle = self.judge.idle();
        let warning = Warning { user, idle, limit, left, rule };
        let text = |terminal: &Terminal| warning.text(message.as_ref(), &terminal.name);
        let not_shown = tell(quiet, &self.session.terminals, text, &mut self.offload);
        if self.assignment.settings.activity.output && !quiet {
            self.judge.wrote_on(&self.session);
        }
        let record = self.idle_record(Event::Warned, idle).with(Key::Remaining, left.as_secs());
        let record =
            if quiet { record.with(Key::Quiet, "yes") } else { record.with_some(Key::NotShown, not_shown) };
        self.journal.write(&record);
    }

    /// Puts on record that somebody was active after a warning or a report.
    pub(super) fn resume(&mut self, away: Option<Duration>) {
        let record = self
            .idle_record(Event::Resumed, self.judge.idle())
            .with_some(Key::Away, away.map(|away| away.as_secs()));
        self.journal.write(&record);
    }

    pub(super) fn end(&mut self) {
        let nested = self.session.identity.nested();
        let Some(reach) = Reach::of(self.assignment.settings.kill, nested) else {
            return;
        };
        let idle = self.judge.idle();
        let reason = notice::reason(idle, self.assignment.settings.limit.unwrap_or_default());
        self.terminate(reach, Event::Ending, idle, &reason);
    }

    /// Acts after the leader has ended without closing the session. A child of sshd and a shell may remain.
    /// They are connected, but in no PAM session. If the session was nested, the watchdog of the outer session
    /// guards them.
    pub(super) fn take_over(&mut self) {
        // A terminal of the last look may belong to another session by now, unless a process of the connection
        // still has its master open.
        if self.session.finder.found_by() != FoundBy::Own {
            let holders = self.session.identity.connection_holders(&self.session.proc);
            self.session.terminals =
                holders.iter().flat_map(|holder| self.session.finder.held_by(holder.id.pid)).collect();
        }
        let idle = self.judge.idle();
        let leave = self.session.identity.nested()
            || self.session.terminals.is_empty()
            || self.assignment.settings.kill == Kill::None
            || self.assignment.settings.limit.is_none();
        if leave {
            let record = self.idle_record(Event::Orphaned, idle).with(Key::Action, "none");
            return self.journal.write(&record);
        }
        self.terminate(Reach::Orphans, Event::Orphaned, idle, notice::ORPHANED);
    }

    /// Acts after the leader had become the person's program and this program has ended. The session has ended
    /// with it. If a process remains on the terminal after the hang-up, it is ended as if the leader had
    /// crashed.
    pub(super) fn leave_or_take_over(&mut self) {
        const HANGING_UP: Nanos = 2 * SECOND;
        pause(HANGING_UP);
        let Settings { kill, limit, .. } = &self.assignment.settings;
        let ends = !self.session.identity.nested() && *kill != Kill::None && limit.is_some();
        if ends && Termination::new(&self.session, Reach::Orphans).members() > 0 {
            return self.take_over();
        }
        self.journal.write(&self.record(Event::Closed));
    }

    /// Ends the session. `idle` is the idle time at the decision.
    fn terminate(&mut self, reach: Reach, event: Event, idle: Duration, reason: &str) {
        let termination = Termination::new(&self.session, reach);
        let ending = self
            .idle_record(event, idle)
            .with(Key::Members, termination.members())
            .with_some(Key::Spared, pids(termination.spared()));
        self.journal.write(&ending);
        let quiet = self.assignment.settings.quiet || termination.members() == 0;
        let not_shown = tell(quiet, &self.session.terminals, |_| reason.to_owned(), &mut self.offload);
        let commands = termination.commands();
        let disbelieved = self.judge.disbelieved();
        let Outcome { hup, term, kill, denied, survivors, incomplete } =
            termination.run(self.assignment.settings.grace);
        let record = self
            .idle_record(Event::Ended, idle)
            .with(Key::Sighup, hup)
            .with(Key::Sigterm, term)
            .with(Key::Sigkill, kill)
            .with_some(Key::Denied, (denied > 0).then_some(denied))
            .with_some(Key::NotShown, not_shown)
            .with_some(Key::Disbelieved, (disbelieved > 0).then_some(disbelieved))
            .with_some(Key::Incomplete, incomplete.then_some("yes"))
            .with(Key::Survivors, pids(&survivors).unwrap_or_else(|| "0".to_owned()))
            // This is the last field, because users choose these names. A reader that takes the first field
            // with a name gets one of ours.
            .with_some(Key::Processes, commands);
        let record = if survivors.is_empty() { record } else { record.at(Severity::Error) };
        self.journal.write(&record);
    }

    pub(super) fn report(&mut self) {
        let termination = Termination::new(&self.session, Reach::Session);
        let record = self
            .idle_record(Event::WouldEnd, self.judge.idle())
            .with(Key::Members, termination.members())
            .with_some(Key::Spared, pids(termination.spared()))
            .with_some(Key::Processes, termination.commands());
        self.journal.write(&record);
    }

    /// A record with the terminals, the idle time, the limit that applies, what the session is judged by, and the
    /// rule.
    pub(super) fn idle_record(&self, event: Event, idle: Duration) -> Record {
        let Settings { limit, notty, rule, .. } = &self.assignment.settings;
        let (limit, by) = match self.judge.judged_by() {
            JudgedBy::Connection => (*notty, Some("connection")),
            JudgedBy::Terminals => (*limit, Some("terminal")),
            JudgedBy::Nothing => (*limit, None),
        };
        self.record(event)
            .with_some(Key::Tty, names(&self.session.terminals))
            .with(Key::Idle, idle.as_secs())
            .with(Key::Limit, limit_text(limit))
            .with_some(Key::By, by)
            .with_some(Key::Rule, rule.as_ref())
    }
}

/// Writes to the terminals, unless `quiet` is set. Returns the names of the terminals that did not take the
/// text.
fn tell(
    quiet: bool,
    terminals: &[Terminal],
    text: impl Fn(&Terminal) -> String,
    offload: &mut Offload,
) -> Option<String> {
    if quiet { None } else { names(&notice::write(terminals, text, offload)) }
}
