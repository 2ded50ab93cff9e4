//! The stacks of RHEL in pam.d-examples, run by libpam. What is not in Debian has a stand-in: the files that authselect
//! writes are below, and most modules are replaced by pam_permit.so.

use super::*;

/// What the profile `sssd` of authselect 1.2.6 (RHEL 8 and 9) and 1.5.0 writes into password-auth and system-auth,
/// without the lines for authentication.
const AUTH: &str = "
auth        required                                     pam_permit.so
account     required                                     pam_unix.so
account     sufficient                                   pam_localuser.so
account     sufficient                                   pam_usertype.so issystem
account     [default=bad success=ok user_unknown=ignore] pam_sss.so
account     required                                     pam_permit.so
password    required                                     pam_permit.so
session     optional                                     pam_keyinit.so revoke
session     required                                     pam_limits.so
-session    optional                                     pam_systemd.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
session     required                                     pam_unix.so
session     optional                                     pam_sss.so
";

/// What the same profile writes into postlogin. On new systems pam_lastlog2 is in the place of pam_lastlog.
const POSTLOGIN: &str = "
session     optional                   pam_umask.so silent
session     [success=1 default=ignore] pam_succeed_if.so service !~ gdm* service !~ su* quiet
session     [default=1]                pam_lastlog.so nowtmp showfailed
session     optional                   pam_lastlog.so silent noupdate showfailed
";

/// The modules for which pam_permit.so stands in.
const PERMIT: [&str; 16] = [
    "console",
    "keyinit",
    "lastlog",
    "limits",
    "localuser",
    "loginuid",
    "motd",
    "namespace",
    "nologin",
    "selinux",
    "sepermit",
    "sss",
    "umask",
    "unix",
    "usertype",
    "xauth",
];

/// A line of a stack, with what stands in for its module or the file that it includes. pam_warn.so stands in for
/// pam_systemd, because it logs that it was called.
fn with_stand_in(line: &str) -> String {
    let [kind, control, file, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return line.to_owned();
    };
    if kind.starts_with('#') {
        return line.to_owned();
    }
    if ["include", "substack"].contains(&control) {
        return format!("{kind} {control} @DIRECTORY@/{file}");
    }
    // A control in brackets has spaces.
    let file = line.split_whitespace().find(|word| word.ends_with(".so")).unwrap();
    let (head, tail) = line.split_once(file).unwrap();
    match file.trim_start_matches("pam_").trim_end_matches(".so") {
        "idle_watchdog" => format!("{head}@MODULE@{tail}"),
        "systemd" => format!("{head}pam_warn.so"),
        // Debian has these two. No system has the third, and its line says that it may be missing.
        "permit" | "succeed_if" | "ck_connector" => line.to_owned(),
        name => {
            assert!(PERMIT.contains(&name), "nothing stands in for {file}");
            format!("{head}pam_permit.so")
        }
    }
}

/// An edited example.
type Change = fn(&str) -> String;

/// An example, edited.
fn example(service: &str, change: Change) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("pam.d-examples/{service}.rhel"));
    change(&fs::read_to_string(path).unwrap())
}

/// The stack of an example.
fn stack(service: &str, change: Change) -> Stack {
    stack_of(service, &example(service, change), POSTLOGIN)
}

fn stack_of(service: &str, lines: &str, postlogin: &str) -> Stack {
    let files = [(service, lines), ("password-auth", AUTH), ("system-auth", AUTH), ("postlogin", postlogin)];
    let files =
        files.map(|(name, text)| (name, text.lines().map(with_stand_in).collect::<Vec<_>>().join("\n")));
    Stack::of(service, Some("nobody"), &files.each_ref().map(|(name, text)| (*name, text.as_str())))
}

fn as_it_is(example: &str) -> String {
    example.to_owned()
}

fn strict(example: &str) -> String {
    example.replace(" onerr=succeed", "")
}

