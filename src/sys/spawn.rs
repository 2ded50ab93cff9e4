//! Starts the helper: the module does it from inside another program's process (the host), and the command does
//! it the same way.
//!
//! A plain `fork` would copy the host's memory map, which would be the slowest part of a login. It would also
//! give the host a child that it does not expect. So this code works like posix_spawn(3), with two children.
//! The first child runs in the host's memory (`CLONE_VM | CLONE_VFORK`, so the calling thread sleeps
//! meanwhile). It starts the helper in the same way and exits. So the parent of the helper is init, or a
//! subreaper that the caller set, and not the host. The first child has no exit signal, so the host's SIGCHLD
//! handler is not called and need not be changed. The children make only async-signal-safe calls. They also
//! avoid the calls that glibc extends to all threads, such as setuid.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::Duration;

// The calls without 32 in their names have IDs of 16 bits on these machines, and a kernel may lack them.
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setgroups, SYS_setresgid, SYS_setresuid};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{
    SYS_setgroups32 as SYS_setgroups, SYS_setresgid32 as SYS_setresgid, SYS_setresuid32 as SYS_setresuid,
};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::{Pid, pipe2};

use crate::protocol::start::{ARMED, LEADER_FD, NOT_EXECUTED, REFUSED, STATUS_FD};
use crate::sys::clock::{Moment, Nanos, from_duration, poll_until};
use crate::sys::close_from::close_from;
use crate::sys::limits;
use crate::sys::newer_calls::CLOSE_RANGE;
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId};

