//! When a session's terminals last got input: a pure function of samples and time.
//!
//! The evidence is the terminal's `st_atime`, which the kernel moves when something *reads* it; where
//! output counts, `st_mtime`, too, which it moves when something *writes* on it. It is coarse (8-second
//! buckets), on a clock that may be stepped, and its owner may set it at will. The rules below make of
//! it an upper bound for the last key's age that no clock step shortens, and that the owner can stretch
//! [`CREDITS`](super::doubt::CREDITS) times at most. [`super::doubt`] has the rules about stamps that the
//! owner may have set.

use std::collections::BTreeMap;

use super::doubt::{Claim, Doubt, Doubts};
use super::witness::Witness;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::devnode::{DeviceId, Stamps};
use crate::sys::tty::Unread;

/// The kernel rewrites a stamp only when the second leaves `second & !7` (`tty_update_time()` in
/// drivers/tty/tty_io.c): a key leaves no trace in the rest of the bucket.
const BUCKET: i64 = 8;

/// The kernel stamps with a clock that is up to one tick behind: 10 ms at 100 Hz.
const TICK: Nanos = SECOND / 100;

/// A change of the offset between wall and boot clock above this is a step, not the jitter of
/// reading them.
const STEP: Nanos = SECOND / 200;

/// How long after a step we have looked at the latest, unless the machine is starved.
const STEP_LATENCY: Nanos = 2 * SECOND;

/// How much later than it came in a key may be read by a program that waits for it.
const DELAY: Nanos = SECOND;

/// A change time this old at a look is settled: any later change of the node shows as another one.
/// A younger one may hide changes within the same tick of the kernel's clock.
const SETTLED: Nanos = 2 * TICK;

/// One terminal at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The stamps on its node.
    pub stamps: Stamps,
    /// Bytes in its input queue that nobody has read, if that could be told.
    pub unread: Option<Unread>,
    /// An inner pty, as sudo makes one. Its birth and its going are the user's to make, and never count.
    pub inner: bool,
    /// A new terminal that has the number of one seen at the look before.
    pub anew: bool,
}

/// A stamp, and what it hides.
#[derive(Clone, Copy, Debug)]
struct Mark {
    stamp: Nanos,
    /// The boot-clock span in which the wall clock is in the stamp's bucket, now or, after a step
    /// back, once more: a key in it leaves no trace.
    blind: Option<(Nanos, Nanos)>,
    origin: Origin,
}

/// Who set a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The kernel.
    Kernel,
    /// The kernel or the terminal's owner: nothing is decided yet, and what the stamp hides is only claimed.
    Unknown,
    /// The same, and it is decided.
    Decided,
}

/// What is known of one terminal since the last look.
#[derive(Clone, Copy, Debug)]
struct Known {
    input: Mark,
    output: Mark,
    ctime: Nanos,
    owner: u32,
    unread: Option<Unread>,
    inner: bool,
    /// The change time was old enough at some look to vouch for the time after it.
    settled: bool,
}

/// The session's terminals and the last activity on any of them.
#[derive(Clone, Debug)]
pub struct Activity {
    terminals: BTreeMap<DeviceId, Known>,
    /// Output counts.
    output: bool,
    last: Nanos,
    looked: Moment,
    doubts: Doubts,
    /// The last look was one because a node had to settle.
    settling: bool,
}

impl Activity {
    /// A session that begins now. Its begin counts as activity, and so does `output`, if it is to.
    #[must_use]
    pub fn new(now: Moment, output: bool) -> Self {
        let (terminals, last, looked) = (BTreeMap::new(), now.boot, now);
        Self { terminals, output, last, looked, doubts: Doubts::default(), settling: false }
    }

    /// Whether output counts from now on.
    pub fn count_output(&mut self, output: bool) {
        self.output = output;
    }

    /// Takes activity of another kind into account, seen at a time of the boot clock.
    pub fn note(&mut self, at: Nanos) {
        if at > self.last {
            self.last = at;
            self.doubts.superseded();
        }
    }

    /// Takes note that we have just written on a terminal ourselves: that is no activity. What a program
    /// writes in the rest of the stamp's bucket, less than 8 s, then leaves no trace.
    pub fn wrote(&mut self, id: DeviceId, stamps: Stamps) {
        if let Some(known) = self.terminals.get_mut(&id).filter(|known| known.output.stamp != stamps.mtime) {
            known.output = Mark { stamp: stamps.mtime, blind: None, origin: Origin::Kernel };
        }
    }

