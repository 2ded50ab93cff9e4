//! System calls that somebody else may make hang, done in a child that may be given up.
//!
//! A terminal's owner can hold its locks for as long as he likes: a read into memory that a file
//! system of his own (FUSE) backs keeps `termios_rwsem`, and every ioctl and write then waits for
//! him, in a state that not even SIGKILL ends. `O_NONBLOCK` does not help against that.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, fork, pipe2};

use super::clock::{Moment, Nanos, SECOND};
use super::pidfd::PidFd;

/// How long an answer is waited for. What is asked for takes microseconds.
const PATIENCE: Nanos = SECOND / 2;

/// Runs work in children, one at a time.
#[derive(Debug)]
pub struct Aside {
    /// A child that gave no answer in time and is still there: nothing more is asked until it is not,
    /// or there would soon be many.
    stuck: Option<PidFd>,
}

impl Aside {
    /// Has the kernel bury this process's children from now on, whenever they end.
    #[must_use]
    pub fn ignoring_children() -> Self {
        // SAFETY: no handler is installed; SIGCHLD is ignored from here on.
        let ignored = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
        // There is such a signal, and it may be ignored.
        debug_assert!(ignored.is_ok());
        Self { stuck: None }
    }

    /// Whether an earlier child still hangs.
    pub fn is_stuck(&mut self) -> bool {
        if self.stuck.as_ref().is_some_and(PidFd::has_exited) {
            self.stuck = None;
        }
        self.stuck.is_some()
    }

    /// Runs `work` in a child and answers what that has written: all of it, or what came in time.
    ///
    /// The process must have one thread.
    pub fn run(&mut self, work: impl FnOnce(&mut File)) -> Vec<u8> {
        let mut answer = Vec::new();
        if self.is_stuck() {
            return answer;
        }
        let Ok((ours, childs)) = pipe2(OFlag::O_CLOEXEC) else { return answer };
        // SAFETY: this process has no second thread that could hold a lock at the fork; the child
        // leaves by _exit and so runs none of our destructors.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            Ok(ForkResult::Child) => {
                work(&mut File::from(childs));
                // SAFETY: _exit takes an integer and does not come back.
                unsafe { libc::_exit(0) }
            }
            Err(_) => return answer,
        };
        drop(childs);
        let mut pipe = File::from(ours);
        let until = Moment::now().mono.saturating_add(PATIENCE);
        loop {
            let left = until.saturating_sub(Moment::now().mono).max(0);
            let timeout = PollTimeout::try_from(left / 1_000_000).unwrap_or(PollTimeout::ZERO);
            let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout);
            let mut part = [0; 512];
            match ready.map(|ready| if ready > 0 { pipe.read(&mut part).ok() } else { None }) {
                Ok(Some(0)) => return answer,
                Ok(Some(count)) => answer.extend(part.iter().take(count)),
                Err(nix::errno::Errno::EINTR) => {}
                _ => break,
            }
        }
        // Nobody waits for it: SIGCHLD is ignored. Its number is its own while it hangs.
        self.stuck = PidFd::open(child.as_raw()).ok();
        if let Some(stuck) = &self.stuck {
            let _ = stuck.send(libc::SIGKILL);
        }
        answer
    }
}

/// Writes an answer; whoever is no longer listening does not matter.
pub fn answer(pipe: &mut File, bytes: &[u8]) {
    let _ = pipe.write_all(bytes);
}
