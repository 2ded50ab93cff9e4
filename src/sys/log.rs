//! The system log, from the helper: a socket that never blocks, and a queue that survives a restart
//! of the log daemon.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::Write;

use once_cell::unsync::OnceCell;
use syslog::{Error, Facility, LogFormat, Logger, LoggerBackend, Severity};

const IDENT: &str = "pam_idle_watchdog_helper";
/// More records than any session makes while a log daemon restarts.
const QUEUE: usize = 256;
/// How often a record is offered to a daemon that took earlier ones, at intervals of the caller's.
const TRIES: u32 = 60;

/// `<priority>ident[pid]: text`, without a time: every log daemon stamps what it receives, and the
/// crate's own formatter stamps UTC where local time is expected (Geal/rust-syslog#95).
#[derive(Clone)]
struct Line;

impl LogFormat<&str> for Line {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, text: &str) -> Result<(), Error> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        write!(w, "<{priority}>{IDENT}[{}]: {text}", std::process::id()).map_err(Error::Write)
    }
}

type Socket = Logger<LoggerBackend, Line>;

/// Connects, and sees to it that a log daemon that hangs does not hang us.
fn connect() -> Result<Socket, Error> {
    let logger = syslog::unix(Line)?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_nonblocking(true)?,
        LoggerBackend::UnixStream(socket) => socket.get_ref().set_nonblocking(true)?,
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(..) => {}
    }
    Ok(logger)
}

/// Records on their way to the log daemon.
#[derive(Default)]
pub struct Log {
    socket: OnceCell<Socket>,
    waiting: VecDeque<(Severity, String)>,
    lost: usize,
    /// There is a daemon on this machine: it was reached before, be it that it was too busy to take a record.
    reached: bool,
    /// How many failures more are worth another try.
    tries: u32,
}

impl Log {
    /// Takes a record, for [`Log::flush`] to send.
    pub fn push(&mut self, severity: Severity, text: String) {
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back((severity, text));
        self.tries = if self.reached { TRIES } else { 1 };
    }

    /// Sends what waits, as far as the log daemon takes it. `lost` is the text that says that so many
    /// earlier records were lost, if some were.
    pub fn flush(&mut self, lost: impl Fn(usize) -> String) {
        if self.lost > 0 && self.deliver(Severity::LOG_ERR, &lost(self.lost)) {
            self.lost = 0;
        }
        while let Some((severity, text)) = self.waiting.pop_front() {
            if !self.deliver(severity, &text) {
                self.waiting.push_front((severity, text));
                self.tries = self.tries.saturating_sub(1);
                return;
            }
        }
    }

    /// Whether records wait and are worth another try soon: a daemon that is being restarted comes
    /// back within a minute or never. What waits longer is offered again with the next record.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.tries > 0 && !self.waiting.is_empty()
    }

    /// One attempt on the socket we have, one on a new one: the daemon may have been restarted.
    fn deliver(&mut self, severity: Severity, text: &str) -> bool {
        (0..2).any(|_| {
            if self.socket.get_or_try_init(connect).is_err() {
                return false;
            }
            if !self.reached {
                (self.reached, self.tries) = (true, TRIES);
            }
            let Some(socket) = self.socket.get_mut() else {
                return false;
            };
            let sent = socket.formatter.format(&mut socket.backend, severity, text).is_ok();
            if !sent {
                self.socket.take();
            }
            sent
        })
    }
}
