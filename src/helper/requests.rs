//! What the helper does when an administrator asks something of it.

use std::time::Duration;

use crate::helper::caller::{self, Caller, ENDING};
use crate::helper::judgement::schedule::JudgedBy;
use crate::helper::notice;
use crate::helper::run::Watchdog;
use crate::helper::terminate::{Reach, Termination, commands};
use crate::helper::waiting::{Asked, Waiting, asked_by};
use crate::policy::Kill;
use crate::protocol::request::{Reason, Reply, Request};
use crate::protocol::status::{MemberCount, State, Status};
use crate::record::{Event, Key, MOST};
use crate::sys::clock::Moment;
use crate::sys::signals::Received;

impl Watchdog {
    /// Takes the requests that the signals bring. What needs a look waits for it.
    pub(super) fn hear(&mut self, came: &[Received]) {
        for came in came {
            match Caller::of(&self.session.proc, came) {
                None => {}
                Some(Ok(caller)) => self.take(caller),
                Some(Err(why)) => self.error(&format!("cannot take a request: {why}")),
            }
        }
    }

    fn take(&mut self, caller: Caller) {
        match caller.request.clone() {
            Ok(Request::Status { members }) => self.waiting.status.push((caller, members)),
            Ok(Request::Reload(settings)) => {
                let before = Box::new(self.assignment.settings.clone());
                self.change_settings(*settings);
                caller.answer(&Reply::Reloaded(before));
            }
            Ok(Request::Extend { .. }) if self.assignment.settings.limit.is_none() => {
                caller.refuse("the session has no limit, so there is nothing to extend");
            }
            Ok(Request::Extend { .. }) if self.kept.is_some() => caller.refuse(ENDING),
            Ok(Request::Extend { time, reason }) => {
                self.judge.extend(Moment::now(), time);
                self.waiting.extended.push((caller, reason));
            }
            Ok(Request::End { .. }) if self.waiting.end.is_some() => {
                caller.refuse(ENDING);
            }
            Ok(Request::End { reason }) => self.waiting.end = Some(Asked { caller, reason }),
            Err(why) => {
                self.error(&format!("cannot take a request: {why}"));
                caller.refuse(&why);
            }
        }
    }

    /// Answers those who waited for the look that was just made. `ends` says that the end is due.
    pub(super) fn answer_waiting(&mut self, ends: bool) {
        for (caller, reason) in std::mem::take(&mut self.waiting.extended) {
            self.note_extension(&caller, reason.as_ref());
            self.waiting.status.push((caller, false));
        }
        let state = if ends { State::Ending } else { self.state() };
        self.answer_status(state);
    }

    /// Tells all who asked how the session is.
    pub(super) fn answer_status(&mut self, state: State) {
        for (caller, members) in std::mem::take(&mut self.waiting.status) {
            let members = members.then(|| self.count_members());
            caller.answer(&Reply::Status(Box::new(Status { members, ..self.status(state) })));
        }
    }

    /// Answers all who wait for a look that will not come, because the end has begun.
    pub(super) fn dismiss(&mut self, state: State) {
        self.answer_status(state);
        let Waiting { extended, end, .. } = std::mem::take(&mut self.waiting);
        let others = extended.into_iter().map(|(caller, _)| caller);
        others.chain(end.map(|asked| asked.caller)).for_each(|caller| caller.refuse(ENDING));
    }

    /// Answers all who ask after the end.
    pub(super) fn answer_after_the_end(&mut self) {
        self.dismiss(State::Closed);
        let status = self.status(State::Closed);
        caller::answer_meanwhile(&self.session.proc, &self.session.signals, Some(&status));
    }

    fn state(&self) -> State {
        let settings = &self.assignment.settings;
        if self.judge.judged_by() == JudgedBy::Detached {
            return State::Detached;
        }
        match (settings.limit, settings.kill) {
            (None, _) => State::Exempt,
            (_, Kill::None) => State::Reporting,
            _ if self.kept.is_some() => State::Ending,
            _ if self.judge.is_warned() => State::Warned,
            _ => State::Watched,
        }
    }

    /// The facts of the last look, as of now.
    pub(super) fn status(&self, state: State) -> Status {
        let now = Moment::now();
        let (limit, by) = self.judged_by();
        let terminals = &self.session.terminals;
        let ends_in = match state {
            State::Ending => Some(Duration::ZERO),
            _ => self.judge.ends_in(now).map(round_up),
        };
        Status {
            state,
            terminals: terminals.iter().take(MOST).map(|terminal| terminal.name.clone()).collect(),
            terminal_count: terminals.len(),
            idle: self.judge.idle(),
            limit,
            ends_in,
            extended: self.judge.extended(now).map(round_up),
            by: by.map(str::to_owned),
            witness: self.witness.to_owned(),
            terminals_by: self.session.finder.found_by().word().to_owned(),
            members_by: self.session.identity.word().to_owned(),
            credits: self.judge.credits(),
            disbelieved: self.judge.disbelieved(),
            members: None,
            settings: self.assignment.settings.clone(),
        }
    }

    /// The limit that applies, and what the session is judged by.
    pub(super) fn judged_by(&self) -> (Option<Duration>, Option<&'static str>) {
        let settings = &self.assignment.settings;
        match self.judge.judged_by() {
            JudgedBy::Connection => (settings.notty, Some("connection")),
            JudgedBy::Terminals => (settings.limit, Some("terminal")),
            JudgedBy::Detached => (settings.detached, Some("detached")),
            JudgedBy::Nothing => (settings.limit, None),
        }
    }

    fn count_members(&self) -> MemberCount {
        let termination = Termination::new(&self.session, self.reach_if_asked());
        MemberCount {
            count: termination.members(),
            names: commands::field(termination.commands()).unwrap_or_default(),
        }
    }

    /// Which processes an end applies to that an administrator asks for.
    fn reach_if_asked(&self) -> Reach {
        // What a logout leaves behind has no leader and no connection.
        if self.judge.judged_by() == JudgedBy::Detached {
            return Reach::Session;
        }
        let nested = self.session.identity.nested();
        Reach::of(self.assignment.settings.kill, nested).unwrap_or(Reach::Session)
    }

    /// Puts an extension on record and tells the person. With `kill=none` nothing is written on terminals.
    fn note_extension(&mut self, caller: &Caller, reason: Option<&Reason>) {
        let left = self.judge.extended(Moment::now()).unwrap_or_default();
        let text = notice::extended(round_up(left), reason.map(Reason::text));
        let tells = self.assignment.settings.kill != Kill::None;
        let not_shown = if tells { self.tell_all(&text) } else { None };
        let record = self
            .idle_record(Event::Extended, self.judge.idle())
            .with(Key::Remaining, round_up(left).as_secs())
            .with_some(Key::NotShown, not_shown);
        self.journal.write(&asked_by(record, &caller.requester, reason));
    }

    /// Ends the session if an administrator has asked for it. Returns whether one has.
    pub(super) fn end_if_asked(&mut self) -> bool {
        let Some(asked) = self.waiting.end.take() else { return false };
        let text = notice::ended_by_administrator(asked.reason.as_ref().map(Reason::text));
        let reach = self.reach_if_asked();
        let idle = self.judge.idle();
        self.terminate(reach, Event::Ending, idle, &text, Some(&asked));
        true
    }
}

/// A time in whole seconds that has not passed when the true time has not.
fn round_up(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}
