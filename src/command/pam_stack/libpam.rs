//! The libpam of this machine, and the directories where it looks for services and modules. These directories
//! are compiled into the library and differ between distributions. So we search the library file for them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::elf;
use super::parse;
use super::stack::{self, LineType, Stack};

/// The places where the library may be. `*` is any one directory, such as Debian's `x86_64-linux-gnu`.
const LIBRARIES: [&str; 7] = ["usr/lib64", "lib64", "usr/lib/*", "lib/*", "usr/lib", "lib", "usr/local/lib"];
const LIBRARY: &str = "libpam.so.0";
/// The most bytes of the library that are read. libpam has about 70 KiB.
const LIBRARY_MAX: u64 = 16 << 20;
/// The service whose lines libpam uses if a service has no lines of its own.
const DEFAULT_SERVICE: &str = "other";
/// The size of the part of an ELF header that names the processor.
const ELF_HEADER: usize = 20;

/// One libpam and its directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libpam {
    root: PathBuf,
    /// Directories with services' files. The first one that has the file is used.
    services: Vec<String>,
    /// Directories with modules. Empty if the library was not found.
    modules: Vec<String>,
    /// Whether it supports `@include`, as Debian's does.
    at_include: bool,
    /// The file of the library, if it was found.
    library: Option<PathBuf>,
}

impl Libpam {
    /// The libpam of a machine. The machine's files are below `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let ours = header(Path::new("/proc/self/exe"));
        // A machine may also have a libpam for 32-bit programs.
        let fits = |path: &PathBuf| ours.is_some() && header(path) == ours;
        let mut candidates = LIBRARIES.iter().flat_map(|pattern| directories(root, pattern));
        let library = candidates.find_map(|directory| Some(directory.join(LIBRARY)).filter(fits));
        let text = library.as_deref().and_then(bytes).unwrap_or_default();
        Self { library, ..Self::parse(root.to_owned(), &text) }
    }

    /// Its version, which is in the name of its file: 0.85.1.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let file = fs::canonicalize(self.library.as_ref()?).ok()?;
        let version = file.file_name()?.to_str()?.strip_prefix("libpam.so.")?;
        Some(version.to_owned())
    }

    /// Finds the directories in the bytes of the library.
    fn parse(root: PathBuf, library: &[u8]) -> Self {
        let (mut services, mut modules, mut at_include) = (Vec::new(), Vec::new(), library.is_empty());
        let texts = library.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
        for text in texts {
            if let Some(directory) =
                text.strip_suffix("/%s").filter(|directory| directory.ends_with("/pam.d"))
            {
                services.push(directory.to_owned());
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
        // libpam searches /etc first, and Debian's /lib/security last. Their order in the library means
        // nothing, because the linker chooses it.
        services.sort_by_key(|directory| !directory.starts_with("/etc/"));
        modules.sort_by_key(|directory| directory == "/lib/security");
        Self { root, services, modules, at_include, library: None }
    }

    /// The path of a file of the machine.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The lines that libpam runs for a service. If the service has no line of some type, the lines of `other`
    /// apply for that type. `None` if neither has a file.
    #[must_use]
    pub fn service(&self, service: &str) -> Option<Stack> {
        let other = self.stack(DEFAULT_SERVICE);
        let Some(mut stack) = self.stack(service) else { return other };
        let Some(other) = other else { return Some(stack) };
        for kind in LineType::ALL {
            if !stack.entries.iter().any(|entry| entry.line_type == kind) {
                stack.entries.extend(other.of_type(kind));
            }
        }
        // libpam reads both files before it runs a line.
        stack.broken = stack.broken.or(other.broken);
        Some(stack)
    }

    /// The lines of a service's own file. `None` if it has no file.
    #[must_use]
    pub fn stack(&self, service: &str) -> Option<Stack> {
        parse::read(service, self.at_include, |name| {
            let paths: Vec<String> = match name.starts_with('/') {
                true => vec![name.to_owned()],
                false => self.services.iter().map(|directory| format!("{directory}/{name}")).collect(),
            };
            // The file may have any encoding, because libpam does not check it.
            let text =
                |path: &String| Some(String::from_utf8_lossy(&fs::read(self.at(path)).ok()?).into_owned());
            paths.into_iter().find_map(|path| text(&path).map(|text| (path.into(), text)))
        })
    }

    /// The lines of each service that has a file.
    pub fn stacks(&self) -> impl Iterator<Item = Stack> + '_ {
        self.services().into_iter().filter_map(|service| self.stack(&service))
    }

    /// The names of all services that have a file, sorted.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let directories = self.services.iter().filter_map(|directory| fs::read_dir(self.at(directory)).ok());
        let names = directories.flatten().flatten().filter_map(|file| file.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_service(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The file that libpam loads for a module.
    ///
    /// # Errors
    ///
    /// libpam cannot load it. The error says why.
    pub fn module(&self, path: &str) -> Result<PathBuf, String> {
        if path.contains("$ISA") {
            // libpam replaces $ISA with a directory that we cannot find in the library.
            return Ok(self.at(path));
        }
        if path.starts_with('/') {
            return loadable(&self.at(path)).map(|()| self.at(path)).map_err(|why| format!("{path} {why}"));
        }
        if self.modules.is_empty() {
            return Err(format!("{path} cannot be checked: {LIBRARY} was not found on this machine"));
        }
        let mut problem = None;
        for directory in &self.modules {
            let file = self.at(&format!("{directory}/{path}"));
            match loadable(&file) {
                Ok(()) => return Ok(file),
                Err(why) if file.exists() => {
                    problem.get_or_insert(format!("{directory}/{path} {why}"));
                }
                Err(_) => {}
            }
        }
        let directories = self.modules.join(" and ");
        Err(problem
            .unwrap_or_else(|| format!("there is no {path} in {directories}, where libpam looks for it")))
    }

    /// Whether the directories of modules are known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.modules.is_empty()
    }
}

/// Whether the name of a file can be the name of a service. libpam converts service names to lower case. Other
/// files are copies from editors and package managers.
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
        // Such a name is a copy with a number or a date at its end.
        && !name.rsplit_once('.').is_some_and(|(_, end)| end.chars().all(|c| c.is_ascii_digit()))
}

