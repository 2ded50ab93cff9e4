//! What the client's connection says: the end comes within a second of the limit, and evidence that was made
//! without the client does not count.

use pam_idle_watchdog::helper::judgement::activity::Activity;
use pam_idle_watchdog::helper::judgement::credits::{CREDITS, Doubt};
use pam_idle_watchdog::sys::clock::{Nanos, SECOND};
use proptest::prelude::*;

use crate::model::*;

/// How late the end may come after the client's last data, because of the kernel's ticks.
const TICKS: Nanos = 110 * MS;

const CASES: u32 = 400;

/// An event at the machine while the client is silent.
fn local() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::Print), Just(Event::Read), Just(Event::Chmod), Just(Event::Touch(0)), steps()]
}

/// Other data from a client.
fn sent() -> impl Strategy<Value = Event> {
    prop_oneof![3 => Just(Event::Key), 1 => Just(Event::Unread), 1 => Just(Event::Keepalive)]
}

fn events(of: impl Strategy<Value = Event>) -> impl Strategy<Value = Vec<(Nanos, Event)>> {
    proptest::collection::vec((gaps(), of), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_silent_client_is_ended_at_the_limit((limit, warn, lag) in settings(), events in keys()) {
        let end = play_seen(true, limit, warn, lag, &events);
        let idle = end.at - end.last_key;
        prop_assert!(idle >= limit, "ended {} ms early", (limit - idle) / MS);
        prop_assert!(idle < limit + unwarned(limit, warn) + TICKS, "ended {} ms late", (idle - limit) / MS);
        prop_assert!(warn == 0 || end.warned[0] >= warn);
    }

    #[test]
    fn nothing_done_on_the_machine_moves_the_end_of_a_silent_client(
        (limit, warn, lag) in settings(), typed in proptest::collection::vec(0i64..9000, 1..5), done in events(local()),
    ) {
        let mut events: Vec<_> = typed.iter().map(|ms| (ms * MS, Event::Key)).collect();
        events.extend(done);
        let end = play_seen(true, limit, warn, lag, &events);
        let idle = end.at - end.last_key;
        prop_assert!(idle >= limit);
        // A forged stamp may hide a key until the warning. The warning then starts again.
        prop_assert!(idle < limit + warn.max(STEP_SEEN) + TICKS, "ended {} ms late", (idle - limit) / MS);
    }

    #[test]
    fn with_chaff_the_end_is_as_late_as_the_chaff(
        (limit, warn, lag) in settings(), keys in keys(), chaff in proptest::collection::vec(1024i64..3100, 40),
    ) {
        let mut events = Vec::new();
        for ((gap, key), chaff) in keys.into_iter().zip(&chaff) {
            // Chaff is sent every 20 ms until the next key, or for a limited time.
            events.push((gap, key));
            events.extend((0..chaff / 20).map(|_| (20 * MS, Event::Keepalive)));
        }
        let end = play_seen(true, limit, warn, lag, &events);
        let idle = end.at - end.last_key;
        prop_assert!(idle >= limit);
        prop_assert!(idle < limit + unwarned(limit, warn) + 3200 * MS + TICKS, "ended {} ms late", (idle - limit) / MS);
    }

    #[test]
    fn other_data_of_the_client_makes_no_end_early_and_none_later_than_without_a_witness(
        (limit, warn, lag) in settings(), events in events(sent()),
    ) {
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit);
        let typed_only = !events.iter().any(|(_, event)| matches!(event, Event::Unread));
        prop_assert!(!typed_only || end.at - end.last_key < limit + 9 * SECOND);
    }

    #[test]
    fn no_end_is_early_whatever_clock_sleep_and_witness_do(
        (limit, warn, lag) in settings(),
        events in events(prop_oneof![
            6 => sent(),
            1 => steps(),
            1 => any::<bool>().prop_map(Event::Ask),
            1 => (0i64..3_000_000).prop_map(|ms| Event::Suspend(ms * MS)),
            1 => Just(Event::Print),
        ]),
    ) {
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit, "ended {} ms early", (limit - end.at + end.last_key) / MS);
    }

    #[test]
    fn a_person_who_types_is_not_ended_however_many_other_terminals_open_and_close(
        (limit, warn, lag) in settings(), connection: bool, pace in 1i64..9, typed in 1i64..2000,
        panes in proptest::collection::vec((500i64..60_000, 0u64..3, any::<bool>()), 0..80),
    ) {
        let mut at: Vec<(Nanos, Event)> = (1..=typed / pace).map(|n| (n * pace * SECOND, Event::Key)).collect();
        let mut when = 0;
        for (gap, pane, opens) in panes {
            when += gap * MS;
            if when < typed * SECOND {
                at.push((when, if opens { Event::Open(pane) } else { Event::Close(pane) }));
            }
        }
        let end = play_seen(connection, limit, warn, lag, &in_order(at));
        prop_assert!(end.at - end.last_key >= limit, "ended {} s early", (limit - end.at + end.last_key) / SECOND);
    }

    #[test]
    fn panes_opened_for_an_hour_keep_a_person_who_types_in_them(
        (limit, warn, lag) in settings(), connection: bool, often in 20i64..100, kept in 1usize..3,
    ) {
        // A pane is opened every `often` hundredths of the limit. The key comes after half of that time. A pane
        // closes when there are `kept` others.
        let mut at = Vec::new();
        let step = (limit * often / 100).max(18 * SECOND);
        for n in 0..40u64 {
            let when = i64::try_from(n).unwrap() * step;
            at.push((when, Event::Open(n)));
            at.push((when + step / 2, Event::PaneKey(n)));
            if let Some(old) = n.checked_sub(u64::try_from(kept).unwrap()) {
                at.push((when + step / 4, Event::Close(old)));
            }
        }
        let opened = 39 * step;
        let end = play_seen(connection, limit, warn, lag, &in_order(at));
        prop_assume!(step <= limit);
        prop_assert!(end.at >= opened + limit, "ended at {} s of {}", end.at / SECOND, opened / SECOND);
    }

    #[test]
    fn without_a_witness_a_script_that_opens_and_closes_terminals_gains_at_most_the_credits(
        (limit, warn, lag) in settings(), often in 100i64..20_000, lives in 1i64..100,
    ) {
        let mut events = Vec::new();
        let mut at = 0;
        while at < 2 * by_claims_at_most(limit) {
            events.push((often * lives / 100 * MS, Event::Open(0)));
            events.push((often * (100 - lives) / 100 * MS + 1, Event::Close(0)));
            at += often * MS;
        }
        let end = play_seen(false, limit, warn, lag, &events);
        prop_assert!(end.at <= by_claims_at_most(limit), "{} of {}", end.at / SECOND, limit / SECOND);
        prop_assert!(end.doubts.is_empty(), "that is no tampering");
    }

    #[test]
    fn a_script_that_closes_terminals_one_by_one_gains_the_credits_at_most(
        (limit, warn, lag) in settings(), often in 100i64..20_000, connection: bool,
    ) {
        let mut events: Vec<_> = (0..40).map(|n| (0, Event::Open(n))).collect();
        events.extend((0..40).map(|n| (limit * often / 20_000, Event::Close(n))));
        let end = play_seen(connection, limit, warn, lag, &events);
        prop_assert!(end.at <= by_claims_at_most(limit), "{} of {}", end.at / SECOND, limit / SECOND);
        prop_assert!(end.doubts.is_empty(), "that is no tampering");
    }

    #[test]
    fn a_key_right_after_a_terminal_has_opened_keeps_the_session(
        (limit, warn, lag) in settings(), opened in proptest::collection::vec((gaps(), 0i64..8000), 1..40),
    ) {
        let mut events = Vec::new();
        for (n, (gap, typed)) in opened.into_iter().enumerate() {
            let n = u64::try_from(n).unwrap();
            events.extend([(gap, Event::Open(n)), (typed * MS, Event::PaneKey(n))]);
        }
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at - end.last_key >= limit, "ended {} s early", (limit - end.at + end.last_key) / SECOND);
        prop_assert!(warn == 0 || end.warned[0] >= warn);
    }

    #[test]
    fn tasks_with_a_terminal_each_are_not_ended(
        (limit, warn, lag) in settings(), takes in 1i64..80,
    ) {
        // These are the terminals of automation over one connection. Each is open for so many hundredths of the
        // limit. Nobody presses a key.
        let mut events = Vec::new();
        for n in 0..40 {
            events.extend([(0, Event::Open(n)), (limit * takes / 100, Event::Close(n))]);
        }
        let all: Nanos = events.iter().map(|(gap, _)| gap).sum();
        let end = play_seen(true, limit, warn, lag, &events);
        prop_assert!(end.at >= all, "ended after {} s of {}", end.at / SECOND, all / SECOND);
    }
}

