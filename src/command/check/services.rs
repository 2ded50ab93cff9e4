//! Whether each service of a machine ends idle sessions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use super::verdict::{self, End, Judged, PolicyDecision, ServiceVerdict};
use crate::command::machine::Machine;
use crate::command::pam_stack::control::{Code, ControlAction};
use crate::command::pam_stack::dispatch;
use crate::command::pam_stack::libpam::unsafe_module;
use crate::command::pam_stack::simulation::{Simulation, joined};
use crate::command::pam_stack::stack::{Entry, LineType, MODULE, Stack};
use crate::command::sshd::Sshd;
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{Options, Policy, Rule, Settings, exceptions, message_faults};
use crate::sys::logind;

/// Files that other services include, but that are services, too.
const LOGINS: [&str; 8] = ["sshd", "login", "remote", "su", "sudo", "runuser", "gdm-password", "lightdm"];

/// The result for one service.
#[derive(Debug)]
pub struct Service {
    pub name: String,
    /// Whether its session stack has a line of our module.
    pub has_line: bool,
    /// What it does with idle sessions.
    pub text: String,
    /// Something that a logout leaves behind runs on for as long as it likes.
    pub leaves_the_rest: bool,
    /// The same as JSON.
    pub json: Value,
    /// The warnings.
    pub findings: BTreeSet<String>,
}

/// The policies that PAM lines name. Each of them is read once.
pub struct Policies {
    /// If set, this policy is checked instead of all others.
    instead: Option<Rc<Policy>>,
    read: RefCell<BTreeMap<Option<PathBuf>, PolicyOrFault>>,
    /// The mistakes in the message files of these policies.
    broken: RefCell<BTreeSet<String>>,
}

/// An example of a login. No rule names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ExampleLogin {
    uid: u32,
    tty: &'static str,
    from: &'static str,
}

impl ExampleLogin {
    /// The ID of an ordinary user.
    const ORDINARY: u32 = 1000;

    /// The examples: for sshd, or for a service at the machine itself (on a console and on a pseudoterminal).
    fn all(remote: bool) -> Vec<Self> {
        // This address is reserved for documentation, so no rule names it.
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
type PolicyOrFault = Result<Rc<Policy>, String>;

impl Policies {
    /// The policies of the machine, or `instead` in place of them.
    #[must_use]
    pub fn new(instead: Option<Policy>) -> Self {
        Self { instead: instead.map(Rc::new), read: RefCell::default(), broken: RefCell::default() }
    }

    /// The policy that a PAM line names.
    fn of(&self, line: &Options) -> PolicyOrFault {
        if let Some(policy) = &self.instead {
            return Ok(Rc::clone(policy));
        }
        let load = || {
            let faults = |faults: Vec<_>| faults.first().map(ToString::to_string).unwrap_or_default();
            Files::of(line.conf_path()).load().map(Rc::new).map_err(faults)
        };
        self.read.borrow_mut().entry(line.conf_path().map(Path::to_owned)).or_insert_with(load).clone()
    }

    /// The decision for a login. If the policy is broken, only the PAM line applies.
    fn decide(&self, service: &str, example: &ExampleLogin, line: &Options) -> PolicyDecision {
        let ExampleLogin { uid, tty, from } = *example;
        let (rhost, tty) = (Some(from.into()), Some(tty.into()));
        let login = Login { service: service.into(), user: None, uid: Some(uid), rhost, tty };
        let policy = self.of(line);
        let rule =
            match policy.as_ref().map(|policy| policy.rule_for(&login, None, |_| Ok::<_, Infallible>(false)))
            {
                Ok(Ok(rule)) => rule,
                Err(_) | Ok(Err(_)) => None,
            };
        // If the policy is not installed yet, its message files may not be installed either.
        let fault =
            if self.instead.is_none() { rule.and_then(|rule| broken_message(line, rule)) } else { None };
        let rule = if fault.is_none() { rule } else { None };
        self.broken.borrow_mut().extend(fault);
        let options = rule.map(|rule| &rule.options);
        PolicyDecision {
            settings: Settings::of(line, options),
            rule: rule.map(|rule| rule.place.to_string()),
            origins: Settings::origins(line, options),
        }
    }

    /// The faults in the policies that were read.
    fn faults(&self) -> Vec<String> {
        let read = self.read.borrow();
        let faults = read.values().filter_map(|read| read.as_ref().err().cloned());
        faults.chain(self.broken.borrow().iter().cloned()).collect()
    }

    /// The rules of the policies that were read.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let read = self.read.borrow();
        self.instead.iter().chain(read.values().flatten()).flat_map(|policy| policy.rules.clone()).collect()
    }

    /// The places of rules that match addresses.
    fn of_addresses(&self) -> Vec<String> {
        let read = self.read.borrow();
        let policies = self.instead.iter().chain(read.values().flatten());
        let rules = policies.flat_map(|policy| &policy.rules).filter(|rule| rule.asks_for_address());
        rules.map(|rule| rule.place.to_string()).collect()
    }
}

/// The mistake in the message file that applies with this rule. If there is one, only the PAM line applies.
fn broken_message(line: &Options, rule: &Rule) -> Option<String> {
    Settings::of(line, Some(&rule.options)).limit?;
    let files = Files::of(line.conf_path());
    let alone = Policy { rules: vec![rule.clone()] };
    let faults = match rule.options.word("message") {
        Some(_) => message_faults(&Options::default(), &alone, &files),
        None => message_faults(line, &Policy::default(), &files),
    };
    let fault = faults.first()?;
    Some(format!("{}: {fault}: the PAM line applies alone", rule.place))
}

/// Judges all services that have a line of our module, and sshd's service.
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
        // sshd's service is shown even without our line, because the administrator may have forgotten it.
        name.as_str() == sshd.service() || (ours && service)
    };
    let mut names: BTreeSet<&str> = stacks.iter().filter(matters).map(|(name, _)| name.as_str()).collect();
    if *sshd != Sshd::Absent {
        // Without its own file, libpam uses the lines of `other`.
        names.insert(sshd.service());
    }
    names
        .into_iter()
        .filter_map(|name| Some(judged(machine, policies, name, &libpam.service(name)?)))
        .collect()
}

