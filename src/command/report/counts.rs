//! How often each thing happened.

use std::collections::BTreeMap;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A session had a watchdog.
    Watched,
    /// The person was warned. Several warnings in one absence count once.
    Warned,
    /// The person came back after a warning or a would-end.
    Resumed,
    /// An idle session was ended.
    Ended,
    /// An idle session would have been ended, but for `kill=none`.
    WouldEnd,
    /// The session had `timeout=off`.
    Exempt,
    /// A login was refused, because it could not be guarded.
    Refused,
    /// A session opened although it could not be guarded.
    Unguarded,
}

impl Happening {
    pub const ALL: [Self; 8] = [
        Self::Watched,
        Self::Warned,
        Self::Resumed,
        Self::Ended,
        Self::WouldEnd,
        Self::Exempt,
        Self::Refused,
        Self::Unguarded,
    ];

    /// Its name in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Warned => "warned",
            Self::Resumed => "resumed",
            Self::Ended => "ended",
            Self::WouldEnd => "would-end",
            Self::Exempt => "exempt",
            Self::Refused => "refused",
            Self::Unguarded => "unguarded",
        }
    }
}

/// A number for each thing that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Happening, u64>);

impl Counts {
    pub fn add(&mut self, what: Happening) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn take_back(&mut self, what: Happening) {
        if let Some(count) = self.0.get_mut(&what) {
            *count = count.saturating_sub(1);
        }
    }

    #[must_use]
    pub fn of(&self, what: Happening) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }
}
