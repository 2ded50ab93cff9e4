//! The absences that are on record: how long nobody was active.

use std::time::Duration;

use super::about::Whose;

/// How an absence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// The person came back.
    Back,
    /// The session was ended. They would have stayed away for at least that long.
    Ended,
    /// It is not known: the session was closed, or the log ends.
    Unknown,
}

/// The absences, without their sessions: a log may have a million of them.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    all: Vec<(u32, Until)>,
    longest: Option<(u32, Whose)>,
}

/// What a limit would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Absences that would have ended.
    pub ended: usize,
    /// Those of them after which the person came back.
    pub of_people_who_came_back: usize,
    /// Absences that were shorter.
    pub shorter: usize,
    /// Absences of which only the start is known.
    pub unknown: usize,
}

/// The upper bounds of the classes of a histogram, in seconds. The last class has none.
const BOUNDS: [u32; 10] = [60, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];

impl Absences {
    pub fn add(&mut self, seconds: u64, until: Until, about: &Whose) {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.all.push((seconds, until));
        if self.longest.as_ref().is_none_or(|(longest, _)| seconds > *longest) {
            self.longest = Some((seconds, about.clone()));
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn count(&self, until: Until) -> usize {
        self.all.iter().filter(|(_, end)| *end == until).count()
    }

    /// The longest one, in seconds, and whose it was.
    #[must_use]
    pub fn longest(&self) -> Option<(u32, &Whose)> {
        self.longest.as_ref().map(|(seconds, about)| (*seconds, about))
    }

    /// What a limit would have done to these absences.
    #[must_use]
    pub fn try_limit(&self, limit: Duration) -> Trial {
        let mut trial = Trial::default();
        for (seconds, until) in &self.all {
            if u64::from(*seconds) >= limit.as_secs() {
                trial.ended += 1;
                trial.of_people_who_came_back += usize::from(*until == Until::Back);
            } else if *until == Until::Back {
                trial.shorter += 1;
            } else {
                trial.unknown += 1;
            }
        }
        trial
    }

    /// The classes of a histogram: the lower and the upper bound in seconds, and the number of absences. The first
    /// and the last class have absences.
    #[must_use]
    pub fn histogram(&self) -> Vec<(u32, Option<u32>, usize)> {
        let lower = [0].into_iter().chain(BOUNDS);
        let upper = BOUNDS.into_iter().map(Some).chain([None]);
        let inside = |lower: u32, upper: Option<u32>| {
            let is_in = |(seconds, _): &&(u32, Until)| {
                *seconds >= lower && upper.is_none_or(|upper| *seconds < upper)
            };
            self.all.iter().filter(is_in).count()
        };
        let classes = lower.zip(upper).map(|(lower, upper)| (lower, upper, inside(lower, upper)));
        let mut classes: Vec<_> = classes.skip_while(|(.., count)| *count == 0).collect();
        let used = classes.iter().rposition(|(.., count)| *count > 0).map_or(0, |last| last + 1);
        classes.truncate(used);
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absences(all: &[(u64, Until)]) -> Absences {
        let mut absences = Absences::default();
        for (seconds, until) in all {
            absences.add(*seconds, *until, &Whose::default());
        }
        absences
    }

    #[test]
    fn a_limit_ends_what_is_as_long_and_the_rest_is_told_apart() {
        use Until::{Back, Ended, Unknown};
        let found = absences(&[(600, Back), (599, Back), (900, Ended), (300, Ended), (7000, Unknown)]);
        let trial = found.try_limit(Duration::from_secs(600));
        assert_eq!(trial, Trial { ended: 3, of_people_who_came_back: 1, shorter: 1, unknown: 1 });
        assert_eq!(found.longest().map(|(seconds, _)| seconds), Some(7000));
    }

    #[test]
    fn a_histogram_has_every_absence_once_and_no_empty_ends() {
        let found = absences(&[(600, Until::Back), (899, Until::Back), (1_000_000, Until::Back)]);
        let histogram = found.histogram();
        assert_eq!(histogram.first(), Some(&(600, Some(900), 2)));
        assert_eq!(histogram.last(), Some(&(86_400, None, 1)));
        assert_eq!(histogram.iter().map(|(.., count)| count).sum::<usize>(), 3);
        assert_eq!(absences(&[]).histogram(), []);
    }
}
