//! What one look shows of one terminal.
//!
//! The evidence is the terminal's `st_atime`, which the kernel moves when something *reads* it; where
//! output counts, `st_mtime`, too, which it moves when something *writes* on it. It is coarse (8-second
//! buckets), on a clock that may be stepped, and its owner may set it at will. The rules below make an upper
//! bound of it for the time of the last key, which no clock step makes too early.

use super::TICK;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::devnode::Stamps;
use crate::sys::tty::Unread;

/// The kernel rewrites a stamp only when the second leaves `second & !7` (`tty_update_time()` in
/// drivers/tty/tty_io.c): a key leaves no trace in the rest of the bucket.
const BUCKET: i64 = 8;

/// A change of the offset between wall and boot clock above this is a step, not the jitter of
/// reading them.
const STEP: Nanos = SECOND / 200;

/// After a step we have looked within this time, unless the machine is starved.
const STEP_LATENCY: Nanos = 2 * SECOND;

/// A change time this old at a look is settled: any later change of the node shows as another one.
/// A younger one may hide changes within the same tick of the kernel's clock.
pub(in crate::helper) const SETTLED: Nanos = 2 * TICK;

/// One terminal at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The stamps on its node.
    pub stamps: Stamps,
    /// Bytes in its input queue that nobody has read, if that could be told.
    pub unread: Option<Unread>,
    /// An inner pty, as sudo makes one. The user can make it come and go, so that never counts.
    pub inner: bool,
    /// A new terminal with the same number as one that the look before showed.
    pub anew: bool,
    /// Only the client can have had it opened, because sshd has its master open.
    pub by_client: bool,
}

/// A stamp, and the time in which it hides keys.
#[derive(Clone, Copy, Debug)]
struct Mark {
    stamp: Nanos,
    /// The span of the boot clock in which the wall clock is in the stamp's bucket. After a step back there may be a second
    /// one. A key in this span leaves no trace.
    blind: Option<(Nanos, Nanos)>,
    set_by: SetBy,
}

/// Who set a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetBy {
    /// The kernel.
    Kernel,
    /// The kernel or the terminal's owner: nothing is decided yet, and what the stamp hides is only claimed.
    Unknown,
    /// The same, and it is decided.
    Decided,
}

/// What is known of one terminal since the last look.
#[derive(Clone, Copy, Debug)]
pub(in crate::helper) struct KnownTerminal {
    input: Mark,
    output: Mark,
    ctime: Nanos,
    owner: u32,
    unread: Option<Unread>,
    pub(in crate::helper) inner: bool,
    /// The change time was old enough at some look to vouch for the time after it.
    pub(in crate::helper) settled: bool,
}

impl KnownTerminal {
    /// Notes that we have just written on the terminal ourselves.
    pub(in crate::helper) fn wrote(&mut self, stamps: Stamps) {
        if self.output.stamp != stamps.mtime {
            self.output = Mark { stamp: stamps.mtime, blind: None, set_by: SetBy::Kernel };
        }
    }

    /// Notes whether what was claimed until now is believed.
    pub(in crate::helper) fn decide(&mut self, believed: bool) {
        let marks = [&mut self.input, &mut self.output];
        for mark in marks.into_iter().filter(|mark| mark.set_by == SetBy::Unknown) {
            mark.set_by = SetBy::Decided;
            if !believed {
                mark.blind = None;
            }
        }
    }
}

/// One look: the clocks now and at the look before, and whether output counts.
pub(in crate::helper) struct LookTimes {
    pub(in crate::helper) now: Moment,
    pub(in crate::helper) before: Moment,
    pub(in crate::helper) output: bool,
}

/// Until when a terminal may have been in use, at the latest, on the boot clock.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::helper) struct Times {
    /// By changes that only the kernel can have made.
    pub(in crate::helper) proven: Option<Nanos>,
    /// By a stamp that was a claim and is believed.
    pub(in crate::helper) believed: Option<Nanos>,
    /// By changes that its owner, or a program, may have made without a key.
    pub(in crate::helper) claimed: Option<Nanos>,
}

impl Times {
    fn add(&mut self, set_by: SetBy, at: Option<Nanos>) {
        let known = match set_by {
            SetBy::Kernel => &mut self.proven,
            SetBy::Decided => &mut self.believed,
            SetBy::Unknown => &mut self.claimed,
        };
        *known = at.max(*known);
    }

    /// Moves each time that is there to this one, because it may be as late.
    fn extend(&mut self, to: Nanos) {
        for known in [&mut self.proven, &mut self.believed, &mut self.claimed] {
            *known = known.map(|_| to);
        }
    }
}

/// What one look shows of a terminal since the look before.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::helper) struct Evidence {
    /// Of keys.
    pub(in crate::helper) input: Times,
    /// Of what programs wrote, where output counts.
    pub(in crate::helper) output: Times,
    /// A program has read it, no earlier than this. Only a read moves the stamp of a node that stands still.
    pub(in crate::helper) read: Option<Nanos>,
    /// A stamp moved, and the node was changed. No earlier than this, if a program has read or written.
    pub(in crate::helper) stamp_claims: Option<Nanos>,
    /// A stamp was set to a time in the future.
    pub(in crate::helper) future: bool,
}

impl Evidence {
    fn note(&mut self, moved: Moved) {
        match moved {
            Moved::BySomebody { from } => self.stamp_claims = self.stamp_claims.max(Some(from)),
            Moved::IntoTheFuture => self.future = true,
            Moved::No | Moved::ByKernel => {}
        }
    }
}

