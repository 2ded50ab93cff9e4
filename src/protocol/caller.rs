//! How the helper receives new settings while the session runs. [`crate::protocol::reload`] is the other side.

use std::os::unix::net::UnixDatagram;

use crate::policy::Settings;
use crate::protocol::reload::{self, MESSAGE_MAX};
use crate::protocol::start::RELOAD_SIGNAL;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::Proc;
use crate::sys::signals::{Received, Signals};
use crate::sys::socket;

/// A process that sent new settings and waits for the answer.
#[derive(Debug)]
pub struct Caller {
    socket: UnixDatagram,
    /// The settings, or what is wrong with them.
    pub settings: Result<Settings, String>,
}

impl Caller {
    /// Takes over what the sender of a signal offers. `None` if the signal does not offer settings.
    ///
    /// The sender of [`RELOAD_SIGNAL`] writes its PID and user into the signal itself. So `/proc` must confirm
    /// that this process runs as root, and the socket must confirm that this process made it as root. By now
    /// the PID may belong to another process, such as a su that inherited descriptors from its user. The sender
    /// writes the message before it sends the signal, so nothing waits here.
    ///
    /// # Errors
    ///
    /// Why there is nobody to answer.
    pub fn of(proc: &Proc, came: &Received) -> Option<Result<Self, String>> {
        (came.signal == RELOAD_SIGNAL && came.uid == 0).then(|| Self::take(proc, came))
    }

    fn take(proc: &Proc, came: &Received) -> Result<Self, String> {
        let sender =
            PidFd::open(came.sender).map_err(|e| format!("process {} cannot be opened: {e}", came.sender))?;
        if proc.uids(came.sender).is_none_or(|(_, effective)| effective != 0) {
            return Err(format!("process {} does not run as root", came.sender));
        }
        let socket = sender.duplicate(came.value).map_err(|e| {
            format!("descriptor {} of process {} cannot be taken: {e}", came.value, came.sender)
        })?;
        if socket::maker(&socket) != Some((came.sender, 0)) {
            return Err(format!("descriptor {} of process {} is not its own", came.value, came.sender));
        }
        let socket = UnixDatagram::from(socket);
        let mut message = vec![0; MESSAGE_MAX + 1];
        let length = socket
            .set_nonblocking(true)
            .and_then(|()| socket.recv(&mut message))
            .map_err(|e| format!("the message of process {} cannot be read: {e}", came.sender))?;
        message.truncate(length);
        Ok(Self { socket, settings: reload::settings(&message) })
    }

    /// Replies with the settings that applied before these, or with the reason why these do not apply. The
    /// caller may have ended.
    pub fn answer(&self, answer: Result<&Settings, &str>) {
        let _ = self.socket.send(&reload::answer(answer));
    }
}

/// Refuses new settings, because the session is being ended. Other signals are left, because a kept connection
/// may close meanwhile.
pub fn refuse(proc: &Proc, signals: &Signals) {
    for caller in signals.take_only(RELOAD_SIGNAL).iter().filter_map(|came| Caller::of(proc, came)).flatten()
    {
        caller.answer(Err("the session is being ended"));
    }
}
