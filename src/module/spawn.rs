//! Starting the helper from inside somebody else's process.
//!
//! A plain `fork` would copy the host's memory map, which is what a login waits for most, and leave
//! it a child to be surprised by. Instead, as posix_spawn(3) does it: a child on the host's memory
//! (`CLONE_VM | CLONE_VFORK`: the calling thread sleeps meanwhile) starts the helper the same way and
//! exits. So the helper is a child of init, or of a subreaper that the caller made, and not of the host.
//! The child between has no exit signal, so that
//! the host's SIGCHLD handler never hears of it and need not be touched. In the children only
//! async-signal-safe calls are made, and none that glibc spreads over all threads (its setuid).

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::{Pid, getpid, pipe2};

use crate::protocol::start::{ARMED, LEADER_FD, NOT_EXECUTED, REFUSED, STATUS_FD};
use crate::sys::clock::{Moment, Nanos, from_duration, poll_until};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId};

/// Why no helper is armed.
#[derive(Debug)]
pub enum Failure {
    /// A system call of the preparation failed.
    Prepare(io::Error),
    /// A step between fork and exec failed.
    Execute(&'static str, Errno),
    /// The helper says why it will not.
    Refused(String),
    /// The helper ended without a word.
    Died,
    /// The helper said nothing in time.
    Late(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(e) => write!(f, "cannot be started: {e}"),
            Self::Execute(step, errno) => write!(f, "cannot be started: {step}: {}", errno.desc()),
            Self::Refused(why) => write!(f, "refuses: {why}"),
            Self::Died => f.write_str("ended before it was armed"),
            Self::Late(budget) => write!(f, "was not armed within {} s", budget.as_secs()),
        }
    }
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Prepare(error.into())
    }
}

/// Starts the helper and waits until it is armed.
pub fn start(path: &CStr, args: &[OsString], budget: Duration) -> Result<ProcId, Failure> {
    let due = Moment::now().mono.saturating_add(from_duration(budget));
    let args: Vec<CString> = args
        .iter()
        .map(|arg| CString::new(arg.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(io::Error::from)?;
    // Of ourselves, so that there is no doubt whom it is a descriptor of.
    let leader = PidFd::open(getpid())?;
    let (status, child_end) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = run(path, &args, &leader, &child_end)?;
    drop(child_end);
    // Before it says a word: an armed helper must not be lost for want of a descriptor.
    let process = Proc::default().process(pid);
    match (hear(status, due), process) {
        (Ok(()), Some(process)) => Ok(process.id),
        (Err(Heard::Late(helper_lives)), _) => {
            helper_lives.kill(pid);
            Err(Failure::Late(budget))
        }
        (Err(Heard::Failed(failure)), _) => Err(failure),
        (Ok(()), None) => {
            // It has just said that it lives, and is of no use unknown.
            if let Ok(pidfd) = PidFd::open(pid) {
                let _ = pidfd.send(libc::SIGKILL);
            }
            Err(Failure::Died)
        }
    }
}

/// Ends a helper that is of no use.
pub fn discard(helper: ProcId) {
    if let Some(pidfd) = PidFd::of(&Proc::default(), helper) {
        let _ = pidfd.send(libc::SIGKILL);
    }
}

/// What came instead of *armed*.
enum Heard {
    Failed(Failure),
    Late(StatusPipe),
}

/// The read end of the status pipe, while the helper holds the other.
struct StatusPipe(OwnedFd);

impl StatusPipe {
    /// Waits until there is something to read, or the other end is closed.
    fn wait(&self, due: Nanos) -> Result<bool, Errno> {
        poll_until(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], due)
    }

    /// Kills the helper that hangs at the other end. While it holds that end its number is its own:
    /// so the pidfd is opened first and the end looked at then.
    fn kill(&self, pid: Pid) {
        let Ok(pidfd) = PidFd::open(pid) else { return };
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0)) {
            let _ = pidfd.send(libc::SIGKILL);
        }
    }
}

/// Reads the status message.
fn hear(status: OwnedFd, due: Nanos) -> Result<(), Heard> {
    let failed = |failure: Failure| Heard::Failed(failure);
    let pipe = StatusPipe(status);
    let mut message = Vec::new();
    loop {
        if !pipe.wait(due).map_err(|e| failed(e.into()))? {
            return Err(Heard::Late(pipe));
        }
        let mut part = [0; 512];
        let count = nix::unistd::read(&pipe.0, &mut part).map_err(|e| failed(e.into()))?;
        message.extend(part.iter().take(count));
        if message.first() == Some(&ARMED) {
            return Ok(());
        }
        if count == 0 {
            return Err(failed(explain(&message)));
        }
    }
}

