//! Every service that opens login sessions: whether it ends the idle ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use super::control::{Action, Code};
use super::course::{Course, joined};
use super::dispatch;
use super::libpam::unsafe_module;
use super::machine::Machine;
use super::sshd::Sshd;
use super::stack::{Entry, Kind, MODULE, Stack};
use super::verdict::{self, Decided, End, Judged, Verdict};
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{Options, Policy, Rule, Settings, exceptions, message_faults};
use crate::sys::logind;

/// Services that are included by others and are services all the same.
const LOGINS: [&str; 8] = ["sshd", "login", "remote", "su", "sudo", "runuser", "gdm-password", "lightdm"];

/// What was found out about a service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether a session line of ours is in its stack.
    pub has_line: bool,
    /// What it does with idle sessions, in words.
    pub text: String,
    /// The same, for machines.
    pub json: Value,
    /// What weakens the guard.
    pub findings: BTreeSet<String>,
}

/// The policies that PAM lines name, each read once.
pub struct Policies {
    /// The one that is checked in their place.
    instead: Option<Rc<Policy>>,
    read: RefCell<BTreeMap<Option<PathBuf>, Read>>,
    /// What is wrong with the message files that they name.
    broken: RefCell<BTreeSet<String>>,
}

/// A login that stands for many: no rule names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Somebody {
    uid: u32,
    tty: &'static str,
    from: &'static str,
}

impl Somebody {
    /// An ordinary user.
    const ORDINARY: u32 = 1000;

    /// Those who log in by sshd, or at the machine itself: on a console and on a pseudoterminal.
    fn all(remote: bool) -> Vec<Self> {
        // An address for documentation: no rule is for it but those for everybody.
        let places: &[_] = if remote { &[("ssh", "203.0.113.254")] } else { &[("tty1", ""), ("pts/0", "")] };
        let at = |(tty, from): &(&'static str, &'static str)| {
            [Self::ORDINARY, 0].map(|uid| Self { uid, tty, from })
        };
        places.iter().flat_map(at).collect()
    }

    fn text(&self) -> String {
        let who = if self.uid == Self::ORDINARY { "an ordinary user" } else { "uid 0" };
        format!("{who} at {}", self.tty)
    }
}

/// A policy, or the first fault in it.
type Read = Result<Rc<Policy>, String>;

impl Policies {
    /// Those of the machine, or the one that is checked in their place.
    #[must_use]
    pub fn new(instead: Option<Policy>) -> Self {
        Self { instead: instead.map(Rc::new), read: RefCell::default(), broken: RefCell::default() }
    }

    /// That of a line.
    fn of(&self, line: &Options) -> Read {
        if let Some(policy) = &self.instead {
            return Ok(Rc::clone(policy));
        }
        let load = || {
            let faults = |faults: Vec<_>| faults.first().map(ToString::to_string).unwrap_or_default();
            Files::of(line.conf_path()).load().map(Rc::new).map_err(faults)
        };
        self.read.borrow_mut().entry(line.conf_path().map(Path::to_owned)).or_insert_with(load).clone()
    }

    /// What holds for a login. A broken policy leaves the PAM line alone.
    fn decide(&self, service: &str, somebody: &Somebody, line: &Options) -> Decided {
        let Somebody { uid, tty, from } = *somebody;
        let (rhost, tty) = (Some(from.into()), Some(tty.into()));
        let login = Login { service: service.into(), user: None, uid: Some(uid), rhost, tty };
        let policy = self.of(line);
        let rule =
            match policy.as_ref().map(|policy| policy.rule_for(&login, None, |_| Ok::<_, Infallible>(false)))
            {
                Ok(Ok(rule)) => rule,
                Err(_) | Ok(Err(_)) => None,
            };
        // The message files of a policy that is not installed may come after it.
        let installed = self.instead.is_none();
        let fault = rule.filter(|_| installed).and_then(|rule| broken_message(line, rule));
        let rule = rule.filter(|_| fault.is_none());
        self.broken.borrow_mut().extend(fault);
        let options = rule.map(|rule| &rule.options);
        Decided {
            settings: Settings::of(line, options),
            rule: rule.map(|rule| rule.place.to_string()),
            origins: Settings::origins(line, options),
        }
    }

    /// The faults of the policies that were read.
    fn faults(&self) -> Vec<String> {
        let read = self.read.borrow();
        let faults = read.values().filter_map(|read| read.as_ref().err().cloned());
        faults.chain(self.broken.borrow().iter().cloned()).collect()
    }

    /// The rules that ask for an address.
    fn of_addresses(&self) -> Vec<String> {
        let read = self.read.borrow();
        let policies = self.instead.iter().chain(read.values().flatten());
        let rules = policies.flat_map(|policy| &policy.rules).filter(|rule| rule.asks_for_address());
        rules.map(|rule| rule.place.to_string()).collect()
    }
}

