//! The machine that is checked: this one, or a directory tree in tests.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::installed_helper;
use super::pam_stack::control::Code;
use super::pam_stack::libpam::Libpam;
use super::pam_stack::simulation::Simulation;
use super::pam_stack::stack::{Entry, Runs, Stack};
use super::sshd::Sshd;
use crate::protocol::start::HELPER;
use crate::sys::kernel;

#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    pub libpam: Libpam,
    sshd: OnceCell<Sshd>,
    helper: OnceCell<Option<String>>,
}

impl Machine {
    #[must_use]
    pub fn here() -> Self {
        Self::at(Path::new("/"))
    }

    /// A machine whose files are below a directory.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            libpam: Libpam::of(root),
            sshd: OnceCell::new(),
            helper: OnceCell::new(),
        }
    }

    /// The path of the machine's file.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The path that a file has on the machine itself.
    #[must_use]
    pub fn own_path(&self, file: &Path) -> PathBuf {
        Path::new("/").join(file.strip_prefix(&self.root).unwrap_or(file))
    }

    /// The answer of its sshd. sshd is asked once.
    pub fn sshd(&self) -> &Sshd {
        self.sshd.get_or_init(|| Sshd::ask(&self.root, None))
    }

    /// Why its helper cannot guard any session, if it cannot. The helper is tried once.
    pub fn helper_fails(&self) -> Option<&str> {
        let why = || {
            let kernel = fs::read_to_string(self.file(kernel::RELEASE)).ok();
            let old = kernel.and_then(|release| installed_helper::old_kernel(&release));
            old.or_else(|| installed_helper::fails(&self.file(HELPER)))
        };
        self.helper.get_or_init(why).as_deref()
    }

    /// The answer of its sshd about one connection.
    #[must_use]
    pub fn sshd_for(&self, user: &str, from: &str) -> Sshd {
        Sshd::ask(&self.root, Some((user, from)))
    }

    /// Simulates a stack for all logins.
    #[must_use]
    pub fn simulate(&self, stack: &Stack) -> Simulation {
        self.simulate_with(stack, &|_| None)
    }

    /// Simulates a stack. `known` returns the results of the conditional lines for which they are known.
    #[must_use]
    pub fn simulate_with(&self, stack: &Stack, known: &impl Fn(&Entry) -> Option<Code>) -> Simulation {
        Simulation::of(stack, &|path| self.loads(path), known)
    }

    /// Simulates the stack of a service.
    ///
    /// # Errors
    ///
    /// The stack has no line of our module. The error says why.
    pub fn simulate_service(
        &self,
        service: &str,
        known: &impl Fn(&Entry) -> Option<Code>,
    ) -> Result<Simulation, String> {
        let stack = self.libpam.service(service);
        let stack = stack.ok_or_else(|| format!("neither the service {service} nor other has a file"))?;
        let simulation = self.simulate_with(&stack, known);
        if simulation.ours().next().is_some() {
            return Ok(simulation);
        }
        let why = match self.libpam.stack(service) {
            Some(_) => format!("the session stack of {service} has no pam_idle_watchdog.so line"),
            None => format!(
                "{service} has no file, and the session stack of other has no pam_idle_watchdog.so line"
            ),
        };
        let misspelled: String = stack.misspelled.iter().map(|line| format!("; {line}")).collect();
        Err(why + &misspelled)
    }

    /// Why libpam cannot load a module. Without a libpam, this assumes that it can.
    fn loads(&self, path: &str) -> Result<(), String> {
        let known = path.starts_with('/') || self.libpam.is_known();
        if known { self.libpam.module(path).map(drop) } else { Ok(()) }
    }

    /// The files of our module that the lines of a stack name.
    #[must_use]
    pub fn modules(&self, stack: &Stack) -> Vec<PathBuf> {
        let ours = stack.entries.iter().filter(|entry| entry.is_ours());
        let paths = ours.filter_map(|entry| match &entry.runs {
            Runs::Module(path) => self.libpam.module(path).ok(),
            Runs::Substack | Runs::Fails(_) => None,
        });
        paths.collect()
    }
}
