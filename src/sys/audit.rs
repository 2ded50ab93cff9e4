//! Sends a message to the kernel's audit, as sshd and su do through libaudit. auditd writes it to its log.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};

use nix::errno::Errno;

use super::netlink::{self, HEADER, REQUEST, number, short};

/// `AUDIT_RESP_TERM_ACCESS` in libaudit.h: a session was terminated. SECURITY.md says why it is this type.
const SESSION_TERMINATED: u16 = 2203;
const ACK: u16 = libc::NLM_F_ACK as u16;

/// Sends the message that a session was terminated. The kernel drops it if auditing is off. While auditd does not read,
/// the kernel makes the sender wait (`auditctl --backlog_wait_time`), for a minute at most.
///
/// # Errors
///
/// The kernel refuses the message although it can audit. A kernel without audit, and a container that may not send
/// messages to it, are no errors.
pub fn session_terminated(text: &str) -> io::Result<()> {
    match send(SESSION_TERMINATED, text) {
        Err(e) if e.raw_os_error().map(Errno::from_raw).is_some_and(is_no_audit) => Ok(()),
        sent => sent,
    }
}

/// Whether an error says that there is no audit for this process: the kernel has none, the process is in a user
/// namespace of its own, or it has no CAP_AUDIT_WRITE. (On a host libpam refuses each login of a root process without
/// CAP_AUDIT_WRITE, so only containers lack it.)
fn is_no_audit(errno: Errno) -> bool {
    matches!(errno, Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ECONNREFUSED | Errno::EPERM)
}

fn send(kind: u16, text: &str) -> io::Result<()> {
    let mut kernel = File::from(netlink::socket(libc::NETLINK_AUDIT)?);
    kernel.write_all(&message(kind, text))?;
    // The kernel handles the message during the write, so the answer is there.
    let mut answer = [0; 1024];
    let count = kernel.read(&mut answer)?;
    acknowledged(answer.get(..count).unwrap_or_default())
}

/// A message to the kernel. The text ends with a NUL, because the kernel overwrites the last byte with one.
fn message(kind: u16, text: &str) -> Vec<u8> {
    let length = HEADER + text.len() + 1;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend([kind, REQUEST | ACK].map(u16::to_ne_bytes).as_flattened());
    // The sequence number is 0, because there is only one message. The port is 0, which means the kernel.
    bytes.extend([0; 8]);
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads the kernel's answer.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    if short(answer, 4).map(i32::from) != Some(libc::NLMSG_ERROR) {
        return Err(invalid());
    }
    match number(answer, HEADER).ok_or_else(invalid)? as i32 {
        0 => Ok(()),
        error @ ..0 => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        1.. => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the kernel: its length, type, flags, sequence and port, the error, and the header of the message.
    fn answer(kind: i32, error: i32) -> Vec<u8> {
        let mut bytes = [36, 0, 0, 0, error as u32, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        bytes[4..6].copy_from_slice(&(kind as u16).to_ne_bytes());
        bytes
    }

    #[test]
    fn a_message_has_its_type_and_a_terminated_text() {
        let message = message(SESSION_TERMINATED, "op=x");
        assert_eq!(number(&message, 0), Some(21));
        assert_eq!((short(&message, 4), short(&message, 6)), (Some(2203), Some(5)));
        assert_eq!(message[HEADER..], *b"op=x\0");
    }

    #[test]
    fn the_kernels_answer_is_an_acknowledgement_or_an_error() {
        assert!(acknowledged(&answer(libc::NLMSG_ERROR, 0)).is_ok());
        let error = acknowledged(&answer(libc::NLMSG_ERROR, -libc::ENOMEM)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        for strange in [
            vec![],
            vec![0; 7],
            answer(3, 0),
            answer(libc::NLMSG_ERROR, 1),
            answer(libc::NLMSG_ERROR, 0)[..18].to_vec(),
        ] {
            assert_eq!(acknowledged(&strange).unwrap_err().kind(), io::ErrorKind::InvalidData, "{strange:?}");
        }
    }

    #[test]
    fn a_container_without_audit_is_no_error() {
        for errno in [Errno::EPERM, Errno::ECONNREFUSED, Errno::EPROTONOSUPPORT] {
            assert!(is_no_audit(errno));
        }
        for errno in [Errno::ENOMEM, Errno::ENOBUFS, Errno::EACCES, Errno::EAGAIN] {
            assert!(!is_no_audit(errno));
        }
    }
}
