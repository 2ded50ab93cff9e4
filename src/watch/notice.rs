//! What the person at the terminal reads. A terminal that takes no text at once gets none: nothing
//! may hold up the end.

use std::time::Duration;

use super::terminal::Terminal;
use crate::policy::duration;
use crate::sys::aside::{self, Aside};
use crate::sys::tty;

/// Says that the session ends, when, and what prevents it.
#[must_use]
pub fn warning(idle: Duration, left: Duration) -> String {
    let (idle, left) = (duration::print(idle), duration::print(left));
    // A key that only a busy program holds back is seen at Enter alone: so that is what is asked for.
    format!(
        "\r\n\x07*** No key pressed for {idle}: this idle session ends in {left}. To keep it, press Enter. ***\r\n"
    )
}

/// Says why the session ends.
#[must_use]
pub fn reason(idle: Duration, limit: Duration) -> String {
    let (idle, limit) = (duration::print(idle), duration::print(limit));
    format!(
        "\r\n\x07*** This session has been idle for {idle} (the limit is {limit}) and has been ended. ***\r\n"
    )
}

/// Says why the session ends when sshd or login has died.
pub const ORPHANED: &str =
    "\r\n\x07*** The login service of this session has died, and the session has been ended. ***\r\n";

/// Writes a text on the terminals; answers those that took none.
#[must_use]
pub fn write(terminals: &[Terminal], text: &str, aside: &mut Aside) -> Vec<Terminal> {
    const TAKEN: u8 = 1;
    let answer = aside.run(|pipe| {
        for Terminal { path, id, .. } in terminals {
            aside::answer(pipe, &[u8::from(tty::write(path, *id, text).is_ok())]);
        }
    });
    let taken = answer.into_iter().map(|byte| byte == TAKEN).chain(std::iter::repeat(false));
    terminals.iter().zip(taken).filter(|(_, taken)| !taken).map(|(terminal, _)| terminal.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_say_how_long_when_and_what_to_do() {
        let text = warning(Duration::from_secs(840), Duration::from_secs(60));
        assert!(text.contains("14m") && text.contains("ends in 1m") && text.contains("press Enter"));
        let text = reason(Duration::from_secs(903), Duration::from_secs(900));
        assert!(text.contains("idle for 15m3s (the limit is 15m)"));
    }
}
