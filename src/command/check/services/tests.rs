//! The warnings about the stacks of a machine.

use super::*;
use crate::command::test_tree::Tree;

const LINE: &str = "session required pam_idle_watchdog.so timeout=15m";

/// The text for each service of a tree, and all warnings.
fn looked(tree: &Tree, policy: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let machine = tree.machine();
    let policies = Policies::new(Some(Policy::parse(PathBuf::from("/f"), policy).unwrap()));
    let services = all(&machine, &policies);
    let (mut found, _) = general(&machine, &policies, &services);
    found.extend(services.iter().flat_map(|service| service.findings.iter().cloned()));
    // If the tests do not run as root, all files have another owner than root.
    found.retain(|finding| nix::unistd::geteuid().is_root() || !finding.ends_with("is not owned by root"));
    (services.into_iter().map(|service| (service.name, service.text)).collect(), found)
}

/// The text for sshd with these lines in its stack, and all warnings.
fn sshd(ours: &str, policy: &str) -> (String, Vec<String>) {
    let (mut services, found) = looked(&Tree::with(ours), policy);
    (services.remove("sshd").unwrap(), found)
}

/// Asserts that no session is ended, for this reason.
#[track_caller]
fn assert_nobody(ours: &str, policy: &str, because: &str) {
    let (text, found) = sshd(ours, policy);
    assert!(text.starts_with("ends no session, because ") && text.contains(because), "{text}");
    assert!(found.contains(&"sshd: no session is ended".to_owned()), "{found:?}");
}

/// Asserts that sessions are ended, and that there is this one warning.
#[track_caller]
fn assert_warning(ours: &str, warnings: &str) {
    let (text, found) = sshd(ours, "");
    assert!(text.starts_with("ends after 15m, kill=session"), "{text}");
    assert!(matches!(&found[..], [one] if one.starts_with("sshd: ") && one.contains(warnings)), "{found:?}");
}

#[test]
fn a_correct_line_ends_sessions_without_a_warning() {
    let (text, found) = sshd(LINE, "");
    assert_eq!((text.as_str(), found), ("ends after 15m, kill=session, by /etc/pam.d/sshd:9", vec![]));
    let (text, found) = sshd(LINE, "alice * * * timeout=off\n* * * * timeout=5m kill=tty\n");
    assert_eq!((text.as_str(), found), ("ends after 5m, kill=tty, by /etc/pam.d/sshd:9 and /f:2", vec![]));
}

#[test]
fn settings_that_end_no_session_are_found() {
    assert_nobody(&format!("{LINE} kill=none"), "* * * * quiet\n", "/etc/pam.d/sshd:9 says kill=none");
    assert_nobody(&format!("{LINE} kill=none"), "", "/etc/pam.d/sshd:9 says kill=none");
    assert_nobody(LINE, "root * * * timeout=5m\n* * * * kill=none\n", "/f:2 says kill=none");
    assert_nobody(
        "session required pam_idle_watchdog.so timeout=off",
        "",
        "/etc/pam.d/sshd:9 says timeout=off",
    );
    assert_nobody(LINE, "* sshd * * timeout=off\n", "/f:1 says timeout=off");
    assert_nobody(
        &format!("{LINE} timeot=5m"),
        "",
        "no session opens: /etc/pam.d/sshd:9: timeot=5m: unknown",
    );
    assert_nobody(&format!("{LINE} timeot=5m onerr=succeed"), "", "open unguarded: /etc/pam.d/sshd:9");
}

