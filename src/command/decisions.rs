//! Which settings apply to an open session now: the current PAM lines and policies.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::PathBuf;

use crate::command::current_line::{self, CurrentLine};
use crate::command::machine::Machine;
use crate::command::pam_stack::stack::{Entry, LineType};
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{self, Fault, Options, Origin, Policy, Settings};
use crate::sys::nss::Person;

/// The current PAM lines and policies. Each file is read once, because it may change while we run.
#[derive(Debug)]
pub struct Decisions<'a> {
    pub machine: &'a Machine,
    lines: BTreeMap<String, CurrentLine>,
    policies: BTreeMap<Option<PathBuf>, Policy>,
}

impl<'a> Decisions<'a> {
    /// Nothing has been read yet.
    #[must_use]
    pub fn new(machine: &'a Machine) -> Self {
        Self { machine, lines: BTreeMap::new(), policies: BTreeMap::new() }
    }

    /// Checks all PAM lines of ours and all policies, because a mistake also matters for services without an
    /// open session.
    ///
    /// # Errors
    ///
    /// All mistakes in them.
    pub fn read_installed(&mut self) -> Result<(), Vec<Fault>> {
        let libpam = &self.machine.libpam;
        let stacks = libpam.services().into_iter().filter_map(|service| libpam.stack(&service));
        // Several services may include the same line.
        let lines: BTreeMap<String, Vec<String>> = stacks
            .flat_map(|stack| stack.of_type(LineType::Session))
            .filter(Entry::is_ours)
            .map(|entry| (entry.place, entry.words))
            .collect();
        let mut faults = self.policy(&Options::default()).err().unwrap_or_default();
        for (place, words) in &lines {
            let found = read_line(place, words).map_err(|fault| vec![fault]).and_then(|line| {
                let files = Files::of(line.conf_path());
                let unread = policy::message_faults(&line, self.policy(&line)?, &files);
                if unread.is_empty() { Ok(()) } else { Err(unread) }
            });
            for fault in found.err().unwrap_or_default() {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The policy that a PAM line names.
    fn policy(&mut self, line: &Options) -> Result<&Policy, Vec<Fault>> {
        Ok(match self.policies.entry(line.conf_path().map(ToOwned::to_owned)) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(Files::of(line.conf_path()).load()?),
        })
    }

    /// The PAM line of a service, for any login.
    pub fn line(&mut self, service: &str) -> CurrentLine {
        let machine = self.machine;
        let found = || current_line::line(machine, service, None);
        self.lines.entry(service.to_owned()).or_insert_with(found).clone()
    }

    /// The settings for a session with these options on its PAM line, as the module decides them.
    ///
    /// # Errors
    ///
    /// The mistakes in the line or in the policy.
    pub fn decide(&mut self, login: &Login, place: &str, words: &[String]) -> Result<Settings, Vec<Fault>> {
        let line = read_line(place, words).map_err(|fault| vec![fault])?;
        let files = Files::of(line.conf_path());
        let policy = self.policy(&line)?;
        let person = Person::named(login.user());
        policy::resolve(&line, policy, &files, login, &person)
    }

    /// Where each setting comes from that [`Decisions::decide`] has decided with the same line.
    ///
    /// # Errors
    ///
    /// The mistakes in the line or in the policy.
    pub fn origins(
        &mut self,
        place: &str,
        words: &[String],
        decided: &Settings,
    ) -> Result<Vec<(&'static str, Origin)>, Vec<Fault>> {
        let line = read_line(place, words).map_err(|fault| vec![fault])?;
        let rules = &self.policy(&line)?.rules;
        let rule = rules.iter().find(|rule| decided.rule.as_ref() == Some(&rule.place));
        Ok(Settings::origins(&line, rule.map(|rule| &rule.options)))
    }
}

/// Parses the options of the PAM line at this place.
fn read_line(place: &str, words: &[String]) -> Result<Options, Fault> {
    Options::of_line(words.iter().map(String::as_str))
        .map_err(|bad| Fault { word: Some(bad.word), ..Fault::of_file(place, bad.problem) })
}
