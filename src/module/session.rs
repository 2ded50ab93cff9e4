//! Opens and closes a session for libpam.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{AccessFlags, Pid, access, geteuid, getpid};
use pam::constants::PamResultCode;
use pam::items::{RHost, Service, Tty, User as UserName};
use pam::module::PamHandle;

use super::registry::{self, Begun};
use super::{BUDGET, SESSION, announce};
use crate::login::Login;
use crate::policy::exceptions::{self, Exception};
use crate::policy::files::Files;
use crate::policy::{self, Fault, OnError, Options, Settings};
use crate::protocol::start::{Assignment, CLOSE_SIGNAL, HELPER, SHARED_SIGNAL};
use crate::protocol::{client, running};
use crate::record::{Event, Key, Record, Severity};
use crate::sys::cgroup::Cgroups;
use crate::sys::clock::{Nanos, SECOND};
use crate::sys::logind;
use crate::sys::nss::Person;
use crate::sys::pam::{self as libpam, Ended, Opened, State};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{Proc, ProcId};
use crate::sys::socket::Stream;
use crate::sys::spawn;

/// Why a session could not be guarded, and what follows.
pub struct Refusal {
    /// The code that libpam gets.
    pub code: PamResultCode,
    /// Why the login goes on all the same, if it does.
    pub goes_on: Option<&'static str>,
    /// The record for the log.
    pub record: Record,
}

/// Why a login that cannot be guarded goes on, as `onerr=` says.
fn goes_on(on_error: OnError) -> Option<&'static str> {
    match on_error {
        OnError::Fail => None,
        OnError::Succeed => Some("onerr=succeed"),
    }
}

impl Login {
    /// Asks libpam for the facts. Name services are not asked, so the user's ID is not known.
    pub fn of(pamh: &PamHandle) -> Self {
        fn bytes(item: &CStr) -> OsString {
            OsStr::from_bytes(item.to_bytes()).to_owned()
        }
        Self {
            service: pamh.get_item::<Service>().ok().flatten().map(|item| bytes(&item)).unwrap_or_default(),
            user: pamh.get_item::<UserName>().ok().flatten().map(|item| bytes(&item)),
            uid: None,
            rhost: pamh
                .get_item::<RHost>()
                .ok()
                .flatten()
                .map(|item| bytes(&item))
                .filter(|host| !host.is_empty()),
            tty: pamh.get_item::<Tty>().ok().flatten().map(|item| bytes(&item)),
        }
    }

    /// A record of an event in this login.
    pub fn record(&self, event: Event) -> Record {
        let text = |item: &Option<OsString>| item.as_ref().map(|item| item.to_string_lossy().into_owned());
        Record::new(event).with_some(Key::User, text(&self.user)).with_some(Key::Rhost, text(&self.rhost))
    }
}

/// Guards the session that opens. Returns `false` if the session is skipped or exempt. If it is `silent`, the
/// application wants nothing to be said to the person.
pub fn open(pamh: &mut PamHandle, args: &[&CStr], silent: bool) -> Result<bool, Refusal> {
    let login = Login::of(pamh);
    let line = line(&login, args)?;
    let earlier = libpam::kept(pamh).flatten();
    if earlier.is_some_and(|earlier| earlier.helper.is_some()) {
        let reason = "another line of this stack guards the session already";
        libpam::log(pamh, SESSION, &login.record(Event::Ignored).with(Key::Reason, reason));
        return Ok(false);
    }
    if let Some(Exception { because, routine }) = exception(&login) {
        let record = login.record(Event::Skipped).with(Key::Reason, because);
        // There are hundreds of scheduled jobs, so their records are written only with `debug`.
        if !routine {
            libpam::log(pamh, SESSION, &record);
        } else if Settings::of(&line.read, None).debug {
            libpam::log(pamh, SESSION, &record.at(Severity::Debug));
        }
        note_unguarded(pamh, &login);
        return Ok(false);
    }
    let decided = decide(&login, &line.read)?;
    if let Some(record) = &decided.broken {
        libpam::log(pamh, SESSION, record);
    }
    if decided.settings.limit.is_none() {
        let cgroups = Cgroups::of(&Proc::default(), getpid());
        let record = login
            .record(Event::Exempt)
            .with_some(Key::Uid, decided.uid)
            .with_some(Key::Session, cgroups.session())
            .with(Key::Limit, "off")
            .with_some(Key::Rule, decided.settings.rule);
        libpam::log(pamh, SESSION, &record);
        note_unguarded(pamh, &login);
        return Ok(false);
    }
    let assignment = guard(pamh, login, line, decided)?;
    if !silent {
        announce::tell(pamh, &assignment.login, &assignment.settings);
    }
    Ok(true)
}

