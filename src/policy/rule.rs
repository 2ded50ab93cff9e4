//! One rule: to which logins it applies, and what it sets.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt::{self, Display};

use super::glob::Glob;
use super::list::List;
use super::options::Options;
use super::place::RulePlace;
use super::quoting;
use super::source::Source;
use super::who::Who;
use crate::login::Login;

/// The rules of a policy. The first that matches a login decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// All users and groups in the rules, to check whether they exist.
    pub fn names(&self) -> impl Iterator<Item = (&Rule, &Who)> {
        let named = |who: &&Who| matches!(who, Who::User(_) | Who::Group(_));
        self.rules.iter().flat_map(move |rule| rule.who.items().filter(named).map(move |who| (rule, who)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it is written.
    pub place: RulePlace,
    /// The first column.
    pub who: List<Who>,
    /// The second column. It is compared with PAM_SERVICE.
    pub service: List<Glob>,
    /// The third column. It is compared with PAM_TTY without `/dev/`.
    pub terminal: List<Glob>,
    /// The fourth column. It is compared with PAM_RHOST.
    pub from: List<Source>,
    /// The settings of the rule.
    pub options: Options,
}

impl Rule {
    /// Whether it matches every login.
    #[must_use]
    pub fn is_for_everybody(&self) -> bool {
        self.who.is_any() && self.service.is_any() && self.terminal.is_any() && self.from.is_any()
    }

    /// Whether it applies to sshd only, and needs a terminal. A session of sshd has no terminal when it opens.
    #[must_use]
    pub fn is_for_no_terminal_of_sshd(&self) -> bool {
        let ssh = |glob: &Glob| Ok::<_, Infallible>(glob.matches("ssh"));
        self.service.to_string() == "sshd" && self.terminal.matches(ssh) == Ok(false)
    }

    /// The items of `from` that match no host name, if the rule applies to this service.
    pub fn by_address(&self, service: &str) -> impl Iterator<Item = &Source> {
        let ours = self.service.matches(|glob| Ok::<_, Infallible>(glob.matches(service))) == Ok(true);
        self.from.items().filter(move |source| ours && source.is_by_address())
    }

    /// Whether it needs facts from name services about the login's user: the ID, or the spelling of the name.
    #[must_use]
    pub fn asks_who(&self, login: &Login) -> bool {
        self.who.items().any(|who| match who {
            Who::Uids(..) => true,
            Who::User(name) => login.user() != name.as_str(),
            Who::Any | Who::Group(_) => false,
        })
    }

    /// Whether it needs the client's address. A host name is not an address.
    #[must_use]
    pub fn asks_for_address(&self) -> bool {
        self.from.items().any(|source| matches!(source, Source::Net(..) | Source::Addresses(_)))
    }

    /// Whether this rule applies to a login. `canonical` is the user's name in the spelling of name services,
    /// if they know the user: some ignore the case, or accept a domain before the name. `in_group` is called
    /// only if everything else matches.
    ///
    /// # Errors
    ///
    /// The error of `in_group`.
    pub fn matches<E>(
        &self,
        login: &Login,
        canonical: Option<&OsStr>,
        in_group: &mut impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let (service, tty, from) = (login.service_text(), login.tty_text(), login.rhost_text());
        let tty = tty.strip_prefix("/dev/").unwrap_or(&tty);
        Ok(self.service.matches(|glob| Ok(glob.matches(&service)))?
            && self.terminal.matches(|glob| Ok(glob.matches(tty)))?
            && self.from.matches(|source| Ok(source.matches(&from)))?
            && self.who.matches(|who| match who {
                Who::Any => Ok(true),
                Who::User(name) => {
                    Ok(login.user() == name.as_str() || canonical.is_some_and(|user| user == name.as_str()))
                }
                Who::Group(name) => in_group(name),
                Who::Uids(first, last) => Ok(login.uid.is_some_and(|uid| (*first..=*last).contains(&uid))),
            })?)
    }
}

/// A line of a policy file with the same meaning.
impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place: _, who, service, terminal, from, options } = self;
        // The items of this column already have quotation marks where necessary.
        write!(f, "{who}")?;
        for column in [service.to_string(), terminal.to_string(), from.to_string()] {
            write!(f, " {}", quoted(&column))?;
        }
        for word in options.to_words() {
            write!(f, " {}", quoted(&word))?;
        }
        Ok(())
    }
}

/// A word of a policy file. It has quotation marks if it would have another meaning without them.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '#';
    if !word.is_empty() && word.chars().all(plain) && !word.ends_with('\\') {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '\n' | '\t') { quoting::escape(c, &mut text) } else { text.push(c) }
    }
    text.push('"');
    text
}
