//! The log daemon of a private sshd. It collects what arrives at its `/dev/log`, and sshd's standard error.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pam_idle_watchdog::record::{Event, Key};

use super::{now, until};

/// syslog's severity of errors.
pub const LOG_ERR: u8 = 3;
/// syslog's facility AUTHPRIV.
pub const LOG_AUTHPRIV: u8 = 10;

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it arrived.
    pub at: Instant,
    /// Facility and severity. `None` for a line of sshd's standard error.
    pub priority: Option<(u8, u8)>,
    /// The line without its priority.
    pub text: String,
}

impl Line {
    /// Whether this is the record of `event`, e.g. `ended`.
    pub fn is(&self, event: &str) -> bool {
        // Otherwise a test that waits for no record of a misspelt event would pass.
        assert!(Event::ALL.iter().any(|known| known.name() == event), "{event} is not an event");
        self.record().and_then(|r| r.split(' ').next()) == Some(event)
    }

    /// The value of `key` in a record.
    pub fn field(&self, key: &str) -> Option<&str> {
        assert!(Key::ALL.iter().any(|known| known.name() == key), "{key} is not a field");
        self.record()?.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The text after the prefix of the product, which module and helper use.
    fn record(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("pam_idle_watchdog(")?;
        Some(rest.split_once("): ")?.1)
    }
}

/// A log that threads append to and tests wait on.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<Line>>, Condvar)>);

impl Log {
    /// Collects datagrams sent to `socket`, as a log daemon does, until the process ends.
    pub fn listen(&self, socket: &Path) {
        let receiver = UnixDatagram::bind(socket).expect("bind the log socket");
        let log = self.clone();
        thread::spawn(move || {
            let mut datagram = [0; 8192];
            while let Ok(length) = receiver.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                // An empty datagram is `hang_up`.
                if text.is_empty() {
                    break;
                }
                log.append(&text);
            }
        });
    }

    /// Collects what arrives over connections to a stream socket, until the process ends.
    fn accept(&self, listener: UnixListener) {
        let log = self.clone();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let log = log.clone();
                thread::spawn(move || {
                    for record in BufReader::new(connection).split(0).map_while(Result::ok) {
                        log.append(&String::from_utf8_lossy(&record));
                    }
                });
            }
        });
    }

    /// Ends the listener at `socket`.
    pub fn hang_up(socket: &Path) {
        if let Ok(sender) = UnixDatagram::unbound() {
            let _ = sender.send_to(&[], socket);
        }
    }

    /// Collects the lines of `stream`, and adds `end` when it has ended.
    pub fn follow(&self, stream: impl Read + Send + 'static, end: &'static str) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.append(&line);
            }
            log.append(end);
        });
    }

    fn append(&self, raw: &str) {
        let raw = raw.trim_end_matches(['\n', '\0']);
        let (priority, text) = split_priority(raw);
        let line = Line { at: now(), priority, text: text.to_owned() };
        let (lines, changed) = &*self.0;
        lines.lock().unwrap().push(line);
        changed.notify_all();
    }

    /// All lines so far that `wanted` accepts.
    pub fn all(&self, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let lines = self.0.0.lock().unwrap();
        lines.iter().filter(|line| wanted(line)).cloned().collect()
    }

    /// Waits for the first line that `wanted` accepts, at most for `timeout`.
    pub fn find(&self, wanted: impl Fn(&Line) -> bool, timeout: Duration) -> Option<Line> {
        self.wait(|lines| lines.iter().find(|line| wanted(line)).cloned(), timeout)
    }

    /// Like `find`, but the test fails if there is no such line.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Line) -> bool, timeout: Duration) -> Line {
        self.find(wanted, timeout)
            .unwrap_or_else(|| panic!("no record of {what} within {timeout:?}; the log:\n{self}"))
    }

    /// Waits for the record of `event` about `user`.
    pub fn wait_for_event(&self, event: &str, user: &str, timeout: Duration) -> Line {
        self.wait_for(
            &format!("{event} for {user}"),
            |line| line.is(event) && line.field("user") == Some(user),
            timeout,
        )
    }

    /// All records of `event` about `user`.
    pub fn events(&self, event: &str, user: &str) -> Vec<Line> {
        self.all(|line| line.is(event) && line.field("user") == Some(user))
    }

    /// Waits until there are `count` lines that `wanted` accepts.
    pub fn wait_for_count(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&Line) -> bool,
        timeout: Duration,
    ) {
        let enough =
            |lines: &[Line]| (lines.iter().filter(|line| wanted(line)).count() >= count).then_some(());
        if self.wait(enough, timeout).is_none() {
            let seen = self.all(wanted).len();
            panic!("{seen} of {count} {what} within {timeout:?}; the log:\n{self}");
        }
    }

    fn wait<T>(&self, wanted: impl Fn(&[Line]) -> Option<T>, timeout: Duration) -> Option<T> {
        let deadline = now() + timeout;
        let (lines, changed) = &*self.0;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(found) = wanted(&lines) {
                return Some(found);
            }
            let left = until(deadline);
            if left.is_zero() {
                return None;
            }
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A log daemon that hangs. It has a stream socket with a full queue of connections, and accepts none of them.
pub struct HangingDaemon {
    listener: UnixListener,
    _in_the_queue: UnixStream,
}

impl HangingDaemon {
    /// Listens at `socket`.
    pub fn at(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("bind the log socket");
        // SAFETY: listen takes two integers and accesses no memory of this process.
        let shortened = unsafe { libc::listen(listener.as_raw_fd(), 0) };
        assert_eq!(shortened, 0, "a queue of one connection");
        let first = UnixStream::connect(socket).expect("a place in the queue");
        Self { listener, _in_the_queue: first }
    }

    /// Recovers: accepts the connections, and collects in `log` what arrives.
    pub fn recover(self, log: &Log) {
        log.accept(self.listener);
    }
}

/// The whole log. Each line has the seconds since the first one.
impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.0.0.lock().unwrap();
        let start = lines.first().map(|line| line.at);
        for line in lines.iter() {
            let since = start.map_or(Duration::ZERO, |start| line.at - start);
            writeln!(f, "  {:7.2}  {}", since.as_secs_f64(), line.text)?;
        }
        Ok(())
    }
}

/// `<86>text` → facility 10, severity 6, text.
fn split_priority(raw: &str) -> (Option<(u8, u8)>, &str) {
    let parsed = raw
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .and_then(|(number, text)| Some((number.parse::<u8>().ok()?, text)));
    match parsed {
        Some((number, text)) => (Some((number >> 3, number & 7)), text),
        None => (None, raw),
    }
}
