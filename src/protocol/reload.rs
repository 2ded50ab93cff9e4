//! How the command gives a running helper new settings.
//!
//! The command creates a pair of sockets and writes the settings into one. Then it sends the helper
//! [`RELOAD_SIGNAL`], whose value is the descriptor of the other socket. The helper takes that descriptor with
//! pidfd_getfd(2), reads the settings from it, and replies on it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::policy::Settings;
use crate::protocol::start::{self, PROTOCOL, RELOAD_SIGNAL, unsupported};
use crate::sys::clock::{Moment, from_duration, poll_until};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId};

/// The longest message, in bytes. It fits into one packet.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// First byte of an answer: the new settings apply. The settings that applied before follow, as in [`message`].
const TAKEN: u8 = b'T';
/// First byte of an answer: the new settings do not apply. The reason follows.
const REFUSED: u8 = b'R';

/// Settings as a message: the protocol version and [`start::settings_args`], separated by NUL.
#[must_use]
pub fn message(settings: &Settings) -> Vec<u8> {
    let mut args = vec![format!("--protocol={PROTOCOL}")];
    args.extend(start::settings_args(settings));
    args.join("\0").into_bytes()
}

/// Reads what [`message`] wrote.
///
/// # Errors
///
/// The message is malformed. Then no part of it applies.
pub fn settings(message: &[u8]) -> Result<Settings, String> {
    if message.len() > MESSAGE_MAX {
        return Err(format!("the message has more than {MESSAGE_MAX} bytes"));
    }
    let mut args = message.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_owned()));
    let first = args.next().unwrap_or_default();
    let version = first.to_string_lossy();
    let Some(version) = version.strip_prefix("--protocol=") else {
        return Err("--protocol is missing".to_owned());
    };
    if version != PROTOCOL.to_string() {
        return Err(unsupported(version));
    }
    start::settings(args).map_err(|e| e.to_string())
}

/// An answer as a message: the settings that applied before, or why the new ones do not apply.
#[must_use]
pub fn answer(answer: Result<&Settings, &str>) -> Vec<u8> {
    match answer {
        Ok(before) => [&[TAKEN][..], &message(before)].concat(),
        Err(why) => [&[REFUSED], why.as_bytes()].concat(),
    }
}

/// Reads what [`answer`] wrote.
fn heard(answer: &[u8]) -> Result<Settings, String> {
    match answer.split_first() {
        Some((&TAKEN, before)) => settings(before).map_err(|_| UNREADABLE.to_owned()),
        Some((&REFUSED, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        _ => Err(UNREADABLE.to_owned()),
    }
}

const UNREADABLE: &str = "its answer cannot be read";

/// Gives settings to a helper. Returns the settings that applied before. `budget` is how long to wait for the answer.
///
/// # Errors
///
/// The reason why the settings do not apply: the helper gave it, or the helper did not answer.
pub fn hand_over(helper: ProcId, settings: &Settings, budget: Duration) -> Result<Settings, String> {
    let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let due = Moment::now().mono.saturating_add(from_duration(budget));
    let pidfd = PidFd::of(&Proc::default(), helper).ok_or("it has ended")?;
    // The helper takes the other end, so it must stay open until then.
    let (ours, theirs) = UnixDatagram::pair().map_err(failed("a pair of sockets cannot be created"))?;
    ours.set_nonblocking(true).map_err(failed("a socket cannot be set up"))?;
    ours.send(&message(settings)).map_err(failed("the message cannot be sent"))?;
    pidfd.queue(RELOAD_SIGNAL, theirs.as_raw_fd()).map_err(failed("the signal cannot be sent"))?;
    let mut fds = [ours.as_fd(), pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    if !poll_until(&mut fds, due).map_err(|e| format!("waiting for its answer failed: {e}"))? {
        return Err("it gave no answer in time; its records may say why".to_owned());
    }
    let mut answer = [0; MESSAGE_MAX];
    // The helper may have answered and then ended. The answer counts.
    match ours.recv(&mut answer) {
        Ok(length) => heard(answer.get(..length).unwrap_or_default()),
        Err(_) => Err("it has ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::start::tests::all_settings;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_handed_over_is_read(given in all_settings()) {
            let message = message(&given);
            prop_assert!(message.len() <= MESSAGE_MAX);
            prop_assert_eq!(settings(&message), Ok(given));
        }

        #[test]
        fn a_message_cut_short_is_refused_or_says_less(given in all_settings(), at: prop::sample::Index) {
            let message = message(&given);
            let cut = &message[..at.index(message.len())];
            if let Ok(read) = settings(cut) {
                prop_assert_eq!((read.kill, read.grace), (given.kill, given.grace));
            }
        }

        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>, text in "((--)?[a-z-]{1,12}(=[a-z0-9]*)?\0?){0,6}") {
            let _ = (settings(&bytes), settings(text.as_bytes()), heard(&bytes));
            let spoken = [format!("--protocol={PROTOCOL}\0").as_bytes(), &bytes].concat();
            let _ = settings(&spoken);
        }

        #[test]
        fn an_answer_is_heard_as_it_was_given(why in ".*", before in all_settings()) {
            prop_assert_eq!(heard(&answer(Err(&why))), Err(why));
            prop_assert_eq!(heard(&answer(Ok(&before))), Ok(before));
        }
    }

    #[test]
    fn what_is_no_answer_is_no_consent() {
        for bytes in [&b""[..], b"T", b"TX", b"X", b"\0"] {
            assert!(heard(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn another_protocol_or_too_long_a_message_is_refused() {
        let error = settings(b"--protocol=4\0--grace-ms=0").unwrap_err();
        assert!(error.starts_with(&format!("protocol 4, expected {PROTOCOL}: ")), "{error}");
        assert_eq!(settings(PROTOCOL.to_string().as_bytes()), Err("--protocol is missing".to_owned()));
        assert!(settings(&vec![b'x'; MESSAGE_MAX + 1]).unwrap_err().contains("bytes"));
        assert!(settings(b"").is_err());
    }
}
