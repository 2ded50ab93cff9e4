//! Exit statuses and messages on standard error.

use std::fmt::Display;

use crate::record::shown;

/// Nothing was found.
pub const CLEAN: u8 = 0;
/// Something was found that weakens the guard, or a helper would not listen.
pub const FINDINGS: u8 = 1;
/// The command line or the policy cannot be read.
pub const BROKEN: u8 = 2;

/// Says on standard error, in one line, what is wrong or may be.
pub fn complain(what: impl Display) {
    eprintln!("{}", shown(&what.to_string()));
}
