//! Terminals that take no notice.

use crate::promise::*;
use crate::support::SOON;

#[test]
fn a_stopped_terminal_delays_nothing() {
    let town = Town::awake();
    town.alice.type_keys("\x13");
    town.assert_promise();
}

#[test]
fn a_full_terminal_delays_nothing() {
    let town = Town::awake();
    town.alice.type_line("yes");
    town.alice.expect("y\r\ny\r\ny", SOON);
    town.alice.stop_reading();
    town.assert_promise();
}

#[test]
fn a_terminal_with_its_permissions_gone_delays_nothing() {
    let town = Town::awake();
    town.alice.run("chmod 0 $(tty)");
    town.assert_promise();
}
