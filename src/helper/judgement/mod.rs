//! When the person was last active, and what is due then. This is pure: samples and time are parameters.

pub mod activity;
pub mod cpu;
pub mod credits;
mod evidence;
pub mod schedule;
pub mod witness;

use crate::sys::clock::{Nanos, SECOND};

/// The longest tick of a kernel, at 100 Hz. Time stamps and the silence of a connection are as coarse as that.
const TICK: Nanos = SECOND / 100;
