//! Reads the texts of `/proc`: pure functions, which return `None` if a text is not what the kernel writes.

use super::{Pid, ProcId, Process, Started, Usage};
use crate::sys::clock::{Nanos, SECOND};

/// A clock tick in `/proc/PID/stat`. `USER_HZ` is 100 on every Linux port that glibc supports.
const USER_TICK: Nanos = SECOND / 100;

/// The text after a key at the start of a line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// The real and effective user ID, from the text of `/proc/PID/status`. (The command name comes before them.
/// The kernel escapes line feeds in it.)
#[must_use]
pub fn parse_uids(status: &str) -> Option<(u32, u32)> {
    let mut ids = field(status, "Uid:")?.split_whitespace().map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

/// The real, effective, saved and file system user ID, from the text of `/proc/PID/status`.
#[must_use]
pub fn parse_all_uids(status: &str) -> Option<[u32; 4]> {
    let ids = field(status, "Uid:")?.split_whitespace().map(|id| id.parse().ok());
    ids.collect::<Option<Vec<u32>>>()?.try_into().ok()
}

/// The ignored signals, from the text of `/proc/PID/status`. Bit 0 is signal 1.
#[must_use]
pub fn parse_ignored(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "SigIgn:")?.trim(), 16).ok()
}

/// The signals that wait for the whole process, in the same form.
#[must_use]
pub fn parse_pending(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "ShdPnd:")?.trim(), 16).ok()
}

/// The number of the pty, from the text of a master's `/proc/PID/fdinfo/FD`.
#[must_use]
pub fn parse_tty_index(fdinfo: &str) -> Option<u32> {
    field(fdinfo, "tty-index:")?.trim().parse().ok()
}

/// The number of a socket, from the target of a link such as `/proc/PID/fd/0`: `socket:[4711]`.
#[must_use]
pub fn parse_socket(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The newest PID, from the text of `/proc/loadavg`.
#[must_use]
pub fn parse_newest(loadavg: &str) -> Option<i32> {
    loadavg.split_whitespace().last()?.parse().ok()
}

/// The fields of proc_pid_stat(5). The first one here is the state, which is field 3 there.
struct Stat<'a>(Vec<&'a str>);

impl<'a> Stat<'a> {
    /// The command name is in brackets and may contain brackets, blanks and newlines. The other fields come
    /// after the last closing bracket.
    fn of(stat: &'a str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        Some(Self(fields.split_ascii_whitespace().collect()))
    }

    fn number(&self, field: usize) -> Option<i64> {
        self.0.get(field - 3)?.parse().ok()
    }

    fn pid(&self, field: usize) -> Option<Pid> {
        i32::try_from(self.number(field)?).ok().map(Pid::from_raw)
    }

    /// A field that counts clock ticks.
    fn time(&self, field: usize) -> Option<Nanos> {
        let ticks = self.number(field)?;
        if ticks < 0 { None } else { ticks.checked_mul(USER_TICK) }
    }
}

/// A process, from the text of `/proc/PID/stat`.
#[must_use]
pub fn parse_stat(pid: Pid, stat: &str) -> Option<Process> {
    process(pid, &Stat::of(stat)?)
}

fn process(pid: Pid, stat: &Stat<'_>) -> Option<Process> {
    Some(Process {
        id: ProcId { pid, started: Started(stat.time(22)?) },
        parent: stat.pid(4)?,
        session: stat.pid(6)?,
        // The kernel prints new_encode_dev() as an int. rdev of stat(2) has the same bits for majors below 4096
        // and minors below 2^20.
        tty: u64::from(u32::try_from(stat.number(7)? & 0xffff_ffff).ok()?),
        dead: matches!(*stat.0.first()?, "Z" | "X" | "x") && stat.number(20)? <= 1,
    })
}

/// The processor time of a process, from the text of `/proc/PID/stat`.
#[must_use]
pub fn parse_usage(pid: Pid, stat: &str) -> Option<Usage> {
    let stat = Stat::of(stat)?;
    Some(Usage {
        process: process(pid, &stat)?,
        group: stat.pid(5)?,
        foreground: stat.pid(8).map(|group| (group.as_raw() > 0).then_some(group))?,
        own: stat.time(14)?.checked_add(stat.time(15)?)?,
        reaped: stat.time(16)?.checked_add(stat.time(17)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PID: Pid = Pid::from_raw(7);
    const REST: &str = "S 10 20 30 34819 40 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 9 9";

    #[test]
    fn a_command_name_cannot_pass_for_fields() {
        for name in ["a) 0 (b", "a) S 1 1 1 0 -1 (b", "\n) Z 1", ") )", "", "\u{fffd}"] {
            let process = parse_stat(PID, &format!("7 ({name}) {REST}\n")).unwrap();
            let expected = Process {
                id: ProcId { pid: PID, started: Started(12_340_000_000) },
                parent: Pid::from_raw(10),
                session: Pid::from_raw(30),
                tty: 34819,
                dead: false,
            };
            assert_eq!(process, expected, "{name:?}");
        }
    }

    #[test]
    fn a_cut_or_mangled_stat_is_no_process() {
        let whole = format!("7 (sh) {REST}");
        let enough = whole.find(" 1234").unwrap() + " 1".len();
        for cut in 0..enough {
            assert_eq!(parse_stat(PID, whole.get(..cut).unwrap()), None, "{cut}");
        }
        assert_eq!(parse_stat(PID, "7 (sh) S x 20 30 0 -1"), None);
    }

    proptest! {
        #[test]
        fn no_stat_makes_it_panic(text in ".*") {
            let _ = (parse_stat(PID, &text), parse_usage(PID, &format!("1 (x) {text}")));
        }
    }
}