    /// When somebody was last active, on the boot clock: never earlier than the truth, and later by
    /// less than 8 s and a tick unless the evidence was a doubtful one or a key that nobody read.
    /// What is only claimed counts once [`Activity::decide`] believes it.
    #[must_use]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Whether a terminal was there at the last look.
    #[must_use]
    pub fn has_terminals(&self) -> bool {
        self.terminals.values().any(|known| !known.inner)
    }

    /// When to look once more, on the boot clock, whatever else is due: because a node has to settle,
    /// or because a read may prove itself.
    #[must_use]
    pub fn looks_again(&self) -> Option<Nanos> {
        [self.settles(), self.doubts.next_look(self.looked.boot)].into_iter().flatten().min()
    }

    /// When to look once more because a node was changed right before the last look (login hands the
    /// terminal over just then): until it has settled an honest read cannot be told from a forged one.
    /// Not twice in a row: whoever changes it all the time is not run after.
    fn settles(&self) -> Option<Nanos> {
        let unsettled = !self.settling && self.terminals.values().any(|known| !known.settled);
        unsettled.then(|| self.looked.boot.saturating_add(2 * SETTLED))
    }

    /// Until when the end may not come, because a claim that was not believed may still be followed by
    /// a read that proves itself.
    #[must_use]
    pub fn undecided(&self) -> Option<Nanos> {
        self.doubts.undecided(self.looked.boot)
    }

    /// Takes one look's samples, of all terminals there are, and tells what was odd about them. The
    /// witness must have been asked after the samples were taken: a key that they show is then not later than
    /// the witness says.
    pub fn look(
        &mut self,
        now: Moment,
        samples: &BTreeMap<DeviceId, Sample>,
        witness: Option<Witness>,
    ) -> Vec<(DeviceId, Doubt)> {
        self.settling = self.settles().is_some_and(|due| now.boot >= due);
        let look = Look { now, before: self.looked, output: self.output };
        let gone = self.terminals.iter().any(|(id, known)| !known.inner && !samples.contains_key(id));
        if gone {
            self.note(now.boot);
        }
        let mut found = Vec::new();
        let mut terminals = BTreeMap::new();
        for (&id, sample) in samples {
            let (known, evidence) = match self.terminals.get(&id) {
                Some(known) => look.again(*known, sample),
                None => look.first(sample),
            };
            terminals.insert(id, known);
            self.note(evidence.proven.unwrap_or(self.last));
            if evidence.read {
                self.doubts.proven();
            }
            found.push((id, evidence));
        }
        self.terminals = terminals;
        self.looked = now;
        found.into_iter().filter_map(|(id, found)| Some((id, self.weigh(id, found, witness)?))).collect()
    }

    /// Keeps what is claimed of a terminal, or says why it is worth nothing.
    fn weigh(&mut self, terminal: DeviceId, found: Evidence, witness: Option<Witness>) -> Option<Doubt> {
        let allowed = |at: Nanos| witness.map_or(at, |witness| at.min(witness.latest()));
        self.note(found.believed.map_or(self.last, allowed));
        if let Some(at) = found.claimed.filter(|at| *at > self.last) {
            let at = allowed(at);
            if at > self.last {
                self.doubts.claim(self.looked.boot, Claim { terminal, at });
            } else if found
                .doubtful
                .zip(witness)
                .is_some_and(|(from, witness)| from > witness.latest() + DELAY)
            {
                return Some(Doubt::Refuted);
            }
        }
        found.future.then_some(Doubt::Future)
    }

    /// Decides on what is claimed, because without it the person would be warned or the session ended.
    pub fn decide(&mut self) -> Option<(DeviceId, Doubt)> {
        let (claim, doubt) = self.doubts.decide(self.looked.boot, self.last)?;
        let believed = doubt != Doubt::Disbelieved;
        if believed {
            self.last = claim.at;
        }
        for known in self.terminals.values_mut() {
            let marks = [&mut known.input, &mut known.output];
            for mark in marks.into_iter().filter(|mark| mark.origin == Origin::Unknown) {
                *mark = Mark { blind: mark.blind.filter(|_| believed), origin: Origin::Decided, ..*mark };
            }
        }
        Some((claim.terminal, doubt))
    }
}

