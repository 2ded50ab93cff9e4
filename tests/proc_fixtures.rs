//! Ring 1: `/proc` as the kernel may show it at its worst, re-rooted: command names that look like
//! fields, files that are missing, cut off or of another kind, processes that vanish meanwhile. The
//! numbers are above any that a kernel gives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::libc::{SIGHUP, SIGPIPE, SIGTERM};
use nix::unistd::{Uid, setfsuid};
use pam_idle_watchdog::sys::cgroup::Places;
use pam_idle_watchdog::sys::devnode::{self, DeviceId};
use pam_idle_watchdog::sys::proc::{Proc, Process, Usage};
use pam_idle_watchdog::watch::members::Standing;

/// sshd's process that opened the session: `sshd: alice [priv]`.
const LEADER: i32 = 5_000_100;
/// Its child, `sshd: alice@pts/4`.
const CHILD: i32 = 5_000_101;
/// A shell called `a) 0 (b`.
const SHELL: i32 = 5_000_102;
/// What runs in it, called newline, `) Z 1 1 1 (` and a byte that is no UTF-8.
const PROGRAM: i32 = 5_000_103;
const ZOMBIE: i32 = 5_000_104;
/// Listed, and gone when it is read.
const VANISHED: i32 = 5_000_105;
/// Its files end in the middle.
const CUT: i32 = 5_000_106;
/// Its files hold something else.
const ODD: i32 = 5_000_107;
/// Left the tree, with the session's audit id.
const DAEMON: i32 = 5_000_110;
/// The same, of root's.
const ROOTS_DAEMON: i32 = 5_000_111;
/// Somebody else's login.
const STRANGER: i32 = 5_000_112;
/// No login at all.
const UNSET: i32 = 5_000_113;
/// sudo in that program, in a session (setsid) of its own.
const SUDO: i32 = 5_000_114;
/// su in what is no login, nor has an audit id.
const SU_OF_UNSET: i32 = 5_000_115;
/// su in that shell, a leader of its own.
const SU: i32 = 5_000_120;
/// From before the numbers started over.
const OLD: i32 = 5_000_900;
const NOBODY: i32 = 5_000_999;

fn fixtures() -> Proc {
    Proc::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proc"))
}

#[test]
fn a_name_that_looks_like_fields_is_a_name() {
    let shell = Process {
        pid: SHELL,
        parent: CHILD,
        session: SHELL,
        tty: 34820,
        started: 40_200_000_000,
        dead: false,
    };
    assert_eq!(fixtures().process(SHELL), Some(shell));
    let program = Process {
        pid: PROGRAM,
        parent: SHELL,
        session: SHELL,
        tty: 34820,
        started: 40_300_000_000,
        dead: false,
    };
    assert_eq!(fixtures().process(PROGRAM), Some(program));
}

#[test]
fn processor_time_is_in_ticks_of_its_own_and_of_its_buried_children() {
    let usages: Vec<Usage> = fixtures().usages().collect();
    let of = |pid| *usages.iter().find(|usage| usage.process.pid == pid).unwrap();
    let shell = of(SHELL);
    assert_eq!((shell.group, shell.foreground), (SHELL, PROGRAM));
    assert_eq!((shell.own, shell.reaped), (230_000_000, 2_700_000_000));
    assert_eq!((of(LEADER).foreground, of(LEADER).own), (-1, 0));
    assert!(of(ZOMBIE).process.dead);
    assert!(usages.iter().all(|usage| usage.process.pid != CUT));
}

#[test]
fn what_cannot_be_read_is_no_process() {
    for pid in [VANISHED, CUT, NOBODY, 0, -1, i32::MAX] {
        assert_eq!(fixtures().process(pid), None, "{pid}");
    }
    assert!(fixtures().process(ZOMBIE).unwrap().dead);
}

#[test]
fn all_processes_are_listed_and_nothing_else() {
    let mut found: Vec<i32> = fixtures().processes().map(|process| process.pid).collect();
    found.sort_unstable();
    let all = [
        LEADER,
        CHILD,
        SHELL,
        PROGRAM,
        ZOMBIE,
        ODD,
        DAEMON,
        ROOTS_DAEMON,
        STRANGER,
        UNSET,
        SUDO,
        SU_OF_UNSET,
        SU,
        OLD,
    ];
    assert_eq!(found, all);
}

#[test]
fn the_newest_numbers_are_told_without_listing_any_process() {
    assert_eq!(fixtures().newest(3), [SU, SU - 1, SU - 2]);
    assert_eq!(Proc::at("/nonexistent").newest(3), Vec::<i32>::new());
}

