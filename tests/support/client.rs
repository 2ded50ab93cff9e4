//! A real ssh client, on a terminal of ours or on plain pipes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, pipe2};

use super::{SOON, now, until};

/// The state that the reading and the waiting thread share with the test.
#[derive(Default)]
struct Seen {
    screen: String,
    /// The end of each piece of the screen, and when it came.
    pieces: Vec<(Instant, usize)>,
    paused: bool,
    /// Nothing more will be shown.
    closed: bool,
    exit: Option<Exit>,
}

/// The end of the client.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    pub at: Instant,
    pub status: ExitStatus,
}

impl Exit {
    /// The exit code, or 128 + the signal.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| Some(128 + self.status.signal()?)).expect("an end")
    }
}

/// A running client: what it shows, and a keyboard.
pub struct Client {
    keyboard: Arc<Mutex<Keyboard>>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    pid: Pid,
}

struct Keyboard {
    wire: File,
    last_key: Instant,
}

impl Keyboard {
    fn press(&mut self, keys: &str) {
        self.last_key = now();
        // The session may have ended while keys were typed.
        let _ = self.wire.write_all(keys.as_bytes());
    }
}

impl Client {
    /// Starts `command` on a new terminal.
    pub fn on_terminal(mut command: Command) -> Self {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(ptsname_r(&master).unwrap())
            .expect("open a terminal");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let master = OwnedFd::from(master);
        let keyboard = master.try_clone().unwrap();
        Self::spawn(command, keyboard, master)
    }

    /// Starts `command` without a terminal.
    pub fn on_pipes(mut command: Command) -> Self {
        // Two pipes, because the client makes its output non-blocking and its input must stay blocking.
        let (input, keyboard) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (screen, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        command.stdin(input).stdout(output.try_clone().unwrap()).stderr(output);
        Self::spawn(command, keyboard, screen)
    }

    fn spawn(mut command: Command, keyboard: OwnedFd, screen: OwnedFd) -> Self {
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // Dropping the command closes our copies of the client's ends of the pipes.
        drop(command);
        let pid = Pid::from_raw(child.id() as i32);
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        thread::spawn({
            let seen = seen.clone();
            move || read_screen(File::from(screen), &seen)
        });
        thread::spawn({
            let seen = seen.clone();
            move || reap(child, &seen)
        });
        let keyboard = Keyboard { wire: File::from(keyboard), last_key: now() };
        Self { keyboard: Arc::new(Mutex::new(keyboard)), seen, pid }
    }

    /// Sends the client itself a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("signal the client");
    }

    /// Types keys. Does not wait for the terminal's reaction.
    pub fn type_keys(&self, keys: &str) {
        self.keyboard.lock().unwrap().press(keys);
    }

