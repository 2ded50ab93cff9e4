//! The results of modules when a session opens. Most modules return success. Some return different codes for
//! different logins, and a few never return success.

use super::control::{Code, ControlAction};
use super::stack::{self, Entry, Runs};

/// Modules whose result depends on the user, the host or the time.
const CONDITIONAL: [&str; 20] = [
    "pam_succeed_if.so",
    "pam_listfile.so",
    "pam_access.so",
    "pam_time.so",
    "pam_localuser.so",
    "pam_usertype.so",
    "pam_exec.so",
    "pam_script.so",
    "pam_python.so",
    "pam_group.so",
    "pam_wheel.so",
    "pam_rootok.so",
    "pam_userdb.so",
    "pam_shells.so",
    "pam_securetty.so",
    "pam_nologin.so",
    "pam_rhosts.so",
    "pam_sepermit.so",
    "pam_timestamp.so",
    "pam_lua.so",
];
/// The results that are tried for such modules.
const RESULTS: [Code; 4] = [Code::SUCCESS, Code::AUTH_ERR, Code::PERM_DENIED, Code::IGNORE];
/// The most cases that are tried.
const CASES_MAX: usize = 4096;

/// The result of a line's module for an ordinary login. `loads` returns whether libpam can load a module.
fn usual(entry: &Entry, loads: &impl Fn(&str) -> bool) -> Code {
    let Runs::Module(path) = &entry.runs else { return Code::PERM_DENIED };
    if !loads(path) {
        return Code::MODULE_UNKNOWN;
    }
    match entry.module() {
        "pam_deny.so" => Code::SESSION_ERR,
        "pam_echo.so" | "pam_motd.so" => Code::IGNORE,
        // Our module returns `ignore` if it does not watch the session.
        stack::MODULE if entry.words.iter().any(|word| word == "timeout=off") => Code::IGNORE,
        _ => Code::SUCCESS,
    }
}

/// Whether the module of a line always returns the same code.
#[must_use]
pub fn is_certain(entry: &Entry) -> bool {
    matches!(entry.module(), "" | "pam_permit.so" | "pam_deny.so" | "pam_echo.so")
}

/// The results of a conditional line that change which later lines run. Empty for other lines.
fn varied(entry: &Entry) -> Vec<Code> {
    let mut actions: Vec<ControlAction> = Vec::new();
    let mut codes = RESULTS.to_vec();
    codes.retain(|code| {
        let action = entry.control.action(*code);
        let new = !actions.contains(&action);
        actions.push(action);
        new
    });
    let steers = |action: &ControlAction| {
        matches!(action, ControlAction::Jump(_) | ControlAction::Done | ControlAction::Reset)
    };
    let conditional = CONDITIONAL.contains(&entry.module()) && actions.iter().any(steers);
    if conditional { codes } else { Vec::new() }
}

/// Whether the result of this line, and so the login, decides which later lines run.
#[must_use]
pub fn is_conditional(entry: &Entry) -> bool {
    !varied(entry).is_empty()
}

/// All cases. Each is a list of results, one for each line of the stack. The first case has the usual results.
/// In the other cases the results of conditional lines vary. `known` returns the result of a conditional line
/// if it is known for this login.
#[must_use]
pub fn cases(
    entries: &[Entry],
    loads: &impl Fn(&str) -> bool,
    known: &impl Fn(&Entry) -> Option<Code>,
) -> Vec<Vec<Code>> {
    let usual: Vec<Code> = entries.iter().map(|entry| usual(entry, loads)).collect();
    let mut cases = vec![usual.clone()];
    for (at, (entry, code)) in entries.iter().zip(&usual).enumerate() {
        let codes = known(entry).map_or_else(|| varied(entry), |code| vec![code]);
        if *code == Code::MODULE_UNKNOWN || codes.is_empty() || cases.len() * codes.len() > CASES_MAX {
            continue;
        }
        let with = |code: Code| cases.iter().map(move |case| replaced(case, at, code));
        cases = codes.into_iter().flat_map(with).collect();
    }
    cases
}

/// The same case with another result for one line.
#[must_use]
pub fn replaced(case: &[Code], at: usize, code: Code) -> Vec<Code> {
    case.iter().enumerate().map(|(n, usual)| if n == at { code } else { *usual }).collect()
}
