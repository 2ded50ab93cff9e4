//! `idle-watchdog check`

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::args::Check;
use super::machine::Machine;
use super::services::Policies;
use super::stack::{self, Entry, Kind, Stack};
use super::system::{self, Found};
use super::verdict::Decided;
use super::watched::{self, Watched};
use super::{BROKEN, CLEAN, FINDINGS, complain, notes, report};
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{self, Fault, Options, Policy, Rule, Settings};
use crate::record::shown;
use crate::sys::nss::{self, Person};
use crate::sys::trusted;

/// Checks what was asked for; answers the text and the exit status.
#[must_use]
pub fn run(check: &Check) -> (String, u8) {
    let machine = Machine::here();
    let mut answer = Answer::default();
    let broken = match examine(check, &machine, &mut answer) {
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
        let found = system::look(&machine, &Policies::new(answer.instead.take()));
        system_wide(found, check.strict, broken, &mut answer);
    }
    let code = match (broken, answer.weak) {
        (true, _) => BROKEN,
        (false, true) => FINDINGS,
        (false, false) => CLEAN,
    };
    let text = if check.json { report::object(answer.watched.as_ref(), answer.json) } else { answer.text };
    (text, code)
}

/// What weakens the guard on a machine. That nothing does is said only where nothing was found at all.
fn system_wide(found: Found, strict: bool, broken: bool, answer: &mut Answer) {
    answer.weak |= !found.findings.is_empty() || (strict && !found.notes.is_empty());
    let services =
        found.services.iter().map(|service| format!("{}: {}\n", shown(&service.name), shown(&service.text)));
    answer.text.extend(services);
    answer.text.extend(found.findings.iter().map(|finding| format!("weak: {}\n", shown(finding))));
    if !broken && !answer.weak {
        answer.text.push_str("nothing weakens the guard on this machine\n");
    }
    for note in &found.notes {
        complain(format_args!("note: {note}"));
    }
    let notes = answer.json.entry("notes").or_insert_with(|| Value::from(Vec::<String>::new()));
    if let Value::Array(notes) = notes {
        notes.extend(found.notes.into_iter().map(Value::from));
    }
    answer.json.insert("findings".to_owned(), Value::from(found.findings));
    let services: Vec<Value> = found.services.into_iter().map(|service| service.json).collect();
    answer.json.insert("services".to_owned(), Value::from(services));
}

/// What has been found so far.
#[derive(Default)]
struct Answer {
    text: String,
    json: Map<String, Value>,
    /// Whether the login that was asked about is watched.
    watched: Option<Watched>,
    /// The policy that is checked in place of the installed one.
    instead: Option<Policy>,
    weak: bool,
}

