//! The libpam of this machine: where it looks for services and modules. That is compiled into it, and
//! differs between distributions, so it is read out of the library itself.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::elf;
use super::parse;
use super::stack::{self, LineType, Stack};

/// Where the library may be. A star stands for one directory, such as Debian's `x86_64-linux-gnu`.
const LIBRARIES: [&str; 7] = ["usr/lib64", "lib64", "usr/lib/*", "lib/*", "usr/lib", "lib", "usr/local/lib"];
/// Its name.
const LIBRARY: &str = "libpam.so.0";
/// libpam is some 70 KiB.
const LIBRARY_MAX: u64 = 16 << 20;
/// The service whose lines others get that have none.
const OTHER: &str = "other";
/// As much of a file as says for which processor it is made.
const HEADER: usize = 20;

/// Where a libpam looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libpam {
    root: PathBuf,
    /// Directories of services; the first that has a file decides.
    services: Vec<String>,
    /// Directories of modules, likewise. Empty where the library was not found.
    modules: Vec<String>,
    /// Debian's knows `@include`.
    at_include: bool,
}

impl Libpam {
    /// The one of the machine, or in tests of a tree.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let ours = header(Path::new("/proc/self/exe"));
        // A machine may have one for 32-bit programs, too.
        let fits = |path: &PathBuf| ours.is_some() && header(path) == ours;
        let mut candidates = LIBRARIES.iter().flat_map(|pattern| folders(root, pattern));
        let library = candidates.find_map(|folder| Some(folder.join(LIBRARY)).filter(fits));
        let text = library.and_then(|path| bytes(&path)).unwrap_or_default();
        Self::parse(root.to_owned(), &text)
    }

    /// Reads the constants out of the library.
    fn parse(root: PathBuf, library: &[u8]) -> Self {
        let (mut services, mut modules, mut at_include) = (Vec::new(), Vec::new(), library.is_empty());
        let texts = library.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
        for text in texts {
            if let Some(folder) = text.strip_suffix("/%s").filter(|folder| folder.ends_with("/pam.d")) {
                services.push(folder.to_owned());
            }
            if text.starts_with('/')
                && text.trim_end_matches('/').ends_with("/security")
                && !text.contains("/etc/")
            {
                modules.push(text.trim_end_matches('/').to_owned());
            }
            at_include |= text == "@include";
        }
        if services.is_empty() {
            services = ["/etc/pam.d", "/usr/lib/pam.d"].map(str::to_owned).to_vec();
        }
        // The administrator's goes first, and Debian's /lib/security last. Which the library has first
        // is the linker's choice.
        services.sort_by_key(|folder| !folder.starts_with("/etc/"));
        modules.sort_by_key(|folder| folder == "/lib/security");
        Self { root, services, modules, at_include }
    }

    /// The file as it is found below the root.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The lines that libpam runs for a service: where it has none of a kind, those of `other`. `None` if
    /// neither has a file.
    #[must_use]
    pub fn service(&self, service: &str) -> Option<Stack> {
        let other = self.stack(OTHER);
        let Some(mut stack) = self.stack(service) else { return other };
        let Some(other) = other else { return Some(stack) };
        for kind in LineType::ALL {
            if !stack.entries.iter().any(|entry| entry.line_type == kind) {
                stack.entries.extend(other.of_type(kind));
            }
        }
        // libpam reads both before it runs anything.
        stack.broken = stack.broken.or(other.broken);
        Some(stack)
    }

    /// The lines of a service's own file; `None` if it has none.
    #[must_use]
    pub fn stack(&self, service: &str) -> Option<Stack> {
        parse::read(service, self.at_include, |name| {
            let paths: Vec<String> = match name.starts_with('/') {
                true => vec![name.to_owned()],
                false => self.services.iter().map(|folder| format!("{folder}/{name}")).collect(),
            };
            // libpam does not mind in which encoding comments are.
            let text =
                |path: &String| Some(String::from_utf8_lossy(&fs::read(self.at(path)).ok()?).into_owned());
            paths.into_iter().find_map(|path| text(&path).map(|text| (path.into(), text)))
        })
    }

    /// The names of all files that a program could name as its service, in their order.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let folders = self.services.iter().filter_map(|folder| fs::read_dir(self.at(folder)).ok());
        let names = folders.flatten().flatten().filter_map(|file| file.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_service(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The file that libpam loads for a module.
    ///
    /// # Errors
    ///
    /// Why it loads none, in words.
    pub fn module(&self, path: &str) -> Result<PathBuf, String> {
        if path.contains("$ISA") {
            // What it stands for is compiled into libpam without a mark of its own.
            return Ok(self.at(path));
        }
        if path.starts_with('/') {
            return loadable(&self.at(path)).map(|()| self.at(path)).map_err(|why| format!("{path} {why}"));
        }
        if self.modules.is_empty() {
            return Err(format!("{path} cannot be looked for: {LIBRARY} was not found on this machine"));
        }
        let mut problem = None;
        for folder in &self.modules {
            let file = self.at(&format!("{folder}/{path}"));
            match loadable(&file) {
                Ok(()) => return Ok(file),
                Err(why) => {
                    problem = problem.or(Some(format!("{folder}/{path} {why}")).filter(|_| file.exists()))
                }
            }
        }
        let folders = self.modules.join(" and ");
        Err(problem.unwrap_or_else(|| format!("there is no {path} in {folders}, where libpam looks for it")))
    }

    /// Whether it is known where modules are.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.modules.is_empty()
    }
}

