//! Whether a service ends idle sessions. Pure: somebody else decides by the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::control::{Action, Code};
use super::course::{Course, joined};
use super::stack::Entry;
use crate::policy::{Kill, OnError, Origin, Settings, Words, duration};

/// What a service does with idle sessions of somebody whom no rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ends them, by the first of these lines, or where conditions say so by another.
    Ends(Vec<End>),
    /// It ends nobody's, and why.
    Nobody(String),
    /// Its sessions are not watched, by design, because.
    Exempt(String),
    /// It has no line of ours.
    NoLine,
}

/// What holds where a line of ours guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The limit.
    pub limit: Duration,
    /// Who is ended.
    pub kill: Kill,
    /// Where the line stands.
    pub line: String,
    /// Where the rule stands that decides, if one does.
    pub rule: Option<String>,
}

/// A verdict, and what weakens the guard beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What weakens the guard.
    pub weak: BTreeSet<String>,
}

/// What the policy says with the words of a line.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What holds.
    pub settings: Settings,
    /// Where the rule stands that decided, if one did.
    pub rule: Option<String>,
    /// Who set what.
    pub origins: Vec<(&'static str, Origin)>,
}

impl Decided {
    /// Where a setting stands: in the rule, or on the line at that place.
    #[must_use]
    pub fn by<'a>(&'a self, setting: &str, line: &'a str) -> &'a str {
        let origin = self.origins.iter().find(|(name, _)| *name == setting).map(|(_, origin)| *origin);
        match origin {
            Some(Origin::Rule) => self.rule.as_deref().unwrap_or(line),
            _ => line,
        }
    }
}

/// Judges a service by its stack. `decide` returns what holds for a login, and `helper` is why the helper cannot
/// guard any session, if so.
#[must_use]
pub fn judge(course: &Course, helper: Option<&str>, decide: &impl Fn(&Words) -> Decided) -> Judged {
    let mut weak = course.weak.clone();
    if course.ours().next().is_none() {
        return Judged { verdict: Verdict::NoLine, weak };
    }
    let refused = course.refused.as_ref().map(|why| format!("no session opens: {why}"));
    let (mut ends, mut nobody): (Vec<End>, Vec<String>) = (Vec::new(), refused.into_iter().collect());
    let mut seconds = Seconds::default();
    for way in &course.ways {
        let lines: Vec<&Entry> = way.iter().filter_map(|at| course.entries.get(*at)).collect();
        seconds.note(&lines, decide);
        match guarded(course, &lines, helper, decide, &mut weak) {
            Ok(end) if ends.contains(&end) => {}
            Ok(end) => ends.push(end),
            Err(why) => nobody.push(why),
        }
    }
    weak.extend(seconds.useless());
    let verdict = match nobody.into_iter().next() {
        Some(why) if ends.is_empty() => Verdict::Nobody(why),
        _ => Verdict::Ends(ends),
    };
    Judged { verdict, weak }
}

/// Lines of ours behind one that guards already. Where conditions decide which lines run, such a line may guard
/// in another session.
#[derive(Default)]
struct Seconds {
    /// Cgroups of lines that guard in some way.
    guards: BTreeSet<String>,
    /// Cgroups of lines that run behind one that guards, each with the latter's.
    behind: BTreeMap<String, String>,
}

impl Seconds {
    fn note(&mut self, lines: &[&Entry], decide: &impl Fn(&Words) -> Decided) {
        let guards = |line: &&&Entry| {
            let words = Words::of_line(line.words.iter().map(String::as_str));
            words.is_ok_and(|words| decide(&words).settings.limit.is_some())
        };
        let Some(first) = lines.iter().find(guards) else { return };
        self.guards.insert(first.place.clone());
        let behind = lines.iter().skip_while(|line| line.place != first.place).skip(1);
        self.behind.extend(behind.map(|line| (line.place.clone(), first.place.clone())));
    }

    fn useless(&self) -> impl Iterator<Item = String> + '_ {
        let useless = self.behind.iter().filter(|(second, _)| !self.guards.contains(*second));
        useless.map(|(second, first)| {
            format!("{second} does nothing: {first}, another line of ours, guards the session already")
        })
    }
}

/// What ends a session in which these lines of ours run. The error says why nothing does.
fn guarded(
    course: &Course,
    lines: &[&Entry],
    helper: Option<&str>,
    decide: &impl Fn(&Words) -> Decided,
    weak: &mut BTreeSet<String>,
) -> Result<End, String> {
    let mut why = None;
    for line in lines {
        let place = &line.place;
        let words = match Words::of_line(line.words.iter().map(String::as_str)) {
            Ok(words) => words,
            Err(bad) => {
                let outcome = match bad.on_error {
                    OnError::Fail => "no session opens",
                    OnError::Succeed => "sessions go on unguarded",
                };
                return Err(format!("{outcome}: {place}: {}: {}", bad.word, bad.problem));
            }
        };
        let decided = decide(&words);
        let settings = &decided.settings;
        let Some(limit) = settings.limit else {
            why.get_or_insert(format!("{} says timeout=off", decided.by("timeout", place)));
            continue;
        };
        if settings.on_error == OnError::Succeed {
            weak.insert(format!(
                "{} says onerr=succeed: a session that cannot be guarded goes on unguarded",
                decided.by("onerr", place)
            ));
        }
        if let Some(why) = helper {
            let fails = matches!(line.control.action(Code::SESSION_ERR), Action::Bad | Action::Die);
            let closed = fails && settings.on_error == OnError::Fail;
            let outcome = if closed { "no session opens" } else { "sessions go on unguarded" };
            return Err(format!("{outcome}: {why}"));
        }
        if settings.kill == Kill::None {
            return Err(format!("{} says kill=none", decided.by("kill", place)));
        }
        return Ok(End { limit, kill: settings.kill, line: place.clone(), rule: decided.rule });
    }
    Err(why.unwrap_or_else(|| course.never()))
}

impl Verdict {
    /// In words, for people.
    #[must_use]
    pub fn text(&self, course: &Course) -> String {
        let ends = match self {
            Self::Nobody(why) => return format!("nobody is ended, because {why}"),
            Self::Exempt(why) => return format!("not watched by design: {why}"),
            Self::NoLine => {
                return "nobody is ended, because the session stack has no line of ours".to_owned();
            }
            Self::Ends(ends) => ends,
        };
        let each = ends.iter().map(|End { limit, kill, line, rule }| {
            let rule = rule.as_ref().map_or_else(String::new, |rule| format!(" and {rule}"));
            format!("ends after {}, kill={}, by {line}{rule}", duration::print(*limit), kill.word())
        });
        let mut text = each.collect::<Vec<_>>().join("; or ");
        if !course.passing.is_empty() {
            text.push_str(&format!("; unless a line is passed over by {}", joined(&course.passing)));
        }
        text
    }
}
