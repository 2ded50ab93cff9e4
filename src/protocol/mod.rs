//! The messages between the module, the helper and the command.
//!
//! In [`start`] the module starts a helper. In [`reload`] the command gives new settings to a running helper,
//! and in [`caller`] the helper receives them. [`running`] finds the helpers. [`client`] finds the connection
//! that a helper is told about.
#![forbid(unsafe_code)]

pub mod caller;
#[cfg(any(feature = "module", feature = "command"))]
pub mod client;
pub mod reload;
pub mod running;
pub mod start;
