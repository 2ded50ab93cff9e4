//! Ring 1: the worst that `/proc` may show, in a directory of the tests: command names that look like fields,
//! files that are missing, truncated or of another kind, processes that vanish meanwhile. The PIDs are larger
//! than any PID of a kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::libc::{self, SIGHUP, SIGPIPE, SIGTERM};
use nix::unistd::{Pid, Uid, setfsuid};
use pam_idle_watchdog::helper::members::{Owner, SessionIdentity};
use pam_idle_watchdog::helper::terminals::Finder;
use pam_idle_watchdog::sys::cgroup::Cgroups;
use pam_idle_watchdog::sys::devnode::{self, DeviceId};
use pam_idle_watchdog::sys::pidfd::PidFd;
use pam_idle_watchdog::sys::proc::{AuditSession, Proc, ProcId, Process, Started, Usage};

/// The process of sshd that opened the session: `sshd: alice [priv]`.
const LEADER: Pid = Pid::from_raw(5_000_100);
/// Its child, `sshd: alice@pts/4`.
const CHILD: Pid = Pid::from_raw(5_000_101);
/// A shell with the name `a) 0 (b`.
const SHELL: Pid = Pid::from_raw(5_000_102);
/// A program in this shell. Its name is a newline, `) Z 1 1 1 (` and a byte that is not UTF-8.
const PROGRAM: Pid = Pid::from_raw(5_000_103);
const ZOMBIE: Pid = Pid::from_raw(5_000_104);
/// It is listed, and gone when it is read.
const VANISHED: Pid = Pid::from_raw(5_000_105);
/// Its files end in the middle.
const CUT: Pid = Pid::from_raw(5_000_106);
/// Its files have other content.
const ODD: Pid = Pid::from_raw(5_000_107);
/// A process that left the tree and has the session's audit ID.
const DAEMON: Pid = Pid::from_raw(5_000_110);
/// The same, but it runs as root.
const ROOTS_DAEMON: Pid = Pid::from_raw(5_000_111);
/// A login of another user.
const STRANGER: Pid = Pid::from_raw(5_000_112);
/// A process without a login.
const UNSET: Pid = Pid::from_raw(5_000_113);
/// sudo in that program, in its own session (setsid).
const SUDO: Pid = Pid::from_raw(5_000_114);
/// su in a shell on a terminal. The shell is not a login and has no audit ID.
const SU_OF_UNSET: Pid = Pid::from_raw(5_000_115);
/// su that a person has run through setsid(1), without a login and an audit ID.
const SU_BY_SETSID: Pid = Pid::from_raw(5_000_108);
/// This shell.
const SHELL_OF_UNSET: Pid = Pid::from_raw(5_000_116);
/// A process of another user that left the tree and has the session's audit ID.
const OTHERS_DAEMON: Pid = Pid::from_raw(5_000_117);
/// The same, in a user namespace.
const TAKEN_ON: Pid = Pid::from_raw(5_000_118);
/// A login of another user below that program, as if the program adopts orphans.
const LOGIN_BELOW: Pid = Pid::from_raw(5_000_119);
/// A process that left the tree. All its IDs except the saved one belong to another user.
const SAVED: Pid = Pid::from_raw(5_000_121);
/// `sshd -i`, a child of UNSET and in its session (setsid).
const INETD_SSHD: Pid = Pid::from_raw(5_000_130);
/// Its child, the shell that it started, and a process that left the tree there.
const INETD_CHILD: Pid = Pid::from_raw(5_000_131);
const INETD_SHELL: Pid = Pid::from_raw(5_000_132);
const INETD_DAEMON: Pid = Pid::from_raw(5_000_133);
/// Another child of UNSET.
const INETD_OTHER: Pid = Pid::from_raw(5_000_134);
/// su in that shell. It is a leader, too.
const SU: Pid = Pid::from_raw(5_000_120);
/// It is older than the last restart of the PIDs.
const OLD: Pid = Pid::from_raw(5_000_900);
const NOBODY: Pid = Pid::from_raw(5_000_999);

fn fixtures() -> Proc {
    Proc::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proc"))
}

#[test]
fn a_name_that_looks_like_fields_is_a_name() {
    let shell = Process {
        id: ProcId { pid: SHELL, started: Started(40_200_000_000) },
        parent: CHILD,
        session: SHELL,
        tty: 34820,
        dead: false,
    };
    assert_eq!(fixtures().process(SHELL), Some(shell));
    let program = Process {
        id: ProcId { pid: PROGRAM, started: Started(40_300_000_000) },
        parent: SHELL,
        session: SHELL,
        tty: 34820,
        dead: false,
    };
    assert_eq!(fixtures().process(PROGRAM), Some(program));
}

