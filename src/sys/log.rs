//! Writes to the system log from the helper: to journald, or to a syslog daemon where journald does not run. The
//! sockets never block, and a queue keeps the records while the log daemon restarts.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use once_cell::unsync::OnceCell;
use syslog::{Facility, LoggerBackend};

use super::{devlog, journald};
use crate::record::{Record, Severity};

/// The socket of the syslog daemon. syslog(3) uses it, too.
const PATH: &str = "/dev/log";
const IDENT: &str = "pam_idle_watchdog_helper";
/// The most bytes before and after a text: priority, ident, PID and the end of the record.
const OVERHEAD: usize = 64;
/// A session writes fewer records than this while a log daemon restarts.
const QUEUE: usize = 256;
/// How often a record is offered again to a daemon that took earlier records. The caller decides how often it
/// tries.
const TRIES: u32 = 60;

/// Writes `<priority>ident[pid]: text`, without a time. Every log daemon adds the time itself, and the formatter of
/// the crate writes UTC where local time is expected (Geal/rust-syslog#95). The errors of the crate have different
/// types in its versions, so this returns the one of std. Before version 7 the crate does not flush a stream.
fn write(socket: &mut impl Write, severity: syslog::Severity, text: &str) -> io::Result<()> {
    let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
    write!(socket, "<{priority}>{IDENT}[{}]: {text}", std::process::id())?;
    socket.flush()
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

/// Closes a connection. If the daemon did not take all of a record, the rest is not sent. The whole record goes
/// over another connection.
fn give_up(socket: LoggerBackend) {
    match socket {
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

/// A record and its line.
type Waiting = (Record, String);

/// The queue of records for the log daemon.
pub struct Log {
    journald: PathBuf,
    path: PathBuf,
    socket: OnceCell<LoggerBackend>,
    waiting: VecDeque<Waiting>,
    lost: usize,
    /// A daemon was reached before, even if it was too busy to take a record.
    reached: bool,
    /// How many more failures are worth another try.
    tries: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self::at(Path::new(journald::SOCKET), Path::new(PATH))
    }
}

impl Log {
    fn at(journald: &Path, path: &Path) -> Self {
        Self {
            journald: journald.to_owned(),
            path: path.to_owned(),
            socket: OnceCell::new(),
            waiting: VecDeque::new(),
            lost: 0,
            reached: false,
            tries: 0,
        }
    }

    /// Adds a record and its line to the queue. [`Log::flush`] sends it.
    pub fn push(&mut self, record: Record, line: String) {
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back((record, line));
        self.tries = if self.reached { TRIES } else { 1 };
    }

    /// Sends the queue, as far as the log daemon takes it. `lost` makes the record which says that this many
    /// records were lost.
    pub fn flush(&mut self, lost: impl Fn(usize) -> Waiting) {
        loop {
            let note = (self.lost > 0).then(|| lost(self.lost));
            let is_note = note.is_some();
            let Some(next) = note.or_else(|| self.waiting.pop_front()) else { return };
            match (self.deliver(&next), is_note) {
                (Delivery::Taken, false) => {}
                (Delivery::Refused, false) => self.lost += 1,
                (Delivery::Taken | Delivery::Refused, true) => self.lost = 0,
                (Delivery::Later, _) => {
                    if !is_note {
                        self.waiting.push_front(next);
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

    /// Offers a record to journald, and to the syslog daemon if journald does not run.
    fn deliver(&mut self, (record, line): &Waiting) -> Delivery {
        match journald::send(&self.journald, &journald::entry(record, line, IDENT)) {
            journald::Sent::Refused => self.deliver_line(record.severity(), line),
            journald::Sent::Taken => {
                self.is_there();
                Delivery::Taken
            }
            // The syslog daemon may get its records from journald, so it must not get this one from us, too.
            journald::Sent::Busy => {
                self.is_there();
                Delivery::Later
            }
        }
    }

    /// Tries the present socket, then a new one, because the daemon may have been restarted.
    fn deliver_line(&mut self, severity: Severity, text: &str) -> Delivery {
        for _ in 0..2 {
            let path = &self.path;
            let connected = self.socket.get_or_try_init(|| devlog::connect(path)).map(drop);
            // A daemon that is too busy to take a connection exists all the same.
            if connected.as_ref().map_or_else(|e: &io::Error| is_busy(e), |()| true) {
                self.is_there();
            }
            let Some(socket) = self.socket.get_mut() else { break };
            if !fits(socket, text) {
                return Delivery::Refused;
            }
            match write(socket, severity.into(), text) {
                Ok(()) => return Delivery::Taken,
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => return Delivery::Refused,
                Err(_) => self.socket.take().into_iter().for_each(give_up),
            }
        }
        Delivery::Later
    }

    /// Notes that a daemon was reached.
    fn is_there(&mut self) {
        if !self.reached {
            (self.reached, self.tries) = (true, TRIES);
        }
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

    use crate::record::Event;
    use crate::sys::once_closed::once_closed;

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

    fn record(text: impl ToString) -> Waiting {
        (Record::new(Event::Armed), text.to_string())
    }

    fn note(lost: usize) -> Waiting {
        (Record::new(Event::Error), format!("{lost} lost"))
    }

    /// A log without journald.
    fn log_at(path: &SocketPath, texts: impl IntoIterator<Item = String>) -> Log {
        let mut log = Log::at(Path::new("/nowhere"), &path.0);
        fill(&mut log, texts);
        log
    }

    fn fill(log: &mut Log, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            let (record, line) = record(text);
            log.push(record, line);
            log.flush(note);
        }
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
        let note = line("1 lost").replace("<86>", "<83>");
        let expected = [line("one"), note, line("two")];
        assert_eq!(lines(&socket), expected);

        fs::remove_file(&path.0).unwrap();
        let listener = UnixListener::bind(&path.0).unwrap();
        assert!(!log_at(&path, long()).is_behind());
        assert!(received(&listener).lines().eq(expected));
    }

    /// The datagrams that wait at a socket.
    fn datagrams(socket: &UnixDatagram) -> Vec<Vec<u8>> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())).collect()
    }

    /// The messages that journald has got.
    fn messages(journald: &UnixDatagram) -> Vec<String> {
        datagrams(journald).iter().map(|entry| journald::tests::fields(entry)[0].1.clone()).collect()
    }

    fn lines(syslog: &UnixDatagram) -> Vec<String> {
        datagrams(syslog).into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn a_record_goes_to_journald_or_to_the_syslog_and_never_to_both() {
        let (journald, syslog) = (SocketPath::new("journald"), SocketPath::new("syslog"));
        let old = UnixDatagram::bind(&syslog.0).unwrap();
        let native = UnixDatagram::bind(&journald.0).unwrap();
        let mut log = Log::at(&journald.0, &syslog.0);
        fill(&mut log, ["one".to_owned()]);
        assert_eq!((messages(&native), lines(&old)), (vec!["one".to_owned()], vec![]));
        // journald ends, and its socket stays. Then it is started again.
        drop(native);
        once_closed(|| UnixDatagram::unbound().unwrap().connect(&journald.0).is_err());
        fill(&mut log, ["two".to_owned()]);
        fs::remove_file(&journald.0).unwrap();
        let native = UnixDatagram::bind(&journald.0).unwrap();
        fill(&mut log, ["three".to_owned()]);
        assert_eq!((messages(&native), lines(&old)), (vec!["three".to_owned()], vec![line("two")]));
        assert!(!log.is_behind());
    }

    #[test]
    fn while_journald_hangs_records_wait_and_none_is_lost_or_doubled() {
        let (journald, syslog) = (SocketPath::new("hangs"), SocketPath::new("unused"));
        let old = UnixDatagram::bind(&syslog.0).unwrap();
        let native = UnixDatagram::bind(&journald.0).unwrap();
        let mut log = Log::at(&journald.0, &syslog.0);
        // The kernel has space for a few, and the queue for more.
        let mut sent: Vec<String> = Vec::new();
        while !log.is_behind() || sent.len() < 20 {
            sent.push(sent.len().to_string());
            fill(&mut log, sent.last().cloned());
        }
        assert!(log.tries > 1, "a daemon that hangs is one that may come back");
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let more = messages(&native);
            assert!(!more.is_empty(), "{} of {}", got.len(), sent.len());
            got.extend(more);
            log.flush(note);
        }
        assert_eq!((got, lines(&old)), (sent, vec![]));
        assert!(!log.is_behind());
    }
}
