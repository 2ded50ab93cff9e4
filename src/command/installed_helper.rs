//! Checks whether the installed helper of a machine can guard a session.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::pam_stack::libpam::unsafe_module;
use crate::protocol::start::{BY_HAND, HELPER, LEADER_FD, STATUS_FD};
use crate::sys::clock::{Nanos, SECOND, timeout};
use crate::sys::inherit::keep_from_children;
use crate::sys::kernel;

/// Why the helper cannot guard any session, if it cannot.
#[must_use]
pub fn fails(path: &Path) -> Option<String> {
    let problem = match fs::metadata(path) {
        Err(e) => e.to_string(),
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            "is not executable".to_owned()
        }
        // This starts the file as the current user, which is usually root. So the file must not be one that
        // other users could have written.
        Ok(_) if unsafe_file(path).is_some() => return None,
        Ok(_) => started(path).err()?,
    };
    Some(format!("the helper {HELPER}: {problem}: no session can be guarded"))
}

/// Why a kernel of this release is too old, if it is.
#[must_use]
pub fn old_kernel(release: &str) -> Option<String> {
    /// Nobody has looked which calls an older kernel lacks.
    const OLDEST: (u32, u32) = (4, 18);
    (kernel::version(release)? < OLDEST).then(|| {
        let (major, minor) = OLDEST;
        format!(
            "the kernel is Linux {}, older than {major}.{minor}: no session can be guarded",
            release.trim()
        )
    })
}

/// Starts the helper without the arguments that the module gives it. Our helper refuses that with a known message.
fn started(path: &Path) -> Result<(), String> {
    // If it inherited these descriptors, it would believe that the module has started it.
    for fd in [LEADER_FD, STATUS_FD] {
        let _ = keep_from_children(fd);
    }
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let said = child.stderr.take().map(output_of).unwrap_or_default();
    // Our helper has ended by now. Another program is killed.
    let _ = child.kill();
    let status = child.wait().map_err(|e| e.to_string())?;
    let refuses = String::from_utf8_lossy(&said).contains(BY_HAND);
    if refuses && !status.success() {
        Ok(())
    } else {
        Err("is not the pam_idle_watchdog helper, or it is damaged".to_owned())
    }
}

/// Reads what a program writes until it ends, for at most two seconds.
fn output_of(mut stderr: ChildStderr) -> Vec<u8> {
    const SLICE: Nanos = SECOND / 20;
    const READS_MAX: usize = 40;
    let mut all = Vec::new();
    // The number of reads is limited, so a program that never stops writing cannot keep us here.
    for _ in 0..READS_MAX {
        let mut part = [0; 4096];
        match poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)], timeout(SLICE)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => match stderr.read(&mut part) {
                Ok(count @ 1..) => all.extend(part.iter().take(count)),
                Ok(0) | Err(_) => break,
            },
            Err(_) => break,
        }
    }
    all
}

/// Why a user other than root could have written the helper, if so.
#[must_use]
pub fn unsafe_file(path: &Path) -> Option<String> {
    let why = unsafe_module(path)?;
    Some(format!("the helper {HELPER} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_kernel_that_is_too_old_is_found() {
        assert_eq!(
            old_kernel("3.10.0-1160.el7.x86_64\n").as_deref(),
            Some("the kernel is Linux 3.10.0-1160.el7.x86_64, older than 4.18: no session can be guarded")
        );
        assert_eq!(old_kernel("4.18.0-553.el8_10.x86_64\n"), None);
        assert_eq!(old_kernel("6.1.0"), None);
        assert_eq!(old_kernel("unknown"), None);
    }

    #[test]
    fn a_helper_that_does_not_start_is_found() {
        let here = HELPER.trim_start_matches('/');
        let tree = Tree::with("");
        let fails = || super::fails(&tree.machine().file(HELPER));
        if !nix::unistd::geteuid().is_root() {
            // The file is not owned by root, so it is not started.
            return assert_eq!(fails(), None);
        }
        assert_eq!(fails(), None);
        for text in ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nexec sleep 60\n", "\x7fELF", ""] {
            tree.program(here, text);
            assert!(fails().is_some_and(|why| why.ends_with(": no session can be guarded")), "{text}");
        }
        tree.allow(here, 0o777);
        assert_eq!(fails(), None);
        let open = |tree: &Tree| unsafe_file(&tree.machine().file(HELPER)).unwrap();
        assert!(open(&tree).ends_with("is writable by users other than root"));
        tree.allow(here, 0o755);
        std::os::unix::fs::chown(tree.machine().file(HELPER), Some(65534), None).unwrap();
        assert!(open(&tree).ends_with("is not owned by root"));
    }
}
