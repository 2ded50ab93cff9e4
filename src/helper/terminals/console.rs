//! Graphical consoles. A display server reads the keyboard, so the terminal shows no keys.
//!
//! logind knows which sessions are desktops, and these are not watched at all. Without logind, we ask the
//! virtual console whether it is in graphics mode. But a process may set the mode of its own controlling
//! terminal. So the console is asked only if the session was opened in the way of display managers: by a root
//! process that has no controlling terminal and names a virtual console to PAM. No user can do that. login(1),
//! su and sudo have a controlling terminal.

use crate::helper::terminals::terminal::Terminal;
use crate::sys::offload::{self, Offload};
use crate::sys::proc::{Proc, Process};
use crate::sys::tty;

/// The console of a session that a display manager opened.
#[derive(Debug)]
pub struct Console {
    terminal: Terminal,
    graphical: bool,
}

impl Console {
    /// Finds the console when the watchdog is armed. `own` is the terminal that PAM named.
    #[must_use]
    pub fn of(proc: &Proc, leader: &Process, own: &[Terminal]) -> Option<Self> {
        let terminal = own.first()?;
        let real = proc.uids(leader.id.pid).map(|(real, _)| real);
        let managed = is_managed(real, leader.tty, terminal.id.device);
        managed.then(|| Self { terminal: terminal.clone(), graphical: false })
    }

    /// Whether a display server had the console at the last look. Without an answer, the earlier one remains.
    #[must_use]
    pub fn is_graphical(&self) -> bool {
        self.graphical
    }

    /// Asks again. Returns the new answer if it has changed.
    pub fn look(&mut self, offload: &mut Offload) -> Option<bool> {
        const IN_GRAPHICS_MODE: u8 = 1;
        let Terminal { path, id, .. } = &self.terminal;
        let answer = offload.run(|pipe| {
            if let Ok(graphical) = tty::is_graphical(path, *id) {
                offload::answer(pipe, &[u8::from(graphical)]);
            }
        });
        let graphical = *answer.first()? == IN_GRAPHICS_MODE;
        (std::mem::replace(&mut self.graphical, graphical) != graphical).then_some(graphical)
    }

    /// Its name for records.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.terminal.name
    }
}

/// Whether a session was opened in the way of display managers: by a process with this real user ID and
/// controlling terminal, on this device.
fn is_managed(real: Option<u32>, controlling: u64, device: u64) -> bool {
    real == Some(0) && controlling == 0 && tty::is_virtual_console(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::devnode::DeviceId;

    const TTY7: u64 = 4 << 8 | 7;
    const TTYS0: u64 = 4 << 8 | 64;
    const PTS3: u64 = 136 << 8 | 3;

    #[test]
    fn only_a_display_manager_opens_a_session_like_this() {
        assert!(is_managed(Some(0), 0, TTY7));
        // These are login(1), and su or sudo on the console, which is their controlling terminal.
        assert!(!is_managed(Some(0), TTY7, TTY7));
        assert!(!is_managed(Some(1000), TTY7, TTY7));
        // This is su after setsid(1). The user chooses its standard input.
        assert!(!is_managed(Some(1000), 0, TTY7));
        assert!(!is_managed(None, 0, TTY7));
        // These are not virtual consoles: a serial line, a pty, the present console.
        for device in [TTYS0, PTS3, 4 << 8, 5 << 8] {
            assert!(!is_managed(Some(0), 0, device));
        }
    }

    #[test]
    fn what_cannot_be_told_is_as_before() {
        let id = DeviceId { filesystem: 0, device: TTY7 };
        let terminal = Terminal { name: "tty7".into(), path: "/nonexistent".into(), id };
        for graphical in [false, true] {
            let mut console = Console { terminal: terminal.clone(), graphical };
            assert_eq!(console.look(&mut Offload::default()), None);
            assert_eq!(console.is_graphical(), graphical);
        }
    }
}
