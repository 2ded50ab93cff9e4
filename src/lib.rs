//! Ends login sessions nobody is typing at.
//!
//! The map, by who runs what:
//!
//! * [`policy`]: which limit applies to whom: the words of the PAM line, the rules of the policy file.
//!   Pure, but for what reads the files and asks name services.
//! * `module`: the guest inside sshd, login or su. Resolves the settings, starts the helper, waits
//!   until it is armed. Only with the `module` feature; all that links libpam is there.
//! * [`protocol`]: what passes between the module, the helper and the command: command line, descriptors,
//!   status, signals.
//! * `command`: `idle-watchdog`, for the administrator. Only with the `command` feature.
//! * [`helper`]: the watchdog of one session. Judgement and schedule are pure; around them discovery of the
//!   terminals, warning, ending and records.
//! * [`login`]: the facts about one login.
//! * [`record`]: one log entry, as both of them write it.
//! * [`sys`]: one file for each interface to the outside: kernel, C library, libpam, logind, log. `unsafe` lives here and in `module/spawn.rs`, nowhere else.
//!
//! The words used throughout: the *leader* is the process that opened the PAM session, and no other beside it;
//! a *member* is
//! a process the end applies to; a *terminal* is a tty of the session's; the *limit* is how long a
//! session may be idle; a *look* is one sampling of all terminals; a *record* is one log entry about
//! a decision.

#![deny(unsafe_code)]

#[cfg(feature = "command")]
pub mod command;
pub mod helper;
pub mod login;
#[cfg(feature = "module")]
#[allow(unsafe_code)]
mod module;
pub mod policy;
pub mod protocol;
pub mod record;
#[allow(unsafe_code)]
pub mod sys;
