//! When the last rung is over. Pure: complete surveys and the time decide.

use crate::sys::clock::{Nanos, SECOND};

/// How long the last rung insists on a survey that found nobody and saw nobody come or go.
const KILLING: Nanos = 10 * SECOND;
/// The whole last rung takes no longer, apart from the [`SURVEYS`] that always come. A user whose
/// processes multiply faster than they can be killed for so long is not beaten by a longer time.
const HARD: Nanos = 60 * SECOND;
/// So many complete surveys come before we give up, however long one takes. What was started during
/// the first one is found by the second one.
const SURVEYS: u32 = 4;
/// So many surveys in a row that found nobody are believed, although processes came and went.
pub const EMPTY: u32 = 32;
/// The same when [`KILLING`] is over, because a survey may take seconds.
const EMPTY_LATE: u32 = 3;

/// What comes after a survey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Somebody was found: another survey.
    Somebody,
    /// Nobody was found, but somebody may have been missed: another survey.
    Unsure,
    /// Nobody is left. `unsettled` if somebody may have been missed all the same.
    Nobody {
        /// Processes came and went too fast.
        unsettled: bool,
    },
    /// They multiply too fast.
    GiveUp,
}

/// The bounds of one last rung.
#[derive(Debug)]
pub struct Bounds {
    begin: Nanos,
    surveys: u32,
    empty: u32,
}

impl Bounds {
    /// The rung begins now (of the monotonic clock).
    #[must_use]
    pub fn new(begin: Nanos) -> Self {
        Self { begin, surveys: 0, empty: 0 }
    }

    /// A survey is complete. `found` if it found somebody who may still have children or be about to
    /// die, `unsettled` if it may have missed somebody.
    pub fn surveyed(&mut self, now: Nanos, found: bool, unsettled: bool) -> Next {
        let took = now.saturating_sub(self.begin);
        self.surveys = self.surveys.saturating_add(1);
        self.empty = if found { 0 } else { self.empty.saturating_add(1) };
        let believed = if took < KILLING { EMPTY } else { EMPTY_LATE };
        if !found && (!unsettled || self.empty >= believed) {
            return Next::Nobody { unsettled };
        }
        if took >= HARD && self.surveys >= SURVEYS {
            return Next::GiveUp;
        }
        if found { Next::Somebody } else { Next::Unsure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_survey_that_found_nobody_and_is_settled_is_the_end() {
        assert_eq!(Bounds::new(0).surveyed(SECOND, false, false), Next::Nobody { unsettled: false });
    }

    #[test]
    fn a_survey_that_takes_long_is_not_the_only_one() {
        let mut bounds = Bounds::new(0);
        // What was started meanwhile is looked for, although the time is over.
        assert_eq!(bounds.surveyed(10 * SECOND, true, true), Next::Somebody);
        assert_eq!(bounds.surveyed(20 * SECOND, false, true), Next::Unsure);
        assert_eq!(bounds.surveyed(30 * SECOND, false, true), Next::Unsure);
        assert_eq!(bounds.surveyed(40 * SECOND, false, true), Next::Nobody { unsettled: true });
    }

    #[test]
    fn there_are_some_surveys_even_where_the_first_takes_all_the_time() {
        let mut bounds = Bounds::new(0);
        for n in 1..i64::from(SURVEYS) {
            assert_eq!(bounds.surveyed(n * 100 * SECOND, true, true), Next::Somebody);
        }
        assert_eq!(bounds.surveyed(1000 * SECOND, true, true), Next::GiveUp);
    }

    #[test]
    fn processes_that_come_and_go_do_not_make_it_endless() {
        let mut bounds = Bounds::new(0);
        for _ in 1..EMPTY {
            assert_eq!(bounds.surveyed(SECOND, false, true), Next::Unsure);
        }
        assert_eq!(bounds.surveyed(SECOND, false, true), Next::Nobody { unsettled: true });
    }

    proptest! {
        #[test]
        fn it_ends_within_the_bound_and_never_right_after_somebody(
            surveys in proptest::collection::vec((0..20 * SECOND, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let (mut bounds, mut now) = (Bounds::new(0), 0);
            for (n, (took, found, unsettled)) in (1..).zip(surveys) {
                now += took;
                match bounds.surveyed(now, found, unsettled) {
                    Next::Nobody { unsettled: said } => {
                        prop_assert!(!found);
                        prop_assert_eq!(said, unsettled);
                        break;
                    }
                    Next::GiveUp => {
                        prop_assert!(now >= HARD && n >= SURVEYS);
                        break;
                    }
                    Next::Somebody => prop_assert!(found && (now < HARD || n < SURVEYS)),
                    Next::Unsure => prop_assert!(!found && unsettled && (now < HARD || n < SURVEYS)),
                }
            }
        }
    }
}
