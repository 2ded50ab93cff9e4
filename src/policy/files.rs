//! The files of the policy: where they are, and how they are read.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::parse::{self, Fault};
use super::rule::Policy;
use crate::sys::trusted;

/// The places of the policy. The first file that exists is read.
const FILES: [&str; 2] = [ADMIN, "/usr/share/security/idle_watchdog.conf"];
/// The file of the administrator.
const ADMIN: &str = "/etc/security/idle_watchdog.conf";

/// The files of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The first file that exists is read. If `required`, one of them must exist.
    main: Vec<PathBuf>,
    required: bool,
    /// Its `*.conf` files are read before the main file, in the order of their names. A main file usually ends
    /// with a rule for everybody, so rules after it would never apply.
    dropins: PathBuf,
    /// All files must have this owner.
    owner: u32,
}

impl Files {
    /// The system's files and drop-ins. If `conf=` names a file, that file must exist and replaces the system's
    /// files.
    #[must_use]
    pub fn of(conf: Option<&Path>) -> Self {
        let main = conf.map_or_else(|| FILES.map(PathBuf::from).to_vec(), |conf| vec![conf.to_owned()]);
        let mut dropins = conf.unwrap_or(Path::new(ADMIN)).as_os_str().to_owned();
        dropins.push(".d");
        Self { main, required: conf.is_some(), dropins: dropins.into(), owner: 0 }
    }

