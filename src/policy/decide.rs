//! Which rule applies to a login, and what holds for it then.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::options::Words;
use super::parse::{self, Fault};
use super::rule::Rule;
use super::settings::Settings;
use super::who::Who;
use crate::login::Login;

/// Rules, the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order they are tried.
    pub rules: Vec<Rule>,
}

/// What holds for a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What holds.
    pub settings: Settings,
    /// The rule that matched; without one the PAM line holds alone.
    pub rule: Option<&'a Rule>,
}

impl Policy {
    /// Reads the rules of one file's text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at most one fault a rule.
    pub fn parse(file: PathBuf, text: &str) -> Result<Self, Vec<Fault>> {
        parse::parse(file, text).map(|rules| Self { rules })
    }

    /// Decides about a login, by the words of the PAM line and the first rule that matches.
    /// `in_group` says whether the user is a member of a group; it is asked only where it matters.
    ///
    /// # Errors
    ///
    /// That of `in_group`, and the rule that asked.
    pub fn decide<E>(
        &self,
        line: &Words,
        login: &Login,
        canonical: Option<&OsStr>,
        mut in_group: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<Decision<'_>, (&Rule, E)> {
        for rule in &self.rules {
            if rule.matches(login, canonical, &mut in_group).map_err(|e| (rule, e))? {
                return Ok(Decision { settings: Settings::of(line, Some(&rule.words)), rule: Some(rule) });
            }
        }
        Ok(Decision { settings: Settings::of(line, None), rule: None })
    }

    /// Every user and group that a rule names, for a look whether they exist.
    pub fn names(&self) -> impl Iterator<Item = (&Rule, &Who)> {
        let named = |who: &&Who| matches!(who, Who::User(_) | Who::Group(_));
        self.rules.iter().flat_map(move |rule| rule.who.items().filter(named).map(move |who| (rule, who)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    const RULES: &str = "\
root,@wheel      *      *      *            timeout=10m
deploy           sshd   *      10.0.0.0/8   timeout=off
uid:1000-1999    *      tty*   local        timeout=5m warn=2m,30s
@ops,!bob        *      ssh    *            timeout=20m
*                *,!cron *     *            kill=tty
";

    fn login(user: &str, uid: Option<u32>, service: &str, tty: &str, from: &str) -> Login {
        let (user, rhost, tty) = (Some(user.into()), Some(from.into()), Some(tty.into()));
        Login { service: service.into(), user, uid, rhost, tty }
    }

    /// The limit's seconds and the deciding line.
    fn decide(user: &str, uid: u32, service: &str, tty: &str, from: &str) -> (Option<u64>, Option<usize>) {
        let policy = Policy::parse(PathBuf::from("/f"), RULES).unwrap();
        let groups = |group: &str| {
            Ok::<_, Infallible>(match group {
                "wheel" => user == "ann",
                "ops" => ["bob", "eve"].contains(&user),
                _ => false,
            })
        };
        let login = login(user, Some(uid), service, tty, from);
        let decision = policy.decide(&Words::of_line(["timeout=1h"]).unwrap(), &login, None, groups).unwrap();
        let line = decision.rule.map(|rule| rule.place.line);
        (decision.settings.limit.map(|limit: Duration| limit.as_secs()), line)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert_eq!(decide("root", 0, "sshd", "ssh", "h"), (Some(600), Some(1)));
        assert_eq!(decide("ann", 1000, "login", "tty1", ""), (Some(600), Some(1)));
        assert_eq!(decide("deploy", 900, "sshd", "ssh", "10.1.1.1"), (None, Some(2)));
        assert_eq!(decide("deploy", 900, "sshd", "ssh", "11.1.1.1"), (Some(3600), Some(5)));
        assert_eq!(decide("carl", 1001, "login", "/dev/tty3", ""), (Some(300), Some(3)));
        assert_eq!(decide("eve", 2000, "sshd", "ssh", "h"), (Some(1200), Some(4)));
        assert_eq!(decide("bob", 2000, "sshd", "ssh", "h"), (Some(3600), Some(5)));
        assert_eq!(decide("bob", 2000, "cron", "", ""), (Some(3600), None));
    }

    #[test]
    fn a_user_is_one_however_the_name_is_spelled() {
        let text = "*,!alice * * * timeout=off\nalice * * * timeout=5m\n";
        let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
        for user in ["alice", "ALICE", r"EXAMPLE\alice"] {
            let login = login(user, None, "sshd", "ssh", "");
            let canonical = Some("alice".as_ref());
            let line = Words::default();
            let decision = policy.decide(&line, &login, canonical, |_| Ok::<_, Infallible>(false)).unwrap();
            assert_eq!(decision.settings.limit, Some(Duration::from_secs(300)), "{user:?}");
        }
    }

    #[test]
    fn name_services_are_asked_only_where_a_rule_needs_them() {
        let text = "* sshd * * timeout=5m\n@ops * * * timeout=6m\n";
        let policy = Policy::parse(PathBuf::from("/f"), text).unwrap();
        let decide = |service| {
            let login = login("a", None, service, "ssh", "");
            let line = Words::default();
            let decision = policy.decide(&line, &login, None, |group| Err(group.to_owned()));
            decision.map(|decision| decision.settings.limit).map_err(|(rule, group)| (rule.place.line, group))
        };
        assert_eq!(decide("sshd"), Ok(Some(Duration::from_secs(300))));
        assert_eq!(decide("login"), Err((2, "ops".to_owned())));
    }
}
