//! Which processes descend from the leader.
//!
//! Each process is looked up once. So a chain of parents is read once, however many processes are below it.

use std::collections::BTreeMap;

use nix::unistd::Pid;

use crate::sys::proc::{Proc, Process};

/// init. Ancestors above it do not count. 0 is a parent outside of our PID namespace.
const INIT: Pid = Pid::from_raw(1);

/// The known descendants of one process.
struct Ancestry {
    ancestor: Pid,
    known: BTreeMap<Pid, bool>,
}

impl Ancestry {
    fn of(ancestor: Pid) -> Self {
        Self { ancestor, known: BTreeMap::new() }
    }

    /// Whether a child of `parent` descends from the ancestor. `parent_of` is called once for each process. It
    /// returns `None` if the process is gone.
    fn includes_child_of(&mut self, parent: Pid, mut parent_of: impl FnMut(Pid) -> Option<Pid>) -> bool {
        let mut path = Vec::new();
        let mut next = parent;
        let found = loop {
            if next == self.ancestor {
                break true;
            }
            if next <= INIT {
                break false;
            }
            if let Some(known) = self.known.get(&next) {
                break *known;
            }
            // PIDs are used again while we read, so the chain may be a circle. This entry ends it.
            self.known.insert(next, false);
            path.push(next);
            match parent_of(next) {
                Some(parent) => next = parent,
                None => break false,
            }
        };
        self.known.extend(path.into_iter().map(|pid| (pid, found)));
        found
    }
}

/// The processes of one survey, and which of them descend from the leader. Each process is read once.
pub struct Descendants<'a> {
    proc: &'a Proc,
    read: BTreeMap<Pid, Option<Process>>,
    ancestry: Ancestry,
}

impl<'a> Descendants<'a> {
    /// A survey that has read nothing yet.
    #[must_use]
    pub fn of(proc: &'a Proc, leader: Pid) -> Self {
        Self { proc, read: BTreeMap::new(), ancestry: Ancestry::of(leader) }
    }

    /// A process. The result does not change after the first read.
    pub fn get(&mut self, pid: Pid) -> Option<Process> {
        *self.read.entry(pid).or_insert_with(|| self.proc.process(pid))
    }

    /// Whether the leader is an ancestor of a process.
    pub fn include(&mut self, process: &Process) -> bool {
        let Self { proc, read, ancestry } = self;
        let mut get = |pid| *read.entry(pid).or_insert_with(|| proc.process(pid));
        ancestry.includes_child_of(process.parent, |pid| get(pid).map(|process| process.parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: i32 = 100;

    /// Asks for the children of `parents`. Returns the answers, and how often a parent was looked up.
    fn ask(table: &BTreeMap<i32, i32>, parents: impl IntoIterator<Item = i32>) -> (Vec<bool>, usize) {
        let (mut ancestry, mut count) = (Ancestry::of(Pid::from_raw(LEADER)), 0);
        let mut lookup = |pid: Pid| {
            count += 1;
            table.get(&pid.as_raw()).copied().map(Pid::from_raw)
        };
        let answers = parents
            .into_iter()
            .map(|parent| ancestry.includes_child_of(Pid::from_raw(parent), &mut lookup))
            .collect();
        (answers, count)
    }

    /// A chain of processes. The first process is a child of `first`, and the last has the PID 9,999.
    fn chain(first: i32) -> BTreeMap<i32, i32> {
        (1001..10_000).map(|pid| (pid, pid - 1)).chain([(1000, first)]).collect()
    }

    #[test]
    fn a_chain_is_walked_once_whoever_hangs_below_it() {
        for (first, descends) in [(LEADER, true), (1, false), (7, false)] {
            let (answers, count) = ask(&chain(first), std::iter::repeat_n(9_999, 8000));
            assert_eq!(answers, [descends; 8000], "below {first}");
            assert!(count <= 9_001, "{count} look-ups below {first}");
        }
    }

    #[test]
    fn a_chain_is_walked_once_from_either_end() {
        let upwards = ask(&chain(LEADER), 1000..10_000);
        let downwards = ask(&chain(LEADER), (1000..10_000).rev());
        for (answers, count) in [upwards, downwards] {
            assert_eq!((answers.iter().all(|yes| *yes), count), (true, 9000));
        }
    }

    #[test]
    fn a_circle_ends_and_descends_from_nobody() {
        let circle = BTreeMap::from([(201, 202), (202, 203), (203, 201), (204, 204)]);
        let (answers, count) = ask(&circle, [201, 202, 203, 204, 204, 201]);
        assert_eq!((answers, count), (vec![false; 6], 4));
    }

    #[test]
    fn the_leaders_children_descend_and_those_of_init_do_not() {
        assert_eq!(ask(&BTreeMap::new(), [LEADER, 1, 0, -1]).0, [true, false, false, false]);
    }

    #[test]
    fn a_number_that_was_used_again_makes_nobody_a_descendant() {
        let chain = BTreeMap::from([(201, 202), (202, 1)]);
        assert_eq!(ask(&chain, [201, LEADER, 202]).0, [false, true, false]);
    }
}