/// Checks before the session opens whether it could be guarded. If a login is refused here, its service can
/// tell the person. If a session fails to open, the login just ends.
pub fn preflight(pamh: &PamHandle, args: &[&CStr]) -> Result<(), Refusal> {
    let login = Login::of(pamh);
    let line = line(&login, args)?;
    // The session line puts on record that it skips this login.
    if exception(&login).is_some() {
        return Ok(());
    }
    // If a broken policy refuses nobody, the session line puts it on record. So there is one record for each
    // login.
    let settings = match decide(&login, &line.read) {
        Ok(decided) => decided.settings,
        Err(Refusal { goes_on: Some(_), .. }) => return Ok(()),
        Err(refusal) => return Err(refusal),
    };
    if settings.limit.is_none() {
        return Ok(());
    }
    let refusal = |error: &dyn Display| Refusal {
        code: PamResultCode::PAM_PERM_DENIED,
        goes_on: goes_on(settings.on_error),
        record: login.record(Event::Error).with(Key::Error, error),
    };
    if Proc::default().process(getpid()).is_none() {
        return Err(refusal(&"/proc is hidden or not mounted"));
    }
    access(HELPER, AccessFlags::X_OK).map_err(|e| refusal(&format_args!("{HELPER} cannot be started: {e}")))
}

/// Reads the options of the PAM line.
fn line(login: &Login, args: &[&CStr]) -> Result<Line, Refusal> {
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let read = Options::of_line(words.iter().map(String::as_str));
    read.map(|read| Line { words, read }).map_err(|bad| Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        goes_on: goes_on(bad.on_error),
        record: login
            .record(Event::Error)
            .with(Key::Argument, bad.word)
            .with(Key::Error, format_args!("cannot use the PAM line: {}", bad.problem)),
    })
}

/// The PAM line, as written and as read.
struct Line {
    words: Vec<String>,
    read: Options,
}

/// Why this login's session is skipped, if it is.
fn exception(login: &Login) -> Option<Exception> {
    // This asks logind itself, because users can fill the PAM environment through pam_env's user_readenv.
    let leader = getpid();
    let cgroup = Proc::default().cgroup(leader).unwrap_or_default();
    let told = Cgroups::parse(&cgroup).session().map(logind::kind_of);
    let session = told.or_else(|| logind::kind_led_by(leader, &cgroup)).unwrap_or_default();
    exceptions::exception(&login.service_text(), &session, login.rhost.is_some())
}

/// The settings that apply to a login.
struct Decided {
    /// The user's ID, if name services know it.
    uid: Option<u32>,
    settings: Settings,
    /// The record of a broken policy, if the PAM line applies instead.
    broken: Option<Record>,
}

/// Decides by the policy. If it is broken, the PAM line applies to everybody.
fn decide(login: &Login, line: &Options) -> Result<Decided, Refusal> {
    let person = Person::named(login.user());
    let login = Login { uid: person.uid(), ..login.clone() };
    let files = Files::of(line.conf_path());
    let settings = files.load().and_then(|policy| policy::resolve(line, &policy, &files, &login, &person));
    match settings {
        Ok(settings) => Ok(Decided { uid: login.uid, settings, broken: None }),
        Err(faults) => by_the_line(line, &files, login.uid, broken(&login, &faults)),
    }
}

