//! The cases of ring 3, which share one guest.

use super::*;

/// All files are read into one shell. If two of them set one variable, the second value applies in both.
#[test]
fn no_two_files_of_ring_3_set_the_same_variable() {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/vm/cases")).unwrap() {
        let path = entry.unwrap().path();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((name, _)) = line.split_once('=') else { continue };
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                let other = files.insert(name.to_owned(), path.clone());
                assert!(other.is_none_or(|other| other == path), "{} sets {name}, too", path.display());
            }
        }
    }
}

/// Cases run beside each other in one guest. Two sshd at one port would disturb each other, and so would two sessions on one
/// virtual console.
#[test]
fn no_two_cases_of_ring_3_use_the_same_port_or_console() {
    let mut users: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/vm/cases")).unwrap() {
        let mut function = String::new();
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            if let Some((name, _)) =
                line.split_once("() {").filter(|(name, _)| !name.starts_with(['\t', ' ']))
            {
                function = name.to_owned();
            }
            for used in ports_and_consoles(line) {
                let other = users.insert(used.clone(), function.clone());
                let alone = other.as_ref().is_none_or(|other| *other == function);
                assert!(alone, "{function} and {other:?} use {used}");
            }
        }
    }
    for prefix in ["port", "tty"] {
        assert!(users.keys().filter(|used| used.starts_with(prefix)).count() > 5, "{users:?}");
    }
}

/// The ports and virtual consoles that a line of a case names.
fn ports_and_consoles(line: &str) -> Vec<String> {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let words: Vec<&str> = line.split_whitespace().collect();
    let named = words.windows(2).filter_map(|pair| match pair[0] {
        "stack" | "another_sshd" => Some(("port ", number(pair[1]))),
        "vt_login" | "greeter_ends" => Some(("tty", number(pair[1]))),
        _ => None,
    });
    let written = line.split("tty").skip(1).map(|text| ("tty", number(text)));
    let all = named.chain(written).filter(|(_, number)| !number.is_empty());
    all.map(|(prefix, number)| format!("{prefix}{number}")).collect()
}
