//! The processor time that the foreground jobs of the terminals use. A pure function of two snapshots of
//! `/proc`.
//!
//! A terminal's foreground job is its foreground process group, and the processes that this group has started
//! elsewhere, such as the command that sudo runs on its own pty. Other groups on the same terminal are
//! background jobs. If a shell is at its prompt, all processes that it has started are background jobs.

use std::collections::{BTreeMap, BTreeSet};

use nix::unistd::Pid;

use crate::sys::clock::{Nanos, SECOND};
use crate::sys::devnode::DeviceId;
use crate::sys::proc::{ProcId, Process, Usage};

/// A job that uses this much of one processor's time is busy. Programs that wait for a person use less: an
/// editor 0, `top` 1 to 2 percent. Programs that compute or compile use far more.
const BUSY_PERCENT: Nanos = 5;

/// The shortest time that is judged. The kernel counts in ticks of 10 ms. In a much shorter time one tick would
/// look busy.
const SHORTEST: Nanos = SECOND;

/// The time that one process has used, with the time of the children that it has reaped.
#[derive(Clone, Copy, Debug)]
struct Spent {
    total: Nanos,
    parent: Pid,
}

/// The process that leads the session (setsid(2)) on a terminal. Most often it is a shell with job control.
#[derive(Clone, Copy, Debug)]
struct SessionLeader {
    id: ProcId,
    own: Nanos,
    reaped: Nanos,
    /// It is in the foreground.
    foreground: bool,
    /// It is alone in its process group. Then it may be a shell, and the children that it has reaped were
    /// background jobs.
    alone: bool,
}

/// The foreground job of one terminal.
#[derive(Clone, Debug)]
struct Job {
    group: Pid,
    /// The processes of the job, except for the session's leader.
    spent: BTreeMap<ProcId, Spent>,
    leader: Option<SessionLeader>,
}

/// The foreground jobs of the terminals at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<DeviceId, Job>);

impl Snapshot {
    /// A snapshot from all processes. `sits` tells whether a process is really on one of the terminals, because
    /// another device may have the same number.
    pub fn of(usages: &[Usage], terminals: &[DeviceId], sits: impl Fn(&Process) -> bool) -> Self {
        let job = |id: &DeviceId| Job::on(usages, *id, &sits).map(|job| (*id, job));
        Self(terminals.iter().filter_map(job).collect())
    }

    /// The processor time that the jobs have used since an earlier snapshot, in nanoseconds.
    fn used_since(&self, before: &Self) -> Nanos {
        self.0.iter().map(|(id, job)| job.used_since(before.0.get(id))).fold(0, Nanos::saturating_add)
    }
}

impl Job {
    fn on(usages: &[Usage], id: DeviceId, sits: impl Fn(&Process) -> bool) -> Option<Self> {
        let mut numbered = usages.iter().filter(|usage| usage.process.tty == id.device);
        let session = numbered.find(|usage| sits(&usage.process))?.process.session;
        let on_terminal = |usage: &Usage| usage.process.tty == id.device && usage.process.session == session;
        let group =
            usages.iter().find(|usage| on_terminal(usage) && usage.foreground.is_some())?.foreground?;
        let members: Vec<&Usage> =
            usages.iter().filter(|usage| on_terminal(usage) && usage.group == group).collect();
        let leads = |usage: &&Usage| usage.process.id.pid == session;
        let foreground = members.iter().any(leads);
        let leader = usages.iter().find(leads).map(|usage| SessionLeader {
            id: usage.process.id,
            own: usage.own,
            reaped: usage.reaped,
            foreground,
            alone: members.len() == 1,
        });
        let mut children: BTreeMap<Pid, Vec<&Usage>> = BTreeMap::new();
        for usage in usages.iter().filter(|usage| !foreground && !on_terminal(usage)) {
            children.entry(usage.process.parent).or_default().push(usage);
        }
        let mut spent = BTreeMap::new();
        let mut waiting: Vec<&Usage> = members.into_iter().filter(|usage| !leads(usage)).collect();
        while let Some(usage) = waiting.pop() {
            let total = usage.own.saturating_add(usage.reaped);
            spent.insert(usage.process.id, Spent { total, parent: usage.process.parent });
            // Each process counts once. In a table where a PID occurs twice, the second one has no children left.
            waiting.extend(children.remove(&usage.process.id.pid).unwrap_or_default());
        }
        Some(Self { group, spent, leader })
    }

