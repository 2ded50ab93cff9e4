//! The guest inside sshd, login or su. It starts the helper, waits until that is armed, and says
//! goodbye at the end. It waits for its helper no longer than [`BUDGET`], starts no thread, and leaves nothing
//! of the host's changed.

mod connection;
mod hooks;
mod registry;
mod session;
mod spawn;

use std::time::Duration;

/// How long a login waits for the helper at most: for its start and its arming.
const BUDGET: Duration = Duration::from_secs(2);
