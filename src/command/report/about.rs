//! Whose a record is, and an end of a session.

use crate::command::records::LogEntry;
use crate::record::Key;

/// Who, where and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    pub at: i64,
    pub user: String,
    pub service: String,
    pub rhost: Option<String>,
    pub tty: Option<String>,
    pub rule: Option<String>,
}

impl Whose {
    #[must_use]
    pub fn of(entry: &LogEntry) -> Self {
        let text = |key| entry.record.get(key).map(str::to_owned);
        Self {
            at: entry.at,
            user: entry.record.user().to_owned(),
            service: entry.record.service.clone(),
            rhost: text(Key::Rhost),
            tty: text(Key::Tty),
            rule: text(Key::Rule),
        }
    }
}

/// A session that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    pub about: Whose,
    /// In seconds.
    pub idle: Option<u64>,
    /// In seconds, or `off`.
    pub limit: Option<String>,
    /// The PIDs that outlived the end.
    pub survivors: Option<String>,
}
