//! The journal as the source of records. journald notes who has sent each entry, so what users send does not count.

use std::io::{self, BufReader, ErrorKind};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::entry::{LogEntry, helper_name};
use super::lines::Lines;
use super::parsed::ParsedRecord;

/// The places of journalctl. A relative path could find another program.
const JOURNALCTL: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];
/// Where journald keeps the journal: on disk, or until the machine stops.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// The program that reads this machine's journal, if there is a journal.
#[must_use]
pub fn program() -> Option<&'static str> {
    let has_entries = |path: &&str| std::fs::read_dir(path).is_ok_and(|mut found| found.next().is_some());
    let journal = JOURNALS.iter().any(has_entries);
    JOURNALCTL.into_iter().find(|path| journal && std::fs::metadata(path).is_ok())
}

/// A running journalctl. It is ended when this is dropped.
#[derive(Debug)]
pub struct JournalReader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl JournalReader {
    /// Starts to read the entries of root's programs in the facility authpriv.
    ///
    /// # Errors
    ///
    /// journalctl cannot be started.
    pub fn since(program: &str, since: i64) -> io::Result<Self> {
        let since = format!("--since=@{since}");
        Self::start(program, &[&since, "_UID=0", "SYSLOG_FACILITY=10"])
    }

    fn start(program: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["--quiet", "--no-pager", "--output=json"])
            .args(["--output-fields=MESSAGE,_UID,_PID,_EXE,_TRANSPORT,SYSLOG_IDENTIFIER"])
            .args(arguments)
            .env_remove("SYSTEMD_COLORS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        Ok(Self { child, lines: Lines::new(BufReader::new(output)) })
    }

    /// The next record.
    ///
    /// # Errors
    ///
    /// journalctl cannot be read, or has failed.
    pub fn next(&mut self) -> io::Result<Option<LogEntry>> {
        while let Some(line) = self.lines.next()? {
            if let Some(entry) = serde_json::from_str(line).ok().and_then(|value| entry(&value)) {
                return Ok(Some(entry));
            }
        }
        let status = self.child.wait()?;
        if status.success() { Ok(None) } else { Err(io::Error::other(format!("journalctl: {status}"))) }
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time of the oldest entry of the journal.
#[must_use]
pub fn begins(program: &str) -> Option<i64> {
    let mut journal = JournalReader::start(program, &[]).ok()?;
    let line = journal.lines.next().ok()??;
    time(&serde_json::from_str(line).ok()?)
}

/// The record in a journal entry. journald sets the fields that begin with an underscore, and nobody else can.
fn entry(entry: &Value) -> Option<LogEntry> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    // The output of a service may be foreign text, and has the transport stdout.
    if text("_UID") != Some("0") || !matches!(text("_TRANSPORT"), Some("syslog" | "journal")) {
        return None;
    }
    let named = text("SYSLOG_IDENTIFIER") == Some(helper_name());
    // The program is missing if it had exited before journald looked at it. An upgrade marks it as deleted.
    let program = text("_EXE").map(|path| path.trim_end_matches(" (deleted)"));
    let is_helper = program.map(|path| path.rsplit('/').next() == Some(helper_name()));
    // A caller of sudo chooses the identifier. The program decides, if it is known.
    let by_helper = match is_helper {
        Some(true) if !named => return None,
        Some(false) => false,
        _ => named,
    };
    let record = ParsedRecord::parse(text("MESSAGE")?, by_helper)?;
    let pid = text("_PID").and_then(|pid| pid.parse().ok());
    Some(LogEntry { at: time(entry)?, pid, by_helper, record })
}

fn time(entry: &Value) -> Option<i64> {
    let micros: i64 = entry.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
    Some(micros / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An entry of the helper, with changes.
    fn read(changes: &[(&str, Option<&str>)]) -> Option<LogEntry> {
        let mut value = json!({
            "__REALTIME_TIMESTAMP": "1795773600999999", "_UID": "0", "_PID": "77", "_TRANSPORT": "syslog",
            "_EXE": "/usr/libexec/pam_idle_watchdog_helper", "SYSLOG_IDENTIFIER": "pam_idle_watchdog_helper",
            "MESSAGE": "pam_idle_watchdog(sshd:session): ended user=alice idle=900",
        });
        for (key, to) in changes {
            match to {
                Some(to) => value[key] = json!(to),
                None => drop(value.as_object_mut().unwrap().remove(*key)),
            }
        }
        entry(&value)
    }

    #[test]
    fn a_helpers_entry_counts() {
        let found = read(&[]).unwrap();
        assert_eq!((found.at, found.pid, found.by_helper), (1_795_773_600, Some(77), true));
        // It had exited, or was upgraded.
        assert!(read(&[("_EXE", None)]).is_some());
        assert!(read(&[("_EXE", Some("/usr/libexec/pam_idle_watchdog_helper (deleted)"))]).is_some());
        assert!(read(&[("_TRANSPORT", Some("journal"))]).is_some());
    }

    #[test]
    fn the_modules_entry_counts_for_what_the_module_writes() {
        let exempt = "pam_idle_watchdog(sshd:session): exempt user=alice";
        let sshd = [("_EXE", Some("/usr/sbin/sshd")), ("SYSLOG_IDENTIFIER", Some("sshd"))];
        let of_sshd = |message| read(&[sshd[0], sshd[1], ("MESSAGE", Some(message))]);
        assert_eq!(of_sshd(exempt).map(|entry| entry.by_helper), Some(false));
        assert_eq!(of_sshd("pam_idle_watchdog(sshd:session): ended user=alice"), None);
    }

    #[test]
    fn what_a_user_or_another_program_sends_does_not_count() {
        for changes in [
            [("_UID", Some("1000"))],
            [("_UID", None)],
            // `logger -t pam_idle_watchdog_helper`
            [("_EXE", Some("/usr/bin/logger"))],
            // The helper under another name.
            [("SYSLOG_IDENTIFIER", Some("sshd"))],
            // The output of a service.
            [("_TRANSPORT", Some("stdout"))],
            [("__REALTIME_TIMESTAMP", None)],
        ] {
            assert_eq!(read(&changes), None, "{changes:?}");
        }
        assert_eq!(entry(&json!({"MESSAGE": [1, 2]})), None);
        assert_eq!(entry(&json!(7)), None);
    }
}
