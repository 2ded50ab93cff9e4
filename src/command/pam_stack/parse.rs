//! Reads PAM's own files as libpam does. Returns the lines of a service's stack in the order in which they run.
//! Pure: the caller reads the files.
//!
//! It follows `_pam_parse_conf_file` of Linux-PAM 1.5 to 1.7, with Debian's `@include`.

use std::path::{Path, PathBuf};

use super::control::Control;
use super::misspelled;
use super::stack::{Entry, LineType, Runs, Stack};

/// The deepest level of includes. libpam has a limit, too.
const DEPTH_MAX: usize = 16;
/// The most files of one service. No real service has so many.
const FILES_MAX: usize = 256;

/// Returns the stack of a service, or `None` if the service has no file. `read` returns the path and the text
/// of a file. `at_include` says whether this libpam supports `@include`.
pub fn read(
    service: &str,
    at_include: bool,
    read: impl Fn(&str) -> Option<(PathBuf, String)>,
) -> Option<Stack> {
    if service.is_empty() || service.contains('/') {
        return None;
    }
    let (path, text) = read(service)?;
    let mut reader = StackReader {
        read,
        at_include,
        unread: FILES_MAX,
        found: Vec::new(),
        includes: Vec::new(),
        misspelled: Vec::new(),
        broken: None,
    };
    let incomplete = reader.lines(&path, &text, IncludeScope::default()).err();
    let broken = reader.broken.or(incomplete);
    Some(Stack { entries: reader.found, broken, includes: reader.includes, misspelled: reader.misspelled })
}

/// The place from which a file is included.
#[derive(Clone, Copy, Default)]
struct IncludeScope {
    /// Only lines of this type count.
    only: Option<LineType>,
    /// The number of files between it and the service's own file.
    depth: usize,
    /// The number of substacks around the file.
    level: usize,
}

struct StackReader<R> {
    read: R,
    at_include: bool,
    unread: usize,
    found: Vec<Entry>,
    includes: Vec<String>,
    misspelled: Vec<String>,
    broken: Option<String>,
}

impl<R: Fn(&str) -> Option<(PathBuf, String)>> StackReader<R> {
    /// Adds the lines of an included file. The error says why libpam cannot include it.
    fn file(&mut self, name: &str, scope: IncludeScope) -> Result<(), String> {
        if self.unread == 0 || scope.depth >= DEPTH_MAX {
            return Err("files include each other".to_owned());
        }
        self.unread -= 1;
        self.includes.push(name.to_owned());
        let (path, text) =
            (self.read)(name).ok_or_else(|| format!("the included file {name} does not exist"))?;
        self.lines(&path, &text, scope)
    }

    fn lines(&mut self, path: &Path, text: &str, scope: IncludeScope) -> Result<(), String> {
        for row in rows(text) {
            let (number, line) = row.map_err(|number| {
                format!("{}:{number}: the last line ends with a backslash", path.display())
            })?;
            let place = format!("{}:{number}", path.display());
            self.line(&place, &line, scope);
        }
        Ok(())
    }

    fn line(&mut self, place: &str, line: &str, scope: IncludeScope) {
        let mut tokens = words(line).into_iter();
        let first = tokens.next().unwrap_or_default();
        // If the type starts with a hyphen, libpam does not log a missing module. Nothing else changes.
        let word = first.strip_prefix('-').unwrap_or(&first);
        if self.at_include && word.eq_ignore_ascii_case("@include") {
            let name = tokens.next().unwrap_or_default();
            let included = self.file(&name, IncludeScope { depth: scope.depth + 1, ..scope });
            match (included, scope.only) {
                (Ok(()), _) => {}
                (Err(why), Some(line_type)) => self.fails(place, line_type, Control::bad(), scope, &why),
                // libpam does not know the type of this line, so it rejects the whole service. We read on,
                // because the next lines show what the administrator wants.
                (Err(why), None) => {
                    self.broken.get_or_insert(format!("{place}: {why}"));
                }
            }
            return;
        }
        let known = LineType::of_word(word);
        // libpam treats a line of an unknown type as an auth line that fails.
        let line_type = known.or(scope.only).unwrap_or(LineType::Auth);
        if scope.only.is_some_and(|only| only != line_type) {
            return;
        }
        let Some(written) = tokens.next() else {
            self.fails(place, line_type, Control::bad(), scope, "the control is missing");
            return;
        };
        let substack = written.eq_ignore_ascii_case("substack");
        if substack || written.eq_ignore_ascii_case("include") {
            self.include(place, line_type, substack, tokens.next(), scope);
            return;
        }
        let control = Control::parse(&written);
        let module = tokens.next();
        let wrong = module.as_ref().and_then(|module| misspelled::misspelled(word, known, module));
        self.misspelled.extend(wrong.map(|wrong| format!("{place}: {wrong}")));
        match (known, module) {
            (None, _) => self.fails(place, line_type, control, scope, &format!("{word} is not a line type")),
            (_, None) => self.fails(place, line_type, control, scope, "the module is missing"),
            (_, Some(module)) => self.found.push(Entry {
                place: place.to_owned(),
                line_type,
                written,
                control,
                level: scope.level,
                runs: Runs::Module(module),
                words: tokens.collect(),
            }),
        }
    }

