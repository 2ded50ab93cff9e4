//! Ring 1: judgement and schedule together, against a model of the kernel's terminal. No time passes.
//!
//! The model sets stamps as `tty_update_time()` does (8-second buckets, a clock up to a tick behind). Its wall
//! clock is stepped, and its owner forges stamps. The tests check the promise: a session never ends early, it
//! ends less than 9 s late, and forgery delays the end only by the credits.
//!
//! [`model`] is the model. [`absences`] is about how long somebody was away. [`credits`] is about changes of the node, by honest people and by forgers.
//! [`witness`] is about the connection.

mod absences;
mod credits;
mod model;
mod witness;

use pam_idle_watchdog::helper::judgement::activity::Activity;
use pam_idle_watchdog::sys::clock::{Nanos, SECOND};
use pam_idle_watchdog::sys::tty::Unread;
use proptest::prelude::*;

use model::*;

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
        // The wall clock is back at the bucket of the last key so long after the step.
        let passage = (stepped.min(end.at) + step * SECOND).max(end.last_key);
        prop_assert!(end.at < passage.max(end.last_key) + limit + 18 * SECOND);
        prop_assert!(end.at - end.last_key >= limit);
    }

    #[test]
    fn output_counts_where_it_is_set_and_our_own_does_not(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![Just(Event::Key), Just(Event::Print)]), 0..40),
    ) {
        let warn = if warn > 1 { vec![warn, warn / 2] } else { vec![] };
        let end = play_counting(true, limit, &warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
        prop_assert!(end.doubts.is_empty());
        // By default this does not count.
        let end = play_counting(false, limit, &warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        prop_assert!(end.at - end.last_key < limit + 9 * SECOND);
    }

    #[test]
    fn no_step_of_the_clock_ends_a_printing_session_early(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![3 => Just(Event::Print), 1 => steps()]), 0..40),
    ) {
        let end = play_counting(true, limit, &[warn.max(1)], lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
    }

    #[test]
    fn an_unread_key_keeps_the_session(
        (limit, warn, lag) in settings(),
        events in proptest::collection::vec((gaps(), prop_oneof![Just(Event::Key), Just(Event::Unread)]), 1..40),
    ) {
        let end = play(limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
    }
}

#[test]
fn an_idle_session_costs_one_look_a_limit_and_the_warned_ones() {
    let end = play(900 * SECOND, 60 * SECOND, 0, &[]);
    // One look is when the watchdog is armed, one is at 840 s, and one is a few seconds later, because its
    // bucket ends later. Then there is one every 2 s for the minute.
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
    // The first bucket ends 5 s after boot. The clock of the stamps has not reached that yet.
    let end = play(10 * SECOND, 0, 9 * MS, &[(5 * SECOND + 5 * MS, Event::Key)]);
    assert!(end.at - end.last_key >= 10 * SECOND);
}

#[test]
fn a_queue_counted_in_another_mode_has_not_grown() {
    // An unread NUL counts in raw mode and not in canonical mode. The user can switch the mode at any time.
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    for n in 0..10 {
        model.boot = n * 60 * SECOND;
        let (count, mode) = if n % 2 == 0 { (0, 2) } else { (1, 0) };
        // This starts after the stamp's bucket has passed. Until then there may have been a key.
        let unread = (n > 1).then_some(Unread { count, mode });
        let _ = look_once(&mut activity, &model, unread);
    }
    assert!(activity.last() < 9 * SECOND, "{} s", activity.last() / SECOND);
}

#[test]
fn a_read_is_proven_at_a_terminal_that_opened_before_a_step_back() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    // Its change time is in the future from its first sample on.
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
