//! The policy file. The input is its text. Logins follow after a line `==`, one a line: user, ID, service,
//! terminal and remote host with blanks between them (`-` means none).
#![no_main]

use std::path::PathBuf;
use std::rc::Rc;

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::login::Login;
use pam_idle_watchdog::policy::{Fault, Options, Policy, Rule, RulePlace, Settings};

fn read(text: &str) -> Result<Policy, Vec<Fault>> {
    Policy::parse(PathBuf::from("/f"), text)
}

/// Rules without their places.
fn said(policy: &Policy) -> Vec<Rule> {
    let place = RulePlace { file: Rc::default(), line: 0 };
    policy.rules.iter().map(|rule| Rule { place: place.clone(), ..rule.clone() }).collect()
}

/// A printed rule without the text in quotation marks. A person who looks for exemptions reads this.
fn unquoted(line: &str) -> String {
    let (mut plain, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            c if !quoted => plain.push(c),
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    plain
}

/// The logins from the second half of the input, and logins from words of the text, because rules are about
/// those.
fn logins(text: &str, rows: &str) -> Vec<Login> {
    let login = |user: &str, uid, service: &str, tty: &str, from: &str| Login {
        service: service.into(),
        user: Some(user.into()),
        uid,
        rhost: Some(from.into()),
        tty: Some(tty.into()),
    };
    let mut logins: Vec<Login> = rows
        .lines()
        .map(|row| {
            let mut fields = row.split(' ').map(|field| if field == "-" { "" } else { field });
            let mut next = || fields.next().unwrap_or_default();
            login(next(), next().parse().ok(), next(), next(), next())
        })
        .collect();
    for row in text.lines() {
        let words: Vec<&str> =
            row.split([' ', '\t', ',', '!', '"']).filter(|word| !word.is_empty()).collect();
        let [user, service, tty, from, ..] = words[..] else { continue };
        let digits = |c: char| c.is_ascii_digit();
        let uid = user.trim_start_matches(|c| !digits(c)).split(|c| !digits(c)).next().unwrap_or_default();
        let from = from.split('/').next().unwrap_or_default();
        logins.push(login(user, uid.parse().ok(), service, tty, from));
        logins.push(login(service, None, tty, from, user));
    }
    logins
}

/// The decision about a login, and the groups that were asked. `in_group` says to which groups the user
/// belongs.
fn decide(policy: &Policy, login: &Login, in_group: fn(&str, &str) -> bool) -> (Settings, bool, Vec<String>) {
    let line = Options::of_line(["timeout=7m", "warn=3m,1m", "message=built"]).expect("a good line");
    let mut asked = Vec::new();
    let rule = policy.rule_for(login, None, |group| {
        asked.push(group.to_owned());
        Ok::<_, ()>(in_group(&login.user_text(), group))
    });
    let rule = rule.expect("name services answer");
    let settings = Settings::of(&line, rule.map(|rule| &rule.options));
    let exempts = |rule: &Rule| unquoted(&rule.to_string()).split(' ').any(|word| word == "timeout=off");
    assert_eq!(settings.limit.is_none(), rule.is_some_and(exempts), "exempt, unlike what is printed");
    (settings, rule.is_some(), asked)
}

/// A fault must point into the text and have a message.
fn check(fault: &Fault, text: &str) {
    let (line, column) = fault.at.expect("a place in the text");
    let there = text.split('\n').nth(line - 1).expect("a line of the text");
    assert!((1..=there.chars().count() + 1).contains(&column), "{fault}");
    assert!(!fault.problem.is_empty() && !fault.to_string().chars().any(char::is_control), "{fault:?}");
}

fuzz_target!(|data: &[u8]| -> Corpus {
    // Text that is not UTF-8 is refused before it gets here.
    let Ok(input) = std::str::from_utf8(data) else { return Corpus::Reject };
    let (text, rows) = input.split_once("\n==\n").unwrap_or((input, ""));
    let policy = match read(text) {
        Ok(policy) => policy,
        Err(faults) => {
            assert!(!faults.is_empty());
            faults.iter().for_each(|fault| check(fault, text));
            return Corpus::Keep;
        }
    };
    let printed: Vec<String> = policy.rules.iter().map(Rule::to_string).collect();
    assert!(printed.iter().all(|line| !line.contains('\n')), "{printed:?}");
    let again = read(&printed.join("\n")).expect("what is printed can be read");
    assert_eq!(said(&again), said(&policy));
    for login in logins(text, rows) {
        for in_group in [
            |_: &str, _: &str| false,
            |_: &str, _: &str| true,
            |user: &str, group: &str| group.contains(user),
        ] {
            assert_eq!(decide(&again, &login, in_group), decide(&policy, &login, in_group), "{login:?}");
        }
    }
    Corpus::Keep
});
