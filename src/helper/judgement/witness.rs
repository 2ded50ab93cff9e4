//! The connection as a witness: what the client's last data says about keys.

use super::TICK;
use crate::sys::clock::{Nanos, SECOND};

/// What the bound allows for: the ticks, and a virtual processor that keeps them and stood still meanwhile.
const SLACK: Nanos = SECOND / 10;

/// When the client was last heard: the time of the look less the silence in whole ticks. The truth is less than a
/// tick away from it, before or after.
///
/// Every key of such a session comes over the connection, so no key is later than
/// [`Witness::latest`]. The client sends other data, too (keepalives, other channels), so data alone
/// is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// When data last came in, on the boot clock. If the machine has slept since, it was earlier by so long,
    /// because the kernel's ticks stand still then.
    pub heard: Nanos,
    /// The same on the clock that stands still while the machine sleeps.
    pub awake: Nanos,
}

impl Witness {
    /// No key came in later than this, on the boot clock.
    #[must_use]
    pub fn latest(self) -> Nanos {
        self.heard.saturating_add(SLACK)
    }

    /// The witness as it was told before, if it tells of the same data. Two answers about the same data differ by
    /// less than a tick, and that must not look like a key. Data of the next tick may be taken for the same: the
    /// slack allows for that.
    #[must_use]
    pub fn steadied(self, before: Option<Self>) -> Self {
        let same = |before: &Self| self.awake.saturating_sub(before.awake).saturating_abs() < TICK;
        before.filter(same).unwrap_or(self)
    }
}
