//! Ring 1: what the documents and the bill of materials say about the crates of other people.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../examples/crates/copyright.rs"]
mod copyright;
#[path = "../examples/crates/graph.rs"]
mod graph;
#[path = "../examples/crates/sbom.rs"]
mod sbom;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use graph::{Id, PROGRAMS, TARGET, linked, root};
use serde_json::Value;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_list_of_authors_and_licences_is_that_of_the_crates() {
    let list = copyright::text().unwrap();
    assert!(list == text("COPYRIGHT"), "COPYRIGHT is not up to date: run `make copyright`");
}

#[test]
fn all_targets_link_the_same_crates() {
    let others = [
        "i686-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "armv7-unknown-linux-gnueabihf",
        "s390x-unknown-linux-gnu",
        "x86_64-unknown-linux-musl",
    ];
    for (program, features) in PROGRAMS {
        let usual = linked(features, TARGET).unwrap();
        assert!(usual.len() > 5, "{program}");
        for other in others {
            assert!(linked(features, other).unwrap() == usual, "{program}: {other}");
        }
    }
}

/// The names of the crates that a component of a bill of materials contains, through any number of others.
fn contained(bill: &Value, component: &str) -> BTreeSet<String> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![component.to_owned()]);
    while let Some(next) = waiting.pop() {
        let entries = bill["dependencies"].as_array().unwrap();
        let called = entries.iter().find(|entry| entry["ref"] == next.as_str());
        for called in called.into_iter().flat_map(|entry| entry["dependsOn"].as_array().unwrap()) {
            let known = bill["components"].as_array().unwrap();
            let known: Vec<_> = known.iter().filter(|known| known["bom-ref"] == *called).collect();
            assert_eq!(known.len(), 1, "{called}");
            if found.insert(known[0]["name"].as_str().unwrap().to_owned()) {
                waiting.push(called.as_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn make_installs_the_bill_of_materials() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bill");
    let _ = fs::remove_dir_all(&directory);
    let output = Command::new("make")
        .current_dir(root())
        .env("SOURCE_DATE_EPOCH", "86400")
        .args(["--no-print-directory", "install-sbom", "DOCDIR=/doc"])
        .arg(format!("DESTDIR={}", directory.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let mut installed = bill(&fs::read_to_string(directory.join("doc/idle-watchdog.cdx.json")).unwrap());
    let time = installed["metadata"].as_object_mut().unwrap().remove("timestamp");
    assert_eq!(time.unwrap(), "1970-01-02T00:00:00Z");
    assert_eq!(installed, bill(&sbom::text(None).unwrap()));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_bill_of_materials_says_what_is_in_each_program() {
    let bill: Value = serde_json::from_str(&sbom::text(None).unwrap()).unwrap();
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    for (program, features) in PROGRAMS {
        let names = linked(features, TARGET).unwrap().into_keys().map(|id| id.name);
        let mut names: BTreeSet<String> = names.filter(|name| name != env!("CARGO_PKG_NAME")).collect();
        names.insert("rust-std".to_owned());
        assert_eq!(contained(&bill, program), names, "{program}");
    }
    let everything: BTreeSet<_> =
        PROGRAMS.iter().flat_map(|(program, _)| contained(&bill, program)).collect();
    assert_eq!(bill["components"].as_array().unwrap().len(), everything.len());
    for component in bill["components"].as_array().unwrap() {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let crates_io = component["purl"].is_string();
        assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), crates_io.then_some(64));
    }
}

/// Code that can panic has the path of its source in the program.
#[test]
fn no_program_contains_a_crate_that_the_bill_does_not_name() {
    let directory =
        std::env::var_os("IDLE_WATCHDOG_BUILD_DIR").map_or_else(|| root().join("target/dist"), PathBuf::from);
    let crates = graph::crates().unwrap();
    for (program, features) in PROGRAMS {
        let file = directory.join(program);
        let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}: run make first", file.display()));
        let bytes = String::from_utf8_lossy(&bytes);
        let is_in = |id: &Id| {
            // From cargo's registry, or from a vendor directory. The standard library has crates of its own.
            let places = [format!("/{}-{}/src/", id.name, id.version), format!("/vendor/{}/src/", id.name)];
            let mut found = places.iter().flat_map(|place| bytes.match_indices(place.as_str()));
            found.any(|(at, _)| !bytes[..at].ends_with("/rust/deps"))
        };
        let found: Vec<&Id> = crates.keys().filter(|id| is_in(id)).collect();
        assert!(!found.is_empty(), "{program}: the search finds nothing at all");
        let named = linked(features, TARGET).unwrap();
        let missing: Vec<&String> =
            found.iter().filter(|id| !named.contains_key(id)).map(|id| &id.name).collect();
        assert!(missing.is_empty(), "{program} contains {missing:?}");
    }
}

/// The keys in the tables of a manifest that end in `dependencies`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") {
            let pair = line.split_once(" = ").filter(|(name, _)| !name.starts_with([' ', '#']));
            found.extend(pair.map(|(name, _)| name.to_owned()));
        }
    }
    found
}

#[test]
fn contributing_says_of_every_dependency_why_it_is_there_and_of_nothing_else() {
    let mut needed = dependencies(&text("Cargo.toml"));
    needed.extend(dependencies(&text("fuzz/Cargo.toml")));
    assert!(needed.remove(env!("CARGO_PKG_NAME")), "the fuzz targets are of another package");
    let contributing = text("CONTRIBUTING.md");
    let section = contributing.split("\n## Dependencies\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(str::to_owned).collect::<BTreeSet<_>>(), needed);
}

/// The values of a tag in the spec file of the RPM.
fn tag<'a>(spec: &'a str, tag: &str) -> Vec<&'a str> {
    let lines = spec.lines().take_while(|line| *line != "%description");
    let values = lines.filter_map(|line| line.strip_prefix(tag)?.strip_prefix(':'));
    values.map(str::trim).collect()
}

#[test]
fn the_rpm_names_the_crates_that_are_in_the_programs_and_their_licences() {
    let spec = text("packaging/rpm/pam_idle_watchdog.spec");
    let crates = graph::crates().unwrap();
    let ours = env!("CARGO_PKG_NAME");
    let ids = PROGRAMS.iter().flat_map(|(_, features)| linked(features, TARGET).unwrap().into_keys());
    let ids: BTreeSet<Id> = ids.filter(|id| id.name != ours).collect();
    let wanted: Vec<String> =
        ids.iter().map(|id| format!("bundled(crate({})) = {}", id.name, id.version)).collect();
    assert!(tag(&spec, "Provides") == wanted, "write Provides: {}", wanted.join("\nProvides: "));

    let [license] = tag(&spec, "License")[..] else { panic!("a licence of the package") };
    let without_brackets = |term: &str| term.trim_matches(['(', ')']).to_owned();
    let named: BTreeSet<String> = license.split(" AND ").map(without_brackets).collect();
    // Apache-2.0 OR MIT is the same as MIT OR Apache-2.0.
    let sorted = |expression: &str| expression.split(" OR ").map(str::to_owned).collect::<BTreeSet<_>>();
    let terms = |expressions: BTreeSet<String>| -> BTreeSet<_> {
        expressions.iter().map(|expression| sorted(expression)).collect()
    };
    let mut used: BTreeSet<String> = ids.iter().map(|id| crates[id].license.clone()).collect();
    used.insert(env!("CARGO_PKG_LICENSE").to_owned());
    assert_eq!(terms(named), terms(used), "License in the spec file");
}
