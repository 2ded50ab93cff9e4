//! Whether a service ends idle sessions. Pure: the caller applies the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::command::pam_stack::control::{Code, ControlAction};
use crate::command::pam_stack::simulation::{Simulation, joined};
use crate::command::pam_stack::stack::Entry;
use crate::policy::{Kill, OnError, Options, Origin, Settings, duration};

/// What a service does with the idle sessions of a user whom no rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceVerdict {
    /// It ends them. The first element is the usual case. The others depend on conditional lines.
    Ends(Vec<End>),
    /// It ends no session, for this reason.
    Nobody(String),
    /// Its sessions are never watched, for this reason.
    Exempt(String),
    /// Its stack has no line of our module.
    NoLine,
}

/// What applies if one of our lines guards the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub limit: Duration,
    pub kill: Kill,
    /// How long what a logout leaves behind may be idle, if that is limited.
    pub detached: Option<Duration>,
    /// The place of the PAM line.
    pub line: String,
    /// The place of the rule that matches, if one does.
    pub rule: Option<String>,
}

/// A verdict with its warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: ServiceVerdict,
    pub warnings: BTreeSet<String>,
}

/// The decision of the policy for a PAM line.
#[derive(Clone, Debug)]
pub struct PolicyDecision {
    pub settings: Settings,
    /// The place of the rule that matches, if one does.
    pub rule: Option<String>,
    /// Where each setting comes from.
    pub origins: Vec<(&'static str, Origin)>,
}

impl PolicyDecision {
    /// The place of a setting: the place of the rule, or `line`.
    #[must_use]
    pub fn by<'a>(&'a self, setting: &str, line: &'a str) -> &'a str {
        let origin = self.origins.iter().find(|(name, _)| *name == setting).map(|(_, origin)| *origin);
        match origin {
            Some(Origin::Rule) => self.rule.as_deref().unwrap_or(line),
            _ => line,
        }
    }
}

/// Judges a service by its stack. `decide` returns the decision for a PAM line. `helper` says why the helper cannot
/// guard any session, if it cannot.
#[must_use]
pub fn judge(
    simulation: &Simulation,
    helper: Option<&str>,
    decide: &impl Fn(&Options) -> PolicyDecision,
) -> Judged {
    let mut warnings = simulation.warnings.clone();
    if simulation.ours().next().is_none() {
        return Judged { verdict: ServiceVerdict::NoLine, warnings };
    }
    let refused = simulation.refused.as_ref().map(|why| format!("no session opens: {why}"));
    let (mut ends, mut nobody): (Vec<End>, Vec<String>) = (Vec::new(), refused.into_iter().collect());
    let mut seconds = Seconds::default();
    for case in &simulation.cases {
        let lines: Vec<&Entry> = case.iter().filter_map(|at| simulation.entries.get(*at)).collect();
        seconds.note(&lines, decide);
        match guarded(simulation, &lines, helper, decide, &mut warnings) {
            Ok(end) if ends.contains(&end) => {}
            Ok(end) => ends.push(end),
            Err(why) => nobody.push(why),
        }
    }
    warnings.extend(seconds.useless());
    let verdict = match nobody.into_iter().next() {
        Some(why) if ends.is_empty() => ServiceVerdict::Nobody(why),
        _ => ServiceVerdict::Ends(ends),
    };
    Judged { verdict, warnings }
}

/// Finds lines of ours that run only after another one that already guards the session. If a line before them
/// is conditional, they may guard other sessions.
#[derive(Default)]
struct Seconds {
    /// The places of lines that guard in some case.
    guards: BTreeSet<String>,
    /// The places of lines that run after one that guards, with the place of that line.
    behind: BTreeMap<String, String>,
}

impl Seconds {
    fn note(&mut self, lines: &[&Entry], decide: &impl Fn(&Options) -> PolicyDecision) {
        let guards = |line: &&&Entry| {
            let words = Options::of_line(line.words.iter().map(String::as_str));
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
            format!("{second} does nothing, because {first} guards the session already")
        })
    }
}

/// The end of a session in which these lines of ours run. The error says why nothing ends it.
fn guarded(
    simulation: &Simulation,
    lines: &[&Entry],
    helper: Option<&str>,
    decide: &impl Fn(&Options) -> PolicyDecision,
    warnings: &mut BTreeSet<String>,
) -> Result<End, String> {
    let mut why = None;
    for line in lines {
        let place = &line.place;
        let words = match Options::of_line(line.words.iter().map(String::as_str)) {
            Ok(words) => words,
            Err(bad) => {
                let outcome = match bad.on_error {
                    OnError::Fail => "no session opens",
                    OnError::Succeed => "sessions open unguarded",
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
            warnings.insert(format!(
                "{} says onerr=succeed: a session that cannot be guarded opens unguarded",
                decided.by("onerr", place)
            ));
        }
        if let Some(why) = helper {
            let fails =
                matches!(line.control.action(Code::SESSION_ERR), ControlAction::Bad | ControlAction::Die);
            let closed = fails && settings.on_error == OnError::Fail;
            let outcome = if closed { "no session opens" } else { "sessions open unguarded" };
            return Err(format!("{outcome}: {why}"));
        }
        if settings.kill == Kill::None {
            return Err(format!("{} says kill=none", decided.by("kill", place)));
        }
        let (kill, detached) = (settings.kill, settings.detached);
        return Ok(End { limit, kill, detached, line: place.clone(), rule: decided.rule });
    }
    Err(why.unwrap_or_else(|| simulation.why_none_runs()))
}

impl ServiceVerdict {
    /// The verdict as text.
    #[must_use]
    pub fn text(&self, simulation: &Simulation) -> String {
        let ends = match self {
            Self::Nobody(why) => return format!("ends no session, because {why}"),
            Self::Exempt(why) => return format!("never watched: {why}"),
            Self::NoLine => {
                return "ends no session, because the session stack has no pam_idle_watchdog.so line"
                    .to_owned();
            }
            Self::Ends(ends) => ends,
        };
        let each = ends.iter().map(|End { limit, kill, line, rule, .. }| {
            let rule = rule.as_ref().map_or_else(String::new, |rule| format!(" and {rule}"));
            format!("ends after {}, kill={}, by {line}{rule}", duration::print(*limit), kill.word())
        });
        let mut text = each.collect::<Vec<_>>().join("; or ");
        if !simulation.skipping.is_empty() {
            text.push_str(&format!("; unless {} skips a line", joined(&simulation.skipping)));
        }
        text
    }
}
