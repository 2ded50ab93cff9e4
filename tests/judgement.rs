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
use pam_idle_watchdog::watch::activity::{Activity, Sample};
use pam_idle_watchdog::watch::doubt::{CREDITS, Doubt, PROOF_WINDOW};
use pam_idle_watchdog::watch::schedule::{Action, Ground, Schedule, Shown};
use pam_idle_watchdog::watch::witness::Witness;
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
    /// The client sends something that is no key.
    Keepalive,
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
    /// When the client last sent something.
    heard: Nanos,
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
            heard: 0,
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

    fn witness(&self) -> Witness {
        Witness { heard: self.heard - self.heard % (4 * MS), within: 10 * MS }
    }

    fn happen(&mut self, event: &Event) {
        if matches!(event, Event::Key | Event::Unread | Event::Keepalive) {
            self.heard = self.boot;
        }
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
            Event::Keepalive => {}
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

/// What a play is about.
#[derive(Clone, Copy, Debug)]
struct Setting<'a> {
    /// Output counts.
    output: bool,
    /// The client comes over a connection that may be asked.
    connection: bool,
    limit: Nanos,
    warn: &'a [Nanos],
    lag: Nanos,
}

/// Plays events, each so long after the one before, and then nothing, until the session is ended.
fn play(limit: Nanos, warn: Nanos, lag: Nanos, events: &[(Nanos, Event)]) -> End {
    play_seen(false, limit, warn, lag, events)
}

/// The same, with a connection that may be asked or without.
fn play_seen(connection: bool, limit: Nanos, warn: Nanos, lag: Nanos, events: &[(Nanos, Event)]) -> End {
    let warn = if warn > 0 { &[warn][..] } else { &[] };
    play_in(Setting { output: false, connection, limit, warn, lag }, events)
}

/// The same with any number of warnings, and with output that counts.
fn play_counting(output: bool, limit: Nanos, warn: &[Nanos], lag: Nanos, events: &[(Nanos, Event)]) -> End {
    play_in(Setting { output, connection: false, limit, warn, lag }, events)
}

fn play_in(setting: Setting<'_>, events: &[(Nanos, Event)]) -> End {
    let Setting { output, connection, limit, warn, lag } = setting;
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
                Event::Step(_) => wake = at + MS,
                _ => {}
            }
        }
        model.boot = model.boot.max(wake);
        let sample = Sample { stamps: model.stamps, unread: Some(model.queue()), inner: false, anew: false };
        let witness = connection.then(|| model.witness());
        let doubts = activity.look(model.now(), &BTreeMap::from([(TTY, sample)]), witness);
        all_doubts.extend(doubts.into_iter().map(|(_, doubt)| doubt));
        looks += 1;
        assert!(activity.has_terminals());
        if schedule.is_due(model.now(), shown(&activity)) {
            all_doubts.extend(activity.decide().map(|(_, doubt)| doubt));
        }
        let (action, next) = schedule.next(model.now(), shown(&activity));
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
        wake = activity.looks_again().map_or(next, |again| again.min(next));
    }
}

fn shown(activity: &Activity) -> Shown {
    Shown { last: activity.last(), ground: Ground::Terminals, undecided: activity.undecided() }
}

