//! When a session's terminals last got input: a pure function of samples and time.
//!
//! The evidence is the terminal's `st_atime`, which the kernel moves when something *reads* it; where
//! output counts, `st_mtime`, too, which it moves when something *writes* on it. It is coarse (8-second
//! buckets), on a clock that may be stepped, and its owner may set it at will. The rules below make of
//! it an upper bound for the last key's age that no clock step shortens, and that the owner can stretch
//! [`CREDITS`] times at most.

use std::collections::BTreeMap;

use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::devnode::{DeviceId, Stamps};
use crate::sys::tty::Unread;

/// How many doubtful advances are believed in a session: honest people do run `mesg n`.
pub const CREDITS: u8 = 3;

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

/// What a look found besides activity; each is worth a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The stamp advanced and the node was changed as well: believed, at the cost of a credit.
    Credited {
        /// How many credits are left.
        left: u8,
    },
    /// The same, with no credit left: not believed.
    Disbelieved,
    /// The stamp lies in the future and nobody set the clock back: forged, not believed.
    Future,
}

/// A stamp, and what it hides.
#[derive(Clone, Copy, Debug)]
struct Mark {
    stamp: Nanos,
    /// The boot-clock span in which the wall clock is in the stamp's bucket, now or, after a step
    /// back, once more: a key in it leaves no trace.
    blind: Option<(Nanos, Nanos)>,
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
    credits: u8,
    /// The last look was one that [`Activity::settles`] asked for.
    settling: bool,
}

impl Activity {
    /// A session that begins now. Its begin counts as activity, and so does `output`, if it is to.
    #[must_use]
    pub fn new(now: Moment, output: bool) -> Self {
        let (terminals, last, looked) = (BTreeMap::new(), now.boot, now);
        Self { terminals, output, last, looked, credits: CREDITS, settling: false }
    }

    /// Whether output counts from now on.
    pub fn count_output(&mut self, output: bool) {
        self.output = output;
    }

    /// Takes activity of another kind into account, seen at a time of the boot clock.
    pub fn note(&mut self, at: Nanos) {
        self.last = self.last.max(at);
    }

    /// Takes note that we have just written on a terminal ourselves: that is no activity. What a program
    /// writes in the rest of the stamp's bucket, less than 8 s, then leaves no trace.
    pub fn wrote(&mut self, id: DeviceId, stamps: Stamps) {
        if let Some(known) = self.terminals.get_mut(&id).filter(|known| known.output.stamp != stamps.mtime) {
            known.output = Mark { stamp: stamps.mtime, blind: None };
        }
    }

    /// When somebody was last active, on the boot clock: never earlier than the truth, and later by
    /// less than 8 s and a tick unless the evidence was a doubtful one or a key that nobody read.
    #[must_use]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Whether a terminal was there at the last look.
    #[must_use]
    pub fn has_terminals(&self) -> bool {
        self.terminals.values().any(|known| !known.inner)
    }

    /// When to look once more, on the boot clock, because a node was changed right before the last
    /// look (login hands the terminal over just then): until it has settled an honest read cannot be
    /// told from a forged one. Not twice in a row: whoever changes it all the time is not run after.
    #[must_use]
    pub fn settles(&self) -> Option<Nanos> {
        let unsettled = !self.settling && self.terminals.values().any(|known| !known.settled);
        unsettled.then(|| self.looked.boot.saturating_add(2 * SETTLED))
    }

    /// Takes one look's samples, of all terminals there are, and tells what was odd about them.
    pub fn look(&mut self, now: Moment, samples: &BTreeMap<DeviceId, Sample>) -> Vec<(DeviceId, Doubt)> {
        self.settling = self.settles().is_some_and(|due| now.boot >= due);
        let look = Look { now, before: self.looked, output: self.output };
        let mut doubts = Vec::new();
        let mut last = self.last;
        let gone = self.terminals.iter().any(|(id, known)| !known.inner && !samples.contains_key(id));
        if gone {
            last = now.boot;
        }
        let mut terminals = BTreeMap::new();
        for (&id, sample) in samples {
            let (known, active, doubt) = match self.terminals.get(&id) {
                Some(known) => look.again(*known, sample, &mut self.credits),
                None => look.first(sample),
            };
            terminals.insert(id, known);
            last = last.max(active.unwrap_or(last));
            doubts.extend(doubt.map(|doubt| (id, doubt)));
        }
        self.terminals = terminals;
        self.last = last;
        self.looked = now;
        doubts
    }
}