/// Why no helper is armed.
#[derive(Debug)]
pub enum Failure {
    /// A system call before the fork failed.
    Prepare(io::Error),
    /// A step between fork and exec failed.
    Execute(&'static str, Errno),
    /// The helper refused. This is its reason.
    Refused(String),
    /// The helper ended without a message.
    Died,
    /// The helper sent no message in time.
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

/// Starts the helper for this leader, and waits until it is armed.
///
/// # Errors
///
/// Why no helper is armed. Then no helper runs.
pub fn start(path: &CStr, args: &[OsString], leader: &PidFd, budget: Duration) -> Result<ProcId, Failure> {
    let due = Moment::now().mono.saturating_add(from_duration(budget));
    let args: Vec<CString> = args
        .iter()
        .map(|arg| CString::new(arg.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(io::Error::from)?;
    let (status, child_end) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = run(path, &args, leader, &child_end)?;
    drop(child_end);
    // This is read before the message, because an armed helper must not be lost if the descriptors run out.
    let process = Proc::default().process(pid);
    match (hear(status, due), process) {
        (Ok(()), Some(process)) => Ok(process.id),
        (Err(Heard::Late(helper_lives)), _) => {
            helper_lives.kill(pid);
            Err(Failure::Late(budget))
        }
        (Err(Heard::Failed(failure)), _) => Err(failure),
        (Ok(()), None) => {
            // The helper has just said that it lives. But it is useless if its start time is unknown.
            if let Ok(pidfd) = PidFd::open(pid) {
                let _ = pidfd.send(libc::SIGKILL);
            }
            Err(Failure::Died)
        }
    }
}

/// Kills a helper that is useless.
pub fn discard(helper: ProcId) {
    if let Some(pidfd) = PidFd::of(&Proc::default(), helper) {
        let _ = pidfd.send(libc::SIGKILL);
    }
}

/// What came instead of the message *armed*.
enum Heard {
    Failed(Failure),
    Late(StatusPipe),
}

/// The read end of the status pipe. The helper has the write end.
struct StatusPipe(OwnedFd);

impl StatusPipe {
    /// Waits until there is something to read, or the other end is closed.
    fn wait(&self, due: Nanos) -> Result<bool, Errno> {
        poll_until(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], due)
    }

    /// Kills a helper that hangs. While the helper has the write end open, its PID is its own. So this opens
    /// the pidfd first, and then checks that the write end is still open.
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

/// Explains a message that is not *armed*.
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

/// What the children need. All of it is made before the first child starts, because the children must not
/// allocate memory.
struct Plan {
    path: *const c_char,
    argv: *const *const c_char,
    leader: c_int,
    status: c_int,
    /// The kernel lacks close_range(2).
    lacks_close_range: bool,
    stack: *mut c_void,
    helper: c_int,
}

/// The size of each child's stack. A child makes a dozen system calls. Debug builds need more stack for them.
const STACK: usize = 64 * 1024;

/// A stack, and its top for clone(2). It grows downwards in steps of 16 bytes.
fn stack() -> (Vec<MaybeUninit<u128>>, *mut c_void) {
    let mut memory: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = memory.as_mut_ptr().wrapping_add(memory.capacity());
    (memory, top.cast())
}

/// Starts the helper. Returns its PID.
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
        lacks_close_range: CLOSE_RANGE.is_missing(),
        stack: helper_top,
        helper: 0,
    };
    // A signal handler of the host must not run in the children, because they use the host's memory. The helper
    // wants all signals blocked anyway, and inherits that.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the child runs `between` on its own aligned stack of STACK bytes. It shares our memory: `plan`
    // and what `plan` points to outlive the child, because CLONE_VFORK suspends this thread until the child has
    // exited. The exit signal is 0, so there is no SIGCHLD.
    let child = unsafe {
        libc::clone(between, between_top, libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut plan).cast())
    };
    let cloned = Errno::result(child);
    let reaped = cloned.map(|child| {
        // SAFETY: waitpid writes nothing through a null pointer. __WALL is needed because the child has no exit
        // signal. For the same reason no other wait of the host sees the child.
        while unsafe { libc::waitpid(child, ptr::null_mut(), libc::__WALL) } < 0
            && Errno::last() == Errno::EINTR
        {}
    });
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    reaped?;
    // SAFETY: the child wrote the value through the pointer, and has exited.
    let helper = unsafe { ptr::read_volatile(&raw const plan.helper) };
    Ok(Pid::from_raw(helper))
}

/// The first child. It starts the helper and exits, so that init becomes the helper's parent.
extern "C" fn between(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `plan` is the pointer from `run`. It is valid, because the host is suspended in clone, and nobody
    // else uses it. The helper has a stack of its own, and CLONE_VFORK suspends us meanwhile.
    unsafe {
        // This comes first. Until then the user of su or sudo may kill us, because our real user ID is theirs.
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

/// The second child, which becomes the helper.
extern "C" fn become_helper(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>().cast_const();
    let empty: [*const c_char; 1] = [ptr::null()];
    // SAFETY: as in `between`. All calls here are bare system calls, use terminated strings from `run`, and do
    // not allocate memory.
    unsafe {
        libc::setsid();
        // This comes first, because the host's limit may allow too few descriptors for the rest.
        limits::reset();
        // The personality also decides about the memory layout at the next exec.
        libc::syscall(libc::SYS_personality, 0);
        let status = match arrange((*plan).leader, (*plan).status, (*plan).lacks_close_range) {
            Ok(status) => status,
            Err(status) => fail(status, STEP_DESCRIPTORS),
        };
        if libc::chdir(c"/".as_ptr()) < 0 {
            fail(status, STEP_CHDIR);
        }
        // pam_selinux has set a context for the person's shell, which applies at the next exec. That exec must
        // not be ours. An empty write removes the context. Without SELinux the file is missing or refuses the
        // write.
        let attr = open(c"/proc/thread-self/attr/exec", libc::O_WRONLY | libc::O_CLOEXEC);
        if attr >= 0 {
            libc::syscall(libc::SYS_write, attr, ptr::null::<u8>(), 0);
            libc::syscall(libc::SYS_close, attr);
        }
        libc::execve((*plan).path, (*plan).argv, empty.as_ptr());
        fail(status, STEP_EXECVE)
    }
}

/// open(2) as a bare system call. The function of the C library is a point where a pending cancellation of the
/// host's thread acts.
///
/// # Safety
///
/// Only in a child.
unsafe fn open(path: &CStr, flags: c_int) -> c_int {
    // SAFETY: the path is terminated and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) };
    c_int::try_from(fd).unwrap_or(-1)
}

/// Leaves only /dev/null, the leader's handle and the status pipe open, each at its fixed number. Returns the
/// number that the status pipe has now, also if it fails.
///
/// # Safety
///
/// Only in a child with its own descriptor table.
unsafe fn arrange(leader: c_int, status: c_int, lacks_close_range: bool) -> Result<c_int, c_int> {
    // These numbers are above all fixed ones, so that no dup2 replaces a descriptor that is still needed.
    const ABOVE: c_int = 10;
    // SAFETY: system calls on integers and on one constant path.
    unsafe {
        let null = open(c"/dev/null", libc::O_RDWR);
        let [null, leader, above] = [null, leader, status].map(|fd| libc::fcntl(fd, libc::F_DUPFD, ABOVE));
        if above < 0 {
            return Err(status);
        }
        let places = [(null, 0), (null, 1), (null, 2), (leader, LEADER_FD), (above, STATUS_FD)];
        if places.iter().any(|&(from, to)| libc::dup2(from, to) < 0) {
            return Err(above);
        }
        let first = STATUS_FD + 1;
        if close_from(first, lacks_close_range) { Ok(STATUS_FD) } else { Err(STATUS_FD) }
    }
}

/// Sets the real, effective and saved IDs to 0. Users run su and sudo, and can signal a process with their real
/// user ID. These are bare system calls, because the functions of glibc change the IDs of all threads of the
/// host.
///
/// # Safety
///
/// Only in a child.
unsafe fn become_root() -> bool {
    // SAFETY: system calls on integers; the group list is empty.
    unsafe {
        libc::syscall(SYS_setgroups, 0, ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(SYS_setresgid, 0, 0, 0) == 0
            && libc::syscall(SYS_setresuid, 0, 0, 0) == 0
    }
}

/// Tells the host which step failed and why. Exits without the host's exit handlers.
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
