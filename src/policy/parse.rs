//! Reads the text of a policy file: lines, comments, continued lines, quotation marks, and the rules.

use std::fmt::{self, Display};
use std::iter::Peekable;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::Chars;

use super::list::{Item, List};
use super::options::Options;
use super::place::RulePlace;
use super::quoting::{self, Letter, Written};
use super::rule::{Policy, Rule};
use super::table::Within;

/// A mistake in a policy. One mistake makes the whole policy unusable, because a mistyped rule must exempt
/// nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// Line and column, from 1, if the text is wrong.
    pub at: Option<(usize, usize)>,
    /// The word as it was written.
    pub word: Option<String>,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl Fault {
    /// A fault of a file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>, problem: impl Display) -> Self {
        Self { file: file.into(), at: None, word: None, problem: problem.to_string() }
    }

    /// A fault of a rule as a whole.
    #[must_use]
    pub fn of_rule(place: &RulePlace, problem: impl Display) -> Self {
        Self { at: Some((place.line, 1)), ..Self::of_file(place.file.as_path(), problem) }
    }
}

/// `file:line:column: word: problem`
impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display().to_string().escape_debug())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(word) = &self.word {
            write!(f, ": {}", word.escape_debug())?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl Policy {
    /// Reads the rules of one file's text.
    ///
    /// # Errors
    ///
    /// All faults of the text, at most one for each rule.
    pub fn parse(file: PathBuf, text: &str) -> Result<Self, Vec<Fault>> {
        parse(file, text).map(|rules| Self { rules })
    }
}

/// Reads the rules of one file.
///
/// # Errors
///
/// All faults of the file, at most one for each rule.
pub fn parse(file: PathBuf, text: &str) -> Result<Vec<Rule>, Vec<Fault>> {
    let file = Rc::new(file);
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, column: 1 };
    while let Some(row) = reader.row() {
        match row.and_then(|row| rule(&file, &row)) {
            Ok(rule) => rules.push(rule),
            Err(Bad { at, word, problem }) => {
                let file = PathBuf::clone(&file);
                faults.push(Fault {
                    file,
                    at: Some(at),
                    word: Some(word).filter(|word| !word.is_empty()),
                    problem,
                });
            }
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

struct Bad {
    at: (usize, usize),
    word: String,
    problem: String,
}

/// A word of a row, without its quotation marks.
struct Word {
    at: (usize, usize),
    text: String,
    letters: Vec<Letter>,
}

impl Word {
    fn bad(&self, problem: impl Into<String>) -> Bad {
        Bad { at: self.at, word: self.text.clone(), problem: problem.into() }
    }
}

/// Reads the rule in one row, which has at least one word.
fn rule(file: &Rc<PathBuf>, row: &[Word]) -> Result<Rule, Bad> {
    let [who, service, terminal, from, settings @ ..] = row else {
        let problem = "expected four columns (who, service, terminal, from), then options";
        let nothing = || Bad { at: (1, 1), word: String::new(), problem: problem.to_owned() };
        return Err(row.last().map_or_else(nothing, |last| last.bad(problem)));
    };
    let rule = Rule {
        place: RulePlace { file: Rc::clone(file), line: who.at.0 },
        who: column(who)?,
        service: column(service)?,
        terminal: column(terminal)?,
        from: column(from)?,
        options: Options::default(),
    };
    if settings.is_empty() {
        return Err(from.bad("expected an option after it, such as timeout=10m"));
    }
    let mut options = Options::default();
    for word in settings {
        options.set(&word.text, Within::Rule).map_err(|problem| word.bad(problem))?;
    }
    // Without its own limit, the rule depends on the PAM line, so it is unknown whether the warning is short
    // enough.
    if options.word("timeout").is_some() {
        options.warns_in_time().map_err(|(bad, problem)| {
            settings.iter().find(|word| word.text == bad).unwrap_or(from).bad(problem)
        })?;
    }
    Ok(Rule { options, ..rule })
}

fn column<T: Item>(word: &Word) -> Result<List<T>, Bad> {
    List::read(&word.letters).map_err(|problem| word.bad(problem))
}

/// Splits a text into rows of words.
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    /// The next row that has words. `None` at the end of the text.
    fn row(&mut self) -> Option<Result<Vec<Word>, Bad>> {
        let mut row = Vec::new();
        loop {
            match self.rest.peek() {
                None if row.is_empty() => return None,
                None => return Some(Ok(row)),
                Some('\n') => {
                    self.next();
                    if !row.is_empty() {
                        return Some(Ok(row));
                    }
                }
                Some(' ' | '\t') => {
                    self.next();
                }
                Some('#') => self.skip_line(),
                Some(_) => match self.word() {
                    Ok(Some(word)) => row.push(word),
                    Ok(None) => {}
                    Err(bad) => {
                        self.skip_line();
                        return Some(Err(bad));
                    }
                },
            }
        }
    }

    fn skip_line(&mut self) {
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.next();
        }
    }

    /// Reads the word that starts here. `None` if there is only the end of a continued line.
    fn word(&mut self) -> Result<Option<Word>, Bad> {
        let at = (self.line, self.column);
        let mut letters = Vec::new();
        let bad = |at, letters: &[Letter], problem: &str| Bad {
            at,
            word: quoting::text(letters),
            problem: problem.to_owned(),
        };
        let mut quoted = false;
        loop {
            let here = (self.line, self.column);
            match self.rest.peek().copied() {
                None | Some(' ' | '\t' | '\n') => break,
                Some('"') => {
                    quoted = true;
                    self.next();
                    self.quoted(&mut letters).map_err(|problem| bad(at, &letters, problem))?;
                }
                Some('\\') => {
                    self.next();
                    if self.rest.peek() == Some(&'\n') {
                        self.next();
                        break;
                    }
                    if matches!(self.rest.peek(), Some(' ' | '\t' | '\r')) {
                        let backslash = [('\\', Written::Bare)];
                        let problem =
                            "continues a line only at its end; a name with spaces needs quotation marks";
                        return Err(bad(here, &backslash, problem));
                    }
                    letters.push(('\\', Written::Bare));
                }
                Some('\r') => {
                    return Err(bad(here, &letters, "a carriage return; lines must end in a line feed only"));
                }
                Some('#') => {
                    return Err(bad(
                        here,
                        &letters,
                        "a comment starts after a space; enclose a word that contains # in quotation marks",
                    ));
                }
                Some(c) if c.is_ascii_graphic() => {
                    self.next();
                    letters.push((c, Written::Bare));
                }
                Some(c) => {
                    let problem = format!(
                        "{} is not a plain character; enclose the text in quotation marks",
                        c.escape_unicode()
                    );
                    return Err(bad(here, &letters, &problem));
                }
            }
        }
        let text = quoting::text(&letters);
        Ok((quoted || !text.is_empty()).then_some(Word { at, text, letters }))
    }

    /// Reads the text between quotation marks. The opening mark has been read.
    fn quoted(&mut self, letters: &mut Vec<Letter>) -> Result<(), &'static str> {
        loop {
            match self.rest.peek().copied() {
                None | Some('\n') => return Err("the closing quotation mark is missing"),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.next();
                    let c = self.rest.peek().copied().and_then(quoting::escaped);
                    let c =
                        c.ok_or("a backslash is allowed only before one of \" \\ n t , ! @ * and a space")?;
                    self.next();
                    letters.push((c, Written::Escaped));
                }
                Some(c) if c.is_control() => return Err("a control character; write a tab as \\t"),
                Some(c) => {
                    self.next();
                    letters.push((c, Written::Quoted));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::super::who::Who;
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<Rule>, Vec<Fault>> {
        parse(PathBuf::from("/f"), text)
    }

    fn lines(text: &str) -> Vec<String> {
        read(text).unwrap().iter().map(Rule::to_string).collect()
    }

    /// The only fault, as the administrator sees it.
    fn fault(text: &str) -> String {
        let faults = read(text).expect_err(text);
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        fault.to_string()
    }

    #[test]
    fn the_documented_example() {
        let text = "\
# who            service terminal from       settings
root,@wheel      *      *      *            timeout=10m
deploy           sshd   *      10.0.0.0/8   timeout=off
uid:1000-1999    *      tty*   local        timeout=5m activity=input,cpu warn=2m,30s
*                *      *      *            timeout=15m   # all others
";
        let rules = read(text).unwrap();
        assert_eq!(rules.iter().map(|rule| rule.place.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(
            rules[2].to_string(),
            "uid:1000-1999 * tty* local timeout=5m warn=2m,30s activity=input,cpu"
        );
    }

    #[test]
    fn lines_are_continued_and_comments_are_not() {
        assert_eq!(lines("* * \\\n  * * timeout=5m\\\n quiet"), ["* * * * timeout=5m quiet"]);
        assert_eq!(lines("# no \\\n* * * * timeout=5m"), ["* * * * timeout=5m"]);
        assert_eq!(lines("\n \t\n* * * * timeout=5m"), ["* * * * timeout=5m"]);
        assert!(read("* * * * timeout=5m \\\n * * * * timeout=off").is_err());
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn quotation_marks_hold_blanks_together() {
        assert_eq!(
            lines(r#""@domain users" * * * message="Idle for {idle}: \"go\" \\ on #1""#),
            [r#""@domain users" * * * "message=Idle for {idle}: \"go\" \\ on #1""#]
        );
        assert_eq!(lines(r"EXAMPLE\alice * * * quiet"), [r"EXAMPLE\alice * * * quiet"]);
    }

    #[test]
    fn in_quotation_marks_a_name_may_hold_whatever_a_directory_puts_into_it() {
        let group = |name: &str| Who::Group(name.to_owned());
        let user = |name: &str| Who::User(name.to_owned());
        for (word, who) in [
            (r#""@linuxadmins@corp.example""#, group("linuxadmins@corp.example")),
            (r#""@GG Linux (Prod)""#, group("GG Linux (Prod)")),
            (r#""@EXAMPLE\\domain users""#, group(r"EXAMPLE\domain users")),
            (r#"@"domain users""#, group("domain users")),
            (r#""@GG Linux\, Prod""#, group("GG Linux, Prod")),
            (r#""@100% *[a]/b?=#c!""#, group("100% *[a]/b?=#c!")),
            (r#""@Größe""#, group("Größe")),
            (r#""EXAMPLE\\alice""#, user(r"EXAMPLE\alice")),
            (r#""EXAMPLE+alice smith""#, user("EXAMPLE+alice smith")),
            (r#""\@alice""#, user("@alice")),
            (r#""\*""#, user("*")),
            (r#""*""#, Who::Any),
        ] {
            let rules = read(&format!("{word} * * * quiet")).unwrap_or_else(|faults| panic!("{faults:?}"));
            assert_eq!(rules[0].who.items().collect::<Vec<_>>(), [&who], "{word}");
        }
        // The comma separates items inside quotation marks, too.
        let rules = read(r#""!root,@a b,!bob" * * * quiet"#).unwrap();
        assert_eq!(rules[0].to_string(), r#"!root,"@a b",!bob * * * quiet"#);
    }

    #[test]
    fn what_no_name_has_or_is_a_slip_is_refused_in_quotation_marks_too() {
        for word in ["@", "a:b", r"a\nb", "root, @wheel", "@a ", "!!a", "a,,b", r"a\b"] {
            assert!(read(&format!("\"{word}\" * * * quiet")).is_err(), "{word}");
        }
        // In the other columns no character needs an escape.
        for line in [r#"* "a\,b" * * quiet"#, r#"* * "\*" * quiet"#, r#"* * * "\*" quiet"#] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_fault_names_line_column_and_word_and_what_was_expected() {
        for (text, says) in [
            ("* * * * timeot=5m", "/f:1:9: timeot=5m: unknown; expected one of timeout="),
            ("\n* * * \\\n   *   warn=x", "/f:3:8: warn=x: not a duration"),
            (
                "* * * timeout=5m",
                "/f:1:7: timeout=5m: expected a host, an address, address/bits, local or *, found an option",
            ),
            ("* sshd *", "/f:1:8: *: expected four columns"),
            ("* * * *", "/f:1:7: *: expected an option after it"),
            ("* * * * conf=/x", "/f:1:9: conf=/x: allowed on the PAM line only"),
            ("* * * 10.0.0.1/8 quiet", "/f:1:7: 10.0.0.1/8: host bits are set; did you mean 10.0.0.0/8?"),
            (
                "* * * * timeout=1m warn=2m",
                "/f:1:20: warn=2m: the warning must be shorter than the limit, 1m",
            ),
            ("* * * * \"message=x", "/f:1:9: message=x: the closing quotation mark is missing"),
            ("* * * * quiet#x", "/f:1:14: quiet: a comment starts after a space"),
            ("* * * * quiet\r\n", "/f:1:14: quiet: a carriage return"),
            ("* * * * quiet \\ \n", "/f:1:15: \\\\: continues a line only at its end"),
            ("* * * * quiet\u{e9}", "/f:1:14: quiet: \\u{e9} is not a plain character"),
            ("\u{feff}* * * * quiet", "/f:1:1: \\u{feff} is not a plain character"),
            ("a,,b * * * quiet", "/f:1:1: a,,b: an item is missing"),
            ("\"\" * * * quiet", "/f:1:1: an item is missing"),
            (
                "@a@b * * * quiet",
                "/f:1:1: @a@b: expected a user, @group, uid:N, uid:N-M, uid:N- or *; \
                 if that is the whole name, write \"@a@b\"",
            ),
            (
                "x,@GG(a) * * * quiet",
                "/f:1:1: x,@GG(a): \"@GG(a)\": expected a user, @group, uid:N, uid:N-M, uid:N- or *; \
                 if that is the whole name, write \"@GG(a)\"",
            ),
            ("!hoa * * * quiet", "/f:1:1: !hoa: only exceptions: to match everything else, write *,!hoa"),
            (
                "* !su,!cron * * quiet",
                "/f:1:3: !su,!cron: only exceptions: to match everything else, write *,!su,!cron",
            ),
            (
                "* * * !local quiet",
                "/f:1:7: !local: only exceptions: to match everything else, write *,!local",
            ),
            (
                "%sudo * * * quiet",
                "/f:1:1: %sudo: expected a user, @group, uid:N, uid:N-M, uid:N- or *; did you mean @sudo?",
            ),
        ] {
            let found = fault(text);
            assert!(found.starts_with(says), "{text:?}: {found}");
        }
    }

    #[test]
    fn every_faulty_rule_is_told_at_once() {
        assert_eq!(read("* * * * x\n* * * * quiet\ny\n").unwrap_err().len(), 2);
    }

    /// Texts of which some are valid rules.
    fn texts() -> impl Strategy<Value = String> {
        let who = r#"(\*|root|\*,!root|@wheel|"@a b"|uid:[0-9]{1,3}-?|[a-z]{1,3},!b|"@?([a-z@ (,!*=é]|\\[,!@* "]){1,5}")"#;
        let glob = r"(\*|sshd|tty\?|\*,!ssh|[a-z]\*,b)";
        let from = r"(\*|local|10\.0\.0\.0/8|::/0|\*,!local|\*\.Example\.org|x)";
        let setting = r#"(timeout=(off|[1-9][0-9]m)|warn=([1-9]s|off)|grace=1s|kill=tty|activity=cpu,input|notty=1h|quiet|debug|onerr=succeed|message="\PC{0,6}\\n\{user\}"|message=é|x)"#;
        let row = format!("{who} {glob} {glob} {from}( {setting}){{1,3}}( #.{{0,3}})?( \\\\\n)?");
        let row = proptest::string::string_regex(&row).unwrap();
        proptest::collection::vec(row, 0..5).prop_map(|rows| rows.join("\n"))
    }

    /// The rules without their places.
    fn said(rules: &[Rule]) -> Vec<Rule> {
        let place = RulePlace { file: Rc::default(), line: 0 };
        rules.iter().map(|rule| Rule { place: place.clone(), ..rule.clone() }).collect()
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_it_can_be_written(name in r"[^:\p{Cc}]{1,8}\t?", group: bool, except: bool) {
            let who = if group { Who::Group(name) } else { Who::User(name) };
            let line = format!("root,{}{who} * * * quiet", if except { "!" } else { "" });
            let rules = read(&line).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
            prop_assert_eq!(rules[0].who.items().last(), Some(&who));
        }

        #[test]
        fn print_then_parse_is_the_identity(text in texts()) {
            if let Ok(rules) = read(&text) {
                let printed: Vec<String> = rules.iter().map(Rule::to_string).collect();
                prop_assert_eq!(said(&read(&printed.join("\n")).unwrap()), said(&rules));
            }
        }

        #[test]
        fn no_exemption_but_those_that_are_printed(text in texts()) {
            if let Ok(rules) = read(&text) {
                for rule in &rules {
                    let exempt = Settings::of(&Options::default(), Some(&rule.options)).limit.is_none();
                    prop_assert_eq!(exempt, rule.to_string().split(' ').any(|word| word == "timeout=off"));
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).*") {
            let _ = read(&text);
        }

        #[test]
        fn no_printable_text_makes_it_panic(text in r#"([*!,@"\\# \n=a-z0-9:/.()-]{0,40}\n?){0,4}"#) {
            if let Ok(rules) = read(&text) {
                let printed: Vec<String> = rules.iter().map(Rule::to_string).collect();
                prop_assert_eq!(said(&read(&printed.join("\n")).unwrap()), said(&rules));
            }
        }
    }
}
