//! Which processes have one of the session's terminals as controlling terminal.
//!
//! A terminal controls exactly one session (setsid(2)), and its master tells which one. The device number in
//! `/proc/PID/stat` alone proves nothing, because each instance of devpts has the same numbers. The descriptors
//! of a process are not read, because a hostile user can open as many as they like.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::RawFd;

use nix::unistd::Pid;

use crate::helper::members::descendants::Descendants;
use crate::sys::devnode;
use crate::sys::offload::{self, Offload};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId, Process, Started};
use crate::sys::tty;

/// Which sessions have a terminal as their controlling terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    /// The session that the kernel named. This is the process that leads it.
    Session(ProcId),
    /// Every session with this device number, because only one terminal has it.
    Anybody,
    /// The leader's own session, and the sessions that its descendants lead, because the master cannot be
    /// asked.
    Descendants,
}

/// One terminal.
#[derive(Clone, Copy, Debug)]
struct ControllingTerminal {
    device: u64,
    controller: Controller,
}

/// The session's terminals during one survey, with the sessions that they control.
pub struct ControllingSessions<'a> {
    proc: &'a Proc,
    /// The leader when it opened the session.
    leader: Process,
    pidfd: &'a PidFd,
    controlling: Vec<ControllingTerminal>,
    /// The descendants of the leader. After its end: of the processes that have its masters open.
    descendants: RefCell<Vec<Descendants<'a>>>,
}

impl<'a> ControllingSessions<'a> {
    /// Starts without terminals. `pidfd` belongs to the leader. `holders` have its masters open after its end.
    pub(in crate::helper) fn new(
        proc: &'a Proc,
        leader: Process,
        pidfd: &'a PidFd,
        holders: &[Process],
    ) -> Self {
        let alive = if pidfd.has_exited() { None } else { Some(leader.id.pid) };
        let descendants = alive
            .into_iter()
            .chain(holders.iter().map(|holder| holder.id.pid))
            .map(|pid| Descendants::of(proc, pid));
        Self {
            proc,
            leader,
            pidfd,
            controlling: Vec::new(),
            descendants: RefCell::new(descendants.collect()),
        }
    }

    /// Adds a terminal that has no master, or whose master cannot be asked.
    pub(in crate::helper) fn add(&mut self, device: u64) {
        let controller = if devnode::is_pty(device) { Controller::Descendants } else { Controller::Anybody };
        self.controlling.push(ControllingTerminal { device, controller });
    }

    /// Adds the terminals of these masters.
    pub(in crate::helper) fn ask(&mut self, masters: &[Master<'_>], offload: &mut Offload) {
        let told = sessions(self.proc, masters, offload);
        for (n, master) in masters.iter().enumerate() {
            let device = master.device;
            let controller = match told.get(&n) {
                Some(None) => continue,
                Some(Some(leads)) => Controller::Session(*leads),
                None => Controller::Descendants,
            };
            self.controlling.push(ControllingTerminal { device, controller });
        }
    }

    /// Whether a process has one of the terminals as its controlling terminal. The process must have been read
    /// after the terminals were added. `known` says that its scope or audit session ID shows that it belongs to
    /// the session. After the leader's end that decides, because the device number may then belong to another
    /// terminal.
    #[must_use]
    pub fn include(&self, process: &Process, known: bool) -> bool {
        self.controlling.iter().filter(|entry| entry.device == process.tty).any(|entry| {
            match entry.controller {
                // The ID of a session is not used again while its leader exists. When the leader exits, all
                // processes of the session lose the terminal.
                Controller::Session(leads) => process.session == leads.pid && self.proc.find(leads).is_some(),
                Controller::Anybody => known || !self.pidfd.has_exited(),
                Controller::Descendants => {
                    (known && self.pidfd.has_exited()) || self.is_led_by_a_descendant(process)
                }
            }
        })
    }

    /// Whether the session of a process is the leader's own, or a descendant leads it.
    fn is_led_by_a_descendant(&self, process: &Process) -> bool {
        // 0 means any session outside of our PID namespace.
        if process.session.as_raw() == 0 {
            return false;
        }
        if process.session == self.leader.session && !self.pidfd.has_exited() {
            return true;
        }
        let leads = self.proc.process(process.session);
        let leads = leads.filter(|leads| leads.session == process.session && leads.tty == process.tty);
        leads.is_some_and(|leads| self.descendants.borrow_mut().iter_mut().any(|known| known.include(&leads)))
    }
}

/// A master of one of the session's terminals. The leader has it open. After the leader's end another sshd
/// process may have it.
pub(in crate::helper) struct Master<'a> {
    pub holder: &'a PidFd,
    pub fd: RawFd,
    pub number: u32,
    /// The device number of its terminal.
    pub device: u64,
}

/// The process that leads the session on a terminal, if there is one.
type Told = Option<ProcId>;

