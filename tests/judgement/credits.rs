//! Doubtful stamps, of honest people who run `mesg n` and of forgers.

use pam_idle_watchdog::helper::judgement::activity::Activity;
use pam_idle_watchdog::helper::judgement::credits::{CREDITS, Doubt, PROOF_WINDOW};
use pam_idle_watchdog::sys::clock::{Nanos, SECOND};
use proptest::prelude::*;

use crate::model::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

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
    fn a_forger_who_rarely_touches_gains_no_more(
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
        // A step must not make a stamp in the future honest, nor give it a blind span.
        let events = [
            (early * SECOND, Event::Touch(forged * SECOND)),
            (early * SECOND, Event::Step(step * SECOND)),
        ];
        let end = play(limit, warn, lag, &events);
        // The end may be late by one credit, and by one blind span of a stamp that was not a forgery.
        prop_assert!(end.at <= 18 * SECOND + 3000 * SECOND + 2 * (limit + 18 * SECOND));
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
    fn a_person_who_types_and_runs_mesg_is_not_ended_early(
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
    fn a_person_who_types_is_not_ended_when_no_credit_is_left(
        (limit, warn, lag) in settings(), pace in 1i64..9, connection: bool, phase in 0i64..8000,
    ) {
        // All credits are used up. Then `mesg n` runs right before the only look that is due.
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
    fn working_in_bursts_that_start_with_mesg_is_not_ended_early(
        limit in 300i64..1200, part in 0i64..100, lag in 0i64..10, connection: bool, pace in 1i64..6,
        bursts in proptest::collection::vec((50i64..100, 30i64..99), 1..12),
    ) {
        // These are the times of typing and of reading, in hundredths of the limit.
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
        // If a key is noticed only after the warning, the warning comes once more.
        let late = warn.max(9 * SECOND);
        prop_assert!(end.at - end.last_key < limit + late, "{} of {}", end.at / SECOND, limit / SECOND);
    }

    #[test]
    fn a_forger_with_keepalives_gains_the_credits_at_most(
        (limit, warn, lag) in settings(), often in 1i64..30, late in 0i64..8000,
        touches in proptest::collection::vec(0i64..30_000, 0..400),
    ) {
        // Each touch comes right after a keepalive, because the forger sees the keepalives.
        let mut events = Vec::new();
        for gap in &touches {
            events.extend([(often * SECOND + gap * MS, Event::Keepalive), (late * MS, Event::Touch(0))]);
        }
        events.extend((0..1000).map(|_| (often * SECOND, Event::Keepalive)));
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at <= forged_at_most(limit, warn.max(1)));
    }
}

/// The latest end of a session whose stamps are forged from its start on. If the warning is shorter than
/// [`PROOF_WINDOW`], the end waits for the rest of it.
fn forged_at_most(limit: Nanos, warn: Nanos) -> Nanos {
    let waits = (PROOF_WINDOW - warn).max(0);
    (Nanos::from(CREDITS) + 1) * (limit + 9 * SECOND) + waits
}

/// For `typed` seconds a person presses a key every `pace` seconds, and a program of theirs runs `mesg n`.
/// `mesg` has the milliseconds between its runs.
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
fn a_doubt_costs_a_few_looks_and_not_many() {
    let touch = [(100 * SECOND, Event::Touch(0))];
    let looks = |events: &[_]| play(900 * SECOND, 60 * SECOND, 0, events).looks;
    assert!(looks(&touch) <= looks(&[]) + 30, "{} and {}", looks(&touch), looks(&[]));
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
fn a_key_after_the_forging_stops_keeps_the_session() {
    // The credits are spent and the touches stop. Then a key comes well inside the warning time.
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
fn a_touch_right_after_a_look_does_not_look_like_a_read() {
    // In the same tick of the kernel's clock the change time shows no difference.
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    model.boot = 100 * SECOND;
    assert_eq!(look_once(&mut activity, &model, None), []);
    for n in 0..5 {
        model.boot += 50 * SECOND;
        model.happen(&Event::Touch(0));
        let _ = look_once(&mut activity, &model, None);
        // The change time is the same, and the read time is another one.
        model.stamps.atime -= SECOND * (n + 1);
        model.boot += 50 * SECOND;
        let doubts = look_once(&mut activity, &model, None);
        assert!(!doubts.is_empty(), "believed as a read");
    }
}

#[test]
fn a_user_with_several_ids_gains_no_more_by_giving_the_terminal_away() {
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
fn a_stamp_that_the_client_cannot_have_typed_is_forged_and_costs_no_credit() {
    // There is one touch, then real work for an hour. All credits remain.
    let touch = [(20 * SECOND, Event::Touch(0))];
    let end = play_seen(true, 40 * SECOND, 0, 0, &touch);
    assert_eq!(end.doubts, [Doubt::Refuted]);
    assert!(end.at < 49 * SECOND, "{} s", end.at / SECOND);
    // This client sends keepalives, so the touch may have been a key.
    let end = play_seen(true, 40 * SECOND, 0, 0, &[touch[0].clone(), (0, Event::Keepalive)]);
    assert_eq!(end.doubts, [Doubt::Credited { left: CREDITS - 1 }]);
    // The time of this key is no later than the client's last data.
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

#[test]
fn a_typist_is_not_taken_for_a_forger_while_mesg_runs_every_three_seconds() {
    let limit = 20 * SECOND;
    for gap in [3020, 5020, 7020, 10_020, 14_020, 20_020, 60_020] {
        for phase in 0..100 {
            let mesg: Vec<i64> = std::iter::once(phase * 101).chain(std::iter::repeat_n(gap, 150)).collect();
            let end = play_seen(true, limit, 5 * SECOND, 0, &typing(1, 600, &mesg));
            assert!(end.at - end.last_key >= limit, "every {gap} ms, from {phase}");
            assert!(!end.doubts.contains(&Doubt::Disbelieved), "every {gap} ms, from {phase}");
        }
    }
}

#[test]
fn a_typist_is_rarely_ended_early_while_mesg_runs_every_second() {
    let limit = 20 * SECOND;
    let mut early = 0;
    for phase in 0..100 {
        let mesg: Vec<i64> = std::iter::once(phase * 101).chain(std::iter::repeat_n(1000, 600)).collect();
        let end = play_seen(true, limit, 5 * SECOND, 0, &typing(1, 600, &mesg));
        early += usize::from(end.at - end.last_key < limit);
    }
    // This happens if mesg and the key fall into the same tenth of a second, twice.
    assert!(early <= 12, "{early} of 100");
}
