//! `idle-watchdog status`: all sessions, who watches them, and when they end.

mod full;
mod json;
mod row;
mod settings;
mod table;
mod watch;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use crate::command::args::StatusArgs;
use crate::command::decisions::Decisions;
use crate::command::machine::Machine;
use crate::command::output::{BROKEN, CLEAN, FINDINGS, complain, finish};
use crate::command::sessions::unwatched::{self, Unwatched};
use crate::command::sessions::{self, Session};
use crate::policy::Fault;
use crate::protocol::ask::{NoAnswer, ask_all};
use crate::protocol::request::{Reply, Request};
use crate::protocol::running::RunningHelper;
use crate::protocol::status::State;
use crate::sys::proc::ProcId;
use crate::sys::tty;
use row::{Finding, SessionRow};
use table::Style;
use watch::Screen;

/// How long all watchdogs together may take. Each usually answers within milliseconds. It needs longer only while
/// it writes to a terminal that hangs.
const STATUS_BUDGET: Duration = Duration::from_secs(5);

/// The types of logind's sessions where somebody sits in front of a display.
const GRAPHICAL: [&str; 3] = ["x11", "wayland", "mir"];

/// Shows the sessions.
#[must_use]
pub fn run(args: &StatusArgs) -> ExitCode {
    if !geteuid().is_root() {
        complain("idle-watchdog: only root can see how the sessions are watched");
        return ExitCode::from(BROKEN);
    }
    let is_terminal = stdout().is_terminal();
    if args.watch && !is_terminal {
        complain("idle-watchdog: --watch needs a terminal as standard output");
        return ExitCode::from(BROKEN);
    }
    allow_many_descriptors();
    let machine = Machine::here();
    let style = || Style {
        width: tty::size(&stdout()).0.filter(|_| is_terminal),
        colour: is_terminal && may_colour(),
    };
    let look = || look(args, &machine, style());
    let shown = if args.watch {
        Screen::open().map_err(|e| format!("cannot watch: {e}")).and_then(|screen| screen.keep_showing(look))
    } else {
        look()
    };
    match shown {
        Ok((text, code)) => finish(&text, code),
        Err(why) => {
            complain(format_args!("idle-watchdog: {why}"));
            ExitCode::from(BROKEN)
        }
    }
}

/// The text and the exit status of one look.
///
/// # Errors
///
/// There is no such session.
fn look(args: &StatusArgs, machine: &Machine, style: Style) -> Result<(String, u8), String> {
    let sessions = sessions::all(machine);
    let mut decisions = Decisions::new(machine);
    let Some(name) = &args.session else {
        let all: Vec<&Session> = sessions.iter().collect();
        let mut rows = rows(&mut decisions, &all, false);
        row::sort(&mut rows);
        let text = if args.json { json::all(&rows) } else { table::table(&rows, style) };
        return Ok((text, code(&rows)));
    };
    let session = sessions::named(&sessions, name)?;
    let rows = rows(&mut decisions, &[session], true);
    let row = rows.first().ok_or_else(|| format!("session {name} has ended"))?;
    let told = session.helper.as_ref().and_then(|helper| helper.told.as_ref().ok());
    let settings = match (row.told(), told) {
        (Some(status), Some(told)) => settings::rows(&mut decisions, told, &status.settings),
        _ => Vec::new(),
    };
    let text = if args.json { json::one(row, &settings) } else { full::text(row, &settings) };
    Ok((text, code(&rows)))
}

fn code(rows: &[SessionRow]) -> u8 {
    if rows.iter().any(SessionRow::is_unguarded) { FINDINGS } else { CLEAN }
}

/// Asks the watchdogs of these sessions, and finds out why the others have none. `full` asks for the members, too.
fn rows(decisions: &mut Decisions<'_>, sessions: &[&Session], full: bool) -> Vec<SessionRow> {
    let spoken = |helper: &RunningHelper| helper.told.is_ok().then_some(helper.id);
    let helpers: Vec<ProcId> =
        sessions.iter().filter_map(|session| spoken(session.helper.as_ref()?)).collect();
    let mut answers = ask_all(&helpers, &Request::Status { members: full }, STATUS_BUDGET).into_iter();
    let mut rows = Vec::new();
    for session in sessions {
        let finding = match &session.helper {
            None => Some(unwatched(decisions, session)),
            Some(RunningHelper { told: Err(why), .. }) => {
                Some(Finding::Outdated(format!("its watchdog has another version: {why}")))
            }
            Some(_) => answers.next().and_then(watched),
        };
        rows.extend(finding.map(|finding| row(session, finding)));
    }
    rows
}

/// What a watchdog has answered. `None` if the session has just ended.
fn watched(answer: Result<Reply, NoAnswer>) -> Option<Finding> {
    Some(match answer {
        Ok(Reply::Status(status)) if status.state == State::Closed => return None,
        Ok(Reply::Status(status)) => Finding::Told(status),
        Ok(Reply::Refused(why)) => Finding::Silent(why),
        Ok(_) => Finding::Silent("its watchdog answered another request".to_owned()),
        Err(NoAnswer::Ended) => return None,
        Err(NoAnswer::Late) => {
            Finding::Silent(format!("its watchdog gave no answer within {} s", STATUS_BUDGET.as_secs()))
        }
        Err(NoAnswer::Failed(why)) => Finding::Silent(format!("its watchdog cannot be asked: {why}")),
    })
}

/// Why a session has no watchdog.
fn unwatched(decisions: &mut Decisions<'_>, session: &Session) -> Finding {
    let found = match unwatched::why(decisions, session) {
        Ok(found) => found,
        Err(faults) => {
            let first = faults.first().map(Fault::to_string).unwrap_or_default();
            return Finding::Unwatched(format!("the policy cannot be used: {first}"));
        }
    };
    let why = found.to_string();
    match found {
        Unwatched::Exempt(rule) => Finding::Exempt { why, rule },
        Unwatched::Skipped(_) => Finding::Exempt { why, rule: None },
        Unwatched::WithoutLine(_) | Unwatched::Unclear(_) | Unwatched::WithoutPam | Unwatched::Due(_) => {
            Finding::Unwatched(why)
        }
    }
}

fn row(session: &Session, finding: Finding) -> SessionRow {
    let Session { name, login, leader, terminals, kind, helper, .. } = session;
    let graphical = kind.kind.as_deref().is_some_and(|kind| GRAPHICAL.contains(&kind));
    // The watchdog knows the terminals best.
    let (terminals, terminal_count) = match &finding {
        Finding::Told(status) => (status.terminals.clone(), status.terminal_count),
        _ => (terminals.clone(), terminals.len()),
    };
    SessionRow {
        name: name.clone(),
        user: login.user_text().into_owned(),
        uid: login.uid,
        from: login.rhost_text().into_owned(),
        service: login.service_text().into_owned(),
        interactive: terminal_count > 0 || graphical,
        terminals,
        terminal_count,
        leader: leader.as_raw(),
        helper: helper.as_ref().map(|helper| helper.id.pid.as_raw()),
        finding,
    }
}

/// Whether the person and the terminal want colours (<https://no-color.org>).
fn may_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Each watchdog that is asked needs three descriptors for a moment.
fn allow_many_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
