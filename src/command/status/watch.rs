//! `status --watch`: shows the sessions again and again, in place.

use std::io::{self, Write, stdout};
use std::os::fd::AsFd;

use nix::libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, raise};

use crate::sys::clock::{Moment, Nanos, SECOND, timeout};
use crate::sys::signals::Signals;
use crate::sys::tty;

/// The shortest time between two looks.
const INTERVAL: Nanos = SECOND;

/// Switches to the terminal's other screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Undoes this.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Goes to the first line, and clears what is left of the line before, or of the screen.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// The terminal's other screen. When this is dropped, the terminal is as it was before.
pub struct Screen {
    signals: Signals,
}

impl Screen {
    /// Signals are read from now on, so that none leaves the terminal as it is.
    pub fn open() -> io::Result<Self> {
        let signals = Signals::block()?;
        write(ENTER)?;
        Ok(Self { signals })
    }

    /// Shows the text that `look` returns, again and again, until a signal ends it or there is nothing to show. The
    /// last text stays on the usual screen.
    ///
    /// # Errors
    ///
    /// The error of `look`.
    pub fn keep_showing<T>(
        self,
        mut look: impl FnMut() -> Result<(String, T), String>,
    ) -> Result<(String, T), String> {
        loop {
            let began = Moment::now().mono;
            let last = look()?;
            // A look takes long only if a watchdog is silent. Then it is not asked all the time.
            let pause = INTERVAL.max(Moment::now().mono.saturating_sub(began));
            let (_, rows) = tty::size(&stdout());
            if write(&page(&last.0, rows)).is_err() || self.is_over(pause) {
                return Ok(last);
            }
        }
    }

    /// Waits for the next look. Returns whether a signal ends it all.
    fn is_over(&self, pause: Nanos) -> bool {
        let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout(pause));
        let came = self.signals.take();
        if came.iter().any(|came| came.signal == SIGTSTP) {
            let _ = write(LEAVE);
            let _ = raise(Signal::SIGSTOP);
            let _ = write(ENTER);
        }
        came.iter().any(|came| [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(&came.signal))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(LEAVE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A text over the text before. If it has more lines than the screen, the last line says how many are left out.
fn page(text: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.unwrap_or(usize::MAX);
    let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    let mut page = lines.iter().take(shown).copied().map(str::to_owned).collect::<Vec<_>>();
    if shown < lines.len() {
        page.push(format!("and {} more lines", lines.len() - shown));
    }
    // A line feed after the last line of the screen would move it up.
    HOME.to_owned() + &page.join(&format!("{REST_OF_LINE}\n")) + REST_OF_LINE + REST_OF_SCREEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_never_moves_the_screen() {
        assert_eq!(page("a\nb\n", None), "\x1b[Ha\x1b[K\nb\x1b[K\x1b[J");
        assert_eq!(page("a\nb\nc\n", Some(3)), "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\x1b[J");
        let cut = page("a\nb\nc\nd\n", Some(3));
        assert_eq!(cut, "\x1b[Ha\x1b[K\nb\x1b[K\nand 2 more lines\x1b[K\x1b[J");
        assert_eq!(cut.matches('\n').count(), 2);
    }
}