/// One look at one terminal, and what is decided at once: what is odd about it.
fn look_once(activity: &mut Activity, model: &Model, unread: Option<Unread>) -> Vec<Doubt> {
    let sample = Sample { stamps: model.stamps, unread, inner: false, anew: false };
    let mut doubts = activity.look(model.now(), &BTreeMap::from([(TTY, sample)]), None);
    doubts.extend(activity.decide());
    doubts.into_iter().map(|(_, doubt)| doubt).collect()
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
        prop_assert!(end.at <= forged_at_most(limit, warn), "{} of {}", end.at / SECOND, limit / SECOND);
        let credited = end.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Credited { .. })).count();
        prop_assert!(credited <= CREDITS.into());
    }

    #[test]
    fn a_forger_who_touches_seldom_gains_no_more(
        (limit, warn, lag) in (10i64..30, 0i64..100, 0i64..10),
        touches in proptest::collection::vec((0i64..30_000, Just(0)), 0..12),
    ) {
        let (limit, warn) = (limit * SECOND, limit * SECOND * warn / 100);
        let events: Vec<_> = touches.iter().map(|(gap, ahead)| (gap * MS, Event::Touch(ahead * MS))).collect();
        let end = play(limit, warn, lag * MS, &events);
        prop_assert!(end.at <= forged_at_most(limit, warn), "{} of {}", end.at / SECOND, limit / SECOND);
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
        prop_assert!(end.at <= forged_at_most(limit, warn.max(1)));
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

    #[test]
    fn who_types_and_runs_mesg_is_not_ended_early(
        (limit, warn, lag) in settings(), pace in 1i64..9, typed in 1i64..3000, connection: bool,
        mesg in proptest::collection::vec(20_000i64..200_000, 0..60),
    ) {
        let end = play_seen(connection, limit, warn, lag, &typing(pace, typed, &mesg));
        prop_assert!(end.at - end.last_key >= limit, "ended {} s early", (limit - end.at + end.last_key) / SECOND);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
        prop_assert!(warn == 0 || end.warned[0] >= warn);
        prop_assert!(!end.doubts.contains(&Doubt::Disbelieved) && !end.doubts.contains(&Doubt::Refuted));
    }

    #[test]
    fn without_a_credit_who_types_is_not_ended(
        (limit, warn, lag) in settings(), pace in 1i64..9, connection: bool, phase in 0i64..8000,
    ) {
        // All credits are used up, and then the one look that is due sees `mesg n` run right before it.
        let mut events = vec![(phase * MS, Event::Key)];
        let touch = [(limit - SECOND, Event::Touch(-1000 * SECOND)), (0, Event::Keepalive)];
        events.extend((0..CREDITS).flat_map(|_| touch.clone()));
        let forged: Nanos = events.iter().map(|(gap, _)| gap).sum();
        let spent = play_seen(connection, limit, warn, lag, &events);
        let left = spent.at - warn - forged - SECOND;
        prop_assume!(spent.doubts.last() == Some(&Doubt::Credited { left: 0 }) && left > 0);
        events.extend([(left, Event::Key), (0, Event::Chmod)]);
        events.extend((0..3 * limit / SECOND / pace).map(|_| (pace * SECOND, Event::Key)));
        let end = play_seen(connection, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit, "ended {} s early", (limit - end.at + end.last_key) / SECOND);
    }

    #[test]
    fn a_few_mesg_at_any_moments_cost_nobody_the_session(
        (limit, warn, lag) in settings(), connection: bool,
        events in proptest::collection::vec((gaps(), Just(Event::Key)), 0..40),
        mesg in proptest::collection::vec((0usize..40, gaps()), 0..=CREDITS.into()),
    ) {
        let mut events = events;
        for (at, gap) in mesg {
            events.insert(at.min(events.len()), (gap, Event::Chmod));
        }
        let end = play_seen(connection, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
    }

    #[test]
    fn who_works_in_bursts_and_begins_each_with_mesg_is_not_ended_early(
        limit in 300i64..1200, part in 0i64..100, lag in 0i64..10, connection: bool, pace in 1i64..6,
        bursts in proptest::collection::vec((50i64..100, 30i64..99), 1..12),
    ) {
        // So long is typed, and so long is read, in hundredths of the limit.
        let mut events = Vec::new();
        for (typed, read) in bursts {
            events.extend([(0, Event::Key), (5 * MS, Event::Chmod)]);
            events.extend((0..limit * typed / 100 / pace).map(|_| (pace * SECOND, Event::Key)));
            events.push((limit * read / 100 * SECOND, Event::Key));
        }
        let (limit, warn) = (limit * SECOND, limit * SECOND * part / 100);
        let end = play_seen(connection, limit, warn, lag * MS, &events);
        prop_assert!(end.at - end.last_key >= limit, "ended {} s early", (limit - end.at + end.last_key) / SECOND);
    }

    #[test]
    fn a_forger_with_a_silent_client_gains_nothing(
        (limit, warn, lag) in settings(), key in 0i64..20_000,
        touches in proptest::collection::vec((0i64..30_000, prop_oneof![
            Just(0), -10_000i64..1_000, Just(-1_000_000),
        ]), 0..400),
    ) {
        let mut events = vec![(key * MS, Event::Key)];
        events.extend(touches.iter().map(|(gap, ahead)| (gap * MS, Event::Touch(ahead * MS))));
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND, "{} of {}", (end.at - end.last_key) / SECOND, limit / SECOND);
        // There was one key: no more than one stamp may be of it.
        let credited = end.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Credited { .. })).count();
        prop_assert!(credited <= 1);
    }

    #[test]
    fn a_forger_with_keepalives_gains_the_credits_at_most(
        (limit, warn, lag) in settings(), often in 1i64..30, late in 0i64..8000,
        touches in proptest::collection::vec(0i64..30_000, 0..400),
    ) {
        // Each touch comes right behind a keepalive, as the forger sees them come.
        let mut events = Vec::new();
        for gap in &touches {
            events.extend([(often * SECOND + gap * MS, Event::Keepalive), (late * MS, Event::Touch(0))]);
        }
        events.extend((0..1000).map(|_| (often * SECOND, Event::Keepalive)));
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at <= forged_at_most(limit, warn.max(1)));
    }
}

