//! Whether fapolicyd lets libpam load our module, and lets the module start the helper. Its usual rules refuse
//! programs and libraries that are not in its database of trust.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::machine::Machine;
use crate::protocol::start::HELPER;

const PID_FILE: &str = "/run/fapolicyd.pid";
const ASKED: &str = "/usr/sbin/fapolicyd-cli";

/// The helper and the modules that fapolicyd does not trust.
#[must_use]
pub fn findings(machine: &Machine) -> Vec<String> {
    if !machine.file(PID_FILE).exists() {
        return Vec::new();
    }
    let output = Command::new(machine.file(ASKED)).arg("--dump-db").stdin(Stdio::null()).output();
    let database = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = said.lines().last().map_or_else(|| output.status.to_string(), str::to_owned);
            return vec![unknown(&why)];
        }
        Err(e) => return vec![unknown(&e.to_string())],
    };
    let files = modules(machine).into_iter().chain([machine.file(HELPER)]);
    // fapolicyd knows the real paths.
    let real = files.filter_map(|file| fs::canonicalize(file).ok());
    real.filter_map(|file| distrusted(&database, &machine.own_path(&file), size(&file)?)).collect()
}

/// The files of our module that PAM lines name.
fn modules(machine: &Machine) -> BTreeSet<PathBuf> {
    machine.libpam.stacks().flat_map(|stack| machine.modules(&stack)).collect()
}

fn unknown(why: &str) -> String {
    format!("fapolicyd runs, and it is not known whether it trusts {HELPER}: {ASKED} --dump-db: {why}")
}

fn size(file: &Path) -> Option<u64> {
    Some(fs::metadata(file).ok()?.size())
}

/// Looks for a file in the output of `fapolicyd-cli --dump-db`. Each line has a source, a path, a size in bytes and a
/// checksum.
fn distrusted(database: &str, path: &Path, size: u64) -> Option<String> {
    let path = path.display().to_string();
    // A path may have spaces.
    let entry = |line: &str| {
        let mut words = line.split_once(' ')?.1.rsplitn(3, ' ').skip(1);
        let size: u64 = words.next()?.parse().ok()?;
        (words.next()? == path).then_some(size)
    };
    let sizes: Vec<u64> = database.lines().filter_map(entry).collect();
    let problem = match sizes.as_slice() {
        [] => "does not trust it",
        sizes if !sizes.contains(&size) => "trusts an older version of it",
        _ => return None,
    };
    Some(format!(
        "{path}: fapolicyd runs and {problem}, so it may refuse it: run `fapolicyd-cli --file add {path}` (or \
         `--file update`) and `fapolicyd-cli --update`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_file_is_trusted_by_its_path_and_size() {
        let database = "rpmdb /usr/bin/a 10 00ff\nfiledb /opt/a b 11 00ff\nfiledb /usr/bin/a 12 00ff\n";
        let said = |path: &str, size| distrusted(database, Path::new(path), size);
        assert_eq!(said("/usr/bin/a", 10), None);
        assert_eq!(said("/usr/bin/a", 12), None);
        assert_eq!(said("/opt/a b", 11), None);
        assert!(said("/usr/bin/a", 11).is_some_and(|text| text.contains("older version")));
        assert!(said("/usr/bin", 10).is_some_and(|text| text.contains("does not trust it")));
        assert!(distrusted("Trust database is empty\n", Path::new("/usr/bin/a"), 10).is_some());
    }

    #[test]
    fn it_is_asked_only_if_it_runs() {
        let tree = Tree::with("session required pam_idle_watchdog.so timeout=15m");
        let machine = tree.machine();
        let found = || findings(&machine);
        assert_eq!(found(), Vec::<String>::new());
        tree.put("run/fapolicyd.pid", "7\n");
        assert!(found()[0].contains("it is not known"));
        let says = |text: &str| tree.program("usr/sbin/fapolicyd-cli", &format!("#!/bin/sh\n{text}\n"));
        says("echo 'no database' >&2; exit 1");
        assert!(found()[0].ends_with(": no database"));
        says("exit 4");
        assert!(found()[0].ends_with(": exit status: 4"));
        let trusts = |path: &str| format!("rpmdb {path} {} 00", size(&machine.file(path)).unwrap());
        says(&format!("echo '{}'", trusts(HELPER)));
        assert_eq!(found().len(), 1);
        assert!(found()[0].starts_with(&format!("/{}: fapolicyd", Tree::module())), "{:?}", found());
        says(&format!("echo '{}'; echo '{}'", trusts(HELPER), trusts(&Tree::module())));
        assert_eq!(found().len(), 1, "a path in the database starts with a slash");
        says(&format!("echo '{}'; echo '{}'", trusts(HELPER), trusts(&format!("/{}", Tree::module()))));
        assert_eq!(found(), Vec::<String>::new());
    }
}
