//! The policy's files: which there are, and how they are read.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::decide::Policy;
use super::file::{self, Fault};
use crate::sys::trusted;

/// The administrator's policy. The first of these that exists is read.
const FILES: [&str; 2] = [ADMIN, "/usr/share/security/idle_watchdog.conf"];
const ADMIN: &str = "/etc/security/idle_watchdog.conf";

/// The files a policy is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The first that exists is read. Where `required`, one of them must.
    main: Vec<PathBuf>,
    required: bool,
    /// Its `*.conf` come before the main file, in the order of their names: behind a rule for
    /// everybody, as main files end with, they would decide nothing.
    dropins: PathBuf,
    /// Who must own them all.
    owner: u32,
}

impl Files {
    /// Those of the system, or with `conf=` that file, which must exist, and its drop-ins.
    #[must_use]
    pub fn of(conf: Option<&Path>) -> Self {
        let main = conf.map_or_else(|| FILES.map(PathBuf::from).to_vec(), |conf| vec![conf.to_owned()]);
        let mut dropins = conf.unwrap_or(Path::new(ADMIN)).as_os_str().to_owned();
        dropins.push(".d");
        Self { main, required: conf.is_some(), dropins: dropins.into(), owner: 0 }
    }

    /// The same files, of another owner: for tests that are not root's.
    #[must_use]
    pub fn owned_by(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// Reads all of them, from the disk.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them. Nothing of the policy holds then.
    pub fn load(&self) -> Result<Policy, Vec<Fault>> {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        let mut paths = self.dropins().map_err(|e| vec![Fault::of_file(&self.dropins, e)])?;
        let main = self.main.iter().find(|path| fs::symlink_metadata(path).is_ok());
        let main = main.or_else(|| self.main.first().filter(|_| self.required));
        paths.extend(main.cloned());
        for path in paths {
            let text = self.text(&path).map_err(|fault| vec![fault]);
            match text.and_then(|text| file::parse(path, &text)) {
                Ok(mut found) => rules.append(&mut found),
                Err(mut found) => faults.append(&mut found),
            }
        }
        if faults.is_empty() { Ok(Policy { rules }) } else { Err(faults) }
    }

    /// The text of a file that a setting names, owned like the policy.
    ///
    /// # Errors
    ///
    /// Why it cannot be trusted or read.
    pub fn text(&self, path: &Path) -> Result<String, Fault> {
        trusted::read(path, self.owner).map_err(|e| Fault::of_file(path, e))
    }

    /// The drop-ins, in the order of their names.
    fn dropins(&self) -> io::Result<Vec<PathBuf>> {
        match trusted::check_folder(&self.dropins, self.owner) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dropins)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension() == Some(OsStr::new("conf")) && !hidden {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}
