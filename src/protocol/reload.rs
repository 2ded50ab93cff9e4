//! New orders for a helper that watches already.
//!
//! Nothing waits for them but the helper's signal mask. Who hands them over makes a pair of sockets,
//! writes the orders into one, and sends the helper [`RELOAD_SIGNAL`] with the number of the other as
//! its value. The helper takes that descriptor (pidfd_getfd(2)), reads, and answers on it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::protocol::start::{Assignment, HELPER, Orders, PROTOCOL, RELOAD_SIGNAL};
use crate::sys::clock::{Moment, from_duration, poll_until};
use crate::sys::offload;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId, Process};

/// The longest message, in bytes: one packet.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// First byte of an answer: the orders hold. Behind it are those that held before, as [`message`] has them.
const TAKEN: u8 = b'T';
/// First byte of an answer: the orders do not hold. Behind it is the reason.
const REFUSED: u8 = b'R';

/// Orders as a message: the protocol and the arguments of [`Orders::to_args`], NUL between them.
#[must_use]
pub fn message(orders: &Orders) -> Vec<u8> {
    let mut args = vec![format!("--protocol={PROTOCOL}")];
    args.extend(orders.to_args());
    args.join("\0").into_bytes()
}

/// Reads what [`message`] wrote.
///
/// # Errors
///
/// What is wrong with it. Nothing of it holds then.
pub fn orders(message: &[u8]) -> Result<Orders, String> {
    if message.len() > MESSAGE_MAX {
        return Err(format!("a message of more than {MESSAGE_MAX} bytes"));
    }
    let mut args = message.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_owned()));
    let spoken = format!("--protocol={PROTOCOL}");
    match args.next() {
        Some(first) if first == *spoken => Orders::from_args(args).map_err(|e| e.to_string()),
        first => {
            let first = first.unwrap_or_default();
            Err(format!("{} is not spoken, this helper speaks {spoken}", first.to_string_lossy()))
        }
    }
}

/// An answer as a message: the orders that held before, or why the new ones do not hold.
#[must_use]
pub fn answer(answer: Result<&Orders, &str>) -> Vec<u8> {
    match answer {
        Ok(before) => [&[TAKEN][..], &message(before)].concat(),
        Err(why) => [&[REFUSED], why.as_bytes()].concat(),
    }
}

