//! Ring 1: the completions in `dist/completions` are those of the command line, and real shells offer the right words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../examples/completions/shells.rs"]
mod shells;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pam_idle_watchdog::command::args::table::SUBCOMMANDS;

fn completions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/completions")
}

#[test]
fn they_are_those_of_the_command_line() {
    for (name, text) in shells::files() {
        let found = fs::read_to_string(completions().join(name)).unwrap_or_default();
        assert!(found == text, "dist/completions/{name} is not up to date: run `make completions`");
    }
}

/// The output of a shell. It may write nothing to standard error.
fn output(shell: &str, arguments: &[&str]) -> BTreeSet<String> {
    // The time only bounds a failure: a shell that waits for ever.
    let output = Command::new("timeout")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["60", shell])
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{shell}: {e}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(text(output.stderr), "", "{shell} {arguments:?}");
    text(output.stdout).lines().map(str::to_owned).collect()
}

/// What bash offers for the last word. As at the keyboard, `=` and `:` are words of their own.
fn bash(line: &str) -> BTreeSet<String> {
    let script = r#"source dist/completions/idle-watchdog.bash
        [[ $(complete -p idle-watchdog) == *"-F _idle_watchdog "* ]] || echo "not registered" >&2
        COMP_WORDS=(idle-watchdog "$@"); COMP_CWORD=$#
        _idle_watchdog idle-watchdog
        printf '%s\n' "${COMPREPLY[@]}""#;
    let line = line.replace('=', " = ");
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    // A space at the end begins the next word.
    let next: &[&str] =
        if line.is_empty() || (line.ends_with(' ') && !line.ends_with("= ")) { &[""] } else { &[] };
    let mut found = output("bash", &[&["--norc", "-uc", script, "bash"], &words[..], next].concat());
    found.remove("");
    found
}

/// What zsh offers for the last word. It only completes at a terminal, so it gets one.
fn zsh(line: &str) -> BTreeSet<String> {
    let script = r#"zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PROMPT=; fpath=($PWD/dist/completions $fpath); autoload -Uz compinit; compinit -D -u'
        # This function is called with the words. -O, -A and -D ask for them in a variable.
        zpty -w shell 'compadd() {
            local -a words
            if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
                builtin compadd -A words "$@"
                print -- "\noffer ${(pj:\noffer :)words}"
            fi
            builtin compadd "$@"
        }'
        zpty -w shell 'whole() { _main_complete; print "do""ne" }; zle -C whole complete-word whole; bindkey "^I" whole; print "rea""dy"'
        zpty -r shell said '*ready*'
        zpty -w -n shell "idle-watchdog $1"$'\t'
        zpty -r shell said '*done*'
        print -r -- $said
        zpty -d shell"#;
    let lines = output("zsh", &["-fc", script, "zsh", line]);
    let words = lines.iter().filter_map(|line| line.trim().strip_prefix("offer "));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What fish offers for the last word, without its explanations.
fn fish(line: &str) -> BTreeSet<String> {
    let script = format!("source dist/completions/idle-watchdog.fish; complete -C 'idle-watchdog {line}'");
    let lines = output("fish", &["--no-config", "-c", &script]);
    lines.iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

type Shell = fn(&str) -> BTreeSet<String>;
const SHELLS: [(&str, Shell); 3] = [("bash", bash), ("zsh", zsh), ("fish", fish)];

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_subcommand_and_every_flag_is_offered() {
    for (name, shell) in SHELLS {
        let mut names = set(SUBCOMMANDS.iter().flat_map(|sub| [&[sub.name], sub.aliases].concat()));
        let offered = shell("");
        assert!(offered.is_superset(&names), "{name}: {offered:?}");
        names.extend(["--help", "--version", "-h", "-V"].map(str::to_owned));
        assert!(offered.is_subset(&names), "{name}: {offered:?}");
        for sub in SUBCOMMANDS {
            let flags: BTreeSet<String> = sub.flags.iter().map(|flag| format!("--{}", flag.name)).collect();
            let mut offered = shell(&format!("{} --", sub.name));
            offered.remove("--help");
            assert_eq!(offered, flags, "{name}: {}", sub.name);
        }
    }
}

#[test]
fn the_start_of_a_word_decides() {
    for (name, shell) in SHELLS {
        assert_eq!(shell("rel"), set(["reload"]), "{name}");
        assert_eq!(shell("check --str"), set(["--strict"]), "{name}");
        let mut offered = shell("no-such-command --");
        offered.remove("--help");
        assert_eq!(offered, set([]), "{name}");
    }
}

#[test]
fn values_are_offered() {
    for (name, shell) in SHELLS {
        assert_eq!(shell("check --user roo"), set(["root"]), "{name}");
        let with_sign = shell("check --user=roo");
        let whole = set([if name == "fish" { "--user=root" } else { "root" }]);
        assert_eq!(with_sign, whole, "{name}");
        // Each machine that has libpam has this one.
        assert!(shell("check --service o").contains("other"), "{name}");
        assert_eq!(shell("check Cargo.t"), set(["Cargo.toml"]), "{name}");
        assert_eq!(shell("check --file Cargo.t"), set(["Cargo.toml"]), "{name}");
        assert_eq!(shell("check --strict Cargo.t"), set(["Cargo.toml"]), "{name}");
        // There can be only one file, and the options of a PAM line are not known to the shells.
        assert_eq!(shell("check Cargo.lock Cargo.t"), set([]), "{name}");
        assert_eq!(shell("check --line Cargo.t"), set([]), "{name}");
    }
}

/// Only bash and zsh know which flags cannot follow.
#[test]
fn a_flag_that_was_given_is_not_offered_again() {
    for (name, shell) in &SHELLS[..2] {
        assert!(!shell("check --json --").contains("--json"), "{name}");
    }
}

#[test]
fn sessions_are_those_of_logind_and_none_if_there_is_no_logind() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("completions");
    let _ = fs::remove_dir_all(&directory);
    let sessions = directory.join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    for session in ["12", "13", "c1"] {
        fs::write(sessions.join(session), "").unwrap();
        mkfifo(&sessions.join(format!("{session}.ref")), Mode::S_IRUSR).unwrap();
    }
    let offered = |place: &Path| {
        // The same texts, with another place for the sessions.
        for (name, text) in shells::files() {
            assert!(text.contains("/run/systemd/sessions/*"), "{name}");
            let text = text.replace("/run/systemd/sessions", place.to_str().unwrap());
            fs::write(directory.join(name), text).unwrap();
        }
        let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let bash = format!("source {}; _idle_watchdog_sessions", file("idle-watchdog.bash"));
        let fish = format!("source {}; __idle_watchdog_sessions", file("idle-watchdog.fish"));
        let zsh = format!(
            "_arguments() {{ }}; compadd() {{ print -l ${{(P)2}} }}; source {}; _idle_watchdog_sessions",
            file("_idle-watchdog")
        );
        [
            output("bash", &["--norc", "-uc", &bash]),
            output("zsh", &["-fc", &zsh]),
            output("fish", &["--no-config", "-c", &fish]),
        ]
    };
    for offered in offered(&sessions) {
        assert_eq!(offered, set(["12", "13", "c1"]));
    }
    for mut offered in offered(&directory.join("missing")) {
        offered.remove("");
        assert_eq!(offered, set([]));
    }
}
