//! Ring 1: `make release` refuses a tree whose files, commit and tag disagree about the version, and each message
//! says what to do. The trees are copies in a directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSION: &str = "3.2.1";
/// Half an hour before midnight in UTC, which is already the next day in Berlin.
const COMMITTED: &str = "2026-03-04T23:30:00+00:00";
/// The spec file of the RPM.
const SPEC: &str = "packaging/rpm/pam_idle_watchdog.spec";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of what names the version. All of it agrees.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let tree = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join("release").join(name));
        let _ = fs::remove_dir_all(&tree.0);
        let copied = ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.toml", "fuzz/Cargo.lock", "dist/release"];
        let pages = fs::read_dir(root().join("man")).unwrap();
        let pages: Vec<String> =
            pages.map(|page| format!("man/{}", page.unwrap().file_name().to_str().unwrap())).collect();
        assert!(pages.len() >= 4, "{pages:?}");
        for path in copied.into_iter().chain(pages.iter().map(String::as_str)) {
            fs::create_dir_all(tree.0.join(path).parent().unwrap()).unwrap();
            fs::copy(root().join(path), tree.0.join(path)).unwrap();
        }
        let ours = env!("CARGO_PKG_VERSION");
        let (before, after) = (format!("version = \"{ours}\""), format!("version = \"{VERSION}\""));
        tree.edit("Cargo.toml", &before, &after);
        for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
            let name = "name = \"pam_idle_watchdog\"\n";
            tree.edit(lock, &format!("{name}{before}"), &format!("{name}{after}"));
        }
        for page in &pages {
            tree.edit(page, ours, VERSION);
        }
        tree.write(
            "CHANGELOG.md",
            "# Changelog\n\n## [3.2.1] - 2026-03-04\n\n- One.\n\n## [3.2.0] - 2026-03-01\n",
        );
        let entry = "libpam-idle-watchdog (3.2.1-1) unstable; urgency=medium\n\n  * New.\n";
        tree.write("packaging/debian/changelog", entry);
        let spec =
            "Version:        3.2.1\n\n%changelog\n* Wed Mar 04 2026 We <we@example.org> - 3.2.1-1\n- New.\n";
        tree.write(SPEC, spec);
        tree.write(".gitignore", "target\n");
        // A release of this tree writes two small files.
        let makefile = "dist sbom:\n\tmkdir -p target/tarballs target/dist\n\techo $$SOURCE_DATE_EPOCH >target/tarballs/source\n\techo >target/dist/idle-watchdog.cdx.json\n";
        tree.write("Makefile", makefile);
        tree.git(&["init", "--quiet"]);
        tree.commit();
        tree.tag();
        tree
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.0.join(path).parent().unwrap()).unwrap();
        fs::write(self.0.join(path), text).unwrap();
    }

    fn edit(&self, path: &str, before: &str, after: &str) {
        let text = fs::read_to_string(self.0.join(path)).unwrap();
        assert!(text.contains(before), "{path}: {before}");
        self.write(path, &text.replacen(before, after, 1));
    }

    /// A program in this tree, without the settings of the person who runs the test.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("TZ", "Europe/Berlin").env_remove("MAKE").env_remove("MAKEFLAGS");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Tester").env(format!("GIT_{who}_EMAIL"), "tester");
            command.env(format!("GIT_{who}_DATE"), COMMITTED);
        }
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = self.command("git").args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Release"]);
    }

    /// Tags the last commit, as `git tag -s` would. Nobody checks this signature: the script asks only if there is one.
    fn tag(&self) {
        let head = self.git(&["rev-parse", "HEAD"]);
        let object = format!(
            "object {head}\ntype commit\ntag v{VERSION}\ntagger Tester <tester> 1 +0000\n\nRelease\n\
             -----BEGIN PGP SIGNATURE-----\n\nnone\n-----END PGP SIGNATURE-----\n"
        );
        let mut make = self.command("git");
        let mut make = make.arg("mktag").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        make.stdin.take().unwrap().write_all(object.as_bytes()).unwrap();
        let output = make.wait_with_output().unwrap();
        assert!(output.status.success());
        let id = String::from_utf8(output.stdout).unwrap();
        self.git(&["update-ref", &format!("refs/tags/v{VERSION}"), id.trim()]);
    }

    /// Makes the release. The exit status, the output and the errors.
    fn release(&self, version: &str) -> (i32, String, Vec<String>) {
        let output = self.command("sh").args(["dist/release", version]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let errors = text(output.stderr).lines().map(str::to_owned).collect();
        (output.status.code().unwrap(), text(output.stdout), errors)
    }

    /// Makes the release, which must fail with this one message.
    fn refused(&self, message: &str) {
        let (status, _, errors) = self.release(VERSION);
        assert_eq!((status, errors), (1, vec![message.to_owned()]));
        assert!(!self.0.join("target").exists(), "it was refused, but wrote files");
    }
}

