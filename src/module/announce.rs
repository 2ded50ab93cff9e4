//! Tells the person at login when the session ends.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, stdout};

use pam::module::PamHandle;

use super::SESSION;
use crate::login::Login;
use crate::policy::{Announcement, Counted, Field, Kill, Settings, duration};
use crate::record::{Event, Key, Severity};
use crate::sys::pam as libpam;

/// Says the announcement of a session that is guarded. The login goes on even if that fails.
pub fn tell(pamh: &PamHandle, login: &Login, settings: &Settings) {
    let Some(text) = text(settings, &login.user_text()).filter(|_| is_shown_on_a_terminal(login)) else {
        return;
    };
    if let (Err(why), true) = (libpam::say(pamh, &text), settings.debug) {
        let error = format!("cannot announce the limit: {why}");
        libpam::log(pamh, SESSION, &login.record(Event::Error).with(Key::Error, error).at(Severity::Debug));
    }
}

/// Whether the application shows the text on a terminal. sshd keeps it until a shell opens on a terminal, and
/// shows it to no command, scp or sftp. Other programs write it to their standard output. If that is a file or
/// a pipe, the text must not get into it.
fn is_shown_on_a_terminal(login: &Login) -> bool {
    login.tty_text() == "ssh" || stdout().is_terminal()
}

/// The announcement. `None` if the session is not ended, or nothing may be written on its terminals.
fn text(settings: &Settings, user: &str) -> Option<String> {
    let Settings { limit: Some(limit), announce, activity, kill, quiet, rule, .. } = settings else {
        return None;
    };
    if *quiet || *kill == Kill::None {
        return None;
    }
    let limit = duration::print(*limit);
    match announce {
        Announcement::Off => None,
        Announcement::BuiltIn => {
            let without = if *activity == Counted::default() { "a key" } else { "activity" };
            Some(format!("This session ends after {limit} without {without}."))
        }
        Announcement::Own(text) => Some(text.fill(|field| match field {
            Field::User => user.to_owned(),
            Field::Limit => limit.clone(),
            Field::Rule => rule.as_ref().map(ToString::to_string).unwrap_or_default(),
            // An announcement with one of these cannot be read.
            Field::Idle | Field::Remaining | Field::Terminal => String::new(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Options;

    fn said(line: &[&str]) -> Option<String> {
        let options = Options::of_line(line.iter().copied()).unwrap();
        let settings = Settings::of(&options, None);
        text(&Settings { rule: Some("/f:3".parse().unwrap()), ..settings }, "al\x1bice")
    }

    #[test]
    fn it_says_when_the_session_ends() {
        let said = |line: &str| said(&line.split(' ').collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(said("timeout=15m announce"), "This session ends after 15m without a key.");
        assert_eq!(said("timeout=90 announce=on"), "This session ends after 1m30s without a key.");
        assert_eq!(said("announce activity=input,cpu"), "This session ends after 15m without activity.");
    }

    #[test]
    fn the_administrators_own_text_is_filled() {
        let own = "announce=Dear {user}: {limit}\nby {rule}";
        assert_eq!(said(&["timeout=1h", own]).as_deref(), Some("Dear al?ice: 1h\nby /f:3"));
    }

    #[test]
    fn nothing_is_said_of_an_end_that_does_not_come_or_where_nothing_may_be_written() {
        for line in
            ["timeout=15m", "announce=off", "announce timeout=off", "announce kill=none", "announce quiet"]
        {
            assert_eq!(said(&line.split(' ').collect::<Vec<_>>()), None, "{line}");
        }
    }
}