#[test]
fn a_command_name_is_shown_as_it_is() {
    assert_eq!(fixtures().command(SHELL).as_deref(), Some("a) 0 (b"));
    assert_eq!(fixtures().command(NOBODY), None);
}

#[test]
fn a_program_is_the_file_and_not_its_path() {
    let own = std::process::id().try_into().unwrap();
    let (program, other) = (Proc::default().program_file(own), Proc::default().program_file(1));
    assert!(program.is_some());
    assert_ne!(program, other);
    assert_eq!(fixtures().program_file(NOBODY), None);
}

#[test]
fn the_newest_come_first_and_numbers_start_over_at_the_top() {
    let order = fixtures().newest_first();
    assert_eq!(order.first(), Some(&SU));
    assert_eq!(order.last(), Some(&OLD));
    assert_eq!(order.iter().position(|pid| *pid == LEADER), Some(order.len() - 2));
    // Those that cannot be read are listed: whether they are there is asked later.
    assert!(order.contains(&VANISHED) && order.contains(&CUT));
}

#[test]
fn an_audit_session_that_is_unset_missing_or_mangled_is_none() {
    let proc = fixtures();
    assert_eq!(proc.audit_session(LEADER), Some(7));
    assert_eq!(proc.audit_session(STRANGER), Some(8));
    for pid in [UNSET, VANISHED, CUT, ODD, NOBODY] {
        assert_eq!(proc.audit_session(pid), None, "{pid}");
    }
}

#[test]
fn ids_are_read_from_their_own_line() {
    let proc = fixtures();
    assert_eq!(proc.uids(LEADER), Some((0, 0)));
    // Not from the one of a name that holds "Uid:"; real and effective, not the others.
    assert_eq!(proc.uids(PROGRAM), Some((1000, 0)));
    for pid in [VANISHED, CUT, ODD, NOBODY] {
        assert_eq!(proc.uids(pid), None, "{pid}");
    }
}

#[test]
fn a_mask_is_read_from_its_lowest_bit() {
    let proc = fixtures();
    for (pid, signal, ignored) in [
        (SHELL, SIGHUP, true),
        (SHELL, SIGHUP + 1, false),
        (LEADER, SIGPIPE, true),
        (LEADER, SIGHUP, false),
        (LEADER, SIGTERM, false),
        (PROGRAM, 64, true),
        (PROGRAM, 63, false),
        (ODD, SIGHUP, false),
        (CUT, SIGHUP, false),
        (NOBODY, SIGHUP, false),
    ] {
        assert_eq!(proc.ignores(pid, signal), ignored, "{pid} {signal}");
    }
}

#[test]
fn masters_are_the_descriptors_with_a_terminal_number() {
    let mut masters = fixtures().pty_masters(LEADER).unwrap();
    masters.sort_unstable();
    // Others have none, a mangled one, a name that is no number, or were closed meanwhile.
    assert_eq!(masters, [(8, 4), (11, 17)]);
}