/// What a message says that is not *armed*.
fn explain(message: &[u8]) -> Failure {
    match message.split_first() {
        Some((&REFUSED, why)) => Failure::Refused(String::from_utf8_lossy(why).into_owned()),
        Some((&NOT_EXECUTED, [step, errno @ ..])) => {
            let step = STEPS.get(usize::from(*step)).copied().unwrap_or("unknown step");
            let errno = errno.try_into().map_or(0, i32::from_ne_bytes);
            Failure::Execute(step, Errno::from_raw(errno))
        }
        _ => Failure::Died,
    }
}

/// Names of the steps between fork and exec, in the order of their numbers.
const STEPS: [&str; 5] = ["descriptors", "chdir /", "user and group 0", "execve", "clone"];
const STEP_DESCRIPTORS: u8 = 0;
const STEP_CHDIR: u8 = 1;
const STEP_IDENTITY: u8 = 2;
const STEP_EXECVE: u8 = 3;
const STEP_CLONE: u8 = 4;

/// What the children need, all made before the first of them: they allocate nothing.
struct Plan {
    path: *const c_char,
    argv: *const *const c_char,
    leader: c_int,
    status: c_int,
    stack: *mut c_void,
    helper: c_int,
}

/// Room for the children's stacks: they call a dozen system calls, in debug builds not sparingly.
const STACK: usize = 64 * 1024;

/// A stack, and its top as clone(2) wants it: it grows downwards, in steps of 16 bytes.
fn stack() -> (Vec<MaybeUninit<u128>>, *mut c_void) {
    let mut memory: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = memory.as_mut_ptr().wrapping_add(memory.capacity());
    (memory, top.cast())
}

/// Starts the process and returns its PID.
fn run(path: &CStr, args: &[CString], leader: &PidFd, status: &OwnedFd) -> Result<Pid, Failure> {
    let argv: Vec<*const c_char> = std::iter::once(path)
        .chain(args.iter().map(CString::as_c_str))
        .map(CStr::as_ptr)
        .chain([ptr::null()])
        .collect();
    let (_between, between_top) = stack();
    let (_helper, helper_top) = stack();
    let mut plan = Plan {
        path: path.as_ptr(),
        argv: argv.as_ptr(),
        leader: leader.as_raw_fd(),
        status: status.as_raw_fd(),
        stack: helper_top,
        helper: 0,
    };
    // No handler of the host's may run in the children, on the host's memory. The helper wants all
    // signals blocked anyway, and inherits it.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the child runs `between` on a stack of its own, of STACK bytes, aligned; the memory it
    // shares, `plan` and what that points to included, outlives it, for CLONE_VFORK suspends this
    // thread until it has exited. Exit signal 0: no SIGCHLD.
    let child = unsafe {
        libc::clone(between, between_top, libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut plan).cast())
    };
    let cloned = Errno::result(child);
    let reaped = cloned.map(|child| {
        // SAFETY: waitpid writes nothing through a null pointer. __WALL: a child without an exit
        // signal is seen by nobody else's wait.
        while unsafe { libc::waitpid(child, ptr::null_mut(), libc::__WALL) } < 0
            && Errno::last() == Errno::EINTR
        {}
    });
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    reaped?;
    // SAFETY: the child that wrote it, through the pointer, has exited.
    let helper = unsafe { ptr::read_volatile(&raw const plan.helper) };
    Ok(Pid::from_raw(helper))
}

/// The child between: starts the helper and exits, so that init inherits that.
extern "C" fn between(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `plan` is what `run` passed, alive while the host is suspended in clone; nobody else
    // touches it. The helper's stack is another one than ours, and CLONE_VFORK suspends us as well.
    unsafe {
        // At once: until then the user of su and sudo may kill us, for the real id is his.
        if !become_root() {
            fail((*plan).status, STEP_IDENTITY);
        }
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let helper = libc::clone(become_helper, (*plan).stack, flags, plan.cast());
        if helper < 0 {
            fail((*plan).status, STEP_CLONE);
        }
        (*plan).helper = helper;
        libc::_exit(0)
    }
}

/// The helper until it is executed.
extern "C" fn become_helper(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>().cast_const();
    let empty: [*const c_char; 1] = [ptr::null()];
    // SAFETY: as in `between`; all that is called is a bare system call, takes terminated strings
    // made by `run`, and allocates nothing.
    unsafe {
        libc::setsid();
        // First: the host's may be too few descriptors for the rest.
        reset_limits();
        // It says where memory is laid out, too, at the next exec.
        libc::syscall(libc::SYS_personality, 0);
        let Some(status) = arrange((*plan).leader, (*plan).status) else {
            fail((*plan).status, STEP_DESCRIPTORS)
        };
        if libc::chdir(c"/".as_ptr()) < 0 {
            fail(status, STEP_CHDIR);
        }
        // pam_selinux has set a context for the person's shell, to be taken on at the next exec: that
        // is not us. An empty write unsets it; elsewhere the file is missing or refuses.
        let attr = open(c"/proc/thread-self/attr/exec", libc::O_WRONLY | libc::O_CLOEXEC);
        if attr >= 0 {
            libc::syscall(libc::SYS_write, attr, ptr::null::<u8>(), 0);
            libc::syscall(libc::SYS_close, attr);
        }
        libc::execve((*plan).path, (*plan).argv, empty.as_ptr());
        fail(status, STEP_EXECVE)
    }
}