/// The latest end of a session that only claims keep.
fn by_claims_at_most(limit: Nanos) -> Nanos {
    (Nanos::from(CREDITS) + 1) * (limit + 9 * SECOND) + 18 * SECOND
}

/// A key after the warning is seen within 2 s, and then the whole warning is given again. If the warning
/// takes nearly the whole limit, the end is late by the rest of the 2 s.
fn unwarned(limit: Nanos, warn: Nanos) -> Nanos {
    (2 * SECOND - (limit - warn)).max(0)
}

/// How late a step of the clock may be noticed.
const STEP_SEEN: Nanos = 9 * SECOND;

/// Sorts events by their times. Each gets the time since the one before.
fn in_order(mut at: Vec<(Nanos, Event)>) -> Vec<(Nanos, Event)> {
    at.sort_by_key(|(at, _)| *at);
    let mut before = 0;
    at.into_iter().map(|(at, event)| (at - std::mem::replace(&mut before, at), event)).collect()
}

#[test]
fn keys_typed_ahead_count_when_they_came() {
    // There are ten keys. A program reads them later, one every ten seconds.
    let mut events = vec![(SECOND, Event::Key); 10];
    events.extend(vec![(10 * SECOND, Event::Read); 10]);
    let end = play_seen(true, 60 * SECOND, 0, 0, &events);
    assert!((60 * SECOND..60 * SECOND + TICKS).contains(&(end.at - end.last_key)), "{}", end.at / MS);
    // Without a witness the reads look like keys.
    let end = play_seen(false, 60 * SECOND, 0, 0, &events);
    assert!(end.at - end.last_key > 150 * SECOND);
}

