//! The four columns of a rule: who, service, terminal, from. Each is a list by commas, in which `!`
//! excludes.

use std::fmt::{self, Display};
use std::net::IpAddr;

/// A login, as far as a rule asks about it.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// PAM_USER.
    pub user: &'a str,
    /// The user's id, where name services know it.
    pub uid: Option<u32>,
    /// PAM_SERVICE.
    pub service: &'a str,
    /// PAM_TTY, with or without `/dev/`; empty is none.
    pub tty: &'a str,
    /// PAM_RHOST; empty is none.
    pub from: &'a str,
}

/// Items, and those among them that do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// In the order they were written; each with whether `!` stands before it.
    items: Vec<(bool, T)>,
}

impl<T: Item> List<T> {
    /// Reads a column.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        for part in text.split(',') {
            let (except, name) = part.strip_prefix('!').map_or((false, part), |name| (true, name));
            if name.is_empty() {
                return Err(format!("an item is missing, expected {}", T::EXPECTED));
            }
            if name.contains('=') {
                // A column was left out, most likely.
                return Err(format!("expected {}, found a setting: four columns go before it", T::EXPECTED));
            }
            let item = T::parse(name)
                .ok_or_else(|| format!("\"{}\": expected {}", name.escape_debug(), T::EXPECTED))?;
            if except && item.is_any() {
                return Err("!* leaves nobody".to_owned());
            }
            items.push((except, item));
        }
        Ok(Self { items })
    }

    /// Whether an item of the list holds and none of its exceptions does. A list of exceptions alone
    /// is meant to hold for everything else.
    ///
    /// # Errors
    ///
    /// The first of `holds`.
    pub fn matches<E>(&self, mut holds: impl FnMut(&T) -> Result<bool, E>) -> Result<bool, E> {
        let mut found = self.items.iter().all(|(except, _)| *except);
        for (except, item) in &self.items {
            // Name services are asked no more than needed.
            if (*except || !found) && holds(item)? {
                if *except {
                    return Ok(false);
                }
                found = true;
            }
        }
        Ok(found)
    }

    /// Whether it holds for everything, and visibly so.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.items.iter().all(|(except, _)| !except) && self.items().any(Item::is_any)
    }

    /// The items, exceptions among them.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }
}

impl<T: Display> Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (except, item)) in self.items.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let mark = if *except { "!" } else { "" };
            write!(f, "{comma}{mark}{item}")?;
        }
        Ok(())
    }
}

/// What a column's list is made of.
pub trait Item: Sized {
    /// What may stand there, for a message.
    const EXPECTED: &'static str;
    /// Reads one item, without its `!`.
    fn parse(text: &str) -> Option<Self>;
    /// Whether it is `*`.
    fn is_any(&self) -> bool;
}

/// First column.
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

    fn parse(text: &str) -> Option<Self> {
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
        let is_name = |name: &str| {
            !name.is_empty() && !name.contains(['*', '?', '!', '@', ':', '[', ']', '(', ')', '/', '%'])
        };
        if let Some(name) = text.strip_prefix('@') {
            return is_name(name).then(|| Self::Group(name.to_owned()));
        }
        is_name(text.split('@').next()?).then(|| Self::User(text.to_owned()))
    }

    fn is_any(&self) -> bool {
        *self == Self::Any
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

/// A pattern of names, in which `*` is any run of characters and `?` any one: the columns of services
/// and terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether it matches the whole of a text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) = (self.0.chars().collect(), text.chars().collect());
        let (mut p, mut t) = (0, 0);
        // Where the last `*` was, and how far the text has been given to it.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match (pattern.get(p), text.get(t)) {
                (Some('*'), _) => {
                    star = Some((p, t));
                    p += 1;
                }
                (Some(a), Some(b)) if *a == '?' || a == b => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((at, given)) => {
                        star = Some((at, given + 1));
                        p = at + 1;
                        t = given + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|c| *c == '*')
    }
}

impl Item for Glob {
    const EXPECTED: &'static str = "a name, in which * and ? stand for others";

    fn parse(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '!' | '[' | ']' | '"' | '\\');
        // A terminal goes by its name below /dev.
        let name = text.trim_start_matches("/dev/");
        (!name.is_empty() && name.chars().all(plain)).then(|| Self(name.to_owned()))
    }

    fn is_any(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }
}

impl Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fourth column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `*`
    Any,
    /// `local`: no remote host at all, as on a console.
    Local,
    /// An address, or `address/bits`.
    Net(IpAddr, u8),
    /// A host's name, in small letters; `*` and `?` stand for others.
    Host(Glob),
}

impl Source {
    /// Whether a login came from there. Names are not looked up: what PAM has decides.
    #[must_use]
    pub fn matches(&self, from: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Local => from.is_empty(),
            Self::Net(net, bits) => address(from).is_some_and(|from| in_net(from, *net, *bits)),
            Self::Host(glob) => !from.is_empty() && glob.matches(&from.to_ascii_lowercase()),
        }
    }
}

impl Item for Source {
    const EXPECTED: &'static str = "a host, an address, address/bits, local or *";

