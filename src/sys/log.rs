//! Writes to the system log from the helper. The socket never blocks, and a queue keeps the records while the
//! log daemon restarts.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use once_cell::unsync::OnceCell;
use syslog::{Error, Facility, LogFormat, Logger, LoggerBackend};

use super::devlog;
use crate::record::Severity;

/// The socket of the log daemon. syslog(3) uses it, too.
const PATH: &str = "/dev/log";
const IDENT: &str = "pam_idle_watchdog_helper";
/// The most bytes before and after a text: priority, ident, PID and the end of the record.
const OVERHEAD: usize = 64;
/// A session writes fewer records than this while a log daemon restarts.
const QUEUE: usize = 256;
/// How often a record is offered again to a daemon that took earlier records. The caller decides how often it
/// tries.
const TRIES: u32 = 60;

/// `<priority>ident[pid]: text`, without a time. Every log daemon adds the time itself, and the formatter of
/// the crate writes UTC where local time is expected (Geal/rust-syslog#95).
#[derive(Clone)]
struct Format;

impl LogFormat<&str> for Format {
    fn format<W: Write>(&self, w: &mut W, severity: syslog::Severity, text: &str) -> Result<(), Error> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        write!(w, "<{priority}>{IDENT}[{}]: {text}", std::process::id()).map_err(Error::Write)
    }
}

impl From<Severity> for syslog::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::LOG_ERR,
            Severity::Warning => Self::LOG_WARNING,
            Severity::Notice => Self::LOG_NOTICE,
            Severity::Info => Self::LOG_INFO,
            Severity::Debug => Self::LOG_DEBUG,
        }
    }
}

type Socket = Logger<LoggerBackend, Format>;

/// Closes a connection. If the daemon did not take all of a record, the rest is not sent. The whole record goes
/// over another connection.
fn give_up(socket: Socket) {
    match socket.backend {
        LoggerBackend::UnixStream(writer) => drop(writer.into_parts()),
        backend => drop(backend),
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Taken,
    /// There is no daemon, or it is too busy.
    Later,
    /// The record is longer than the socket ever takes.
    Refused,
}

/// The queue of records for the log daemon.
pub struct Log {
    path: PathBuf,
    socket: OnceCell<Socket>,
    waiting: VecDeque<(Severity, String)>,
    lost: usize,
    /// A daemon was reached before, even if it was too busy to take a record.
    reached: bool,
    /// How many more failures are worth another try.
    tries: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self::at(Path::new(PATH))
    }
}

impl Log {
    fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            socket: OnceCell::new(),
            waiting: VecDeque::new(),
            lost: 0,
            reached: false,
            tries: 0,
        }
    }

    /// Adds a record to the queue. [`Log::flush`] sends it.
    pub fn push(&mut self, severity: Severity, text: String) {
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back((severity, text));
        self.tries = if self.reached { TRIES } else { 1 };
    }

    /// Sends the queue, as far as the log daemon takes it. `lost` makes the text which says that this many
    /// records were lost.
    pub fn flush(&mut self, lost: impl Fn(usize) -> String) {
        loop {
            let note = (self.lost > 0).then(|| (Severity::Error, lost(self.lost)));
            let is_note = note.is_some();
            let Some((severity, text)) = note.or_else(|| self.waiting.pop_front()) else { return };
            match (self.deliver(severity, &text), is_note) {
                (Delivery::Taken, false) => {}
                (Delivery::Refused, false) => self.lost += 1,
                (Delivery::Taken | Delivery::Refused, true) => self.lost = 0,
                (Delivery::Later, _) => {
                    if !is_note {
                        self.waiting.push_front((severity, text));
                    }
                    self.tries = self.tries.saturating_sub(1);
                    return;
                }
            }
        }
    }

    /// Whether records wait and are worth another try soon. A daemon that restarts comes back within a minute
    /// or never. After that, the records wait for the next record.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.tries > 0 && (self.lost > 0 || !self.waiting.is_empty())
    }

    /// Tries the present socket, then a new one, because the daemon may have been restarted.
    fn deliver(&mut self, severity: Severity, text: &str) -> Delivery {
        for _ in 0..2 {
            let path = &self.path;
            let connected =
                self.socket.get_or_try_init(|| Ok(Logger::new(devlog::connect(path)?, Format))).map(drop);
            // A daemon that is too busy to take a connection exists all the same.
            let is_there = connected.as_ref().map_or_else(|e: &io::Error| is_busy(e), |()| true);
            if is_there && !self.reached {
                (self.reached, self.tries) = (true, TRIES);
            }
            let Some(socket) = self.socket.get_mut() else { break };
            if !fits(&socket.backend, text) {
                return Delivery::Refused;
            }
            match socket.formatter.format(&mut socket.backend, severity.into(), text) {
                Ok(()) => return Delivery::Taken,
                Err(Error::Write(e)) if e.raw_os_error() == Some(libc::EMSGSIZE) => return Delivery::Refused,
                Err(_) => self.socket.take().into_iter().for_each(give_up),
            }
        }
        Delivery::Later
    }
}

