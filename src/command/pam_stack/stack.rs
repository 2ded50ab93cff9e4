//! A service's stack: the lines of PAM's own files, in the order in which libpam runs them.

use super::control::Control;

/// Our module's file name, as stacks have it.
pub const MODULE: &str = "pam_idle_watchdog.so";

/// Which part of a login a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineType {
    /// Who somebody is.
    Auth,
    /// Whether they may come in.
    Account,
    /// What surrounds the session.
    Session,
    /// How a password is changed.
    Password,
}

impl LineType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Account, Self::Session, Self::Password];

    /// libpam ignores case here.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auth" => Some(Self::Auth),
            "account" => Some(Self::Account),
            "session" => Some(Self::Session),
            "password" => Some(Self::Password),
            _ => None,
        }
    }

    /// Its word in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
            Self::Session => "session",
            Self::Password => "password",
        }
    }
}

/// What libpam runs for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A module, by the path that the line names.
    Module(String),
    /// Nothing: a substack begins.
    Substack,
    /// Nothing: the line fails, because it cannot be read.
    Fails(String),
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, as `file:line`.
    pub place: String,
    /// What it is for.
    pub line_type: LineType,
    /// The control as it is written.
    pub written: String,
    /// The control as libpam reads it.
    pub control: Control,
    /// In how many substacks it stands.
    pub level: usize,
    /// What runs.
    pub runs: Runs,
    /// The words behind it.
    pub words: Vec<String>,
}

impl Entry {
    /// The module's file name, without its directory; empty where no module runs.
    #[must_use]
    pub fn module(&self) -> &str {
        self.path().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
    }

    /// The module as the line names it.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.runs {
            Runs::Module(path) => Some(path),
            Runs::Substack | Runs::Fails(_) => None,
        }
    }

    /// Whether it names our module.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.module() == MODULE
    }
}

/// The lines of a service, those of included files in their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// In the order of the files.
    pub entries: Vec<Entry>,
    /// Why libpam gives the service up as a whole, if it does: then nobody logs in by it.
    pub broken: Option<String>,
    /// The names of the files that it includes.
    pub includes: Vec<String>,
    /// Lines that libpam does not take for a session line of ours, and that were meant as one: where each
    /// stands, and what is wrong with it.
    pub misspelled: Vec<String>,
}

impl Stack {
    /// The lines of one kind.
    #[must_use]
    pub fn of_type(&self, line_type: LineType) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.line_type == line_type).cloned().collect()
    }
}
