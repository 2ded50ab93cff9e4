//! Ring 1: what the module returns to libpam, and what it logs. libpam itself loads the module that `make` has
//! built, from service files of the tests. This needs no root and changes nothing on the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "pam/examples.rs"]
mod examples;
#[path = "support/libpam.rs"]
mod libpam;
#[path = "pam/stack.rs"]
mod stack;

use std::ffi::c_int;
use std::fs;
use std::path::Path;
use std::thread;

use libpam::*;
use stack::{Call, JOURNAL, Stack};

// This is from security/_pam_types.h.
const PAM_SUCCESS: c_int = 0;
const PAM_SERVICE_ERR: c_int = 3;
/// The result of libpam for a stack in which every module returns PAM_IGNORE.
const PAM_PERM_DENIED: c_int = 6;
const PAM_SESSION_ERR: c_int = 14;
const PAM_ESTABLISH_CRED: c_int = 2;

/// Lines that cannot be read, and the argument that is wrong.
const BAD_LINES: [(&str, &str); 22] = [
    ("timeot=5m", "timeot=5m"),
    ("conf=etc/x", "conf=etc/x"),
    ("15m", "15m"),
    ("=15m", "=15m"),
    ("TIMEOUT=15m", "TIMEOUT=15m"),
    ("timeout", "timeout"),
    ("timeout=", "timeout="),
    ("timeout=15min", "timeout=15min"),
    ("timeout=-1", "timeout=-1"),
    ("timeout=9", "timeout=9"),
    ("timeout=366d", "timeout=366d"),
    ("timeout=99999999999999999999", "timeout=99999999999999999999"),
    ("timeout=15m timeout=15m", "timeout=15m"),
    ("warn=15m", "warn=15m"),
    ("timeout=1m warn=90", "warn=90"),
    ("grace=301s", "grace=301s"),
    ("kill=all", "kill=all"),
    ("kill", "kill"),
    ("onerr=ignore", "onerr=ignore"),
    ("quiet=yes", "quiet=yes"),
    ("debug debug", "debug"),
    ("[timeout=15m warn=60]", "timeout=15m warn=60"),
];

/// The field that names an argument.
fn argument(word: &str) -> String {
    if word.contains(' ') { format!("argument=\"{word}\"") } else { format!("argument={word}") }
}

/// Without journald, the same line goes through libpam, which the other tests show.
#[test]
fn journald_gets_an_entry_with_the_line_of_libpam_and_libpam_gets_nothing() {
    let stack = Stack::new(
        "journal",
        Some("nobody"),
        "session required @MODULE@ bogus\naccount required @MODULE@ bogus\nauth required @MODULE@\npassword required @MODULE@",
    );
    let calls: [(&str, Call, c_int); 5] = [
        ("session", pam_open_session, 0),
        ("account", pam_acct_mgmt, 0),
        ("auth", pam_authenticate, 0),
        ("setcred", pam_setcred, PAM_ESTABLISH_CRED),
        ("chauthtok", pam_chauthtok, 0),
    ];
    let ident = std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    for (name, call, flags) in calls {
        let (_, lines) = stack.call(call, flags);
        let [(priority, text)] = lines.as_slice() else { panic!("{name}: {lines:?}") };
        JOURNAL.set(Some(Vec::new()));
        let (_, lines) = stack.call(call, flags);
        assert_eq!(lines, [], "{name}");
        let entries = JOURNAL.take().unwrap();
        let [(entry, socket)] = entries.as_slice() else { panic!("{name}: {entries:?}") };
        // Other tests may close theirs meanwhile.
        let open =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        assert!(!open.into_iter().any(|open| open == *socket), "{name}: the module keeps {socket:?}");
        let entry = String::from_utf8(entry.clone()).unwrap();
        let has =
            |field: &str| assert!(entry.lines().any(|line| line == field), "{name}: no {field} in {entry}");
        has(&format!("MESSAGE=pam_idle_watchdog(journal:{name}): {text}"));
        has(&format!("PRIORITY={priority}"));
        has("SYSLOG_FACILITY=10");
        has(&format!("SYSLOG_IDENTIFIER={ident}"));
        has("IDLE_WATCHDOG_EVENT=error");
        has("IDLE_WATCHDOG_USER=nobody");
    }
}

#[test]
fn a_line_that_cannot_be_read_fails_and_the_log_names_the_argument() {
    for (line, word) in BAD_LINES {
        let (code, logged) = Stack::session("sshd", line).open();
        assert_eq!(code, PAM_SERVICE_ERR, "{line}");
        let [(priority, text)] = logged.as_slice() else { panic!("{line}: {logged:?}") };
        assert_eq!(*priority, libc::LOG_ERR, "{line}: {text}");
        assert!(
            text.starts_with(&format!(
                "error user=nobody {} error=\"cannot use the PAM line: ",
                argument(word)
            )),
            "{line}: {text}"
        );
    }
}

