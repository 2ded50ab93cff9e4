//! Ring 1: judgement and schedule together, against a model of the kernel's terminal, in no time.
//!
//! The model stamps as `tty_update_time()` does (8-second buckets, a clock up to a tick behind), its
//! wall clock is stepped, its owner forges. What must hold is the promise: never early, late by less
//! than 9 s, and forgery postpones the end by the credits at most.

use std::collections::BTreeMap;
use std::time::Duration;

use pam_idle_watchdog::sys::clock::{Moment, Nanos, SECOND};
use pam_idle_watchdog::sys::devnode::{DeviceId, Stamps};
use pam_idle_watchdog::sys::tty::Unread;
use pam_idle_watchdog::watch::activity::{Activity, CREDITS, Doubt, Sample};
use pam_idle_watchdog::watch::schedule::{Action, Ground, Schedule, Shown};
use proptest::prelude::*;

const MS: Nanos = SECOND / 1000;
const TTY: DeviceId = DeviceId { filesystem: 25, device: 34816 };
/// The wall clock when the machine was booted: not at the begin of a bucket.
const EPOCH: Nanos = 1_700_000_003 * SECOND;

#[derive(Clone, Debug)]
enum Event {
    /// A key that a program reads at once.
    Key,
    /// A program writes.
    Print,
    /// Enter, while no program reads.
    Unread,
    /// `mesg n`, stty's cousin that moves the change time.
    Chmod,
    /// utimensat of the atime, to so many ns from the wall clock's now.
    Touch(Nanos),
    /// Somebody sets the wall clock, by so many ns.
    Step(Nanos),
}

/// One terminal, its kernel and its wall clock.
struct Model {
    boot: Nanos,
    offset: Nanos,
    stamps: Stamps,
    unread: u32,
    /// Who wrote the stamp of the last write was ourselves.
    disowned: bool,
    /// How far the kernel's stamping clock is behind.
    lag: Nanos,
}

impl Model {
    fn new(lag: Nanos) -> Self {
        let mut model = Self {
            boot: 0,
            offset: EPOCH,
            stamps: Stamps { atime: 0, mtime: 0, ctime: 0, owner: 0 },
            unread: 0,
            disowned: false,
            lag,
        };
        let now = model.coarse();
        model.stamps = Stamps { atime: now / SECOND * SECOND, mtime: now, ctime: now, owner: 0 };
        model
    }

    fn coarse(&self) -> Nanos {
        self.boot + self.offset - self.lag
    }

    fn queue(&self) -> Unread {
        Unread { count: self.unread, mode: 2 }
    }

    fn now(&self) -> Moment {
        Moment { boot: self.boot, mono: self.boot, wall: self.boot + self.offset }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Key => {
                let now = self.coarse();
                update(&mut self.stamps.atime, now);
                self.unread = 0;
            }
            Event::Print => {
                let now = self.coarse();
                self.disowned &= !update(&mut self.stamps.mtime, now);
            }
            Event::Unread => self.unread += 1,
            Event::Chmod => self.stamps.ctime = self.coarse(),
            Event::Touch(ahead) => {
                let (now, stamp) = (self.coarse(), self.coarse() + ahead);
                self.stamps = Stamps { atime: stamp, mtime: stamp, ctime: now, owner: 0 };
            }
            Event::Step(by) => self.offset += by,
        }
    }
}

/// tty_update_time(): whether it moved the stamp.
fn update(stamp: &mut Nanos, now: Nanos) -> bool {
    let (now, then) = (now / SECOND, stamp.div_euclid(SECOND));
    let moved = (now ^ then) & !7 != 0;
    if moved {
        *stamp = now * SECOND;
    }
    moved
}

#[derive(Debug)]
struct End {
    at: Nanos,
    /// The last key or, where output counts, what was last written that left a trace.
    last_key: Nanos,
    /// When the warnings came that nothing cancelled, by the time that was left.
    warned: Vec<Nanos>,
    looks: usize,
    doubts: Vec<Doubt>,
}

