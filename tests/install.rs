//! Ring 1: `make install` puts each file in its place (below a temporary directory), and `make uninstall` removes all
//! of them again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs make and returns its output.
fn make(target: &str, directory: &Path, more: &[&str]) -> String {
    let output = Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--no-print-directory", target])
        .arg(format!("DESTDIR={}", directory.display()))
        .args([
            "PREFIX=/usr",
            "PAMDIR=/usr/lib/somewhere/security",
            "ZSHCOMPDIR=/usr/share/zsh/site-functions",
        ])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "make {target}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where each man page is installed.
const PAGES: [&str; 4] = [
    "man5/idle_watchdog.conf.5",
    "man8/idle-watchdog.8",
    "man8/pam_idle_watchdog.8",
    "man8/pam_idle_watchdog_helper.8",
];

/// Where each shell finds its completions. Which directory zsh reads depends on the distribution.
const COMPLETIONS: [&str; 3] = [
    "bash-completion/completions/idle-watchdog",
    "zsh/site-functions/_idle-watchdog",
    "fish/vendor_completions.d/idle-watchdog.fish",
];

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn an_installation_can_be_removed() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install");
    let _ = fs::remove_dir_all(&directory);
    let said = make("install", &directory, &[]);
    assert!(said.contains("journalctl --update-catalog"), "{said}");
    let mode = |path: &str| {
        let meta = fs::metadata(directory.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        meta.permissions().mode() & 0o7777
    };
    assert_eq!(mode("usr/lib/somewhere/security/pam_idle_watchdog.so"), 0o644);
    assert_eq!(mode("usr/libexec/pam_idle_watchdog_helper"), 0o755);
    assert_eq!(mode("usr/sbin/idle-watchdog"), 0o755);
    assert_eq!(mode("usr/lib/systemd/catalog/pam_idle_watchdog.catalog"), 0o644);
    for document in [
        "README.md",
        "LICENSE-MIT",
        "examples/pam.d/sshd.debian",
        "docs/compliance.md",
        "docs/pictures/demo.svg",
        "examples/ansible/roles/idle_watchdog/tasks/main.yml",
    ] {
        assert_eq!(mode(&format!("usr/share/doc/pam_idle_watchdog/{document}")), 0o644, "{document}");
    }
    for file in COMPLETIONS {
        assert_eq!(mode(&format!("usr/share/{file}")), 0o644, "{file}");
    }
    let module = fs::read(directory.join("usr/lib/somewhere/security/pam_idle_watchdog.so")).unwrap();
    let path = b"/usr/libexec/pam_idle_watchdog_helper";
    assert!(module.windows(path.len()).any(|part| part == path), "the module knows where its helper is");
    for page in PAGES {
        assert_eq!(mode(&format!("usr/share/man/{page}")), 0o644, "{page}");
        assert!(fs::metadata(directory.join("usr/share/man").join(page)).unwrap().len() > 1000, "{page}");
    }
    // The units know where the command is.
    for unit in ["idle-watchdog-adopt.service", "idle-watchdog-adopt.timer"] {
        assert_eq!(mode(&format!("usr/lib/systemd/system/{unit}")), 0o644, "{unit}");
        let text = fs::read_to_string(directory.join("usr/lib/systemd/system").join(unit)).unwrap();
        assert!(!text.contains('@'), "{text}");
        assert_eq!(
            text.contains("\nExecStart=/usr/sbin/idle-watchdog adopt --all\n"),
            unit.ends_with(".service"),
            "{text}"
        );
    }
    // OpenSCAP's content knows where everything is.
    for (file, place, mode_of_it) in [
        ("idle-sessions-end", "command=/usr/sbin/idle-watchdog\n", 0o755),
        ("idle_watchdog-oval.xml", ">/usr/lib/somewhere/security/pam_idle_watchdog.so<", 0o644),
        ("idle_watchdog-oval.xml", ">/usr/libexec/pam_idle_watchdog_helper<", 0o644),
        ("idle_watchdog-xccdf.xml", "\"idle_watchdog-oval.xml\"", 0o644),
    ] {
        let path = format!("usr/share/xml/scap/pam_idle_watchdog/{file}");
        assert_eq!(mode(&path), mode_of_it, "{path}");
        let text = fs::read_to_string(directory.join(&path)).unwrap();
        assert!(text.contains(place) && !text.contains("DIR@") && !text.contains("@HELPER"), "{path}");
    }
    // Only `make install-apparmor` installs AppArmor's profile. `make uninstall` removes it with the rest.
    make("install-apparmor", &directory, &[]);
    let profile = fs::read_to_string(directory.join("etc/apparmor.d/pam_idle_watchdog_helper")).unwrap();
    assert!(
        profile.contains("profile pam_idle_watchdog_helper /usr/libexec/pam_idle_watchdog_helper "),
        "{profile}"
    );
    assert_eq!(mode("etc/apparmor.d/abstractions/base.d/pam_idle_watchdog_helper"), 0o644);
    // Control groups that helpers have left behind are removed, too, unless a process is in them.
    let group = |place: &str| directory.join("sys/fs/cgroup").join(place).join("idle_watchdog");
    fs::create_dir_all(group("")).unwrap();
    fs::create_dir_all(group("systemd").join("in-use")).unwrap();
    let frozen = directory.join("sys/fs/cgroup/freezer/idle_watchdog-7");
    fs::create_dir_all(&frozen).unwrap();
    let said = make("uninstall", &directory, &[]);
    assert!(!said.contains("SELinux"), "{said}");
    assert_eq!(files(&directory), Vec::<PathBuf>::new());
    assert!(!group("").exists() && !frozen.exists() && group("systemd").exists());
    fs::remove_dir_all(group("systemd")).unwrap();

    // Without scdoc everything except the man pages is installed.
    let said = make("install", &directory, &["SCDOC="]);
    assert!(said.contains("man pages are not installed"), "{said}");
    assert_eq!(mode("usr/libexec/pam_idle_watchdog_helper"), 0o755);
    assert_eq!(files(&directory.join("usr/share/man")), Vec::<PathBuf>::new());
    // Only `make uninstall-selinux` removes the policy module.
    fs::create_dir_all(directory.join("var/lib/selinux/default/active/modules/400/pam_idle_watchdog"))
        .unwrap();
    let said = make("uninstall", &directory, &[]);
    assert!(said.contains("run: make uninstall-selinux"), "{said}");
    assert_eq!(files(&directory), Vec::<PathBuf>::new());
    fs::remove_dir_all(directory).unwrap();
}

/// The targets of the links in a Markdown text, without those to other sites.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    targets.chain(pictures).filter(|target| !target.is_empty() && !target.contains(':'))
}

