//! When the person was last active, and what is due then. This is pure: samples and time are parameters.

pub mod activity;
pub mod cpu;
pub mod credits;
mod evidence;
pub mod schedule;
pub mod witness;
