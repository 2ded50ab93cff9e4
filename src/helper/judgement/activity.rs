//! When the person at a session's terminals was last active. A pure function of samples and time.
//!
//! Each terminal's stamps give an upper bound for the time of its last key (`evidence.rs`). The connection
//! gives another one, which the person on this machine cannot forge ([`Witness`]). The earlier one applies.
//! Some evidence may exist without a key. Such evidence is a claim, and [`crate::helper::judgement::credits`]
//! decides how many claims are believed.

use std::collections::BTreeMap;

use crate::helper::judgement::credits::{Claim, Doubt, Doubts};
pub use crate::helper::judgement::evidence::Sample;
use crate::helper::judgement::evidence::{Evidence, KnownTerminal, LookTimes, SETTLED, Times};
use crate::helper::judgement::witness::Witness;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::devnode::{DeviceId, Stamps};

/// A program that waits for a key may read it this much later than the key arrived.
const DELAY: Nanos = SECOND;

/// The session's terminals and the last activity on any of them.
#[derive(Clone, Debug)]
pub struct Activity {
    terminals: BTreeMap<DeviceId, KnownTerminal>,
    /// Whether output counts.
    output: bool,
    last: Nanos,
    looked: Moment,
    doubts: Doubts,
    /// The last look was an extra one, because a node had to settle.
    settling: bool,
    /// A look has shown a terminal.
    met: bool,
    /// When the client last sent data.
    heard: Option<Witness>,
}

impl Activity {
    /// Starts with a session that opened at this time. The opening counts as activity. `output` says whether
    /// output counts, too.
    #[must_use]
    pub fn new(opened: Moment, output: bool) -> Self {
        let (terminals, last, looked) = (BTreeMap::new(), opened.boot, opened);
        Self {
            terminals,
            output,
            last,
            looked,
            doubts: Doubts::default(),
            settling: false,
            met: false,
            heard: None,
        }
    }

    pub fn count_output(&mut self, output: bool) {
        self.output = output;
    }

    /// Takes another kind of activity into account, which was seen at this time of the boot clock.
    pub fn note(&mut self, at: Nanos) {
        if at > self.last {
            self.last = at;
            self.doubts.superseded();
        }
    }

    /// Notes that we have just written to a terminal ourselves. This is not activity. Output of a program in
    /// the rest of the stamp's bucket (less than 8 s) then leaves no trace.
    pub fn wrote(&mut self, id: DeviceId, stamps: Stamps) {
        if let Some(known) = self.terminals.get_mut(&id) {
            known.wrote(stamps);
        }
    }

    /// When somebody was last active, on the boot clock. This time is never earlier than the truth. It may be
    /// later: by a tenth of a second if the client sends only keys, otherwise by less than 8 s and a tick. A
    /// claim, or a key that nobody read, may make it later still. A claim counts only after
    /// [`Activity::decide`] believes it.
    #[must_use]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Whether the session had a terminal at the last look.
    #[must_use]
    pub fn has_terminals(&self) -> bool {
        self.terminals.values().any(|known| !known.inner)
    }

    /// When to make an extra look, on the boot clock: because a node has to settle, or because a read may soon
    /// be proven.
    #[must_use]
    pub fn looks_again(&self) -> Option<Nanos> {
        [self.settles(), self.doubts.next_look(self.looked.boot)].into_iter().flatten().min()
    }

    /// When to make an extra look because a node was changed right before the last look, as login(1) does when
    /// it hands the terminal over. Until the node has settled, an honest read looks like a forged one. There
    /// are never two such looks in a row, because a program that changes the node all the time would keep us
    /// busy.
    fn settles(&self) -> Option<Nanos> {
        let unsettled = !self.settling && self.terminals.values().any(|known| !known.settled);
        unsettled.then(|| self.looked.boot.saturating_add(2 * SETTLED))
    }

    /// The end must wait until this time. A claim was not believed, but a proven read may still follow it.
    #[must_use]
    pub fn undecided(&self) -> Option<Nanos> {
        self.doubts.undecided(self.looked.boot)
    }

