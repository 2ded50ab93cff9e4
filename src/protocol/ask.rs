//! How the command asks running helpers. [`crate::protocol::request`] says what.
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::protocol::request::{Reply, Request};
use crate::protocol::start::REQUEST_SIGNAL;
use crate::sys::channel::{Channel, Offer};
use crate::sys::clock::{Moment, Nanos, SECOND, from_duration, pause};
use crate::sys::pidfd::{self, PidFd};
use crate::sys::proc::{Proc, ProcId};

/// How long to wait before a helper is tried again that has not taken an earlier request.
const TRY_AGAIN: Nanos = SECOND / 50;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The helper has ended.
    Ended,
    /// It has not answered in time.
    Late,
    /// It cannot be asked, or its answer cannot be read.
    Failed(String),
}

impl Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("it has ended"),
            Self::Late => f.write_str("it gave no answer in time; its records may say why"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A request that was sent to a helper.
#[derive(Debug)]
pub struct Call {
    ours: Channel,
    /// The helper takes this end, so it must stay open until then.
    _theirs: Offer,
    pidfd: PidFd,
}

impl Call {
    /// Sends a request, and waits until that is possible.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent.
    pub fn place(helper: ProcId, request: &Request, budget: Duration) -> Result<Self, NoAnswer> {
        let (message, due) = (request.message(), due(budget));
        loop {
            if let Some(call) = Self::try_to_place(helper, &message)? {
                return Ok(call);
            }
            if Moment::now().mono >= due {
                return Err(NoAnswer::Late);
            }
            pause(TRY_AGAIN);
        }
    }

    /// Sends a request. `None` if this is not possible now: the helper has not taken an earlier request, or no
    /// descriptor is free.
    ///
    /// Signals of all processes of root count against one limit. So no signal is sent that would only join others.
    fn try_to_place(helper: ProcId, message: &[u8]) -> Result<Option<Self>, NoAnswer> {
        let proc = Proc::default();
        if proc.has_pending(helper.pid, REQUEST_SIGNAL) {
            return Ok(None);
        }
        let pidfd = match PidFd::open(helper.pid) {
            Ok(pidfd) if proc.find(helper).is_some() => pidfd,
            Err(e) if is_full(&e) => return Ok(None),
            _ => return Err(NoAnswer::Ended),
        };
        let failed = |what: &'static str| move |e: io::Error| NoAnswer::Failed(format!("{what}: {e}"));
        let (ours, theirs) = match Channel::offer() {
            Err(e) if is_full(&e) => return Ok(None),
            channel => channel.map_err(failed("a channel cannot be created"))?,
        };
        ours.send(message).map_err(failed("the message cannot be sent"))?;
        pidfd.queue(REQUEST_SIGNAL, theirs.number).map_err(failed("the signal cannot be sent"))?;
        Ok(Some(Self { ours, _theirs: theirs, pidfd }))
    }

    /// Takes the answer if it has come, or notes the end of the helper.
    fn take(&self) -> Option<Result<Reply, NoAnswer>> {
        // The helper may have answered and then ended. The answer counts, so it is read last.
        let ended = self.pidfd.has_exited();
        match self.ours.receive() {
            Ok(answer) => {
                let answer = Reply::read(&answer);
                Some(answer.map_err(|e| NoAnswer::Failed(format!("its answer cannot be read: {e}"))))
            }
            Err(_) if ended => Some(Err(NoAnswer::Ended)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => Some(Err(NoAnswer::Failed(format!("its answer cannot be received: {e}")))),
        }
    }

    fn answered(&self) -> PollFd<'_> {
        PollFd::new(self.ours.as_fd(), PollFlags::POLLIN)
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn next(&self, budget: Duration) -> Result<Reply, NoAnswer> {
        let due = due(budget);
        loop {
            if let Some(answer) = self.take() {
                return answer;
            }
            if !pidfd::wait(&[&self.pidfd], &mut [self.answered()], due).map_err(waiting_failed)? {
                return Err(NoAnswer::Late);
            }
        }
    }
}

/// Asks one helper.
///
/// # Errors
///
/// Why there is no answer.
pub fn ask(helper: ProcId, request: &Request, budget: Duration) -> Result<Reply, NoAnswer> {
    Call::place(helper, request, budget)?.next(budget)
}

/// Asks several helpers at the same time. They have `budget` together, so that many that hang take no longer
/// than one.
#[must_use]
pub fn ask_all(helpers: &[ProcId], request: &Request, budget: Duration) -> Vec<Result<Reply, NoAnswer>> {
    let (message, due) = (request.message(), due(budget));
    let mut stages: Vec<Question> = helpers.iter().map(|_| Question::Waits).collect();
    loop {
        let mut again = false;
        for (stage, helper) in stages.iter_mut().zip(helpers) {
            stage.advance(*helper, &message);
            again |= matches!(stage, Question::Waits);
        }
        let calls = stages
            .iter()
            .filter_map(|stage| if let Question::Asked(call) = stage { Some(call) } else { None });
        let (helpers, mut answers): (Vec<&PidFd>, Vec<PollFd>) =
            calls.map(|call| (&call.pidfd, call.answered())).unzip();
        let now = Moment::now().mono;
        if (helpers.is_empty() && !again) || now >= due {
            break;
        }
        let until = if again { due.min(now.saturating_add(TRY_AGAIN)) } else { due };
        if let Err(e) = pidfd::wait(&helpers, &mut answers, until) {
            drop((helpers, answers));
            stages.iter_mut().for_each(|stage| stage.fail(&waiting_failed(e)));
            break;
        }
    }
    stages.into_iter().map(Question::result).collect()
}

/// Where a request to one of several helpers is.
enum Question {
    Waits,
    Asked(Call),
    Done(Result<Reply, NoAnswer>),
}

impl Question {
    fn advance(&mut self, helper: ProcId, message: &[u8]) {
        if matches!(self, Self::Waits) {
            match Call::try_to_place(helper, message) {
                Ok(None) => {}
                Ok(Some(call)) => *self = Self::Asked(call),
                Err(why) => *self = Self::Done(Err(why)),
            }
        }
        if let Self::Asked(call) = self {
            if let Some(answer) = call.take() {
                *self = Self::Done(answer);
            }
        }
    }

    fn fail(&mut self, why: &NoAnswer) {
        if !matches!(self, Self::Done(_)) {
            *self = Self::Done(Err(why.clone()));
        }
    }

    fn result(self) -> Result<Reply, NoAnswer> {
        if let Self::Done(answer) = self { answer } else { Err(NoAnswer::Late) }
    }
}

fn due(budget: Duration) -> Nanos {
    Moment::now().mono.saturating_add(from_duration(budget))
}

/// Whether no descriptor is free.
fn is_full(e: &io::Error) -> bool {
    matches!(e.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

fn waiting_failed(e: Errno) -> NoAnswer {
    NoAnswer::Failed(format!("waiting for its answer failed: {e}"))
}