/// Asks each master for the session on its terminal. A master that does not answer in time is left out.
///
/// A child does this, because our copy of the master may be the last one. Closing the last one hangs up the
/// terminal, and the terminal's owner can make that take long.
fn sessions(proc: &Proc, masters: &[Master<'_>], offload: &mut Offload) -> BTreeMap<usize, Told> {
    if masters.is_empty() || !PidFd::can_duplicate() {
        return BTreeMap::new();
    }
    let answer = offload.run(|pipe| {
        for (n, master) in masters.iter().enumerate() {
            if let Some(told) = session(proc, master) {
                offload::answer(pipe, line(n, told).as_bytes());
            }
        }
    });
    String::from_utf8_lossy(&answer).split_inclusive('\n').filter_map(read).collect()
}

/// One line of the answer. The session 0 means that the terminal controls no session.
fn line(n: usize, told: Told) -> String {
    let (pid, started) = told.map_or((0, 0), |leads| (leads.pid.as_raw(), leads.started.0));
    format!("{n} {pid} {started}\n")
}

/// Reads what [`line()`] wrote, if the line is complete.
fn read(line: &str) -> Option<(usize, Told)> {
    let mut fields = line.strip_suffix('\n')?.split(' ');
    let (n, pid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let started = Started(fields.next()?.parse().ok()?);
    Some((n, (pid != 0).then_some(ProcId { pid: Pid::from_raw(pid), started })))
}

/// The session on a terminal. `None` if the master cannot be asked.
fn session(proc: &Proc, master: &Master<'_>) -> Option<Told> {
    /// A terminal may move from session to session while we ask, but hardly so often.
    const ASK_TRIES: usize = 16;
    let Master { holder, fd, number, .. } = *master;
    let master = holder.duplicate(fd).ok()?;
    // The descriptor may belong to another pty by now.
    if tty::number(&master).ok()? != number {
        return None;
    }
    for _ in 0..ASK_TRIES {
        let Some(pid) = tty::session(&master).ok()? else { return Some(None) };
        let leads = proc.process(pid);
        // The session is asked again, because it may have ended before its leader was read.
        if tty::session(&master).is_ok_and(|now| now == Some(pid)) {
            if let Some(leads) = leads {
                return Some(Some(leads.id));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::newer_calls::kernel_is_old;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::pty::{OpenptyResult, openpty};

    /// The device numbers of `/dev/pts/4`, `/dev/pts/5` and `/dev/tty1`.
    const PTY: u64 = 136 << 8 | 4;
    const OTHER: u64 = 136 << 8 | 5;
    const CONSOLE: u64 = 4 << 8 | 1;
    const LEADER: i32 = 100;

    fn id(pid: i32, started: i64) -> ProcId {
        ProcId { pid: Pid::from_raw(pid), started: Started(started) }
    }

    fn find(proc: &Proc, pid: i32) -> Process {
        proc.process(Pid::from_raw(pid)).unwrap()
    }

    /// A `/proc` with processes: PID, parent, session and terminal.
    struct Table(PathBuf);

    impl Table {
        fn of(processes: &[(i32, i32, i32, u64)]) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let (process, serial) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let table =
                Self(std::env::temp_dir().join(format!("idle-watchdog-controlling-{process}-{serial}")));
            processes.iter().for_each(|process| table.add(*process, 0));
            table
        }

        /// Adds a process, or gives its PID to another one.
        fn add(&self, (pid, parent, session, tty): (i32, i32, i32, u64), started: u32) {
            let folder = self.0.join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            // These are the fields 8 to 21 of proc_pid_stat(5). The start is field 22.
            let fields = "-1 0 0 0 0 0 0 0 0 0 20 0 1 0";
            let line = format!("{pid} (x) S {parent} 0 {session} {tty} {fields} {started} 0 0\n");
            fs::write(folder.join("stat"), line).unwrap();
        }

        fn proc(&self) -> Proc {
            Proc::at(&self.0)
        }
    }

    impl Drop for Table {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// This process, which lives, and one that has ended.
    fn alive_and_dead() -> [PidFd; 2] {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let dead = PidFd::open(Pid::from_raw(child.id() as i32)).unwrap();
        child.wait().unwrap();
        [PidFd::open(Pid::this()).unwrap(), dead]
    }

    /// login(1) on a terminal, its shell in its own session, a job there that left the tree, the leader's own
    /// old session, and two strangers: on another devpts, and from outside our PID namespace.
    const LOGIN: [(i32, i32, i32, u64); 6] = [
        (LEADER, 1, LEADER, PTY),
        (110, LEADER, 110, PTY),
        (111, 1, 110, PTY),
        (112, 1, LEADER, PTY),
        (200, 1, 200, PTY),
        (201, 1, 0, PTY),
    ];

    #[test]
    fn where_nobody_can_be_asked_the_sessions_of_the_leaders_descendants_sit() {
        let (table, [alive, dead]) = (Table::of(&LOGIN), alive_and_dead());
        let proc = table.proc();
        let leader = find(&proc, LEADER);
        let sitting = |pidfd: &PidFd, known| -> Vec<i32> {
            let mut controlling = ControllingSessions::new(&proc, leader, pidfd, &[]);
            controlling.add(PTY);
            let sits = |pid: &i32| controlling.include(&find(&proc, *pid), known);
            LOGIN.iter().map(|process| process.0).filter(sits).collect()
        };
        assert_eq!(sitting(&alive, false), [LEADER, 110, 111, 112]);
        // Without the leader, only processes that are known by other facts count.
        assert_eq!(sitting(&dead, false), [0; 0]);
        assert_eq!(sitting(&dead, true), LOGIN.map(|process| process.0));
    }

    #[test]
    fn a_number_that_only_one_terminal_has_is_enough_while_the_leader_lives() {
        let (table, [alive, dead]) = (Table::of(&[(200, 1, 200, CONSOLE)]), alive_and_dead());
        let proc = table.proc();
        let process = find(&proc, 200);
        for (pidfd, known, expected) in
            [(&alive, false, true), (&alive, true, true), (&dead, false, false), (&dead, true, true)]
        {
            let mut controlling = ControllingSessions::new(&proc, process, pidfd, &[]);
            controlling.add(CONSOLE);
            assert_eq!(controlling.include(&process, known), expected);
        }
    }

    #[test]
    fn only_the_session_that_the_kernel_named_sits_on_a_pty() {
        let (table, [alive, dead]) = (Table::of(&LOGIN), alive_and_dead());
        let proc = table.proc();
        for pidfd in [&alive, &dead] {
            let mut controlling = ControllingSessions::new(&proc, find(&proc, LEADER), pidfd, &[]);
            controlling
                .controlling
                .push(ControllingTerminal { device: PTY, controller: Controller::Session(id(110, 0)) });
            let holds = |pid| controlling.include(&find(&proc, pid), true);
            assert!(holds(110) && holds(111));
            assert!(!holds(LEADER) && !holds(112) && !holds(200) && !holds(201));
            let elsewhere = Process { tty: OTHER, ..find(&proc, 111) };
            assert!(!controlling.include(&elsewhere, true));
        }
    }

    #[test]
    fn a_session_whose_number_was_used_again_is_another_one() {
        let (table, [alive, _]) = (Table::of(&LOGIN), alive_and_dead());
        let proc = table.proc();
        let mut controlling = ControllingSessions::new(&proc, find(&proc, LEADER), &alive, &[]);
        controlling
            .controlling
            .push(ControllingTerminal { device: PTY, controller: Controller::Session(id(110, 0)) });
        let job = find(&proc, 111);
        assert!(controlling.include(&job, false));
        table.add((110, 1, 110, PTY), 7);
        assert!(!controlling.include(&job, false));
    }

    /// A process that leads a session on a new terminal, and the master.
    fn on_terminal() -> (Child, OpenptyResult) {
        let pty = openpty(None, None).unwrap();
        let slave = Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new("setsid").args(["--ctty", "sleep", "60"]).stdin(slave).spawn().unwrap();
        (child, pty)
    }

    #[test]
    fn a_master_names_the_session_on_its_terminal() {
        let (mut child, pty) = on_terminal();
        let (proc, holder) = (Proc::default(), PidFd::open(Pid::this()).unwrap());
        let number = tty::number(&pty.master).unwrap();
        let master = Master { holder: &holder, fd: pty.master.as_raw_fd(), number, device: 0 };
        let pid = Pid::from_raw(child.id() as i32);
        if kernel_is_old() {
            // It does not let us have the master.
            assert_eq!(session(&proc, &master), None);
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        let told = loop {
            // setsid(1) may take a moment.
            match session(&proc, &master).expect("it can be asked") {
                Some(told) => break told,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(told, proc.process(pid).unwrap().id);
        // The descriptor belongs to another pty by now, or to no pty.
        assert_eq!(session(&proc, &Master { number: number + 1, ..master }), None);
        assert_eq!(session(&proc, &Master { fd: 0, ..master }), None);
        child.kill().unwrap();
        child.wait().unwrap();
        let master = Master { holder: &holder, fd: pty.master.as_raw_fd(), number, device: 0 };
        assert_eq!(session(&proc, &master), Some(None));
    }

    #[test]
    fn what_is_passed_on_is_read_if_it_came_whole() {
        for (line, expected) in [
            ("3 110 40200\n", Some((3, Some(id(110, 40200))))),
            ("0 0 0\n", Some((0, None))),
            ("3 110 402", None),
            ("3 110\n", None),
            ("\n", None),
        ] {
            assert_eq!(read(line), expected, "{line:?}");
            assert!(expected.is_none_or(|(n, told)| super::line(n, told) == line));
        }
    }
}