#[test]
fn a_reporter_is_sent_to_the_repository_and_to_no_other_address() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let repository = manifest.lines().find_map(|line| line.strip_prefix("repository = "));
    let security = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let (_, section) = security.split_once("## Reporting\n").expect("how to report");
    let section = section.split("\n## ").next().unwrap();
    match repository {
        Some(address) => {
            assert!(section.contains(address.trim_matches('"')), "SECURITY.md names another one")
        }
        None => assert!(!section.contains('@') && !section.contains("://"), "nobody reads that address"),
    }
}

/// The value of a key in a line of YAML, if the line has that key.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")
}

#[test]
fn the_workflow_only_calls_our_scripts_and_trusts_nobody_else() {
    let workflow = fs::read_to_string(root().join(".github/workflows/ci.yml")).unwrap();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let values = |key: &str| workflow.lines().filter_map(|line| value(line, key)).collect::<Vec<_>>();
    let calls = values("run");
    assert!(calls.len() >= 2, "{calls:?}");
    for call in calls {
        let words: Vec<&str> = call.split(' ').collect();
        let known = match words.as_slice() {
            ["sudo", script] => root().join(script).is_file(),
            ["make", target, ..] => makefile.lines().any(|line| line.split(':').next() == Some(*target)),
            _ => false,
        };
        assert!(known, "{call}: call a script or a target of make, which people can call, too");
    }
    for action in values("uses") {
        // A name such as v7 may mean other code tomorrow.
        let (_, commit) = action.split_once('@').unwrap();
        let (commit, version) = commit.split_once(" # v").expect("a comment with the version");
        let is_commit = commit.len() == 40 && commit.bytes().all(|c| c.is_ascii_hexdigit());
        assert!(is_commit && version.starts_with(|c: char| c.is_ascii_digit()), "{action}");
    }
    assert!(workflow.contains("\npermissions:\n  contents: read\n\n"), "nothing may be written");
    assert_eq!(workflow.matches("permissions:").count(), 1);
    let jobs = values("runs-on").len();
    assert_eq!(values("timeout-minutes").len(), jobs, "each job has a limit");
    assert_eq!(workflow.matches("persist-credentials: false").count(), values("uses").len());
    for word in ["secrets.", "pull_request_target", "github.token"] {
        assert!(!workflow.contains(word), "{word}");
    }
}

