//! System calls that somebody else may make hang, done in a child that may be given up.
//!
//! A terminal's owner can hold its locks for as long as he likes: a read into memory that a file
//! system of his own (FUSE) backs keeps `termios_rwsem`, and every ioctl and write then waits for
//! him, in a state that not even SIGKILL ends. `O_NONBLOCK` does not help against that.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl::set_name;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::clock::{Nanos, SECOND, timeout};

/// The command name of such a child.
pub const NAME: &CStr = c"idle_wd_aside";

/// How long an answer is waited for: half a second, though what is asked for takes microseconds. In slices, for
/// a machine that stands still meanwhile, as a guest that is moved or not scheduled, loses only one of them.
const SLICE: Nanos = SECOND / 20;
const SLICES: usize = 10;

/// Runs work in children, one at a time.
#[derive(Debug, Default)]
pub struct Offload {
    /// A child that gave no answer in time and is not buried: nothing more is asked until it is, or
    /// there would soon be many.
    stuck: Option<Pid>,
}

impl Offload {
    /// Runs `work` in a child and answers what that has written: all of it, or what came in time.
    ///
    /// The process must have one thread.
    pub fn run(&mut self, work: impl FnOnce(&mut File)) -> Vec<u8> {
        let mut answer = Vec::new();
        self.stuck = self.stuck.filter(|child| !buried(*child, WaitPidFlag::WNOHANG));
        if self.stuck.is_some() {
            return answer;
        }
        let Ok((ours, childs)) = pipe2(OFlag::O_CLOEXEC) else { return answer };
        // SAFETY: this process has no second thread that could hold a lock at the fork; the child
        // leaves by _exit and so runs none of our destructors.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            Ok(ForkResult::Child) => {
                // One that hangs for ever must not be taken for a helper with a session.
                let _ = set_name(NAME);
                work(&mut File::from(childs));
                // SAFETY: _exit takes an integer and does not come back.
                unsafe { libc::_exit(0) }
            }
            Err(_) => return answer,
        };
        drop(childs);
        if listen(File::from(ours), &mut answer) {
            buried(child, WaitPidFlag::empty());
        } else {
            // Its number is its own until it is buried, which it will be when it no longer hangs.
            let _ = kill(child, Signal::SIGKILL);
            self.stuck = Some(child);
        }
        answer
    }
}

/// Takes what is written until the other end is closed; `false` when that takes too long.
fn listen(mut pipe: File, answer: &mut Vec<u8>) -> bool {
    let mut silent = 0;
    while silent < SLICES {
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout(SLICE)) {
            Ok(0) | Err(Errno::EINTR) => silent += 1,
            Ok(_) => {
                let mut part = [0; 512];
                match pipe.read(&mut part) {
                    Ok(0) => return true,
                    Ok(count) => answer.extend(part.iter().take(count)),
                    Err(_) => return false,
                }
            }
            Err(_) => return false,
        }
    }
    false
}

/// Whether a child of ours has ended; it is no more a zombie then.
fn buried(child: Pid, how: WaitPidFlag) -> bool {
    !matches!(waitpid(child, Some(how)), Ok(WaitStatus::StillAlive))
}

/// Writes an answer; whoever is no longer listening does not matter.
pub fn answer(pipe: &mut File, bytes: &[u8]) {
    let _ = pipe.write_all(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_known_by_its_name() {
        let name = Offload::default()
            .run(|pipe| answer(pipe, &std::fs::read("/proc/self/comm").unwrap_or_default()));
        assert_eq!(name, [NAME.to_bytes(), b"\n"].concat());
    }
}
