use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::policy::Settings;
use crate::protocol::start::Assignment;
use crate::sys::proc::{ProcId, Started};

/// A `/proc` of the test's own. All its processes were started one second after boot.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("idle-watchdog-sessions-{}-{serial}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Adds a process with this parent, command name, user, command line and terminal.
    fn process(&self, pid: i32, parent: i32, name: &str, uid: u32, line: &str, tty: u64) -> &Self {
        let directory = self.0.join(pid.to_string());
        fs::create_dir_all(directory.join("fdinfo")).unwrap();
        let put = |file: &str, text: String| fs::write(directory.join(file), text).unwrap();
        put("comm", format!("{name}\n"));
        symlink(format!("/usr/sbin/{name}"), directory.join("exe")).unwrap();
        put(
            "stat",
            format!("{pid} (x) S {parent} {pid} {pid} {tty} -1 0 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0"),
        );
        put("status", format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
        put("cmdline", format!("{line}\0\0\0"));
        self
    }

    fn in_scope(&self, pid: i32, id: &str) -> &Self {
        fs::write(self.0.join(format!("{pid}/cgroup")), format!("0::/u/session-{id}.scope\n")).unwrap();
        self
    }

    /// The sessions: name, service, user, host, terminal.
    fn found(&self, listed: Vec<LogindSession>, helpers: Vec<RunningHelper>) -> Vec<[String; 5]> {
        let now = Moment { boot: 100 * SECOND, mono: 100 * SECOND, wall: 0 };
        let sources = Sources { proc: Proc::at(&self.0), helpers, listed, now };
        let shown = |session: Session| {
            let login = &session.login;
            let user = format!("{}={:?}", login.user_text(), login.uid);
            let [service, rhost, tty] =
                [login.service_text(), login.rhost_text(), login.tty_text()].map(|text| text.into_owned());
            [session.name, service, user, rhost, tty]
        };
        sources.sessions(|| "sshd".to_owned()).into_iter().map(shown).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn listed(id: &str, leader: i32, service: &str, class: &str) -> LogindSession {
    LogindSession {
        id: id.to_owned(),
        leader: Pid::from_raw(leader),
        user: "alice".to_owned(),
        uid: 1000,
        rhost: Some("client.example".to_owned()).filter(|_| service == "sshd"),
        tty: Some("tty1".to_owned()).filter(|_| service == "login"),
        opened: 0,
        kind: Kind { service: Some(service.to_owned()), class: Some(class.to_owned()), ..Kind::default() },
    }
}

/// sshd's leader and child, and the shell, of alice's session.
fn sshd_of_alice(tree: &Tree, pid: i32) {
    tree.process(pid, 50, "sshd", 0, "sshd: alice [priv]", 0)
        .process(pid + 1, pid, "sshd", 1000, "sshd: alice@pts/0", 0)
        .process(pid + 2, pid + 1, "bash", 1000, "-bash", 34816);
}

fn row(texts: [&str; 5]) -> [String; 5] {
    texts.map(str::to_owned)
}

#[test]
fn leaders_of_sshd_and_login_are_found_without_logind() {
    let tree = Tree::new();
    tree.process(50, 1, "sshd", 0, "sshd: /usr/sbin/sshd -D -o User=a@b [listener] 0 of 10-100 startups", 0);
    sshd_of_alice(&tree, 60);
    tree.process(70, 50, "sshd-session", 0, "sshd-session: root@pts/1", 0)
        .process(71, 70, "bash", 0, "-bash", 34817)
        .process(80, 1, "login", 0, "/bin/login -f root", 0)
        .process(81, 80, "bash", 0, "-bash", 1025)
        // root's session with a newer OpenSSH.
        .process(90, 50, "sshd-session", 0, "sshd-session: root [priv]", 0)
        .process(91, 90, "sshd-session", 0, "sshd-session: root@pts/2", 0)
        // The same since OpenSSH 10.6.
        .process(92, 50, "sshd-session", 0, "sshd-session: bob [postauth]", 0)
        .process(93, 92, "sshd-session", 1001, "sshd-session: bob@notty", 0);
    let found = tree.found(vec![], vec![]);
    assert_eq!(
        found,
        [
            row(["pid:60", "sshd", "alice=Some(1000)", "UNKNOWN", "ssh"]),
            row(["pid:70", "sshd", "root=Some(0)", "UNKNOWN", "ssh"]),
            row(["pid:80", "login", "root=Some(0)", "", "tty1"]),
            row(["pid:90", "sshd", "root=Some(0)", "UNKNOWN", "ssh"]),
            row(["pid:92", "sshd", "bob=Some(1001)", "UNKNOWN", "ssh"]),
        ]
    );
}

#[test]
fn a_login_that_goes_on_is_no_session_yet() {
    let tree = Tree::new();
    // Before authentication, and between authentication and the first process of the user.
    tree.process(60, 50, "sshd", 0, "sshd: alice [priv]", 0)
        .process(61, 60, "sshd", 101, "sshd: alice [net]", 0)
        .process(62, 50, "sshd-session", 0, "sshd-session: alice [priv]", 0)
        .process(63, 62, "sshd-auth", 101, "sshd-auth: alice [net]", 0)
        .process(64, 50, "sshd", 0, "sshd: alice [priv]", 0)
        .process(65, 64, "sshd", 0, "sshd: alice [priv]", 0)
        .process(66, 50, "sshd", 0, "sshd: root [priv]", 0)
        .process(68, 50, "sshd", 0, "sshd: alice [priv]", 0)
        .process(69, 68, "sshd", 0, "sshd: alice", 0)
        .process(67, 50, "sshd", 0, "sshd: [accepted]", 0)
        .process(72, 50, "sshd-session", 0, "sshd-session: alice [postauth]", 0)
        .process(73, 72, "sshd-session", 0, "sshd-session: alice [postauth]", 0)
        .process(80, 1, "login", 0, "/bin/login -f root", 1025)
        .in_scope(64, "12");
    assert_eq!(tree.found(vec![], vec![]), [[""; 5]; 0]);
    assert_eq!(tree.found(vec![listed("12", 64, "sshd", "user")], vec![]), [[""; 5]; 0]);
}

#[test]
fn a_process_of_a_user_cannot_pass_for_a_leader() {
    let tree = Tree::new();
    tree.process(60, 50, "sshd", 1000, "sshd: bob [priv]", 0)
        .process(61, 60, "sshd", 1001, "sshd: bob@pts/0", 0)
        .process(70, 50, "sshd", 1000, "sshd: root@pts/0", 0)
        // su under another name.
        .process(80, 50, "su", 0, "sshd: root@pts/0", 0);
    fs::write(tree.0.join("80/comm"), "sshd\n").unwrap();
    assert_eq!(tree.found(vec![], vec![]), [[""; 5]; 0]);
}

#[test]
fn logind_names_the_session_and_its_host() {
    let tree = Tree::new();
    sshd_of_alice(&tree, 60);
    // The process that had this PID has ended, and this one is not in the session's scope.
    sshd_of_alice(&tree, 70);
    tree.in_scope(60, "12");
    // Nobody has logged in there.
    tree.process(90, 1, "cron", 0, "cron", 0).in_scope(90, "14");
    let sessions = vec![
        listed("12", 60, "sshd", "user"),
        listed("13", 70, "sshd", "user"),
        listed("14", 90, "cron", "background"),
    ];
    assert_eq!(
        tree.found(sessions, vec![]),
        [
            row(["12", "sshd", "alice=Some(1000)", "client.example", "ssh"]),
            row(["pid:70", "sshd", "alice=Some(1000)", "UNKNOWN", "ssh"]),
        ]
    );
}

#[test]
fn a_helper_tells_whose_session_it_watches() {
    let tree = Tree::new();
    sshd_of_alice(&tree, 60);
    tree.in_scope(60, "12").process(65, 62, "su", 0, "su", 34816);
    let helper = |pid: i32, leader: i32, service: &str| {
        let login = Login { service: service.into(), user: Some("Alice".into()), ..Login::default() };
        let leader = Pid::from_raw(leader);
        let told = Ok(Assignment {
            login,
            leader,
            connection: None,
            adopted: None,
            line: vec![],
            settings: Settings::default(),
        });
        let id = ProcId { pid: Pid::from_raw(pid), started: Started(SECOND) };
        RunningHelper { id, leader: Some(leader), told }
    };
    let helpers = vec![helper(5, 60, "sshd"), helper(6, 65, "su"), helper(7, 99, "sshd")];
    let found = tree.found(vec![listed("12", 60, "sshd", "user")], helpers);
    assert_eq!(
        found,
        [
            row(["12", "sshd", "Alice=None", "", ""]),
            row(["pid:65", "su", "Alice=None", "", ""]),
            row(["pid:99", "sshd", "Alice=None", "", ""]),
        ]
    );
    // A helper of another version keeps its session, too.
    let old = RunningHelper { told: Err("another version".to_owned()), ..helper(5, 60, "sshd") };
    let found = tree.found(vec![listed("12", 60, "sshd", "user")], vec![old]);
    assert_eq!(found, [row(["12", "sshd", "alice=Some(1000)", "client.example", "ssh"])]);
}

#[test]
fn a_session_is_found_by_either_name_and_a_bad_name_is_refused() {
    let session = |name: &str, leader| Session {
        name: name.to_owned(),
        login: Login::default(),
        leader: Pid::from_raw(leader),
        process: None,
        terminals: vec![],
        kind: Kind::default(),
        helper: None,
    };
    let all = [session("12", 60), session("pid:70", 70)];
    let found = |name: &str| named(&all, name).map(|session| session.leader.as_raw());
    assert_eq!((found("12"), found("pid:60"), found("pid:70")), (Ok(60), Ok(60), Ok(70)));
    assert_eq!(found("13"), Err("there is no session 13".to_owned()));
    for bad in ["", "pid:", "pid:x", "pid:-1", "12 ", "../12", "\u{1b}[2J"] {
        assert!(found(bad).unwrap_err().contains("is not a session; expected an ID"), "{bad:?}");
    }
}
