//! Reads PAM's own files as far as to know where in a service's session stack our line stands.

use std::fs;
use std::path::{Path, PathBuf};

/// Where libpam looks for a service's file, the first that exists.
const FOLDERS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];
/// Included files may include others, but neither each other for ever nor more than anybody has.
const FILES_MAX: usize = 256;

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, as `file:line`.
    pub place: String,
    /// `session` or `account`.
    pub kind: String,
    /// `required`, `[success=1 default=ignore]`, …
    pub control: String,
    /// The module's file name, without its folder.
    pub module: String,
    /// The words behind it.
    pub words: Vec<String>,
}

/// The session and account lines of a service, those of included files in their places; `None` if it
/// has no file.
#[must_use]
pub fn of_service(service: &str) -> Option<Vec<Entry>> {
    entries(service, |name| {
        let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
        // libpam does not mind in which encoding comments are.
        let text = |path: &Path| Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned());
        paths.into_iter().find_map(|path| text(&path).map(|text| (path, text)))
    })
}

/// All services that have a file, in the order of their names.
#[must_use]
pub fn services() -> Vec<String> {
    let files = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    names.sort();
    names.dedup();
    names
}

/// The same, of files that `read` finds by their names.
pub fn entries(service: &str, read: impl Fn(&str) -> Option<(PathBuf, String)>) -> Option<Vec<Entry>> {
    if service.is_empty() || service.contains('/') {
        return None;
    }
    let (mut found, mut unread) = (Vec::new(), FILES_MAX);
    collect(service, None, &read, &mut unread, &mut found)?;
    Some(found)
}

/// Adds the lines of one file; with `only`, those of one kind.
fn collect(
    name: &str,
    only: Option<&str>,
    read: &impl Fn(&str) -> Option<(PathBuf, String)>,
    unread: &mut usize,
    found: &mut Vec<Entry>,
) -> Option<()> {
    *unread = unread.checked_sub(1)?;
    let (path, text) = read(name)?;
    for (number, line) in rows(&text) {
        let words = words(&line);
        let mut words = words.iter().map(String::as_str);
        let first = words.next().unwrap_or_default();
        if first == "@include" {
            let _ = collect(words.next().unwrap_or_default(), only, read, unread, found);
            continue;
        }
        // A leading hyphen: not a word in the log if the module is missing.
        let kind = first.strip_prefix('-').unwrap_or(first).to_ascii_lowercase();
        if !matches!(kind.as_str(), "session" | "account") || only.is_some_and(|only| only != kind) {
            continue;
        }
        let (Some(control), Some(module)) = (words.next(), words.next()) else { continue };
        if matches!(control, "include" | "substack") {
            let _ = collect(module, Some(&kind), read, unread, found);
            continue;
        }
        found.push(Entry {
            place: format!("{}:{number}", path.display()),
            kind,
            control: control.to_owned(),
            module: module.rsplit('/').next().unwrap_or(module).to_owned(),
            words: words.map(str::to_owned).collect(),
        });
    }
    Some(())
}

/// The lines that say something, with the numbers of their first ones: a backslash continues a line,
/// `#` begins a comment.
fn rows(text: &str) -> Vec<(usize, String)> {
    let mut rows: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match rows.last_mut().filter(|_| continued) {
            Some((_, row)) => {
                row.push(' ');
                row.push_str(line);
            }
            None => rows.push((number + 1, line.to_owned())),
        }
        continued = goes_on;
    }
    rows.retain(|(_, row)| !row.trim().is_empty());
    rows
}

/// Cuts a line into words as libpam does: `[two words]` is one, in which `\]` is a bracket.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let bracket = rest.strip_prefix('[').and_then(|inner| {
            let mut word = String::new();
            let mut chars = inner.char_indices();
            while let Some((at, c)) = chars.next() {
                match c {
                    ']' => return Some((word, inner.get(at + 1..)?)),
                    '\\' if inner.get(at + 1..)?.starts_with(']') => {
                        word.push(']');
                        chars.next();
                    }
                    c => word.push(c),
                }
            }
            None
        });
        let (word, tail) = bracket.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            (word.to_owned(), tail)
        });
        found.push(word);
        rest = tail.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(service: &str) -> Option<Vec<Entry>> {
        entries(service, |name| {
            let text = match name {
                "sshd" => {
                    "\
# comment
auth required pam_unix.so
@include common
session  required  pam_loginuid.so # late
-session optional /lib/security/pam_idle_watchdog.so timeout=5m \\
    [message=Two words, one \\] bracket] quiet
account include others
session include others
session include sshd
"
                }
                "common" => "session [success=1 default=ignore] pam_systemd.so\nauth x y\n",
                "others" => "account required pam_a.so\nsession required pam_b.so\n",
                _ => return None,
            };
            Some((Path::new("/p").join(name), text.to_owned()))
        })
    }

    #[test]
    fn lines_come_in_the_order_libpam_runs_them() {
        let modules: Vec<String> = stack("sshd")
            .unwrap()
            .into_iter()
            .take(6)
            .map(|entry| format!("{} {} {}", entry.place, entry.kind, entry.module))
            .collect();
        assert_eq!(
            modules,
            [
                "/p/common:1 session pam_systemd.so",
                "/p/sshd:4 session pam_loginuid.so",
                "/p/sshd:5 session pam_idle_watchdog.so",
                "/p/others:1 account pam_a.so",
                "/p/others:2 session pam_b.so",
                "/p/common:1 session pam_systemd.so",
            ]
        );
        assert_eq!(stack("none"), None);
        assert_eq!(stack("../sshd"), None);
    }

    #[test]
    fn files_that_include_each_other_have_an_end() {
        let read = |name: &str| {
            let text = "@include b\n@include a\nsession include b\nsession required pam_a.so\n";
            Some((PathBuf::from(name), text.to_owned()))
        };
        assert_eq!(entries("a", read).unwrap().len(), FILES_MAX);
    }

    #[test]
    fn words_in_brackets_are_one() {
        let entry = stack("sshd").unwrap().swap_remove(2);
        assert_eq!(entry.words, ["timeout=5m", "message=Two words, one ] bracket", "quiet"]);
        assert_eq!(words("[a b"), ["[a", "b"]);
        assert_eq!(words("  a\tb "), ["a", "b"]);
    }
}
