//! What one look shows of one terminal.
//!
//! The evidence is the terminal's `st_atime`, which the kernel moves when a program *reads* the terminal. If
//! output counts, it is also `st_mtime`, which the kernel moves when a program *writes*. The stamps are coarse
//! (8-second buckets). Their clock may be stepped, and the terminal's owner may set them to any time. The rules
//! below derive an upper bound for the time of the last key from them. No clock step makes this bound too
//! early.

use super::TICK;
use crate::sys::clock::{Moment, Nanos, SECOND};
use crate::sys::devnode::Stamps;
use crate::sys::tty::Unread;

/// The kernel writes a new stamp only when `second & !7` changes (`tty_update_time()` in drivers/tty/tty_io.c).
/// A key in the rest of the bucket leaves no trace.
const BUCKET: i64 = 8;

/// A larger change of the offset between wall and boot clock is a step. A smaller one is jitter from reading
/// the clocks.
const STEP: Nanos = SECOND / 200;

/// A look follows a step within this time, unless the machine is starved.
const STEP_LATENCY: Nanos = 2 * SECOND;

/// A change time that is this old at a look is settled: any later change of the node gives it another change
/// time. A younger change time may hide changes within the same tick of the kernel's clock.
pub(in crate::helper) const SETTLED: Nanos = 2 * TICK;

/// One terminal at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The stamps of its node.
    pub stamps: Stamps,
    /// The bytes in its input queue that nobody has read, if the terminal told us.
    pub unread: Option<Unread>,
    /// It is an inner pty, such as sudo makes. The user can make one come and go, so its coming and going never
    /// counts.
    pub inner: bool,
    /// It is a new terminal with the number of a terminal from the look before.
    pub anew: bool,
    /// Only the client can have opened it, because sshd has its master open.
    pub by_client: bool,
}

/// A stamp, and the time in which it hides keys.
#[derive(Clone, Copy, Debug)]
struct Mark {
    stamp: Nanos,
    /// The span of the boot clock in which the wall clock is in the stamp's bucket. A key in this span leaves
    /// no trace. After a step back there may be a second span.
    blind: Option<(Nanos, Nanos)>,
    set_by: SetBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetBy {
    /// The kernel.
    Kernel,
    /// The kernel or the terminal's owner. This is not decided yet, so what the stamp hides is only a claim.
    Unknown,
    /// The kernel or the terminal's owner. This is decided.
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
    /// The change time was old enough at some look, so it shows every later change of the node.
    pub(in crate::helper) settled: bool,
}

impl KnownTerminal {
    /// Notes that we have just written to the terminal ourselves.
    pub(in crate::helper) fn wrote(&mut self, stamps: Stamps) {
        if self.output.stamp != stamps.mtime {
            self.output = Mark { stamp: stamps.mtime, blind: None, set_by: SetBy::Kernel };
        }
    }

    /// Notes whether the earlier claims are believed.
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

/// The latest times, on the boot clock, at which a terminal may have been in use.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::helper) struct Times {
    /// Shown by changes that only the kernel can have made.
    pub(in crate::helper) proven: Option<Nanos>,
    /// Shown by a stamp that was a claim and is believed.
    pub(in crate::helper) believed: Option<Nanos>,
    /// Shown by changes that the terminal's owner, or a program, may have made without a key.
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

    /// Moves each time that is present to this one, because it may be as late.
    fn extend(&mut self, to: Nanos) {
        for known in [&mut self.proven, &mut self.believed, &mut self.claimed] {
            *known = known.map(|_| to);
        }
    }
}

/// What one look shows of a terminal since the look before.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::helper) struct Evidence {
    /// Times of keys.
    pub(in crate::helper) input: Times,
    /// Times of output, if output counts.
    pub(in crate::helper) output: Times,
    /// A program has read the terminal, no earlier than this. If the node did not change, only a read moves its
    /// stamp.
    pub(in crate::helper) read: Option<Nanos>,
    /// A stamp moved, and the node was changed. If a program has read or written, it did so no earlier than
    /// this.
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

/// Whether a stamp moved between two looks, and because of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    No,
    ByKernel,
    /// By the kernel or by the terminal's owner. If by the kernel, it was no earlier than `from`.
    BySomebody {
        from: Nanos,
    },
    /// By the owner, into the future.
    IntoTheFuture,
}

impl LookTimes {
    /// The evidence of a terminal that has gone since the look before: the person may have closed it just now.
    pub(in crate::helper) fn gone(&self) -> Evidence {
        let mut found = Evidence::default();
        found.input.add(SetBy::Unknown, Some(self.now.boot));
        found
    }