/// What is wrong with the message file that holds where this rule decides: then the PAM line alone holds.
fn broken_message(line: &Options, rule: &Rule) -> Option<String> {
    Settings::of(line, Some(&rule.options)).limit?;
    let files = Files::of(line.conf_path());
    let alone = Policy { rules: vec![rule.clone()] };
    let faults = match rule.options.word("message") {
        Some(_) => message_faults(&Options::default(), &alone, &files),
        None => message_faults(line, &Policy::default(), &files),
    };
    let fault = faults.first()?;
    Some(format!("{}: {fault}: the PAM line alone holds", rule.place))
}

/// All services of a machine that have a line of ours, and sshd's.
#[must_use]
pub fn all(machine: &Machine, policies: &Policies) -> Vec<Service> {
    let libpam = &machine.libpam;
    let stacks: BTreeMap<String, Stack> =
        libpam.services().into_iter().filter_map(|name| Some((name.clone(), libpam.stack(&name)?))).collect();
    let included: BTreeSet<&String> = stacks.values().flat_map(|stack| &stack.includes).collect();
    let sshd = machine.sshd();
    let matters = |(name, stack): &(&String, &Stack)| {
        let ours = stack.entries.iter().any(|entry| entry.is_ours());
        let service = !included.contains(name) || LOGINS.contains(&name.as_str());
        // Whoever guards consoles alone wants to know that as well.
        name.as_str() == sshd.service() || (ours && service)
    };
    let mut names: BTreeSet<&str> = stacks.iter().filter(matters).map(|(name, _)| name.as_str()).collect();
    if *sshd != Sshd::Absent {
        // Without a file of its own it has the lines of `other`.
        names.insert(sshd.service());
    }
    names
        .into_iter()
        .filter_map(|name| Some(judged(machine, policies, name, &libpam.service(name)?)))
        .collect()
}

fn judged(machine: &Machine, policies: &Policies, name: &str, stack: &Stack) -> Service {
    let sshd = machine.sshd();
    let course = machine.course(stack);
    if let Some(exception) = exceptions::exception(name, &logind::Kind::default(), false) {
        return said(name, &course, Verdict::Exempt(exception.because), BTreeSet::new());
    }
    let mut findings = BTreeSet::new();
    let mut verdicts: Vec<(Somebody, Verdict)> = Vec::new();
    for somebody in Somebody::all(name == sshd.service()) {
        let Judged { verdict, weak } =
            verdict::judge(&course, machine.helper_fails(), &|line| policies.decide(name, &somebody, line));
        findings.extend(weak);
        verdicts.push((somebody, verdict));
    }
    let (mut verdict, exempt) = together(verdicts);
    findings.extend(misplaced(stack));
    findings.extend(refusing(stack));
    findings.extend(untold(stack));
    for module in machine.modules(stack) {
        findings.extend(unsafe_module(&module).map(|why| format!("the module {} {why}", module.display())));
    }
    if name == sshd.service() {
        verdict = sshd.without_pam().map_or(verdict, |why| Verdict::Nobody(why.to_owned()));
        if let (Sshd::Silent(why), Verdict::Ends(_)) = (sshd, &verdict) {
            findings.insert(format!("it cannot be told whether sshd uses PAM at all: `sshd -T` says: {why}"));
        }
    }
    if !matches!(verdict, Verdict::Ends(_)) {
        // The line of the service says why.
        findings.insert("nobody is ended".to_owned());
    }
    let ends = matches!(verdict, Verdict::Ends(_));
    let exempt: Vec<_> = exempt.into_iter().filter(|_| ends).collect();
    let whom =
        |(somebody, why): &(Somebody, String)| format!("{} is not ended, because {why}", somebody.text());
    // An exemption of root by its id is meant so. One for all who sit at a terminal may not be.
    let all = exempt.iter().filter(|(somebody, _)| somebody.uid == Somebody::ORDINARY);
    findings.extend(all.map(whom));
    let mut service = said(name, &course, verdict, findings);
    for text in exempt.iter().map(whom) {
        service.text.push_str(&format!("; {text}"));
    }
    if let Some(says) = service.json.get_mut("says") {
        *says = Value::from(service.text.clone());
    }
    service
}

/// The verdict on all of them: nobody is ended only where none of them is. Beside it those who are not ended
/// where others are, and why.
fn together(verdicts: Vec<(Somebody, Verdict)>) -> (Verdict, Vec<(Somebody, String)>) {
    let (mut ends, mut exempt): (Vec<End>, Vec<(Somebody, String)>) = (Vec::new(), Vec::new());
    for (somebody, verdict) in verdicts {
        match verdict {
            Verdict::Ends(more) => {
                let new: Vec<End> = more.into_iter().filter(|end| !ends.contains(end)).collect();
                ends.extend(new);
            }
            Verdict::Nobody(why) => exempt.push((somebody, why)),
            same @ (Verdict::Exempt(_) | Verdict::NoLine) => return (same, Vec::new()),
        }
    }
    if !ends.is_empty() {
        return (Verdict::Ends(ends), exempt);
    }
    let reasons: BTreeSet<String> = exempt.into_iter().map(|(_, why)| why).collect();
    (Verdict::Nobody(joined(&reasons)), Vec::new())
}

