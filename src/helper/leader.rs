//! Whether the leader still runs the program that opened the session.

use crate::sys::proc::{Proc, ProcId};

/// What the leader was when the watchdog was armed.
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

    /// Whether it has executed another program since. sshd, login and su never do. systemd does: after it has opened the
    /// session it becomes the person's program, and a child of it closes the session.
    ///
    /// The command name tells, because a process keeps it after it has ended, until it is reaped. That may be soon, so
    /// this is asked at every opportunity.
    pub fn is_replaced(&mut self, proc: &Proc) -> bool {
        let name = proc.command_name(self.id.pid);
        // Read after the name, so that the name is not of a process that got the PID since.
        let same = proc.find(self.id).is_some();
        self.replaced |= same && name.is_some() && self.name.is_some() && name != self.name;
        self.replaced
    }
}
