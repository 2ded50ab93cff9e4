//! The files of a syslog daemon as the source of records. Such a file does not say who has written a line: any user
//! can write one like ours.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::calendar::{Zone, stamp};
use super::entry::{LogEntry, helper_name};
use super::lines::Lines;
use super::parsed::ParsedRecord;

/// Where the files are.
const DIRECTORY: &str = "/var/log";
/// The files of Debian and Fedora for logins.
const LOGS: [&str; 2] = ["auth.log", "secure"];

/// The files of a period.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SyslogFiles {
    /// The oldest first.
    pub read: Vec<PathBuf>,
    /// Files of the period that are compressed.
    pub compressed: Vec<PathBuf>,
}

impl SyslogFiles {
    /// The machine's files that were written since then.
    #[must_use]
    pub fn since(since: i64) -> Self {
        Self::below(Path::new(DIRECTORY), since)
    }

    fn below(directory: &Path, since: i64) -> Self {
        let mut found: Vec<((i64, i64), Reverse<PathBuf>)> = Vec::new();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // A link could lead anywhere.
            let Ok(about) = entry.metadata() else { continue };
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| LOGS.iter().any(|base| is_part_of(name, base)));
            if ours && about.is_file() && about.mtime() >= since {
                // If both were written at the same time, auth.log.1 is the older one.
                found.push(((about.mtime(), about.mtime_nsec()), Reverse(entry.path())));
            }
        }
        found.sort();
        let paths = found.into_iter().map(|(_, Reverse(path))| path);
        let (read, compressed) = paths.partition(|path| path.extension().is_none_or(|end| !packed(end)));
        Self { read, compressed }
    }
}

fn packed(extension: &std::ffi::OsStr) -> bool {
    ["gz", "xz", "zst", "bz2"].iter().any(|known| extension == *known)
}

/// Whether a file is the log, or an older part of it: `auth.log`, `auth.log.1`, `secure-20261122`, `auth.log.2.gz`.
fn is_part_of(name: &str, base: &str) -> bool {
    let Some(rest) = name.strip_prefix(base) else { return false };
    let number = rest.strip_prefix(['.', '-']).unwrap_or_default();
    let number = number.split_once('.').map_or(number, |(number, _)| number);
    rest.is_empty() || (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
}

/// The records of one file.
#[derive(Debug)]
pub struct SyslogFile {
    lines: Lines<BufReader<File>>,
}

impl SyslogFile {
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { lines: Lines::new(BufReader::new(File::open(path)?)) })
    }

    /// The next record. `begins` is set to the time of the first line.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn next(&mut self, now: i64, zone: &Zone, begins: &mut Option<i64>) -> io::Result<Option<LogEntry>> {
        while let Some(line) = self.lines.next()? {
            if begins.is_none() {
                *begins = stamp(line, now, zone).map(|(at, _)| at);
            }
            if let Some(entry) = entry(line, now, zone) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// The record in a line: time, host, `program[PID]: ` and the record.
fn entry(line: &str, now: i64, zone: &Zone) -> Option<LogEntry> {
    // This is cheaper than to read the time of each line.
    if !line.contains(": pam_idle_watchdog(") {
        return None;
    }
    let (at, rest) = stamp(line, now, zone)?;
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest.split_once(": ")?;
    let (program, pid) = match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((program, pid)) => (program, Some(pid.parse().ok()?)),
        None => (tag, None),
    };
    let by_helper = program == helper_name();
    let record = ParsedRecord::parse(message, by_helper)?;
    Some(LogEntry { at, pid, by_helper, record })
}

#[cfg(test)]
mod tests {
    use super::super::calendar::tests::{NOW, UTC};
    use super::*;

    #[test]
    fn a_line_of_a_daemon_is_read() {
        let record = "pam_idle_watchdog(sshd:session): ended user=alice idle=900";
        let read = |start: &str| entry(&format!("{start}{record}"), NOW, &UTC);
        for start in [
            "Nov 27 09:41:40 host pam_idle_watchdog_helper[2711]: ",
            "2026-11-27T09:41:40.123456+00:00 host pam_idle_watchdog_helper[2711]: ",
        ] {
            let found = read(start).unwrap();
            assert_eq!((found.at, found.pid, found.by_helper), (NOW - 1100, Some(2711), true));
        }
        for start in [
            "",
            "Nov 27 09:41:40 host sshd[7]: ",
            "Nov 27 09:41:40 host pam_idle_watchdog_helper[x]: ",
            "Nov 27 09:41:40 host pam_idle_watchdog_helper[7]: alice said: ",
            "yesterday host pam_idle_watchdog_helper[7]: ",
        ] {
            assert_eq!(read(start), None, "{start}");
        }
        let line = "Nov 27 09:41:40 host sshd-session[7]: pam_idle_watchdog(sshd:session): exempt user=a";
        assert!(!entry(line, NOW, &UTC).unwrap().by_helper);
    }

    #[test]
    fn the_files_of_the_period_are_found_in_their_order() {
        let directory = std::env::temp_dir().join(format!("idle-watchdog-syslog-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let age = |name: &str, at: u64| {
            let file = File::create(directory.join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at)).unwrap();
        };
        age("auth.log", 900);
        age("auth.log.1", 900);
        age("auth.log.2.gz", 700);
        age("auth.log.3", 100);
        age("secure-20261122", 850);
        age("auth.log.old", 900);
        age("authentic.log", 900);
        std::os::unix::fs::symlink("auth.log", directory.join("secure")).unwrap();
        let found = SyslogFiles::below(&directory, 500);
        let at = |names: &[&str]| names.iter().map(|name| directory.join(name)).collect::<Vec<_>>();
        assert_eq!(found.read, at(&["secure-20261122", "auth.log.1", "auth.log"]));
        assert_eq!(found.compressed, at(&["auth.log.2.gz"]));
        assert_eq!(SyslogFiles::below(Path::new("/nowhere"), 0), SyslogFiles::default());
        fs::remove_dir_all(directory).unwrap();
    }
}