    fn used_since(&self, before: Option<&Self>) -> Nanos {
        let now = self.spent.values().map(|spent| spent.total).fold(0, Nanos::saturating_add);
        // If a process has ended since, the process that reaped it has its time, if that process is part of the
        // job.
        let parents: BTreeSet<Pid> = self.spent.keys().map(|id| id.pid).collect();
        let counts =
            |(id, spent): &(&ProcId, &Spent)| self.spent.contains_key(id) || parents.contains(&spent.parent);
        let same = before.filter(|before| before.group == self.group);
        let then = same.into_iter().flat_map(|before| &before.spent).filter(counts);
        let then = then.map(|(_, spent)| spent.total).fold(0, Nanos::saturating_add);
        let job = now.saturating_sub(then).max(0);
        job.saturating_add(self.used_by_leader(before.and_then(|before| before.leader)))
    }

    fn used_by_leader(&self, before: Option<SessionLeader>) -> Nanos {
        let Some(leader) = self.leader.filter(|leader| leader.foreground) else { return 0 };
        let Some(before) = before.filter(|before| before.id == leader.id) else { return leader.own };
        let own = leader.own.saturating_sub(before.own);
        // The leader of `ssh -t host make` is not a shell: its children are in its own group.
        let buries = !leader.alone && before.foreground && !before.alone;
        own.saturating_add(if buries { leader.reaped.saturating_sub(before.reaped) } else { 0 })
    }
}

/// Judges the jobs from look to look.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// The last snapshot and its time on the monotonic clock.
    before: Option<(Nanos, Snapshot)>,
}

impl Jobs {
    /// Whether enough time has passed on the monotonic clock for another snapshot.
    #[must_use]
    pub fn is_due(&self, mono: Nanos) -> bool {
        self.before.as_ref().is_none_or(|(at, _)| mono.saturating_sub(*at) >= SHORTEST)
    }

    /// Takes a snapshot. Returns whether the jobs were busy since the last one.
    pub fn look(&mut self, mono: Nanos, snapshot: Snapshot) -> bool {
        let busy = self
            .before
            .as_ref()
            .is_some_and(|(at, before)| is_busy(snapshot.used_since(before), mono.saturating_sub(*at)));
        self.before = Some((mono, snapshot));
        busy
    }
}

