//! Ring 1: the ELF files that `make` has built. `readelf` and `nm` are installed with every linker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::Command;

fn built(name: &str) -> PathBuf {
    let directory = std::env::var_os("IDLE_WATCHDOG_BUILD_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/dist")), PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: run make first", path.display());
    path
}

/// The output of a program for one of these files.
fn ask(program: &str, options: &[&str], name: &str) -> String {
    let output = Command::new(program)
        .env("LC_ALL", "C")
        .args(options)
        .arg(built(name))
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const MODULE: &str = "pam_idle_watchdog.so";
const HELPER: &str = "pam_idle_watchdog_helper";
const COMMAND: &str = "idle-watchdog";

/// The libraries that a file needs, from lines such as `(NEEDED)  Shared library: [libc.so.6]`.
fn needed(dynamic: &str) -> Vec<&str> {
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.map(|line| line.split_once('[').unwrap().1.trim_end_matches(']')).collect()
}

#[test]
fn the_module_exports_the_six_hooks_and_nothing_else() {
    let symbols = ask("nm", &["-D", "--defined-only", "--format=posix"], MODULE);
    let mut names: Vec<&str> = symbols.lines().map(|line| line.split(' ').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "pam_sm_acct_mgmt",
            "pam_sm_authenticate",
            "pam_sm_chauthtok",
            "pam_sm_close_session",
            "pam_sm_open_session",
            "pam_sm_setcred",
        ]
    );
}

#[test]
fn the_module_stays_loaded() {
    let dynamic = ask("readelf", &["--dynamic", "--wide"], MODULE);
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).expect("a FLAGS_1 entry");
    assert!(flags.contains("NODELETE"), "{flags}");
}

#[test]
fn the_module_needs_libpam_and_what_every_program_has() {
    let dynamic = ask("readelf", &["--dynamic", "--wide"], MODULE);
    let expected = |name: &&str| {
        ["libpam.so.0", "libgcc_s.so.1", "libc.so.6"].contains(name) || name.starts_with("ld-linux")
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) = needed(&dynamic).into_iter().partition(expected);
    assert_eq!(unknown, [""; 0]);
    assert!(known.contains(&"libpam.so.0"), "{known:?}");
}

#[test]
fn the_module_is_hardened() {
    let dynamic = ask("readelf", &["--dynamic", "--wide"], MODULE);
    assert!(dynamic.contains("BIND_NOW"), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
    for name in [MODULE, HELPER, COMMAND] {
        let segments = ask("readelf", &["--segments", "--wide"], name);
        let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("a GNU_STACK entry");
        assert!(stack.contains(" RW ") && !stack.contains("RWE"), "{name}: {stack}");
        assert!(segments.contains("GNU_RELRO"), "{name}");
    }
}

#[test]
fn the_helper_needs_no_loader_and_no_library() {
    let segments = ask("readelf", &["--segments", "--wide"], HELPER);
    assert!(segments.contains(" LOAD "), "{segments}");
    assert!(!segments.contains(" INTERP "), "{segments}");
    assert_eq!(needed(&ask("readelf", &["--dynamic", "--wide"], HELPER)), [""; 0]);
}

#[test]
fn the_command_needs_no_libpam() {
    let dynamic = ask("readelf", &["--dynamic", "--wide"], COMMAND);
    assert!(needed(&dynamic).contains(&"libc.so.6"), "{dynamic}");
    assert!(!dynamic.contains("libpam"), "{dynamic}");
}

#[test]
fn the_module_contains_the_helpers_path() {
    let text = std::fs::read(built(MODULE)).unwrap();
    let place = b"/pam_idle_watchdog_helper";
    assert!(text.windows(place.len()).any(|window| window == place));
}

#[test]
fn no_program_contains_the_name_of_a_directory_of_the_builder() {
    let home = std::env::var("HOME").unwrap_or_default();
    let directories =
        [env!("CARGO_MANIFEST_DIR").to_owned(), format!("{home}/.cargo"), format!("{home}/.rustup")];
    for name in [MODULE, HELPER, COMMAND] {
        let text = std::fs::read(built(name)).unwrap();
        for directory in &directories {
            let found = text.windows(directory.len()).any(|window| window == directory.as_bytes());
            assert!(!found, "{name} contains {directory}");
        }
    }
}