/// One look: the clocks now and at the look before, and whether output counts.
struct Look {
    now: Moment,
    before: Moment,
    output: bool,
}

/// What one look shows of a terminal since the look before.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    /// It was in use, as late as this.
    proven: Option<Nanos>,
    /// The same, by a stamp that was only believed.
    believed: Option<Nanos>,
    /// It may have been, as late as this, or its owner has set a stamp.
    claimed: Option<Nanos>,
    /// Something has read it: only that moves the stamp of a node that stands still.
    read: bool,
    /// A stamp moved, and the node was changed: no earlier than this, if something has read the terminal.
    doubtful: Option<Nanos>,
    /// A stamp was set to a time in the future.
    future: bool,
}

impl Evidence {
    fn add(&mut self, origin: Origin, at: Option<Nanos>) {
        let known = match origin {
            Origin::Kernel => &mut self.proven,
            Origin::Decided => &mut self.believed,
            Origin::Unknown => &mut self.claimed,
        };
        *known = at.max(*known);
    }
}

impl Look {
    /// A terminal not seen before. Its birth is activity, and what its stamps say since.
    fn first(&self, sample: &Sample) -> (Known, Evidence) {
        let Stamps { atime, mtime, ctime, .. } = sample.stamps;
        let stamps = [Some(atime), Some(ctime), self.output.then_some(mtime)];
        let active = stamps.into_iter().flatten().map(|stamp| self.moved_at(stamp)).max();
        let mark = |stamp| {
            let blind = if self.is_future(stamp) { None } else { self.passage(stamp) };
            Mark { stamp, blind, origin: Origin::Kernel }
        };
        let known = self.known(sample, mark(atime), mark(mtime), None);
        (known, Evidence { proven: active.filter(|_| !sample.inner), ..Evidence::default() })
    }

    /// A terminal seen at the look before.
    fn again(&self, known: Known, sample: &Sample) -> (Known, Evidence) {
        // Root has given it to the person just now, as login does after the session is opened. Whose it is
        // already may have ids of his own to give it to (subuid(5)).
        let handed_over = known.owner == 0 && sample.stamps.owner != 0;
        if sample.anew || handed_over {
            return self.first(sample);
        }
        let still = sample.stamps.ctime == known.ctime && known.settled;
        let (input, mut found) = self.judge(known.input, sample.stamps.atime, still);
        // What waits in the queue came after the look before if there is more of it than then, counted
        // alike, and may have if something was read in between. When, nobody knows: as late as now.
        let grew = known
            .unread
            .zip(sample.unread)
            .is_some_and(|(before, now)| now.mode == before.mode && now.count > before.count);
        if sample.unread.is_some_and(|now| now.count > 0) {
            found.proven = found.proven.map(|_| self.now.boot);
            found.believed = found.believed.map(|_| self.now.boot);
            found.claimed = found.claimed.map(|_| self.now.boot);
        }
        if grew {
            found.proven = Some(self.now.boot);
        }
        let output = if self.output {
            let (output, written) = self.judge(known.output, sample.stamps.mtime, still);
            found.add(Origin::Kernel, written.proven);
            found.add(Origin::Decided, written.believed);
            found.add(Origin::Unknown, written.claimed);
            found.doubtful = found.doubtful.max(written.doubtful);
            found.future |= written.future;
            output
        } else {
            Mark { stamp: sample.stamps.mtime, blind: None, origin: Origin::Kernel }
        };
        (self.known(sample, input, output, Some(&known)), found)
    }