/// Reads what [`answer`] wrote.
fn heard(answer: &[u8]) -> Result<Option<Orders>, String> {
    match answer.split_first() {
        // From a helper that was started before it told so.
        Some((&TAKEN, [])) => Ok(None),
        Some((&TAKEN, before)) => orders(before).map(Some).map_err(|_| UNREADABLE.to_owned()),
        Some((&REFUSED, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        _ => Err(UNREADABLE.to_owned()),
    }
}

const UNREADABLE: &str = "an answer that cannot be read";

/// Hands orders to the helper of that number, started then, and waits so long for its answer: the orders
/// that held before, which a helper of an older build does not tell.
///
/// # Errors
///
/// Why they do not hold, in words: the helper's own, or that it gave none.
pub fn hand_over(helper: ProcId, orders: &Orders, budget: Duration) -> Result<Option<Orders>, String> {
    let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let due = Moment::now().mono.saturating_add(from_duration(budget));
    let pidfd = PidFd::of(&Proc::default(), helper).ok_or("it has ended")?;
    // The other end is the helper's to take, and must be here until it has.
    let (ours, theirs) = UnixDatagram::pair().map_err(failed("a pair of sockets"))?;
    ours.set_nonblocking(true).map_err(failed("a socket"))?;
    ours.send(&message(orders)).map_err(failed("the message"))?;
    pidfd.queue(RELOAD_SIGNAL, theirs.as_raw_fd()).map_err(failed("the signal"))?;
    let mut fds = [ours.as_fd(), pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    if !poll_until(&mut fds, due).map_err(|e| format!("poll: {e}"))? {
        return Err("it gave no answer in time; its records may say why".to_owned());
    }
    let mut answer = [0; MESSAGE_MAX];
    // The helper may have answered and ended. The answer counts.
    match ours.recv(&mut answer) {
        Ok(length) => heard(answer.get(..length).unwrap_or_default()),
        Err(_) => Err("it has ended".to_owned()),
    }
}

/// A helper that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    pub id: ProcId,
    /// What it was told when it was started. A reload does not change that. Else why that cannot be
    /// read: it is of another version than we are.
    pub told: Result<Assignment, String>,
}

/// The helpers that run, but for those of containers.
#[must_use]
pub fn helpers() -> Vec<Helper> {
    let proc = Proc::default();
    let mut found = helpers_in(&proc);
    // A container's sessions are its own root's, and its own policy's.
    let ours = proc.pid_namespace(nix::unistd::getpid());
    found.retain(|helper| proc.pid_namespace(helper.id.pid) == ours);
    found
}

fn helpers_in(proc: &Proc) -> Vec<Helper> {
    let helpers: Vec<Process> = proc.processes().filter(|process| is_helper(proc, process)).collect();
    // A helper has children that ask terminals for it, and look like it.
    let own = |process: &&Process| helpers.iter().all(|helper| helper.id.pid != process.parent);
    // One of these outlives its helper where a terminal's owner lets it hang.
    let watches = |process: &&Process| {
        proc.command_name(process.id.pid).as_deref().map(str::as_bytes) != Some(offload::NAME.to_bytes())
    };
    let told = |process: &Process| {
        let args = proc.arguments(process.id.pid)?.into_iter().skip(1);
        let told = Assignment::from_args(args).map_err(|e| e.to_string());
        Some(Helper { id: process.id, told })
    };
    helpers.iter().filter(own).filter(watches).filter_map(told).collect()
}

/// Whether a process is a helper, be it of a build that was replaced since.
fn is_helper(proc: &Proc, process: &Process) -> bool {
    if process.dead {
        return false;
    }
    let Some(program) = proc.program(process.id.pid) else { return false };
    let program = program.to_string_lossy();
    let ours = program.strip_suffix(" (deleted)").unwrap_or(&program) == HELPER;
    ours && proc.uids(process.id.pid) == Some((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::start::Session;
    use crate::protocol::start::tests::orders as any_orders;
    use crate::sys::proc::Started;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::unistd::Pid;

    proptest! {
        #[test]
        fn what_is_handed_over_is_read(given in any_orders()) {
            let message = message(&given);
            prop_assert!(message.len() <= MESSAGE_MAX);
            prop_assert_eq!(orders(&message), Ok(given));
        }

        #[test]
        fn a_message_cut_short_is_refused_or_says_less(given in any_orders(), at: prop::sample::Index) {
            let message = message(&given);
            let cut = &message[..at.index(message.len())];
            if let Ok(read) = orders(cut) {
                prop_assert_eq!((read.kill, read.grace), (given.kill, given.grace));
            }
        }

        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>, text in "(--[a-z-]{1,12}(=[a-z0-9]*)?\0?){0,6}") {
            let _ = (orders(&bytes), orders(text.as_bytes()), heard(&bytes));
            let spoken = [format!("--protocol={PROTOCOL}\0").as_bytes(), &bytes].concat();
            let _ = orders(&spoken);
        }

        #[test]
        fn an_answer_is_heard_as_it_was_given(why in ".*", before in any_orders()) {
            prop_assert_eq!(heard(&answer(Err(&why))), Err(why));
            prop_assert_eq!(heard(&answer(Ok(&before))), Ok(Some(before)));
        }
    }

    #[test]
    fn what_is_no_answer_is_no_consent() {
        // As helpers of older builds give it.
        assert_eq!(heard(b"T"), Ok(None));
        for bytes in [&b""[..], b"TX", b"X", b"\0"] {
            assert!(heard(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn another_protocol_or_too_long_a_message_is_refused() {
        let error = orders(b"--protocol=1\0--grace-ms=0").unwrap_err();
        assert_eq!(error, format!("--protocol=1 is not spoken, this helper speaks --protocol={PROTOCOL}"));
        assert!(orders(&vec![b'x'; MESSAGE_MAX + 1]).unwrap_err().contains("bytes"));
        assert!(orders(b"").is_err());
    }

    /// A process in a `/proc` of our own.
    fn process(root: &std::path::Path, pid: i32, parent: i32, program: &str, uid: u32, args: &[OsString]) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("comm"), "pam_idle_watchd\n").unwrap();
        let stat = format!("{pid} (x) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0");
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("status"), format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")).unwrap();
        let line: String = args.iter().map(|arg| format!("{}\0", arg.to_str().unwrap())).collect();
        fs::write(folder.join("cmdline"), format!("{program}\0{line}")).unwrap();
        symlink(program, folder.join("exe")).unwrap();
    }

    #[test]
    fn helpers_are_known_by_their_program_and_told_from_their_children() {
        let orders = Orders::from_args(["--grace-ms=0", "--kill=tty", "--activity=input"]).unwrap();
        let session = |leader| Session {
            leader: Pid::from_raw(leader),
            service: "sshd".into(),
            user: "alice".into(),
            uid: None,
            rhost: Some(OsString::new()),
            connection: None,
            tty: None,
        };
        let told = |leader| Assignment { session: session(leader), line: vec![], orders: orders.clone() };
        let args = told(70).to_args();
        let root = std::env::temp_dir().join(format!("idle-watchdog-reload-{}", std::process::id()));
        process(&root, 101, 1, HELPER, 0, &args);
        process(&root, 102, 101, HELPER, 0, &args);
        process(&root, 103, 1, &format!("{HELPER} (deleted)"), 0, &told(71).to_args());
        process(&root, 104, 1, HELPER, 1000, &args);
        process(&root, 105, 1, "/home/alice/pam_idle_watchdog_helper", 0, &args);
        process(&root, 106, 1, HELPER, 0, &["--from-the-past".into()]);
        // A writer whose helper has ended, for ever in the kernel.
        process(&root, 107, 1, HELPER, 0, &args);
        fs::write(root.join("107/comm"), "idle_wd_aside\n").unwrap();
        let mut found = helpers_in(&Proc::at(&root));
        fs::remove_dir_all(&root).unwrap();
        found.sort_by_key(|helper| helper.id);
        let helper = |pid, told| {
            let started = Started(i64::from(pid) * 10_000_000);
            Helper { id: ProcId { pid: Pid::from_raw(pid), started }, told }
        };
        let unread = Err("invalid option '--from-the-past'".to_owned());
        assert_eq!(found, [helper(101, Ok(told(70))), helper(103, Ok(told(71))), helper(106, unread)]);
    }
}