/// Whether the socket takes a record in one piece. A datagram is taken whole or refused. A stream may take half
/// of a record if it has too little space.
fn fits(backend: &LoggerBackend, text: &str) -> bool {
    match backend {
        LoggerBackend::UnixStream(writer) => text.len() + OVERHEAD <= writer.capacity(),
        _ => true,
    }
}

fn is_busy(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    /// The path of a socket. Dropping it removes the socket.
    struct SocketPath(PathBuf);

    impl SocketPath {
        fn new(name: &str) -> Self {
            let name = format!("idle-watchdog-log-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for SocketPath {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn note(lost: usize) -> String {
        format!("{lost} lost")
    }

    fn log_at(path: &SocketPath, texts: impl IntoIterator<Item = String>) -> Log {
        let mut log = Log::at(&path.0);
        for text in texts {
            log.push(Severity::Info, text);
            log.flush(note);
        }
        log
    }

    /// The text that the waiting connections have. Each record ends like a line.
    fn received(listener: &UnixListener) -> String {
        listener.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        while let Ok((mut connection, _)) = listener.accept() {
            connection.read_to_end(&mut all).unwrap();
        }
        String::from_utf8(all).unwrap().replace('\0', "\n")
    }

    fn line(text: &str) -> String {
        format!("<86>{IDENT}[{}]: {text}", std::process::id())
    }

    #[test]
    fn a_stream_whose_daemon_hangs_is_not_waited_for() {
        let path = SocketPath::new("hanging");
        let listener = UnixListener::bind(&path.0).unwrap();
        devlog::tests::shorten_queue(&listener);
        let other = UnixStream::connect(&path.0).unwrap();
        let mut log = log_at(&path, ["one".to_owned(), "two".to_owned()]);
        // A daemon that takes no connection now may take one soon.
        assert!(log.is_behind() && log.tries > 1);
        drop((other, listener.accept().unwrap()));
        log.flush(note);
        assert!(!log.is_behind());
        drop(log);
        assert_eq!(received(&listener), format!("{}\n{}\n", line("one"), line("two")));
    }

    #[test]
    fn a_stream_that_is_full_cuts_no_record_and_doubles_none() {
        let path = SocketPath::new("full");
        let listener = UnixListener::bind(&path.0).unwrap();
        let texts: Vec<String> = (0..2000).map(|number| format!("{number:0400}")).collect();
        let log = log_at(&path, texts.clone());
        assert!(!log.is_behind());
        drop(log);
        let received = received(&listener);
        assert!(received.lines().eq(texts.iter().map(|text| line(text))));
    }

    #[test]
    fn what_is_too_long_for_the_socket_does_not_keep_the_others() {
        let path = SocketPath::new("long");
        let socket = UnixDatagram::bind(&path.0).unwrap();
        let long = || ["one".to_owned(), "x".repeat(1 << 20), "two".to_owned()];
        assert!(!log_at(&path, long()).is_behind());
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 200];
        let mut texts = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            texts.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        let note = line("1 lost").replace("<86>", "<83>");
        let expected = [line("one"), note, line("two")];
        assert_eq!(texts, expected);

        fs::remove_file(&path.0).unwrap();
        let listener = UnixListener::bind(&path.0).unwrap();
        assert!(!log_at(&path, long()).is_behind());
        assert!(received(&listener).lines().eq(expected));
    }
}