/// open(2), bare: the C library's is a point where a pending cancellation of the host's thread acts.
///
/// # Safety
///
/// Only in a child.
unsafe fn open(path: &CStr, flags: c_int) -> c_int {
    // SAFETY: the path is terminated and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) };
    c_int::try_from(fd).unwrap_or(-1)
}

/// Leaves /dev/null, the leader's pidfd and the status pipe, each at its place, and nothing else.
/// Answers the status pipe's.
///
/// # Safety
///
/// Only in a child with a descriptor table of its own.
unsafe fn arrange(leader: c_int, status: c_int) -> Option<c_int> {
    // Above all places, so that no dup2 hits one that is still needed.
    const ABOVE: c_int = 10;
    // SAFETY: system calls on integers and one constant path.
    unsafe {
        let null = open(c"/dev/null", libc::O_RDWR);
        let [null, leader, status] = [null, leader, status].map(|fd| libc::fcntl(fd, libc::F_DUPFD, ABOVE));
        let places = [(null, 0), (null, 1), (null, 2), (leader, LEADER_FD), (status, STATUS_FD)];
        if places.iter().any(|&(from, to)| libc::dup2(from, to) < 0) {
            return None;
        }
        let first = STATUS_FD + 1;
        (libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) == 0).then_some(STATUS_FD)
    }
}

/// Undoes what pam_limits and the host's own settings would do to the helper: a processor time limit
/// would end it, a niceness delay it.
///
/// # Safety
///
/// Only in a child.
unsafe fn reset_limits() {
    const URGENT: c_int = -20;
    const DESCRIPTORS: libc::rlim_t = 4096;
    const STACK_LIMIT: libc::rlimit = libc::rlimit { rlim_cur: 8 << 20, rlim_max: libc::RLIM_INFINITY };
    const ZERO: libc::rlimit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    const FREE: libc::rlimit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let limits = [
        (libc::RLIMIT_CPU, &FREE),
        (libc::RLIMIT_FSIZE, &FREE),
        (libc::RLIMIT_DATA, &FREE),
        (libc::RLIMIT_AS, &FREE),
        (libc::RLIMIT_RSS, &FREE),
        (libc::RLIMIT_NPROC, &FREE),
        (libc::RLIMIT_MEMLOCK, &FREE),
        (libc::RLIMIT_SIGPENDING, &FREE),
        (libc::RLIMIT_RTTIME, &FREE),
        (libc::RLIMIT_STACK, &STACK_LIMIT),
        (libc::RLIMIT_CORE, &ZERO),
        // For the pidfds of an end, and then some.
        (libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS }),
    ];
    let none = ptr::null_mut::<libc::rlimit>();
    // SAFETY: the limits outlive the calls. What a container forbids stays as it is.
    unsafe {
        for (resource, limit) in limits {
            if libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::from_ref(limit), none) < 0 {
                // Up to the hard limit is always allowed.
                let mut own = ZERO;
                libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<libc::rlimit>(), &raw mut own);
                own.rlim_cur = own.rlim_max;
                libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const own, none);
            }
        }
        let normal = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        // Last, for a container may forbid it: who keeps all processors busy must not delay his end.
        libc::setpriority(libc::PRIO_PROCESS, 0, URGENT);
    }
}

/// Real, effective and saved ids 0: su and sudo are run by the user, and a process of his real id
/// takes his signals. By bare system calls: glibc's own change the ids of all threads, the host's.
///
/// # Safety
///
/// Only in a child.
unsafe fn become_root() -> bool {
    // SAFETY: system calls on integers; the group list is empty.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0
    }
}

/// Tells the host which step failed and why, and exits without any of its exit handlers.
///
/// # Safety
///
/// Only in a child.
unsafe fn fail(status: c_int, step: u8) -> ! {
    let [a, b, c, d] = Errno::last_raw().to_ne_bytes();
    let message = [NOT_EXECUTED, step, a, b, c, d];
    // SAFETY: the message outlives the call.
    unsafe {
        libc::syscall(libc::SYS_write, status, message.as_ptr(), message.len());
        libc::_exit(127)
    }
}