fn is_busy(used: Nanos, passed: Nanos) -> bool {
    used > 0 && used.saturating_mul(100) >= passed.saturating_mul(BUSY_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc::Started;

    const TTY: DeviceId = DeviceId { filesystem: 25, device: 34820 };
    const ELSEWHERE: u64 = 34900;
    const SHELL: Pid = Pid::from_raw(100);
    const TICK: Nanos = SECOND / 100;

    /// A process in the shell's session on the terminal. `foreground` is the group in the foreground.
    fn at(pid: i32, parent: i32, group: i32, foreground: i32, own: i64, reaped: i64) -> Usage {
        let [pid, parent, group] = [pid, parent, group].map(Pid::from_raw);
        let id = ProcId { pid, started: Started(pid.as_raw().into()) };
        let process = Process { id, parent, session: SHELL, tty: TTY.device, dead: false };
        let foreground = (foreground > 0).then_some(Pid::from_raw(foreground));
        Usage { process, group, foreground, own: own * TICK, reaped: reaped * TICK }
    }

    fn on(tty: u64, session: i32, usage: Usage) -> Usage {
        Usage { process: Process { tty, session: Pid::from_raw(session), ..usage.process }, ..usage }
    }

    /// The ticks that were used between two tables.
    fn used(before: &[Usage], now: &[Usage]) -> i64 {
        let snapshot = |usages: &[Usage]| Snapshot::of(usages, &[TTY], |_| true);
        snapshot(now).used_since(&snapshot(before)) / TICK
    }

    #[test]
    fn a_job_in_the_foreground_and_the_children_it_has_buried_count() {
        let before = [at(100, 1, 100, 200, 5, 900), at(200, 100, 200, 200, 10, 20)];
        let now =
            [at(100, 1, 100, 200, 99, 999), at(200, 100, 200, 200, 13, 60), at(201, 200, 200, 200, 7, 0)];
        assert_eq!(used(&before, &now), 3 + 40 + 7);
    }

    #[test]
    fn another_job_counts_in_whole() {
        let before = [at(100, 1, 100, 200, 5, 0), at(200, 100, 200, 200, 10, 0)];
        let now = [at(100, 1, 100, 300, 5, 30), at(300, 100, 300, 300, 25, 0)];
        assert_eq!(used(&before, &now), 25);
        assert_eq!(used(&[], &now), 25);
    }

    #[test]
    fn at_the_prompt_the_shells_own_time_counts_alone() {
        // 200 is in the background. 201 was there, too, and is reaped. 202 has its own session.
        let before = [at(100, 1, 100, 100, 5, 0), at(200, 100, 200, 100, 0, 0)];
        let now = [
            at(100, 1, 100, 100, 9, 5000),
            at(200, 100, 200, 100, 800, 900),
            on(0, 202, at(202, 100, 202, 100, 700, 0)),
        ];
        assert_eq!(used(&before, &now), 4);
        // The shell is back from a job. Its earlier time is known.
        let job = [at(100, 1, 100, 200, 5, 0), at(200, 100, 200, 200, 0, 0)];
        assert_eq!(used(&job, &now), 4);
    }

    #[test]
    fn a_shell_within_the_shell_has_its_jobs_in_the_background_too() {
        let before = [at(100, 1, 100, 200, 0, 0), at(200, 100, 200, 200, 5, 0)];
        let background = at(300, 200, 300, 200, 800, 0);
        // What that shell has started elsewhere does not count, either.
        let below = on(ELSEWHERE, 301, at(301, 300, 301, 0, 800, 0));
        let now = [at(100, 1, 100, 200, 0, 0), at(200, 100, 200, 200, 6, 0), background, below];
        assert_eq!(used(&before, &now), 1);
    }

    #[test]
    fn what_a_job_runs_on_a_pty_of_its_own_counts() {
        let sudo = |used| {
            [
                at(100, 1, 100, 200, 0, 0),
                at(200, 100, 200, 200, 0, 0),
                on(ELSEWHERE, 201, at(201, 200, 201, 202, 0, 0)),
                on(ELSEWHERE, 201, at(202, 201, 202, 202, used, 0)),
            ]
        };
        assert_eq!(used(&sudo(10), &sudo(60)), 50);
    }

    #[test]
    fn a_command_without_a_shell_buries_its_own_children() {
        // ssh -t host make
        let before = [at(100, 1, 100, 100, 5, 100), at(101, 100, 100, 100, 3, 0)];
        let now = [at(100, 1, 100, 100, 6, 400), at(102, 100, 100, 100, 2, 0)];
        assert_eq!(used(&before, &now), 1 + 300 + 2);
    }

    #[test]
    fn who_ends_takes_nothing_off_and_adds_nothing_twice() {
        // Half of a pipe, which the shell has reaped, and a child, which the job has reaped.
        let before = [
            at(100, 1, 100, 200, 0, 0),
            at(200, 100, 200, 200, 500, 0),
            at(201, 100, 200, 200, 10, 0),
            at(202, 201, 200, 200, 300, 0),
        ];
        let now = [at(100, 1, 100, 200, 0, 500), at(201, 100, 200, 200, 30, 310)];
        assert_eq!(used(&before, &now), 20 + 10);
    }

    #[test]
    fn another_terminal_of_the_same_number_is_none_of_ours() {
        let theirs = |used| [at(100, 1, 100, 200, 0, 0), at(200, 100, 200, 200, used, 0)];
        let ours = |own| on(TTY.device, 900, at(900, 1, 900, 900, own, 0));
        let snapshot =
            |usages: &[Usage]| Snapshot::of(usages, &[TTY], |process| process.session.as_raw() == 900);
        let before = snapshot(&[&theirs(0)[..], &[ours(3)]].concat());
        let now = snapshot(&[&theirs(900)[..], &[ours(5)]].concat());
        assert_eq!(now.used_since(&before) / TICK, 2);
        assert_eq!(snapshot(&theirs(5)).0.len(), 0);
    }

    #[test]
    fn five_percent_of_a_processor_is_busy() {
        assert!(is_busy(10 * TICK, 2 * SECOND) && !is_busy(9 * TICK, 2 * SECOND));
        assert!(is_busy(42 * SECOND, 840 * SECOND) && !is_busy(41 * SECOND, 840 * SECOND));
        assert!(!is_busy(0, 0));
    }

    #[test]
    fn the_first_look_and_one_too_soon_judge_nothing() {
        let snapshot = |used| {
            let usages = [at(100, 1, 100, 200, 0, 0), at(200, 100, 200, 200, used, 0)];
            Snapshot::of(&usages, &[TTY], |_| true)
        };
        let mut jobs = Jobs::default();
        assert!(jobs.is_due(0) && !jobs.look(0, snapshot(1000)));
        assert!(!jobs.is_due(SECOND / 2) && jobs.is_due(2 * SECOND));
        assert!(jobs.look(2 * SECOND, snapshot(1010)));
        assert!(!jobs.look(4 * SECOND, snapshot(1019)));
    }

    #[test]
    fn a_broken_table_neither_panics_nor_loops() {
        let circle = [
            at(100, 201, 100, 200, 0, 0),
            at(200, 201, 200, 200, 1, 0),
            on(0, 201, at(201, 200, 201, 0, i64::MAX / TICK, 0)),
        ];
        let circle = [&circle[..], &[on(0, 200, at(200, 201, 7, 0, 1, 0))]].concat();
        assert!(used(&[], &circle) > 0);
    }
}
