//! Ring 2: a private sshd and real ssh clients on loopback, no systemd. Needs root.
//!
//! | module | promises of issue A |
//! |---|---|
//! | [`course`] | 10: ended, spared, warned, resumed |
//! | [`connections`] | 11, 12: several terminals, root, none at all |
//! | [`hostile`] | 13: a user who does not want to be ended |
//! | [`kill_modes`] | 14: what `kill=` leaves alive |
//! | [`leader`] | 15: the leader's end, and a helper that does not come up |
//! | [`guest`] | 16: what the helper and sshd are like meanwhile |
//! | [`load`] | 17: fifty at once |

// Functions that the tests share are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod course;
mod guest;
mod hostile;
mod kill_modes;
mod leader;
mod load;
mod promise;
