//! Exit statuses and messages on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::record::shown;

/// No problem was found.
pub const CLEAN: u8 = 0;
/// There are warnings, a session is not guarded, or a helper did not do what it was asked.
pub const FINDINGS: u8 = 1;
/// The command line or the policy is invalid.
pub const BROKEN: u8 = 2;

/// Writes one line to standard error.
pub fn complain(text: impl Display) {
    eprintln!("{}", shown(&text.to_string()));
}

/// Writes a text to standard output, in which all foreign text is escaped.
#[must_use]
pub fn finish(text: &str, code: u8) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as head(1) may close the pipe early. That is not an error.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("idle-watchdog: {e}"));
            ExitCode::from(BROKEN)
        }
        _ => ExitCode::from(code),
    }
}

/// Escapes all characters of a JSON text that are not printable. `serde_json` escapes only the control
/// characters of ASCII, but others affect a terminal, too.
#[must_use]
pub fn printable(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        // Quotation marks, backslashes and line feeds belong to the JSON syntax.
        if c == '\n' || shown(c.encode_utf8(&mut [0; 4])).chars().eq([c]) {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}
