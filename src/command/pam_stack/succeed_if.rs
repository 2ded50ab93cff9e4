//! The result of pam_succeed_if(8) for one login. Many stacks use this module to exempt users. Pure: the caller
//! asks name services.

use super::control::Code;
use super::stack::Entry;
use crate::login::Login;

/// Facts from name services about a user. `None` means that they do not answer.
pub struct UserFacts<'a> {
    pub uid: &'a dyn Fn() -> Option<u32>,
    /// Whether the user is a member of this group.
    pub is_in: &'a dyn Fn(&str) -> Option<bool>,
}

/// Arguments that only change what is logged.
const QUIET: [&str; 5] = ["debug", "quiet", "quiet_fail", "quiet_success", "audit"];

/// The result of a line's module. `None` if the line runs another module, or the result is unknown.
#[must_use]
pub fn result(entry: &Entry, login: &Login, user: &UserFacts<'_>) -> Option<Code> {
    if entry.module() != "pam_succeed_if.so" {
        return None;
    }
    let words: Vec<&str> =
        entry.words.iter().map(String::as_str).filter(|word| !QUIET.contains(word)).collect();
    // All conditions must be true.
    let mut all = true;
    for condition in words.chunks(3) {
        let [left, comparison, right] = condition else { return None };
        all &= is_true(left, comparison, right, login, user)?;
    }
    Some(if all { Code::SUCCESS } else { Code::AUTH_ERR })
}

fn is_true(left: &str, comparison: &str, right: &str, login: &Login, user: &UserFacts<'_>) -> Option<bool> {
    let left = left.to_ascii_lowercase();
    let value = match left.as_str() {
        "user" => login.user_text().into_owned(),
        "uid" => (user.uid)()?.to_string(),
        "rhost" => login.rhost_text().into_owned(),
        "tty" => login.tty_text().into_owned(),
        "service" => login.service_text().into_owned(),
        _ => return None,
    };
    let numbers = || Some((value.parse::<i64>().ok()?, right.parse::<i64>().ok()?));
    let listed = || right.split(':').any(|item| item == value);
    let grouped = || right.split(':').try_fold(false, |found, group| Some(found || (user.is_in)(group)?));
    match comparison.to_ascii_lowercase().as_str() {
        "=" => Some(value == right),
        "!=" => Some(value != right),
        "eq" => numbers().map(|(left, right)| left == right),
        "ne" => numbers().map(|(left, right)| left != right),
        "lt" => numbers().map(|(left, right)| left < right),
        "le" => numbers().map(|(left, right)| left <= right),
        "gt" => numbers().map(|(left, right)| left > right),
        "ge" => numbers().map(|(left, right)| left >= right),
        "in" => Some(listed()),
        "notin" => Some(!listed()),
        "ingroup" if left == "user" => grouped(),
        "notingroup" if left == "user" => grouped().map(|found| !found),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::pam_stack::parse;
    use crate::command::pam_stack::stack::LineType;
    use std::path::PathBuf;

    fn asked(words: &str) -> Option<Code> {
        let read =
            |_: &str| Some((PathBuf::from("/f"), format!("session optional pam_succeed_if.so {words}\n")));
        let entry = parse::read("x", true, read).unwrap().of_type(LineType::Session).remove(0);
        let [user, rhost, tty] = ["root", "192.0.2.7", "ssh"].map(|item| Some(item.into()));
        let login = Login { service: "sshd".into(), user, uid: None, rhost, tty };
        result(&entry, &login, &UserFacts { uid: &|| Some(0), is_in: &|group| Some(group == "root") })
    }

    #[test]
    fn conditions_are_evaluated_as_the_module_does_it() {
        for words in [
            "",
            "quiet user = root",
            "uid < 1000",
            "uid eq 0 user in a:root",
            "user notin a:b",
            "user ingroup none:root",
            "rhost = 192.0.2.7",
        ] {
            let words = words.replace('<', "lt");
            assert_eq!(asked(&words), Some(Code::SUCCESS), "{words}");
        }
        for words in [
            "user != root",
            "uid ge 1000",
            "user = root uid ne 0",
            "user notingroup root",
            "service in login:su",
        ] {
            assert_eq!(asked(words), Some(Code::AUTH_ERR), "{words}");
        }
        for words in
            ["use_uid user = root", "user innetgr x", "shell = /bin/sh", "user =", "user =~ r*", "uid eq x"]
        {
            assert_eq!(asked(words), None, "{words}");
        }
    }
}
