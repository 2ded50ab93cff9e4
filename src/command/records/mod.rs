//! The records of this machine, from the journal or, where there is none, from the files of the syslog daemon. They
//! are read one after the other, because a log may have millions of lines.

pub mod calendar;
mod entry;
mod journal;
mod lines;
mod parsed;
mod syslog;

use std::io;
use std::path::Path;

use calendar::Zone;
pub use entry::LogEntry;
use journal::JournalReader;
#[cfg(test)]
pub use parsed::ParsedRecord;
use syslog::{SyslogFile, SyslogFiles};

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The journal, or the names of the files.
    pub name: String,
    /// Whether the log says who has written each entry.
    pub is_trusted: bool,
    /// The time of the first entry of the log, which may be later than the period begins.
    pub begins: Option<i64>,
    /// Files of the period that were not read.
    pub left_out: Vec<String>,
}

/// Reads the records of a period and gives each to `take`.
///
/// # Errors
///
/// The log cannot be read, or there is none.
pub fn read(since: i64, now: i64, zone: &Zone, take: impl FnMut(&LogEntry)) -> Result<LogSource, String> {
    match journal::program() {
        Some(program) => {
            read_journal(program, since, take).map_err(|e| format!("cannot read the journal: {e}"))
        }
        None => read_files(since, now, zone, take),
    }
}

fn read_journal(program: &str, since: i64, mut take: impl FnMut(&LogEntry)) -> io::Result<LogSource> {
    let mut journal = JournalReader::since(program, since)?;
    while let Some(entry) = journal.next()? {
        take(&entry);
    }
    let begins = journal::begins(program);
    Ok(LogSource { name: "the journal".to_owned(), is_trusted: true, begins, left_out: Vec::new() })
}

fn read_files(
    since: i64,
    now: i64,
    zone: &Zone,
    mut take: impl FnMut(&LogEntry),
) -> Result<LogSource, String> {
    let SyslogFiles { read, compressed } = SyslogFiles::since(since);
    if read.is_empty() {
        return Err("there is no log: no journal, and no /var/log/auth.log or /var/log/secure of that time"
            .to_owned());
    }
    let mut begins = None;
    for path in &read {
        let failed = |e: io::Error| format!("cannot read {}: {e}", path.display());
        let mut file = SyslogFile::open(path).map_err(failed)?;
        while let Some(entry) = file.next(now, zone, &mut begins).map_err(failed)? {
            if entry.at >= since {
                take(&entry);
            }
        }
    }
    let names = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path: &std::path::PathBuf| Path::display(path).to_string()).collect()
    };
    Ok(LogSource { name: names(&read).join(", "), is_trusted: false, begins, left_out: names(&compressed) })
}