#[test]
fn with_onerr_succeed_it_does_not_fail_and_is_logged_all_the_same() {
    for (line, word) in BAD_LINES.into_iter().filter(|(line, _)| !line.contains("onerr")) {
        for line in [format!("{line} onerr=succeed"), format!("onerr=succeed {line}")] {
            let (code, logged) = Stack::session("sshd", &line).open();
            assert_eq!(code, PAM_SUCCESS, "{line}");
            let [(first, text), (second, on)] = logged.as_slice() else { panic!("{line}: {logged:?}") };
            assert_eq!((*first, *second), (libc::LOG_ERR, libc::LOG_ERR), "{line}");
            assert!(text.contains(&argument(word)), "{line}: {text}");
            assert!(on.contains("unguarded"), "{line}: {on}");
        }
    }
}

#[test]
fn only_onerr_is_read_from_a_bad_line() {
    // Not even that the session is skipped or exempt.
    for (service, line) in [("cron", "bogus"), ("sshd", "timeout=off bogus")] {
        assert_eq!(Stack::session(service, line).open().0, PAM_SERVICE_ERR, "{service} {line}");
    }
    // An option that cannot be read does not count as succeed.
    assert_eq!(Stack::session("sshd", "bogus onerr=succed").open().0, PAM_SERVICE_ERR);
}

/// The module returns PAM_IGNORE. Alone, it leaves libpam without a result. Beside another module it does not
/// count. (Any other code would show in one of the two stacks.) Only `log` is logged.
#[track_caller]
fn assert_ignored(service: &str, words: &str, env: &[&str], log: Option<(c_int, &str)>) {
    let line = format!("session required @MODULE@ {words}");
    for (lines, expected) in
        [(line.clone(), PAM_PERM_DENIED), (format!("{line}\nsession required pam_permit.so"), PAM_SUCCESS)]
    {
        let stack = Stack::new(service, Some("nobody"), &lines);
        env.iter().for_each(|setting| stack.put_env(setting));
        let (code, logged) = stack.open();
        assert_eq!(code, expected, "{service} {words} {env:?}: {logged:?}");
        match (log, logged.as_slice()) {
            (None, []) => {}
            (Some((priority, begin)), [(seen, text)]) if *seen == priority && text.starts_with(begin) => {}
            _ => panic!("{service} {words} {env:?}: {logged:?}"),
        }
    }
}

#[test]
fn jobs_are_ignored() {
    for service in ["cron", "crond", "atd", "systemd-user"] {
        assert_ignored(service, "timeout=15m", &[], None);
    }
    let because = "skipped user=nobody reason=\"service cron\"";
    assert_ignored("cron", "timeout=15m debug", &[], Some((libc::LOG_DEBUG, because)));
}

#[test]
fn an_exempt_session_is_ignored_and_on_record() {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("a user called nobody");
    let begin = format!("exempt user=nobody uid={} ", nobody.uid);
    let exempt = Some((libc::LOG_INFO, begin.as_str()));
    assert_ignored("sshd", "timeout=off", &["XDG_SESSION_CLASS=user", "XDG_SESSION_TYPE=tty"], exempt);
    assert_ignored("sshd", "timeout=off warn=2h kill=none quiet", &[], exempt);
}

#[test]
fn a_session_that_cannot_be_guarded_fails() {
    let line = "session required @MODULE@ timeout=15m";
    let stack = Stack::new("sshd", None, line);
    let (code, logged) = stack.open();
    assert_eq!(code, PAM_SESSION_ERR, "{logged:?}");
    let [(libc::LOG_ERR, text)] = logged.as_slice() else { panic!("{logged:?}") };
    assert_eq!(text, "error error=\"no user is named\"");
    drop(stack);

    let stack = Stack::new("sshd", None, &format!("{line} onerr=succeed"));
    let (code, logged) = stack.open();
    assert_eq!(code, PAM_SUCCESS, "{logged:?}");
    assert!(logged.len() == 2 && logged.iter().all(|(priority, _)| *priority == libc::LOG_ERR), "{logged:?}");
}

/// Opens a session in a thread that does not run as root, even if root runs the test.
fn open_unprivileged(words: &'static str) -> (c_int, Vec<(c_int, String)>) {
    open_unprivileged_with(words, &[])
}

/// The same, with a PAM environment.
fn open_unprivileged_with(
    words: &'static str,
    env: &'static [&'static str],
) -> (c_int, Vec<(c_int, String)>) {
    unprivileged(move || {
        let stack = Stack::session("sshd", words);
        env.iter().for_each(|setting| stack.put_env(setting));
        stack
    })
}