/// Plays events, each so long after the one before, and then nothing, until the session is ended.
fn play(limit: Nanos, warn: Nanos, lag: Nanos, events: &[(Nanos, Event)]) -> End {
    let warn = if warn > 0 { &[warn][..] } else { &[] };
    play_counting(false, limit, warn, lag, events)
}

/// The same with any number of warnings, and with output that counts.
fn play_counting(output: bool, limit: Nanos, warn: &[Nanos], lag: Nanos, events: &[(Nanos, Event)]) -> End {
    let ns = |n: Nanos| Duration::from_nanos(n.unsigned_abs());
    let mut model = Model::new(lag);
    let mut activity = Activity::new(model.now(), output);
    let warn: Vec<Duration> = warn.iter().copied().map(ns).collect();
    let mut schedule = Schedule::new(Some(ns(limit)), None, &warn, false);
    let mut coming: Vec<(Nanos, Event)> = Vec::new();
    let mut at = 0;
    for (gap, event) in events {
        at += gap;
        coming.push((at, event.clone()));
    }
    let mut coming = coming.into_iter().peekable();
    let (mut last_key, mut warned, mut looks, mut all_doubts) = (0, Vec::new(), 0, Vec::new());
    let mut wake = 0;
    loop {
        // A step wakes the helper at once; everything else waits for the next look.
        while let Some((at, event)) = coming.next_if(|(at, _)| *at <= wake) {
            model.boot = at;
            model.happen(&event);
            match event {
                Event::Key | Event::Unread => last_key = at,
                Event::Print if output && !model.disowned => last_key = at,
                Event::Print => {}
                Event::Step(_) => wake = at + MS,
                Event::Chmod | Event::Touch(_) => {}
            }
        }
        model.boot = model.boot.max(wake);
        let sample = Sample { stamps: model.stamps, unread: Some(model.queue()), inner: false, anew: false };
        let doubts = activity.look(model.now(), &BTreeMap::from([(TTY, sample)]));
        all_doubts.extend(doubts.into_iter().map(|(_, doubt)| doubt));
        looks += 1;
        assert!(activity.has_terminals());
        let shown = Shown { last: activity.last(), ground: Ground::Terminals };
        let (action, next) = schedule.next(model.now(), shown);
        match action {
            Some(Action::Warn { .. }) => {
                warned.push(model.boot);
                let before = model.stamps.mtime;
                model.happen(&Event::Print);
                model.disowned |= model.stamps.mtime != before;
                if output {
                    activity.wrote(TTY, model.stamps);
                }
            }
            Some(Action::Resume) => warned.clear(),
            Some(Action::End) => {
                let warned = warned.into_iter().map(|warned: Nanos| model.boot - warned).collect();
                return End { at: model.boot, last_key, warned, looks, doubts: all_doubts };
            }
            _ => {}
        }
        assert!(next > model.boot || action.is_some(), "the helper would spin");
        assert!(looks < 1_000_000, "the session is never ended");
        wake = activity.settles().map_or(next, |settled| settled.min(next));
    }
}

prop_compose! {
    fn settings()(limit in 10i64..1200, part in 0i64..100, lag in 0i64..10) -> (Nanos, Nanos, Nanos) {
        (limit * SECOND, limit * SECOND * part / 100, lag * MS)
    }
}

fn gaps() -> impl Strategy<Value = Nanos> {
    prop_oneof![(0i64..20_000).prop_map(|ms| ms * MS), (0i64..1_300_000).prop_map(|ms| ms * MS)]
}

fn keys() -> impl Strategy<Value = Vec<(Nanos, Event)>> {
    proptest::collection::vec((gaps(), Just(Event::Key)), 0..40)
}