#[test]
fn the_parts_are_installed_alone_and_the_documents_lead_to_each_other() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts");
    let _ = fs::remove_dir_all(&directory);
    make("install-bin", &directory, &["MODULE_MODE=0755"]);
    let module = directory.join("usr/lib/somewhere/security/pam_idle_watchdog.so");
    assert_eq!(fs::metadata(&module).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(files(&directory).len(), 3, "module, helper and command");
    fs::remove_dir_all(&directory).unwrap();

    let place = "DOCDIR=/usr/share/doc/another";
    make("install-examples", &directory, &[place]);
    let documents = directory.join("usr/share/doc/another");
    assert!(files(&directory).iter().all(|file| file.starts_with(documents.join("examples"))));
    make("install-doc", &directory, &[place]);
    let mut seen = 0;
    for file in files(&documents).into_iter().filter(|file| file.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&file).unwrap();
        for link in links(&text) {
            // How it is built is said in the source only.
            let known = file.parent().unwrap().join(link).exists() || link == "CONTRIBUTING.md";
            assert!(known, "{}: there is no {link}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} links");
    fs::remove_dir_all(directory).unwrap();
}

/// What dist/pamdir prints for a machine that has libpam in these directories.
fn pamdir(multiarch: &str, prefix: &str, libraries: &[&str]) -> String {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pamdir");
    let _ = fs::remove_dir_all(&root);
    for directory in libraries {
        fs::create_dir_all(root.join(directory)).unwrap();
        fs::write(root.join(directory).join("libpam.so.0"), "").unwrap();
    }
    let compiler = root.join("bin/gcc");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(&compiler, format!("#!/bin/sh\necho {multiarch}\n")).unwrap();
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("sh")
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/dist/pamdir"), prefix])
        .arg(&root)
        .env("PATH", format!("{}:/usr/bin:/bin", root.join("bin").display()))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_module_goes_where_libpam_looks() {
    let debian = "x86_64-linux-gnu";
    // Debian since 12, and before it, when / and /usr were not merged.
    assert_eq!(pamdir(debian, "/usr", &["usr/lib/x86_64-linux-gnu"]), "/usr/lib/x86_64-linux-gnu/security");
    assert_eq!(pamdir(debian, "/usr", &["lib/x86_64-linux-gnu"]), "/lib/x86_64-linux-gnu/security");
    // The gcc of other distributions prints an empty line. Some machines have 32 bit libraries, too.
    assert_eq!(pamdir("", "/usr", &["usr/lib64", "usr/lib"]), "/usr/lib64/security");
    assert_eq!(pamdir("", "/usr", &["lib64", "lib"]), "/lib64/security");
    assert_eq!(pamdir("", "/usr", &["usr/lib"]), "/usr/lib/security");
    assert_eq!(pamdir("", "/usr/local", &["usr/lib"]), "/usr/local/lib/security");
}
