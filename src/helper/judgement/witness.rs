//! What the client's last data on the connection says about keys.

use super::TICK;
use crate::sys::clock::{Nanos, SECOND};

/// The slack of the bound: for the ticks, and for a virtual processor that counts them and stops for a moment.
const SLACK: Nanos = SECOND / 10;

/// When the client last sent data: the time of the look minus the silence in whole ticks. The true time differs
/// by less than a tick, in either direction.
///
/// Every key of such a session comes over the connection, so no key is later than [`Witness::latest`]. The
/// client also sends other data (keepalives, other channels), so data alone does not prove a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// When data last came in, on the boot clock. If the machine has been suspended since, data came in earlier
    /// by that time, because the kernel's ticks stop during a suspend.
    pub heard: Nanos,
    /// The same time on the clock that stops during a suspend.
    pub awake: Nanos,
}

impl Witness {
    /// No key came in later than this, on the boot clock.
    #[must_use]
    pub fn latest(self) -> Nanos {
        self.heard.saturating_add(SLACK)
    }

    /// The earlier witness, if both are about the same data. Two answers about the same data differ by less
    /// than a tick, and this difference must not look like a key. Data of the next tick may count as the same
    /// data. The slack allows for that.
    #[must_use]
    pub fn steadied(self, before: Option<Self>) -> Self {
        let same = |before: &Self| self.awake.saturating_sub(before.awake).saturating_abs() < TICK;
        before.filter(same).unwrap_or(self)
    }
}
