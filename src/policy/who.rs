//! The column `who`: users, groups, ids.

use std::fmt::{self, Display};

use super::list::Item;

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `*`
    Any,
    /// A user's name, as PAM has it.
    User(String),
    /// `@name`: a group's members, of which it is the primary one or another.
    Group(String),
    /// `uid:N`, `uid:N-M`, `uid:N-`: both ends included.
    Uids(u32, u32),
}

impl Item for Who {
    const EXPECTED: &'static str = "a user, @group, uid:N, uid:N-M, uid:N- or *";

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| match text.strip_prefix('%') {
            // As sudoers(5) has it.
            Some(group) => format!("{}; did you mean @{}?", Self::expected(), group.escape_debug()),
            None => Self::expected(),
        })
    }

    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

impl Who {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(range) = text.strip_prefix("uid:") {
            let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
            let (first, last) = match range.split_once('-') {
                Some((first, "")) => (number(first)?, u32::MAX),
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(range)?, number(range)?),
            };
            return (first <= last).then_some(Self::Uids(first, last));
        }
        // No user's name holds these: somebody meant a pattern, an address or another file's syntax.
        // A blank at an end is one behind a comma, within quotation marks.
        let is_name = |name: &str| {
            let foreign = ['*', '?', '!', '@', ':', '[', ']', '(', ')', '/', '%'];
            !name.is_empty()
                && name == name.trim()
                && !name.contains(foreign)
                && !name.contains(char::is_control)
        };
        if let Some(name) = text.strip_prefix('@') {
            return is_name(name).then(|| Self::Group(name.to_owned()));
        }
        text.split('@').all(is_name).then(|| Self::User(text.to_owned()))
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::User(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Uids(first, last) if first == last => write!(f, "uid:{first}"),
            Self::Uids(first, u32::MAX) => write!(f, "uid:{first}-"),
            Self::Uids(first, last) => write!(f, "uid:{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::List;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            "al*",
            "@",
            "@a@b",
            "uid:",
            "uid:5-4",
            "uid:-5",
            "uid:+5",
            "uid:99999999999",
            "uid:1-2-3",
            "a:b",
            "!!a",
            "timeout=10m",
            "*,! @staff",
            "root, @wheel",
            "*,!alice ",
            "*,!alice@10.0.0.0/8",
            "alice@*",
            "alice@",
            "a\nb",
        ] {
            assert!(List::<Who>::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_what_pam_and_name_services_may_call_somebody() {
        for (text, who) in [
            ("alice", Who::User("alice".to_owned())),
            ("alice@example.org", Who::User("alice@example.org".to_owned())),
            (r"EXAMPLE\alice", Who::User(r"EXAMPLE\alice".to_owned())),
            ("@domain users", Who::Group("domain users".to_owned())),
            ("uid:0", Who::Uids(0, 0)),
            ("uid:1000-1999", Who::Uids(1000, 1999)),
            ("uid:60000-", Who::Uids(60000, u32::MAX)),
        ] {
            assert_eq!(Who::parse(text), Ok(who), "{text}");
        }
    }

    #[test]
    fn an_exception_is_asked_only_where_it_matters() {
        let list = List::<Who>::parse("*,!root,!@staff").unwrap();
        let asked = |root: bool| {
            let mut asked = Vec::new();
            let matched = list.matches(|item| {
                asked.push(item.to_string());
                Ok::<_, ()>(*item == Who::Any || root && *item == Who::User("root".to_owned()))
            });
            (matched.unwrap(), asked)
        };
        assert_eq!(asked(true), (false, ["*", "root"].map(str::to_owned).to_vec()));
        assert_eq!(asked(false), (true, ["*", "root", "@staff"].map(str::to_owned).to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(text in r"(!?(\*|[a-z.]{1,4}|@[a-z]{1,4}|uid:[0-9]{1,4}-?),?){1,4}") {
            if let Ok(list) = List::<Who>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = List::<Who>::parse(&text);
        }
    }
}