fn steps() -> impl Strategy<Value = Event> {
    prop_oneof![
        (-8_000i64..8_000).prop_map(|ms| Event::Step(ms * MS)),
        (-7200i64..7200).prop_map(|s| Event::Step(s * SECOND)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_comes_neither_early_nor_late((limit, warn, lag) in settings(), events in keys()) {
        let end = play(limit, warn, lag, &events);
        let idle = end.at - end.last_key;
        prop_assert!(idle >= limit, "ended {} ms early", (limit - idle) / MS);
        prop_assert!(idle < limit + 9 * SECOND, "ended {} ms late", (idle - limit) / MS);
        prop_assert!(warn == 0 || end.warned[0] >= warn);
        prop_assert!(end.doubts.is_empty());
    }

    #[test]
    fn each_warning_comes_in_its_place_after_the_last_key(
        (limit, _, lag) in settings(), parts in proptest::collection::btree_set(1i64..100, 1..9),
        events in proptest::collection::vec((gaps(), prop_oneof![4 => Just(Event::Key), 1 => steps()]), 0..40),
    ) {
        let warn: Vec<Nanos> = parts.iter().rev().map(|part| limit * part / 100).collect();
        let end = play_counting(false, limit, &warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert_eq!(end.warned, warn);
    }

    #[test]
    fn no_step_of_the_clock_ends_a_session_early(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![3 => Just(Event::Key), 1 => steps()]), 0..40),
    ) {
        let end = play(limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(warn == 0 || end.warned[0] >= warn);
    }

    #[test]
    fn steps_forward_do_not_prolong_a_session(
        (limit, warn, lag) in settings(), keys in keys(), step in 3i64..7200, at in 0usize..40,
    ) {
        let mut events = keys;
        let at = at.min(events.len());
        events.insert(at, (20 * MS, Event::Step(step * SECOND)));
        let end = play(limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
    }

    #[test]
    fn a_step_back_prolongs_a_session_by_one_passage_at_most(
        (limit, warn, lag) in settings(), keys in keys(), step in 1i64..7200, gap in 0i64..600,
    ) {
        let mut events = keys;
        let stepped = events.iter().map(|(gap, _)| gap).sum::<Nanos>() + gap * SECOND;
        events.push((gap * SECOND, Event::Step(-step * SECOND)));
        let end = play(limit, warn, lag, &events);
        // The wall clock is back at the last key's bucket so much after the step.
        let passage = (stepped.min(end.at) + step * SECOND).max(end.last_key);
        prop_assert!(end.at < passage.max(end.last_key) + limit + 18 * SECOND);
        prop_assert!(end.at - end.last_key >= limit);
    }

    #[test]
    fn forgery_postpones_the_end_by_the_credits_at_most(
        (limit, warn, lag) in settings(),
        touches in proptest::collection::vec((0i64..30_000, prop_oneof![
            Just(0), -10_000i64..10_000, Just(4_000_000_000_000), Just(i64::MAX / MS / 4),
        ]), 0..4000),
    ) {
        let events: Vec<_> = touches.iter().map(|(gap, ahead)| (gap * MS, Event::Touch(ahead * MS))).collect();
        let end = play(limit, warn, lag, &events);
        let most = Nanos::from(CREDITS) + 1;
        prop_assert!(end.at <= most * (limit + 9 * SECOND), "{} of {}", end.at / SECOND, limit / SECOND);
        let credited = end.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Credited { .. })).count();
        prop_assert!(credited <= CREDITS.into());
    }

    #[test]
    fn forgery_and_steps_together_gain_no_more(
        (limit, warn, lag) in settings(), forged in 0i64..4000, step in -3000i64..3000, early in 0i64..9,
    ) {
        // A stamp in the future must not become honest, nor a blind span, by a step.
        let events = [
            (early * SECOND, Event::Touch(forged * SECOND)),
            (early * SECOND, Event::Step(step * SECOND)),
        ];
        let end = play(limit, warn, lag, &events);
        // One credit, one passage of a stamp that was no forgery.
        prop_assert!(end.at <= 18 * SECOND + 3000 * SECOND + 2 * (limit + 18 * SECOND));
    }

    #[test]
    fn what_is_written_counts_where_it_is_to_and_our_own_does_not(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![Just(Event::Key), Just(Event::Print)]), 0..40),
    ) {
        let warn = if warn > 1 { vec![warn, warn / 2] } else { vec![] };
        let end = play_counting(true, limit, &warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
        prop_assert!(end.doubts.is_empty());
        // And by default it is nothing.
        let end = play_counting(false, limit, &warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
    }

    #[test]
    fn forgery_gains_no_more_where_output_counts(
        (limit, warn, lag) in settings(),
        touches in proptest::collection::vec((0i64..30_000, -10_000i64..10_000), 0..400),
    ) {
        let events: Vec<_> = touches.iter().map(|(gap, ahead)| (gap * MS, Event::Touch(ahead * MS))).collect();
        let end = play_counting(true, limit, &[warn.max(1)], lag, &events);
        prop_assert!(end.at <= (Nanos::from(CREDITS) + 1) * (limit + 9 * SECOND));
    }

    #[test]
    fn no_step_of_the_clock_ends_a_session_early_that_prints(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![3 => Just(Event::Print), 1 => steps()]), 0..40),
    ) {
        let end = play_counting(true, limit, &[warn.max(1)], lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
    }

    #[test]
    fn a_key_nobody_reads_saves(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![Just(Event::Key), Just(Event::Unread)]), 1..40),
    ) {
        let end = play(limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
    }

    #[test]
    fn mesg_costs_nobody_the_session(
        (limit, warn, lag) in settings(), keys in keys(), gap in gaps(), at in 0usize..40,
    ) {
        let mut events = keys;
        let at = at.min(events.len());
        events.insert(at, (gap, Event::Chmod));
        let end = play(limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
    }
}

#[test]
fn an_idle_session_costs_one_look_a_limit_and_the_warned_ones() {
    let end = play(900 * SECOND, 60 * SECOND, 0, &[]);
    // One when armed, one at 840 s and, its bucket's end being later, one a few seconds on; then
    // every 2 s for the minute.
    assert!(end.looks <= 3 + 31, "{}", end.looks);
}

#[test]
fn a_typing_person_costs_one_look_a_limit() {
    let events: Vec<_> = (0..3600).map(|_| (SECOND, Event::Key)).collect();
    let end = play(900 * SECOND, 60 * SECOND, 0, &events);
    assert!(end.looks <= 2 + 3600 / 839 + 1 + 31, "{}", end.looks);
}

#[test]
fn a_key_within_the_kernels_tick_after_the_bucket_counts() {
    // The bucket of the begin ends 5 s after boot; the stamping clock is not there yet.
    let end = play(10 * SECOND, 0, 9 * MS, &[(5 * SECOND + 5 * MS, Event::Key)]);
    assert!(end.at - end.last_key >= 10 * SECOND);
}

#[test]
fn a_touch_of_both_stamps_costs_one_credit() {
    let events: Vec<_> = (0..4).map(|_| (35 * SECOND, Event::Touch(-1000 * SECOND))).collect();
    let end = play_counting(true, 40 * SECOND, &[], 0, &events);
    let credited = (0..CREDITS).rev().map(|left| Doubt::Credited { left });
    assert_eq!(end.doubts, credited.chain([Doubt::Disbelieved]).collect::<Vec<_>>());
}

#[test]
fn a_stamp_in_the_future_is_not_even_credited() {
    let end = play(100 * SECOND, 30 * SECOND, 0, &[(30 * SECOND, Event::Touch(4000 * SECOND))]);
    assert!(end.at < 109 * SECOND, "{} s", end.at / SECOND);
    assert_eq!(end.doubts, [Doubt::Future]);
}

#[test]
fn forging_all_the_time_and_typing_in_a_quiet_window_saves() {
    // Credits long spent, touches stop, then a key well inside the warning window.
    let mut events: Vec<_> = (0..500).map(|_| (SECOND, Event::Touch(0))).collect();
    let spent = play(100 * SECOND, 30 * SECOND, 0, &events).at;
    let before = events.iter().take_while(|_| true).count() as Nanos * SECOND;
    assert!(spent < before);
    events.truncate(usize::try_from(spent / SECOND).unwrap() - 20);
    events.push((8 * SECOND, Event::Key));
    let end = play(100 * SECOND, 30 * SECOND, 0, &events);
    assert!(end.at - end.last_key >= 100 * SECOND);
    assert!(end.at > spent + 60 * SECOND);
}

#[test]
fn a_touch_right_behind_a_look_does_not_pass_for_a_read() {
    // In the same tick of the kernel's clock the change time shows no difference.
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    let mut look = |model: &Model| {
        let sample = Sample { stamps: model.stamps, unread: None, inner: false, anew: false };
        activity
            .look(model.now(), &BTreeMap::from([(TTY, sample)]))
            .into_iter()
            .map(|(_, doubt)| doubt)
            .collect::<Vec<_>>()
    };
    model.boot = 100 * SECOND;
    assert!(look(&model).is_empty());
    for n in 0..5 {
        model.boot += 50 * SECOND;
        model.happen(&Event::Touch(0));
        let _ = look(&model);
        // Same ctime, another atime.
        model.stamps.atime -= SECOND * (n + 1);
        model.boot += 50 * SECOND;
        let doubts = look(&model);
        assert!(!doubts.is_empty(), "believed as a read");
    }
}

#[test]
fn a_queue_counted_otherwise_has_not_grown() {
    // An unread NUL counts in raw mode and not in canonical mode, which the user switches at will.
    let model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    for n in 0..10 {
        let now = Moment { boot: n * 60 * SECOND, mono: 0, wall: n * 60 * SECOND + EPOCH };
        let (count, mode) = if n % 2 == 0 { (0, 2) } else { (1, 0) };
        // From when the stamp's bucket has passed: until then there may have been a key.
        let unread = (n > 1).then_some(Unread { count, mode });
        let sample = Sample { stamps: model.stamps, unread, inner: false, anew: false };
        activity.look(now, &BTreeMap::from([(TTY, sample)]));
    }
    assert!(activity.last() < 9 * SECOND, "{} s", activity.last() / SECOND);
}

#[test]
fn a_terminal_opened_before_a_step_back_and_seen_after_it_is_typed_at_honestly() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    // Its change time lies in the future from its first sample on.
    model.offset -= 3600 * SECOND;
    for n in 1..20 {
        model.boot = n * 60 * SECOND;
        model.happen(&Event::Key);
        let sample = Sample { stamps: model.stamps, unread: None, inner: false, anew: false };
        let doubts = activity.look(model.now(), &BTreeMap::from([(TTY, sample)]));
        assert_eq!(doubts, [], "look {n}");
        assert_eq!(activity.last(), model.boot, "look {n}");
    }
}

#[test]
fn login_may_hand_the_terminal_over_after_the_first_look() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    let mut look = |model: &Model| {
        let sample = Sample { stamps: model.stamps, unread: None, inner: false, anew: false };
        activity.look(model.now(), &BTreeMap::from([(TTY, sample)]))
    };
    model.boot = SECOND;
    assert_eq!(look(&model), []);
    model.boot = 20 * SECOND;
    model.happen(&Event::Key);
    model.happen(&Event::Chmod);
    model.stamps.owner = 1000;
    assert_eq!(look(&model), []);
}

#[test]
fn who_has_more_ids_than_one_gains_no_more_by_giving_the_terminal_away() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    model.stamps.owner = 1000;
    let mut doubted = 0;
    for n in 1..20 {
        model.boot = n * 60 * SECOND;
        model.happen(&Event::Touch(0));
        model.stamps.owner = if n % 2 == 0 { 1000 } else { 100_000 };
        let sample = Sample { stamps: model.stamps, unread: None, inner: false, anew: false };
        doubted += activity.look(model.now(), &BTreeMap::from([(TTY, sample)])).len();
    }
    assert_eq!(doubted, 18, "each but the first look");
}
