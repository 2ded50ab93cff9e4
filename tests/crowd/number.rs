//! A crowd of another user's processes on a terminal with the same number.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use crate::promise::*;
use crate::support::process::wait_some;
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs};

/// `crowd PTMX DIRECTORY NUMBER PROCESSES FILES`: starts processes with that many descriptors each. They are on
/// the terminal with this number in another instance of devpts.
const CROWD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int wanted = atoi(argv[3]), processes = atoi(argv[4]), files = atoi(argv[5]);
	int number = -1, master, zero = 0;
	char path[256];

	if (fork())
		return 0;
	setsid();
	while (number != wanted) {
		master = open(argv[1], O_RDWR | O_NOCTTY);
		if (master < 0 || ioctl(master, TIOCGPTN, &number) < 0)
			return 1;
	}
	ioctl(master, TIOCSPTLCK, &zero);
	snprintf(path, sizeof path, "%s/%d", argv[2], number);
	if (ioctl(open(path, O_RDWR), TIOCSCTTY, 0) < 0)
		return 1;
	while (processes-- > 0)
		if (fork() == 0) {
			while (files-- > 0)
				open("/dev/null", O_RDONLY);
			pause();
		}
	puts("the crowd is there\r");
	fflush(stdout);
	pause();
}
"#;

const PROCESSES: usize = 150;

/// Tells how often directories were listed.
struct Watch(File);

impl Watch {
    /// Watches the directories of the descriptors of processes.
    fn descriptors_of(pids: &[i32]) -> Self {
        // SAFETY: it takes flags and returns a descriptor.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        assert!(fd >= 0, "inotify_init1: {}", std::io::Error::last_os_error());
        for pid in pids {
            let path = CString::new(format!("/proc/{pid}/fd")).unwrap();
            // SAFETY: the path is terminated and outlives the call.
            let watch = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_OPEN) };
            assert!(watch >= 0, "{path:?}: {}", std::io::Error::last_os_error());
        }
        // SAFETY: nobody else owns the descriptor.
        Self(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// How many directories were opened, at least.
    fn count(&mut self) -> usize {
        let mut events = [0; 4096];
        // Without a name, an event has the length of its structure.
        self.0.read(&mut events).unwrap_or(0) / size_of::<libc::inotify_event>()
    }
}

#[test]
fn a_crowd_on_our_terminals_number_delays_nothing_and_is_not_read() {
    let sshd = Sshd::with(OPTIONS).start();
    let alice = sshd.login("alice");
    let shell = || sshd.processes_of("alice").into_iter().find(|process| process.comm == "sh");
    let terminal = wait_some(shell, SOON).expect("alice's shell").tty;
    let carol = sshd.login("carol");
    let crowd = sshd.program("crowd", CROWD);
    // The numbers of ptys are the minor numbers. Below 256 they are the low byte of tty_nr.
    carol.type_line(&format!(
        "{} /dev/pts2/ptmx /dev/pts2 {} {PROCESSES} 200",
        crowd.display(),
        terminal & 0xff
    ));
    carol.expect("the crowd is there", SOON);
    let typist = carol.keep_typing(secs(2));
    let crowd = || {
        let crowd: Vec<i32> =
            sshd.processes_of("carol").iter().filter(|p| p.tty == terminal).map(|p| p.pid).collect();
        (crowd.len() > PROCESSES).then_some(crowd)
    };
    let crowd = wait_some(crowd, SOON).expect("a crowd on alice's number");
    let mut watch = Watch::descriptors_of(&crowd);
    // This shows that the watch works.
    assert!(File::open(format!("/proc/{}/fd", crowd[0])).is_ok());
    assert_eq!(watch.count(), 1);

    assert_ended_on_time(&sshd, &alice);
    sshd.log.wait_for_event("ended", "alice", GRACE + secs(5));
    assert_eq!(watch.count(), 0, "the helper reads descriptors of strangers");
    assert_no_process_left(&sshd, "alice", gone_by(alice.last_key()));
    typist.stop();
    carol.wait_for_shell();
    assert_untouched(&sshd, "carol");
    assert!(crowd.iter().all(|pid| Path::new(&format!("/proc/{pid}/fd")).exists()), "{}", sshd.log);
}
