//! PAM's own files (`/etc/pam.d`), read and run as libpam reads and runs them.

pub mod control;
pub mod dispatch;
mod elf;
pub(super) mod libpam;
mod misspelled;
mod module_results;
pub mod parse;
pub(super) mod simulation;
pub mod stack;
pub(super) mod succeed_if;