    fn include(
        &mut self,
        place: &str,
        line_type: LineType,
        substack: bool,
        name: Option<String>,
        scope: IncludeScope,
    ) {
        if substack {
            self.push(place, line_type, Control::bad(), scope, Runs::Substack);
        }
        let level = scope.level + usize::from(substack);
        let inner = IncludeScope { only: Some(line_type), depth: scope.depth + 1, level };
        let included = name.ok_or_else(|| "the file to include is missing".to_owned());
        if let Err(why) = included.and_then(|name| self.file(&name, inner)) {
            self.fails(place, line_type, Control::bad(), scope, &why);
        }
    }

    fn fails(&mut self, place: &str, line_type: LineType, control: Control, scope: IncludeScope, why: &str) {
        self.push(place, line_type, control, scope, Runs::Fails(why.to_owned()));
    }

    fn push(&mut self, place: &str, line_type: LineType, control: Control, scope: IncludeScope, runs: Runs) {
        let (place, level) = (place.to_owned(), scope.level);
        self.found.push(Entry {
            place,
            line_type,
            written: String::new(),
            control,
            level,
            runs,
            words: Vec::new(),
        });
    }
}

/// The characters that separate words. In libpam, a carriage return does not.
const BLANKS: [char; 3] = [' ', '\t', '\n'];

/// Splits a file into lines and leaves out empty ones. Each line has its number. A backslash at the end joins a
/// line with the next one, and the number is that of the first. `#` starts a comment. If the last line ends
/// with a backslash, the error is its number.
fn rows(text: &str) -> Vec<Result<(usize, String), usize>> {
    let mut rows = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.split_terminator('\n').enumerate() {
        let (said, comment) = line.split_once('#').map_or((line, false), |(said, _)| (said, true));
        let continued = if comment { None } else { said.trim_end_matches(BLANKS).strip_suffix('\\') };
        let (first, mut row) = open.take().unwrap_or((number + 1, String::new()));
        row.push_str(continued.unwrap_or(said));
        if continued.is_some() {
            row.push(' ');
            open = Some((first, row));
        } else if !row.trim_matches(BLANKS).is_empty() {
            rows.push(Ok((first, row)));
        }
    }
    rows.extend(open.map(|(first, _)| Err(first)));
    rows
}

/// Splits a line into words as libpam does. `[two words]` is one word, and `\]` in it is a bracket. Without a
/// closing bracket the word goes on to the end of the line.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line.trim_start_matches(BLANKS);
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('[') {
            Some(inner) => bracketed(inner),
            None => {
                let (word, tail) = rest.split_at(rest.find(BLANKS).unwrap_or(rest.len()));
                (word.to_owned(), tail)
            }
        };
        found.push(word);
        rest = tail.trim_start_matches(BLANKS);
    }
    found
}

