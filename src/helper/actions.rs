//! What the helper does to a session: it warns, ends or reports, and writes the records.

use std::time::Duration;

use crate::helper::audit::{AuditIds, Cause, EndEvent};
use crate::helper::journal::{limit_text, names, pids};
use crate::helper::notice::{self, Warning};
use crate::helper::run::Watchdog;
use crate::helper::terminals::FoundBy;
use crate::helper::terminals::terminal::Terminal;
use crate::helper::terminate::{Outcome, Reach, Termination};
use crate::helper::waiting::{Asked, asked_by};
use crate::policy::Kill;
use crate::policy::Settings;
use crate::protocol::request::Reply;
use crate::protocol::status::State;
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
        let not_shown = write(quiet, &self.session.terminals, text, &mut self.offload);
        self.note_output();
        let record = self.idle_record(Event::Warned, idle).with(Key::Remaining, left.as_secs());
        let record =
            if quiet { record.with(Key::Quiet, "yes") } else { record.with_some(Key::NotShown, not_shown) };
        self.journal.write(&record);
    }

    /// Writes a text to the terminals, unless `quiet` is set. Returns the names of those that did not take it.
    pub(super) fn tell_all(&mut self, text: &str) -> Option<String> {
        let quiet = self.assignment.settings.quiet;
        let not_shown = write(quiet, &self.session.terminals, |_| text.to_owned(), &mut self.offload);
        self.note_output();
        not_shown
    }

    /// Our own text does not count as output.
    fn note_output(&mut self) {
        let Settings { activity, quiet, .. } = &self.assignment.settings;
        if activity.output && !quiet {
            self.judge.wrote_on(&self.session);
        }
    }

    /// Puts on record that somebody was active after a warning.
    pub(super) fn resume(&mut self) {
        let record = self.idle_record(Event::Resumed, self.judge.idle());
        self.journal.write(&record);
    }

    pub(super) fn end(&mut self) {
        let nested = self.session.identity.nested();
        let Some(reach) = Reach::of(self.assignment.settings.kill, nested) else {
            return;
        };
        let idle = self.judge.idle();
        let reason = notice::reason(idle, self.assignment.settings.limit.unwrap_or_default());
        self.terminate(reach, Event::Ending, idle, &reason, None);
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
        self.terminate(Reach::Orphans, Event::Orphaned, idle, notice::ORPHANED, None);
    }

    /// Acts after the leader had become the person's program and this program has ended, or after the leader of
    /// an adopted session has ended. The session has usually ended with it. If a process remains on the terminal after the hang-up, it is ended as if the leader had
    /// crashed.
    pub(super) fn leave_or_take_over(&mut self) {
        const HANGING_UP: Nanos = 2 * SECOND;
        pause(HANGING_UP);
        let Settings { kill, limit, .. } = &self.assignment.settings;
        let ends = !self.session.identity.nested() && *kill != Kill::None && limit.is_some();
        if ends && Termination::new(&self.session, Reach::Orphans).members() > 0 {
            self.take_over();
            return self.leave_the_rest(true);
        }
        self.leave_the_rest(false);
    }

    /// Ends the session. `idle` is the idle time at the decision, `text` tells the person why. `asked` is there
    /// if an administrator wants the end.
    pub(super) fn terminate(
        &mut self,
        reach: Reach,
        event: Event,
        idle: Duration,
        text: &str,
        asked: Option<&Asked>,
    ) {
        let ids = self.session.audit.read(&self.session.proc);
        self.dismiss(State::Ending);
        self.session.ending = Some(self.status(State::Ending));
        let wanted = |record: Record| match asked {
            Some(Asked { caller, reason }) => asked_by(record, &caller.requester, reason.as_ref()),
            None => record,
        };
        let tell = |answer| asked.iter().for_each(|asked| asked.caller.answer(&answer));
        let termination = Termination::new(&self.session, reach);
        let ending = self
            .idle_record(event, idle)
            .with(Key::Members, termination.members())
            .with_some(Key::Spared, pids(termination.spared()));
        self.journal.write(&wanted(ending));
        let grace = self.assignment.settings.grace;
        tell(Reply::Ending { members: termination.members(), grace });
        let quiet = self.assignment.settings.quiet || termination.members() == 0;
        let not_shown = write(quiet, &self.session.terminals, |_| text.to_owned(), &mut self.offload);
        let commands = termination.commands();
        let disbelieved = self.judge.disbelieved();
        let Outcome { hup, term, kill, denied, survivors, incomplete } = termination.run(grace);
        let record = wanted(self.idle_record(Event::Ended, idle))
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
        tell(Reply::Ended { survivors: survivors.len() });
        let cause = match (asked, event) {
            (Some(_), _) => Cause::Administrator,
            (None, Event::Orphaned) => Cause::LeaderGone,
            (None, _) => Cause::Idle,
        };
        self.audit(cause, ids, survivors.is_empty());
    }

    /// Tells the kernel's audit that the session was ended. This is last, because it may wait for auditd.
    fn audit(&mut self, cause: Cause, ids: AuditIds, success: bool) {
        let terminal = self.session.terminals.first().map(|terminal| terminal.name.as_str());
        let end = EndEvent { cause, terminal, ids, success };
        if let Err(why) = end.report(&self.session.proc, &self.assignment) {
            self.error(&why);
        }
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

    /// A record with the terminals, the idle time, the limit that applies, and what the session is judged by.
    pub(super) fn idle_record(&self, event: Event, idle: Duration) -> Record {
        let (limit, by) = self.judged_by();
        self.record(event)
            .with_some(Key::Tty, names(&self.session.terminals))
            .with(Key::Idle, idle.as_secs())
            .with(Key::Limit, limit_text(limit))
            .with_some(Key::By, by)
    }
}

/// Writes to the terminals, unless `quiet` is set. Returns the names of the terminals that did not take the
/// text.
fn write(
    quiet: bool,
    terminals: &[Terminal],
    text: impl Fn(&Terminal) -> String,
    offload: &mut Offload,
) -> Option<String> {
    if quiet { None } else { names(&notice::write(terminals, text, offload)) }
}