fn of_rhel_8(example: &str) -> String {
    let without_sign =
        example.replace("#session    optional     pam_console.so", "session    optional     pam_console.so");
    assert_ne!(without_sign, example, "the example has no line for RHEL 8");
    without_sign
}

const EXAMPLES: [(&str, Change); 3] = [("sshd", as_it_is), ("login", as_it_is), ("login", of_rhel_8)];

#[test]
fn in_the_stacks_of_rhel_the_line_runs_after_pam_systemd_and_its_result_counts() {
    for (service, change) in EXAMPLES {
        let (code, logged) = unprivileged(move || stack(service, change));
        assert_eq!(code, PAM_SUCCESS, "{service}: {logged:?}");
        let [(_, systemd), (_, tried), (_, on)] = logged.as_slice() else { panic!("{service}: {logged:?}") };
        assert!(systemd.starts_with("function=["), "pam_warn was called first: {logged:?}");
        assert!(tried.contains("cannot be started") && on.starts_with("unguarded"), "{logged:?}");
        // A watchdog that cannot be started is the one reason for which the strict line refuses the session.
        let (code, logged) = unprivileged(move || stack(service, strict));
        assert_eq!(code, PAM_SESSION_ERR, "{service}: {logged:?}");
    }
}

#[test]
fn in_the_stack_of_rhel_the_account_line_decides_though_password_auth_ends_the_stack_early() {
    // The test breaks the line, because whether a session could be guarded depends on the machine.
    let broken = |example: &str| example.replace("timeout=15m onerr=succeed", "bogus");
    let (code, logged) = stack("sshd", broken).call(pam_acct_mgmt, 0);
    assert_eq!(code, PAM_SERVICE_ERR, "{logged:?}");
    let (code, logged) = stack("sshd", as_it_is).call(pam_acct_mgmt, 0);
    assert_eq!(code, PAM_SUCCESS, "{logged:?}");
}

#[test]
fn the_other_lines_of_the_stacks_of_rhel_can_be_read() {
    for (service, change) in EXAMPLES {
        let stack = stack(service, change);
        for call in [pam_authenticate as Call, pam_chauthtok, pam_acct_mgmt, pam_close_session] {
            let (code, logged) = stack.call(call, 0);
            assert_eq!(code, PAM_SUCCESS, "{service}: {logged:?}");
        }
    }
}

/// The line of docs/rhel.md as authselect writes it: without its condition.
fn line_of_the_custom_profile() -> String {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rhel.md")).unwrap();
    let mut lines =
        document.lines().filter_map(|line| line.split_once("{include if \"with-idle-watchdog\"}"));
    lines.next().expect("docs/rhel.md shows the line").0.trim().to_owned()
}

#[test]
fn at_the_end_of_postlogin_the_line_of_the_custom_profile_runs_after_pam_systemd() {
    let without_ours = |example: &str| {
        let others = example.lines().filter(|line| !line.contains("pam_idle_watchdog.so"));
        others.collect::<Vec<_>>().join("\n")
    };
    // The session lines of RHEL 9's su. For su the lines of postlogin jump in another way than for sshd.
    let su =
        "session include system-auth\nsession include postlogin\nsession optional pam_xauth.so".to_owned();
    let stacks =
        [("sshd", example("sshd", without_ours)), ("login", example("login", without_ours)), ("su", su)];
    for (service, lines) in stacks {
        let postlogin = format!("{POSTLOGIN}{}", line_of_the_custom_profile());
        let (code, logged) = unprivileged(move || stack_of(service, &lines, &postlogin));
        assert_eq!(code, PAM_SUCCESS, "{service}: {logged:?}");
        let [(_, systemd), (_, tried), (_, on)] = logged.as_slice() else { panic!("{service}: {logged:?}") };
        assert!(systemd.starts_with("function=["), "{logged:?}");
        assert!(tried.contains("cannot be started") && on.starts_with("unguarded"), "{logged:?}");
    }
}
