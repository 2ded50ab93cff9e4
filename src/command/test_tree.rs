//! The files of a machine in a temporary directory, for tests.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::machine::Machine;

/// Where the libpam of this machine looks for modules.
const MODULES: &str = "usr/lib/any-linux-any/security";
/// The stack of sshd on Debian. The lines to test replace `@OURS@`.
const SSHD: &str = "\
@include common-auth
account required pam_nologin.so
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
session required pam_loginuid.so
session optional pam_keyinit.so force revoke
@include common-session
session optional pam_motd.so noupdate
session required pam_env.so user_readenv=1 envfile=/etc/default/locale
@OURS@
";
const COMMON_SESSION: &str = "\
session [default=1] pam_permit.so
session requisite pam_deny.so
session required pam_permit.so
session required pam_unix.so
session optional pam_systemd.so
";
const PRESENT: [&str; 12] = [
    "pam_idle_watchdog",
    "pam_unix",
    "pam_permit",
    "pam_deny",
    "pam_systemd",
    "pam_env",
    "pam_loginuid",
    "pam_keyinit",
    "pam_motd",
    "pam_nologin",
    "pam_succeed_if",
    "pam_foo",
];

/// A machine like Debian. Its sshd uses PAM.
pub struct Tree(PathBuf);

impl Tree {
    /// A machine with these lines in the stack of sshd.
    pub fn with(ours: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("idle-watchdog-tree-{}-{serial}", std::process::id()));
        let tree = Self(root);
        tree.put("etc/pam.d/sshd", &SSHD.replace("@OURS@", ours));
        tree.put("etc/pam.d/common-session", COMMON_SESSION);
        tree.put("etc/pam.d/common-auth", "auth required pam_unix.so\n");
        tree.put("etc/pam.d/other", "@include common-auth\n@include common-session\n");
        tree.put("etc/pam.d/su", "auth sufficient pam_rootok.so\n@include common-session\n");
        let mut library = Self::elf();
        for text in
            ["/usr/lib/pam.d/%s", "/etc/pam.d/%s", "@include", "/lib/security", &format!("/{MODULES}/")]
        {
            library.extend([&[0], text.as_bytes(), &[0]].concat());
        }
        tree.put_bytes("usr/lib/any-linux-any/libpam.so.0", &library);
        for module in PRESENT {
            tree.put_bytes(&format!("{MODULES}/{module}.so"), &Self::elf());
        }
        let refuses = format!("#!/bin/sh\necho '{}' >&2\nexit 1\n", crate::protocol::start::BY_HAND);
        tree.program(crate::protocol::start::HELPER.trim_start_matches('/'), &refuses);
        tree.sshd("usepam yes\nusedns no");
        tree
    }

    /// A file that looks like our module: an ELF header for this processor, one segment, and our names.
    pub fn elf() -> Vec<u8> {
        let mut file = vec![0; 20];
        File::open("/proc/self/exe").unwrap().read_exact(&mut file).unwrap();
        let names = b"\0pam_sm_open_session\0pam_idle_watchdog\0";
        let large = file[4] == 2;
        let (header, part) = if large { (64, 56) } else { (52, 32) };
        file.resize(header + part, 0);
        let length = file.len() + names.len();
        let mut put = |at: usize, value: usize, width: usize| {
            let bytes = (value as u64).to_le_bytes();
            let mut bytes = bytes[..width].to_vec();
            if cfg!(target_endian = "big") {
                bytes.reverse();
            }
            file[at..at + width].copy_from_slice(&bytes);
        };
        let word = if large { 8 } else { 4 };
        let at = |large_at, small_at| if large { large_at } else { small_at };
        put(16, 3, 2);
        put(at(32, 28), header, word);
        put(at(54, 42), part, 2);
        put(at(56, 44), 1, 2);
        put(header, 1, 4);
        put(header + at(32, 16), length, word);
        file.extend(names);
        file
    }

    /// The path of the module below the root.
    pub fn module() -> String {
        format!("{MODULES}/pam_idle_watchdog.so")
    }

    /// Adds an sshd with this configuration.
    pub fn sshd(&self, says: &str) {
        self.program("usr/sbin/sshd", &format!("#!/bin/sh\ncat <<'END'\n{says}\nEND\n"));
    }

    /// Adds a program. Another process writes the file. Otherwise a child that another test forks at that
    /// moment would keep the file open for writing, and the kernel would refuse to execute it.
    pub fn program(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = r#"printf '%s' "$1" >"$0" && chmod 755 "$0""#;
        let written = Command::new("/bin/sh").arg("-c").arg(script).arg(path).arg(text).status().unwrap();
        assert!(written.success());
    }

    pub fn put(&self, path: &str, text: &str) {
        self.put_bytes(path, text.as_bytes());
    }

    pub fn put_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Adds a symbolic link to another file of the machine.
    pub fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(self.0.join(target), self.0.join(path)).unwrap();
    }

    pub fn allow(&self, path: &str, mode: u32) {
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.0.join(path)).unwrap();
    }

    pub fn machine(&self) -> Machine {
        Machine::at(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
