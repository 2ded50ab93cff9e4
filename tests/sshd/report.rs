//! `idle-watchdog report`, as root, on a log of its own in place of /var/log.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::build_dir;

/// A directory that stands in for /var/log.
struct LogDirectory(PathBuf);

impl LogDirectory {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("idle-watchdog-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str) -> BufWriter<fs::File> {
        BufWriter::new(fs::File::create(self.0.join(name)).unwrap())
    }

    /// Runs the command with this log. No journal is in its place.
    fn report(&self, words: &str) -> Output {
        self.run(&self.script(&format!("report {words}")))
    }

    fn script(&self, words: &str) -> String {
        let (log, command) = (self.0.display(), build_dir().join("idle-watchdog"));
        let hidden = "mkdir -p /run/log && mount -t tmpfs none /run/log";
        format!("mount --bind {log} /var/log && {hidden} && exec {} {words}", command.display())
    }

    fn run(&self, script: &str) -> Output {
        let unshare = ["--mount", "--propagation", "private", "sh", "-c", script];
        Command::new("unshare").args(unshare).output().unwrap()
    }

    fn json(&self, words: &str) -> Value {
        let output = self.report(&format!("--json {words}"));
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for LogDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `2026-11-27T09:41:40+00:00`, so many seconds ago.
fn ago(seconds: u64) -> String {
    let at = format!("{seconds} seconds ago");
    let output = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%S+00:00"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_syslog_file_and_the_one_before_it_are_read() {
    let log = LogDirectory::new("files");
    let helper = "alpha pam_idle_watchdog_helper[77]: pam_idle_watchdog(sshd:session):";
    let armed = "armed user=alice session=1 limit=900 warn=60 kill=session";
    writeln!(log.file("auth.log.1"), "{} {helper} {armed}", ago(86_000)).unwrap();
    let mut file = log.file("auth.log");
    for line in [
        format!("{} alpha sshd[5]: Accepted publickey for alice", ago(2000)),
        format!("{} {helper} warned user=alice session=1 idle=840 limit=900", ago(1000)),
        format!("{} {helper} resumed user=alice session=1 idle=1 limit=900 away=850", ago(990)),
        format!("{} {helper} ended user=alice session=1 idle=900 limit=900 survivors=0", ago(10)),
        // Foreign lines that look like ours, but are not.
        format!("{} alpha sshd[5]: pam_idle_watchdog(sshd:session): ended user=alice idle=900", ago(9)),
        format!("{} {helper} ended user=mallory idle=900 survivors", ago(8)),
        format!("{} alpha app[5]: said pam_idle_watchdog(sshd:session): ended user=mallory", ago(8)),
    ] {
        writeln!(file, "{line}").unwrap();
    }
    drop(file);
    let found = log.json("--since 2d --limit 10m");
    let times = &found["times"];
    assert_eq!((&times["watched"], &times["warned"], &times["resumed"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&times["ended"], &found["log"]["records"]), (&json!(1), &json!(4)));
    assert_eq!((&found["log"]["trusted"], &found["limit"]["ends"]), (&json!(false), &json!(2)));
    assert_eq!(found["log"]["name"], json!("/var/log/auth.log.1, /var/log/auth.log"));
    let only = log.json("--since 600");
    assert_eq!((&only["times"]["ended"], &only["times"]["resumed"]), (&json!(1), &json!(0)));
    assert_eq!(log.json("--user mallory")["log"]["records"], json!(0));
    // On a pipe there is no histogram.
    let text = String::from_utf8(log.report("").stdout).unwrap();
    assert!(text.contains("\nlongest idle  15m, alice, ") && !text.contains('#'), "{text}");
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let log = LogDirectory::new("errors");
    for (words, error) in [
        ("--since yesterday", "idle-watchdog: --since \"yesterday\": expected a duration such as 7d"),
        ("--since 2026-02-30", "idle-watchdog: --since 2026-02-30: there is no such day"),
        ("", "idle-watchdog: there is no log: no journal, and no /var/log/auth.log"),
    ] {
        let output = log.report(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.starts_with(error), "{words}: {said}");
        assert!(output.stdout.is_empty());
    }
    let script = log.script("report").replace("exec ", "exec setpriv --reuid 65534 --clear-groups ");
    let output = log.run(&script);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("only root can read the whole log"), "{said}");
}

#[test]
fn a_log_of_a_million_lines_needs_little_memory() {
    let log = LogDirectory::new("million");
    let mut file = log.file("auth.log");
    let at = ago(60);
    for n in 0..250_000 {
        let helper = format!("{at} alpha pam_idle_watchdog_helper[{n}]: pam_idle_watchdog(sshd:session):");
        let about = format!("user=u{} uid=1000 rhost=192.0.2.7 session={n} ses={n}", n % 100);
        writeln!(file, "{helper} armed {about} limit=900 warn=60 grace=10 kill=session").unwrap();
        writeln!(file, "{at} alpha sshd[{n}]: pam_unix(sshd:session): session opened for user u(uid=1000)")
            .unwrap();
        writeln!(file, "{helper} warned {about} tty=pts/0 idle=840 limit=900 by=terminal remaining=60")
            .unwrap();
        writeln!(file, "{helper} ended {about} tty=pts/0 idle=900 limit=900 by=terminal survivors=0")
            .unwrap();
    }
    drop(file);
    // The log has more than 110 MB.
    let limited = format!("ulimit -v 50000; {}", log.script("report --json"));
    let output = log.run(&limited);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["times"]["ended"], &found["by_user"][7]["ended"]), (&json!(250_000), &json!(2500)));
}