    fn parse(text: &str) -> Option<Self> {
        // Hosts know no capitals; and access.conf(5) has LOCAL.
        let text = &text.to_ascii_lowercase();
        match text.as_str() {
            "*" => return Some(Self::Any),
            "local" => return Some(Self::Local),
            _ => {}
        }
        let (net, bits) = match text.split_once('/') {
            Some((net, bits)) => (net, Some(bits)),
            None => (text.as_str(), None),
        };
        if let Ok(net) = net.parse::<IpAddr>() {
            let width = width(net);
            let bits: u8 = match bits {
                Some(bits) if !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) => {
                    bits.parse().ok()?
                }
                Some(_) => return None,
                None => width,
            };
            // 10.0.0.5/8 is a slip of the hand: one address was meant, or another net. And a mapped
            // address is matched as the IPv4 one that it is.
            let clean = bits <= width && is_net(net, bits) && net == net.to_canonical();
            return clean.then_some(Self::Net(net, bits));
        }
        if bits.is_some() {
            return None;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?' | ':');
        // 10.0.0.* is fine; 10.0.0 or 300.1.1.1 alone is an address gone wrong.
        let numbers = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        (text.chars().all(plain) && !numbers).then(|| Self::Host(Glob(text.clone())))
    }

    fn is_any(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Host(glob) => glob.is_any(),
            _ => false,
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Local => f.write_str("local"),
            Self::Net(net, bits) if *bits == width(*net) => write!(f, "{net}"),
            Self::Net(net, bits) => write!(f, "{net}/{bits}"),
            Self::Host(glob) => write!(f, "{glob}"),
        }
    }
}

/// The address PAM names, if it is one: without its zone, and as IPv4 where it is a mapped one.
fn address(from: &str) -> Option<IpAddr> {
    let plain = from.split('%').next()?;
    plain.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address, from the left of 128 bits.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn is_net(net: IpAddr, bits: u8) -> bool {
    bits_of(net).checked_shl(u32::from(bits)).unwrap_or(0) == 0
}

fn in_net(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let differ = bits_of(address) ^ bits_of(net);
    address.is_ipv4() == net.is_ipv4() && differ.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(pattern: &str, host: &str) -> bool {
        let list = List::<Source>::parse(pattern).unwrap();
        list.matches(|item| Ok::<_, ()>(item.matches(host))).unwrap()
    }

    fn glob(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn hosts_and_nets() {
        assert!(from("10.0.0.0/8", "10.200.3.4") && !from("10.0.0.0/8", "11.0.0.1"));
        assert!(from("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(from("fe80::/10", "fe80::1%eth0") && !from("fe80::/10", "10.0.0.1"));
        assert!(from("0.0.0.0/0", "192.0.2.1") && !from("0.0.0.0/0", "::1") && from("::/0", "::1"));
        assert!(from("192.0.2.7", "192.0.2.7") && !from("192.0.2.7", "192.0.2.70"));
        assert!(from("*.Example.org", "HOST.example.ORG") && !from("*.example.org", "example.org"));
        assert!(from("local", "") && !from("local", "localhost") && !from("host", ""));
        assert!(from("LOCAL", "") && !from("LOCAL", "local"));
        assert!(
            from("*", "") && from("*", "x") && !from("10.0.0.0/8", "") && !from("10.0.0.0/8", "ten.example")
        );
        assert!(from("10.0.0.0/8,!10.9.0.0/16", "10.8.0.1") && !from("10.0.0.0/8,!10.9.0.0/16", "10.9.0.1"));
        assert!(from("!local", "x") && !from("!local", ""));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            ",",
            "a,",
            "!",
            "!*",
            "!**",
            "10.0.0.5/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0",
            "300.1.1.1",
            "a/8",
            "::/129",
            "timeout=10m",
            "a b",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(List::<Source>::parse(text).is_err(), "{text:?}");
        }
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
        ] {
            assert!(List::<Who>::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "ss hd", "[a-z]", "!", "/dev/"] {
            assert!(List::<Glob>::parse(text).is_err(), "{text:?}");
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
            assert_eq!(Who::parse(text), Some(who), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for text in ["Local", "*.EXAMPLE.org", "::", "0.0.0.0/0", "2001:DB8::1/128"] {
            let source = Source::parse(text).unwrap();
            assert_eq!(Source::parse(&source.to_string()), Some(source), "{text}");
        }
        for text in ["/dev/tty1", "/dev//dev/tty1", "/dev/dev/tty1", "//dev/tty1"] {
            let glob = Glob::parse(text).unwrap();
            assert_eq!(Glob::parse(&glob.to_string()), Some(glob), "{text}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        assert!(
            glob("tty*", "tty1") && glob("tty?", "tty1") && !glob("tty?", "tty10") && !glob("tty", "tty1")
        );
        assert!(
            glob("*", "")
                && glob("a*b*c", "aXbYbZc")
                && !glob("a*b*c", "aXbYbZ")
                && glob("/dev/pts/*", "pts/3")
        );
    }

    #[test]
    fn an_exception_is_asked_only_where_it_matters() {
        let list = List::<Who>::parse("!root,!@staff").unwrap();
        let asked = |root: bool| {
            let mut asked = Vec::new();
            let matched = list.matches(|item| {
                asked.push(item.to_string());
                Ok::<_, ()>(root && *item == Who::User("root".to_owned()))
            });
            (matched.unwrap(), asked)
        };
        assert_eq!(asked(true), (false, vec!["root".to_owned()]));
        assert_eq!(asked(false), (true, vec!["root".to_owned(), "@staff".to_owned()]));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_identity(text in "(!?(\\*|[a-z.]{1,4}|@[a-z]{1,4}|uid:[0-9]{1,4}-?|10\\.[0-9]\\.0\\.0/16|::/0|local),?){1,4}") {
            if let Ok(list) = List::<Who>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
            if let Ok(list) = List::<Source>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
            if let Ok(list) = List::<Glob>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*", host in ".*") {
            let _ = (List::<Who>::parse(&text), List::<Glob>::parse(&text));
            if let Ok(list) = List::<Source>::parse(&text) {
                let _ = list.matches(|item| Ok::<_, ()>(item.matches(&host)));
            }
        }
    }
}
