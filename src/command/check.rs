//! `idle-watchdog check`

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::args::{Asked, Check};
use super::{BROKEN, CLEAN, FINDINGS, complain, notes, report, stack, system};
use crate::policy::load::Files;
use crate::policy::{self, Fault, Policy, Rule, Settings, Words, ours};
use crate::record::shown;
use crate::sys::logind::Kind;
use crate::sys::names::{self, Person};
use crate::sys::trusted;

/// Our module's file name, as stacks have it.
pub const MODULE: &str = "pam_idle_watchdog.so";

/// Checks what was asked for; answers the text and the exit status.
#[must_use]
pub fn run(check: &Check) -> (String, u8) {
    let mut answer = Answer::default();
    let broken = match examine(check, &mut answer) {
        Ok(()) => false,
        Err(faults) => {
            for fault in &faults {
                complain(fault);
            }
            let faults: Vec<Value> = faults.iter().map(report::fault_json).collect();
            answer.json.insert("faults".to_owned(), Value::from(faults));
            true
        }
    };
    if check.system {
        let findings = system::findings();
        answer.text.extend(findings.iter().map(|finding| format!("weak: {}\n", shown(finding))));
        if findings.is_empty() {
            answer.text.push_str("nothing weakens the guard on this machine\n");
        }
        answer.weak |= !findings.is_empty();
        answer.json.insert("findings".to_owned(), Value::from(findings));
    }
    let code = match (broken, answer.weak) {
        (true, _) => BROKEN,
        (false, true) => FINDINGS,
        (false, false) => CLEAN,
    };
    let text = if check.json { report::json_text(&Value::from(answer.json)) } else { answer.text };
    (text, code)
}

/// What has been found so far.
#[derive(Default)]
struct Answer {
    text: String,
    json: Map<String, Value>,
    weak: bool,
}

/// Reads the policy and decides about the login, if one is asked about.
fn examine(check: &Check, answer: &mut Answer) -> Result<(), Vec<Fault>> {
    let found = Line::find(check)?;
    let files = Files::of(found.read.conf_path());
    let policy = match &check.file {
        Some(file) => Policy::parse(file.clone(), &text_of(file).map_err(|fault| vec![fault])?)?,
        None => files.load()?,
    };
    let (mut notes, untold) = notes::of(&policy);
    let faults = policy::message_faults(&found.read, &policy, &files);
    match &check.file {
        // Its message files may come after it.
        Some(_) => notes.extend(faults.iter().map(ToString::to_string)),
        None if !faults.is_empty() => return Err(faults),
        None => {}
    }
    if let Some(login) = &check.login {
        if names::user_exists(&login.user) == Ok(false) {
            notes.push(format!("{} is not known on this machine", login.user.to_string_lossy()));
        }
        if ours::exception(&login.service, &Kind::default(), false).is_some() {
            notes.push(format!("sessions of {} are never watched", login.service));
        }
        notes.extend(named_host(&policy, login));
        decide(login, &found, &files, &policy, answer)?;
    } else if !untold.is_empty() {
        // A login that such a rule is asked about has this fault.
        return Err(untold);
    } else {
        let rules = policy.rules.len();
        let mut files: Vec<String> =
            policy.rules.iter().map(|rule| rule.place.file.display().to_string()).collect();
        // Those of one file stand together.
        files.dedup();
        let files = shown(&files.join(", "));
        answer.text.push_str(&match rules {
            0 => "no rule: the PAM line alone holds\n".to_owned(),
            1 => format!("1 rule, of {files}: no fault\n"),
            _ => format!("{rules} rules, of {files}: no fault\n"),
        });
        answer.json.insert("rules".to_owned(), Value::from(rules));
    }
    for note in &notes {
        complain(format_args!("note: {note}"));
    }
    answer.weak |= check.strict && !notes.is_empty();
    answer.json.insert("notes".to_owned(), Value::from(notes));
    Ok(())
}

fn decide(
    login: &Asked,
    line: &Line,
    files: &Files,
    policy: &Policy,
    answer: &mut Answer,
) -> Result<(), Vec<Fault>> {
    let person = Person::named(&login.user);
    let Asked { user, service, tty, from } = login;
    let facts = policy::Login { user, canonical: person.canonical(), uid: person.uid(), service, tty, from };
    let resolved = policy::resolve(&line.read, policy, files, &facts, &person)?;
    let rule = policy.rules.iter().find(|rule| Some(&rule.place) == resolved.rule.as_ref());
    let origins = Settings::origins(&line.read, rule.map(|rule| &rule.words));
    answer.text.push_str(&report::decision(login, &resolved, &origins, &line.origin));
    answer.json.append(&mut report::decision_json(login, &resolved, &origins));
    Ok(())
}

/// Where the host is a name, rules for addresses do not match, whatever address it has.
fn named_host(policy: &Policy, Asked { service, from, .. }: &Asked) -> Vec<String> {
    let note = |rule: &Rule, source: &dyn Display| {
        let place = &rule.place;
        format!("{place}: {source} is compared with addresses, and {} is a name", from.escape_debug())
    };
    let rules = policy.rules.iter().filter(|_| policy::is_host_name(from));
    rules.flat_map(|rule| rule.by_address(service).map(move |source| note(rule, source))).collect()
}

/// The PAM line.
struct Line {
    /// Where it is from, for people.
    origin: String,
    read: Words,
}

impl Line {
    /// As given, or the first session line of ours in the service's stack, or an empty one.
    fn find(check: &Check) -> Result<Self, Vec<Fault>> {
        let (origin, words) = match &check.line {
            Some(line) => ("as given".to_owned(), stack::words(line)),
            None => {
                let stack = stack::of_service(check.service()).unwrap_or_default();
                let ours = stack.into_iter().find(|entry| entry.kind == "session" && entry.module == MODULE);
                ours.map_or_else(
                    || (format!("none in the stack of {}, taken as empty", check.service()), Vec::new()),
                    |entry| (entry.place, entry.words),
                )
            }
        };
        let read = Words::of_line(words.iter().map(String::as_str)).map_err(|bad| {
            vec![Fault { word: Some(bad.word), ..Fault::of_file(format!("PAM line, {origin}"), bad.problem) }]
        })?;
        Ok(Self { origin, read })
    }
}

/// The text of a file that need not be installed; `-` is standard input.
fn text_of(file: &Path) -> Result<String, Fault> {
    let text = if file == Path::new("-") {
        trusted::text(io::stdin().lock())
    } else {
        File::open(file).and_then(trusted::text)
    };
    text.map_err(|e| Fault::of_file(PathBuf::from(file), e))
}
