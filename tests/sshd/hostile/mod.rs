//! 13: a user who does not want to be ended. None lives past the promise, none delays
//! another session's end, nobody else is touched: see [`Town`](crate::promise::Town).

mod activity;
mod channels;
mod handed_down;
mod helper;
mod input;
mod leaders;
mod others;
mod processes;
mod terminals;