#[test]
fn processor_time_is_in_ticks_of_its_own_and_of_its_buried_children() {
    let usages: Vec<Usage> = fixtures().usages().collect();
    let of = |pid| *usages.iter().find(|usage| usage.process.id.pid == pid).unwrap();
    let shell = of(SHELL);
    assert_eq!((shell.group, shell.foreground), (SHELL, Some(PROGRAM)));
    assert_eq!((shell.own, shell.reaped), (230_000_000, 2_700_000_000));
    assert_eq!((of(LEADER).foreground, of(LEADER).own), (None, 0));
    assert!(of(ZOMBIE).process.dead);
    assert!(usages.iter().all(|usage| usage.process.id.pid != CUT));
}

#[test]
fn an_unreadable_entry_is_not_a_process() {
    for pid in [VANISHED, CUT, NOBODY].into_iter().chain([0, -1, i32::MAX].map(Pid::from_raw)) {
        assert_eq!(fixtures().process(pid), None, "{pid}");
    }
    assert!(fixtures().process(ZOMBIE).unwrap().dead);
}

#[test]
fn all_processes_are_listed_and_nothing_else() {
    let mut found: Vec<Pid> = fixtures().processes().map(|process| process.id.pid).collect();
    found.sort_unstable();
    let all = [
        LEADER,
        CHILD,
        SHELL,
        PROGRAM,
        ZOMBIE,
        ODD,
        SU_BY_SETSID,
        DAEMON,
        ROOTS_DAEMON,
        STRANGER,
        UNSET,
        SUDO,
        SU_OF_UNSET,
        SHELL_OF_UNSET,
        OTHERS_DAEMON,
        TAKEN_ON,
        LOGIN_BELOW,
        SU,
        SAVED,
        INETD_SSHD,
        INETD_CHILD,
        INETD_SHELL,
        INETD_DAEMON,
        INETD_OTHER,
        OLD,
    ];
    assert_eq!(found, all);
}

#[test]
fn the_newest_pids_are_known_without_a_list_of_processes() {
    let newest = INETD_OTHER.as_raw();
    assert_eq!(fixtures().newest(3), [newest, newest - 1, newest - 2].map(Pid::from_raw));
    assert_eq!(Proc::at("/nonexistent").newest(3), Vec::<Pid>::new());
}

#[test]
fn a_command_name_is_shown_as_it_is() {
    assert_eq!(fixtures().command_name(SHELL).as_deref(), Some("a) 0 (b"));
    assert_eq!(fixtures().command_name(NOBODY), None);
}

#[test]
fn a_program_is_known_by_its_path_even_after_its_file_was_replaced() {
    assert_eq!(Proc::default().program_path(Pid::this()), std::env::current_exe().ok());
    assert_eq!(fixtures().program_path(NOBODY), None);
    let root = std::env::temp_dir().join(format!("idle-watchdog-program-{}", Pid::this()));
    std::fs::create_dir_all(root.join("7")).unwrap();
    std::os::unix::fs::symlink("/usr/sbin/sshd (deleted)", root.join("7/exe")).unwrap();
    let program = Proc::at(&root).program_path(Pid::from_raw(7));
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(program.unwrap().to_str(), Some("/usr/sbin/sshd"));
}

#[test]
fn the_newest_come_first_even_after_pids_start_again() {
    let order = fixtures().newest_first();
    assert_eq!(order.first(), Some(&INETD_OTHER));
    assert_eq!(order.last(), Some(&OLD));
    assert_eq!(order.iter().position(|pid| *pid == LEADER), Some(order.len() - 2));
    // Processes that cannot be read are listed. Whether they exist is asked later.
    assert!(order.contains(&VANISHED) && order.contains(&CUT));
}

#[test]
fn an_audit_session_that_is_unset_missing_or_mangled_is_none() {
    let proc = fixtures();
    assert_eq!(proc.audit_session(LEADER), Some(AuditSession(7)));
    assert_eq!(proc.audit_session(STRANGER), Some(AuditSession(8)));
    for pid in [UNSET, VANISHED, CUT, ODD, NOBODY] {
        assert_eq!(proc.audit_session(pid), None, "{pid}");
    }
}

