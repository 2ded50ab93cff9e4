//! What the helper does to a session: it warns, ends or reports, and writes the records.

use std::time::Duration;

use crate::helper::audit::{AuditIds, Cause, EndEvent};
use crate::helper::journal::{limit_text, names, pids};
use crate::helper::kept::{KeptUntil, Results};
use crate::helper::notice::{self, Warning};
use crate::helper::run::Watchdog;
use crate::helper::terminals::FoundBy;
use crate::helper::terminals::terminal::Terminal;
use crate::helper::terminate::{Outcome, Reach, Termination, commands};
use crate::helper::waiting::{Asked, asked_by};
use crate::policy::Kill;
use crate::policy::Settings;
use crate::protocol::request::Reply;
use crate::protocol::status::State;
use crate::record::{Event, Key, Record, Severity};
use crate::sys::clock::{Nanos, SECOND, pause};
use crate::sys::offload::Offload;
use crate::sys::proc::ProcId;

/// What the record of an end and the text for the person say.
pub(super) struct Ending<'a> {
    /// The start of the record.
    pub record: Record,
    /// The names of the processes for which the connection is kept.
    pub kept: Option<String>,
    /// Why the session ends.
    pub text: &'a str,
}

/// Adds to a record who wants the end, if an administrator does.
fn wanted(record: Record, asked: Option<&Asked>) -> Record {
    match asked {
        Some(Asked { caller, reason }) => asked_by(record, &caller.requester, reason.as_ref()),
        None => record,
    }
}

