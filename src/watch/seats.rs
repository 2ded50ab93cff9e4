//! Who sits on the session's terminals.
//!
//! A controlling terminal belongs to exactly one session (setsid(2)), and the master names it to whoever asks. The
//! number in `/proc/PID/stat` alone proves nothing: anybody's devpts has the same ones. No descriptor of a
//! process is read to find out, because a hostile user can have as many as they like.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::kinship::Lineage;
use crate::sys::aside::{self, Aside};
use crate::sys::devnode;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, Process};
use crate::sys::tty;

/// What tells who sits on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sitter {
    /// The session that the kernel named, and when the process was started that leads it.
    Session { id: i32, started: i64 },
    /// Nobody else has a terminal of this number.
    Number,
    /// Nobody can be asked: the leader's own session, and those that its descendants lead.
    Kin,
}

/// One terminal.
#[derive(Clone, Copy, Debug)]
struct Seat {
    device: u64,
    sitter: Sitter,
}

/// The terminals of the session, as they are during one survey.
pub struct Seats<'a> {
    proc: &'a Proc,
    /// As it was when it opened the session.
    leader: Process,
    pidfd: &'a PidFd,
    seats: Vec<Seat>,
    /// The descendants of the leader or, when that is gone, of those that hold its masters.
    lineages: RefCell<Vec<Lineage<'a>>>,
}

impl<'a> Seats<'a> {
    /// No terminals yet. `pidfd` is the leader's, and `holders` hold its masters when it is gone.
    pub(super) fn new(proc: &'a Proc, leader: Process, pidfd: &'a PidFd, holders: &[Process]) -> Self {
        let alive = if pidfd.has_exited() { None } else { Some(leader.pid) };
        let lineages = alive
            .into_iter()
            .chain(holders.iter().map(|holder| holder.pid))
            .map(|pid| Lineage::of(proc, pid));
        Self { proc, leader, pidfd, seats: Vec::new(), lineages: RefCell::new(lineages.collect()) }
    }

    /// Adds a terminal whose master nobody holds for the session, or that cannot be asked.
    pub(super) fn add(&mut self, device: u64) {
        let sitter = if devnode::is_pty(device) { Sitter::Kin } else { Sitter::Number };
        self.seats.push(Seat { device, sitter });
    }

    /// Adds the terminals behind masters.
    pub(super) fn ask(&mut self, masters: &[Master<'_>], aside: &mut Aside) {
        let told = sessions(self.proc, masters, aside);
        for (n, master) in masters.iter().enumerate() {
            let device = master.device;
            let sitter = match told.get(&n) {
                Some(None) => continue,
                Some(Some((id, started))) => Sitter::Session { id: *id, started: *started },
                None => Sitter::Kin,
            };
            self.seats.push(Seat { device, sitter });
        }
    }

    /// Whether a process, as it was read since, has one of the terminals as its controlling terminal. `known`
    /// says that it is one of the session's by its scope or audit id: that decides where the leader is gone
    /// and cannot vouch for the terminal.
    #[must_use]
    pub fn hold(&self, process: &Process, known: bool) -> bool {
        self.seats.iter().filter(|seat| seat.device == process.tty).any(|seat| match seat.sitter {
            // The number of a session is not used again before its leader is gone, and with that everybody in
            // the session loses the terminal.
            Sitter::Session { id, started } => {
                process.session == id && self.proc.process(id).is_some_and(|leads| leads.started == started)
            }
            Sitter::Number => known || !self.pidfd.has_exited(),
            Sitter::Kin => (known && self.pidfd.has_exited()) || self.are_kin(process),
        })
    }

    /// Whether the session that a process is in is the leader's, or is led by a descendant.
    fn are_kin(&self, process: &Process) -> bool {
        // 0 is any session outside our pid namespace.
        if process.session == 0 {
            return false;
        }
        if process.session == self.leader.session && !self.pidfd.has_exited() {
            return true;
        }
        let leads = self.proc.process(process.session);
        let leads = leads.filter(|leads| leads.session == process.session && leads.tty == process.tty);
        leads.is_some_and(|leads| self.lineages.borrow_mut().iter_mut().any(|kin| kin.confirms(&leads)))
    }
}

/// A master of one of the session's terminals, in the hands of the leader or, when that is gone, of another
/// process of sshd's.
pub(super) struct Master<'a> {
    pub holder: &'a PidFd,
    pub fd: i32,
    /// The pty's number.
    pub number: u32,
    /// The device number of its terminal.
    pub device: u64,
}

/// Whether somebody sits there, and which session it is.
type Told = Option<(i32, i64)>;

/// Asks each master for the session on its terminal. Who gives no answer in time is not in what is returned.
///
/// Done aside, for a copy of the master may turn out to be the last one: whoever closes that hangs the terminal
/// up, which the terminal's owner can make last.
fn sessions(proc: &Proc, masters: &[Master<'_>], aside: &mut Aside) -> BTreeMap<usize, Told> {
    if masters.is_empty() {
        return BTreeMap::new();
    }
    let answer = aside.run(|pipe| {
        for (n, master) in masters.iter().enumerate() {
            if let Some(told) = session(proc, master) {
                let (id, started) = told.unwrap_or_default();
                aside::answer(pipe, format!("{n} {id} {started}\n").as_bytes());
            }
        }
    });
    String::from_utf8_lossy(&answer).split_inclusive('\n').filter_map(read).collect()
}

/// One line of the answer, if it has come whole. The session 0 is none.
fn read(line: &str) -> Option<(usize, Told)> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let (n, id) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let started = fields.next()?.parse().ok()?;
    Some((n, (id != 0).then_some((id, started))))
}

/// The session on a terminal; `None` when the master cannot be asked.
fn session(proc: &Proc, master: &Master<'_>) -> Option<Told> {
    /// A terminal may be given from session to session, but hardly so often while we ask.
    const TIMES: usize = 16;
    let Master { holder, fd, number, .. } = *master;
    let master = holder.duplicate(fd).ok()?;
    // The descriptor may have become another pty's.
    if tty::number(&master).ok()? != number {
        return None;
    }
    for _ in 0..TIMES {
        let Some(id) = tty::session(&master).ok()? else { return Some(None) };
        let leads = proc.process(id);
        // Asked again, for the session may have ended before its leader was read.
        if let Some(leads) = leads.filter(|_| tty::session(&master).is_ok_and(|now| now == Some(id))) {
            return Some(Some((id, leads.started)));
        }
    }
    None
}
