//! Tells whether the leader still runs the program that opened the session.

use crate::sys::proc::{Proc, ProcId};

/// The leader when the watchdog was armed.
#[derive(Debug)]
pub struct Leader {
    id: ProcId,
    name: Option<String>,
    replaced: bool,
}

impl Leader {
    /// The leader as it is now.
    #[must_use]
    pub fn new(proc: &Proc, id: ProcId) -> Self {
        Self { id, name: proc.command_name(id.pid), replaced: false }
    }

    /// Whether the leader has executed another program since. sshd, login and su never do. systemd does: it
    /// opens the session and then becomes the person's program, and a child of it closes the session.
    ///
    /// The command name shows this even after the process has ended, until it is reaped. That may be soon, so
    /// this is asked at every opportunity.
    pub fn is_replaced(&mut self, proc: &Proc) -> bool {
        let name = proc.command_name(self.id.pid);
        // This is read after the name. Otherwise the name may belong to another process that got the PID since.
        let same = proc.find(self.id).is_some();
        self.replaced |= same && name.is_some() && self.name.is_some() && name != self.name;
        self.replaced
    }
}
