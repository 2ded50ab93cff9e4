//! A private sshd and real ssh clients, for the tests of ring 2 and for the demo.
//!
//! Every wait in here is for an event (a log line, text on a screen, the end of a process)
//! with a deadline. Everything stays on the loopback interface and in a mount namespace of
//! its own.

// The tests and the demo each use their part.
#![allow(dead_code)]

pub mod client;
pub mod log;
pub mod process;
pub mod sshd;
pub mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the warning on the terminal says, in lower case.
pub const WARNING_TEXT: &str = "press enter";
/// What the user's screen says at the end, in lower case.
pub const ENDED_TEXT: &str = "has been idle";

/// What a client that hides the timing of keys says when it has stopped sending, in lower case.
pub const CHAFF_TEXT: &str = "chaff packets sent";

/// How long a program gets for what it does at once: logins, prompts, signals. Generous, since
/// sixteen tests share two cores; it bounds a failure and never lengthens a success.
pub const SOON: Duration = Duration::from_secs(30);

/// The clock that everything in the tests is timed with.
#[allow(clippy::disallowed_methods)] // time is what ring 2 measures
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is left of the time until `deadline`.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

/// Where `tests/prepare` has put modules of name services.
pub fn name_services() -> PathBuf {
    let modules = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/name-services"));
    assert!(modules.exists(), "{} is missing: run tests/prepare test names first", modules.display());
    modules
}

/// Where `make` has put the module and the helper.
pub fn build_dir() -> PathBuf {
    std::env::var_os("IDLE_WATCHDOG_BUILD_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist")), PathBuf::from)
}
