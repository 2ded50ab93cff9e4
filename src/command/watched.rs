//! Whether anybody watches the sessions of a service: without a watchdog, the settings of a login are
//! worth nothing.

use super::args::Asked;
use super::course::{Course, joined};
use super::machine::Machine;
use super::stack::Entry;
use super::system;
use super::verdict::Decided;
use crate::handoff::HELPER;
use crate::policy::{Kill, ours};

/// Whether a login is watched, and why, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Whether it is.
    pub watched: bool,
    /// In words.
    pub because: String,
}

impl Watched {
    fn no(because: impl Into<String>) -> Self {
        Self { watched: false, because: because.into() }
    }
}

/// Which PAM line holds for a login.
#[derive(Clone, Debug)]
pub enum Found {
    /// None: it was given on the command line.
    Given,
    /// This one, which runs for this reason.
    Line(Box<Entry>, String),
    /// None, and why.
    None(String),
}

/// How the stack of a service treats our lines.
///
/// # Errors
///
/// Why there are none.
pub fn course(machine: &Machine, service: &str) -> Result<Course, String> {
    let stack = machine.libpam.service(service);
    let stack =
        stack.ok_or_else(|| format!("there is no file for the service {service}, nor one for other"))?;
    let course = machine.course(&stack);
    if course.ours().next().is_some() {
        return Ok(course);
    }
    Err(match machine.libpam.stack(service) {
        Some(_) => format!("the session stack of {service} has no line of ours"),
        None => format!("{service} has no file, and the session stack of other has no line of ours"),
    })
}

/// Looks for the line of a service.
#[must_use]
pub fn line(machine: &Machine, service: &str) -> Found {
    let course = match course(machine, service) {
        Ok(course) => course,
        Err(why) => return Found::None(why),
    };
    let first = course.ways.iter().flatten().next().and_then(|at| course.entries.get(*at));
    match first {
        Some(line) => Found::Line(Box::new(line.clone()), runs(&course, line)),
        None => Found::None(course.never()),
    }
}

/// Why a line runs.
fn runs(course: &Course, line: &Entry) -> String {
    let place = &line.place;
    if course.only_line().is_some() {
        return format!("{place} runs whenever a session opens");
    }
    let others: Vec<&str> =
        course.ours().map(|other| other.place.as_str()).filter(|other| other != place).collect();
    match (others.is_empty(), course.passing.is_empty()) {
        (_, true) => format!("{place} runs whenever a session opens, before {}", others.join(", ")),
        (true, _) => format!("{place} runs, but not where {} passes it over", joined(&course.passing)),
        _ => format!(
            "{place} may run: it depends on {} whether it runs, or another line ({}), or none",
            joined(&course.passing),
            others.join(", ")
        ),
    }
}

/// Judges a login, for which these settings hold.
#[must_use]
pub fn judge(machine: &Machine, login: &Asked, found: &Found, decided: &Decided, origin: &str) -> Watched {
    let service = &login.service;
    if let Some(exception) = ours::exception(service, None, None) {
        return Watched::no(format!("sessions of {service} are never watched: {}", exception.because));
    }
    let because = match found {
        Found::None(why) => return Watched::no(why.clone()),
        Found::Given => "the PAM line was given; the stack was not looked at".to_owned(),
        Found::Line(_, why) => {
            let sshd = machine.sshd_for(&login.user, &login.from);
            if let Some(why) = sshd.without_pam().filter(|_| service == sshd.service()) {
                return Watched::no(why);
            }
            let named = sshd.service();
            if service == "sshd" && named != service {
                return Watched::no(format!(
                    "sshd names the service {named} to PAM: ask with --service {named}"
                ));
            }
            if let Some(why) = system::helper_fails(&machine.file(HELPER)) {
                return Watched::no(why);
            }
            why.clone()
        }
    };
    match (decided.settings.limit, decided.settings.kill) {
        (None, _) => Watched::no(format!("{} says timeout=off", decided.by("timeout", origin))),
        (Some(_), Kill::None) => {
            Watched { watched: true, because: format!("{because}; but kill=none ends nobody") }
        }
        (Some(_), _) => Watched { watched: true, because },
    }
}
