//! The connection as a witness: what the client's last data says about keys.

use crate::sys::clock::Nanos;

/// When the client was last heard, on the boot clock.
///
/// Every key of such a session comes over the connection, so no key is later than
/// [`Witness::latest`]. The client sends other data, too (keepalives, other channels), so data alone
/// is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// When data last came in.
    pub heard: Nanos,
    /// How much later it may have been.
    pub within: Nanos,
}

impl Witness {
    /// No key came in later than this.
    #[must_use]
    pub fn latest(self) -> Nanos {
        self.heard.saturating_add(self.within)
    }
}
