//! `idle-watchdog reload`: a changed policy, for sessions that are watched already.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use super::{BROKEN, CLEAN, FINDINGS, complain};
use crate::handoff::{Assignment, Orders, Session};
use crate::policy::load::Files;
use crate::policy::{self, Fault, Policy, Words, duration};
use crate::record::shown;
use crate::reload::{self, Helper};
use crate::sys::names::Person;
use crate::sys::proc::Proc;

/// How long one helper may take. It answers in microseconds, unless it is just talking to a terminal
/// that hangs.
const BUDGET: Duration = Duration::from_secs(3);

/// Decides anew about every watched session and hands the decisions over; answers the text and the
/// exit status. While anything of the policy is broken, nobody gets anything.
#[must_use]
pub fn run() -> (String, u8) {
    if !geteuid().is_root() {
        complain("idle-watchdog: only root may tell the watchdogs something");
        return (String::new(), BROKEN);
    }
    let helpers = reload::helpers();
    let told: Vec<(&Helper, &Assignment)> =
        helpers.iter().filter_map(|helper| Some((helper, helper.told.as_ref().ok()?))).collect();
    let orders = match decide(told.iter().map(|(_, told)| *told)) {
        Ok(orders) => orders,
        Err(faults) => {
            for fault in faults {
                complain(fault);
            }
            complain("idle-watchdog: nothing was reloaded");
            return (String::new(), BROKEN);
        }
    };
    let (mut text, mut code) = (String::new(), CLEAN);
    for ((Helper { pid, started, .. }, told), orders) in told.iter().zip(&orders) {
        let Session { user, service, leader, .. } = &told.session;
        let (user, service) = (shown(&user.to_string_lossy()), shown(&service.to_string_lossy()));
        let who = format!("{user} by {service}, process {leader}");
        match reload::hand_over(*pid, *started, orders, BUDGET) {
            Ok(()) => text.push_str(&format!("{who}: {}\n", summary(orders))),
            Err(_) if is_gone(*pid, *started) => text.push_str(&format!("{who}: has ended meanwhile\n")),
            Err(why) => {
                complain(format_args!("{who}: keeps what it had: {why}"));
                code = FINDINGS;
            }
        }
    }
    for Helper { pid, told, .. } in &helpers {
        if let Err(why) = told {
            complain(format_args!("watchdog {pid}: keeps what it had, for it is of another version: {why}"));
            code = FINDINGS;
        }
    }
    text.push_str(&match helpers.len() {
        1 => "1 session is watched\n".to_owned(),
        count => format!("{count} sessions are watched\n"),
    });
    (text, code)
}

/// What is to hold for each session, in order.
fn decide<'a>(told: impl Iterator<Item = &'a Assignment>) -> Result<Vec<Orders>, Vec<Fault>> {
    // One reading of the files for all: what they say may change while we ask.
    let mut policies: BTreeMap<Option<PathBuf>, Policy> = BTreeMap::new();
    let mut decided = Vec::new();
    for Assignment { session, line, .. } in told {
        let line = Words::of_line(line.iter().map(String::as_str)).map_err(|bad| {
            let place = format!("PAM line of process {}", session.leader);
            vec![Fault { word: Some(bad.word), ..Fault::of_file(place, bad.problem) }]
        })?;
        let files = Files::of(line.conf_path());
        let policy = match policies.entry(line.conf_path().map(Path::to_owned)) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(slot) => slot.insert(files.load()?),
        };
        let person = Person::named(&session.user);
        let facts = policy::Login {
            user: &session.user,
            canonical: person.canonical(),
            uid: session.uid,
            service: &session.service.to_string_lossy(),
            tty: &session.tty.as_deref().unwrap_or_default().to_string_lossy(),
            from: &session.rhost.as_deref().unwrap_or_default().to_string_lossy(),
        };
        let resolved = policy::resolve(&line, policy, &files, &facts, &person)?;
        let rule = resolved.rule.map(|place| place.to_string());
        decided.push(Orders::new(&resolved.settings, resolved.message, rule));
    }
    Ok(decided)
}

fn is_gone(pid: i32, started: i64) -> bool {
    Proc::default().process(pid).is_none_or(|process| process.started != started)
}

fn summary(orders: &Orders) -> String {
    let limit = orders.limit.map_or_else(|| "off".to_owned(), duration::print);
    let rule = orders.rule.as_ref().map_or_else(String::new, |rule| format!(", {}", shown(rule)));
    format!("timeout={limit}{rule}")
}