/// Whether a program could have it as its service's name. libpam makes capitals small before it looks,
/// and editors and package managers leave copies beside the files.
fn is_service(name: &str) -> bool {
    const COPIES: [&str; 19] = [
        "~",
        ".bak",
        ".orig",
        ".old",
        ".save",
        ".swp",
        ".tmp",
        ".rej",
        ".pam-new",
        ".pam-old",
        ".new",
        ".disabled",
        ".backup",
        ".copy",
        "-old",
        "-orig",
        "-bak",
        "-backup",
        "-copy",
    ];
    const PARTS: [&str; 4] = [".dpkg-", ".rpm", ".ucf-", ".pacnew"];
    !name.starts_with(['.', '#'])
        && !name.chars().any(|c| c.is_ascii_uppercase() || c.is_ascii_whitespace())
        && !COPIES.iter().any(|copy| name.ends_with(copy))
        && !PARTS.iter().any(|part| name.contains(part))
        && !name.ends_with(".pacsave")
        // A copy by its number or date.
        && !name.rsplit_once('.').is_some_and(|(_, end)| end.chars().all(|c| c.is_ascii_digit()))
}

/// Whether the loader would take a file.
fn loadable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|_| "is not there".to_owned())?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    let ours = header(Path::new("/proc/self/exe"));
    match header(path) {
        Some(header) if Some(header) == ours => whole(path),
        Some(header) if header.starts_with(b"\x7fELF") => {
            Err("is made for another kind of processor".to_owned())
        }
        _ => Err("is no shared object".to_owned()),
    }
}

/// Whether the file is all there, and is our module where it has that name.
fn whole(path: &Path) -> Result<(), String> {
    let file = bytes(path).ok_or("cannot be read")?;
    if let Some(fault) = elf::fault(&file) {
        return Err(fault.to_owned());
    }
    // Position-independent programs are shared objects, too.
    let ours = path.file_name().is_some_and(|name| name == stack::MODULE);
    let strange = |text: &&[u8]| !file.windows(text.len()).any(|part| part == *text);
    let marks = [b"\0pam_sm_open_session\0".as_slice(), b"pam_idle_watchdog".as_slice()];
    match ours && marks.iter().any(strange) {
        true => Err("is not our module".to_owned()),
        false => Ok(()),
    }
}

/// Why a module's file is not safe, if so: libpam loads it all the same.
#[must_use]
pub fn unsafe_module(path: &Path) -> Option<&'static str> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.uid() != 0 {
        Some("does not belong to root")
    } else if metadata.mode() & 0o022 != 0 {
        Some("may be written by others than root")
    } else {
        None
    }
}

/// The kind of processor, as an ELF header has it, but for what tells a program from a library.
fn header(path: &Path) -> Option<[u8; HEADER]> {
    let mut header = [0; HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    // Bytes 16 and 17 are the type, 7 and on the system and padding.
    header.iter_mut().enumerate().for_each(|(at, byte)| {
        if (7..18).contains(&at) {
            *byte = 0
        }
    });
    Some(header)
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIBRARY_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The directories that a pattern of [`LIBRARIES`] stands for.
fn folders(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some(parent) = pattern.strip_suffix("/*") else { return vec![root.join(pattern)] };
    let entries = fs::read_dir(root.join(parent)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_this_machine_says_where_it_looks() {
        let libpam = Libpam::of(Path::new("/"));
        assert!(libpam.is_known());
        assert!(libpam.module("pam_permit.so").is_ok());
        assert!(libpam.module("no_such_module.so").is_err());
        assert!(libpam.services.contains(&"/etc/pam.d".to_owned()), "{libpam:?}");
    }

    #[test]
    fn where_no_library_is_found_services_are_and_modules_are_not() {
        let libpam = Libpam::parse(PathBuf::from("/"), b"");
        assert_eq!((libpam.services[0].as_str(), libpam.is_known()), ("/etc/pam.d", false));
        let fedora =
            b"x\0/usr/lib/pam.d/%s\0/etc/pam.d/%s\0/usr/lib64/security/\0/etc/security/\0".as_slice();
        let libpam = Libpam::parse(PathBuf::from("/"), fedora);
        assert_eq!(libpam.services, ["/etc/pam.d", "/usr/lib/pam.d"]);
        assert_eq!((libpam.modules, libpam.at_include), (vec!["/usr/lib64/security".to_owned()], false));
    }

    #[test]
    fn copies_of_files_are_no_services() {
        for name in ["sshd", "su-l", "systemd-user", "gdm-password", "polkit-1", "ssh.ops"] {
            assert!(is_service(name), "{name}");
        }
        for name in [
            "sshd~",
            "sshd.dpkg-old",
            "sshd.dpkg-dist",
            "sshd.rpmnew",
            "sshd.rpmsave",
            "sshd.pam-new",
            "sshd.ucf-dist",
            ".sshd.swp",
            "#sshd#",
            "SSHD",
            "sshd.bak",
            "sshd.pacnew",
            "sshd copy",
            "sshd.backup",
            "sshd-old",
            "sshd.1",
            "sshd.20240131",
        ] {
            assert!(!is_service(name), "{name}");
        }
    }
}
