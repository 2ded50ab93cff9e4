//! Makes system calls that another user may cause to hang. A child makes them, so that the helper goes on.
//!
//! A terminal's owner can keep the locks of the terminal for as long as they like. For example, a read into
//! memory that is backed by their own file system (FUSE) keeps `termios_rwsem`. Then every ioctl and write
//! waits, and not even SIGKILL ends the wait. `O_NONBLOCK` does not help.

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

/// How long to wait for an answer: half a second, although the work takes microseconds. The wait consists of
/// slices. If a virtual machine stops meanwhile, only one slice is lost.
const SLICE: Nanos = SECOND / 20;
const SLICES: usize = 10;

/// Runs work in children, one at a time.
#[derive(Debug, Default)]
pub struct Offload {
    /// A child that did not answer in time and is not reaped. No other child starts until it is reaped, because
    /// otherwise there would soon be many.
    stuck: Option<Pid>,
}

impl Offload {
    /// Runs `work` in a child. Returns what the child wrote in time.
    ///
    /// The process must have only one thread.
    pub fn run(&mut self, work: impl FnOnce(&mut File)) -> Vec<u8> {
        let mut answer = Vec::new();
        self.stuck = self.stuck.filter(|child| !reap(*child, WaitPidFlag::WNOHANG));
        if self.stuck.is_some() {
            return answer;
        }
        let Ok((ours, childs)) = pipe2(OFlag::O_CLOEXEC) else { return answer };
        // SAFETY: this process has no second thread that could own a lock at the fork. The child leaves by
        // _exit and so runs none of our destructors.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            Ok(ForkResult::Child) => {
                // A child that hangs forever must not look like a helper with a session.
                let _ = set_name(NAME);
                work(&mut File::from(childs));
                // SAFETY: _exit takes an integer and does not return.
                unsafe { libc::_exit(0) }
            }
            Err(_) => return answer,
        };
        drop(childs);
        if listen(File::from(ours), &mut answer) {
            reap(child, WaitPidFlag::empty());
        } else {
            // No other process gets its PID before it is reaped.
            let _ = kill(child, Signal::SIGKILL);
            self.stuck = Some(child);
        }
        answer
    }
}

/// The most bytes of an answer. What is asked about may belong to a user, who can make it as large as they like.
const ANSWER_MAX: usize = 1 << 20;

/// Reads until the other end is closed. Returns `false` if that takes too long, or if the answer is too long.
fn listen(mut pipe: File, answer: &mut Vec<u8>) -> bool {
    let mut silent = 0;
    while silent < SLICES {
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout(SLICE)) {
            Ok(0) | Err(Errno::EINTR) => silent += 1,
            Ok(_) => {
                let mut part = [0; 512];
                match pipe.read(&mut part) {
                    Ok(0) => return true,
                    Ok(_) if answer.len() > ANSWER_MAX => return false,
                    Ok(count) => answer.extend(part.iter().take(count)),
                    Err(_) => return false,
                }
            }
            Err(_) => return false,
        }
    }
    false
}

/// Reaps a child of ours. Returns whether it had ended.
fn reap(child: Pid, how: WaitPidFlag) -> bool {
    !matches!(waitpid(child, Some(how)), Ok(WaitStatus::StillAlive))
}

/// Writes an answer. It does not matter if the parent has stopped reading.
pub fn answer(pipe: &mut File, bytes: &[u8]) {
    let _ = pipe.write_all(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_end_is_cut_off() {
        let endless = |pipe: &mut File| while pipe.write_all(&[b'x'; 4096]).is_ok() {};
        let mut offload = Offload::default();
        let length = offload.run(endless).len();
        assert!((ANSWER_MAX..ANSWER_MAX + 4096).contains(&length), "{length}");
        assert!(offload.stuck.is_some(), "it must be killed");
    }

    #[test]
    fn a_child_is_known_by_its_name() {
        let name = Offload::default()
            .run(|pipe| answer(pipe, &std::fs::read("/proc/self/comm").unwrap_or_default()));
        assert_eq!(name, [NAME.to_bytes(), b"\n"].concat());
    }
}
