//! `idle-watchdog check`: whether the policy can be read, what applies to a login, and whether sessions are
//! watched.

mod auditor;
mod authselect;
mod fapolicyd;
mod login;
mod policy_notes;
pub mod report;
mod selinux;
mod services;
mod system;
mod verdict;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::command::args::Check;
use crate::command::machine::Machine;
use crate::command::output::{BROKEN, CLEAN, FINDINGS, complain};
use crate::command::pam_stack::parse;
use crate::command::pam_stack::stack::{Entry, LineType, Stack};
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{self, Fault, Options, Policy, Rule, Settings};
use crate::record::shown;
use crate::sys::nss::{self, Person};
use crate::sys::trusted;
use auditor::AuditorPage;
use login::LoginVerdict;
use services::{Policies, Service};
use system::SystemReport;
use verdict::PolicyDecision;

/// Runs the checks that the command line asks for. Returns the output and the exit status.
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
        let policies = Policies::new(answer.instead.take());
        let found = system::check(&machine, &policies);
        system_wide(found, check.strict, broken, &mut answer);
        if check.report {
            let page = AuditorPage::of(&machine, &policies);
            answer.text = page.head() + &answer.text + &page.tail();
            answer.json.append(&mut page.json());
        }
    }
    let code = match (broken, answer.has_findings) {
        (true, _) => BROKEN,
        (false, true) => FINDINGS,
        (false, false) => CLEAN,
    };
    let text = if check.json { report::object(answer.watched.as_ref(), answer.json) } else { answer.text };
    (text, code)
}

/// Adds the result of `--system` to the answer. The text "no problem" appears only if nothing at all was found.
fn system_wide(found: SystemReport, strict: bool, broken: bool, answer: &mut Answer) {
    answer.has_findings |= !found.findings.is_empty() || (strict && !found.notes.is_empty());
    let services =
        found.services.iter().map(|service| format!("{}: {}\n", shown(&service.name), shown(&service.text)));
    answer.text.extend(services);
    answer.text.extend(left_open(&found.services));
    answer.text.extend(found.findings.iter().map(|finding| format!("warning: {}\n", shown(finding))));
    if !broken && !answer.has_findings {
        answer.text.push_str("no problem was found on this machine\n");
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

/// Says what `detached=ignore` leaves open. This is no warning, because it is the default.
fn left_open(services: &[Service]) -> Option<String> {
    let names: Vec<String> = services
        .iter()
        .filter(|service| service.leaves_the_rest)
        .map(|service| shown(&service.name))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "after a logout: mosh, tmux and screen run on, and nothing ends them, because of detached=ignore ({})\n",
            names.join(", ")
        )
    })
}

/// The results so far.
#[derive(Default)]
struct Answer {
    text: String,
    json: Map<String, Value>,
    /// Whether the login in question is watched.
    watched: Option<LoginVerdict>,
    /// The policy that is checked instead of the installed one, if there is one.
    instead: Option<Policy>,
    has_findings: bool,
}

/// Checks the policy, and a login if the command line names one.
fn examine(check: &Check, machine: &Machine, answer: &mut Answer) -> Result<(), Vec<Fault>> {
    let found = PamLine::find(check, machine)?;
    let files = Files::of(found.read.conf_path());
    let policy = match &check.file {
        Some(file) => Policy::parse(file.clone(), &text_of(file).map_err(|fault| vec![fault])?)?,
        None => files.load()?,
    };
    let (mut notes, failed) = policy_notes::of(&policy, &machine.libpam.services());
    let faults = policy::message_faults(&found.read, &policy, &files);
    match &check.file {
        // If the policy is not installed yet, its message files may not be installed either.
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
                format!("--service {spelled}: libpam uses the service {}", login.service_text())
            }),
        );
        notes.extend(named_host(&policy, login));
        decide(login, machine, &found, &files, &policy, answer)?;
    } else if !failed.is_empty() {
        // With --user, `decide` reports the names that matter for that login.
        return Err(failed);
    } else {
        let rules = policy.rules.len();
        let mut files: Vec<String> =
            policy.rules.iter().map(|rule| rule.place.file.display().to_string()).collect();
        // The rules of one file are next to each other.
        files.dedup();
        let files = shown(&files.join(", "));
        answer.text.push_str(&match rules {
            0 => "no rules: the PAM line applies alone\n".to_owned(),
            1 => format!("1 rule in {files}: no errors\n"),
            _ => format!("{rules} rules in {files}: no errors\n"),
        });
        answer.json.insert("rules".to_owned(), Value::from(rules));
    }
    for note in &notes {
        complain(format_args!("note: {note}"));
    }
    answer.has_findings |= check.strict && !notes.is_empty();
    answer.json.insert("notes".to_owned(), Value::from(notes));
    answer.instead = check.file.is_some().then_some(policy);
    Ok(())
}

