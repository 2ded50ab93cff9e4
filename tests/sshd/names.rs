//! Name services: directories that are down, large groups, names in any bytes.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pam_idle_watchdog::protocol::running;

use crate::policy::log_out;
use crate::support::client::Client;
use crate::support::sshd::Sshd;
use crate::support::{SOON, build_dir, name_services};

/// The README's example, without the groups that this machine may have.
const EXAMPLE: &str = "\
root,@daemon,@no-such-group *      *      *            timeout=10m
deploy                      sshd   *      10.0.0.0/8   timeout=off
*                           *      *      *            timeout=15m
";

/// Debian's modules whose daemons do not run here.
const DIRECTORIES: [&str; 3] = ["sss", "ldap", "winbind"];

/// A mount namespace in which the command asks other name services than those of the machine.
struct Machine {
    directory: PathBuf,
    modules: PathBuf,
}

impl Machine {
    /// Starts one with these name services.
    fn with(test: &str, services: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("idle-watchdog-names-{}-{test}", std::process::id()));
        fs::create_dir_all(directory.join("lib")).unwrap();
        let text = format!("passwd: {services}\ngroup: {services}\n");
        fs::write(directory.join("nsswitch.conf"), text).unwrap();
        Self { directory, modules: name_services() }
    }

    /// Starts one that has a service of ours besides its files.
    fn counting(test: &str) -> Self {
        let mut machine = Self::with(test, "files counting");
        let define =
            |name: &str, file: &str| format!("-D{name}=\"{}\"", machine.directory.join(file).display());
        let status = Command::new("gcc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .arg(machine.directory.join("libnss_counting.so.2"))
            .args([define("LOG", "asked"), define("DOWN", "down")])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sshd/name_service.c"))
            .status()
            .expect("run gcc");
        assert!(status.success(), "gcc: {status}");
        machine.modules.clone_from(&machine.directory);
        machine
    }

    /// Runs `idle-watchdog check --file -` with this policy. Returns all its output and its exit status.
    fn check(&self, policy: &str, args: &[&str]) -> (String, Option<i32>) {
        let mounts = "mount --bind \"$1/nsswitch.conf\" /etc/nsswitch.conf
                      mount --bind \"$1/lib\" /var/lib
                      shift; exec \"$@\" 2>&1";
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", mounts, "sh"])
            .arg(&self.directory)
            .arg(build_dir().join("idle-watchdog"))
            .args(["check", "--file", "-"])
            .args(args)
            .env("LD_LIBRARY_PATH", &self.modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        child.stdin.take().unwrap().write_all(policy.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The arguments of `check` for a login of this user.
fn login(user: &str) -> [&str; 4] {
    ["--line", "timeout=1h", "--user", user]
}

#[test]
fn a_group_that_is_unknown_matches_nobody_where_a_directory_is_down() {
    for directory in DIRECTORIES {
        for services in [format!("files {directory}"), format!("{directory} files")] {
            let machine = Machine::with(directory, &services);
            for (user, rule) in [("root", "-:1"), ("daemon", "-:1"), ("nobody", "-:3")] {
                let (said, code) = machine.check(EXAMPLE, &login(user));
                assert!(
                    code == Some(0) && said.contains(&format!("rule      {rule}\n")),
                    "{services}: {said}"
                );
            }
            let (said, code) = machine.check(EXAMPLE, &[]);
            let unknown = "note: -:1: @no-such-group is not known on this machine\n";
            assert!(code == Some(0) && said.contains(unknown), "{services}: {said}");
        }
    }
}

#[test]
fn a_directory_that_is_down_refuses_no_login() {
    let sshd = Sshd::with("timeout=20m").names("sss ldap winbind").start();
    sshd.policy(EXAMPLE);
    let alice = sshd.login("alice");
    let armed = sshd.log.wait_for_event("armed", "alice", SOON);
    assert_eq!(armed.field("limit"), Some("900"), "{}", armed.text);
    log_out(&alice);
}

#[test]
fn check_reports_a_group_that_cannot_be_looked_up_with_and_without_a_user() {
    let machine = Machine::with("dead", "files sss");
    // A daemon that died leaves its socket behind. sss then says that the connection is refused.
    let pipes = machine.directory.join("lib/sss/pipes");
    fs::create_dir_all(&pipes).unwrap();
    drop(UnixListener::bind(pipes.join("nss")).unwrap());
    let (asked, code) = machine.check(EXAMPLE, &login("nobody"));
    let says = "-:1:1: name services cannot look up the group";
    assert!(code == Some(2) && asked.contains(says), "{asked}");
    let (said, code) = machine.check(EXAMPLE, &[]);
    let says = "-:1:1: name services cannot look up the group no-such-group: ECONNREFUSED";
    assert!(code == Some(2) && said.contains(says), "{said}");
    // If an earlier rule decides, or the user is known to be a member, the answer does not matter.
    for user in ["root", "daemon"] {
        let (said, code) = machine.check(EXAMPLE, &login(user));
        assert!(code == Some(0) && said.contains("rule      -:1\n"), "{said}");
    }
}

#[test]
fn a_group_is_asked_about_once_however_many_rules_name_it() {
    let machine = Machine::counting("counting");
    let policy = "@far-away,@none sshd tty* * quiet\n@far-away,@none sshd * * quiet\n*,!@far-away * * * quiet\n\
                  @none,@far-away * * * quiet\n@daemon * * * timeout=5m\n";
    let (said, code) = machine.check(policy, &[&login("nobody")[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let asked = fs::read_to_string(machine.directory.join("asked")).unwrap();
    // The first two come first, because `check` asks whether the names are known at all.
    let known = ["group far-away", "group none"];
    let decision = ["group far-away", "groups nobody", "group none"];
    assert_eq!(asked.lines().collect::<Vec<_>>(), [&known[..], &decision].concat(), "{said}");
}

#[test]
fn an_incomplete_list_of_groups_is_not_an_answer() {
    let machine = Machine::counting("short");
    let policy = "@far-away * * * timeout=7m\n* * * * timeout=5m\n";
    for (user, rule) in [("daemon", "-:1"), ("nobody", "-:2")] {
        let (said, code) = machine.check(policy, &login(user));
        assert!(code == Some(0) && said.contains(&format!("rule      {rule}\n")), "{said}");
    }
    fs::write(machine.directory.join("down"), "").unwrap();
    let (said, code) = machine.check(policy, &login("daemon"));
    let says = "-:1:1: name services cannot look up the group far-away: ECONNREFUSED";
    assert!(code == Some(2) && said.contains(says), "{said}");
}

/// Adds a line to a file of the private `/etc`.
fn add(sshd: &Sshd, file: &str, line: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(sshd.dir.join("etc").join(file)).unwrap();
    file.write_all(line).unwrap();
}

#[test]
fn a_group_may_have_sixty_thousand_members() {
    let sshd = Sshd::with("timeout=20m").start();
    let members: Vec<String> = (0..60_000).map(|n| format!("somebody-with-a-long-name-{n}")).collect();
    add(&sshd, "group", format!("crowd:x:47111:{},bob\n", members.join(",")).as_bytes());
    sshd.policy("@crowd * * * timeout=11m\n* * * * timeout=12m\n");
    for (user, limit) in [("bob", "660"), ("alice", "720")] {
        let client = sshd.login(user);
        let armed = sshd.log.wait_for_event("armed", user, SOON);
        assert_eq!(armed.field("limit"), Some(limit), "{}", armed.text);
        log_out(&client);
    }
}

#[test]
fn a_user_whose_name_is_not_utf8_has_an_id_and_groups() {
    let sshd = Sshd::with("timeout=20m").start();
    let (uid, name) = (sshd.uid("carol"), b"m\xfcller");
    let home = sshd.home("carol");
    let passwd =
        [b"\n", &name[..], format!(":x:{uid}:{uid}::{}:/bin/sh\n", home.display()).as_bytes()].concat();
    add(&sshd, "passwd", &passwd);
    add(&sshd, "shadow", &[&name[..], b":*:19000:0:99999:7:::\n"].concat());
    add(&sshd, "group", &[b"umlauts:x:47112:", &name[..], b"\n"].concat());
    let rules = [
        ("@umlauts * * * timeout=11m\n".to_owned(), "660"),
        (format!("uid:{uid} * * * timeout=12m\n"), "720"),
        (format!("*,!uid:{uid} * * * timeout=off\n"), "1200"),
    ];
    for (policy, limit) in rules {
        sshd.policy(&policy);
        let mut ssh = sshd.client_program("ssh", "-p");
        ssh.arg("-tt").arg("-l").arg(OsStr::from_bytes(name)).arg("127.0.0.1");
        let client = Client::on_terminal(ssh);
        client.wait_for_first_shell();
        let armed =
            sshd.log.wait_for("armed", |line| line.is("armed") && line.field("limit") == Some(limit), SOON);
        assert_eq!(armed.field("uid"), Some(&*uid.to_string()), "{}", armed.text);
        // A reload decides again, with what the helper was told.
        let helper = sshd.helper().pid;
        let mut found = running::helpers().into_iter();
        let told = found.find(|found| found.id.pid.as_raw() == helper).unwrap().told.unwrap();
        assert_eq!(told.login.user().as_bytes(), name);
        log_out(&client);
    }
}