    /// How many claims will still be believed.
    #[must_use]
    pub fn credits(&self) -> u8 {
        self.doubts.credits()
    }

    /// Takes the samples of all terminals at one look, and returns what was odd about them. Take the samples
    /// first and ask the witness afterwards: then no key in the samples is later than the witness says.
    pub fn look(
        &mut self,
        now: Moment,
        samples: &BTreeMap<DeviceId, Sample>,
        witness: Option<Witness>,
    ) -> Vec<(DeviceId, Doubt)> {
        self.settling = self.settles().is_some_and(|due| now.boot >= due);
        let witness = witness.map(|witness| witness.steadied(self.heard));
        self.heard = witness.or(self.heard);
        let look = LookTimes { now, before: self.looked, output: self.output };
        let before = std::mem::take(&mut self.terminals);
        let mut found: Vec<(DeviceId, Evidence)> = before
            .iter()
            .filter(|(id, known)| !known.inner && samples.get(id).is_none_or(|sample| sample.anew))
            .map(|(id, _)| (*id, look.gone()))
            .collect();
        for (&id, sample) in samples {
            let (known, evidence) = match before.get(&id) {
                Some(known) if !sample.anew => look.again(known, sample),
                // The first terminal is part of the session's start. A program that can open more terminals at
                // the client could type there, too.
                _ => look.first(sample, !self.met || (sample.by_client && witness.is_some())),
            };
            self.terminals.insert(id, known);
            found.push((id, evidence));
        }
        self.met |= self.has_terminals();
        self.looked = now;
        for (_, found) in &found {
            self.believe(found.input.proven, witness);
            self.believe(found.output.proven, None);
            // A read that comes later than the client's last data proves no key, because nobody typed at that
            // time.
            if found.read.is_some_and(|from| witness.is_none_or(|witness| from <= witness.latest() + DELAY)) {
                self.doubts.proven();
            }
        }
        found.into_iter().filter_map(|(id, found)| Some((id, self.weigh(id, &found, witness)?))).collect()
    }

    /// Takes evidence into account, as far as the witness allows.
    fn believe(&mut self, evidence: Option<Nanos>, witness: Option<Witness>) {
        self.note(evidence.map_or(self.last, |at| allowed(at, witness)));
    }

    /// Keeps a terminal's claim. If the claim is worthless, returns the reason.
    fn weigh(&mut self, terminal: DeviceId, found: &Evidence, witness: Option<Witness>) -> Option<Doubt> {
        self.believe(found.input.believed, witness);
        self.believe(found.output.believed, None);
        let Evidence { input: Times { claimed: input, .. }, output, stamp_claims, .. } = *found;
        let input = input.map(|at| (at, allowed(at, witness)));
        let claimed = input.map(|(_, at)| at).max(output.claimed);
        if let Some(at) = claimed.filter(|at| *at > self.last) {
            self.doubts.claim(self.looked.boot, Claim { terminal, at, by_stamp: stamp_claims.is_some() });
        } else if input.is_some_and(|(at, _)| at > self.last)
            && stamp_claims.zip(witness).is_some_and(|(from, witness)| from > witness.latest() + DELAY)
        {
            return Some(Doubt::Refuted);
        }
        found.future.then_some(Doubt::Future)
    }

    /// Decides about the claims, because without them the person would be warned or the session ended. Returns
    /// what goes on record.
    pub fn decide(&mut self) -> Option<(DeviceId, Doubt)> {
        let (claim, doubt) = self.doubts.decide(self.looked.boot, self.last)?;
        let believed = doubt != Doubt::Disbelieved;
        if believed {
            self.last = claim.at;
        }
        for known in self.terminals.values_mut() {
            known.decide(believed);
        }
        claim.by_stamp.then_some((claim.terminal, doubt))
    }
}

/// The time of the evidence, but not later than the witness allows.
fn allowed(at: Nanos, witness: Option<Witness>) -> Nanos {
    witness.map_or(at, |witness| at.min(witness.latest()))
}