#[test]
fn keys_that_a_program_types_give_no_credit_back() {
    // Each credit is spent on a touch that a keepalive allows. Then a program puts keys into the terminal
    // (TIOCSTI).
    let spend = [(35 * SECOND, Event::Keepalive), (0, Event::Touch(-1000 * SECOND))];
    let mut events: Vec<_> = (0..CREDITS).flat_map(|_| spend.clone()).collect();
    events.push((20 * SECOND, Event::Read));
    events.extend([(15 * SECOND, Event::Keepalive), (0, Event::Touch(-1000 * SECOND))]);
    let end = play_seen(true, 40 * SECOND, 0, 0, &events);
    assert_eq!(end.doubts.last(), Some(&Doubt::Disbelieved), "{:?}", end.doubts);
}

#[test]
fn a_terminal_with_a_key_before_the_first_look_needs_no_credit() {
    let mut model = Model::new(0);
    model.masters = false;
    let mut activity = Activity::new(model.now(), false);
    let mut look = |model: &mut Model| {
        let samples = model.samples();
        let doubts = activity.look(model.now(), &samples, model.witness());
        assert!(doubts.is_empty() && activity.decide().is_none());
        activity.last()
    };
    look(&mut model);
    for n in 0..20 {
        let gap = [(60 * SECOND, Event::Open(n)), (20 * SECOND, Event::PaneKey(n))];
        for (gap, event) in gap {
            model.boot += gap;
            model.happen(&event);
        }
        let typed = model.boot;
        model.boot += 30 * SECOND;
        let last = look(&mut model);
        assert!((typed..typed + TICKS).contains(&last), "pane {n}");
        model.happen(&Event::Close(n));
        // The disappearance is a claim. This look decides on it, and the client has sent data again.
        model.boot += SECOND;
        look(&mut model);
    }
}

#[test]
fn a_stamp_set_ahead_on_a_new_terminal_gives_no_credit_back() {
    // A script opens each terminal. Each stamp is in the past at the first look.
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    let mut decided = 0;
    for n in 0..20 {
        model.boot += 30 * SECOND;
        model.happen(&Event::Open(n));
        model.panes.values_mut().for_each(|pane| pane.stamps.atime += 9 * SECOND);
        model.boot += 30 * SECOND;
        model.happen(&Event::Keepalive);
        model.happen(&Event::Touch(0));
        let samples = model.samples();
        activity.look(model.now(), &samples, model.witness());
        decided += u32::from(matches!(activity.decide(), Some((_, Doubt::Credited { .. }))));
        model.happen(&Event::Close(n));
    }
    assert_eq!(decided, u32::from(CREDITS));
}

#[test]
fn a_suspend_does_not_move_the_time_of_earlier_data() {
    // Keys that were typed ahead are read all the time, and sometimes the machine is suspended for eight
    // minutes.
    let mut events = vec![(2 * SECOND, Event::Key), (10 * SECOND, Event::Key)];
    for _ in 0..60 {
        events.push((60 * SECOND, Event::Suspend(480 * SECOND)));
        events.extend((0..4).map(|_| (2 * SECOND, Event::Read)));
    }
    let end = play_seen(true, 600 * SECOND, 60 * SECOND, 0, &events);
    let idle = end.at - end.last_key;
    assert!(idle >= 600 * SECOND);
    // The machine was suspended before the key was seen, so the time of the key is known only to within the
    // suspend.
    assert!(idle < (600 + 480 + 2 * 60) * SECOND, "{} s", idle / SECOND);
}

#[test]
fn a_believed_stamp_is_on_record_beside_a_terminal_that_opened() {
    let mut model = Model::new(0);
    let mut activity = Activity::new(model.now(), false);
    model.masters = false;
    model.boot += 60 * SECOND;
    let samples = model.samples();
    activity.look(model.now(), &samples, model.witness());
    model.boot += 60 * SECOND;
    // The witness limits both to the same time.
    model.happen(&Event::Touch(0));
    model.happen(&Event::Open(0));
    model.boot += 60 * SECOND;
    let samples = model.samples();
    activity.look(model.now(), &samples, model.witness());
    assert!(matches!(activity.decide(), Some((TTY, Doubt::Credited { .. }))));
}
