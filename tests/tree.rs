//! Ring 1: rules for the source tree and its documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "tree/modules.rs"]
mod modules;
#[path = "tree/pictures.rs"]
mod pictures;
#[path = "tree/ring3.rs"]
mod ring3;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pam_idle_watchdog::command::pam_stack::parse;
use pam_idle_watchdog::policy::{Options, Policy, Template, Who};
use pam_idle_watchdog::record::{Event, Key, Severity};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The paths and the texts of the Rust files below a directory.
fn rust_files(directory: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().to_owned(), text);
            }
        }
    }
    assert!(!found.is_empty(), "no Rust file below {directory}");
    found
}

/// A line without its comment. (No string of the product contains two slashes.)
fn code(line: &str) -> &str {
    line.split("//").next().unwrap()
}

#[test]
fn unsafe_code_is_only_where_contributing_says() {
    let allowed = |path: &Path| path.starts_with("src/sys");
    let is_unsafe = |text: &str| {
        let mut words =
            text.lines().flat_map(|line| code(line).split(|c: char| !c.is_alphanumeric() && c != '_'));
        words.any(|word| word == "unsafe")
    };
    let (mut inside, mut outside) = (0, Vec::new());
    for (path, text) in rust_files("src") {
        match (is_unsafe(&text), allowed(&path)) {
            (true, true) => inside += 1,
            (true, false) => outside.push(path),
            (false, _) => {}
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
    assert!(inside > 0, "the search finds nothing at all");
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (path, text) in rust_files("src") {
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        let blocks = text.lines().filter(|line| code(line).contains("unsafe {")).count();
        assert!(count("// SAFETY:") >= blocks, "{}: {blocks} blocks", path.display());
    }
}

/// The options, as the parser's error message lists them.
fn option_words() -> Vec<String> {
    let problem = Options::of_line(["no-such-word"]).unwrap_err().problem;
    let (_, words) = problem.split_once("one of ").unwrap_or_else(|| panic!("{problem}"));
    words.split(' ').map(str::to_owned).collect()
}

/// The first cells of the README's tables.
fn first_cells(readme: &str) -> BTreeSet<&str> {
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// The parts of a text in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_readme_is_short() {
    let readme = text("README.md");
    let words = readme.split_whitespace().count();
    assert!(words <= 1300, "README.md has {words} words");
    for (number, line) in (1..).zip(readme.lines()) {
        let length = line.chars().count();
        assert!(length <= 100, "README.md:{number} has {length} characters");
    }
}

#[test]
fn the_readme_names_no_unknown_option() {
    let words = option_words();
    let readme = text("README.md");
    let named = quoted(&readme).filter(|word| word.contains('=') && !word.contains([' ', '\n']));
    let mut seen = 0;
    for name in named {
        let word = name.split_inclusive('=').next().unwrap();
        assert!(words.iter().any(|known| known == word), "{name} is not an option");
        seen += 1;
    }
    assert!(seen > 2, "{seen} options in README.md");
}

/// The terms that a section of a man page defines. A line that is not indented has one term or several. Each
/// term ends at its `=`, if it has one.
fn defined(page: &str, heading: &str) -> BTreeSet<String> {
    let section = section(page, heading);
    let lines = section.lines().filter(|line| line.starts_with('*'));
    let terms = lines.flat_map(|line| line.split(", ")).filter_map(|term| term.strip_prefix('*'));
    let terms = terms.filter_map(|term| term.split('*').next());
    terms.map(|term| term.split_inclusive('=').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_option_is_in_the_man_pages_and_nothing_else_is() {
    let words: BTreeSet<String> = option_words().into_iter().collect();
    for (page, section) in
        [("man/pam_idle_watchdog.8.scd", "OPTIONS"), ("man/idle_watchdog.conf.5.scd", "SETTINGS")]
    {
        assert_eq!(defined(page, section), words, "{page}");
    }
}

#[test]
fn every_option_of_the_command_is_in_its_page_and_nothing_else_is() {
    let help = Command::new(env!("CARGO_BIN_EXE_idle-watchdog")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options = help.lines().filter_map(|line| line.split_whitespace().next());
    let mut options: BTreeSet<String> =
        options.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
    assert!(options.len() > 5, "{help}");
    options.extend(["--help", "--version"].map(str::to_owned));
    assert_eq!(defined("man/idle-watchdog.8.scd", "OPTIONS"), options);
}

#[test]
fn every_placeholder_is_explained() {
    let problem = Template::parse("{nothing}").unwrap_err();
    let (_, fields) = problem.split_once("one of ").unwrap_or_else(|| panic!("{problem}"));
    let page = text("man/pam_idle_watchdog.8.scd");
    for field in fields.split(' ') {
        assert!(page.contains(field), "{field} is not in the man page");
    }
}

/// The documents that show PAM lines and rules, with their texts.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::from([(PathBuf::from("README.md"), text("README.md"))]);
    for directory in ["docs", "man", "pam.d-examples"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let path = Path::new(directory).join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                continue;
            }
            let mut text = text(path.to_str().unwrap());
            if path.extension().is_some_and(|extension| extension == "scd") {
                // The page shows it like this.
                text = text.replace("\\\\", "\\");
            }
            found.insert(path, text);
        }
    }
    found
}

#[test]
fn every_pam_line_in_the_documents_is_valid() {
    let mut seen = BTreeMap::from([("session", 0), ("account", 0)]);
    for (document, text) in documents() {
        for line in text.lines().map(str::trim_start) {
            // Lines that are commented out count, too, because people copy them.
            let line = line.trim_start_matches(['#', ' ']);
            let Some((control, words)) = line.split_once("pam_idle_watchdog.so") else { continue };
            let kind = control.split_whitespace().next().unwrap_or_default();
            let Some(count) = seen.get_mut(kind) else { continue };
            // authselect removes its condition when it writes the file.
            let words = words.split("{include if").next().unwrap();
            let words = parse::words(words.split('#').next().unwrap());
            let read = Options::of_line(words.iter().map(String::as_str));
            assert!(read.is_ok(), "{}: {line}: {read:?}", document.display());
            *count += 1;
        }
    }
    assert!(seen["session"] >= 5 && seen["account"] >= 3, "{seen:?}");
}

/// The policies in a text. Each starts at its heading and ends at the next empty line or at the end of the block.
fn policies(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let headings = (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with("# who "));
    let block = |at: usize| lines[at..].iter().take_while(|line| !matches!(line.trim(), "" | "```"));
    headings.map(|at| block(at).copied().collect::<Vec<_>>().join("\n")).collect()
}

#[test]
fn every_policy_in_the_documents_is_valid() {
    let mut shown = BTreeSet::new();
    for (document, text) in documents() {
        // The document is a policy, or shows parts of policies.
        let whole = document.extension().is_some_and(|extension| extension == "conf");
        for policy in if whole { vec![text] } else { policies(&text) } {
            let rules = Policy::parse(document.clone(), &policy).unwrap_or_default().rules;
            assert!(!rules.is_empty(), "{}: {policy}", document.display());
            // We assume that a user may be in any group and have any uid, so exceptions must come first.
            let known = |user: &str, who: &Who| match who {
                Who::User(name) => Some(user == name),
                Who::Any | Who::Group(_) | Who::Uids(..) => Some(true),
            };
            for (at, rule) in rules.iter().enumerate() {
                let over = rules[..at].iter().find(|earlier| earlier.covers(rule, &known));
                assert_eq!(over, None, "{}: {rule}", document.display());
            }
            shown.insert(document.clone());
        }
    }
    for document in ["README.md", "man/idle_watchdog.conf.5.scd", "pam.d-examples/idle_watchdog.conf"] {
        assert!(shown.contains(Path::new(document)), "{document} shows none");
    }
}

/// A section of a man page, without its heading.
fn section(page: &str, section: &str) -> String {
    let page = text(page);
    let (_, rest) = page.split_once(&format!("\n# {section}\n")).unwrap_or_else(|| panic!("no {section}"));
    rest.split("\n# ").next().unwrap().to_owned()
}

/// The severities as the man page names them.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "err",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
        Severity::Info => "info",
        Severity::Debug => "debug",
    }
}

