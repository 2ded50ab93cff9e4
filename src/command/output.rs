//! Exit statuses and messages on standard error.

use std::fmt::Display;

use crate::record::shown;

/// No problem was found.
pub const CLEAN: u8 = 0;
/// There are warnings, or a helper did not take new settings.
pub const FINDINGS: u8 = 1;
/// The command line or the policy is invalid.
pub const BROKEN: u8 = 2;

/// Writes one line to standard error.
pub fn complain(text: impl Display) {
    eprintln!("{}", shown(&text.to_string()));
}
