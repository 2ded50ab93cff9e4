//! The messages between the module, the helper and the command.
//!
//! In [`start`] the module starts a helper. [`running`] finds the helpers. [`request`] has what the command asks
//! a running helper, and [`ask`] asks it. The helper's side is `helper/caller.rs`. [`client`] finds the connection
//! that a helper is told about.
#![forbid(unsafe_code)]

pub mod ask;
#[cfg(any(feature = "module", feature = "command"))]
pub mod client;
pub mod request;
pub mod running;
pub mod start;
pub mod status;
mod words;
