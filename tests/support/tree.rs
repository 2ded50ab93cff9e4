//! The files of a private sshd: users, PAM stacks, keys, configuration, helper.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::build_dir;
use super::sshd::{Builder, GROUP, Helper, USERS};

const LAUNCH: &str = include_str!("launch.sh");

/// Writes everything that `launch.sh` expects below `dir`.
pub fn write_tree(dir: &Path, builder: &Builder, uid_base: u32) {
    for directory in ["etc", "etc/pam.d", "etc/security", "home", "home/root", "libexec", "dev"] {
        fs::DirBuilder::new().mode(0o755).create(dir.join(directory)).unwrap();
    }
    write(&dir.join("launch.sh"), LAUNCH, 0o755);
    if let Some(script) = builder.host {
        write(&dir.join("host.sh"), script, 0o644);
    }
    write_users(dir, uid_base);
    if let Some(services) = builder.names {
        let text = format!("passwd: files {services}\ngroup: files {services}\n");
        write(&dir.join("etc/nsswitch.conf"), &text, 0o644);
    }
    write_stack(dir, builder);
    install_helper(dir, builder.helper);

    for key in ["host_key", "user_key"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.join(key))
            .stdin(Stdio::null())
            .status()
            .expect("run ssh-keygen");
        assert!(made.success(), "ssh-keygen: {made}");
    }
    let here = dir.display();
    let config = format!(
        "ListenAddress 127.0.0.1\n\
         HostKey {here}/host_key\n\
         AuthorizedKeysFile {here}/user_key.pub\n\
         StrictModes no\n\
         UsePAM yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         PidFile none\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         MaxStartups 500\n\
         LogLevel VERBOSE\n\
         Subsystem sftp internal-sftp\n"
    );
    write(&dir.join("sshd_config"), &config, 0o644);
}

/// Writes the host's users and ours. root gets the shell and the home directory of the tests.
fn write_users(dir: &Path, uid_base: u32) {
    let host = |file: &str| fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
    let here = dir.display();
    let mut passwd = format!("root:x:0:0:root:{here}/home/root:/bin/sh\n");
    let mut shadow = String::from("root:*:19000:0:99999:7:::\n");
    let mut group = host("group");
    for (text, file) in [(&mut passwd, "passwd"), (&mut shadow, "shadow")] {
        for line in host(file).lines().filter(|line| !line.starts_with("root:")) {
            text.push_str(line);
            text.push('\n');
        }
    }
    for user in USERS {
        let uid = uid_of(user, uid_base);
        passwd.push_str(&format!("{user}:x:{uid}:{uid}::{here}/home/{user}:/bin/sh\n"));
        shadow.push_str(&format!("{user}:*:19000:0:99999:7:::\n"));
        group.push_str(&format!("{user}:x:{uid}:\n"));
        let home = dir.join("home").join(user);
        fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
        chown(&home, Some(uid), Some(uid)).unwrap();
    }
    // The group's ID is after the users' IDs, because there are fewer users than reserved IDs.
    group.push_str(&format!("{GROUP}:x:{}:bob\n", uid_base + USERS.len() as u32));
    write(&dir.join("etc/passwd"), &passwd, 0o644);
    write(&dir.join("etc/shadow"), &shadow, 0o600);
    write(&dir.join("etc/group"), &group, 0o644);
}

fn write_stack(dir: &Path, builder: &Builder) {
    let here = |line: &str| line.replace("@DIR@", &dir.display().to_string()) + "\n";
    let mut sshd = String::from("auth required pam_permit.so\n");
    sshd.extend(builder.account.iter().map(|line| here(line)));
    sshd.push_str("account required pam_permit.so\n");
    if builder.loginuid {
        sshd.push_str("session required pam_loginuid.so\n");
    }
    sshd.extend(builder.before.iter().map(|line| here(line)));
    if let Some(options) = &builder.options {
        sshd.push_str(&our_line(options));
    }
    // It logs "session closed" when the PAM session is closed properly.
    sshd.push_str("session required pam_unix.so\n");
    write(&dir.join("etc/pam.d/sshd"), &sshd, 0o644);

    let mut permit = String::from(
        "auth sufficient pam_permit.so\n\
         account required pam_permit.so\n\
         session required pam_permit.so\n",
    );
    permit.extend(builder.nested.as_ref().map(|options| our_line(options)));
    for service in ["su", "su-l", "sudo", "sudo-i"] {
        write(&dir.join("etc/pam.d").join(service), &permit, 0o644);
    }
    let login = format!("session required pam_loginuid.so\n{permit}");
    write(&dir.join("etc/pam.d/login"), &login, 0o644);
    let deny = "auth required pam_deny.so\n\
                account required pam_deny.so\n\
                session required pam_deny.so\n";
    write(&dir.join("etc/pam.d/other"), deny, 0o644);
}

/// The line for a session stack, with the module that was built.
pub fn our_line(options: &str) -> String {
    line_of("session", options) + "\n"
}

/// The same for another type of stack, without a line feed.
pub fn line_of(kind: &str, options: &str) -> String {
    let module = build_dir().join("pam_idle_watchdog.so");
    assert!(module.exists(), "{} is missing: run make first", module.display());
    format!("{kind} required {} {options}", module.display())
}

fn install_helper(dir: &Path, helper: Helper) {
    let place = dir.join("libexec/pam_idle_watchdog_helper");
    let copy = |mode| {
        let built = build_dir().join("pam_idle_watchdog_helper");
        fs::copy(&built, &place).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
    };
    match helper {
        Helper::Real => copy(0o755),
        Helper::NotExecutable => copy(0o644),
        Helper::Script(text) => {
            let built = build_dir().join("pam_idle_watchdog_helper");
            write(&place, &text.replace("@HELPER@", built.to_str().unwrap()), 0o755);
        }
        Helper::Missing => {}
    }
}

/// The uid of a user of `base`'s namespace.
pub fn uid_of(user: &str, base: u32) -> u32 {
    match USERS.iter().position(|known| *known == user) {
        Some(index) => base + index as u32,
        None if user == "root" => 0,
        None => panic!("no test user is called {user}"),
    }
}

/// Writes a file with a mode.
pub fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
