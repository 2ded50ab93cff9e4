//! Which claims are believed, and when. A claim is evidence that may exist without a key.
//!
//! To set a stamp also changes the node. A read moves only the stamp. So a moved stamp is *proven* if the node
//! did not change between the two looks that show it. It is *doubtful* if the node changed, because honest
//! people run `mesg n`, too. A doubtful stamp is only a [`Claim`] until it matters. Then it costs a credit. A
//! proven read gives all credits back, because no forger can make one. A terminal that opens or closes is a
//! claim as well, because a script can open and close terminals.
//!
//! While a stamp is doubtful, the looks come closer together. If a person goes on typing, one of them falls
//! between two changes of the node and proves a read. When no credit is left, the end waits until
//! [`PROOF_WINDOW`] has passed.

use crate::sys::clock::{Nanos, SECOND};
use crate::sys::devnode::DeviceId;

/// How many claims are believed without a proven read between them.
pub const CREDITS: u8 = 3;

/// How long the end waits for a proven read after a claim is not believed. The bucket changes twice in this
/// time, so the stamp moves twice for a person who presses a key at least every 8 s.
pub const PROOF_WINDOW: Nanos = 18 * SECOND;

/// The shortest time between two looks that wait for a proven read.
const CLOSE: Nanos = 2 * SECOND;

/// The same while the end waits for a proven read. It is shorter, because a program may run `mesg n` every
/// second. A read is proven only if no such change falls between the same two looks.
const CLOSEST: Nanos = SECOND / 10;

/// The looks come closer together at most once in this time, so that a program that sets stamps all the time
/// does not keep us busy.
const RENEWAL: Nanos = 60 * SECOND;

/// What became of a claim. This goes on record if the claim is about a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Believed, at the cost of a credit.
    Credited {
        /// How many credits are left.
        left: u8,
    },
    /// Not believed, because no credit is left.
    Disbelieved,
    /// Not believed, because the client has sent nothing since the last known activity.
    Refuted,
    /// The stamp is in the future and nobody set the clock back. So the stamp is forged and not believed.
    Future,
}

/// Somebody may have been active until this time.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub terminal: DeviceId,
    /// The time, on the boot clock.
    pub at: Nanos,
    /// A stamp of the terminal shows it. Otherwise the terminal appeared or disappeared.
    pub by_stamp: bool,
}

/// Claims and credits of one session.
#[derive(Clone, Debug)]
pub struct Doubts {
    credits: u8,
    claim: Option<Claim>,
    /// The start of the current wait for a proven read.
    since: Option<Nanos>,
    /// The end must wait until this time.
    hold: Option<Nanos>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self { credits: CREDITS, claim: None, since: None, hold: None }
    }
}

impl Doubts {
    /// Notes a claim that was seen now.
    pub fn claim(&mut self, now: Nanos, claim: Claim) {
        if claim.by_stamp && self.since.is_none_or(|since| now.saturating_sub(since) >= RENEWAL) {
            self.since = Some(now);
        }
        // If the witness limits two claims to the same time, the claim about a stamp stays, because it goes on
        // record.
        let stays = |known: &Claim| known.at > claim.at || (known.at == claim.at && known.by_stamp);
        self.claim = self.claim.filter(stays).or(Some(claim));
    }

    /// How many claims will still be believed.
    #[must_use]
    pub fn credits(&self) -> u8 {
        self.credits
    }

    /// Notes a proven read.
    pub fn proven(&mut self) {
        *self = Self { claim: self.claim, ..Self::default() };
    }

    /// Notes activity that needs no claim. If a later claim is not believed, the end waits again.
    pub fn superseded(&mut self) {
        self.hold = None;
    }