    /// The evidence of a new terminal. It is activity if its opening `counts` or if somebody has typed there.
    /// Otherwise it is only a claim.
    pub(in crate::helper) fn first(&self, sample: &Sample, counts: bool) -> (KnownTerminal, Evidence) {
        let Stamps { atime, mtime, ctime, .. } = sample.stamps;
        // A read moves the stamp after its bucket is over. A stamp that somebody set ahead looks the same, so
        // this does not prove a read.
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

    /// The evidence of a terminal that was present at the look before.
    pub(in crate::helper) fn again(
        &self,
        known: &KnownTerminal,
        sample: &Sample,
    ) -> (KnownTerminal, Evidence) {
        // Root has just given the terminal to the person, as login(1) does after it opens the session. Only a
        // change from root counts, because other owners may give the terminal to their own subordinate ids
        // (subuid(5)).
        if known.owner == 0 && sample.stamps.owner != 0 {
            return self.first(sample, true);
        }
        let still = sample.stamps.ctime == known.ctime && known.settled;
        let mut found = Evidence::default();
        let (input, moved) = self.judge(known.input, sample.stamps.atime, still, &mut found.input);
        found.note(moved);
        found.read = (moved == Moved::ByKernel).then(|| self.moved_from(sample.stamps.atime));
        // If the queue has more bytes than at the look before, counted in the same mode, then new bytes came
        // after that look. If it has the same or fewer bytes, new ones may have come after a read. The time is
        // unknown, so it is taken to be now.
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

    /// Judges a stamp that was known at the look before: the latest time at which the terminal may have been
    /// read (or written to) since. `still` means that the node was not changed since then, so only the kernel
    /// can have moved the stamp.
    fn judge(&self, mark: Mark, stamp: Nanos, still: bool, times: &mut Times) -> (Mark, Moved) {
        let (mut blind, mut set_by, mut moved) = (None, mark.set_by, Moved::No);
        // A key in a blind span leaves no trace. So there may have been a key until the end of the span, or
        // until a step or another stamp ended the span early. A forger gains no such spans if they set one
        // stamp after another.
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
        // A settled change time stays settled. A change time in the future (from before a step back) is
        // settled, too, because any later change of the node shows an earlier time.
        let still = before.is_some_and(|known| known.settled && known.ctime == ctime);
        let settled = still || self.now.wall.saturating_sub(ctime).saturating_abs() > SETTLED;
        // If the terminal does not tell the queue this time, the earlier count stays for comparison.
        let unread = unread.or_else(|| before.and_then(|known| known.unread));
        KnownTerminal { input, output, ctime, owner, unread, inner, settled }
    }

    fn stepped(&self) -> bool {
        self.now.offset().saturating_sub(self.before.offset()).saturating_abs() > STEP
    }

    /// A stamp was set since the look before. Returns the latest time, on the boot clock, of the read (or
    /// write) that set it.
    fn moved_at(&self, stamp: Nanos) -> Nanos {
        let end = bucket_end(stamp);
        let old = end.saturating_sub(self.before.offset());
        let new = end.saturating_sub(self.now.offset());
        // We look right after a step, so a stamp of the new clock is from just now.
        let just_now = self.now.boot - STEP_LATENCY..=self.now.boot + BUCKET * SECOND + TICK;
        let unplaceable = old < self.before.boot;
        if unplaceable || (self.stepped() && just_now.contains(&new)) {
            return self.now.boot;
        }
        old.min(self.now.boot)
    }

    /// The earliest time of that read (or write). A stamp from before the last look does not tell it.
    fn moved_from(&self, stamp: Nanos) -> Nanos {
        let from = bucket_start(stamp).saturating_sub(self.before.offset());
        let unplaceable = from.saturating_add(BUCKET * SECOND + TICK) < self.before.boot;
        if unplaceable && !self.stepped() { self.now.boot } else { from }
    }

    /// Whether the stamp is later than the clock has reached, before and after a step.
    fn is_future(&self, stamp: Nanos) -> bool {
        let reached = self.now.boot.saturating_add(self.now.offset().max(self.before.offset()));
        stamp > reached.saturating_add(SECOND)
    }

    /// The blind span of a stamp that did not move. It is the old span unless somebody stepped the clock. After
    /// a step it is a new one. A forged stamp in the future has none.
    fn blind_still(&self, mark: Mark) -> Option<(Nanos, Nanos)> {
        if !self.stepped() {
            return mark.blind;
        }
        let was_past = mark.stamp <= self.now.boot.saturating_add(self.before.offset());
        if was_past || mark.blind.is_some() { self.passage(mark.stamp) } else { None }
    }

    /// The span in which the wall clock, as it runs now, is in the stamp's bucket. There is one right after a
    /// read, and another one after a step back. `None` if the clock is already past the bucket.
    fn passage(&self, stamp: Nanos) -> Option<(Nanos, Nanos)> {
        let until = bucket_end(stamp).saturating_sub(self.now.offset());
        let from = bucket_start(stamp).saturating_sub(self.now.offset());
        (until > self.now.boot).then_some((from, until))
    }
}

fn bucket_start(stamp: Nanos) -> Nanos {
    stamp.div_euclid(SECOND * BUCKET).saturating_mul(SECOND * BUCKET)
}

/// The latest time of a read that leaves the stamp in this bucket.
fn bucket_end(stamp: Nanos) -> Nanos {
    bucket_start(stamp).saturating_add(SECOND * BUCKET + TICK)
}
