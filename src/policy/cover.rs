//! Which rules can never match, because an earlier rule covers all their logins, or their own exceptions do. In
//! doubt a rule counts as not covered.

use super::glob::Glob;
use super::list::{Item, List};
use super::rule::Rule;
use super::source::Source;
use super::who::Who;

/// Whether an item of the column `who` names this user. `None` if that is unknown.
pub type Known<'a> = &'a dyn Fn(&str, &Who) -> Option<bool>;

impl Rule {
    /// Whether this rule matches every login that a later one does.
    #[must_use]
    pub fn covers(&self, later: &Self, known: Known<'_>) -> bool {
        covers(&self.service, &later.service, known)
            && covers(&self.terminal, &later.terminal, known)
            && covers(&self.from, &later.from, known)
            // This is last, because name services may be slow.
            && covers(&self.who, &later.who, known)
    }

    /// The column that matches nothing, because its exceptions cover all its other items.
    #[must_use]
    pub fn empty_column(&self, known: Known<'_>) -> Option<&'static str> {
        let empty = [
            ("who", is_empty(&self.who, known)),
            ("service", is_empty(&self.service, known)),
            ("terminal", is_empty(&self.terminal, known)),
            ("from", is_empty(&self.from, known)),
        ];
        empty.into_iter().find_map(|(column, empty)| empty.then_some(column))
    }
}

/// Compares two items of a column.
trait Set: Item {
    /// Whether it matches everything that the other item matches.
    fn contains(&self, other: &Self, known: Known<'_>) -> bool;

    /// Whether it matches nothing that the other item matches.
    fn is_apart(&self, other: &Self, known: Known<'_>) -> bool;
}

fn covers<T: Set>(over: &List<T>, under: &List<T>, known: Known<'_>) -> bool {
    under.wanted().all(|item| {
        let excepted = |exception: &T| {
            !exception.is_apart(item, known)
                && !under.exceptions().any(|other| other.contains(exception, known))
        };
        over.wanted().any(|wide| wide.contains(item, known)) && !over.exceptions().any(excepted)
    })
}

fn is_empty<T: Set>(list: &List<T>, known: Known<'_>) -> bool {
    list.wanted().all(|item| list.exceptions().any(|exception| exception.contains(item, known)))
}

impl Set for Who {
    fn contains(&self, other: &Self, known: Known<'_>) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::User(name)) => known(name, self) == Some(true),
            (Self::Group(one), Self::Group(other)) => one == other,
            (Self::Uids(first, last), Self::Uids(low, high)) => first <= low && high <= last,
            _ => false,
        }
    }

    fn is_apart(&self, other: &Self, known: Known<'_>) -> bool {
        match (self, other) {
            (_, Self::User(name)) => known(name, self) == Some(false),
            (Self::User(name), _) => known(name, other) == Some(false),
            (Self::Uids(first, last), Self::Uids(low, high)) => last < low || high < first,
            _ => false,
        }
    }
}

impl Set for Glob {
    fn contains(&self, other: &Self, _: Known<'_>) -> bool {
        Self::contains(self, other)
    }

    fn is_apart(&self, other: &Self, _: Known<'_>) -> bool {
        Self::is_apart(self, other)
    }
}

impl Set for Source {
    fn contains(&self, other: &Self, _: Known<'_>) -> bool {
        match (self, other) {
            (Self::Any, _) | (Self::Local, Self::Local) => true,
            (Self::Net(_, bits), Self::Net(net, more)) => bits <= more && self.matches(&net.to_string()),
            (Self::Host(one), Self::Host(other)) | (Self::Addresses(one), Self::Addresses(other)) => {
                one.contains(other)
            }
            _ => false,
        }
    }