/// Reads the policy and decides about the login, if one is asked about.
fn examine(check: &Check, machine: &Machine, answer: &mut Answer) -> Result<(), Vec<Fault>> {
    let found = Line::find(check, machine)?;
    let files = Files::of(found.read.conf_path());
    let policy = match &check.file {
        Some(file) => Policy::parse(file.clone(), &text_of(file).map_err(|fault| vec![fault])?)?,
        None => files.load()?,
    };
    let (mut notes, untold) = notes::of(&policy, &machine.libpam.services());
    let faults = policy::message_faults(&found.read, &policy, &files);
    match &check.file {
        // Its message files may come after it.
        Some(_) => notes.extend(faults.iter().map(ToString::to_string)),
        None if !faults.is_empty() => return Err(faults),
        None => {}
    }
    if check.file.is_none() && check.login.is_none() && check.line.is_none() {
        notes.extend(unguarded(machine));
    }
    if let Some(login) = &check.login {
        if nss::user_exists(login.user()) == Ok(false) {
            notes.push(format!("{} is not known on this machine", login.user_text()));
        }
        notes.extend(
            check.spelled.as_ref().map(|spelled| {
                format!("--service {spelled}: libpam takes that for {}", login.service_text())
            }),
        );
        notes.extend(named_host(&policy, login));
        decide(login, machine, &found, &files, &policy, answer)?;
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
    answer.instead = check.file.is_some().then_some(policy);
    Ok(())
}

fn decide(
    login: &Login,
    machine: &Machine,
    line: &Line,
    files: &Files,
    policy: &Policy,
    answer: &mut Answer,
) -> Result<(), Vec<Fault>> {
    let person = Person::named(login.user());
    let known = Login { uid: person.uid(), ..login.clone() };
    let settings = policy::resolve(&line.read, policy, files, &known, &person)?;
    let rule = policy.rules.iter().find(|rule| Some(&rule.place) == settings.rule.as_ref());
    let origins = Settings::origins(&line.read, rule.map(|rule| &rule.options));
    let rule = settings.rule.as_ref().map(ToString::to_string);
    let decided = Decided { settings: settings.clone(), rule, origins: origins.clone() };
    let watched = watched::judge(machine, login, &line.found, &decided, &line.origin);
    answer.text.push_str(&report::watched(&watched));
    answer.text.push_str(&report::decision(login, &settings, &origins, &line.origin));
    answer.weak |= !watched.watched;
    answer.watched = Some(watched);
    answer.json.append(&mut report::decision_json(login, &settings, &origins));
    Ok(())
}

/// That no service has a PAM line of ours, if so: then the policy holds for nobody.
fn unguarded(machine: &Machine) -> Option<String> {
    let libpam = &machine.libpam;
    let stacks = libpam.services().into_iter().filter_map(|service| libpam.stack(&service));
    let has_ours = |stack: Stack| stack.of_kind(Kind::Session).iter().any(Entry::is_ours);
    if stacks.into_iter().any(has_ours) {
        return None;
    }
    let why = watched::course(machine, machine.sshd().service(), &|_| None).err()?;
    Some(format!("the policy holds for nobody, because no service has a PAM line of ours: {why}"))
}

/// Where the host is a name, rules for addresses do not match, whatever address it has.
fn named_host(policy: &Policy, login: &Login) -> Vec<String> {
    let (service, from) = (login.service_text(), login.rhost_text());
    let (service, from) = (service.as_ref(), from.as_ref());
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
    /// The same, as the stack has it.
    found: watched::Found,
    read: Options,
}

impl Line {
    /// As given, or the line of ours that runs in the service's stack, or an empty one.
    fn find(check: &Check, machine: &Machine) -> Result<Self, Vec<Fault>> {
        let found = check.line.as_ref().map_or_else(
            || watched::line(machine, &check.service(), check.login.as_ref()),
            |_| watched::Found::Given,
        );
        let (origin, words) = match &found {
            watched::Found::Given => {
                ("as given".to_owned(), check.line.as_deref().map(stack::words).unwrap_or_default())
            }
            watched::Found::Line(line, _) => (line.place.clone(), line.words.clone()),
            watched::Found::None(_) => ("none, taken as empty".to_owned(), Vec::new()),
        };
        let read = Options::of_line(words.iter().map(String::as_str)).map_err(|bad| {
            vec![Fault { word: Some(bad.word), ..Fault::of_file(format!("PAM line, {origin}"), bad.problem) }]
        })?;
        Ok(Self { origin, found, read })
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

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn a_machine_without_a_line_of_ours_is_noted() {
        let said = "the policy holds for nobody, because no service has a PAM line of ours: the session stack of \
                    sshd has no line of ours";
        assert_eq!(unguarded(&Tree::with("").machine()).as_deref(), Some(said));
        let tree = Tree::with("");
        tree.put("etc/pam.d/login", "session required pam_idle_watchdog.so\n");
        assert_eq!(unguarded(&tree.machine()), None);
    }

    #[test]
    fn a_note_about_the_machine_counts_where_notes_count() {
        for (strict, notes, weak) in [(true, 1, true), (true, 0, false), (false, 1, false)] {
            let found = Found { notes: vec!["a note".to_owned(); notes], ..Found::default() };
            let mut answer = Answer::default();
            system_wide(found, strict, false, &mut answer);
            assert_eq!((answer.weak, answer.text.is_empty()), (weak, weak), "{strict} {notes}");
        }
    }
}