    /// Types a line and Enter.
    pub fn type_line(&self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Types a command, and waits until it has ended and the shell is ready again.
    pub fn run(&self, command: &str) {
        self.type_line(command);
        self.wait_for_shell();
    }

    /// Waits until a shell replies. This types a line, so it counts as a key.
    pub fn wait_for_shell(&self) {
        let ready = format!("ready-{}", self.screen().len());
        // Because of the quotation marks, the echo of the typed line does not look like the reply.
        self.type_line(&format!("echo {}''{}", &ready[..1], &ready[1..]));
        self.expect(&ready, SOON);
    }

    /// Waits for the first shell of a connection. Keys that are typed while ssh still connects are read much
    /// later. So this waits for a second reply, to a key that was read when it was typed.
    pub fn wait_for_first_shell(&self) {
        self.wait_for_shell();
        self.wait_for_shell();
    }

    /// When the last key was typed.
    pub fn last_key(&self) -> Instant {
        self.keyboard.lock().unwrap().last_key
    }

    /// Types Enter every `interval`, as a person would, until it is stopped.
    pub fn keep_typing(&self, interval: Duration) -> Typist {
        let (stop, stopped) = mpsc::channel::<()>();
        let keyboard = self.keyboard.clone();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                keyboard.lock().unwrap().press("\r");
            }
        });
        Typist { stop: Some(stop), thread: Some(thread) }
    }

    /// Everything shown so far.
    pub fn screen(&self) -> String {
        self.seen.0.lock().unwrap().screen.clone()
    }

    /// Everything that was shown, after the client has ended. What it wrote last may still be on its way then.
    pub fn whole_screen(&self) -> String {
        let whole = self.wait(SOON, |seen| seen.closed.then(|| seen.screen.clone()));
        whole.unwrap_or_else(|| panic!("the output is still open:\n{}", self.screen()))
    }

    /// The pieces that were shown, and when each of them came.
    pub fn pieces(&self) -> Vec<(Instant, String)> {
        let seen = self.seen.0.lock().unwrap();
        let starts = std::iter::once(0).chain(seen.pieces.iter().map(|(_, end)| *end));
        let piece =
            |(start, (at, end)): (usize, &(Instant, usize))| (*at, seen.screen[start..*end].to_owned());
        starts.zip(&seen.pieces).map(piece).collect()
    }

    /// Waits until the screen shows `text`, ignoring case.
    pub fn expect(&self, text: &str, timeout: Duration) {
        let shown = self
            .wait(timeout, |seen| seen.screen.to_lowercase().contains(&text.to_lowercase()).then_some(()));
        assert!(shown.is_some(), "no {text:?} on the screen within {timeout:?}, but:\n{}", self.screen());
    }

    /// Whether the screen shows `text`, ignoring case.
    pub fn shows(&self, text: &str) -> bool {
        self.screen().to_lowercase().contains(&text.to_lowercase())
    }

    /// Stops reading the client's output, so that its terminal fills up.
    pub fn stop_reading(&self) {
        self.seen.0.lock().unwrap().paused = true;
    }

    /// Waits for the client's end, for at most `timeout`.
    pub fn exit(&self, timeout: Duration) -> Option<Exit> {
        self.wait(timeout, |seen| seen.exit)
    }

    fn wait<T>(&self, timeout: Duration, wanted: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        let deadline = now() + timeout;
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        loop {
            if let Some(found) = wanted(&seen) {
                return Some(found);
            }
            let left = until(deadline);
            if left.is_zero() {
                return None;
            }
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        // This needs the lock, so that the PID is still the client's: see `reap`.
        if seen.exit.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        // The reading thread ends when the client has closed its end.
        seen.paused = false;
        changed.notify_all();
    }
}

/// A thread that types on a client. Dropping it stops it.
pub struct Typist {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Typist {
    /// Stops typing.
    pub fn stop(self) {}
}

impl Drop for Typist {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_screen(mut screen: File, seen: &(Mutex<Seen>, Condvar)) {
    let (state, changed) = seen;
    let mut buffer = [0; 4096];
    loop {
        {
            let state = state.lock().unwrap();
            let _reading = changed.wait_while(state, |seen| seen.paused).unwrap();
        }
        // Reading fails with EIO if no process has the terminal open any more.
        let length = match screen.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let mut seen = state.lock().unwrap();
        seen.screen.push_str(&text);
        let end = seen.screen.len();
        seen.pieces.push((now(), end));
        drop(seen);
        changed.notify_all();
    }
    state.lock().unwrap().closed = true;
    changed.notify_all();
}

/// Waits until the client has ended, without reaping it. So no other process gets its PID before all threads know that
/// it has ended.
fn reap(mut child: Child, seen: &(Mutex<Seen>, Condvar)) {
    let pid = Pid::from_raw(child.id() as i32);
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).is_err() {}
    let at = now();
    let (state, changed) = seen;
    let mut state = state.lock().unwrap();
    let status = child.wait().expect("reap the client");
    state.exit = Some(Exit { at, status });
    changed.notify_all();
}