/// Whether a stamp moved between two looks, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    No,
    ByKernel,
    /// By the kernel or by the terminal's owner: no earlier than `from`, if by the kernel.
    BySomebody {
        from: Nanos,
    },
    /// By the owner, to a time in the future.
    IntoTheFuture,
}

impl LookTimes {
    /// A terminal that has gone since the look before: the person may have closed it just now.
    pub(in crate::helper) fn gone(&self) -> Evidence {
        let mut found = Evidence::default();
        found.input.add(SetBy::Unknown, Some(self.now.boot));
        found
    }

    /// A terminal not seen before. It is activity if its opening `counts`, or if somebody has typed at it, and
    /// otherwise only a claim.
    pub(in crate::helper) fn first(&self, sample: &Sample, counts: bool) -> (KnownTerminal, Evidence) {
        let Stamps { atime, mtime, ctime, .. } = sample.stamps;
        // A read moves the stamp once its bucket is over. A stamp that somebody set ahead looks the same, so
        // this proves no read.
        let typed = bucket_start(atime) > bucket_start(ctime) && !self.is_future(atime);
        let set_by = if counts || typed || sample.inner { SetBy::Kernel } else { SetBy::Unknown };
        let mark = |stamp, set_by| {
            let blind = if self.is_future(stamp) { None } else { self.passage(stamp) };
            Mark { stamp, blind, set_by }
        };
        let known = self.known(sample, mark(atime, set_by), mark(mtime, SetBy::Kernel), None);
        let mut found = Evidence::default();
        if !sample.inner {
            found.input.add(set_by, Some(self.moved_at(atime).max(self.moved_at(ctime))));
            found.output.add(SetBy::Kernel, self.output.then(|| self.moved_at(mtime)));
        }
        (known, found)
    }

    /// A terminal seen at the look before.
    pub(in crate::helper) fn again(
        &self,
        known: &KnownTerminal,
        sample: &Sample,
    ) -> (KnownTerminal, Evidence) {
        // Root has given it to the person just now, as login(1) does after the session is opened. Only a change from
        // root counts, because other owners may give it to their own subordinate ids (subuid(5)).
        if known.owner == 0 && sample.stamps.owner != 0 {
            return self.first(sample, true);
        }
        let still = sample.stamps.ctime == known.ctime && known.settled;
        let mut found = Evidence::default();
        let (input, moved) = self.judge(known.input, sample.stamps.atime, still, &mut found.input);
        found.note(moved);
        found.read = (moved == Moved::ByKernel).then(|| self.moved_from(sample.stamps.atime));
        // What waits in the queue came after the look before if there is more of it than then, counted
        // alike, and may have if something was read in between. When, nobody knows: as late as now.
        let grew = known
            .unread
            .zip(sample.unread)
            .is_some_and(|(before, now)| now.mode == before.mode && now.count > before.count);
        if sample.unread.is_some_and(|now| now.count > 0) {
            found.input.extend(self.now.boot);
        }
        if grew {
            found.input.add(SetBy::Kernel, Some(self.now.boot));
        }
        let output = if self.output {
            let (output, moved) = self.judge(known.output, sample.stamps.mtime, still, &mut found.output);
            found.note(moved);
            output
        } else {
            Mark { stamp: sample.stamps.mtime, blind: None, set_by: SetBy::Kernel }
        };
        (self.known(sample, input, output, Some(known)), found)
    }

    /// Judges a stamp that was known at the look before: until when the terminal may have been read (or
    /// written to) since, if it was. `still`: the node was not changed since then, and so only the
    /// kernel can have moved the stamp.
    fn judge(&self, mark: Mark, stamp: Nanos, still: bool, times: &mut Times) -> (Mark, Moved) {
        let (mut blind, mut set_by, mut moved) = (None, mark.set_by, Moved::No);
        // In a blind span no key leaves a trace: there may have been one until its end, or until a step or
        // another stamp cut it short. Who sets one stamp after another gains no such spans by that.
        let hidden = |blind: Option<(Nanos, Nanos)>| {
            blind.filter(|(from, _)| self.now.boot >= *from).map(|(_, until)| until.min(self.now.boot))
        };
        if stamp == mark.stamp || set_by == SetBy::Kernel {
            times.add(set_by, hidden(mark.blind));
        }
        if stamp == mark.stamp {
            blind = self.blind_still(mark);
            times.add(set_by, hidden(blind));
        } else if !still && self.is_future(stamp) {
            moved = Moved::IntoTheFuture;
        } else {
            blind = self.passage(stamp);
            (set_by, moved) = if still {
                (SetBy::Kernel, Moved::ByKernel)
            } else {
                (SetBy::Unknown, Moved::BySomebody { from: self.moved_from(stamp) })
            };
            times.add(set_by, Some(self.moved_at(stamp)));
        }
        blind = blind.filter(|(_, until)| self.now.boot < *until);
        (Mark { stamp, blind, set_by }, moved)
    }

    fn known(
        &self,
        sample: &Sample,
        input: Mark,
        output: Mark,
        before: Option<&KnownTerminal>,
    ) -> KnownTerminal {
        let Sample { stamps: Stamps { ctime, owner, .. }, unread, inner, .. } = *sample;
        // Settled once, a change time stays so. One in the future, of before a step back, is settled,
        // too: whatever changes the node now shows as an earlier one.
        let still = before.is_some_and(|known| known.settled && known.ctime == ctime);
        let settled = still || self.now.wall.saturating_sub(ctime).saturating_abs() > SETTLED;
        // What could not be told this time is compared with what was known before.
        let unread = unread.or_else(|| before.and_then(|known| known.unread));
        KnownTerminal { input, output, ctime, owner, unread, inner, settled }
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