#[test]
fn every_event_is_in_the_man_page_with_its_severity_and_nothing_else_is() {
    let page = section("man/pam_idle_watchdog.8.scd", "RECORDS");
    // *ended* (notice; err if a process survives)
    let terms = page.lines().filter_map(|line| line.strip_prefix('*')?.split_once("* ("));
    let severity = |rest: &str| rest.split([')', ';']).next().unwrap().to_owned();
    let explained: BTreeMap<String, String> =
        terms.map(|(event, rest)| (event.to_owned(), severity(rest))).collect();
    let events = Event::ALL.iter().map(|event| (event.name().to_owned(), word(event.severity()).to_owned()));
    assert_eq!(explained, events.collect());
}

#[test]
fn every_field_of_the_records_is_in_the_man_page_and_nothing_else_is() {
    // *idle=*, or *believed=yes*
    let page = section("man/pam_idle_watchdog.8.scd", "RECORDS");
    let bold = page.split('*').skip(1).step_by(2);
    let explained: BTreeSet<&str> = bold.filter_map(|term| Some(term.split_once('=')?.0)).collect();
    let options = option_words();
    let is_option = |key: &str| options.iter().any(|option| option.strip_suffix('=') == Some(key));
    for key in Key::ALL {
        assert!(explained.contains(key.name()), "{}= is not in the man page", key.name());
    }
    for key in explained {
        let known = Key::ALL.iter().any(|known| known.name() == key);
        assert!(known || is_option(key), "{key}= is not a field");
    }
}

