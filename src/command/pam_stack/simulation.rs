//! Simulates a service's session stack: in which cases a session opens, and which lines of our module run in each
//! case. Pure: the caller says which modules can be loaded.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::control::{Code, ControlAction};
use super::dispatch::{self, Run};
use super::module_results;
use super::stack::{Entry, LineType, Runs, Stack};

/// The module that creates the scope, which contains the session's processes.
const SYSTEMD: &str = "pam_systemd.so";
/// The module that can read environment variables from a file of the user.
const ENV: &str = "pam_env.so";

/// The result of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    pub entries: Vec<Entry>,
    /// For each case in which a session opens: the positions of our lines that run. The usual case comes first.
    pub cases: Vec<Vec<usize>>,
    /// Why no session opens, if none does.
    pub refused: Option<String>,
    /// The lines that skip one of ours.
    pub skipping: BTreeSet<String>,
    /// Why libpam cannot load lines of ours.
    pub unloadable: BTreeSet<String>,
    /// The mistakes in our lines, or in their places in the stack.
    pub warnings: BTreeSet<String>,
}

impl Simulation {
    /// Simulates a stack. `loads` returns why libpam cannot load the module at a path. `known` returns the result of
    /// a conditional line, if it is known for the login in question.
    #[must_use]
    pub fn of(
        stack: &Stack,
        loads: &impl Fn(&str) -> Result<(), String>,
        known: &impl Fn(&Entry) -> Option<Code>,
    ) -> Self {
        let entries = stack.of_type(LineType::Session);
        let warnings = stack.misspelled.iter().cloned().collect();
        if let Some(why) = &stack.broken {
            return Self { refused: Some(why.clone()), entries, warnings, ..Self::default() };
        }
        let mut simulation = Self { warnings, ..Self::default() };
        let mut first = None;
        for codes in module_results::cases(&entries, &|path| loads(path).is_ok(), known) {
            let case = Case { entries: &entries, codes };
            let run = case.run();
            if run.succeeds() {
                let ours = case.ours(&run);
                simulation.warnings.extend(case.problems(&ours));
                simulation.skipping.extend(case.skipping(&run));
                if !simulation.cases.contains(&ours) {
                    simulation.cases.push(ours);
                }
            }
            first.get_or_insert(run);
        }
        if simulation.cases.is_empty() {
            simulation.refused = first.map(|run| cause(&entries, &run, loads));
        }
        for (entry, path) in
            entries.iter().filter(|entry| entry.is_ours()).filter_map(|entry| Some((entry, entry.path()?)))
        {
            simulation.unloadable.extend(loads(path).err().map(|why| format!("{}: {why}", entry.place)));
        }
        if entries.iter().any(Entry::is_ours) {
            simulation.warnings.extend(environment(stack, &entries));
        }
        simulation.entries = entries;
        simulation
    }

