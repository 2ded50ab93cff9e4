//! `idle-watchdog extend` and `idle-watchdog end`: what an administrator does to one session.

use std::time::Duration;

use nix::unistd::geteuid;

use crate::command::args::{EndArgs, ExtendArgs};
use crate::command::machine::Machine;
use crate::command::output::{BROKEN, CLEAN, FINDINGS, complain};
use crate::command::sessions::{self, Session};
use crate::policy::duration;
use crate::protocol::ask::{Call, NoAnswer, ask};
use crate::protocol::request::{Reply, Request};
use crate::protocol::running::RunningHelper;
use crate::record::shown;
use crate::sys::proc::ProcId;

/// How long a watchdog may take to answer.
const ANSWER_BUDGET: Duration = Duration::from_secs(5);
/// How much longer than its grace an end may take.
const END_BUDGET: Duration = Duration::from_secs(120);

/// The output and the exit status.
type Done = (String, u8);

/// Puts the end of a session off.
#[must_use]
pub fn extend(args: &ExtendArgs) -> Done {
    let ExtendArgs { session, time, reason } = args;
    with_watchdog("extend a session", session, |who, helper| {
        let request = Request::Extend { time: *time, reason: reason.clone() };
        match ask(helper, &request, ANSWER_BUDGET) {
            Ok(Reply::Status(status)) => {
                let rest = match status.ends_in {
                    Some(left) => format!("if idle, it ends in {}", duration::print(left)),
                    None => "it does not end as idle at all now".to_owned(),
                };
                let extended = duration::print(status.extended.unwrap_or_default());
                (format!("{who}: does not end as idle for {extended}; {rest}\n"), CLEAN)
            }
            Ok(Reply::Refused(why)) => failed(&who, &format!("not extended, because {why}")),
            Ok(_) => failed(&who, "its watchdog answered another request"),
            Err(why) => failed(&who, &format!("not extended, because its watchdog does not answer: {why}")),
        }
    })
}

/// Ends a session, and waits until it has ended.
#[must_use]
pub fn end(args: &EndArgs) -> Done {
    let EndArgs { session, reason } = args;
    with_watchdog("end a session", session, |who, helper| {
        let request = Request::End { reason: reason.clone() };
        let begun = Call::place(helper, &request, ANSWER_BUDGET)
            .and_then(|call| call.next(ANSWER_BUDGET).map(|answer| (call, answer)));
        let ended = || (format!("{who}: ended\n"), CLEAN);
        let (call, grace) = match begun {
            Ok((call, Reply::Ending { grace, .. })) => (call, grace),
            Ok((_, Reply::Refused(why))) => return failed(&who, &format!("not ended, because {why}")),
            Ok(_) => return failed(&who, "its watchdog answered another request"),
            Err(NoAnswer::Ended) => return ended(),
            Err(why) => {
                return failed(&who, &format!("not ended, because its watchdog does not answer: {why}"));
            }
        };
        match call.next(grace.saturating_add(END_BUDGET)) {
            Ok(Reply::Ended { survivors: 0 }) | Err(NoAnswer::Ended) => ended(),
            Ok(Reply::Ended { survivors }) => {
                failed(&who, &format!("{survivors} processes outlived SIGKILL; the record ended names them"))
            }
            Ok(_) | Err(_) => failed(&who, "its end goes on; see the record ended"),
        }
    })
}

/// Finds the session and its watchdog, and acts.
fn with_watchdog(what: &str, name: &str, act: impl FnOnce(String, ProcId) -> Done) -> Done {
    if !geteuid().is_root() {
        complain(format_args!("idle-watchdog: only root can {what}"));
        return (String::new(), BROKEN);
    }
    let sessions = sessions::all(&Machine::here());
    let session = match sessions::named(&sessions, name) {
        Ok(session) => session,
        Err(why) => {
            complain(format_args!("idle-watchdog: {why}"));
            return (String::new(), BROKEN);
        }
    };
    let who = title(session);
    match &session.helper {
        Some(RunningHelper { id, told: Ok(_), .. }) => act(who, *id),
        Some(RunningHelper { told: Err(why), .. }) => {
            failed(&who, &format!("its watchdog has another version and cannot be asked: {why}"))
        }
        None => {
            let adopt = format!("idle-watchdog adopt {}", session.name);
            failed(&who, &format!("has no watchdog; give it one with: {adopt}"))
        }
    }
}

/// The session and whose it is.
fn title(Session { name, login, .. }: &Session) -> String {
    format!("{}: {}", shown(name), shown(&login.user_text()))
}

fn failed(who: &str, why: &str) -> Done {
    complain(format_args!("{who}: {why}"));
    (String::new(), FINDINGS)
}
