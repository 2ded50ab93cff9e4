//! How long somebody was away who comes back after a warning, or after the report of `kill=none`.

use std::time::Duration;

use pam_idle_watchdog::helper::judgement::activity::Activity;
use pam_idle_watchdog::helper::judgement::schedule::{Due, Schedule};
use pam_idle_watchdog::sys::clock::{Nanos, SECOND};
use proptest::prelude::*;

use super::model::*;

const LIMIT: Nanos = 900 * SECOND;
/// A stamp tells of a key to 8 s. A look is 2 s after the one before at the earliest.
const COARSE: Nanos = 9 * SECOND + 2 * SECOND;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_report_is_followed_by_how_long_they_were_away(
        gaps in proptest::collection::vec(0i64..200_000, 1..40), lag in 0i64..10,
    ) {
        let gaps: Vec<Nanos> = gaps.into_iter().map(|seconds| seconds * SECOND).collect();
        let (reports, absences) = absences(&gaps, lag, true);
        prop_assert_eq!(reports, absences.len());
        for (away, gap) in absences {
            prop_assert!(away > gap - COARSE && away < gap + gap / 20 + COARSE, "{away} of {gap}");
        }
    }

    #[test]
    fn the_absence_of_a_warned_person_is_exact(
        gaps in proptest::collection::vec(prop_oneof![1i64..840, 860i64..890], 1..40), lag in 0i64..10,
    ) {
        let gaps: Vec<Nanos> = gaps.into_iter().map(|seconds| seconds * SECOND).collect();
        let (warnings, absences) = absences(&gaps, lag, false);
        prop_assert_eq!(warnings, absences.len());
        for (away, gap) in absences {
            prop_assert!((away - gap).abs() < COARSE, "{away} of {gap}");
        }
    }
}

/// Plays keys with these gaps. Each key is pressed three times, a second apart, because people type words. Returns
/// the number of warnings or reports, and each absence on record with the true one.
fn absences(gaps: &[Nanos], lag: Nanos, report_only: bool) -> (usize, Vec<(Nanos, Nanos)>) {
    let mut model = Model::new(lag);
    let mut activity = Activity::new(model.now(), false);
    let (limit, warn) = (Duration::from_nanos(LIMIT.unsigned_abs()), [Duration::from_secs(60)]);
    let mut schedule = Schedule::new(Some(limit), None, &warn, report_only);
    let mut keys = gaps.iter().flat_map(|gap| [*gap, SECOND, SECOND]).peekable();
    let (mut wake, mut last_key, mut told, mut found) = (0, 0, 0, Vec::new());
    // The last key before the warning or report, and the first one after it.
    let (mut left, mut back) = (0, None);
    loop {
        while let Some(gap) = keys.next_if(|gap| last_key + gap <= wake) {
            last_key += gap;
            model.boot = last_key;
            model.happen(&Event::Key);
            back = back.or(Some(last_key));
        }
        if keys.peek().is_none() && told == found.len() {
            return (told, found);
        }
        model.boot = wake;
        let doubts = activity.look(model.now(), &model.samples(), None);
        assert_eq!(doubts, []);
        if schedule.is_due(model.now(), shown(&activity)) {
            assert_eq!(activity.decide(), None);
        }
        let (due, next) = schedule.next(model.now(), shown(&activity));
        match due {
            Some(Due::Warn { .. } | Due::Report) => {
                told += 1;
                (left, back) = (last_key, None);
            }
            Some(Due::Resume { away }) => {
                // Without a key there is no resumption, and then this is 0.
                let away = away.map_or(0, |away| Nanos::try_from(away.as_nanos()).unwrap_or(Nanos::MAX));
                found.push((away, back.map_or(Nanos::MAX / 2, |back| back - left)));
                back = None;
            }
            due => assert_eq!(due, None),
        }
        wake = activity.looks_again().map_or(next, |again| again.min(next));
    }
}
