//! The messages between the module, the helper and the command.
//!
//! In [`start`] the module starts a helper. In [`reload`] the command gives new settings to a running helper,
//! and in [`caller`] the helper receives them. [`running`] finds the helpers.
#![forbid(unsafe_code)]

pub mod caller;
pub mod reload;
pub mod running;
pub mod start;