#[test]
fn ids_are_read_from_their_own_line() {
    let proc = fixtures();
    assert_eq!(proc.uids(LEADER), Some((0, 0)));
    // The IDs are not from the line of a name with "Uid:". They are the real and effective ID, not the others.
    assert_eq!(proc.uids(PROGRAM), Some((1000, 0)));
    assert_eq!(proc.all_uids(SAVED), Some([33, 33, 1000, 33]));
    for pid in [VANISHED, CUT, ODD, NOBODY] {
        assert_eq!((proc.uids(pid), proc.all_uids(pid)), (None, None), "{pid}");
    }
}

#[test]
fn a_user_namespace_is_told_by_its_map() {
    for (pid, expected) in [(TAKEN_ON, true), (OTHERS_DAEMON, false), (DAEMON, false), (NOBODY, false)] {
        assert_eq!(fixtures().has_other_ids(pid), expected, "{pid}");
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
    // The other descriptors have no number, a mangled one, a name that is not a number, or were closed
    // meanwhile.
    assert_eq!(masters, [(8, 4), (11, 17)]);
}

#[test]
fn sockets_are_recognized_by_their_links() {
    let mut sockets: Vec<i32> = fixtures().sockets(LEADER).unwrap().map(|socket| socket.unwrap().0).collect();
    sockets.sort_unstable();
    assert_eq!(sockets, [3, 5]);
    assert_eq!(fixtures().sockets(NOBODY).err().unwrap().kind(), io::ErrorKind::NotFound);
}

#[test]
fn descriptors_that_cannot_be_read_are_an_error() {
    assert_eq!(fixtures().pty_masters(NOBODY).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(fixtures().pty_masters(ODD).is_err());
}

/// A container without CAP_SYS_PTRACE is like this.
#[test]
fn descriptors_that_may_not_be_read_are_permission_denied() {
    let root = std::env::temp_dir().join(format!("idle-watchdog-proc-{}", std::process::id()));
    let directory = root.join(format!("{LEADER}/fdinfo"));
    fs::create_dir_all(&directory).unwrap();
    let set_mode = |mode| fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let proc = Proc::at(&root);
    let read = move || {
        // Only this thread changes, and loses its privilege to read everything.
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
    assert!(proc.reads_from(LEADER, null));
    for id in [elsewhere, other] {
        assert!(!proc.reads_from(LEADER, id), "{id:?}");
    }
    assert!(!proc.reads_from(CHILD, null) && !proc.reads_from(NOBODY, null));
}

#[test]
fn a_path_is_seen_from_the_processes_root() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proc"));
    let seen = fixtures().seen_by(LEADER, Path::new("/dev/pts/4"));
    assert_eq!(seen, root.join(format!("{LEADER}/root/dev/pts/4")));
}

#[test]
fn scopes_are_found_in_both_kinds_of_hierarchy() {
    let cgroups = |pid| Cgroups::of(&fixtures(), pid);
    for (pid, in_scope) in [(LEADER, true), (SHELL, true), (DAEMON, false), (OLD, false), (NOBODY, false)] {
        assert_eq!(cgroups(pid).in_scope(), in_scope, "{pid}");
    }
    assert_eq!(cgroups(LEADER), cgroups(SU));
    assert_ne!(cgroups(LEADER), cgroups(DAEMON));
    assert_eq!(cgroups(LEADER).session(), Some("3"));
    assert!(cgroups(DAEMON).scope().is_none() && cgroups(NOBODY).scope().is_none());
    let scope = cgroups(LEADER).scope().unwrap();
    assert!(scope.holds(&cgroups(SU)) && !scope.holds(&cgroups(DAEMON)));
    assert!(cgroups(SHELL).scope().unwrap().holds(&cgroups(SHELL)), "by the named hierarchy");
}

/// The identity of a session of alice without a scope.
fn identity(pid: Pid) -> SessionIdentity {
    identity_of(pid, Some(1000))
}

fn identity_of(pid: Pid, uid: Option<u32>) -> SessionIdentity {
    let leader = fixtures().process(pid).unwrap();
    let owner = Owner { name: "idle-watchdog-nobody".into(), uid };
    SessionIdentity::of(&fixtures(), &leader, &Cgroups::default(), owner)
}

#[test]
fn a_session_is_nested_if_its_leader_was_in_one() {
    assert!(!identity(LEADER).nested());
    assert_eq!(identity(LEADER).word(), "audit");
    assert!(identity(SU).nested());
    assert_eq!(identity(SU).word(), "descendants");
    // It shows by the audit ID alone, and by the session (setsid) alone.
    assert!(identity(SUDO).nested());
    assert!(identity(SU_OF_UNSET).nested());
    // It shows by the real user ID alone.
    assert!(identity(SU_BY_SETSID).nested());
    assert!(!identity(UNSET).nested());
    assert_eq!(identity(UNSET).word(), "descendants,terminals");
}

#[test]
fn a_superservers_session_is_not_a_login() {
    assert!(!identity(INETD_SSHD).nested());
    assert_eq!(identity(INETD_SSHD).word(), "audit");
}

/// The members and the spared processes of a session, sorted.
fn survey_of(identity: &SessionIdentity, leader: Pid) -> (Vec<Pid>, Vec<Pid>) {
    let (proc, pidfd) = (fixtures(), PidFd::open(Pid::this()).unwrap());
    let finder = Finder::new(proc.clone(), &proc.process(leader).unwrap(), None);
    let controlling = finder.controlling_sessions(&[], &pidfd, &[]);
    let mut visited = Vec::new();
    let survey = identity.survey(&proc, &controlling, |member| visited.push(member.process.id.pid));
    let mut members: Vec<Pid> = survey.members.iter().map(|member| member.process.id.pid).collect();
    assert_eq!(visited, members);
    let mut spared = survey.spared;
    members.sort_unstable();
    spared.sort_unstable();
    (members, spared)
}

fn survey(pid: Pid) -> (Vec<Pid>, Vec<Pid>) {
    survey_of(&identity(pid), pid)
}

#[test]
fn a_process_that_vanishes_during_a_survey_makes_it_incomplete() {
    let (proc, pidfd) = (fixtures(), PidFd::open(Pid::this()).unwrap());
    let finder = Finder::new(proc.clone(), &proc.process(LEADER).unwrap(), None);
    assert!(
        identity(LEADER).survey(&proc, &finder.controlling_sessions(&[], &pidfd, &[]), |_| {}).incomplete
    );
}

/// The processes that belong to alice's session in every case.
const ALICES: [Pid; 9] = [LEADER, CHILD, SHELL, PROGRAM, DAEMON, SUDO, TAKEN_ON, SU, SAVED];

#[test]
fn the_end_of_a_session_applies_to_its_own() {
    // The zombie needs no end, and strangers are not ended.
    assert_eq!(survey(LEADER), (ALICES.to_vec(), vec![ROOTS_DAEMON, OTHERS_DAEMON, LOGIN_BELOW]));
    // The process that started su belongs to the outer session.
    assert_eq!(survey(SU), (vec![SU], vec![]));
}

#[test]
fn another_users_process_depends_on_the_sessions_user() {
    // If the user's ID is unknown, only daemons of root are known to belong to another user.
    let (members, spared) = survey_of(&identity_of(LEADER, None), LEADER);
    assert!(members.contains(&OTHERS_DAEMON));
    assert_eq!(spared, [ROOTS_DAEMON, LOGIN_BELOW]);
    // In a session of root, any process may be a daemon that root has started.
    let (members, spared) = survey_of(&identity_of(LEADER, Some(0)), LEADER);
    assert_eq!(members, [LEADER, CHILD, SHELL, PROGRAM, SUDO, SU]);
    assert_eq!(spared, [DAEMON, ROOTS_DAEMON, OTHERS_DAEMON, TAKEN_ON, LOGIN_BELOW, SAVED]);
}

#[test]
fn a_session_under_a_superserver_has_only_its_own_processes() {
    let carols = identity_of(INETD_SSHD, Some(1003));
    let members = vec![INETD_SSHD, INETD_CHILD, INETD_SHELL, INETD_DAEMON];
    assert_eq!(survey_of(&carols, INETD_SSHD), (members, vec![]));
    let holders: Vec<Pid> = carols.connection_holders(&fixtures()).iter().map(|p| p.id.pid).collect();
    assert_eq!(holders, [INETD_CHILD]);
}

#[test]
fn sshds_own_child_is_recognized_by_its_session() {
    let holders: Vec<Pid> =
        identity(LEADER).connection_holders(&fixtures()).iter().map(|p| p.id.pid).collect();
    assert_eq!(holders, [CHILD]);
    // su shares the session of the shell in which it was started.
    assert_eq!(identity(SU_OF_UNSET).connection_holders(&fixtures()).len(), 0);
}

#[test]
fn only_what_a_scope_or_an_audit_id_shows_is_left_after_a_logout() {
    let left = |identity: &SessionIdentity, leader| {
        let (proc, pidfd) = (fixtures(), PidFd::open(Pid::this()).unwrap());
        let finder = Finder::new(proc.clone(), &proc.process(leader).unwrap(), None);
        let left = identity.left(&proc, &finder.controlling_sessions(&[], &pidfd, &[]));
        let mut left: Vec<Pid> = left.iter().map(|process| process.id.pid).collect();
        left.sort_unstable();
        left
    };
    // Neither the leader nor sshd's own child is left, even if it is still there.
    assert_eq!(left(&identity(LEADER), LEADER), [SHELL, PROGRAM, DAEMON, SUDO, TAKEN_ON, SU, SAVED]);
    // The descendants of these leaders may belong to another session by now.
    assert_eq!(left(&identity(UNSET), UNSET), []);
    assert_eq!(left(&identity(SU), SU), []);
    let leader = fixtures().process(LEADER).unwrap();
    let by_scope =
        SessionIdentity::of(&fixtures(), &leader, &Cgroups::of(&fixtures(), LEADER), Owner::default());
    assert_eq!(by_scope.word(), "scope");
    assert_eq!(left(&by_scope, LEADER), [SU]);
}

#[test]
fn a_chosen_audit_id_spares_no_process() {
    // If the leader's audit ID is unset, any process may set its own, once.
    let leader = fixtures().process(UNSET).unwrap();
    let identity =
        SessionIdentity::of(&fixtures(), &leader, &Cgroups::of(&fixtures(), SHELL), Owner::default());
    let (members, spared) = survey_of(&identity, UNSET);
    assert_eq!(spared, []);
    assert!(members.contains(&SHELL));
}

/// The files of a process that are opened while `work` runs with a copy of the fixtures.
fn files_opened(pid: Pid, serial: u32, work: impl FnOnce(Proc)) -> Vec<&'static str> {
    const FILES: [&str; 4] = ["stat", "cgroup", "sessionid", "status"];
    let root = std::env::temp_dir().join(format!("idle-watchdog-files-{}-{serial}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proc/.");
    let copied = Command::new("cp").arg("-r").arg(source).arg(&root).status().unwrap();
    assert!(copied.success());
    // SAFETY: it takes flags and returns a descriptor.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
    // SAFETY: nobody else owns the descriptor.
    let mut events = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let watches = FILES.map(|name| {
        let path = CString::new(root.join(format!("{pid}/{name}")).into_os_string().into_vec()).unwrap();
        // SAFETY: the path is terminated and outlives the call.
        unsafe { libc::inotify_add_watch(events.as_raw_fd(), path.as_ptr(), libc::IN_OPEN) }
    });
    work(Proc::at(&root));
    fs::remove_dir_all(&root).unwrap();
    let mut bytes = vec![0; 65_536];
    let length = events.read(&mut bytes).unwrap();
    // Without a name an event has four numbers. The first is the watch, the second is what happened.
    let opened: Vec<i32> = bytes[..length]
        .chunks_exact(size_of::<libc::inotify_event>())
        .filter(|event| u32::from_ne_bytes(event[4..8].try_into().unwrap()) & libc::IN_OPEN != 0)
        .map(|event| i32::from_ne_bytes(event[..4].try_into().unwrap()))
        .collect();
    FILES.into_iter().zip(watches).filter(|(_, watch)| opened.contains(watch)).map(|(name, _)| name).collect()
}

#[test]
fn only_two_files_of_a_stranger_are_read() {
    for (serial, by_scope, expected) in [(0, false, ["stat", "sessionid"]), (1, true, ["stat", "cgroup"])] {
        let opened = files_opened(STRANGER, serial, |proc| {
            let leader = proc.process(LEADER).unwrap();
            let cgroups = if by_scope { Cgroups::of(&proc, LEADER) } else { Cgroups::default() };
            let identity = SessionIdentity::of(&proc, &leader, &cgroups, Owner::default());
            assert_eq!(identity.word(), if by_scope { "scope" } else { "audit" });
            let pidfd = PidFd::open(Pid::this()).unwrap();
            let finder = Finder::new(proc.clone(), &leader, None);
            identity.survey(&proc, &finder.controlling_sessions(&[], &pidfd, &[]), |_| {});
        });
        assert_eq!(opened, expected, "by_scope={by_scope}");
    }
}
