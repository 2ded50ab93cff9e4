//! The crates in Cargo.lock, as cargo describes them. Also which crates each program contains.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub type Failure = Box<dyn std::error::Error>;

/// The only place that crates come from, as Cargo.lock names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `make` builds, and the features that it contains. The module is built with the feature `command`, too, but
/// nothing of that is left in it. A test looks for the names of crates in the built files.
pub const PROGRAMS: [(&str, &str); 3] =
    [("pam_idle_watchdog.so", "module"), ("pam_idle_watchdog_helper", ""), ("idle-watchdog", "command")];

/// All targets of Linux link the same crates. A test compares them.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub name: String,
    pub version: String,
}

pub struct Crate {
    pub license: String,
    pub description: String,
    pub authors: Vec<String>,
    pub directory: PathBuf,
    /// SHA-256 of the file in the registry. Our own package has none.
    pub checksum: Option<String>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> Result<String, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo {}: {message}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `name = "libc"` → `libc`, if the key is `name`.
fn quoted(line: &str, key: &str) -> Option<String> {
    Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.trim_end_matches('"').to_owned())
}

/// The checksums in Cargo.lock.
fn checksums() -> Result<BTreeMap<Id, String>, Failure> {
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let mut found = BTreeMap::new();
    for entry in lock.split("[[package]]") {
        let value = |key| entry.lines().find_map(|line| quoted(line, key));
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert(Id { name, version }, checksum);
        }
    }
    Ok(found)
}

/// All packages in Cargo.lock: our own, and crates of the registry.
pub fn crates() -> Result<BTreeMap<Id, Crate>, Failure> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])?)?;
    let checksums = checksums()?;
    let mut found = BTreeMap::new();
    for package in metadata.get("packages").and_then(Value::as_array).into_iter().flatten() {
        let id = Id { name: string(&package["name"]), version: string(&package["version"]) };
        let ours = id.name == env!("CARGO_PKG_NAME");
        if !ours && package["source"] != REGISTRY {
            let source = &package["source"];
            return Err(format!("Cargo.toml: {} is from {source}: use the one of crates.io", id.name).into());
        }
        let authors = package["authors"].as_array().into_iter().flatten();
        let described = Crate {
            // An older way to write the same.
            license: string(&package["license"]).replace('/', " OR "),
            description: string(&package["description"]).split_whitespace().collect::<Vec<_>>().join(" "),
            authors: authors.map(string).collect(),
            directory: PathBuf::from(string(&package["manifest_path"])).with_file_name(""),
            checksum: checksums.get(&id).cloned(),
        };
        found.insert(id, described);
    }
    Ok(found)
}

/// The crates that code with these features contains, and which of them each crate calls. Our own package is the
/// first one. Crates that only take part in the build are not among them.
pub fn linked(features: &str, target: &str) -> Result<BTreeMap<Id, BTreeSet<Id>>, Failure> {
    let tree =
        ["tree", "--prefix", "depth", "--no-dedupe", "--format", "{p}", "--edges", "normal,no-proc-macro"];
    let of = ["--no-default-features", "--features", features, "--target", target];
    let tree = cargo(&[&tree[..], &of[..]].concat())?;
    let mut found: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    // The way from our own package to the current line.
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines() {
        // 2libc v0.2.191
        let name = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: usize = line.strip_suffix(name).unwrap_or_default().parse()?;
        let mut words = name.split(' ');
        let (Some(name), Some(version)) =
            (words.next(), words.next().and_then(|word| word.strip_prefix('v')))
        else {
            return Err(format!("cargo tree: {line}: expected a name and a version").into());
        };
        let id = Id { name: name.to_owned(), version: version.to_owned() };
        above.truncate(depth);
        if let Some(caller) = above.last() {
            found.entry(caller.clone()).or_default().insert(id.clone());
        }
        found.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(found)
}
