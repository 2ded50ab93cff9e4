//! A private sshd with its own mount namespace, `/etc/pam.d`, users, log daemon and helper.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use super::client::Client;
use super::log::{Line, Log};
use super::process::{self, HELPER_COMM, Process};
use super::tree::{uid_of, write, write_tree};
use super::{SOON, name_services};

/// The users that exist besides root, in this namespace only.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// A group that exists in this namespace only. bob is a member.
pub const GROUP: &str = "idle-watchdog-ops";

/// The line that the log gets when launcher and sshd have closed their standard error.
const ENDED: &str = "sshd has ended";

/// A newer OpenSSH than the machine's, with all that it needs, if `tests/prepare` has unpacked one.
const NEWER_OPENSSH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/openssh/usr");
/// Replaces the machine's OpenSSH with it. sshd calls programs at fixed paths, so the whole `/usr` is replaced.
const USE_NEWER: &str = concat!("mount --bind '", env!("CARGO_MANIFEST_DIR"), "/target/openssh/usr' /usr\n");

/// The file at the helper's path.
#[derive(Clone, Copy, Debug)]
pub enum Helper {
    /// The helper that was built.
    Real,
    /// No file.
    Missing,
    /// The helper that was built, without execute permission.
    NotExecutable,
    /// A shell script. `@HELPER@` is replaced by the path of the helper that was built.
    Script(&'static str),
}

/// The options of a private sshd.
pub struct Builder {
    pub(super) options: Option<String>,
    pub(super) loginuid: bool,
    pub(super) terminals: &'static str,
    pub(super) before: Vec<String>,
    pub(super) account: Vec<String>,
    pub(super) helper: Helper,
    /// Our options in the stacks of su and sudo.
    pub(super) nested: Option<String>,
    /// Name services in addition to `files`.
    pub(super) names: Option<&'static str>,
    /// The program that starts sshd.
    prefix: &'static str,
    /// A script that changes how the host looks to this sshd only. It gets the private directory.
    pub(super) host: Option<&'static str>,
    /// Clients hide the timing of keys.
    chaff: bool,
}

impl Builder {
    fn new(options: Option<&str>) -> Self {
        let options = options.map(str::to_owned);
        Self {
            options,
            loginuid: true,
            terminals: "host",
            before: Vec::new(),
            account: Vec::new(),
            helper: Helper::Real,
            nested: None,
            names: None,
            prefix: "",
            host: None,
            chaff: false,
        }
    }

    /// Gives the sessions no audit session of their own.
    pub fn without_loginuid(mut self) -> Self {
        self.loginuid = false;
        self
    }

    /// Gives it a devpts of its own, so that the numbers of its terminals start at 0.
    pub fn own_terminals(mut self) -> Self {
        self.terminals = "own";
        self
    }

