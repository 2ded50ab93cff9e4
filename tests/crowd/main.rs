//! Ring 2, one test at a time: crowds of thousands of processes, beside which a session of another test would end late.
//! A private sshd and real ssh clients, as in `tests/sshd`. Needs root.

// Functions that the tests share are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Each test binary uses a part of what they share.
#[allow(dead_code)]
#[path = "../sshd/promise.rs"]
mod promise;
#[path = "../support/mod.rs"]
mod support;

mod hidden;
mod number;