fn decide(
    login: &Login,
    machine: &Machine,
    line: &PamLine,
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
    let decided = PolicyDecision { settings: settings.clone(), rule, origins: origins.clone() };
    let watched = login::judge(machine, login, &line.found, &decided, &line.origin);
    answer.text.push_str(&report::watched(&watched));
    answer.text.push_str(&report::decision(login, &settings, &origins, &line.origin));
    answer.has_findings |= !watched.watched;
    answer.watched = Some(watched);
    answer.json.append(&mut report::decision_json(login, &settings, &origins));
    Ok(())
}

/// A note if no service has a line of our module. Then the policy applies to nobody.
fn unguarded(machine: &Machine) -> Option<String> {
    let has_ours = |stack: Stack| stack.of_type(LineType::Session).iter().any(Entry::is_ours);
    if machine.libpam.stacks().any(has_ours) {
        return None;
    }
    let why = machine.simulate_service(machine.sshd().service(), &|_| None).err()?;
    Some(format!("the policy applies to nobody, because no service has a pam_idle_watchdog.so line: {why}"))
}

/// Notes about rules for addresses if the host is a name. They do not match it, whatever address it has.
fn named_host(policy: &Policy, login: &Login) -> Vec<String> {
    let (service, from) = (login.service_text(), login.rhost_text());
    let (service, from) = (service.as_ref(), from.as_ref());
    let note = |rule: &Rule, source: &dyn Display| {
        let place = &rule.place;
        format!("{place}: {source} matches addresses only, and {} is a name", from.escape_debug())
    };
    if !policy::is_host_name(from) {
        return Vec::new();
    }
    policy
        .rules
        .iter()
        .flat_map(|rule| rule.by_address(service).map(move |source| note(rule, source)))
        .collect()
}

/// The PAM line that is checked.
struct PamLine {
    /// Where it comes from, as text.
    origin: String,
    found: login::LineSource,
    read: Options,
}

impl PamLine {
    /// The line from the command line. Without one, the line that runs in the service's stack. Without that, an
    /// empty line.
    fn find(check: &Check, machine: &Machine) -> Result<Self, Vec<Fault>> {
        let found = check.line.as_ref().map_or_else(
            || login::line(machine, &check.service(), check.login.as_ref()),
            |_| login::LineSource::Given,
        );
        let (origin, words) = match &found {
            login::LineSource::Given => {
                ("as given".to_owned(), check.line.as_deref().map(parse::words).unwrap_or_default())
            }
            login::LineSource::Stack(line, _) => (line.place.clone(), line.words.clone()),
            login::LineSource::None(_) => ("none, treated as empty".to_owned(), Vec::new()),
        };
        let read = Options::of_line(words.iter().map(String::as_str)).map_err(|bad| {
            vec![Fault { word: Some(bad.word), ..Fault::of_file(format!("PAM line, {origin}"), bad.problem) }]
        })?;
        Ok(Self { origin, found, read })
    }
}

/// The text of a file, installed or not. `-` is standard input.
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
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_machine_without_our_line_is_noted() {
        let said = "the policy applies to nobody, because no service has a pam_idle_watchdog.so line: the session stack of \
                    sshd has no pam_idle_watchdog.so line";
        assert_eq!(unguarded(&Tree::with("").machine()).as_deref(), Some(said));
        let tree = Tree::with("");
        tree.put("etc/pam.d/login", "session required pam_idle_watchdog.so\n");
        assert_eq!(unguarded(&tree.machine()), None);
    }

    #[test]
    fn what_a_logout_leaves_open_is_said_and_is_no_finding() {
        for (words, says) in [
            ("timeout=15m", Some("because of detached=ignore (sshd)\n")),
            ("timeout=15m detached=8h", None),
            ("timeout=off", None),
        ] {
            let tree = Tree::with(&format!("session required pam_idle_watchdog.so {words}"));
            let services = services::all(&tree.machine(), &Policies::new(Some(Policy::default())));
            let said = left_open(&services);
            assert_eq!(said.is_some(), says.is_some(), "{words}");
            assert!(said.as_deref().unwrap_or_default().ends_with(says.unwrap_or_default()), "{said:?}");
            let found = SystemReport { services, ..SystemReport::default() };
            let mut answer = Answer::default();
            system_wide(found, true, false, &mut answer);
            assert_eq!(
                (answer.text.contains("after a logout: "), answer.has_findings),
                (says.is_some(), false)
            );
        }
    }

    #[test]
    fn strict_counts_notes_about_the_machine() {
        for (strict, notes, warnings) in [(true, 1, true), (true, 0, false), (false, 1, false)] {
            let found = SystemReport { notes: vec!["a note".to_owned(); notes], ..SystemReport::default() };
            let mut answer = Answer::default();
            system_wide(found, strict, false, &mut answer);
            assert_eq!(
                (answer.has_findings, answer.text.is_empty()),
                (warnings, warnings),
                "{strict} {notes}"
            );
        }
    }
}
