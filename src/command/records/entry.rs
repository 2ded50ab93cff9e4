//! One record of the log, with its time and its writer.

use super::parsed::ParsedRecord;
use crate::protocol::start::HELPER;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// In seconds since the epoch.
    pub at: i64,
    /// The PID of the writer: of a helper, or of sshd, login or su.
    pub pid: Option<u32>,
    /// Whether a helper has written it, and not the module.
    pub by_helper: bool,
    pub record: ParsedRecord,
}

/// The name under which the helpers write to the log, and the name of their program.
#[must_use]
pub fn helper_name() -> &'static str {
    HELPER.rsplit('/').next().unwrap_or(HELPER)
}
