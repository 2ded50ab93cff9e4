//! The program that watches one session, from *armed* until it exits.
//!
//! [`run`] is the loop. At each wake-up [`look`] asks [`judge`] what is due, and [`actions`] does it.
//!
//! * [`judgement`] decides when the person was last active and what is due. It is pure.
//! * [`terminals`] finds the session's terminals and samples them. [`connection`] asks when the client last
//!   sent data.
//! * [`notice`] writes to the terminals. [`journal`] writes the records. [`audit`] tells the kernel's audit of an end.
//! * [`members`] decides to which processes the end applies. [`terminate`] ends them. [`keeping`]
//!   keeps a connection on which a transfer still runs, and [`kept`] decides how long.
//! * [`detached`] stays with what a logout leaves behind.
//! * [`caller`] takes what an administrator asks, [`requests`] answers it, [`waiting`] keeps what needs a look.
//! * [`session`] has the facts about the session. [`leader`] tells whether the leader has become another
//!   program.
#![forbid(unsafe_code)]

pub mod actions;
pub mod audit;
pub mod caller;
pub mod connection;
pub mod detached;
pub mod journal;
pub mod judge;
pub mod judgement;
pub mod keeping;
pub mod kept;
pub mod leader;
pub mod look;
pub mod members;
pub mod notice;
pub mod requests;
pub mod run;
pub mod session;
pub mod terminals;
pub mod terminate;
pub mod waiting;