/// The latest end of a session whose stamps are forged from its begin on. A warning that is shorter than
/// [`PROOF_WINDOW`] leaves the end to wait for the rest of it.
fn forged_at_most(limit: Nanos, warn: Nanos) -> Nanos {
    let waits = (PROOF_WINDOW - warn).max(0);
    (Nanos::from(CREDITS) + 1) * (limit + 9 * SECOND) + waits
}

/// Somebody presses a key every `pace` seconds, for so many seconds, and something of theirs runs
/// `mesg n`, each time so many milliseconds after the last.
fn typing(pace: i64, typed: i64, mesg: &[i64]) -> Vec<(Nanos, Event)> {
    let mut at: Vec<(Nanos, Event)> = (1..=typed / pace).map(|n| (n * pace * SECOND, Event::Key)).collect();
    let mut when = 0;
    for gap in mesg {
        when += gap * MS;
        if when < typed * SECOND {
            at.push((when, Event::Chmod));
        }
    }
    at.sort_by_key(|(at, _)| *at);
    let mut before = 0;
    at.into_iter().map(|(at, event)| (at - std::mem::replace(&mut before, at), event)).collect()
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
fn a_doubt_costs_a_few_looks_and_not_many() {
    let touch = [(100 * SECOND, Event::Touch(0))];
    let looks = |events: &[_]| play(900 * SECOND, 60 * SECOND, 0, events).looks;
    assert!(looks(&touch) <= looks(&[]) + 30, "{} and {}", looks(&touch), looks(&[]));
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
    model.boot = 100 * SECOND;
    assert_eq!(look_once(&mut activity, &model, None), []);
    for n in 0..5 {
        model.boot += 50 * SECOND;
        model.happen(&Event::Touch(0));
        let _ = look_once(&mut activity, &model, None);
        // Same ctime, another atime.
        model.stamps.atime -= SECOND * (n + 1);
        model.boot += 50 * SECOND;
        let doubts = look_once(&mut activity, &model, None);
        assert!(!doubts.is_empty(), "believed as a read");
    }
}

#[test]
fn a_queue_counted_otherwise_has_not_grown() {
    // An unread NUL counts in raw mode and not in canonical mode, which the user switches at will.
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    for n in 0..10 {
        model.boot = n * 60 * SECOND;
        let (count, mode) = if n % 2 == 0 { (0, 2) } else { (1, 0) };
        // From when the stamp's bucket has passed: until then there may have been a key.
        let unread = (n > 1).then_some(Unread { count, mode });
        let _ = look_once(&mut activity, &model, unread);
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
        assert_eq!(look_once(&mut activity, &model, None), [], "look {n}");
        assert_eq!(activity.last(), model.boot, "look {n}");
    }
}

#[test]
fn login_may_hand_the_terminal_over_after_the_first_look() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    model.boot = SECOND;
    assert_eq!(look_once(&mut activity, &model, None), []);
    model.boot = 20 * SECOND;
    model.happen(&Event::Key);
    model.happen(&Event::Chmod);
    model.stamps.owner = 1000;
    assert_eq!(look_once(&mut activity, &model, None), []);
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
        doubted += look_once(&mut activity, &model, None).len();
    }
    assert_eq!(doubted, 18, "each but the first look");
}

#[test]
fn what_the_client_cannot_have_typed_is_forged_and_costs_no_credit() {
    // One touch, then real work for an hour: the credits are all there.
    let touch = [(20 * SECOND, Event::Touch(0))];
    let end = play_seen(true, 40 * SECOND, 0, 0, &touch);
    assert_eq!(end.doubts, [Doubt::Refuted]);
    assert!(end.at < 49 * SECOND, "{} s", end.at / SECOND);
    // The same with a client that sends keepalives: it may have been a key.
    let end = play_seen(true, 40 * SECOND, 0, 0, &[touch[0].clone(), (0, Event::Keepalive)]);
    assert_eq!(end.doubts, [Doubt::Credited { left: CREDITS - 1 }]);
    // And is one no later than the client was heard.
    assert!(end.at < 61 * SECOND, "{} s", end.at / SECOND);
}

#[test]
fn a_forger_who_is_disbelieved_gains_the_proof_window_and_no_more() {
    let touches: Vec<_> = (0..4000).map(|_| (SECOND, Event::Touch(0))).collect();
    for (limit, warn) in [(900, 60), (900, 5), (900, 0), (20, 5)] {
        let end = play(limit * SECOND, warn * SECOND, 0, &touches);
        let most = forged_at_most(limit * SECOND, warn * SECOND);
        assert!(end.at <= most, "{} s of {limit} s", end.at / SECOND);
    }
}