#[test]
fn sockets_are_told_by_what_their_links_say() {
    let mut sockets = fixtures().sockets(LEADER).unwrap();
    sockets.sort_unstable();
    assert_eq!(sockets, [3, 5]);
    assert_eq!(fixtures().sockets(NOBODY).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn descriptors_that_cannot_be_read_are_an_error_and_not_none() {
    assert_eq!(fixtures().pty_masters(NOBODY).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(fixtures().pty_masters(ODD).is_err());
}

/// As in a container without CAP_SYS_PTRACE.
#[test]
fn descriptors_that_may_not_be_read_are_said_to_be_so() {
    let root = std::env::temp_dir().join(format!("idle-watchdog-proc-{}", std::process::id()));
    let folder = root.join(format!("{LEADER}/fdinfo"));
    fs::create_dir_all(&folder).unwrap();
    let set_mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let proc = Proc::at(&root);
    let read = move || {
        // This thread's alone, and its privilege to read everything goes with it.
        setfsuid(Uid::from_raw(65_534));
        proc.pty_masters(LEADER)
    };
    let answer = thread::spawn(read).join().unwrap();
    set_mode(0o700);
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_device_is_itself_and_not_its_number() {
    let proc = fixtures();
    let (null, _) = devnode::stat(Path::new("/dev/null")).unwrap();
    let elsewhere = DeviceId { filesystem: null.filesystem + 1, ..null };
    let other = DeviceId { device: null.device + 1, ..null };
    assert!(proc.has_open(LEADER, null) && proc.reads_from(LEADER, null));
    for id in [elsewhere, other] {
        assert!(!proc.has_open(LEADER, id) && !proc.reads_from(LEADER, id), "{id:?}");
    }
    assert!(proc.may_stand_on(LEADER, null) && !proc.may_stand_on(CHILD, null));
    assert!(!proc.has_open(CHILD, null) && !proc.reads_from(CHILD, null));
    assert!(!proc.has_open(NOBODY, null) && !proc.reads_from(NOBODY, null));
}

#[test]
fn a_path_is_seen_from_the_processes_root() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proc"));
    let seen = fixtures().seen_by(LEADER, Path::new("/dev/pts/4"));
    assert_eq!(seen, root.join(format!("{LEADER}/root/dev/pts/4")));
}

#[test]
fn scopes_are_told_in_both_kinds_of_hierarchy() {
    let places = |pid| Places::of(&fixtures(), pid);
    for (pid, in_scope) in [(LEADER, true), (SHELL, true), (DAEMON, false), (OLD, false), (NOBODY, false)] {
        assert_eq!(places(pid).in_scope(), in_scope, "{pid}");
    }
    assert_eq!(places(LEADER), places(SU));
    assert_ne!(places(LEADER), places(DAEMON));
    assert_eq!(places(LEADER).session(), Some("3"));
    assert!(places(DAEMON).scope().is_none() && places(NOBODY).scope().is_none());
    let scope = places(LEADER).scope().unwrap();
    assert!(scope.holds(&places(SU)) && !scope.holds(&places(DAEMON)));
    assert!(places(SHELL).scope().unwrap().holds(&places(SHELL)), "by the named hierarchy");
}

/// Without a scope.
fn standing(pid: i32) -> Standing {
    let leader = fixtures().process(pid).unwrap();
    Standing::of(&fixtures(), &leader, &Places::default())
}

#[test]
fn a_session_is_nested_if_its_leader_was_in_one() {
    assert!(!standing(LEADER).nested());
    assert_eq!(standing(LEADER).word(), "audit");
    assert!(standing(SU).nested());
    assert_eq!(standing(SU).word(), "descendants");
    // By the audit id alone, and by the process session alone.
    assert!(standing(SUDO).nested());
    assert!(standing(SU_OF_UNSET).nested());
    assert!(!standing(UNSET).nested());
    assert_eq!(standing(UNSET).word(), "descendants,terminals");
}

/// Members and spared of a leader's session, sorted.
fn survey(pid: i32) -> (Vec<i32>, Vec<i32>) {
    let mut visited = Vec::new();
    let survey = standing(pid).survey(&fixtures(), &[], |_| true, |member| visited.push(member.process.pid));
    let mut members: Vec<i32> = survey.members.iter().map(|member| member.process.pid).collect();
    assert_eq!(visited, members);
    assert!(survey.unsettled, "some vanished meanwhile");
    let mut spared = survey.spared;
    members.sort_unstable();
    spared.sort_unstable();
    (members, spared)
}

#[test]
fn the_end_of_a_session_applies_to_its_own() {
    // The zombie needs no end, strangers get none.
    assert_eq!(survey(LEADER), (vec![LEADER, CHILD, SHELL, PROGRAM, DAEMON, SUDO, SU], vec![ROOTS_DAEMON]));
    // What su was started from is the outer session's.
    assert_eq!(survey(SU), (vec![SU], vec![]));
}

#[test]
fn sshds_own_child_is_known_by_the_session_it_stays_in() {
    let holders: Vec<i32> = standing(LEADER).connection_holders(&fixtures()).iter().map(|p| p.pid).collect();
    assert_eq!(holders, [CHILD]);
    // su shares the session of the shell that it was started from.
    assert_eq!(standing(SU_OF_UNSET).connection_holders(&fixtures()).len(), 0);
}

#[test]
fn an_audit_id_of_ones_own_choice_spares_nobody() {
    // Where the leader's is unset, any process may set its own, once.
    let leader = fixtures().process(UNSET).unwrap();
    let standing = Standing::of(&fixtures(), &leader, &Places::of(&fixtures(), SHELL));
    let survey = standing.survey(&fixtures(), &[], |_| true, |_| {});
    assert_eq!(survey.spared, [0; 0]);
    assert!(survey.members.iter().any(|member| member.process.pid == SHELL));
}
