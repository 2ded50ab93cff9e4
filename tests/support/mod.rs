//! A private sshd and real ssh clients, for the tests of ring 2 and for the demo.
//!
//! All functions that wait here wait for an event (a log line, text on a screen, the end of a process) until a
//! deadline. Everything runs on the loopback interface and in a private mount namespace.

// The tests and the demo use different parts of this module.
#![allow(dead_code)]

pub mod client;
pub mod log;
pub mod process;
pub mod sshd;
pub mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Part of the warning on the terminal, in lower case.
pub const WARNING_TEXT: &str = "press enter";
/// Part of the text on the user's screen at the end, in lower case.
pub const ENDED_TEXT: &str = "has been idle";

/// The message of a client that hides the timing of keys when it stops sending, in lower case.
pub const CHAFF_TEXT: &str = "chaff packets sent";

/// How long we wait for things that usually happen at once: logins, prompts, signals. It is long because sixteen tests
/// share two cores. A test that succeeds does not take longer because of it.
pub const SOON: Duration = Duration::from_secs(30);

/// Whether `tests/old-kernel` runs the tests, which denies the system calls that Linux 4.18 lacks.
pub fn old_kernel() -> bool {
    std::env::var_os("OLD_KERNEL").is_some()
}

/// The clock of the tests.
#[allow(clippy::disallowed_methods)] // time is what ring 2 measures
pub fn now() -> Instant {
    Instant::now()
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The time until `deadline`.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

/// The directory in which `tests/prepare` has put modules of name services.
pub fn name_services() -> PathBuf {
    let modules = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/name-services"));
    assert!(modules.exists(), "{} is missing: run tests/prepare test names first", modules.display());
    modules
}

/// The directory in which `make` has put the module and the helper.
pub fn build_dir() -> PathBuf {
    std::env::var_os("IDLE_WATCHDOG_BUILD_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist")), PathBuf::from)
}
