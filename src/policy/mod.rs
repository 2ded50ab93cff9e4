//! Which sessions are watched ([`ours`]), and which limit applies to whom: the words of the PAM line and
//! the rules of the policy file, parsed, checked and matched. Pure, but for [`load`], which reads the
//! files, and [`resolve()`], which asks name services and reads the text that `message-file=` names.
#![forbid(unsafe_code)]

mod cover;
mod decide;
pub mod duration;
mod file;
mod glob;
mod letters;
mod list;
pub mod load;
mod message;
pub mod ours;
mod resolve;
mod rule;
mod settings;
mod source;
mod who;
mod words;

pub use decide::{Decision, Policy};
pub use file::Fault;
pub use message::{Field, Message, Template};
pub use resolve::{Resolved, message_faults, resolve};
pub use rule::{Login, Place, Rule};
pub use settings::{Counted, Kill, OnError, Origin, Settings};
pub use source::{address, is_host_name, is_local};
pub use who::Who;
pub use words::{BadWord, Words};