    fn is_apart(&self, other: &Self, known: Known<'_>) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) | (Self::Local, Self::Local) => false,
            (Self::Local, _) | (_, Self::Local) => true,
            (Self::Net(..), Self::Net(..)) => !self.contains(other, known) && !other.contains(self, known),
            (Self::Host(one), Self::Host(other)) => one.is_apart(other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::parse;
    use super::*;
    use crate::login::Login;

    /// All users, with the ID and the only group of each.
    const USERS: [(&str, u32, &str); 3] = [("root", 0, "adm"), ("deploy", 900, "sudo"), ("ann", 1000, "ops")];

    fn is(user: &str, who: &Who) -> bool {
        let found = USERS.iter().find(|(name, ..)| *name == user);
        match who {
            Who::Any => true,
            Who::User(name) => name == user,
            Who::Group(name) => found.is_some_and(|(.., group)| group == name),
            Who::Uids(first, last) => found.is_some_and(|(_, uid, _)| (*first..=*last).contains(uid)),
        }
    }

    fn rules(text: &str) -> Vec<Rule> {
        parse::parse(PathBuf::from("/f"), text).unwrap()
    }

    #[track_caller]
    fn covered(over: &str, under: &str) -> bool {
        let rules = rules(&format!("{over} quiet\n{under} quiet\n"));
        rules[0].covers(&rules[1], &|user, who| Some(is(user, who)))
    }

    #[test]
    fn a_rule_behind_one_that_covers_it_is_found() {
        for (over, under) in [
            ("root,@sudo * * *", "deploy sshd * 10.0.0.0/8"),
            ("uid:500- * * *", "deploy,ann * * *"),
            ("uid:500- * * *", "uid:1000-1999 * * *"),
            ("*,!root * * *", "deploy * * *"),
            ("*,!root * * *", "*,!root,!@sudo * * *"),
            ("*,!@sudo * * *", "ann,root * * *"),
            ("@ops,@sudo * * *", "@sudo * * *"),
            ("* s* * *", "* sshd,su * *"),
            ("* *,!su * *", "* sshd * *"),
            ("* * tty* *", "* * tty1,tty?x *"),
            ("* * * 10.0.0.0/8", "* * * 10.1.0.0/16,10.2.3.4"),
            ("* * * *,!local", "* * * 10.1.0.0/16,*.example.org"),
            ("* * * *,!10.0.0.0/8", "* * * 192.0.2.0/24,local"),
            ("* * * *.example.org", "* * * a.example.org"),
        ] {
            assert!(covered(over, under), "{over} / {under}");
        }
    }

    #[test]
    fn a_rule_that_still_matches_somebody_is_not() {
        for (over, under) in [
            ("root,@adm * * *", "deploy * * *"),
            ("@sudo * * *", "deploy,ann * * *"),
            ("@sudo sshd * *", "deploy * * *"),
            ("uid:1000- * * *", "@sudo * * *"),
            ("*,!root * * *", "* * * *"),
            ("*,!root * * *", "@adm * * *"),
            ("*,!deploy * * *", "deploy * * *"),
            ("*,!deploy * * *", "@sudo,!root * * *"),
            ("* *,!su * *", "* s* * *"),
            ("* s? * *", "* s* * *"),
            ("* * tty? *", "* * tty* *"),
            ("* * * 10.1.0.0/16", "* * * 10.0.0.0/8"),
            ("* * * *,!10.1.0.0/16", "* * * 10.0.0.0/8"),
            ("* * * *,!10.1.0.0/16", "* * * *.example.org"),
        ] {
            assert!(!covered(over, under), "{over} / {under}");
        }
        // It is unknown which users are in the group.
        let rules = rules("@sudo * * * quiet\ndeploy * * * quiet\n");
        assert!(!rules[0].covers(&rules[1], &|_, _| None));
    }

    #[test]
    fn exceptions_may_leave_nothing() {
        let empty = |text: &str| {
            let rules = rules(&format!("{text} quiet\n"));
            rules[0].empty_column(&|user, who| Some(is(user, who)))
        };
        assert_eq!(empty("deploy,!@sudo * * *"), Some("who"));
        assert_eq!(empty("* sshd,!ssh* * *"), Some("service"));
        assert_eq!(empty("* * tty1,!tty? *"), Some("terminal"));
        assert_eq!(empty("* * * 10.1.2.3,!10.0.0.0/8"), Some("from"));
        assert_eq!(empty("deploy,ann,!@sudo *,!su tty*,!tty1 *,!local"), None);
    }

    /// Rules of few words, so that they often cover each other.
    fn pairs() -> impl Strategy<Value = String> {
        let list = |item: &str| format!("({item},)?{item}(,!{item})?");
        let who = list(r"(\*|root|deploy|ann|@sudo|@ops|uid:0-|uid:900-1000)").replace(r"!(\*|", "!(");
        let glob = list(r"(\*|su|s\*|s\?|tty1|t\*)").replace(r"!(\*|", "!(");
        let from = list(r"(\*|local|10\.0\.0\.0/8|10\.1\.0\.0/16|a\.b|\*\.b|10\.\*)").replace(r"!(\*|", "!(");
        proptest::string::string_regex(&format!("({who} {glob} {glob} {from} quiet\n){{2}}")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whoever_a_covered_rule_is_for_the_earlier_one_takes(text in pairs()) {
            let rules = rules(&text);
            let known = |user: &str, who: &Who| Some(is(user, who));
            let covered = rules[0].covers(&rules[1], &known);
            let empty = rules[1].empty_column(&known).is_some();
            if !covered && !empty {
                return Ok(());
            }
            for (user, uid, group) in USERS {
                for service in ["su", "sshd", "t"] {
                    for tty in ["", "tty1", "su"] {
                        for from in ["", "10.1.2.3", "10.9.9.9", "192.0.2.1", "a.b", "c.b"] {
                            let login = Login {
                                service: service.into(),
                                user: Some(user.into()),
                                uid: Some(uid),
                                rhost: Some(from.into()),
                                tty: Some(tty.into()),
                            };
                            let mut groups = |name: &str| Ok::<_, Infallible>(name == group);
                            let matches = rules[1].matches(&login, None, &mut groups).unwrap();
                            prop_assert!(!(empty && matches), "{text}: {login:?}");
                            let earlier = rules[0].matches(&login, None, &mut groups).unwrap();
                            prop_assert!(!covered || !matches || earlier, "{text}: {login:?}");
                        }
                    }
                }
            }
        }
    }
}
