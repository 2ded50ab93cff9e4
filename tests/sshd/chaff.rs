//! Clients that hide the timing of keys, and so send more than keys.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::promise::*;
use crate::support::sshd::Sshd;
use crate::support::{CHAFF_TEXT, secs};

/// According to its source, such a client goes on sending for at most 3.2 s after a key. The promise is added
/// to that.
const LATEST_WITH_CHAFF: Duration = LIMIT.saturating_add(Duration::from_millis(3200)).saturating_add(secs(1));

/// Waits until the kernel's next step of the terminals' time stamps. It follows the wall clock.
#[allow(clippy::disallowed_methods)] // time is what is waited for
fn wait_for_a_step() {
    let step = secs(8).as_nanos();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() % step;
    thread::sleep(Duration::from_nanos((step - since).try_into().unwrap()));
}

#[test]
fn a_client_that_hides_the_timing_of_keys_is_ended_soon_after_the_limit() {
    let sshd = Sshd::with(OPTIONS).chaff().start();
    let alice = sshd.login("alice");
    // From the stamps alone, the end would come 8 s after the limit.
    wait_for_a_step();
    alice.type_keys("\r");

    let exit = alice.exit(PAST_THE_PROMISE).unwrap_or_else(|| panic!("not ended; the log:\n{}", sshd.log));
    assert!(
        alice.shows(CHAFF_TEXT),
        "no chaff: run tests/prepare test openssh first; the screen:\n{}",
        alice.screen()
    );
    let idle = exit.at - alice.last_key();
    assert!(idle >= LIMIT, "ended early, after {idle:?}; the log:\n{}", sshd.log);
    assert!(idle < LATEST_WITH_CHAFF, "ended late, after {idle:?}; the log:\n{}", sshd.log);
}