fn judged(machine: &Machine, policies: &Policies, name: &str, stack: &Stack) -> Service {
    let sshd = machine.sshd();
    let simulation = machine.simulate(stack);
    if let Some(exception) = exceptions::exception(name, &logind::Kind::default(), false) {
        return said(name, &simulation, ServiceVerdict::Exempt(exception.because), BTreeSet::new());
    }
    let mut findings = BTreeSet::new();
    let mut verdicts: Vec<(ExampleLogin, ServiceVerdict)> = Vec::new();
    for example in ExampleLogin::all(name == sshd.service()) {
        let Judged { verdict, warnings } = verdict::judge(&simulation, machine.helper_fails(), &|line| {
            policies.decide(name, &example, line)
        });
        findings.extend(warnings);
        verdicts.push((example, verdict));
    }
    let (mut verdict, exempt) = combined(verdicts);
    findings.extend(misplaced(stack));
    findings.extend(refusing(stack));
    findings.extend(unknown_paths(stack));
    for module in machine.modules(stack) {
        findings.extend(unsafe_module(&module).map(|why| format!("the module {} {why}", module.display())));
    }
    if name == sshd.service() {
        verdict = sshd.without_pam().map_or(verdict, |why| ServiceVerdict::Nobody(why.to_owned()));
        if let (Sshd::Silent(why), ServiceVerdict::Ends(_)) = (sshd, &verdict) {
            findings.insert(format!("cannot tell whether sshd uses PAM: `sshd -T` says: {why}"));
        }
    }
    if !matches!(verdict, ServiceVerdict::Ends(_)) {
        // The text of the service says why.
        findings.insert("no session is ended".to_owned());
    }
    let ends = matches!(verdict, ServiceVerdict::Ends(_));
    let exempt = if ends { exempt } else { Vec::new() };
    let whom = |(example, why): &(ExampleLogin, String)| {
        format!("sessions of {} are not ended, because {why}", example.text())
    };
    // An exemption of uid 0 is intended. An exemption of ordinary users at a terminal may be a mistake.
    let all = exempt.iter().filter(|(example, _)| example.uid == ExampleLogin::ORDINARY);
    findings.extend(all.map(whom));
    let mut service = said(name, &simulation, verdict, findings);
    for text in exempt.iter().map(whom) {
        service.text.push_str(&format!("; {text}"));
    }
    if let Some(says) = service.json.get_mut("says") {
        *says = Value::from(service.text.clone());
    }
    service
}

/// Combines the verdicts of all examples into one. Also returns the examples whose sessions are not ended
/// although those of other examples are, with the reasons.
fn combined(verdicts: Vec<(ExampleLogin, ServiceVerdict)>) -> (ServiceVerdict, Vec<(ExampleLogin, String)>) {
    let (mut ends, mut exempt): (Vec<End>, Vec<(ExampleLogin, String)>) = (Vec::new(), Vec::new());
    for (example, verdict) in verdicts {
        match verdict {
            ServiceVerdict::Ends(more) => {
                let new: Vec<End> = more.into_iter().filter(|end| !ends.contains(end)).collect();
                ends.extend(new);
            }
            ServiceVerdict::Nobody(why) => exempt.push((example, why)),
            same @ (ServiceVerdict::Exempt(_) | ServiceVerdict::NoLine) => return (same, Vec::new()),
        }
    }
    if !ends.is_empty() {
        return (ServiceVerdict::Ends(ends), exempt);
    }
    let reasons: BTreeSet<String> = exempt.into_iter().map(|(_, why)| why).collect();
    (ServiceVerdict::Nobody(joined(&reasons)), Vec::new())
}

