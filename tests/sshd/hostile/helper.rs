//! Attacks on the helper.

use crate::promise::*;
use crate::support::process::Process;

#[test]
fn no_signal_of_the_users_reaches_the_helper() {
    let town = Town::awake();
    let helper = town.alices_helper.clone();
    town.alice.run(&format!("for s in $(seq 1 64); do kill -$s {} 2>/dev/null; done", helper.pid));
    let still = Process::read(helper.pid).expect("the helper is there");
    assert_eq!(still.started, helper.started);
    assert_eq!(still.state, 'S');
    town.assert_promise();
}

#[test]
fn a_filled_process_table_delays_nothing() {
    let town = Town::awake();
    // These are the shell itself, its sshd, and as many as still fit.
    town.alice.type_line("ulimit -p 25; while :; do sleep 1000 & done");
    town.alice.expect("annot fork", crate::support::SOON);
    town.assert_promise();
}
