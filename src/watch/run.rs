//! The helper from start to end: arm, then sleep and look, then leave.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};

use super::activity::{Activity, Doubt};
use super::caller::Caller;
use super::connection;
use super::ending::{Ladder, Outcome, Reach};
use super::jobs::{Jobs, Snapshot};
use super::journal::{Journal, limit_text, names, numbers, ordered};
use super::members::Standing;
use super::notice::{self, Warning};
use super::schedule::{Action, Ground, Schedule, Shown};
use super::terminal::Terminal;
use super::terminals::{Finder, Way};
use super::watched::Watched;
use crate::handoff::{ARMED, Assignment, CLOSE_SIGNAL, LEADER_FD, Orders, REFUSED, STATUS_FD};
use crate::policy::Kill;
use crate::record::Record;
use crate::sys::aside::Aside;
use crate::sys::cgroup::{self, Places};
use crate::sys::clock::{Alarm, Moment, Nanos, SECOND, StepWatch, timeout};
use crate::sys::devnode::{self, DeviceId};
use crate::sys::guard::{self, Received, Signals};
use crate::sys::heap;
use crate::sys::inherit;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Usage};

/// How often records are offered again to a log daemon that took none.
const RETRY: Nanos = SECOND;

/// The helper's whole life. Its arguments are [`Assignment::to_args`]; descriptors 3 and 4 are the
/// leader's pidfd and the status pipe.
///
/// # Errors
///
/// Why it is not armed. The module has been told too, if there is one.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let not_started = |_: io::Error| "is started by pam_idle_watchdog.so, not by hand".to_owned();
    let leader = PidFd::from(inherit::take(LEADER_FD).map_err(not_started)?);
    let mut status = File::from(inherit::take(STATUS_FD).map_err(not_started)?);
    let armed = Assignment::from_args(args)
        .map_err(|e| e.to_string())
        .and_then(|assignment| Watchdog::arm(assignment, leader));
    match armed {
        Ok(mut watchdog) => {
            // A module that gave up waiting kills us: there is nobody to tell then.
            let told = status.write_all(&[ARMED]);
            drop(status);
            told.map_err(|e| format!("the module is gone: {e}"))?;
            watchdog.note_arming();
            watchdog.watch();
            watchdog.linger();
            Ok(())
        }
        Err(why) => {
            let _ = status.write_all(&[&[REFUSED], why.as_bytes()].concat());
            Err(why)
        }
    }
}

/// With fewer descriptors nobody could be ended.
const DESCRIPTORS: u64 = 64;

/// Why the helper woke up.
enum Event {
    /// It is time to look, or somebody stepped the clock.
    Look,
    /// The leader closed its PAM session.
    Closed,
    /// The leader is gone and has said nothing.
    LeaderGone,
}

struct Watchdog {
    assignment: Assignment,
    session: Watched,
    journal: Journal,
    activity: Activity,
    /// The jobs in the foreground, where their processor time counts.
    jobs: Option<Jobs>,
    schedule: Schedule,
    /// What the session was judged by at the last look.
    ground: Ground,
    /// Its connection could not be asked, and that is on record.
    unasked: bool,
    /// Forgeries not believed so far; the first of a session is on record.
    disbelieved: usize,
    alarm: Alarm,
    steps: StepWatch,
    aside: Aside,
}

