//! Inside the helper: from *armed* to *gone*.
//!
//! [`run`] is the loop, [`look`] what it does each time it wakes up, [`deeds`] what it does to a session.
//! [`activity`], [`jobs`] and [`schedule`] decide, and see the world only through their arguments;
//! [`members`] decides whom the end applies to; [`watched`] and [`terminal`] are what they speak of. The others fetch and do: [`terminals`] finds the
//! terminals and samples them ([`inner`]: on old kernels those of sudo, too), [`notice`] writes on them,
//! [`ending`] asks processes to leave and `last_rung` kills them within [`bounds`], both by way of `held`;
//! [`journal`] records ([`commands`]: what was ended), [`connection`] hears of the client, [`caller`] of new orders.
#![forbid(unsafe_code)]

pub mod activity;
pub mod bounds;
pub mod caller;
pub mod commands;
pub mod connection;
pub mod deeds;
pub mod ending;
mod held;
pub mod inner;
pub mod jobs;
pub mod journal;
mod last_rung;
pub mod look;
pub mod members;
pub mod notice;
pub mod run;
pub mod schedule;
pub mod terminal;
pub mod terminals;
pub mod watched;
