//! Sends records to journald in its native form, with a field for each value (see the page "Native Journal Protocol"
//! of systemd).
//!
//! An entry is one datagram. journald also takes larger entries, as a sealed memfd. We have no code for that: the
//! values of a record are bounded, and a record with all keys at their longest fits into a datagram.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::record::Record;

/// The socket of journald. It is missing where journald does not run, and in most containers.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The facility AUTHPRIV of syslog(3), which our lines have, too.
const FACILITY: &str = "10";

/// The prefix of our own fields.
const FIELD_PREFIX: &str = "IDLE_WATCHDOG_";

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Taken,
    /// journald has no space for it now.
    Busy,
    /// journald does not run here, or does not take this entry. The syslog is left.
    Refused,
}

/// Sends an entry without waiting. It closes its socket again, so the process keeps no descriptor.
#[must_use]
pub fn send(path: &Path, entry: &[u8]) -> Sent {
    let send = || -> io::Result<usize> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(entry, path)
    };
    match send() {
        Ok(_) => Sent::Taken,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Sent::Busy,
        Err(_) => Sent::Refused,
    }
}

/// A record as an entry of the journal. `line` is the text that a syslog would get. `ident` is the name of the
/// program.
#[must_use]
pub fn entry(record: &Record, line: &str, ident: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    add(&mut entry, "MESSAGE", line);
    add(&mut entry, "MESSAGE_ID", &format!("{:032x}", record.event().message_id()));
    add(&mut entry, "PRIORITY", &record.severity().number().to_string());
    add(&mut entry, "SYSLOG_FACILITY", FACILITY);
    add(&mut entry, "SYSLOG_IDENTIFIER", ident);
    add(&mut entry, "SYSLOG_PID", &std::process::id().to_string());
    add(&mut entry, &field("event"), record.event().name());
    for (key, value) in record.fields() {
        add(&mut entry, &field(key.name()), value);
    }
    entry
}

/// The name of a field in the journal: `members-by` is IDLE_WATCHDOG_MEMBERS_BY.
fn field(key: &str) -> String {
    format!("{FIELD_PREFIX}{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// Adds a field: `NAME=value` and a newline. A value that has newlines is written with its length instead. So no
/// value can look like another field.
fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use crate::record::{Event, Key};
    use crate::sys::once_closed::once_closed;
    use proptest::prelude::*;

    /// The fields of an entry, read as journald reads them.
    pub fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
                fields.push((text(&line[..equals]), text(&line[equals + 1..])));
                entry = rest;
                continue;
            }
            let (length, rest) = rest.split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            assert_eq!(rest[0], b'\n');
            fields.push((text(line), text(value)));
            entry = &rest[1..];
        }
        fields
    }

    #[test]
    fn an_entry_has_the_line_of_the_syslog_and_each_value_in_a_field() {
        let record = Record::new(Event::WouldEnd)
            .with(Key::User, "alice")
            .with(Key::TerminalsBy, "masters")
            .with(Key::Error, "two words\nand \"a line\"");
        let line = record.line("sshd", "session");
        assert_eq!(
            line,
            r#"pam_idle_watchdog(sshd:session): would-end user=alice terminals-by=masters error="two words\nand \"a line\"""#
        );
        let pid = std::process::id().to_string();
        let id = format!("{:032x}", Event::WouldEnd.message_id());
        let expected = [
            ("MESSAGE", line.as_str()),
            ("MESSAGE_ID", &id),
            ("PRIORITY", "5"),
            ("SYSLOG_FACILITY", "10"),
            ("SYSLOG_IDENTIFIER", "sshd"),
            ("SYSLOG_PID", &pid),
            ("IDLE_WATCHDOG_EVENT", "would-end"),
            ("IDLE_WATCHDOG_USER", "alice"),
            ("IDLE_WATCHDOG_TERMINALS_BY", "masters"),
            ("IDLE_WATCHDOG_ERROR", "two words\nand \"a line\""),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields(&entry(&record, &line, "sshd")), expected);
    }

    #[test]
    fn the_largest_record_fits_into_a_datagram() {
        let long = "\u{7f}\n".repeat(10_000);
        let all = Key::ALL.iter().fold(Record::new(Event::Ended), |record, key| record.with(*key, &long));
        let entry = entry(&all, &all.line(&"x".repeat(256), "session"), &"x".repeat(256));
        let (socket, _receiver) = UnixDatagram::pair().unwrap();
        assert_eq!(socket.send(&entry).unwrap(), entry.len());
        // The machine of this test may allow more than the kernel's default (net.core.wmem_default), of which 32 bytes
        // are not for data.
        assert!(entry.len() <= 212_992 - 32, "{}", entry.len());
    }

    #[test]
    fn an_entry_is_taken_once_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("idle-watchdog-journald-{}", std::process::id()));
        assert_eq!(send(&path, b"A=1\n"), Sent::Refused);
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut sent = 0;
        while send(&path, b"A=1\n") == Sent::Taken {
            sent += 1;
        }
        assert_eq!(send(&path, b"A=1\n"), Sent::Busy);
        socket.set_nonblocking(true).unwrap();
        assert_eq!(std::iter::from_fn(|| socket.recv(&mut [0; 9]).ok()).count(), sent);
        // journald has left its socket behind.
        drop(socket);
        once_closed(|| send(&path, b"A=1\n") == Sent::Refused);
        std::fs::remove_file(&path).unwrap();
    }

    proptest! {
        #[test]
        fn every_value_can_be_read_back_and_none_passes_for_a_field(
            values in proptest::collection::vec("(.|\n){0,40}|[A-Z_]{0,9}=[a-z]{0,9}\n(.|\n){0,9}", 1..5),
        ) {
            let keys = [Key::User, Key::Rhost, Key::Error, Key::Argument];
            let record = keys.into_iter().zip(&values).fold(Record::new(Event::Error), |record, (key, value)| {
                record.with(key, value)
            });
            let read = fields(&entry(&record, &record.line("sshd", "session"), "sshd"));
            let ours = read.iter().filter_map(|(name, value)| Some((name.strip_prefix(FIELD_PREFIX)?, value)));
            let expected = keys.iter().map(|key| key.name().to_uppercase());
            let expected: Vec<(String, &String)> = expected.zip(&values).collect();
            prop_assert!(ours.skip(1).eq(expected.iter().map(|(name, value)| (name.as_str(), *value))), "{read:?}");
            prop_assert_eq!(read.len(), 7 + expected.len());
        }
    }
}
