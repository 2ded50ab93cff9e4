//! Ring 1: the command simulates stacks in the same way as the libpam of this machine runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/libpam.rs"]
mod libpam;

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};

use pam_idle_watchdog::command::pam_stack::control::{Code, NAMES};
use pam_idle_watchdog::command::pam_stack::dispatch;
use pam_idle_watchdog::command::pam_stack::parse;
use pam_idle_watchdog::command::pam_stack::stack::{Entry, LineType};
use proptest::prelude::*;

/// Replaces libpam's function, so that messages about our stacks do not go to the log of this machine.
#[unsafe(no_mangle)]
extern "C" fn pam_syslog(_: *const c_void, _: c_int, _: *const c_char) {}

/// What libpam returns if it rejects a stack. `_pam_dispatch` uses this code for nothing else.
const SYSTEM_ERR: Code = Code(4);

fn returns() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &["success", "ignore", "session_err", "auth_err", "perm_denied", "new_authtok_reqd", "user_unknown"]
            [..],
    )
}

fn controls() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(required|requisite|optional|sufficient|Required|OPTIONAL)",
        4 => "\\[(success=(ok|done|bad|die|ignore|reset|[1-4]) ?)?(ignore=(ok|die|ignore|[1-3]) )?(session_err=(ok|done|reset|[1-3]) )?(default=(ok|die|bad|ignore|[1-3]))?\\]",
        1 => "(requird|\\[success\\]|\\[Success=ok\\]|\\[success=ok default=1x\\]|\\[success = 2 default=0\\]|success=ok|\\[required\\])",
    ]
}

/// One line. A module returns the code in its argument. `@` is replaced by the directory, because some versions of
/// libpam do not look for included files in the directory that they were given.
fn lines() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => (controls(), returns()).prop_map(|(control, code)| format!("session {control} pam_debug.so open_session={code}")),
        6 => "(session|SESSION) (include|substack|Include) @/[a-c]",
        1 => "-?session (required|optional|\\[module_unknown=ignore default=bad\\]) no_such_module.so",
        1 => "(sessio required pam_debug.so|session|session required|session (include|substack) none|auth include @/[a-c]|# nothing|)",
        1 => Just("session required \\\n pam_debug.so # a comment".to_owned()),
    ]
}

fn files() -> impl Strategy<Value = BTreeMap<&'static str, String>> {
    let file = || prop::collection::vec(lines(), 0..6).prop_map(|lines| lines.join("\n") + "\n");
    // Files that include each other make the libpam of Debian 12 overflow its stack, so we avoid them.
    (file(), file(), file(), file()).prop_map(|(service, a, b, c)| {
        BTreeMap::from([
            ("service", service),
            ("a", without_includes(&a, &["a"])),
            ("b", without_includes(&b, &["a", "b"])),
            ("c", without_includes(&c, &["a", "b", "c"])),
        ])
    })
}

/// The lines of a text, without those that include one of these files.
fn without_includes(text: &str, names: &[&str]) -> String {
    let includes = |line: &&str| {
        let line = line.to_ascii_lowercase();
        (line.contains(" include ") || line.contains(" substack "))
            && names.iter().any(|name| line.ends_with(&format!("/{name}")))
    };
    text.lines().filter(|line| !includes(line)).map(|line| format!("{line}\n")).collect()
}

/// What libpam returns.
fn libpams_result(directory: &Path) -> Code {
    let handle = libpam::start(directory, "service", Some("nobody"));
    // SAFETY: the handle is open, only this thread uses it, and it is ended once.
    let code = unsafe {
        let code = libpam::pam_open_session(handle, 0);
        libpam::pam_end(handle, code);
        code
    };
    Code(code.try_into().unwrap())
}

/// What the module of a line returns.
fn result(entry: &Entry) -> Code {
    if entry.module() != "pam_debug.so" {
        return Code::MODULE_UNKNOWN;
    }
    let code = entry.words.iter().find_map(|word| word.strip_prefix("open_session="));
    code.map_or(Code::SUCCESS, |code| Code(NAMES.iter().position(|name| *name == code).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stack_is_run_as_libpam_runs_it(files in files(), serial: u64) {
        let directory = std::env::temp_dir().join(format!("idle-watchdog-dispatch-{}-{serial}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for (name, text) in &files {
            fs::write(directory.join(name), text.replace('@', directory.to_str().unwrap())).unwrap();
        }
        let expected = libpams_result(&directory);
        fs::remove_dir_all(&directory).unwrap();
        let read = |name: &str| Some((PathBuf::from(name), files.get(name.trim_start_matches("@/"))?.clone()));
        let stack = parse::read("service", false, read).unwrap();
        let session = stack.of_type(LineType::Session);
        let computed = match &stack.broken {
            Some(_) => SYSTEM_ERR,
            None => dispatch::run(&session, |_, entry| result(entry)).result,
        };
        prop_assert_eq!(computed.name(), expected.name(), "{:?}", files);
    }
}