    pub fn ours(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_ours())
    }

    /// Why none of our lines runs. Call this only if that is so.
    #[must_use]
    pub fn why_none_runs(&self) -> String {
        match &self.refused {
            Some(why) => format!("no session opens: {why}"),
            None if !self.unloadable.is_empty() => joined(&self.unloadable),
            None => format!("no pam_idle_watchdog.so line runs: {} skips it", joined(&self.skipping)),
        }
    }

    /// The only line of ours that runs when a session opens, if it is the same one in all cases.
    #[must_use]
    pub fn only_line(&self) -> Option<&Entry> {
        match self.cases.as_slice() {
            [case] => match case.as_slice() {
                [line] => self.entries.get(*line),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The texts with commas between them.
#[must_use]
pub fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// One case: what each module returns.
struct Case<'a> {
    entries: &'a [Entry],
    codes: Vec<Code>,
}

impl Case<'_> {
    fn run(&self) -> Run {
        let guarded = Cell::new(false);
        dispatch::run(self.entries, |at, entry| {
            let code = self.code(at);
            let guards = entry.is_ours() && code == Code::SUCCESS;
            // After our first line has started a helper, the next one returns `ignore`.
            if guards && guarded.replace(true) { Code::IGNORE } else { code }
        })
    }

    /// The same case with another result for one line.
    fn run_with(&self, at: usize, code: Code) -> Run {
        Case { entries: self.entries, codes: module_results::replaced(&self.codes, at, code) }.run()
    }

    fn code(&self, at: usize) -> Code {
        self.codes.get(at).copied().unwrap_or(Code::PERM_DENIED)
    }

    /// The positions of our lines that ran and could be loaded.
    fn ours(&self, run: &Run) -> Vec<usize> {
        let ours = |at: &usize| self.entries.get(*at).is_some_and(Entry::is_ours);
        run.ran
            .iter()
            .map(|(at, _)| *at)
            .filter(ours)
            .filter(|at| self.code(*at) != Code::MODULE_UNKNOWN)
            .collect()
    }

    /// The lines that skip one of ours.
    fn skipping(&self, run: &Run) -> Vec<String> {
        let skips = |action: ControlAction| {
            matches!(action, ControlAction::Jump(_) | ControlAction::Done | ControlAction::Die)
        };
        let passed = self.entries.iter().enumerate().filter(|(at, entry)| entry.is_ours() && !run.has(*at));
        let by = |at: usize| run.ran.iter().rev().find(|(ran, action)| *ran < at && skips(*action));
        passed.filter_map(|(at, _)| by(at)).filter_map(|(ran, _)| self.entries.get(*ran)).map(shown).collect()
    }

    /// What is wrong with our lines that run in this case.
    fn problems(&self, ours: &[usize]) -> Vec<String> {
        let mut found = Vec::new();
        let entry = |at: &usize| self.entries.get(*at);
        for (at, line) in ours.iter().filter_map(|at| Some((*at, entry(at)?))) {
            if self.run_with(at, Code::SESSION_ERR).succeeds() {
                found.push(format!(
                    "{} is {}: a session that cannot be guarded opens unguarded, whatever onerr= says",
                    line.place,
                    bracketed(&line.written)
                ));
            }
        }
        let left_alone = ours
            .iter()
            .fold(self.codes.clone(), |codes, at| module_results::replaced(&codes, *at, Code::IGNORE));
        if !ours.is_empty() && !(Case { entries: self.entries, codes: left_alone }).run().succeeds() {
            found
                .push("exempt users cannot log in, because no other session line returns success".to_owned());
        }
        let Some((at, line)) = ours.first().and_then(|at| Some((*at, entry(at)?))) else { return found };
        let run = self.run();
        if run
            .ran
            .iter()
            .any(|(ran, _)| *ran > at && entry(ran).is_some_and(|entry| entry.module() == SYSTEMD))
        {
            found.push(format!(
                "{} is before {SYSTEMD}, which creates the session's scope: move it after that line",
                line.place
            ));
        }
        found.extend(
            run.ran
                .iter()
                .take_while(|(ran, _)| *ran < at)
                .filter_map(|(ran, _)| self.skips_on_failure(*ran, line)),
        );
        found
    }

    /// Finds a line before ours that skips ours if it fails, although the session opens all the same.
    fn skips_on_failure(&self, at: usize, ours: &Entry) -> Option<String> {
        let entry = self.entries.get(at)?;
        if module_results::is_certain(entry)
            || module_results::is_conditional(entry)
            || self.code(at) != Code::SUCCESS
        {
            return None;
        }
        let opens = |code: &Code| {
            let run = self.run_with(at, *code);
            run.succeeds() && self.ours(&run).is_empty()
        };
        let code = [Code::SESSION_ERR, Code::IGNORE].into_iter().find(opens)?;
        Some(format!("{} skips {} when it returns {}", shown(entry), ours.place, code.name()))
    }
}

/// A line as messages show it.
fn shown(entry: &Entry) -> String {
    match &entry.runs {
        Runs::Module(_) => format!("{} ({} {})", entry.place, bracketed(&entry.written), entry.module()),
        Runs::Substack | Runs::Fails(_) => entry.place.clone(),
    }
}

/// A control as it is written in files.
fn bracketed(control: &str) -> String {
    if control.contains('=') { format!("[{control}]") } else { control.to_owned() }
}

/// Why a stack fails.
fn cause(entries: &[Entry], run: &Run, loads: &impl Fn(&str) -> Result<(), String>) -> String {
    let fails = |action: &ControlAction| matches!(action, ControlAction::Bad | ControlAction::Die);
    let failed = run.ran.iter().find(|(at, action)| fails(action) || run.bad_jump == Some(*at));
    let Some((entry, action)) = failed.and_then(|(at, action)| Some((entries.get(*at)?, action))) else {
        return "no session line returns success".to_owned();
    };
    match &entry.runs {
        Runs::Fails(why) => format!("{}: {why}", entry.place),
        Runs::Module(_) if !fails(action) => format!("{} jumps past the end of the stack", shown(entry)),
        Runs::Module(path) => match loads(path) {
            Err(why) => format!("{}: {why}", entry.place),
            Ok(()) if fails(&entry.control.action(Code::SUCCESS)) => {
                format!("{} fails even when the module succeeds: is the control misspelled?", shown(entry))
            }
            Ok(()) => format!("{} fails", shown(entry)),
        },
        Runs::Substack => shown(entry),
    }
}

/// Finds lines that read the user's own environment file before the session gets its class.
fn environment(stack: &Stack, session: &[Entry]) -> Vec<String> {
    let Some(systemd) = session.iter().position(|entry| entry.module() == SYSTEMD) else { return Vec::new() };
    let reads = |entry: &&Entry| {
        let value = entry.words.iter().find_map(|word| word.strip_prefix("user_readenv="));
        entry.module() == ENV && value.is_some_and(|value| !value.trim_start_matches('0').is_empty())
    };
    // Auth lines run before the session opens: pam_setcred(3) runs them.
    let auth = stack.entries.iter().filter(|entry| entry.line_type == LineType::Auth);
    let before = auth.chain(session.iter().take(systemd)).filter(reads);
    let said = |entry: &Entry| {
        format!(
            "{} reads ~/.pam_environment before {SYSTEMD} runs, so users can choose the class and the type of their \
             session: move it after {SYSTEMD}",
            shown(entry)
        )
    };
    before.map(said).collect()
}