#[test]
fn a_tree_that_agrees_is_released_with_sums() {
    let tree = Tree::new("agrees");
    let (status, said, errors) = tree.release(VERSION);
    assert_eq!((status, errors), (0, vec![]), "{said}");
    let files = tree.0.join("target/release-files");
    let sums = fs::read_to_string(files.join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums.lines().map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(names, ["pam_idle_watchdog-3.2.1.cdx.json", "source"]);
    assert!(
        tree.command("sha256sum")
            .args(["--check", "--quiet", "SHA256SUMS"])
            .current_dir(&files)
            .status()
            .unwrap()
            .success()
    );
    assert!(said.contains("gpg --armor --detach-sign target/release-files/SHA256SUMS"), "{said}");
    let epoch = tree.git(&["log", "-1", "--format=%ct"]);
    assert_eq!(fs::read_to_string(files.join("source")).unwrap().trim(), epoch);
    // It can be repeated.
    assert_eq!(tree.release(VERSION).0, 0);
    assert_eq!(fs::read_to_string(files.join("SHA256SUMS")).unwrap(), sums);
}

#[test]
fn a_word_that_is_no_version_is_refused() {
    let tree = Tree::new("word");
    for word in ["", "v3.2.1", "3.2", "3.2.1-rc1", "03.2.1", "3.2.1.0"] {
        let wanted = format!("VERSION={word}: expected three numbers, such as VERSION=1.2.3");
        let (status, _, errors) = tree.release(word);
        assert_eq!((status, errors.join("\n")), (2, wanted));
    }
}

/// A file, what is changed in it, and the message that follows.
const DISAGREEMENTS: [(&str, &str, &str, &str); 11] = [
    (
        "Cargo.toml",
        "version = \"3.2.1\"",
        "version = \"3.2.0\"",
        "Cargo.toml: the version is 3.2.0: write version = \"3.2.1\"",
    ),
    (
        "Cargo.lock",
        "name = \"pam_idle_watchdog\"\nversion = \"3.2.1\"",
        "name = \"pam_idle_watchdog\"\nversion = \"3.2.0\"",
        "Cargo.lock: the version of pam_idle_watchdog is 3.2.0: run cargo update --package pam_idle_watchdog --manifest-path Cargo.toml",
    ),
    (
        "fuzz/Cargo.lock",
        "name = \"pam_idle_watchdog\"\nversion = \"3.2.1\"",
        "name = \"pam_idle_watchdog\"\nversion = \"3.2.0\"",
        "fuzz/Cargo.lock: the version of pam_idle_watchdog is 3.2.0: run cargo update --package pam_idle_watchdog --manifest-path fuzz/Cargo.toml",
    ),
    (
        "CHANGELOG.md",
        "## [3.2.1] - 2026-03-04",
        "## [3.2.1] - 2026-03-05",
        "CHANGELOG.md: the first heading is \"## [3.2.1] - 2026-03-05\": write \"## [3.2.1] - 2026-03-04\", with the day of the last commit",
    ),
    (
        "CHANGELOG.md",
        "## [3.2.1] - 2026-03-04",
        "## [Unreleased]",
        "CHANGELOG.md: the first heading is \"## [Unreleased]\": write \"## [3.2.1] - 2026-03-04\", with the day of the last commit",
    ),
    (
        "man/idle-watchdog.8.scd",
        "3.2.1",
        "3.2.0",
        "man/idle-watchdog.8.scd: the first line is idle-watchdog(8) \"pam_idle_watchdog 3.2.0\": write idle-watchdog(8) \"pam_idle_watchdog 3.2.1\"",
    ),
    (
        "man/idle_watchdog.conf.5.scd",
        " \"pam_idle_watchdog 3.2.1\"",
        "",
        "man/idle_watchdog.conf.5.scd: the first line is idle_watchdog.conf(5): write idle_watchdog.conf(5) \"pam_idle_watchdog 3.2.1\"",
    ),
    (
        "packaging/debian/changelog",
        "3.2.1-1",
        "3.2.0-4",
        "packaging/debian/changelog: the first entry is \"libpam-idle-watchdog (3.2.0-4) unstable; urgency=medium\": add one for 3.2.1-1",
    ),
    (
        "packaging/debian/changelog",
        "unstable",
        "UNRELEASED",
        "packaging/debian/changelog: the first entry is \"libpam-idle-watchdog (3.2.1-1) UNRELEASED; urgency=medium\": write the distribution, such as unstable, instead of UNRELEASED",
    ),
    (
        SPEC,
        "Version:        3.2.1",
        "Version:        3.2.0",
        "packaging/rpm/pam_idle_watchdog.spec: the version is 3.2.0: write Version: 3.2.1",
    ),
    (
        SPEC,
        " - 3.2.1-1",
        " - 3.2.0-1",
        "packaging/rpm/pam_idle_watchdog.spec: the first entry is \"* Wed Mar 04 2026 We <we@example.org> - 3.2.0-1\": add one for 3.2.1-1",
    ),
];

#[test]
fn a_file_that_names_another_version_is_refused() {
    for (number, (path, before, after, message)) in DISAGREEMENTS.iter().enumerate() {
        let tree = Tree::new(&format!("file-{number}"));
        tree.edit(path, before, after);
        tree.commit();
        tree.tag();
        tree.refused(message);
    }
}

#[test]
fn files_that_are_not_committed_are_refused() {
    let tree = Tree::new("changed");
    tree.write("src/new.rs", "");
    tree.refused("git status: commit or remove these files first: ?? src/");
    fs::remove_dir_all(tree.0.join("src")).unwrap();
    tree.edit("Makefile", "dist sbom:", "sbom dist:");
    tree.refused("git status: commit or remove these files first:  M Makefile");
}

#[test]
fn a_tag_that_is_missing_elsewhere_or_not_signed_is_refused() {
    let tree = Tree::new("tag");
    let tag = format!("v{VERSION}");
    tree.git(&["tag", "--delete", &tag]);
    tree.refused("git tag: there is no v3.2.1: when all other files agree, run git tag -s v3.2.1");
    for annotated in [&[][..], &["--message", "Release"]] {
        tree.git(&[&["tag", "--force"], annotated, &[&tag]].concat());
        tree.refused("git tag: v3.2.1 has no signature: run git tag -s -f v3.2.1");
    }
    tree.tag();
    tree.commit();
    tree.refused(
        "git tag: v3.2.1 is not the last commit: run git switch --detach v3.2.1, or choose another version",
    );
}

#[test]
fn a_tree_without_git_is_refused() {
    let tree = Tree::new("tarball");
    fs::remove_dir_all(tree.0.join(".git")).unwrap();
    let (status, _, errors) = tree.release(VERSION);
    assert_eq!(
        (status, errors),
        (2, vec!["There is no .git: make a release in a checkout of the repository.".to_owned()])
    );
}
