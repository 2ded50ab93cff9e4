//! Decides when the killing is over, from the results of complete surveys and the time. Pure.

use crate::sys::clock::{Nanos, SECOND};

/// During this time the killing ends only after a survey that found no process and saw none come or go.
const KILLING: Nanos = 10 * SECOND;
/// The killing takes no longer than this, except that there are always [`SURVEYS`]. If processes have
/// multiplied faster than they could be killed for so long, more time does not help.
const HARD: Nanos = 60 * SECOND;
/// The fewest complete surveys before we give up, however long one takes. The second one finds processes that
/// were started during the first one.
const SURVEYS: u32 = 4;
/// After this many surveys in a row that found no process, they are believed although processes came and went.
pub const EMPTY: u32 = 32;
/// The same after [`KILLING`] is over. It is smaller, because a survey may take seconds.
const EMPTY_LATE: u32 = 3;

/// What follows a survey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A process was found. Another survey follows.
    Somebody,
    /// No process was found, but one may have been missed. Another survey follows.
    Unsure,
    /// No process is left. `incomplete` says that one may have been missed all the same.
    Nobody {
        /// Processes came and went too fast.
        incomplete: bool,
    },
    /// The processes multiply too fast.
    GiveUp,
}

/// The bounds of one killing.
#[derive(Debug)]
pub struct Bounds {
    start: Nanos,
    surveys: u32,
    empty: u32,
}

impl Bounds {
    /// Starts the killing now, on the monotonic clock.
    #[must_use]
    pub fn new(start: Nanos) -> Self {
        Self { start, surveys: 0, empty: 0 }
    }

    /// Decides what follows a complete survey. `found` says that it found a process which may have children or
    /// be about to die. `incomplete` says that it may have missed a process.
    pub fn surveyed(&mut self, now: Nanos, found: bool, incomplete: bool) -> Next {
        let took = now.saturating_sub(self.start);
        self.surveys = self.surveys.saturating_add(1);
        self.empty = if found { 0 } else { self.empty.saturating_add(1) };
        let believed = if took < KILLING { EMPTY } else { EMPTY_LATE };
        if !found && (!incomplete || self.empty >= believed) {
            return Next::Nobody { incomplete };
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
        assert_eq!(Bounds::new(0).surveyed(SECOND, false, false), Next::Nobody { incomplete: false });
    }

    #[test]
    fn a_survey_that_takes_long_is_not_the_only_one() {
        let mut bounds = Bounds::new(0);
        // A process may have been started meanwhile, so another survey follows although the time is over.
        assert_eq!(bounds.surveyed(10 * SECOND, true, true), Next::Somebody);
        assert_eq!(bounds.surveyed(20 * SECOND, false, true), Next::Unsure);
        assert_eq!(bounds.surveyed(30 * SECOND, false, true), Next::Unsure);
        assert_eq!(bounds.surveyed(40 * SECOND, false, true), Next::Nobody { incomplete: true });
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
        assert_eq!(bounds.surveyed(SECOND, false, true), Next::Nobody { incomplete: true });
    }

    proptest! {
        #[test]
        fn it_ends_within_the_bound_and_never_right_after_somebody(
            surveys in proptest::collection::vec((0..20 * SECOND, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let (mut bounds, mut now) = (Bounds::new(0), 0);
            for (n, (took, found, incomplete)) in (1..).zip(surveys) {
                now += took;
                match bounds.surveyed(now, found, incomplete) {
                    Next::Nobody { incomplete: said } => {
                        prop_assert!(!found);
                        prop_assert_eq!(said, incomplete);
                        break;
                    }
                    Next::GiveUp => {
                        prop_assert!(now >= HARD && n >= SURVEYS);
                        break;
                    }
                    Next::Somebody => prop_assert!(found && (now < HARD || n < SURVEYS)),
                    Next::Unsure => prop_assert!(!found && incomplete && (now < HARD || n < SURVEYS)),
                }
            }
        }
    }
}