/// Opens a session of a stack in a thread that does not run as root.
fn unprivileged(stack: impl FnOnce() -> Stack + Send + 'static) -> (c_int, Vec<(c_int, String)>) {
    let unprivileged = move || {
        // libpam reads and loads all that it needs now, because later the thread may not be allowed to.
        let stack = stack();
        if nix::unistd::geteuid().is_root() {
            const NOBODY: libc::uid_t = 65_534;
            // SAFETY: a system call on integers. Without glibc's wrapper only this thread changes its IDs, and
            // the thread ends here.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(done, 0);
        }
        let directory = stack.directory.clone();
        let opened = stack.open();
        stack.call(pam_close_session, 0);
        (opened, directory)
    };
    let (answer, directory) = thread::spawn(unprivileged).join().unwrap();
    let _ = fs::remove_dir_all(directory);
    answer
}

#[test]
fn without_root_there_is_no_watchdog_and_the_session_fails() {
    let (code, logged) = open_unprivileged("timeout=15m");
    assert_eq!(code, PAM_SESSION_ERR, "{logged:?}");
    let [(libc::LOG_ERR, text)] = logged.as_slice() else { panic!("{logged:?}") };
    assert!(text.starts_with("error user=nobody error=") && text.contains("cannot be started"), "{text}");

    let (code, logged) = open_unprivileged("timeout=15m onerr=succeed");
    assert_eq!(code, PAM_SUCCESS, "{logged:?}");
    let [(libc::LOG_ERR, _), (libc::LOG_ERR, on)] = logged.as_slice() else { panic!("{logged:?}") };
    assert!(on.contains("unguarded"), "{on}");
}

#[test]
fn the_pam_environment_exempts_nobody() {
    // Users can fill it through pam_env's user_readenv.
    for env in [
        &["XDG_SESSION_TYPE=wayland", "XDG_SESSION_CLASS=greeter"][..],
        &["XDG_SESSION_CLASS=background", "XDG_SESSION_ID=1"],
    ] {
        let (code, logged) = open_unprivileged_with("timeout=15m", env);
        assert_eq!(code, PAM_SESSION_ERR, "an attempt to guard it: {logged:?}");
    }
}

#[test]
fn closing_succeeds_whatever_happened_before() {
    for words in ["timeout=15m", "timeout=off", "bogus"] {
        let (code, logged) = Stack::session("sshd", words).call(pam_close_session, 0);
        assert_eq!((code, logged), (PAM_SUCCESS, vec![]), "{words}");
    }
}

#[test]
fn lines_of_another_type_fail() {
    let hooks: [(&str, Call, c_int); 3] = [
        ("auth", pam_authenticate, 0),
        ("auth", pam_setcred, PAM_ESTABLISH_CRED),
        ("password", pam_chauthtok, 0),
    ];
    for (kind, call, flags) in hooks {
        // A second module that returns success must not let anybody in.
        for words in ["", "timeout=15m onerr=succeed"] {
            let lines = format!("{kind} required @MODULE@ {words}\n{kind} required pam_permit.so");
            let (code, logged) = Stack::new("sshd", Some("nobody"), &lines).call(call, flags);
            assert_eq!(code, PAM_SERVICE_ERR, "{kind} {words}");
            let [(libc::LOG_ERR, text)] = logged.as_slice() else { panic!("{kind}: {logged:?}") };
            assert!(text.contains(&format!("a line of type {kind} is a mistake")), "{text}");
        }
    }
}

/// An account stack with only our line. The line has these options.
fn account(service: &str, words: &str) -> (c_int, Vec<(c_int, String)>) {
    let line = format!("account required @MODULE@ {words}");
    Stack::new(service, Some("nobody"), &line).call(pam_acct_mgmt, 0)
}

/// The account line returns PAM_IGNORE, like the session line in [`assert_ignored`], and logs so many errors.
/// It lets nobody in if the module after it refuses.
#[track_caller]
fn assert_account_ignored(service: &str, words: &str, errors: usize) {
    let (code, logged) = account(service, words);
    assert_eq!(code, PAM_PERM_DENIED, "{service} {words}: {logged:?}");
    assert_eq!(logged.len(), errors, "{service} {words}: {logged:?}");
    assert!(logged.iter().all(|(priority, _)| *priority == libc::LOG_ERR), "{logged:?}");
    for control in ["required", "requisite", "sufficient", "[success=done default=die ignore=ignore]"] {
        for (module, lets_in) in [("pam_permit.so", true), ("pam_deny.so", false)] {
            let lines = format!("account {control} @MODULE@ {words}\naccount required {module}");
            let (code, logged) = Stack::new(service, Some("nobody"), &lines).call(pam_acct_mgmt, 0);
            assert_eq!(
                code == PAM_SUCCESS,
                lets_in,
                "{service} {control} {words} {module}: {code} {logged:?}"
            );
        }
    }
}

