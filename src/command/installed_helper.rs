//! Whether the helper that is installed on a machine can guard a session.

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

/// Why no session can be guarded, if the helper is the reason.
#[must_use]
pub fn fails(path: &Path) -> Option<String> {
    let problem = match fs::metadata(path) {
        Err(e) => e.to_string(),
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            "cannot be executed".to_owned()
        }
        // It runs as whoever asks, so only what nobody else may change is started.
        Ok(_) if unsafe_file(path).is_some() => return None,
        Ok(_) => started(path).err()?,
    };
    Some(format!("the helper {HELPER}: {problem}: no session can be guarded"))
}

/// Starts the helper without what the module gives it. It refuses that in words of its own.
fn started(path: &Path) -> Result<(), String> {
    // With descriptors of ours it would take itself for one that the module has started.
    for fd in [LEADER_FD, STATUS_FD] {
        let _ = keep_from_children(fd);
    }
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let said = child.stderr.take().map(said).unwrap_or_default();
    // One that is still there after all this is not our helper, and one that has ended does not notice.
    let _ = child.kill();
    let status = child.wait().map_err(|e| e.to_string())?;
    let refuses = String::from_utf8_lossy(&said).contains(BY_HAND);
    if refuses && !status.success() { Ok(()) } else { Err("is not our helper, or a damaged one".to_owned()) }
}

/// What a program writes until it ends, at most for two seconds.
fn said(mut stderr: ChildStderr) -> Vec<u8> {
    const SLICE: Nanos = SECOND / 20;
    const SLICES: usize = 40;
    let mut all = Vec::new();
    // A program that writes on and on is cut off as well as one that is silent.
    for _ in 0..SLICES {
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

/// What is wrong with the owner or the mode of the helper's file, if anything is.
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
    fn only_a_helper_that_starts_can_guard() {
        let here = HELPER.trim_start_matches('/');
        let tree = Tree::with("");
        let fails = || super::fails(&tree.machine().file(HELPER));
        if !nix::unistd::geteuid().is_root() {
            // The file is somebody else's, and is not started.
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
        assert!(open(&tree).ends_with("may be written by others than root"));
        tree.allow(here, 0o755);
        std::os::unix::fs::chown(tree.machine().file(HELPER), Some(65534), None).unwrap();
        assert!(open(&tree).ends_with("does not belong to root"));
    }
}
