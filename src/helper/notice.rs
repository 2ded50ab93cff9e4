//! The texts for the person at the terminal. If a terminal does not take a text at once, it gets none, because
//! nothing may delay the end.

use std::time::Duration;

use crate::helper::terminals::terminal::Terminal;
use crate::policy::{Field, Template, duration, printable};
use crate::sys::offload::{self, Offload};
use crate::sys::tty;

/// The facts in a warning.
#[derive(Clone, Copy, Debug)]
pub struct Warning<'a> {
    /// The user's name.
    pub user: &'a str,
    /// How long the session has been idle.
    pub idle: Duration,
    /// How long the session may be idle.
    pub limit: Duration,
    /// How long until the end.
    pub left: Duration,
    /// The rule that sets the limit, as `file:line`.
    pub rule: Option<&'a str>,
}

impl Warning<'_> {
    /// The text for a terminal: the administrator's own text, or the built-in one.
    #[must_use]
    pub fn text(&self, template: Option<&Template>, terminal: &str) -> String {
        let (idle, left) = (duration::print(self.idle), duration::print(self.left));
        let Some(template) = template else {
            // Keys that no program has read show only after Enter. So the text says that no input was read, and
            // asks for Enter.
            return format!(
                "\r\n\x07*** No input read for {idle}: this idle session ends in {left}. To keep it, press Enter. ***\r\n"
            );
        };
        let text = template.fill(|field| match field {
            Field::User => self.user.to_owned(),
            Field::Idle => idle.clone(),
            Field::Limit => duration::print(self.limit),
            Field::Remaining => left.clone(),
            Field::Terminal => terminal.to_owned(),
            Field::Rule => self.rule.unwrap_or_default().to_owned(),
        });
        // The terminal may be in raw mode.
        format!("\r\n\x07{}\r\n", text.replace('\n', "\r\n"))
    }
}

/// The text that says why the session ends.
#[must_use]
pub fn reason(idle: Duration, limit: Duration) -> String {
    let (idle, limit) = (duration::print(idle), duration::print(limit));
    format!(
        "\r\n\x07*** This session has been idle for {idle} (the limit is {limit}) and has been ended. ***\r\n"
    )
}

/// The text that says that an administrator has ended the session.
#[must_use]
pub fn ended_by_administrator(reason: Option<&str>) -> String {
    format!("\r\n\x07*** An administrator has ended this session{} ***\r\n", given(reason))
}

/// The text that says that an administrator has put the end off.
#[must_use]
pub fn extended(time: Duration, reason: Option<&str>) -> String {
    let time = duration::print(time);
    let given = given(reason);
    format!(
        "\r\n\x07*** An administrator keeps this session: even if idle, it does not end for {time}{given} ***\r\n"
    )
}

/// A reason at the end of a text. Only printable ASCII is kept, because the terminal's encoding is not known.
fn given(reason: Option<&str>) -> String {
    reason.map_or_else(|| ".".to_owned(), |reason| format!(": {}", printable(reason)))
}

/// The text on a terminal that opens while the idle connection is kept for other work.
#[must_use]
pub fn kept(limit: Duration) -> String {
    let limit = duration::print(limit);
    format!(
        "\r\n\x07*** This connection was idle for longer than the limit of {limit} and is ended. Log in again. ***\r\n"
    )
}

/// The text for a session whose sshd or login has died.
pub const ORPHANED: &str =
    "\r\n\x07*** The login service of this session has died, and the session has been ended. ***\r\n";

/// Writes a text to each terminal. Returns the terminals that did not take it.
#[must_use]
pub fn write(
    terminals: &[Terminal],
    text: impl Fn(&Terminal) -> String,
    offload: &mut Offload,
) -> Vec<Terminal> {
    const WRITTEN: u8 = 1;
    if terminals.is_empty() {
        return Vec::new();
    }
    let answer = offload.run(|pipe| {
        for terminal in terminals {
            let taken = tty::write(&terminal.path, terminal.id, &text(terminal)).is_ok();
            offload::answer(pipe, &[u8::from(taken)]);
        }
    });
    let taken = answer.into_iter().map(|byte| byte == WRITTEN).chain(std::iter::repeat(false));
    terminals.iter().zip(taken).filter(|(_, taken)| !taken).map(|(terminal, _)| terminal.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNING: Warning<'_> = Warning {
        user: "al\x1bice",
        idle: Duration::from_secs(840),
        limit: Duration::from_secs(900),
        left: Duration::from_secs(60),
        rule: Some("idle_watchdog.conf:7"),
    };

    fn own(text: &str, terminal: &str) -> String {
        WARNING.text(Some(&Template::parse(text).unwrap()), terminal)
    }

    #[test]
    fn the_texts_say_how_long_when_and_what_to_do() {
        let text = WARNING.text(None, "pts/3");
        assert!(
            text.contains("No input read for 14m")
                && text.contains("ends in 1m")
                && text.contains("press Enter")
        );
        let text = reason(Duration::from_secs(903), Duration::from_secs(900));
        assert!(text.contains("idle for 15m3s (the limit is 15m)"));
    }

    #[test]
    fn a_reason_is_shown_and_controls_nothing() {
        let ended = |reason| ended_by_administrator(reason);
        assert_eq!(ended(None), "\r\n\x07*** An administrator has ended this session. ***\r\n");
        let text = ended(Some("new kernel\u{9b}2J\x1b"));
        assert_eq!(text, "\r\n\x07*** An administrator has ended this session: new kernel?2J? ***\r\n");
        let text = extended(Duration::from_secs(7200), Some("backup"));
        assert!(text.ends_with("it does not end for 2h: backup ***\r\n"), "{text}");
        assert!(extended(Duration::from_secs(90), None).ends_with("for 1m30s. ***\r\n"));
    }

    #[test]
    fn an_administrators_text_is_filled_for_each_terminal() {
        let text = "{idle} of {limit}, {remaining} on {terminal} by {rule}";
        assert_eq!(own(text, "pts/3"), "\r\n\x0714m of 15m, 1m on pts/3 by idle_watchdog.conf:7\r\n");
        assert!(own(text, "tty1").contains("on tty1 by"));
        assert_eq!(
            Warning { rule: None, ..WARNING }.text(Some(&Template::parse("{rule}!").unwrap()), ""),
            "\r\n\x07!\r\n"
        );
    }

    #[test]
    fn lines_begin_at_the_margin_and_nothing_controls_the_terminal() {
        let text = own("Dear {user},\n\tgo home.\n{terminal}", "pts/3\u{9b}31m\r");
        assert_eq!(text, "\r\n\x07Dear al?ice,\r\n\tgo home.\r\npts/3?31m?\r\n");
    }
}