fn said(name: &str, simulation: &Simulation, verdict: ServiceVerdict, findings: BTreeSet<String>) -> Service {
    let text = verdict.text(simulation);
    let leaves_the_rest =
        matches!(&verdict, ServiceVerdict::Ends(ends) if ends.iter().any(|end| end.detached.is_none()));
    let ends: Vec<Value> = match verdict {
        ServiceVerdict::Ends(ends) => ends.into_iter().map(end_json).collect(),
        ServiceVerdict::Nobody(_) | ServiceVerdict::Exempt(_) | ServiceVerdict::NoLine => Vec::new(),
    };
    let json = json!({"service": name, "ended": !ends.is_empty(), "says": text, "lines": ends});
    let findings = findings.into_iter().map(|finding| format!("{name}: {finding}")).collect();
    let has_line = simulation.ours().next().is_some();
    Service { name: name.to_owned(), has_line, text, leaves_the_rest, json, findings }
}

fn end_json(end: End) -> Value {
    let End { limit, kill, detached, line, rule } = end;
    let detached = detached.map(|detached| detached.as_secs());
    json!({"timeout": limit.as_secs(), "kill": kill.word(), "detached": detached, "line": line, "rule": rule})
}

/// Finds lines of ours that have no effect, or less effect than it seems.
fn misplaced(stack: &Stack) -> Vec<String> {
    let mut found = Vec::new();
    for line in stack.entries.iter().filter(|entry| entry.is_ours()) {
        let place = &line.place;
        match line.line_type {
            LineType::Session => {}
            LineType::Auth | LineType::Password => found.push(format!(
                "{place} is of type {}, where pam_idle_watchdog.so always fails: it works in session and account lines only",
                line.line_type.word()
            )),
            LineType::Account if line.control.action(Code::SUCCESS) == ControlAction::Done => {
                found.push(format!(
                    "{place} is {}: account lines after it may not run",
                    line.written
                ))
            }
            LineType::Account => {
                let refuses =
                    matches!(line.control.action(Code::PERM_DENIED), ControlAction::Bad | ControlAction::Die);
                let why = format!("{place} is {}: its refusal has no effect", line.written);
                found.extend((!refuses).then_some(why));
            }
        }
    }
    found
}

/// Finds lines for which we cannot check whether libpam finds our module.
fn unknown_paths(stack: &Stack) -> impl Iterator<Item = String> + '_ {
    let named = |line: &&Entry| line.is_ours() && line.path().is_some_and(|path| path.contains("$ISA"));
    stack.entries.iter().filter(named).map(|line| {
        format!(
            "{} has $ISA in the module's path, so it cannot be checked whether the module exists: write {MODULE} without \
             a path",
            line.place
        )
    })
}

/// Finds account lines of ours that let nobody log in, or whose options differ from those of the session line.
fn refusing(stack: &Stack) -> Vec<String> {
    let words = |line: &Entry| Options::of_line(line.words.iter().map(String::as_str));
    let on_error = |line: &Entry| words(line).ok().map(|words| Settings::of(&words, None).on_error);
    let session = stack.entries.iter().find(|line| line.is_ours() && line.line_type == LineType::Session);
    let entries = stack.of_type(LineType::Account);
    let mut found = Vec::new();
    for line in entries.iter().filter(|line| line.is_ours()) {
        let place = &line.place;
        if let Err(bad) = words(line) {
            found.push(format!("{place}: {}: {}", bad.word, bad.problem));
        }
        if matches!(line.control.action(Code::IGNORE), ControlAction::Bad | ControlAction::Die) {
            found.push(format!("{place} is {}: it refuses everybody", line.written));
        }
        if let (Some(other), Some(own)) = (session, on_error(line)) {
            if on_error(other).is_some_and(|others| others != own) {
                found.push(format!("{place} and {} have different values of onerr=", other.place));
            }
        }
    }
    // Our module returns `ignore` in account lines, so a line of another module must return success.
    let result = |_: usize, line: &Entry| if line.is_ours() { Code::IGNORE } else { Code::SUCCESS };
    if !entries.is_empty()
        && entries.iter().all(Entry::is_ours)
        && !dispatch::run(&entries, result).succeeds()
        && found.is_empty()
    {
        found.push(
            "no account line returns success, so nobody can log in: add a line of another module".to_owned(),
        );
    }
    found
}

/// Warnings and notes that do not belong to a single service.
#[must_use]
pub fn general(machine: &Machine, policies: &Policies, services: &[Service]) -> (Vec<String>, Vec<String>) {
    let mut findings: Vec<String> = policies.faults();
    if !services.iter().any(|service| service.has_line) {
        findings.push("no service has a pam_idle_watchdog.so line in its session stack".to_owned());
    }
    let mut notes = Vec::new();
    match machine.sshd() {
        Sshd::Absent => notes.push("cannot tell whether sshd uses PAM: there is no sshd on this machine".to_owned()),
        Sshd::Says { dns: true, .. } => notes.extend(policies.of_addresses().into_iter().map(|rule| {
            format!("{rule}: sshd has `UseDNS yes`, so it gives PAM a host name if there is one, and the rule matches addresses only")
        })),
        Sshd::Says { .. } | Sshd::Silent(_) => {}
    }
    (findings, notes)
}

#[cfg(test)]
mod tests;
