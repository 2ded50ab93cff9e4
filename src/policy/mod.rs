//! Which sessions are watched ([`exceptions`]), and which settings apply to a login: the options of the PAM line
//! and the rules of the policy file.
//!
//! [`table`] lists all options. [`Options`] are settings as they are written, and [`Settings`] are those that
//! apply. Everything is pure, except for [`files`], which reads the files, and [`resolve()`], which asks name
//! services and reads the file that `message-file=` names.
#![forbid(unsafe_code)]

mod cover;
mod decide;
pub mod duration;
pub mod exceptions;
pub mod files;
mod glob;
mod list;
mod message;
mod options;
mod parse;
mod place;
mod quoting;
mod rule;
mod settings;
mod source;
pub mod table;
mod who;

pub use decide::{Origin, message_faults, resolve};
pub use message::{Field, Template, printable};
pub use options::{BadOption, Options};
pub use parse::Fault;
pub use place::RulePlace;
pub use rule::{Policy, Rule};
pub use settings::{Announcement, Counted, Kill, OnError, Settings};
pub use source::{address, is_host_name, is_local};
pub use who::Who;