/// Tells an administrator who wants the end how far it is.
fn tell(asked: Option<&Asked>, reply: &Reply) {
    if let Some(asked) = asked {
        asked.caller.answer(reply);
    }
}

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

    /// Puts on record that somebody was active after a warning or a report.
    pub(super) fn resume(&mut self, away: Option<Duration>) {
        let record = self
            .idle_record(Event::Resumed, self.judge.idle())
            .with_some(Key::Away, away.map(|away| away.as_secs()));
        self.journal.write(&record);
    }

    /// Ends the session. Returns `false` if its connection is kept for now.
    pub(super) fn end(&mut self) -> bool {
        let Settings { kill, limit, .. } = self.assignment.settings;
        let Some(reach) = Reach::of(kill, self.session.identity.nested()) else { return true };
        let idle = self.judge.idle();
        let reason = match &self.kept {
            Some(_) => notice::kept(limit.unwrap_or_default()),
            None => notice::reason(idle, limit.unwrap_or_default()),
        };
        match self.work() {
            Some(kept) => self.end_terminals(kept, idle, &reason),
            None => self.terminate(reach, Event::Ending, idle, &reason, None),
        }
        self.kept.is_none()
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
            || (self.session.terminals.is_empty() && self.kept.is_none())
            || self.assignment.settings.kill == Kill::None
            || self.assignment.settings.limit.is_none();
        if leave {
            let record = self.idle_record(Event::Orphaned, idle).with(Key::Action, "none");
            return self.journal.write(&record);
        }
        self.terminate(Reach::Orphans, Event::Orphaned, idle, notice::ORPHANED, None);
    }

    /// Acts after the leader had become the person's program and this program has ended, or after the leader of
    /// an adopted session has ended. The session has usually ended with it. If a process remains on the terminal
    /// after the hang-up, it is ended as if the leader had crashed.
    pub(super) fn leave_or_take_over(&mut self) {
        const HANGING_UP: Nanos = 2 * SECOND;
        pause(HANGING_UP);
        let Settings { kill, limit, .. } = &self.assignment.settings;
        let ends = !self.session.identity.nested() && *kill != Kill::None && limit.is_some();
        if ends && Termination::new(&self.session, Reach::Orphans).members() > 0 {
            self.take_over();
            return self.leave_the_rest(true);
        }
        self.closed();
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
        let kept = self.kept.take();
        let until = kept.as_ref().and_then(|kept| kept.until);
        let newcomers = kept.as_ref().map(|kept| kept.newcomers(&self.session.proc)).unwrap_or_default();
        let ending = self.idle_record(event, idle).with_some(Key::KeptUntil, until.map(KeptUntil::word));
        let cause = match (asked, event) {
            (Some(_), _) => Cause::Administrator,
            (None, Event::Orphaned) => Cause::LeaderGone,
            (None, _) => Cause::Idle,
        };
        let ids = self.session.audit.read(&self.session.proc);
        let results = self.carry_out(reach, newcomers, Ending { record: ending, kept: None, text }, asked);
        let results = kept.iter().fold(results, |results, kept| results.after(&kept.results));
        let success = self.write_ended(idle, results, until, asked);
        self.audit(cause, ids, success);
    }

    /// Ends processes.
    pub(super) fn carry_out(
        &mut self,
        reach: Reach,
        newcomers: Vec<ProcId>,
        ending: Ending<'_>,
        asked: Option<&Asked>,
    ) -> Results {
        self.dismiss(State::Ending);
        self.session.ending = Some(self.status(State::Ending));
        let termination = Termination::with(&self.session, reach, newcomers);
        let record = ending
            .record
            .with(Key::Members, termination.members())
            .with_some(Key::Spared, pids(termination.spared()))
            .with_some(Key::Kept, ending.kept);
        self.journal.write(&wanted(record, asked));
        let grace = self.assignment.settings.grace;
        tell(asked, &Reply::Ending { members: termination.members(), grace });
        let quiet = self.assignment.settings.quiet || termination.members() == 0;
        let text = |_: &Terminal| ending.text.to_owned();
        let not_shown = write(quiet, &self.session.terminals, text, &mut self.offload);
        let commands = termination.commands();
        let outcome = termination.run(grace);
        Results { outcome, not_shown, commands }
    }

    /// Writes the record of a finished end. Returns whether every process is gone.
    pub(super) fn write_ended(
        &mut self,
        idle: Duration,
        results: Results,
        until: Option<KeptUntil>,
        asked: Option<&Asked>,
    ) -> bool {
        let Results { outcome, not_shown, commands } = results;
        let Outcome { hup, term, kill, denied, survivors, incomplete } = outcome;
        let disbelieved = self.judge.disbelieved();
        let record = wanted(self.idle_record(Event::Ended, idle), asked)
            .with(Key::Sighup, hup)
            .with(Key::Sigterm, term)
            .with(Key::Sigkill, kill)
            .with_some(Key::Denied, (denied > 0).then_some(denied))
            .with_some(Key::NotShown, not_shown)
            .with_some(Key::Disbelieved, (disbelieved > 0).then_some(disbelieved))
            .with_some(Key::Incomplete, incomplete.then_some("yes"))
            .with_some(Key::KeptUntil, until.map(KeptUntil::word))
            .with(Key::Survivors, pids(&survivors).unwrap_or_else(|| "0".to_owned()))
            // This is the last field, because users choose these names. A reader that takes the first field
            // with a name gets one of ours.
            .with_some(Key::Processes, commands::field(commands));
        let record = if survivors.is_empty() { record } else { record.at(Severity::Error) };
        self.journal.write(&record);
        tell(asked, &Reply::Ended { survivors: survivors.len() });
        survivors.is_empty()
    }

    /// Tells the kernel's audit that the session was ended. This is last, because it may wait for auditd.
    pub(super) fn audit(&mut self, cause: Cause, ids: AuditIds, success: bool) {
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
            .with_some(Key::Processes, commands::field(termination.commands()));
        self.journal.write(&record);
    }

    /// A record with the terminals, the idle time, the limit that applies, what the session is judged by, and the
    /// rule.
    pub(super) fn idle_record(&self, event: Event, idle: Duration) -> Record {
        let rule = &self.assignment.settings.rule;
        let (limit, by) = self.judged_by();
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
fn write(
    quiet: bool,
    terminals: &[Terminal],
    text: impl Fn(&Terminal) -> String,
    offload: &mut Offload,
) -> Option<String> {
    if quiet { None } else { names(&notice::write(terminals, text, offload)) }
}