#[test]
fn the_account_line_skips_the_same_logins_as_the_session_line() {
    assert_account_ignored("cron", "timeout=15m", 0);
    // The session line writes the record about this.
    assert_account_ignored("sshd", "timeout=off", 0);
}

#[test]
fn the_account_line_lets_nobody_in_whom_another_module_refuses() {
    // The helper may be installed or not. Even if a login would go on unguarded, the line does not let it in.
    let (_, logged) = account("sshd", "timeout=15m onerr=succeed");
    assert_account_ignored("sshd", "timeout=15m onerr=succeed", logged.len());
    assert_account_ignored("sshd", "bogus onerr=succeed", 2);
}

/// The result of a session or account stack with our line if there is no policy.
fn without_policy(call: Call, kind: &str, user: &str, words: &str) -> (c_int, Vec<(c_int, String)>) {
    let line = format!("{kind} required @MODULE@ {words} conf={CONF}\n{kind} required pam_permit.so");
    Stack::new("sshd", Some(user), &line).call(call, 0)
}

const CONF: &str = "/nonexistent/idle.conf";

/// The only record with the severity error is about the policy.
#[track_caller]
fn policy_record(logged: &[(c_int, String)]) -> &str {
    let of_policy = |(_, text): &&(c_int, String)| text.contains(&format!("file={CONF}"));
    let found: Vec<_> = logged.iter().filter(of_policy).collect();
    let [(libc::LOG_ERR, text)] = found[..] else { panic!("{logged:?}") };
    assert!(text.starts_with("error user="), "{text}");
    assert!(text.contains(&format!("file={CONF} error=\"cannot use the policy: No such file")), "{text}");
    text
}

#[test]
fn while_the_policy_is_broken_the_line_guards_everybody() {
    // This test cannot start a watchdog. So the session fails for that reason, and not because of the policy.
    let (code, logged) = open_unprivileged("timeout=15m conf=/nonexistent/idle.conf");
    assert_eq!(code, PAM_SESSION_ERR, "{logged:?}");
    let text = policy_record(&logged);
    assert!(text.ends_with("fallback=\"the PAM line alone\""), "{text}");
    assert!(logged.len() == 2 && logged[1].1.contains("cannot be started"), "{logged:?}");
    // The account line leaves the record to the session line.
    let (_, logged) = without_policy(pam_acct_mgmt, "account", "nobody", "timeout=15m onerr=succeed");
    assert!(logged.iter().all(|(_, text)| !text.contains(CONF)), "{logged:?}");
}

#[test]
fn while_the_policy_is_broken_onerr_decides_about_a_line_without_a_limit() {
    for (call, kind) in [(pam_open_session as Call, "session"), (pam_acct_mgmt, "account")] {
        let (code, logged) = without_policy(call, kind, "nobody", "timeout=off");
        assert_eq!(code, PAM_SERVICE_ERR, "{logged:?}");
        let text = policy_record(&logged);
        assert!(logged.len() == 1 && !text.contains("fallback="), "{logged:?}");
    }
    // Root can mend the policy, and so gets in.
    for (user, words, because) in [
        ("nobody", "timeout=off onerr=succeed", "reason=onerr=succeed"),
        ("root", "timeout=off", "reason=\"root can mend the policy\""),
    ] {
        let (code, logged) = without_policy(pam_open_session, "session", user, words);
        assert_eq!(code, PAM_SUCCESS, "{logged:?}");
        policy_record(&logged);
        let [_, (libc::LOG_ERR, on)] = logged.as_slice() else { panic!("{logged:?}") };
        assert!(on.starts_with(&format!("unguarded user={user}")) && on.contains(because), "{on}");
        let (code, logged) = without_policy(pam_acct_mgmt, "account", user, words);
        assert_eq!((code, logged), (PAM_SUCCESS, vec![]));
    }
    // A session that is skipped does not need the policy.
    assert_account_ignored("cron", &format!("timeout=off conf={CONF}"), 0);
}

#[test]
fn a_line_of_the_account_type_is_read_like_one_of_the_session() {
    for (line, word) in BAD_LINES {
        let (code, logged) = account("sshd", line);
        assert_eq!(code, PAM_SERVICE_ERR, "{line}");
        let [(libc::LOG_ERR, text)] = logged.as_slice() else { panic!("{line}: {logged:?}") };
        assert!(text.contains(&argument(word)), "{line}: {text}");
    }
}