fn said(name: &str, course: &Course, verdict: Verdict, findings: BTreeSet<String>) -> Service {
    let text = verdict.text(course);
    let ends: Vec<Value> = match verdict {
        Verdict::Ends(ends) => ends.into_iter().map(end_json).collect(),
        Verdict::Nobody(_) | Verdict::Exempt(_) | Verdict::NoLine => Vec::new(),
    };
    let json = json!({"service": name, "ended": !ends.is_empty(), "says": text, "lines": ends});
    let findings = findings.into_iter().map(|finding| format!("{name}: {finding}")).collect();
    Service { name: name.to_owned(), has_line: course.ours().next().is_some(), text, json, findings }
}

fn end_json(end: End) -> Value {
    let End { limit, kill, line, rule } = end;
    json!({"timeout": limit.as_secs(), "kill": kill.word(), "line": line, "rule": rule})
}

/// Lines of ours that are of no use, or of less than they seem.
fn misplaced(stack: &Stack) -> Vec<String> {
    let mut found = Vec::new();
    for line in stack.entries.iter().filter(|entry| entry.is_ours()) {
        let place = &line.place;
        match line.kind {
            Kind::Session => {}
            Kind::Auth | Kind::Password => found.push(format!(
                "{place} is of type {}: there our module only fails; it is one for session and account",
                line.kind.word()
            )),
            Kind::Account if line.control.action(Code::SUCCESS) == Action::Done => found.push(format!(
                "{place} is {}: account lines after it may not be asked whether the user may come in",
                line.written
            )),
            Kind::Account => {
                let refuses = matches!(line.control.action(Code::PERM_DENIED), Action::Bad | Action::Die);
                let why = format!("{place} is {}: its refusal counts for nothing", line.written);
                found.extend((!refuses).then_some(why));
            }
        }
    }
    found
}

/// Lines of which it cannot be told whether libpam finds our module.
fn untold(stack: &Stack) -> impl Iterator<Item = String> + '_ {
    let named = |line: &&Entry| line.is_ours() && line.path().is_some_and(|path| path.contains("$ISA"));
    stack.entries.iter().filter(named).map(|line| {
        format!(
            "{} has $ISA in the module's path: what libpam takes that for, and whether the module is there, cannot be \
             told; write {MODULE} alone",
            line.place
        )
    })
}

/// Account lines of ours that let nobody in, or that say something else than those of the session.
fn refusing(stack: &Stack) -> Vec<String> {
    let words = |line: &Entry| Options::of_line(line.words.iter().map(String::as_str));
    let on_error = |line: &Entry| words(line).ok().map(|words| Settings::of(&words, None).on_error);
    let session = stack.entries.iter().find(|line| line.is_ours() && line.kind == Kind::Session);
    let entries = stack.of_kind(Kind::Account);
    let mut found = Vec::new();
    for line in entries.iter().filter(|line| line.is_ours()) {
        let place = &line.place;
        if let Err(bad) = words(line) {
            found.push(format!("{place}: {}: {}", bad.word, bad.problem));
        }
        if matches!(line.control.action(Code::IGNORE), Action::Bad | Action::Die) {
            found.push(format!("{place} is {}: it refuses everybody", line.written));
        }
        let said = on_error(line);
        if let Some(other) = session
            .filter(|other| said.is_some() && on_error(other).is_some_and(|on_error| Some(on_error) != said))
        {
            found.push(format!("{place} has another onerr= than {}", other.place));
        }
    }
    // Our module has no opinion there, and somebody has to have one.
    let answer = |_: usize, line: &Entry| if line.is_ours() { Code::IGNORE } else { Code::SUCCESS };
    let opinion = |line: &Entry| !line.is_ours();
    if !entries.is_empty()
        && !entries.iter().any(opinion)
        && !dispatch::run(&entries, answer).succeeds()
        && found.is_empty()
    {
        found.push("no account line answers success, so nobody logs in: the lines are all ours".to_owned());
    }
    found
}

/// What weakens the guard beside single services; and hints.
#[must_use]
pub fn around(machine: &Machine, policies: &Policies, services: &[Service]) -> (Vec<String>, Vec<String>) {
    let mut findings: Vec<String> = policies.faults();
    if !services.iter().any(|service| service.has_line) {
        findings.push("no service has a line of ours in its session stack".to_owned());
    }
    let mut notes = Vec::new();
    match machine.sshd() {
        Sshd::Absent => notes.push("there is no sshd on this machine that could be asked whether it uses PAM".to_owned()),
        Sshd::Says { dns: true, .. } => notes.extend(policies.of_addresses().into_iter().map(|rule| {
            format!("{rule}: sshd has `UseDNS yes` and passes names to PAM where it finds them: an address does not match names")
        })),
        Sshd::Says { .. } | Sshd::Silent(_) => {}
    }
    (findings, notes)
}

#[cfg(test)]
mod tests;