/// Splits at the closing bracket. Returns the text before it, and the text after it.
fn bracketed(inner: &str) -> (String, &str) {
    let mut word = String::new();
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            ']' => break,
            '\\' if rest.as_str().starts_with(']') => {
                word.push(']');
                rest.next();
            }
            c => word.push(c),
        }
    }
    (word, rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(service: &str) -> Option<Stack> {
        read(service, true, |name| {
            let text = match name {
                "sshd" => {
                    "\
# comment
auth required pam_unix.so
@include common
SESSION  required  pam_loginuid.so # late
-session OPTIONAL /lib/security/pam_idle_watchdog.so timeout=5m \\ \t
    [message=Two words, one \\] bracket] quiet
account include others
session substack others
session include sshd
"
                }
                "common" => "session [success=1 default=ignore] pam_systemd.so\nauth x y\n",
                "others" => "account required pam_a.so\nsession required pam_b.so\n",
                "torn" => "@include others\nsession required pam_a.so \\\n",
                "faulty" => {
                    "sessio required pam_a.so\nsession\nsession required\nsession include torn\nsession include none\n@include others\n"
                }
                "missing" => "session required pam_a.so\n@include none\nsession required pam_b.so\n",
                "around" => "session required pam_a.so\nsession include around\n",
                _ => return None,
            };
            Some((Path::new("/p").join(name), text.to_owned()))
        })
    }

    fn modules(service: &str, line_type: LineType) -> Vec<String> {
        let entries = stack(service).unwrap().of_type(line_type);
        entries.iter().map(|entry| format!("{} {} {}", entry.place, entry.level, entry.module())).collect()
    }

    #[test]
    fn lines_are_in_the_order_in_which_libpam_runs_them() {
        assert_eq!(modules("sshd", LineType::Auth), ["/p/sshd:2 0 pam_unix.so", "/p/common:2 0 y"]);
        assert_eq!(modules("sshd", LineType::Account), ["/p/others:1 0 pam_a.so"]);
        let session = modules("sshd", LineType::Session);
        assert_eq!(
            session[..6],
            [
                "/p/common:1 0 pam_systemd.so",
                "/p/sshd:4 0 pam_loginuid.so",
                "/p/sshd:5 0 pam_idle_watchdog.so",
                "/p/sshd:8 0 ",
                "/p/others:2 1 pam_b.so",
                "/p/common:1 0 pam_systemd.so",
            ]
        );
        assert_eq!(stack("none"), None);
        assert_eq!(stack("../sshd"), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_fails_as_it_does_in_libpam() {
        let faults = |line_type| -> Vec<String> {
            let said = |entry: Entry| match entry.runs {
                Runs::Fails(why) => format!("{}: {why}", entry.place),
                runs => format!("{}: {runs:?}", entry.place),
            };
            stack("faulty").unwrap().of_type(line_type).into_iter().map(said).collect()
        };
        assert_eq!(faults(LineType::Auth), ["/p/faulty:1: sessio is not a line type"]);
        let b = "/p/others:2: Module(\"pam_b.so\")";
        assert_eq!(
            faults(LineType::Session),
            [
                "/p/faulty:2: the control is missing",
                "/p/faulty:3: the module is missing",
                b,
                "/p/faulty:4: /p/torn:2: the last line ends with a backslash",
                "/p/faulty:5: the included file none does not exist",
                b,
            ]
        );
    }

    #[test]
    fn a_missing_include_breaks_the_whole_service() {
        assert_eq!(
            stack("missing").unwrap().broken.unwrap(),
            "/p/missing:2: the included file none does not exist"
        );
        assert_eq!(modules("missing", LineType::Session).len(), 2);
        assert_eq!(stack("torn").unwrap().broken.unwrap(), "/p/torn:2: the last line ends with a backslash");
        assert_eq!(stack("sshd").unwrap().broken, None);
    }

    #[test]
    fn without_debians_patch_at_include_is_not_a_line_type() {
        let text = |_: &str| Some((PathBuf::from("/p/x"), "@include common\n".to_owned()));
        let entries = read("x", false, text).unwrap().entries;
        assert_eq!(entries[0].runs, Runs::Fails("@include is not a line type".to_owned()));
    }

    #[test]
    fn files_that_include_each_other_do_not_loop_for_ever() {
        let around = stack("around").unwrap().entries;
        assert_eq!(around.len(), DEPTH_MAX + 1);
        assert_eq!(around.last().unwrap().runs, Runs::Fails("files include each other".to_owned()));
        let wide = |name: &str| {
            let text = "@include b\n@include a\nsession include b\nsession required pam_a.so\n";
            Some((PathBuf::from(name), text.to_owned()))
        };
        assert!(read("a", true, wide).unwrap().broken.is_some());
    }

    #[test]
    fn words_in_brackets_are_one_word() {
        let entry = stack("sshd").unwrap().entries.swap_remove(4);
        assert_eq!(entry.words, ["timeout=5m", "message=Two words, one ] bracket", "quiet"]);
        assert_eq!(words("[a b"), ["a b"]);
        assert_eq!(words("  a\tb "), ["a", "b"]);
    }
}