    /// PAM lines before ours. `@DIR@` is replaced by the sshd's private directory.
    pub fn before(mut self, lines: &[&str]) -> Self {
        self.before = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    /// PAM lines of the account stack. `@DIR@` is replaced by the sshd's private directory.
    pub fn account(mut self, lines: &[&str]) -> Self {
        self.account = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    /// Puts our line with `options` into the stacks of su and sudo, too.
    pub fn nested(mut self, options: &str) -> Self {
        self.nested = Some(options.to_owned());
        self
    }

    /// Adds these name services. Their modules are unpacked by `tests/prepare`.
    pub fn names(mut self, services: &'static str) -> Self {
        self.names = Some(services);
        self
    }

    /// Takes away the right to look into other processes, as containers do.
    pub fn without_ptrace(mut self) -> Self {
        self.prefix = "setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace";
        self
    }

    /// Runs a script that changes how the host looks to this sshd only. It gets the private directory.
    pub fn on_a_host(mut self, script: &'static str) -> Self {
        self.host = Some(script);
        self
    }

    /// Uses clients that hide the timing of keys. They go on sending for 1 to 3 s after each key, and then say
    /// so on the screen (`CHAFF_TEXT`). This needs OpenSSH 9.5 or newer at both ends.
    pub fn chaff(mut self) -> Self {
        self.chaff = true;
        self.newer()
    }

    /// Uses the newer OpenSSH at both ends, if there is one.
    pub fn newer(self) -> Self {
        if Path::new(NEWER_OPENSSH).exists() { self.on_a_host(USE_NEWER) } else { self }
    }

    /// Puts another file at the helper's path.
    pub fn helper(mut self, helper: Helper) -> Self {
        self.helper = helper;
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Sshd {
        Sshd::launch(&self)
    }
}

/// A running private sshd. Dropping it ends all processes that it started.
pub struct Sshd {
    /// What sshd, PAM modules and the helper have logged.
    pub log: Log,
    /// Its private directory.
    pub dir: PathBuf,
    pub port: u16,
    launcher: Child,
    pid: i32,
    uid_base: u32,
    chaff: bool,
    _directory: PrivateDirectory,
}

/// A directory that is removed when it is dropped, even if the launcher was never started.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn make(path: &Path) -> Self {
        fs::DirBuilder::new().mode(0o755).create(path).expect("make the private directory");
        Self(path.to_owned())
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Sshd {
    /// An sshd whose session stack has our line with `options`.
    pub fn with(options: &str) -> Builder {
        Builder::new(Some(options))
    }

    /// An sshd whose session stack has no line of our module.
    pub fn without_watchdog() -> Builder {
        Builder::new(None).helper(Helper::Missing)
    }

    fn launch(builder: &Builder) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests start a private sshd in a mount namespace: run them as root"
        );
        // The number and the IDs differ from those of other sshds that run at the same time, because the kernel
        // counts the processes of a user ID over all namespaces.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let uid_base = 20_000 + (process % 100) * 256 + u32::from(serial % 64) * 4;
        let dir = std::env::temp_dir().join(format!("idle-watchdog-{process}-{serial}"));
        let directory = PrivateDirectory::make(&dir);

        let log = Log::default();
        write_tree(&dir, builder, uid_base);
        log.listen(&dir.join("log"));
        // All users may log, as with the real /dev/log.
        fs::set_permissions(dir.join("log"), fs::Permissions::from_mode(0o666)).unwrap();

        let port = free_port();
        let mut launcher = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh"])
            .arg(dir.join("launch.sh"))
            .arg(&dir)
            .arg(port.to_string())
            .arg(builder.terminals)
            .arg(builder.prefix)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(builder.names.map(|_| ("LD_LIBRARY_PATH", name_services())))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // In a process group of its own, so that Ctrl-C does not reach it: the launcher cleans up when we have ended.
            .process_group(0)
            .spawn()
            .expect("run unshare");
        log.follow(launcher.stderr.take().unwrap(), ENDED);
        let up = |line: &Line| line.text.starts_with("Server listening") || line.text == ENDED;
        let up = log.wait_for("sshd listening", up, SOON);
        assert!(up.text != ENDED, "sshd did not come up:\n{log}");
        let started = log.wait_for("sshd's pid", |l| l.text.starts_with("sshd is "), SOON);
        let pid = started.text["sshd is ".len()..].parse().expect("a pid");
        Self { log, dir, port, launcher, pid, uid_base, chaff: builder.chaff, _directory: directory }
    }

    /// The uid of a test user.
    pub fn uid(&self, user: &str) -> u32 {
        uid_of(user, self.uid_base)
    }

    /// A test user's home directory.
    pub fn home(&self, user: &str) -> PathBuf {
        self.dir.join("home").join(user)
    }

    /// An ssh client for `user`, without a command or terminal yet.
    pub fn ssh(&self, user: &str) -> Command {
        self.ssh_at(self.port, user)
    }

    /// The same for another sshd that accepts our keys.
    pub fn ssh_at(&self, port: u16, user: &str) -> Command {
        self.ssh_to("127.0.0.1", port, user)
    }

    /// The same for an sshd at another address.
    pub fn ssh_to(&self, address: &str, port: u16, user: &str) -> Command {
        let mut ssh = self.client_program_at(port, "ssh", "-p");
        ssh.arg("-l").arg(user).arg(address);
        ssh
    }

    /// `ssh`, `scp` or `sftp` with the options for this sshd, and without the host's configuration.
    /// `port_option` is this program's option for the port.
    pub fn client_program(&self, program: &str, port_option: &str) -> Command {
        self.client_program_at(self.port, program, port_option)
    }

    fn client_program_at(&self, port: u16, program: &str, port_option: &str) -> Command {
        let mut command = if self.chaff { self.inside(program) } else { Command::new(program) };
        command.args(["-F", "none"]);
        // The test chooses what a client sends besides keys. Clients before 9.5 do not know the option.
        let chaff = if self.chaff { "ObscureKeystrokeTiming=yes" } else { "ObscureKeystrokeTiming=no" };
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            if self.chaff { "LogLevel=DEBUG3" } else { "LogLevel=ERROR" },
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IgnoreUnknown=ObscureKeystrokeTiming",
            chaff,
        ] {
            command.args(["-o", option]);
        }
        command
            .arg("-i")
            .arg(self.dir.join("user_key"))
            .arg(port_option)
            .arg(port.to_string())
            .env("TERM", "dumb")
            .process_group(0);
        command
    }

