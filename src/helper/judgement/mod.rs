//! When the person was last active, and what is due then. Pure: samples and time are arguments.

pub mod activity;
pub mod cpu;
pub mod credits;
mod evidence;
pub mod schedule;
pub mod witness;
