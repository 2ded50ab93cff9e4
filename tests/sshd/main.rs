//! Ring 2: a private sshd and real ssh clients on loopback, no systemd. Needs root.
//!
//! | module | what it shows |
//! |---|---|
//! | [`course`] | ended, spared, warned, resumed, recorded |
//! | [`chaff`] | clients that hide the timing of keys |
//! | [`connections`] | several terminals, root, none at all |
//! | [`counted`] | output and processor time, where they count |
//! | [`console`] | login(1) on a terminal of its own |
//! | [`host`] | what the tests themselves stand on |
//! | [`hostile`] | a user who does not want to be ended |
//! | [`kill_modes`] | what `kill=` leaves alive |
//! | [`leader`] | the leader's end, and a helper that does not come up |
//! | [`names`] | name services: directories that are down, large groups, names in any bytes |
//! | [`nested`] | su and sudo inside a session |
//! | [`openers`] | programs that use libpam in other ways than sshd |
//! | [`policy`] | the policy file, at a login |
//! | [`preflight`] | the account line |
//! | [`quiet_lines`] | sessions without a terminal, by their connection |
//! | [`reload`] | new orders while the session runs |
//! | [`guest`] | what the helper and sshd are like meanwhile |
//! | [`load`] | fifty at once |
//! | [`superserver`] | `sshd -i`, started by something else |
//! | [`warnings`] | several of them, and the administrator's own words |
//! | [`witness`] | the client's connection: which one it is, and how it is asked |

// Functions that the tests share are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod chaff;
mod connections;
mod console;
mod counted;
mod course;
mod guest;
mod host;
mod hostile;
mod kill_modes;
mod leader;
mod load;
mod names;
mod nested;
mod openers;
mod policy;
mod preflight;
mod promise;
mod quiet_lines;
mod reload;
mod superserver;
mod warnings;
mod witness;
