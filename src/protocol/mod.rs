//! The messages between the module, the helper and the command.
//!
//! In [`start`] the module starts a helper. [`running`] finds the helpers. [`request`] has what the command asks
//! a running helper, and [`ask`] asks it. The helper's side is `helper/caller.rs`.
#![forbid(unsafe_code)]

pub mod ask;
pub mod request;
pub mod running;
pub mod start;
pub mod status;
mod words;