    /// Decides about the claims that are later than the last known activity, because they matter now.
    pub fn decide(&mut self, now: Nanos, last: Nanos) -> Option<(Claim, Doubt)> {
        let claim = self.claim.take().filter(|claim| claim.at > last)?;
        let Some(left) = self.credits.checked_sub(1) else {
            if self.hold.is_none() {
                self.since = Some(now);
                self.hold = Some(now.saturating_add(PROOF_WINDOW));
            }
            return Some((claim, Doubt::Disbelieved));
        };
        *self = Self { credits: left, claim: None, since: Some(now), hold: None };
        Some((claim, Doubt::Credited { left }))
    }

    /// The end must wait until this time, because a proven read may still appear.
    #[must_use]
    pub fn undecided(&self, now: Nanos) -> Option<Nanos> {
        self.hold.filter(|until| now < *until)
    }

    /// When to look again for a proven read, after a look now. The looks become rarer with time.
    #[must_use]
    pub fn next_look(&self, now: Nanos) -> Option<Nanos> {
        if self.undecided(now).is_some() {
            return Some(now.saturating_add(CLOSEST));
        }
        self.since.map(|since| now.saturating_add(CLOSE.max(now.saturating_sub(since) / 4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTY: DeviceId = DeviceId { filesystem: 25, device: 34816 };

    fn claim(at: i64) -> Claim {
        Claim { terminal: TTY, at: at * SECOND, by_stamp: true }
    }

    fn decide(doubts: &mut Doubts, at: i64) -> Option<Doubt> {
        doubts.claim(at * SECOND, claim(at));
        doubts.decide(at * SECOND, (at - 1) * SECOND).map(|(_, doubt)| doubt)
    }

    #[test]
    fn a_proven_read_gives_all_credits_back() {
        let mut doubts = Doubts::default();
        for left in (0..CREDITS).rev() {
            assert_eq!(decide(&mut doubts, 10), Some(Doubt::Credited { left }));
        }
        assert_eq!(decide(&mut doubts, 20), Some(Doubt::Disbelieved));
        doubts.proven();
        assert_eq!(decide(&mut doubts, 30), Some(Doubt::Credited { left: CREDITS - 1 }));
    }

    #[test]
    fn a_claim_that_does_not_matter_costs_nothing() {
        let mut doubts = Doubts::default();
        doubts.claim(10 * SECOND, claim(10));
        assert!(doubts.decide(20 * SECOND, 10 * SECOND).is_none());
        assert_eq!(decide(&mut doubts, 30), Some(Doubt::Credited { left: CREDITS - 1 }));
    }

    #[test]
    fn disbelief_waits_once_until_there_is_other_activity() {
        let mut doubts = Doubts { credits: 0, ..Doubts::default() };
        assert_eq!(decide(&mut doubts, 100), Some(Doubt::Disbelieved));
        let until = 100 * SECOND + PROOF_WINDOW;
        assert_eq!(doubts.undecided(100 * SECOND), Some(until));
        assert_eq!(decide(&mut doubts, 110), Some(Doubt::Disbelieved));
        assert_eq!(doubts.undecided(110 * SECOND), Some(until), "renewed by a forger");
        assert_eq!(doubts.undecided(until), None);
        assert_eq!(decide(&mut doubts, 120), Some(Doubt::Disbelieved));
        assert_eq!(doubts.undecided(120 * SECOND), None);
        doubts.superseded();
        assert_eq!(decide(&mut doubts, 130), Some(Doubt::Disbelieved));
        assert!(doubts.undecided(130 * SECOND).is_some());
    }

    #[test]
    fn the_looks_become_rarer_and_a_forger_cannot_keep_them_close() {
        let mut doubts = Doubts::default();
        assert_eq!(doubts.next_look(0), None);
        let (mut now, mut looks) = (0, 0);
        while now < 600 * SECOND {
            doubts.claim(now, Claim { terminal: TTY, at: now, by_stamp: true });
            let next = doubts.next_look(now).unwrap();
            assert!(next >= now + CLOSE);
            (now, looks) = (next, looks + 1);
        }
        assert!(looks < 160, "{looks} looks in ten minutes");
        doubts.proven();
        assert_eq!(doubts.next_look(now), None);
    }
}