impl Watchdog {
    fn arm(assignment: Assignment, leader: PidFd) -> Result<Self, String> {
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| format!("getrlimit: {e}"))?;
        if descriptors < DESCRIPTORS {
            return Err(format!("{descriptors} descriptors are too few, and more are forbidden"));
        }
        let signals = Signals::block().map_err(|e| format!("cannot block signals: {e}"))?;
        let timer = |e: Errno| format!("cannot make a timer: {e}");
        let (alarm, steps) = (Alarm::new().map_err(timer)?, StepWatch::new().map_err(timer)?);
        let proc = Proc::default();
        let session = &assignment.session;
        let process = proc.process(session.leader).filter(|_| !leader.has_exited());
        let process = process.ok_or("the leader is not to be seen in /proc")?;
        // We were started where the leader is. There the user may be able to have us stopped along
        // with his processes; elsewhere nobody but root acts on control groups.
        let places = Places::of(&proc, nix::unistd::getpid().as_raw());
        let standing = Standing::of(&proc, &process, &places);
        match cgroup::leave(&proc, &places) {
            Err(e) if places.are_a_users() => {
                return Err(format!("cannot leave the user's control group: {e}"));
            }
            _ => {}
        }
        let finder = Finder::new(proc.clone(), &process, session.tty.as_deref());
        let audit = proc.audit_session(process.pid);
        let orders = &assignment.orders;
        let journal = Journal::new(session.clone(), places.session().map(str::to_owned), audit, orders.debug);
        let now = Moment::now();
        Ok(Self {
            activity: Activity::new(now, orders.activity.output),
            jobs: orders.activity.cpu.then(Jobs::default),
            schedule: schedule(orders),
            ground: Ground::Nothing,
            unasked: false,
            assignment,
            session: Watched { proc, standing, finder, leader, signals, terminals: Vec::new() },
            journal,
            disbelieved: 0,
            alarm,
            steps,
            aside: Aside::default(),
        })
    }

    /// What a login need not wait for.
    fn note_arming(&mut self) {
        guard::settle();
        self.session.finder.choose_way();
        let record = ordered(self.record("armed"), &self.assignment.orders)
            .with("terminals", self.session.finder.way().word())
            .with("members", self.session.standing.word());
        self.journal.info(&record);
    }

    /// From *armed* to the end of the session, by whoever.
    fn watch(&mut self) {
        // The first look is due at once.
        if let Err(e) = self.alarm.set(0) {
            self.could_not(&format!("set the alarm: {e}"));
        }
        loop {
            match self.sleep() {
                Event::Closed => return self.journal.debug(|journal| journal.record("closed")),
                Event::LeaderGone => return self.take_over(),
                Event::Look => match self.look() {
                    Ok(Some(Action::End)) => return self.end(),
                    Ok(_) => {}
                    Err(why) => self.could_not(&why),
                },
            }
        }
    }

    /// Sleeps until something is to be done.
    fn sleep(&mut self) -> Event {
        heap::trim();
        loop {
            let mut fds = [
                PollFd::new(self.session.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.session.leader.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.steps.as_fd(), PollFlags::POLLIN),
            ];
            // No event comes of a log daemon's return.
            let longest = if self.journal.is_behind() { timeout(RETRY) } else { PollTimeout::NONE };
            let woken = poll(&mut fds, longest);
            let [_, leader, alarm, step] = fds.map(|fd| fd.any().unwrap_or(false));
            if woken == Ok(0) {
                self.journal.flush();
            }
            if woken.is_err() {
                continue;
            }
            // Before the leader's exit: it says goodbye first and exits then.
            let came = self.session.signals.take();
            let leader_pid = self.assignment.session.leader;
            if came.iter().any(|came| (came.signal, came.sender) == (CLOSE_SIGNAL, leader_pid)) {
                return Event::Closed;
            }
            for came in &came {
                self.hear(came);
            }
            if leader {
                return Event::LeaderGone;
            }
            if step {
                if let Err(e) = self.steps.arm() {
                    self.could_not(&format!("watch for steps of the clock: {e}"));
                }
            }
            if alarm {
                self.alarm.silence();
            }
            if alarm || step {
                return Event::Look;
            }
        }
    }

    /// Somebody calls, if it is that. New orders hold from now on, and are looked at at once; what is
    /// wrong with one leaves the old ones.
    fn hear(&mut self, came: &Received) {
        let caller = match Caller::of(&self.session.proc, came) {
            None => return,
            Some(Ok(caller)) => caller,
            Some(Err(why)) => return self.could_not(&format!("take new orders: {why}")),
        };
        match &caller.orders {
            Ok(orders) => {
                self.obey(orders.clone());
                caller.answer(Ok(()));
            }
            Err(why) => {
                self.could_not(&format!("take new orders: {why}"));
                caller.answer(Err(why));
            }
        }
    }

    fn obey(&mut self, orders: Orders) {
        // Who has been warned is not to begin anew because somebody else's rule was changed.
        if orders == self.assignment.orders {
            return;
        }
        self.activity.count_output(orders.activity.output);
        if orders.activity.cpu && self.jobs.is_none() {
            // What was busy before nobody asked is not known: it has the benefit of the doubt.
            self.activity.note(Moment::now().boot);
        }
        self.jobs = orders.activity.cpu.then(|| self.jobs.take().unwrap_or_default());
        self.schedule = schedule(&orders);
        self.journal.set_debug(orders.debug);
        let record = ordered(self.record("reloaded"), &orders);
        self.assignment.orders = orders;
        self.journal.info(&record);
        if let Err(e) = self.alarm.set(0) {
            self.could_not(&format!("set the alarm: {e}"));
        }
    }

    /// Looks once, and does what is due but the end.
    fn look(&mut self) -> Result<Option<Action>, String> {
        // The time first: what is stamped while we sample must not look older than the look.
        let now = Moment::now();
        self.session.terminals = self.session.finder.find();
        let samples = self.session.finder.sample(&self.session.terminals, &self.activity, &mut self.aside);
        let doubts = self.activity.look(now, &samples);
        for (id, doubt) in doubts {
            self.record_doubt(id, doubt);
        }
        self.look_at_jobs(now);
        self.ground = self.ground();
        let shown = Shown { last: self.activity.last(), ground: self.ground };
        let (action, wake) = self.schedule.next(now, shown);
        match action {
            Some(Action::Warn { left }) => self.warn(left),
            Some(Action::Resume) => {
                let record = self.idle_record("resumed");
                self.journal.info(&record);
            }
            Some(Action::Report) => self.report(),
            Some(Action::End) | None => {}
        }
        let wake = self.activity.settles().map_or(wake, |settled| settled.min(wake));
        self.alarm.set(wake).map_err(|e| format!("set the alarm: {e}"))?;
        let idle = self.idle();
        let tty = names(&self.session.terminals);
        self.journal.debug(|journal| {
            journal
                .record("look")
                .with_some("tty", tty)
                .with("idle", idle.as_secs())
                .with("next", wake.saturating_sub(now.boot) / SECOND)
        });
        Ok(action)
    }

    /// What the session is judged by. If that is its connection, that is asked.
    fn ground(&mut self) -> Ground {
        let Orders { limit, notty, .. } = &self.assignment.orders;
        if self.activity.has_terminals() {
            return Ground::Terminals;
        }
        // A su or a job may have sockets of whoever started it: only who came from elsewhere came by one.
        if limit.is_none() || notty.is_none() || self.assignment.session.rhost.is_none() {
            return Ground::Nothing;
        }
        let Watched { proc, leader, .. } = &self.session;
        match connection::heard(proc, self.assignment.session.leader, leader) {
            Ok(Some(last)) => {
                self.activity.note(last);
                Ground::Connection
            }
            Ok(None) => Ground::Nothing,
            Err(e) => {
                // A leader that is gone is another matter.
                if !self.unasked && !self.session.leader.has_exited() {
                    self.unasked = true;
                    self.could_not(&format!("ask the connection, which notty= needs: {e}"));
                }
                Ground::Nothing
            }
        }
    }

    /// Where processor time counts: whether the foreground jobs have used some since the look before.
    fn look_at_jobs(&mut self, now: Moment) {
        let Some(jobs) = self.jobs.as_mut().filter(|jobs| jobs.is_due(now.mono)) else { return };
        let Watched { proc, terminals, .. } = &self.session;
        let ids: Vec<DeviceId> = terminals.iter().map(|terminal| terminal.id).collect();
        let usages: Vec<Usage> = if ids.is_empty() { Vec::new() } else { proc.usages().collect() };
        let snapshot = Snapshot::of(&usages, &ids, |pid, id| proc.may_stand_on(pid, id));
        if jobs.look(now.mono, snapshot) {
            self.activity.note(now.boot);
        }
    }

    fn warn(&mut self, left: Duration) {
        let Orders { limit, message, rule, quiet, .. } = &self.assignment.orders;
        let (limit, rule, quiet) = (limit.unwrap_or_default(), rule.as_deref(), *quiet);
        let warning = Warning { user: &self.assignment.session.user, idle: self.idle(), limit, left, rule };
        let text = |terminal: &Terminal| warning.text(message.as_ref(), &terminal.name);
        let unwritten = tell(quiet, &self.session.terminals, text, &mut self.aside);
        if self.assignment.orders.activity.output && !quiet {
            self.disown();
        }
        let record = self.idle_record("warned").with("left", left.as_secs());
        let record =
            if quiet { record.with("quiet", "yes") } else { record.with_some("unwritten", unwritten) };
        self.journal.info(&record);
    }

    /// What we have just written on the terminals is not the session's activity.
    fn disown(&mut self) {
        for Terminal { path, id, .. } in &self.session.terminals {
            if let Some((_, stamps)) = devnode::stat(path).ok().filter(|(found, _)| found == id) {
                self.activity.wrote(*id, stamps);
            }
        }
    }

    fn end(&mut self) {
        let nested = self.session.standing.nested();
        let Some(reach) = Reach::of(self.assignment.orders.kill, nested) else {
            return;
        };
        let idle = self.idle_record("ending");
        let reason = notice::reason(self.idle(), self.assignment.orders.limit.unwrap_or_default());
        self.climb(reach, idle, &reason);
    }

    /// The leader is gone without a word: sshd's child and a shell may be left, connected and in no
    /// PAM session. A nested leader leaves nothing that the outer watchdog does not guard.
    fn take_over(&mut self) {
        // Only who still holds a master vouches for a terminal: those of the last look may be
        // somebody else's by now.
        if self.session.finder.way() != Way::Own {
            let holders = self.session.standing.connection_holders(&self.session.proc);
            self.session.terminals =
                holders.iter().flat_map(|holder| self.session.finder.held_by(holder.pid)).collect();
        }
        let record = self.idle_record("orphaned");
        let leave = self.session.standing.nested()
            || self.session.terminals.is_empty()
            || self.assignment.orders.kill == Kill::None
            || self.assignment.orders.limit.is_none();
        if leave {
            return self.journal.notice(&record.with("left", "alone"));
        }
        self.climb(Reach::Orphans, record, notice::ORPHANED);
    }

    fn climb(&mut self, reach: Reach, begin: Record, reason: &str) {
        let ladder = Ladder::new(&self.session, reach);
        let begin = begin.with("members", ladder.members()).with_some("spared", numbers(ladder.spared()));
        self.journal.notice(&begin);
        let quiet = self.assignment.orders.quiet || ladder.members() == 0;
        let unwritten = tell(quiet, &self.session.terminals, |_| reason.to_owned(), &mut self.aside);
        let Outcome { hup, term, kill, forbidden, survivors } = ladder.climb(self.assignment.orders.grace);
        let record = self
            .idle_record("ended")
            .with("hup", hup)
            .with("term", term)
            .with("kill", kill)
            .with_some("forbidden", (forbidden > 0).then_some(forbidden))
            .with_some("unwritten", unwritten)
            .with_some("disbelieved", (self.disbelieved > 0).then_some(self.disbelieved))
            .with("survivors", numbers(&survivors).unwrap_or_else(|| "0".to_owned()));
        if survivors.is_empty() {
            self.journal.notice(&record);
        } else {
            self.journal.error(&record);
        }
    }

    fn report(&mut self) {
        let ladder = Ladder::new(&self.session, Reach::Session);
        let record = self
            .idle_record("would-end")
            .with("members", ladder.members())
            .with_some("spared", numbers(ladder.spared()));
        self.journal.notice(&record);
    }

    fn record_doubt(&mut self, id: DeviceId, doubt: Doubt) {
        let tty = self
            .session
            .terminals
            .iter()
            .find(|terminal| terminal.id == id)
            .map(|terminal| terminal.name.clone());
        let record = self.record("tampering").with_some("tty", tty);
        let record = match doubt {
            Doubt::Credited { left } => {
                record.with("stamp", "doubtful").with("believed", "yes").with("credits", left)
            }
            Doubt::Disbelieved | Doubt::Future => {
                self.disbelieved += 1;
                if self.disbelieved > 1 {
                    return;
                }
                let stamp = if doubt == Doubt::Future { "future" } else { "doubtful" };
                record.with("stamp", stamp).with("believed", "no")
            }
        };
        self.journal.notice(&record);
    }

    fn could_not(&mut self, what: &str) {
        let record = self.record("could-not").with("what", what);
        self.journal.error(&record);
    }

    fn record(&self, event: &str) -> Record {
        self.journal.record(event)
    }

    /// A record with the terminals, the idle time and the limit that holds.
    fn idle_record(&self, event: &str) -> Record {
        let Orders { limit, notty, .. } = &self.assignment.orders;
        let (name, limit) =
            if self.ground == Ground::Connection { ("notty", *notty) } else { ("limit", *limit) };
        self.record(event)
            .with_some("tty", names(&self.session.terminals))
            .with("idle", self.idle().as_secs())
            .with(name, limit_text(limit))
    }

    fn idle(&self) -> Duration {
        let idle = Moment::now().boot.saturating_sub(self.activity.last());
        Duration::from_nanos(u64::try_from(idle).unwrap_or(0))
    }

    /// A log daemon that is just being restarted still gets the last records.
    fn linger(&mut self) {
        while self.journal.is_behind() {
            let _ = poll(&mut [], timeout(RETRY));
            self.journal.flush();
        }
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

fn schedule(orders: &Orders) -> Schedule {
    Schedule::new(orders.limit, orders.notty, &orders.warn, orders.kill == Kill::None)
}