/// The settings while the policy is broken. A PAM line without a limit guards nobody. Then `onerr=` decides.
/// But root can always log in, because only root can mend the policy.
fn by_the_line(line: &Options, files: &Files, uid: Option<u32>, record: Record) -> Result<Decided, Refusal> {
    let settings = Settings::of_line(line, files);
    if settings.limit.is_some() {
        let broken = Some(record.with(Key::Fallback, "the PAM line alone"));
        return Ok(Decided { uid, settings, broken });
    }
    let root = (uid == Some(0)).then_some("root can mend the policy");
    Err(Refusal {
        code: PamResultCode::PAM_SERVICE_ERR,
        goes_on: goes_on(settings.on_error).or(root),
        record,
    })
}

/// The record of a broken policy: its first fault, and the number of faults.
fn broken(login: &Login, faults: &[Fault]) -> Record {
    let record = login.record(Event::Error);
    let Some(Fault { file, at, word, problem }) = faults.first() else { return record };
    let (line, column) = at.unzip();
    record
        .with(Key::File, file.display())
        .with_some(Key::Line, line)
        .with_some(Key::Column, column)
        .with_some(Key::Argument, word.as_ref())
        .with(Key::Error, format_args!("cannot use the policy: {problem}"))
        .with_some(Key::Faults, Some(faults.len()).filter(|count| *count > 1))
}

/// Starts the helper for a session, and keeps its PID until the session closes. Returns what the helper was
/// told.
fn guard(pamh: &mut PamHandle, login: Login, line: Line, decided: Decided) -> Result<Assignment, Refusal> {
    let Decided { uid, settings, .. } = decided;
    let record = login.record(Event::Error);
    let goes_on = goes_on(settings.on_error);
    let refusal = |error: &dyn Display| Refusal {
        code: PamResultCode::PAM_SESSION_ERR,
        goes_on,
        record: record.clone().with(Key::Error, error),
    };
    if login.user.is_none() {
        return Err(refusal(&"no user is named"));
    }
    let leader = getpid();
    let streams = || Proc::default().descriptors(leader).map(|fd| Stream::of(&fd));
    let client = |rhost: &OsString| client::of_client(streams(), rhost);
    let connection = login.rhost.as_ref().and_then(client);
    let login = Login { uid, ..login };
    let assignment = Assignment { login, leader, connection, adopted: None, line: line.words, settings };
    let begun = begin(pamh, &assignment.login);
    let armed = begun.and_then(|ticket| start(pamh, ticket, &assignment));
    armed.map(|()| assignment).map_err(|why| {
        let refused = if goes_on.is_none() { libpam::kept(pamh).flatten() } else { None };
        // The login fails, so the session does not count as a session of this process.
        if let Some(Opened { ticket, .. }) = refused {
            registry::end(ticket);
            let _ = libpam::keep(pamh, None, ended);
        }
        refusal(&why)
    })
}

/// Starts the helper, and keeps its PID.
fn start(pamh: &mut PamHandle, ticket: u64, assignment: &Assignment) -> Result<(), String> {
    let path = CString::new(HELPER).map_err(|e| e.to_string())?;
    // This opens our own PID, so it cannot be the descriptor of another process.
    let helper = PidFd::open(getpid())
        .map_err(spawn::Failure::from)
        .and_then(|leader| spawn::start(&path, &assignment.to_args(), &leader, BUDGET))
        .map_err(|e| format!("{HELPER} {e}"))?;
    if !registry::guarded_by(ticket, helper) {
        spawn::discard(helper);
        return Err(SEVERAL_SESSIONS.to_owned());
    }
    libpam::keep(pamh, Some(opened(ticket, Some(helper))), ended).map_err(|code| {
        // close_session would not know this helper. The helper would then take the session's end for the
        // leader's death.
        spawn::discard(helper);
        format!("pam_set_data failed with code {code}")
    })
}

/// Why no session of a process with several sessions can be guarded.
const SEVERAL_SESSIONS: &str =
    "the process that opens this session has opened another, and one cannot be ended alone";