/// Checks that a file can be loaded as a module. The error says why not.
fn loadable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|_| "does not exist".to_owned())?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let ours = header(Path::new("/proc/self/exe"));
    match header(path) {
        Some(header) if Some(header) == ours => whole(path),
        Some(header) if header.starts_with(b"\x7fELF") => Err("is for another kind of processor".to_owned()),
        _ => Err("is not a shared object".to_owned()),
    }
}

/// Checks that a file is complete and, if it has our module's name, that it is our module.
fn whole(path: &Path) -> Result<(), String> {
    let file = bytes(path).ok_or("cannot be read")?;
    if let Some(fault) = elf::fault(&file) {
        return Err(fault.to_owned());
    }
    // A shared object with the module's name may still be something else, such as a program.
    let ours = path.file_name().is_some_and(|name| name == stack::MODULE);
    let missing = |text: &&[u8]| !file.windows(text.len()).any(|part| part == *text);
    let marks = [b"\0pam_sm_open_session\0".as_slice(), b"pam_idle_watchdog".as_slice()];
    match ours && marks.iter().any(missing) {
        true => Err("is not the pam_idle_watchdog module".to_owned()),
        false => Ok(()),
    }
}

/// Why users other than root could have written a module, if so. libpam loads such a module all the same.
#[must_use]
pub fn unsafe_module(path: &Path) -> Option<&'static str> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.uid() != 0 {
        Some("is not owned by root")
    } else if metadata.mode() & 0o022 != 0 {
        Some("is writable by users other than root")
    } else {
        None
    }
}

/// The part of an ELF header that names the processor. Bytes that differ between programs and libraries are zero.
fn header(path: &Path) -> Option<[u8; ELF_HEADER]> {
    let mut header = [0; ELF_HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    // Bytes 7 to 15 are the operating system and padding, 16 and 17 the type of the file.
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

/// The directories that match a pattern of [`LIBRARIES`].
fn directories(root: &Path, pattern: &str) -> Vec<PathBuf> {
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
    fn the_directories_are_found_in_this_machines_library() {
        let libpam = Libpam::of(Path::new("/"));
        assert!(libpam.is_known());
        assert!(libpam.module("pam_permit.so").is_ok());
        assert!(libpam.module("no_such_module.so").is_err());
        assert!(libpam.services.contains(&"/etc/pam.d".to_owned()), "{libpam:?}");
    }

    #[test]
    fn without_a_library_services_have_default_directories_and_modules_have_none() {
        let libpam = Libpam::parse(PathBuf::from("/"), b"");
        assert_eq!((libpam.services[0].as_str(), libpam.is_known()), ("/etc/pam.d", false));
        let fedora =
            b"x\0/usr/lib/pam.d/%s\0/etc/pam.d/%s\0/usr/lib64/security/\0/etc/security/\0".as_slice();
        let libpam = Libpam::parse(PathBuf::from("/"), fedora);
        assert_eq!(libpam.services, ["/etc/pam.d", "/usr/lib/pam.d"]);
        assert_eq!((libpam.modules, libpam.at_include), (vec!["/usr/lib64/security".to_owned()], false));
    }

    #[test]
    fn copies_of_files_are_not_services() {
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
