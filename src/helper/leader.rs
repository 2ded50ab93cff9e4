//! Whether the leader still runs the program that opened the session.

use crate::sys::proc::{Proc, Process};

/// What the leader was when the watchdog was armed.
#[derive(Debug)]
pub struct Leader {
    process: Process,
    name: Option<String>,
    replaced: bool,
}

impl Leader {
    /// The leader as it is now.
    #[must_use]
    pub fn new(proc: &Proc, process: Process) -> Self {
        Self { process, name: proc.command_name(process.pid), replaced: false }
    }

    /// Whether it has executed another program since, which sshd, login and su never do. systemd opens a
    /// session that way: it then becomes the person's program, and a child of it closes the session.
    ///
    /// Told by the command name, because a process keeps that when it ends, until it is buried. It may be buried
    /// fast, so this is asked at every opportunity.
    pub fn is_replaced(&mut self, proc: &Proc) -> bool {
        let Process { pid, started, .. } = self.process;
        let name = proc.command_name(pid);
        // Read behind the name, so that the name is not of a process that got the number since.
        let same = proc.process(pid).is_some_and(|now| now.started == started);
        self.replaced |= same && name.is_some() && self.name.is_some() && name != self.name;
        self.replaced
    }
}
