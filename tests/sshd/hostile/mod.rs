//! A user who does not want to be ended. No session lives past the promise or delays another session's end, and
//! nobody else is affected: see [`Town`](crate::promise::Town).

mod activity;
mod channels;
mod handed_down;
mod helper;
mod input;
mod leaders;
mod others;
mod processes;
mod terminals;
