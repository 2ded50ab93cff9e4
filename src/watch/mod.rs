//! Inside the helper: from *armed* to *gone*.
//!
//! [`run`] is the loop, [`look`] what it does each time it wakes up, [`deeds`] what it does to a session.
//! [`activity`], `evidence`, [`doubt`], [`jobs`] and [`schedule`] decide, and see the world only through their arguments;
//! [`members`] decides whom the end applies to ([`kinship`]: who descends from the leader; [`seats`]: who sits on its terminals);
//! [`watched`], [`terminal`] and [`witness`] are what they speak of. The others fetch and do: [`terminals`] finds the
//! terminals and samples them ([`inner`]: on old kernels those of sudo, too), [`notice`] writes on them,
//! [`ending`] asks processes to leave and `last_rung` kills them within [`bounds`], both by way of `held`;
//! [`journal`] records ([`commands`]: what was ended), [`connection`] hears of the client, [`console`] asks who has a virtual
//! console, [`caller`] of new orders; [`leader`] knows whether the leader has become another program.
#![forbid(unsafe_code)]

pub mod activity;
pub mod bounds;
pub mod caller;
pub mod commands;
pub mod connection;
pub mod console;
pub mod deeds;
pub mod doubt;
pub mod ending;
mod evidence;
mod held;
pub mod inner;
pub mod jobs;
pub mod journal;
pub mod kinship;
mod last_rung;
pub mod leader;
pub mod look;
pub mod members;
pub mod notice;
pub mod run;
pub mod schedule;
pub mod seats;
pub mod terminal;
pub mod terminals;
pub mod watched;
pub mod witness;
