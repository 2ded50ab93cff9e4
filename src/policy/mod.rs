//! Which sessions are watched ([`exceptions`]), and which limit applies to whom: the words of the PAM line and
//! the rules of the policy file, parsed, checked and matched. Pure, but for [`files`], which reads the
//! files, and [`resolve()`], which asks name services and reads the text that `message-file=` names.
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
mod quoting;
mod resolve;
mod rule;
mod settings;
mod source;
mod who;

pub use decide::{Decision, Policy};
pub use message::{Field, Message, Template};
pub use options::{BadWord, Words};
pub use parse::Fault;
pub use resolve::{Resolved, message_faults, resolve};
pub use rule::{Place, Rule};
pub use settings::{Counted, Kill, OnError, Origin, Settings};
pub use source::{address, is_host_name, is_local};
pub use who::Who;