    /// Logs `user` in on a terminal and waits for the shell.
    pub fn login(&self, user: &str) -> Client {
        let mut command = self.ssh(user);
        command.arg("-tt");
        let client = Client::on_terminal(command);
        client.wait_for_first_shell();
        client
    }

    /// Logs `user` in with login(1) on a terminal, as getty does on a console, and waits for the shell.
    pub fn console(&self, user: &str) -> Client {
        let mut command = self.inside("setsid");
        command.args(["--ctty", "login", "-f", user]).env("TERM", "dumb");
        let client = Client::on_terminal(command);
        client.wait_for_first_shell();
        client
    }

    /// A program in this sshd's mount namespace.
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.pid)).arg(program);
        command
    }

    /// The listening sshd.
    pub fn daemon(&self) -> Process {
        Process::read(self.pid).expect("sshd runs")
    }

    /// This sshd and all processes that it started.
    pub fn processes(&self) -> Vec<Process> {
        let namespace = |pid: i32| {
            let metadata = fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let ours = namespace(self.pid).expect("sshd runs");
        let launcher = self.launcher.id() as i32;
        process::all()
            .into_iter()
            .filter(|process| process.pid != launcher && namespace(process.pid) == Some(ours))
            .collect()
    }

    /// The processes of `user`.
    pub fn processes_of(&self, user: &str) -> Vec<Process> {
        let uid = self.uid(user);
        self.processes().into_iter().filter(|process| process.uid == uid).collect()
    }

    /// The leaders: sshd's children that called PAM for a session.
    pub fn leaders(&self) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.ppid == self.pid).collect()
    }

    /// The leader, if there is exactly one session.
    pub fn leader(&self) -> Process {
        let leaders = self.leaders();
        assert_eq!(leaders.len(), 1, "one leader: {leaders:?}");
        leaders[0].clone()
    }

    /// The helpers.
    pub fn helpers(&self) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.comm == HELPER_COMM).collect()
    }

    /// The helper, if there is exactly one session.
    pub fn helper(&self) -> Process {
        let helpers = self.helpers();
        assert_eq!(helpers.len(), 1, "one helper: {helpers:?}\n{}", self.log);
        helpers[0].clone()
    }

    /// Writes the policy file as the administrator does. It applies from the next login on.
    pub fn policy(&self, text: &str) {
        write(&self.dir.join("etc/security/idle_watchdog.conf"), text, 0o644);
    }

    /// Writes an executable script into the private directory and returns its path.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        write(&path, text, 0o755);
        path
    }

    /// Builds a program from its C source in the private directory and returns its path.
    pub fn program(&self, name: &str, source: &str) -> PathBuf {
        let source = self.script(&format!("{name}.c"), source);
        let program = self.dir.join(name);
        let built = Command::new("cc").arg("-pthread").arg("-o").arg(&program).arg(&source).status().unwrap();
        assert!(built.success(), "cc: {built}");
        program
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // The launcher cleans up at the end of its input: see launch.sh.
        drop(self.launcher.stdin.take());
        Log::hang_up(&self.dir.join("log"));
        let _ = self.launcher.wait();
    }
}

/// A free port, below those that the kernel gives to clients. No two calls get the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() as u16 % 100) * 100;
    std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .take(1000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