/// One look: the clocks now and at the look before, and whether output counts.
struct Look {
    now: Moment,
    before: Moment,
    output: bool,
}

/// Whether stamps are believed that advanced: one answer for a terminal and a look.
struct Trust<'a> {
    /// The node was not changed since the look before: only the kernel moves the stamps then.
    node_still: bool,
    credits: &'a mut u8,
    doubt: Option<Doubt>,
}

impl Trust<'_> {
    fn believes(&mut self, future: bool) -> bool {
        if self.node_still {
            return true;
        }
        if future {
            self.doubt = Some(Doubt::Future);
            return false;
        }
        // One utimensat sets both stamps, and costs one credit.
        if matches!(self.doubt, Some(Doubt::Credited { .. })) {
            return true;
        }
        let left = self.credits.checked_sub(1);
        self.doubt = Some(left.map_or(Doubt::Disbelieved, |left| Doubt::Credited { left }));
        *self.credits = left.unwrap_or(0);
        left.is_some()
    }
}

impl Look {
    /// A terminal not seen before. Its birth is activity, and what its stamps say since.
    fn first(&self, sample: &Sample) -> (Known, Option<Nanos>, Option<Doubt>) {
        let Stamps { atime, mtime, ctime, .. } = sample.stamps;
        let stamps = [Some(atime), Some(ctime), self.output.then_some(mtime)];
        let active = stamps.into_iter().flatten().map(|stamp| self.moved_at(stamp)).max();
        let mark = |stamp| {
            let blind = if self.is_future(stamp) { None } else { self.passage(stamp) };
            Mark { stamp, blind }
        };
        let known = self.known(sample, mark(atime), mark(mtime), None);
        (known, active.filter(|_| !sample.inner), None)
    }

    /// A terminal seen at the look before.
    fn again(
        &self,
        known: Known,
        sample: &Sample,
        credits: &mut u8,
    ) -> (Known, Option<Nanos>, Option<Doubt>) {
        // Root has given it to the person just now, as login does after the session is opened. Whose it is
        // already may have ids of his own to give it to (subuid(5)).
        let handed_over = known.owner == 0 && sample.stamps.owner != 0;
        if sample.anew || handed_over {
            return self.first(sample);
        }
        let node_still = sample.stamps.ctime == known.ctime && known.settled;
        let mut trust = Trust { node_still, credits, doubt: None };
        let (mut active, input) = self.judge(known.input, sample.stamps.atime, &mut trust);
        // What waits in the queue came after the look before if there is more of it than then, counted
        // alike, and may have if something was read in between. When, nobody knows: as late as now.
        let grew = known
            .unread
            .zip(sample.unread)
            .is_some_and(|(before, now)| now.mode == before.mode && now.count > before.count);
        let refilled = active.is_some() && sample.unread.is_some_and(|now| now.count > 0);
        if grew || refilled {
            active = Some(self.now.boot);
        }
        let output = if self.output {
            let (written, output) = self.judge(known.output, sample.stamps.mtime, &mut trust);
            active = active.max(written);
            output
        } else {
            Mark { stamp: sample.stamps.mtime, blind: None }
        };
        let doubt = trust.doubt;
        (self.known(sample, input, output, Some(&known)), active, doubt)
    }

    /// What a stamp tells that was known at the look before: when the terminal may have been read (or
    /// written to) since, if it was.
    fn judge(&self, mark: Mark, stamp: Nanos, trust: &mut Trust<'_>) -> (Option<Nanos>, Mark) {
        let (mut active, mut blind) = (None, None);
        if stamp == mark.stamp {
            blind = self.blind_still(mark);
            // In the span no key leaves a trace: there may have been one until its end, or until a
            // step cut it short.
            let begun = [mark.blind, blind].into_iter().flatten().filter(|(from, _)| self.now.boot >= *from);
            active = begun.map(|(_, until)| until.min(self.now.boot)).max();
        } else if trust.believes(self.is_future(stamp)) {
            (active, blind) = (Some(self.moved_at(stamp)), self.passage(stamp));
        }
        blind = blind.filter(|(_, until)| self.now.boot < *until);
        (active, Mark { stamp, blind })
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
