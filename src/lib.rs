//! Ends login sessions at which nobody types.
//!
//! The programs and their files:
//!
//! * [`policy`]: which settings apply to which login, from the options of the PAM line and the rules of the
//!   policy file. `decide.rs` decides, `table.rs` has all options. It is pure, except that `files.rs` reads
//!   files and `decide.rs` asks name services.
//! * `module`: the PAM module inside sshd, login or su. It decides the settings, starts the helper and waits
//!   until the helper is armed. `session.rs` opens and closes a session. Only this part links libpam. It needs
//!   the feature `module`.
//! * [`protocol`]: the messages between the programs. `start.rs` starts a helper, `running.rs` finds the
//!   helpers, `client.rs` the client's connection, `request.rs` says what the command asks the helpers.
//! * [`helper`]: the program that watches one session. `run.rs` is its loop, `look.rs` and `judge.rs` make one
//!   look, `actions.rs` acts on it. `judgement` decides how long the session has been idle (pure), `terminals`
//!   and `members` find its terminals and processes, `terminate` ends it.
//! * `command`: the program `idle-watchdog` for the administrator. It needs the feature `command`.
//! * [`login`]: the facts about one login.
//! * [`record`]: one log entry, of the module or the helper.
//! * [`sys`]: one file for each interface to the outside: the kernel, the C library, libpam, logind, the log.
//!   Unsafe code is only here.
//!
//! These words have a fixed meaning. The *leader* is the process that opened the PAM session, and only this
//! session. A *member* is a process that the end applies to. A *terminal* is a terminal of the session. The
//! *limit* is how long a session may be idle. A *look* is one reading of all terminals. A *record* is one log
//! entry about a decision. CONTRIBUTING.md has more.

#![deny(unsafe_code)]

#[cfg(feature = "command")]
pub mod command;
pub mod helper;
pub mod login;
#[cfg(feature = "module")]
mod module;
pub mod policy;
pub mod protocol;
pub mod record;
#[allow(unsafe_code)]
pub mod sys;
