//! The PAM module, inside sshd, login or su. It starts the helper, waits until the helper is armed, and tells
//! it when the session closes. It waits for its helper no longer than [`BUDGET`], starts no thread, and does
//! not change the process that it runs in (the host).

mod announce;
mod hooks;
mod registry;
mod session;

use std::time::Duration;

/// How long a login waits at most until the helper is armed.
const BUDGET: Duration = Duration::from_secs(2);

/// What libpam's log calls the opening and the closing of a session.
const SESSION: &str = "session";
