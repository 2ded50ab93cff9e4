//! The column `who`: users, groups and user IDs.

use std::fmt::{self, Display};

use super::list::Item;
use super::quoting::{self, Letter, Written};

/// The users that a rule applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `*`
    Any,
    /// A user's name, as in PAM_USER. In quotation marks it may contain any character that a name can.
    User(String),
    /// `@name`: the members of a group, whether it is their primary group or not.
    Group(String),
    /// `uid:N`, `uid:N-M`, `uid:N-`: both ends included.
    Uids(u32, u32),
}

impl Item for Who {
    const EXPECTED: &'static str = "a user, @group, uid:N, uid:N-M, uid:N- or *";
    const QUOTABLE: bool = true;

    fn read(letters: &[Letter]) -> Result<Self, String> {
        let text = quoting::text(letters);
        if letters.first().is_some_and(|(_, written)| *written != Written::Escaped) {
            if text == "*" {
                return Ok(Self::Any);
            }
            if let Some(range) = text.strip_prefix("uid:") {
                return ids(range).ok_or_else(Self::expected);
            }
        }
        let group = quoting::behind('@', letters);
        let name = quoting::text(group.unwrap_or(letters));
        let good = if quoting::is_quoted(letters) {
            can_be_a_name(group.unwrap_or(letters))
        } else {
            is_plain(&name, group.is_some())
        };
        if good {
            return Ok(if group.is_some() { Self::Group(name) } else { Self::User(name) });
        }
        // Such a character means that somebody wanted a pattern, an exception, an address or the syntax of
        // another file.
        let foreign = ['*', '?', '!', '%', ':', '/'];
        let expected = Self::expected();
        if let (Some(group), false) = (text.strip_prefix('%'), quoting::is_quoted(letters)) {
            // This is the syntax of sudoers(5).
            return Err(format!("{expected}; did you mean @{}?", group.escape_debug()));
        }
        if quoting::is_quoted(letters) || name.is_empty() || text.contains(foreign) {
            return Err(expected);
        }
        let quoted = quoted(if group.is_some() { "@" } else { "" }, &name);
        Err(format!("{expected}; if that is the whole name, write {quoted}"))
    }

    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// Reads `uid:N`, `uid:N-M` or `uid:N-` after its `uid:`.
fn ids(range: &str) -> Option<Who> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
    let (first, last) = match range.split_once('-') {
        Some((first, "")) => (number(first)?, u32::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    (first <= last).then_some(Who::Uids(first, last))
}

/// Whether a name needs no quotation marks. A user's name may have a domain after an `@`.
fn is_plain(name: &str, group: bool) -> bool {
    let foreign = ['*', '?', '!', '@', ':', '[', ']', '(', ')', '/', '%', '"', '#', ',', '='];
    let is_plain = |name: &str| !name.is_empty() && !name.contains(foreign);
    let whole = name.chars().all(|c| c.is_ascii_graphic()) && !name.ends_with('\\');
    whole && if group { is_plain(name) } else { name.split('@').all(is_plain) }
}

/// Whether a text in quotation marks can be a name. In passwd(5) and group(5) colons separate fields, and line
/// feeds separate entries.
fn can_be_a_name(letters: &[Letter]) -> bool {
    // An unescaped blank at an end was written beside a comma, and an unescaped mark was meant as a mark.
    let slip = |letter: Option<&Letter>, marks: &[char]| {
        letter.is_some_and(|(c, written)| *written != Written::Escaped && marks.contains(c))
    };
    !letters.is_empty()
        && letters.iter().all(|(c, _)| *c != ':' && (*c == '\t' || !c.is_control()))
        && !slip(letters.first(), &[' ', '!'])
        && !slip(letters.last(), &[' '])
}

/// A name in quotation marks, for [`Who::read`].
fn quoted(mark: &str, name: &str) -> String {
    let mut text = format!("\"{mark}");
    let end = name.chars().count();
    for (at, c) in (1..).zip(name.chars()) {
        let first = at == 1 && matches!(c, '!' | '@' | '*' | ' ');
        if first || matches!(c, '"' | '\\' | ',' | '\t') || (at == end && c == ' ') {
            quoting::escape(c, &mut text);
        } else {
            text.push(c);
        }
    }
    text.push('"');
    text
}

/// As a policy file has it.
impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::User(name) if is_plain(name, false) => f.write_str(name),
            Self::User(name) => f.write_str(&quoted("", name)),
            Self::Group(name) if is_plain(name, true) => write!(f, "@{name}"),
            Self::Group(name) => f.write_str(&quoted("@", name)),
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
            ("uid:0", Who::Uids(0, 0)),
            ("uid:1000-1999", Who::Uids(1000, 1999)),
            ("uid:60000-", Who::Uids(60000, u32::MAX)),
        ] {
            assert_eq!(Who::read(&quoting::bare(text)), Ok(who), "{text}");
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