    /// The same files with another owner, for tests that do not run as root.
    #[must_use]
    pub fn owned_by(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// Reads all files.
    ///
    /// # Errors
    ///
    /// All faults of all files. Then no part of the policy applies.
    pub fn load(&self) -> Result<Policy, Vec<Fault>> {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        let mut paths = self.dropins().map_err(|e| vec![Fault::of_file(&self.dropins, e)])?;
        // If a file exists but cannot be read, the next is not used instead.
        let absent = |e: io::Error| e.kind() == io::ErrorKind::NotFound;
        let main = self.main.iter().find(|path| !fs::symlink_metadata(path).is_err_and(absent));
        let main = main.or(if self.required { self.main.first() } else { None });
        paths.extend(main.cloned());
        for path in paths {
            let text = self.text(&path).map_err(|fault| vec![fault]);
            match text.and_then(|text| parse::parse(path, &text)) {
                Ok(mut found) => rules.append(&mut found),
                Err(mut found) => faults.append(&mut found),
            }
        }
        if faults.is_empty() { Ok(Policy { rules }) } else { Err(faults) }
    }

    /// The text of a file that an option names. It must have the same owner as the policy.
    ///
    /// # Errors
    ///
    /// The file cannot be trusted or read.
    pub fn text(&self, path: &Path) -> Result<String, Fault> {
        trusted::read(path, self.owner).map_err(|e| Fault::of_file(path, e))
    }

    /// The drop-ins, in the order of their names.
    fn dropins(&self) -> io::Result<Vec<PathBuf>> {
        match trusted::check_directory(&self.dropins, self.owner) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dropins)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension() == Some(OsStr::new("conf")) && !hidden {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::stat::Mode;
    use nix::unistd::{getuid, mkfifo};

    use super::*;

    /// A directory for one test, which may write anything there.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let serial = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("idle-watchdog-load-{}-{serial}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// Writes a file there, or in the directory of drop-ins.
        fn write(&self, name: &str, text: impl AsRef<[u8]>) {
            let path = self.path(name);
            let parent = path.parent().unwrap();
            if !parent.exists() {
                fs::create_dir(parent).unwrap();
                self.set_mode("conf.d", 0o755);
            }
            fs::write(&path, text).unwrap();
            self.set_mode(name, 0o644);
        }

        fn set_mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        /// The files for `conf=` with the file `conf`. Their owner is the user who runs the test.
        fn files(&self) -> Files {
            Files::of(Some(&self.path("conf"))).owned_by(getuid().as_raw())
        }

        /// The places of the rules, as `file:line` without the directory.
        fn rules(&self) -> Vec<String> {
            places(&self.files().load().unwrap(), &self.0)
        }

        /// The only fault, as the administrator sees it, without the directory.
        fn fault(&self) -> String {
            let faults = self.files().load().unwrap_err();
            let [fault] = &faults[..] else { panic!("{faults:?}") };
            fault.to_string().replace(&format!("{}/", self.0.display()), "")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn places(policy: &Policy, folder: &Path) -> Vec<String> {
        let place = |place: String| place.replace(&format!("{}/", folder.display()), "");
        policy.rules.iter().map(|rule| place(rule.place.to_string())).collect()
    }

    const RULE: &str = "* * * * timeout=5m\n";

    #[test]
    fn drop_ins_come_first_in_the_order_of_their_names() {
        let folder = Folder::new();
        folder.write("conf", RULE);
        for name in
            ["20-b.conf", "100-a.conf", "20-a.conf", "z.conf", ".hidden.conf", "a.conf~", "a.conf.bak", "a"]
        {
            folder.write(&format!("conf.d/{name}"), format!("# {name}\n{RULE}"));
        }
        let expected =
            ["100-a.conf", "20-a.conf", "20-b.conf", "z.conf"].map(|name| format!("conf.d/{name}:2"));
        assert_eq!(folder.rules(), [&expected[..], &["conf:1".to_owned()]].concat());
    }

    #[test]
    fn the_first_main_file_that_exists_is_read() {
        let folder = Folder::new();
        let main = ["first", "second"].map(|name| folder.path(name)).to_vec();
        let files = Files { main, required: false, dropins: folder.path("conf.d"), owner: getuid().as_raw() };
        let rules = || places(&files.load().unwrap(), &folder.0);
        assert_eq!(rules(), [""; 0]);
        folder.write("second", RULE);
        assert_eq!(rules(), ["second:1"]);
        // An empty file is read, too. An administrator may use one to switch off a distribution's file.
        folder.write("first", "");
        assert_eq!(rules(), [""; 0]);
        // A file that cannot be read is not replaced by the next one.
        fs::remove_file(folder.path("first")).unwrap();
        symlink("/nowhere", folder.path("first")).unwrap();
        assert_eq!(files.load().unwrap_err()[0].problem, "is a symbolic link");
        let main = vec![folder.path("second/below"), folder.path("second")];
        let faults = Files { main, ..files }.load().unwrap_err();
        assert!(faults[0].problem.starts_with("Not a directory"), "{}", faults[0]);
    }

    #[test]
    fn a_file_that_the_line_names_must_exist() {
        let folder = Folder::new();
        assert!(folder.fault().starts_with("conf: No such file"), "{}", folder.fault());
        folder.write("conf.d/a.conf", RULE);
        assert!(folder.fault().starts_with("conf: No such file"), "{}", folder.fault());
        folder.write("conf", "");
        assert_eq!(folder.rules(), ["conf.d/a.conf:1"]);
    }

    #[test]
    fn every_faulty_file_is_told_at_once() {
        let folder = Folder::new();
        folder.write("conf", "* * * * timeot=5m\n");
        folder.write("conf.d/a.conf", RULE);
        folder.write("conf.d/b.conf", "x");
        folder.write("conf.d/c.conf", RULE);
        folder.set_mode("conf.d/c.conf", 0o666);
        let faults = folder.files().load().unwrap_err();
        let names: Vec<_> = faults.iter().map(|fault| fault.file.file_name().unwrap()).collect();
        assert_eq!(names, ["b.conf", "c.conf", "conf"]);
    }

    #[test]
    fn what_others_may_have_written_is_refused() {
        let folder = Folder::new();
        for name in ["conf", "conf.d/a.conf"] {
            folder.write("conf", RULE);
            folder.write(name, RULE);
            for mode in [0o664, 0o646, 0o666] {
                folder.set_mode(name, mode);
                assert_eq!(folder.fault(), format!("{name}: is writable by users other than its owner"));
            }
            folder.set_mode(name, 0o400);
            assert!(folder.files().load().is_ok());
            // Only root could write it again.
            folder.set_mode(name, 0o600);
        }
        for mode in [0o775, 0o757, 0o1777] {
            folder.set_mode("conf.d", mode);
            assert_eq!(folder.fault(), "conf.d: is writable by users other than its owner");
        }
        folder.set_mode("conf.d", 0o755);
        let faults = folder.files().owned_by(getuid().as_raw() + 1).load().unwrap_err();
        assert_eq!(faults[0].problem, "is not owned by its user");
    }

    #[test]
    fn what_is_no_plain_text_file_is_refused() {
        let folder = Folder::new();
        let conf = folder.path("conf");
        let refused = |why: &str| assert_eq!(folder.fault(), format!("conf: {why}"));

        folder.write("real", RULE);
        symlink(folder.path("real"), &conf).unwrap();
        refused("is a symbolic link");
        fs::remove_file(&conf).unwrap();
        // The read does not wait for a writer.
        mkfifo(&conf, Mode::S_IRUSR).unwrap();
        refused("is not a regular file");
        fs::remove_file(&conf).unwrap();
        fs::create_dir(&conf).unwrap();
        refused("is not a regular file");
        fs::remove_dir(&conf).unwrap();
        folder.write("conf", b"* * * * message=\"\xe4\"\n");
        refused("is not UTF-8");
        folder.write("conf", "#".repeat(1 << 20));
        assert_eq!(folder.rules(), [""; 0]);
        folder.write("conf", "#".repeat((1 << 20) + 1));
        refused("is larger than 1 MiB");

        folder.write("conf", RULE);
        folder.write("conf.d/a.conf", RULE);
        fs::rename(folder.path("conf.d"), folder.path("d")).unwrap();
        symlink(folder.path("d"), folder.path("conf.d")).unwrap();
        assert_eq!(folder.fault(), "conf.d: is not a directory");
    }

    #[test]
    fn devices_and_relative_paths_are_refused() {
        let problem = |conf: &str| {
            let faults = Files::of(Some(Path::new(conf))).load().unwrap_err();
            faults[0].problem.clone()
        };
        assert_eq!(problem("/dev/null"), "is not a regular file");
        assert_eq!(problem("Cargo.toml"), "is not an absolute path");
        let files = Files::of(None);
        assert_eq!(files.text(Path::new("/dev/null")).unwrap_err().problem, "is not a regular file");
        assert_eq!(files.text(Path::new("Cargo.toml")).unwrap_err().problem, "is not an absolute path");
    }
}
