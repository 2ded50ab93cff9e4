//! What passes between the module, the helper and the command.
//!
//! [`start`] is how the module starts a helper, [`reload`] how the command gives a running helper new
//! settings, and [`caller`] how the helper receives them. [`running`] finds the helpers.
#![forbid(unsafe_code)]

pub mod caller;
pub mod reload;
pub mod running;
pub mod start;