/// Notes that this process begins a session. If it has other sessions, neither they nor this one are guarded
/// from now on.
fn begin(pamh: &mut PamHandle, login: &Login) -> Result<u64, String> {
    // An earlier try in this transaction could not be guarded. This is the next try.
    if let Some(earlier) = libpam::kept(pamh).flatten() {
        registry::end(earlier.ticket);
    }
    let lives = |helper| find(helper).is_some();
    let Begun { ticket, shared, helpers } = registry::begin(&login.service, login.user(), lives)
        .ok_or("the list of this process's sessions is in use")?;
    // The ticket is kept already now, because this process serves the session even if it is not guarded.
    libpam::keep(pamh, Some(opened(ticket, None)), ended).map_err(|code| {
        registry::end(ticket);
        format!("pam_set_data failed with code {code}")
    })?;
    for helper in helpers {
        // A helper that has left meanwhile need not be told.
        let _ = tell(helper, SHARED_SIGNAL, getpid());
    }
    if shared { Err(SEVERAL_SESSIONS.to_owned()) } else { Ok(ticket) }
}

/// Notes a session that is left alone. This process serves it, too, so it must not be ended because of another
/// session.
fn note_unguarded(pamh: &mut PamHandle, login: &Login) {
    // No login is refused because of this.
    let _ = begin(pamh, login);
}

fn opened(ticket: u64, helper: Option<ProcId>) -> Opened {
    Opened { ticket, opener: getpid(), helper }
}

/// Tells a helper something about the session that `opener` opened.
fn tell(helper: ProcId, signal: i32, opener: Pid) -> Option<PidFd> {
    find(helper).filter(|helper| helper.queue(signal, opener.as_raw()).is_ok())
}

/// A helper that has not ended.
fn find(helper: ProcId) -> Option<PidFd> {
    PidFd::of(&Proc::default(), helper).filter(|helper| !helper.has_exited())
}

/// Handles a transaction that has ended without closing its session.
fn ended(state: State, how: Ended) {
    let Some(Opened { ticket, opener, .. }) = state else { return };
    // A forked child has ended its copy of the transaction. The session belongs to its parent.
    if getpid() != opener {
        return;
    }
    match how {
        // Another module refused the session after ours had guarded it.
        Ended::Failed => {
            if let Some(helper) = registry::end(ticket) {
                let _ = tell(helper, CLOSE_SIGNAL, opener);
            }
        }
        // Samba and JupyterHub do this: the session goes on, and another transaction will close it.
        Ended::Well => registry::detach(ticket),
    }
}

/// Tells the helper that the session closes. If the helper is already ending the session, it goes on.
pub fn close(pamh: &mut PamHandle) {
    let Some(Opened { ticket, opener, .. }) = open_in(pamh) else {
        return;
    };
    // The helper is told once. A second close, or a new session in this transaction, does not find it.
    let forgotten = libpam::keep(pamh, None, ended).is_ok();
    let Some(helper) = registry::end(ticket) else { return };
    // systemd closes the session in a child that runs as the person. This child may not signal the helper, but
    // the helper then sees that its leader has ended.
    if !geteuid().is_root() {
        return;
    }
    // The command may have started another helper after ours was killed. It knows only the leader. All processes
    // are searched for it, so this is done only if our helper is gone.
    let told = tell(helper, CLOSE_SIGNAL, opener)
        .or_else(|| running::helper_of(opener).and_then(|adopter| tell(adopter, CLOSE_SIGNAL, opener)));
    match told {
        // The opener does not know that its child has closed the session. The helper must be gone before the
        // opener begins its next session.
        Some(told) if getpid() != opener => told.wait_for_exit(LEAVING),
        Some(_) => {}
        // The helper leaves when its leader ends. That may be before a child of the leader closes the session.
        None if forgotten && lives(opener) => {
            let record = Login::of(pamh).record(Event::Error).with(Key::Helper, helper.pid);
            let error = "the watchdog was gone before the session closed";
            libpam::log(pamh, SESSION, &record.with(Key::Error, error));
        }
        None => {}
    }
}

/// Whether the process exists and has not ended.
fn lives(pid: Pid) -> bool {
    Proc::default().process(pid).is_some_and(|process| !process.dead)
}

/// How long a helper may take to leave. Normally it takes a millisecond.
const LEAVING: Nanos = SECOND;

/// The session that a transaction closes. Either this transaction opened it, or another one that has ended
/// since.
fn open_in(pamh: &PamHandle) -> State {
    libpam::kept(pamh).flatten().or_else(|| {
        let login = Login::of(pamh);
        let ticket = registry::detached(&login.service, login.user.as_deref()?)?;
        Some(opened(ticket, None))
    })
}