#[test]
fn a_rule_that_exempts_everybody_at_a_terminal_or_by_id_is_found() {
    assert_nobody(LINE, "uid:0- * * * timeout=off\n", "/f:1 says timeout=off");
    let two = "uid:0-999 * * * timeout=off\nuid:1000- * * * kill=none\n";
    assert_nobody(LINE, two, "/f:1 says timeout=off, /f:2 says kill=none");
    let tree = Tree::with(LINE);
    tree.put("etc/pam.d/login", &format!("@include common-session\n{LINE}\n"));
    let (services, found) = looked(&tree, "* * tty*,ssh * kill=none\n");
    assert_eq!(services["sshd"], "ends no session, because /f:1 says kill=none");
    let not = "sessions of an ordinary user at tty1 are not ended, because /f:1 says kill=none";
    assert!(
        services["login"].starts_with("ends after 15m") && services["login"].contains(not),
        "{services:?}"
    );
    assert!(found.contains(&format!("login: {not}")), "{found:?}");
    let (_, found) = looked(&tree, "* login tty* local timeout=off\n");
    let not = "login: sessions of an ordinary user at tty1 are not ended, because /f:1 says timeout=off";
    assert_eq!(found, [not]);
    // An exemption of uid 0 alone is shown, but is not a warning.
    let (services, found) = looked(&tree, "uid:0 * * * timeout=off\n");
    assert!(
        services["sshd"].ends_with("; sessions of uid 0 at ssh are not ended, because /f:1 says timeout=off")
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn without_the_helper_no_session_is_ended() {
    let helper = crate::protocol::start::HELPER;
    let says = |line: &str| {
        let tree = Tree::with(line);
        tree.remove(helper.trim_start_matches('/'));
        looked(&tree, "").0["sshd"].clone()
    };
    let begins = |outcome: &str| format!("ends no session, because {outcome}: the helper {helper}: ");
    assert!(says(LINE).starts_with(&begins("no session opens")), "{}", says(LINE));
    for line in [&format!("{LINE} onerr=succeed"), "session optional pam_idle_watchdog.so"] {
        assert!(says(line).starts_with(&begins("sessions open unguarded")), "{}", says(line));
    }
}

#[test]
fn a_module_that_is_not_loaded_is_found() {
    let because = |change: &dyn Fn(&Tree), line: &str| {
        let tree = Tree::with(line);
        change(&tree);
        let (services, _) = looked(&tree, "");
        services["sshd"].clone()
    };
    let missing = because(&|tree| tree.remove(&Tree::module()), LINE);
    assert!(missing.starts_with("ends no session, because no session opens: "), "{missing}");
    assert!(
        missing.contains("there is no pam_idle_watchdog.so in /usr/lib/any-linux-any/security"),
        "{missing}"
    );
    let line = "session optional pam_idle_watchdog.so";
    let missing = because(&|tree| tree.remove(&Tree::module()), line);
    assert!(missing.contains("because /etc/pam.d/sshd:9: there is no"), "{missing}");
    let text = because(&|tree| tree.put(&Tree::module(), "no shared object at all"), LINE);
    assert!(text.contains("is not a shared object"), "{text}");
    let foreign = [b"\x7fELF\x09".as_slice(), &[0; 30]].concat();
    let text = because(&|tree| tree.put_bytes(&Tree::module(), &foreign), LINE);
    assert!(text.contains("another kind of processor"), "{text}");
    let cut = Tree::elf()[..100].to_vec();
    let text = because(&|tree| tree.put_bytes(&Tree::module(), &cut), LINE);
    assert!(text.contains("is truncated"), "{text}");
    for name in ["pam_sm_open_session", "pam_idle_watchdog"] {
        let mut other = Tree::elf();
        let at = other.windows(name.len()).position(|part| part == name.as_bytes()).unwrap();
        other[at] = b'x';
        let text = because(&|tree| tree.put_bytes(&Tree::module(), &other), LINE);
        assert!(text.contains("is not the pam_idle_watchdog module"), "{text}");
    }
    // Debian's libpam searches this directory last, and only for a line without a path.
    let moved = |tree: &Tree| {
        tree.put_bytes("lib/security/pam_idle_watchdog.so", &Tree::elf());
        tree.remove(&Tree::module());
    };
    assert!(because(&moved, LINE).starts_with("ends after 15m"));
    let text = because(&moved, "-session required /usr/lib/security/pam_idle_watchdog.so");
    assert!(text.contains("/usr/lib/security/pam_idle_watchdog.so does not exist"), "{text}");
    let text = because(&|_| (), "session required other/pam_idle_watchdog.so");
    assert!(text.contains("there is no other/pam_idle_watchdog.so in"), "{text}");
}

#[test]
fn a_module_that_others_may_write_is_found() {
    let tree = Tree::with(LINE);
    let found = |tree: &Tree, why: &str| {
        let said = format!("sshd: the module {} {why}", tree.machine().file(&Tree::module()).display());
        looked(tree, "").1.contains(&said)
    };
    if !nix::unistd::geteuid().is_root() {
        // All files of this tree have another owner than root.
        return assert!(looked(&tree, "").0["sshd"].starts_with("ends after 15m"));
    }
    assert!(!found(&tree, "is writable by users other than root"));
    tree.allow(&Tree::module(), 0o664);
    assert!(found(&tree, "is writable by users other than root"));
    std::os::unix::fs::chown(tree.machine().file(&Tree::module()), Some(65534), None).unwrap();
    assert!(found(&tree, "is not owned by root"));
}

#[test]
fn an_sshd_without_pam_is_found() {
    let tree = Tree::with(LINE);
    tree.sshd("usepam no");
    let (services, found) = looked(&tree, "");
    assert!(services["sshd"].contains("sshd does not use PAM"), "{services:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    tree.program("usr/sbin/sshd", "#!/bin/sh\necho no hostkeys available >&2\nexit 1\n");
    let (_, found) = looked(&tree, "");
    let advice =
        if nix::unistd::geteuid().is_root() { "" } else { " (only root can read them: run this as root)" };
    let end = format!("says: no hostkeys available{advice}");
    assert!(matches!(&found[..], [one] if one.ends_with(&end)), "{found:?}");
    tree.remove("usr/sbin/sshd");
    assert_eq!(looked(&tree, "").1, [""; 0]);
    // Newer versions of sshd can use another service's name.
    tree.sshd("usepam yes\npamservicename ssh-ops");
    tree.put("etc/pam.d/ssh-ops", "@include common-session\n");
    let (services, _) = looked(&tree, "");
    assert!(services["ssh-ops"].contains("has no pam_idle_watchdog.so line"), "{services:?}");
}

#[test]
fn an_sshd_without_a_file_of_its_own_has_the_lines_of_other() {
    let tree = Tree::with("");
    tree.remove("etc/pam.d/sshd");
    let (services, found) = looked(&tree, "");
    assert!(services["sshd"].contains("the session stack has no pam_idle_watchdog.so line"), "{services:?}");
    assert!(found.iter().any(|finding| finding.starts_with("sshd: no session is ended")), "{found:?}");
    tree.put("etc/pam.d/other", &format!("@include common-session\n{LINE}\n"));
    assert!(looked(&tree, "").0["sshd"].starts_with("ends after 15m"));
}

#[test]
fn account_lines_that_refuse_everybody_are_found() {
    let account = |line: &str| format!("{LINE}\naccount {line}");
    assert_warning(
        &account("required pam_idle_watchdog.so timeot=5m"),
        "/etc/pam.d/sshd:10: timeot=5m: unknown",
    );
    assert_warning(
        &account("requird pam_idle_watchdog.so"),
        "/etc/pam.d/sshd:10 is requird: it refuses everybody",
    );
    assert_warning(
        &account("required pam_idle_watchdog.so onerr=succeed"),
        "have different values of onerr=",
    );
    let tree = Tree::with("");
    tree.put(
        "etc/pam.d/sshd",
        &format!("account required pam_idle_watchdog.so\n@include common-session\n{LINE}\n"),
    );
    let (_, found) = looked(&tree, "");
    assert!(matches!(&found[..], [one] if one.contains("no account line returns success")), "{found:?}");
}

#[test]
fn a_stack_of_our_line_alone_is_found() {
    let tree = Tree::with("");
    tree.put("etc/pam.d/sshd", &format!("{LINE}\n"));
    let (services, found) = looked(&tree, "");
    assert!(services["sshd"].starts_with("ends after 15m"));
    assert!(matches!(&found[..], [one] if one.contains("exempt users cannot log in")), "{found:?}");
    let exempt = "session required pam_idle_watchdog.so timeout=off\n";
    tree.put("etc/pam.d/sshd", exempt);
    let (services, _) = looked(&tree, "");
    assert_eq!(
        services["sshd"],
        "ends no session, because no session opens: no session line returns success"
    );
}

#[test]
fn if_a_message_file_is_broken_the_line_applies_alone() {
    let tree = Tree::with(LINE);
    let text = "* * * * timeout=5m message-file=/etc/nosuch\n";
    let policies = Policies::new(None);
    let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
    policies.read.borrow_mut().insert(None, Ok(Rc::new(policy)));
    let machine = tree.machine();
    let services = all(&machine, &policies);
    assert_eq!(services[0].text, "ends after 15m, kill=session, by /etc/pam.d/sshd:9");
    let (found, _) = general(&machine, &policies, &services);
    assert!(matches!(&found[..], [one] if one.starts_with("/f:1: /etc/nosuch: ")), "{found:?}");
}

#[test]
fn a_second_line_of_ours_returns_ignore() {
    let second = "session [success=die ignore=ignore default=bad] pam_idle_watchdog.so timeout=15m";
    assert_warning(&format!("{LINE}\n{second}"), "/etc/pam.d/sshd:10 does nothing");
}

#[test]
fn a_path_that_only_libpam_understands_is_found() {
    assert_warning(
        "session required /lib/security/$ISA/pam_idle_watchdog.so timeout=15m",
        "/etc/pam.d/sshd:9 has $ISA in the module's path",
    );
}

#[test]
fn a_control_that_lets_unguarded_sessions_open_is_found() {
    for control in
        ["optional", "OPTIONAL", "sufficient", "[success=ok default=ignore]", "[success=1 default=ignore]"]
    {
        let after = "session required pam_permit.so\nsession required pam_permit.so";
        let line = format!("session {control} pam_idle_watchdog.so timeout=15m\n{after}");
        assert_warning(&line, "opens unguarded, whatever onerr= says");
    }
    assert_warning(&format!("{LINE} onerr=succeed"), "/etc/pam.d/sshd:9 says onerr=succeed");
}

#[test]
fn a_control_that_lets_nobody_in_is_found() {
    assert_nobody("session requird pam_idle_watchdog.so", "", "is the control misspelled?");
    assert_nobody(
        &format!("{LINE}\nsession requird pam_unix.so"),
        "",
        "/etc/pam.d/sshd:10 (requird pam_unix.so)",
    );
    assert_nobody(
        &format!("{LINE}\nsession required pam_deny.so"),
        "",
        "/etc/pam.d/sshd:10 (required pam_deny.so) fails",
    );
    assert_nobody("session [success=1] pam_idle_watchdog.so", "", "jumps past the end of the stack");
    assert_nobody(&format!("{LINE}\nsession required pam_missing.so"), "", "there is no pam_missing.so in");
    assert_nobody(&format!("{LINE}\n@include none"), "", "the included file none does not exist");
    assert_nobody(&format!("{LINE}\nsession required"), "", "the module is missing");
}

#[test]
fn a_line_that_is_skipped_is_found() {
    let by = "/etc/pam.d/sshd:9 (sufficient pam_foo.so) skips it";
    assert_nobody(&format!("session sufficient pam_foo.so\n{LINE}"), "", by);
    let by = "/etc/pam.d/sshd:9 ([success=1] pam_foo.so) skips it";
    assert_nobody(&format!("session [success=1] pam_foo.so\n{LINE}\nsession required pam_permit.so"), "", by);
    assert_nobody(&format!("session [success=done] pam_foo.so\n{LINE}"), "", "skips it");
    assert_warning(
        &format!("session [success=ok default=1] pam_foo.so\n{LINE}\nsession required pam_permit.so"),
        "skips /etc/pam.d/sshd:10 when it returns session_err",
    );
}

#[test]
fn a_conditional_line_is_not_a_warning_but_is_named() {
    let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user = backup";
    let (text, found) = sshd(&format!("{jump}\n{LINE}"), "");
    let by = "/etc/pam.d/sshd:9 ([success=1 default=ignore] pam_succeed_if.so)";
    let said = format!("ends after 15m, kill=session, by /etc/pam.d/sshd:10; unless {by} skips a line");
    assert_eq!((text, found), (said, vec![]));
    let two = format!("{jump}\n{LINE}\n{jump}\nsession required pam_idle_watchdog.so timeout=off");
    let (text, _) = sshd(&two, "");
    assert!(text.starts_with("ends after 15m"), "{text}");
}

#[test]
fn a_line_for_each_group_of_users_is_not_a_warning() {
    let jump = "session [success=1 default=ignore] pam_succeed_if.so quiet user";
    let line = |words: &str| format!("session required pam_idle_watchdog.so timeout=15m {words}");
    let three = [("notin a:b", "debug"), ("!= c", "kill=tty"), ("!= d", "kill=connection")];
    let lines: Vec<String> =
        three.iter().map(|(who, words)| format!("{jump} {who}\n{}", line(words))).collect();
    let (text, found) = sshd(&lines.join("\n"), "");
    assert_eq!(found, [""; 0]);
    for kill in ["kill=session, by /etc/pam.d/sshd:10", "kill=tty, by /etc/pam.d/sshd:12", "kill=connection"]
    {
        assert!(text.contains(&format!("ends after 15m, {kill}")), "{text}");
    }
}

#[test]
fn lines_without_effect_are_found() {
    assert_warning(&format!("{LINE}\n{LINE}"), "/etc/pam.d/sshd:10 does nothing");
    assert_warning(
        &format!("{LINE}\nauth required pam_idle_watchdog.so"),
        "/etc/pam.d/sshd:10 is of type auth",
    );
    assert_warning(&format!("{LINE}\npassword optional pam_idle_watchdog.so"), "is of type password");
    assert_warning(&format!("{LINE}\naccount sufficient pam_idle_watchdog.so"), "account lines after it");
    assert_warning(&format!("{LINE}\naccount optional pam_idle_watchdog.so"), "its refusal has no effect");
    assert_eq!(sshd(&format!("{LINE}\naccount required pam_idle_watchdog.so"), "").1, [""; 0]);
    assert_nobody(
        "account required pam_idle_watchdog.so",
        "",
        "the session stack has no pam_idle_watchdog.so line",
    );
}

#[test]
fn a_line_in_the_wrong_place_is_found() {
    assert_warning(&format!("{LINE}\nsession optional pam_systemd.so"), "is before pam_systemd.so");
    let tree = Tree::with(LINE);
    tree.put("etc/pam.d/common-auth", "auth required pam_unix.so\nauth required pam_env.so user_readenv=1\n");
    assert!(
        matches!(&looked(&tree, "").1[..], [one] if one.contains("/etc/pam.d/common-auth:2 (required pam_env.so) reads ~/.pam_environment"))
    );
    tree.put("etc/pam.d/common-auth", "auth required pam_env.so user_readenv=0\n");
    assert_eq!(looked(&tree, "").1, [""; 0]);
    let common = "session required pam_env.so readenv=1 user_readenv=1\nsession optional pam_systemd.so\n";
    tree.put("etc/pam.d/common-session", common);
    let (_, found) = looked(&tree, "");
    assert!(matches!(&found[..], [one] if one.contains("/etc/pam.d/common-session:1")), "{found:?}");
}

#[test]
fn only_services_with_our_line_and_sshd_are_judged() {
    let tree = Tree::with(LINE);
    for copy in ["sshd~", "sshd.dpkg-old", "sshd.rpmsave", "sshd.pam-new", ".sshd.swp", "SSHD"] {
        tree.put(&format!("etc/pam.d/{copy}"), "session optional pam_idle_watchdog.so kill=none\n");
    }
    tree.put("etc/pam.d/ours", &format!("{LINE}\n"));
    tree.put("etc/pam.d/login", "@include common-session\nsession include ours\n");
    tree.put("etc/pam.d/cron", "@include common-session\nsession include ours\n");
    let (services, found) = looked(&tree, "");
    // su has no line, and does not need one.
    assert_eq!(services.keys().collect::<Vec<_>>(), ["cron", "login", "sshd"]);
    assert_eq!(services["cron"], "never watched: service cron");
    assert_eq!(found, [""; 0]);
    let (services, found) = looked(&Tree::with(""), "");
    assert_eq!(services.keys().collect::<Vec<_>>(), ["sshd"]);
    let none = "no service has a pam_idle_watchdog.so line in its session stack";
    assert_eq!(found, [none, "sshd: no session is ended"]);
}

#[test]
fn a_service_without_session_lines_has_those_of_other() {
    let tree = Tree::with(LINE);
    tree.put("etc/pam.d/su", "auth required pam_idle_watchdog.so\n");
    tree.put("etc/pam.d/other", &format!("{LINE}\n"));
    let (services, _) = looked(&tree, "");
    assert!(
        services["su"].starts_with("ends after 15m, kill=session, by /etc/pam.d/other:1"),
        "{services:?}"
    );
}

#[test]
fn rules_for_addresses_are_noted_where_sshd_passes_names() {
    let tree = Tree::with(LINE);
    let notes = || {
        let machine = tree.machine();
        let policy = Policy::parse(PathBuf::from("/f"), "a * * 10.0.0.0/8 quiet\nb * * host.example quiet\n");
        let policies = Policies::new(Some(policy.unwrap()));
        general(&machine, &policies, &all(&machine, &policies)).1
    };
    assert_eq!(notes(), [""; 0]);
    tree.sshd("usepam yes\nusedns yes");
    assert!(matches!(&notes()[..], [one] if one.starts_with("/f:1: sshd has `UseDNS yes`")), "{:?}", notes());
    tree.remove("usr/sbin/sshd");
    assert!(matches!(&notes()[..], [one] if one.ends_with("there is no sshd on this machine")));
}
