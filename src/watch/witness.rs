//! The connection as a witness: what the client's last data says about keys.

use crate::sys::clock::{Nanos, SECOND};

/// The kernel counts a connection's silence in ticks. A tick is 10 ms at most.
const TICK: Nanos = SECOND / 100;

/// When the client was last heard, on the boot clock: the time of the look less the silence in whole ticks.
/// The true time is less than a tick earlier or later.
///
/// Every key of such a session comes over the connection, so no key is later than
/// [`Witness::latest`]. The client sends other data, too (keepalives, other channels), so data alone
/// is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// When data last came in.
    pub heard: Nanos,
}

impl Witness {
    /// No key came in later than this. It is two ticks later than when the client was heard, because
    /// [`Witness::steadied`] may take data of the next tick for this one's.
    #[must_use]
    pub fn latest(self) -> Nanos {
        self.heard.saturating_add(2 * TICK)
    }

    /// The witness of the look before, if both are about the same data. Two answers about the same data
    /// differ by less than a tick, and that must not look like a key.
    #[must_use]
    pub fn steadied(self, before: Option<Self>) -> Self {
        let same = |before: &Self| self.heard.saturating_sub(before.heard).saturating_abs() < TICK;
        before.filter(same).unwrap_or(self)
    }
}
