//! The processes that ask this helper something. [`crate::protocol::request`] says what they can ask.

use crate::protocol::request::{Reply, Request};
use crate::protocol::start::REQUEST_SIGNAL;
use crate::protocol::status::Status;
use crate::sys::channel::Channel;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{AuditSession, Proc};
use crate::sys::signals::{Received, Signals};

/// The answer to a request that comes too late.
pub const ENDING: &str = "the session is being ended";

/// The person who asks, as the kernel knows them: neither the caller nor sudo can choose this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The user as whom they logged in. `None` if the process comes from no login.
    pub login_uid: Option<u32>,
    /// The audit ID of their session.
    pub ses: Option<AuditSession>,
}

/// A process that has sent a request and waits for the answer.
#[derive(Debug)]
pub struct Caller {
    channel: Channel,
    pub requester: Requester,
    /// The request, or what is wrong with it.
    pub request: Result<Request, String>,
}

impl Caller {
    /// Takes over what the sender of a signal asks. `None` if the signal brings no request.
    ///
    /// The sender of [`REQUEST_SIGNAL`] writes its PID and user into the signal itself. So `/proc` must confirm
    /// that this process runs as root, and the channel must confirm that root made it. By now
    /// the PID may belong to another process, such as a su that inherited descriptors from its user. The sender
    /// writes the message before it sends the signal, so nothing waits here.
    ///
    /// # Errors
    ///
    /// Why there is nobody to answer.
    pub fn of(proc: &Proc, came: &Received) -> Option<Result<Self, String>> {
        (came.signal == REQUEST_SIGNAL && came.uid == 0).then(|| Self::take(proc, came))
    }

    fn take(proc: &Proc, came: &Received) -> Result<Self, String> {
        let sender =
            PidFd::open(came.sender).map_err(|e| format!("process {} cannot be opened: {e}", came.sender))?;
        if proc.uids(came.sender).is_none_or(|(_, effective)| effective != 0) {
            return Err(format!("process {} does not run as root", came.sender));
        }
        let requester =
            Requester { login_uid: proc.login_uid(came.sender), ses: proc.audit_session(came.sender) };
        let channel = Channel::take(proc, came.sender, &sender, came.value).map_err(|e| {
            format!("descriptor {} of process {} cannot be taken: {e}", came.value, came.sender)
        })?;
        let channel = channel.ok_or_else(|| {
            format!("descriptor {} of process {} is no channel of its own", came.value, came.sender)
        })?;
        let message = channel
            .receive()
            .map_err(|e| format!("the message of process {} cannot be read: {e}", came.sender))?;
        Ok(Self { channel, requester, request: Request::read(&message) })
    }

    /// Sends an answer. The caller may have ended.
    pub fn answer(&self, answer: &Reply) {
        let _ = self.channel.send(&answer.message());
    }

    /// Answers that nothing was done.
    pub fn refuse(&self, why: &str) {
        self.answer(&Reply::Refused(why.to_owned()));
    }
}

/// Answers all that ask while the session is being ended. `status` is what it was when the end began.
pub fn answer_meanwhile(proc: &Proc, signals: &Signals, status: Option<&Status>) {
    // Other signals are left, because a kept connection may close meanwhile.
    for caller in signals.take_only(REQUEST_SIGNAL).iter().filter_map(|came| Caller::of(proc, came)).flatten()
    {
        match (&caller.request, status) {
            (Ok(Request::Status { .. }), Some(status)) => {
                caller.answer(&Reply::Status(Box::new(status.clone())));
            }
            _ => caller.refuse(ENDING),
        }
    }
}
