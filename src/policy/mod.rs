//! Which limit applies to whom: the words of the PAM line and the rules of the policy file, parsed,
//! checked and matched. Pure, but for [`load`], which reads the
//! files, and [`resolve()`], which calls it.
#![forbid(unsafe_code)]

pub mod column;
mod decide;
pub mod duration;
mod file;
pub mod load;
mod message;
mod resolve;
mod rule;
mod settings;
mod words;

pub use column::{Login, Who};
pub use decide::{Decision, Policy};
pub use file::Fault;
pub use message::{Field, Message, Template};
pub use resolve::{Resolved, resolve};
pub use rule::{Place, Rule};
pub use settings::{Counted, Kill, OnError, Origin, Settings};
pub use words::{BadWord, Words};