    /// What a stamp tells that was known at the look before: when the terminal may have been read (or
    /// written to) since, if it was. `still`: the node was not changed since then, and so only the
    /// kernel moved the stamp.
    fn judge(&self, mark: Mark, stamp: Nanos, still: bool) -> (Mark, Evidence) {
        let mut found = Evidence::default();
        let (mut blind, mut origin) = (None, mark.origin);
        // In a blind span no key leaves a trace: there may have been one until its end, or until a step or
        // another stamp cut it short. Who sets one stamp after another gains no such spans by that.
        let hidden = |blind: Option<(Nanos, Nanos)>| {
            blind.filter(|(from, _)| self.now.boot >= *from).map(|(_, until)| until.min(self.now.boot))
        };
        if stamp == mark.stamp || origin == Origin::Kernel {
            found.add(origin, hidden(mark.blind));
        }
        if stamp == mark.stamp {
            blind = self.blind_still(mark);
            found.add(origin, hidden(blind));
        } else if !still && self.is_future(stamp) {
            found.future = true;
        } else {
            (blind, origin) = (self.passage(stamp), if still { Origin::Kernel } else { Origin::Unknown });
            (found.read, found.doubtful) = (still, (!still).then(|| self.moved_from(stamp)));
            found.add(origin, Some(self.moved_at(stamp)));
        }
        blind = blind.filter(|(_, until)| self.now.boot < *until);
        (Mark { stamp, blind, origin }, found)
    }

    fn known(&self, sample: &Sample, input: Mark, output: Mark, before: Option<&Known>) -> Known {
        let Sample { stamps: Stamps { ctime, owner, .. }, unread, inner, anew: _ } = *sample;
        // Settled once, a change time stays so. One in the future, of before a step back, is settled,
        // too: whatever changes the node now shows as an earlier one.
        let still = before.is_some_and(|known| known.settled && known.ctime == ctime);
        let settled = still || self.now.wall.saturating_sub(ctime).saturating_abs() > SETTLED;
        // What could not be told this time is compared with what was known before.
        let unread = unread.or_else(|| before.and_then(|known| known.unread));
        Known { input, output, ctime, owner, unread, inner, settled }
    }

    fn stepped(&self) -> bool {
        self.now.offset().saturating_sub(self.before.offset()).saturating_abs() > STEP
    }

    /// The latest time, on the boot clock, at which the read (or write) may have happened that set a
    /// stamp since the look before.
    fn moved_at(&self, stamp: Nanos) -> Nanos {
        let end = bucket_end(stamp);
        let old = end.saturating_sub(self.before.offset());
        let new = end.saturating_sub(self.now.offset());
        // We look right after a step: a stamp of the new clock is one of just now.
        let just_now = self.now.boot - STEP_LATENCY..=self.now.boot + BUCKET * SECOND + TICK;
        let unplaceable = old < self.before.boot;
        if unplaceable || (self.stepped() && just_now.contains(&new)) {
            return self.now.boot;
        }
        old.min(self.now.boot)
    }

    /// The earliest time at which it may have happened. A stamp of before the last look tells none.
    fn moved_from(&self, stamp: Nanos) -> Nanos {
        let from = bucket_start(stamp).saturating_sub(self.before.offset());
        let unplaceable = from.saturating_add(BUCKET * SECOND + TICK) < self.before.boot;
        if unplaceable && !self.stepped() { self.now.boot } else { from }
    }

    /// Whether a stamp was set to a time that neither the clock nor the clock before a step has reached.
    fn is_future(&self, stamp: Nanos) -> bool {
        let reached = self.now.boot.saturating_add(self.now.offset().max(self.before.offset()));
        stamp > reached.saturating_add(SECOND)
    }

    /// The blind span of a stamp that did not move: the old one while nobody steps the clock, a new
    /// one after a step. A forged stamp in the future has none.
    fn blind_still(&self, mark: Mark) -> Option<(Nanos, Nanos)> {
        if !self.stepped() {
            return mark.blind;
        }
        let was_past = mark.stamp <= self.now.boot.saturating_add(self.before.offset());
        if was_past || mark.blind.is_some() { self.passage(mark.stamp) } else { None }
    }

    /// When the wall clock as it goes now is in a stamp's bucket, unless it has passed that: right
    /// after a read, and once more after a step back.
    fn passage(&self, stamp: Nanos) -> Option<(Nanos, Nanos)> {
        let until = bucket_end(stamp).saturating_sub(self.now.offset());
        let from = bucket_start(stamp).saturating_sub(self.now.offset());
        (until > self.now.boot).then_some((from, until))
    }
}

fn bucket_start(stamp: Nanos) -> Nanos {
    stamp.div_euclid(SECOND * BUCKET).saturating_mul(SECOND * BUCKET)
}

/// When the last read of a stamp's bucket can have happened.
fn bucket_end(stamp: Nanos) -> Nanos {
    bucket_start(stamp).saturating_add(SECOND * BUCKET + TICK)
}
