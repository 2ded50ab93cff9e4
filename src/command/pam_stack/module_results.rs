//! What modules answer when a session opens. Most answer success for everybody who gets in; a few are
//! there to tell people apart; and of a few it is known that they never answer success.

use super::control::{Code, ControlAction};
use super::stack::{self, Entry, Runs};

/// Modules whose answer depends on who comes, from where or when.
const TELLS_APART: [&str; 20] = [
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
/// The answers of those that are tried.
const ANSWERS: [Code; 4] = [Code::SUCCESS, Code::AUTH_ERR, Code::PERM_DENIED, Code::IGNORE];
/// More ways than these are not tried.
const CASES_MAX: usize = 4096;

/// What a line answers where nothing is against the login. `loads` says whether libpam can load a module.
fn usual(entry: &Entry, loads: &impl Fn(&str) -> bool) -> Code {
    let Runs::Module(path) = &entry.runs else { return Code::PERM_DENIED };
    if !loads(path) {
        return Code::MODULE_UNKNOWN;
    }
    match entry.module() {
        "pam_deny.so" => Code::SESSION_ERR,
        "pam_echo.so" | "pam_motd.so" => Code::IGNORE,
        // Our module has no opinion on a session that it leaves alone.
        stack::MODULE if entry.words.iter().any(|word| word == "timeout=off") => Code::IGNORE,
        _ => Code::SUCCESS,
    }
}

/// Whether a line always answers the same.
#[must_use]
pub fn is_certain(entry: &Entry) -> bool {
    matches!(entry.module(), "" | "pam_permit.so" | "pam_deny.so" | "pam_echo.so")
}

/// The answers of a line that tells people apart which make a difference to the lines after it; none of
/// any other line.
fn varied(entry: &Entry) -> Vec<Code> {
    let mut actions: Vec<ControlAction> = Vec::new();
    let mut codes = ANSWERS.to_vec();
    codes.retain(|code| {
        let action = entry.control.action(*code);
        let new = !actions.contains(&action);
        actions.push(action);
        new
    });
    let steers = |action: &ControlAction| {
        matches!(action, ControlAction::Jump(_) | ControlAction::Done | ControlAction::Reset)
    };
    let apart = TELLS_APART.contains(&entry.module()) && actions.iter().any(steers);
    if apart { codes } else { Vec::new() }
}

/// Whether a line tells people apart, so that it depends on them which lines after it run.
#[must_use]
pub fn tells_apart(entry: &Entry) -> bool {
    !varied(entry).is_empty()
}

/// Every way in which the lines of a stack may answer: first the usual answers, then those varied where a
/// line tells people apart, unless its answer is known.
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

/// The same answers, but for that of one line.
#[must_use]
pub fn replaced(case: &[Code], at: usize, code: Code) -> Vec<Code> {
    case.iter().enumerate().map(|(n, usual)| if n == at { code } else { *usual }).collect()
}