/// The entries of the journal's catalog: each number (MESSAGE_ID), and the text below it.
fn catalog() -> Vec<(u128, String)> {
    let catalog = text("dist/journal/pam_idle_watchdog.catalog");
    let lines: Vec<&str> = catalog.lines().filter(|line| !line.starts_with('#')).collect();
    let lines = lines.join("\n");
    let entries = lines.split("\n-- ").skip(1).map(|entry| {
        let (id, text) = entry.split_once('\n').unwrap();
        assert!(id.len() == 32 && !id.contains(char::is_uppercase), "{id}");
        (u128::from_str_radix(id, 16).unwrap(), text.to_owned())
    });
    entries.collect()
}

#[test]
fn the_catalog_explains_every_event_and_nothing_else() {
    let entries = catalog();
    let mut explained: Vec<u128> = entries.iter().map(|(id, _)| *id).collect();
    let mut events: Vec<u128> = Event::ALL.iter().map(|event| event.message_id()).collect();
    explained.sort_unstable();
    events.sort_unstable();
    let shown = |ids: &[u128]| ids.iter().map(|id| format!("{id:032x}")).collect::<Vec<_>>();
    assert_eq!(shown(&explained), shown(&events));
    let fields: BTreeSet<String> = Key::ALL
        .iter()
        .map(|key| format!("IDLE_WATCHDOG_{}", key.name().to_uppercase().replace('-', "_")))
        .collect();
    for (id, text) in entries {
        let (heading, body) = text.split_once("\n\n").unwrap();
        let headings: Vec<&str> = heading.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(headings, ["Subject", "Defined-By", "Support"], "{id:032x}");
        assert!(body.trim().contains("\n\n"), "{id:032x}: what it means, and what to do");
        for field in text.split('@').skip(1).step_by(2) {
            assert!(fields.contains(field), "{id:032x}: {field} is not a field");
        }
    }
}

#[test]
fn the_man_page_has_the_number_of_every_event_and_no_other() {
    let page = section("man/pam_idle_watchdog.8.scd", "RECORDS");
    // |  *ended*
    // :  MESSAGE_ID
    let cells = page.lines().filter_map(|line| line.strip_prefix("|  ").or_else(|| line.strip_prefix(":  ")));
    let cells: Vec<&str> = cells.collect();
    let rows: BTreeMap<&str, &str> = cells.chunks(2).map(|row| (row[0].trim_matches('*'), row[1])).collect();
    let ids: Vec<(&str, String)> =
        Event::ALL.iter().map(|event| (event.name(), format!("{:032x}", event.message_id()))).collect();
    let ids: BTreeMap<&str, &str> = ids.iter().map(|(name, id)| (*name, id.as_str())).collect();
    assert_eq!(rows, ids);
}

/// If nothing wrote an event or a field, its explanation would be useless.
#[test]
fn every_event_and_every_field_is_written_somewhere() {
    let sources = rust_files("src");
    let product: String = sources.values().map(|text| text.split("#[cfg(test)]").next().unwrap()).collect();
    let mut words = BTreeSet::new();
    for kind in ["Event::", "Key::"] {
        let variants = product.split(kind).skip(1);
        words.extend(variants.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()));
    }
    let names = Event::ALL.iter().map(|event| format!("{event:?}"));
    for name in names.chain(Key::ALL.iter().map(|key| format!("{key:?}"))) {
        assert!(words.contains(name.as_str()), "{name} is never written");
    }
}

#[test]
fn every_variable_of_the_ansible_role_is_described_and_explained() {
    let file = |name: &str| text(&format!("dist/ansible/roles/idle_watchdog/{name}"));
    let keys = |text: &str| -> BTreeSet<String> {
        let keys = text.lines().filter_map(|line| line.trim_start().split_once(':')).map(|(key, _)| key);
        keys.filter(|key| key.starts_with("idle_watchdog_")).map(str::to_owned).collect()
    };
    let defaults = keys(&file("defaults/main.yml"));
    assert!(defaults.len() > 5, "{defaults:?}");
    assert_eq!(keys(&file("meta/argument_specs.yml")), defaults);
    let readme = file("README.md");
    assert_eq!(first_cells(&readme).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), defaults);
}

/// `1.85.1` → (1, 85).
fn minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn nothing_that_runs_needs_a_newer_rust_than_we_say() {
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host.trim()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by_id = |list: &Value| -> BTreeMap<String, Value> {
        let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|item| (id(item), item.clone())).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));

    let ours = metadata["resolve"]["root"].as_str().unwrap();
    let promised = packages[ours]["rust_version"].as_str().expect("our rust-version");
    let (mut seen, mut waiting, mut newer) = (BTreeSet::new(), vec![ours], Vec::new());
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        if packages[id]["rust_version"].as_str().is_some_and(|version| minor(version) > minor(promised)) {
            newer.push(id);
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            // Normal and build dependencies are built for users. Dependencies of tests may need a newer Rust.
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                waiting.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
    assert_eq!(newer, [""; 0], "newer than {promised}");
    for document in ["README.md", "CONTRIBUTING.md"] {
        assert!(text(document).contains(&format!("Rust {promised}")), "{document} names another Rust");
    }
}
