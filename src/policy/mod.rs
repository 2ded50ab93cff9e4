//! Which limit applies: the words of the PAM line, parsed and checked. Pure.
#![forbid(unsafe_code)]

pub mod duration;
mod settings;

pub use settings::{BadWord, Kill, OnError, Settings};
