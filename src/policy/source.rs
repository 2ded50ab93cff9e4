//! The column `from`: the place from which a login comes.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::glob::Glob;
use super::list::Item;
use super::quoting::{self, Letter};

/// A place from which logins come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `*`
    Any,
    /// `local`: no remote host, as on a console, or the host [`NO_PEER`].
    Local,
    /// An address, or `address/bits`.
    Net(IpAddr, u8),
    /// A host name in lower case, with the wildcards `*` and `?`.
    Host(Glob),
    /// A pattern for an address, such as `10.0.0.*`. It matches no name, because anybody can own the name
    /// `10.0.0.example.org`.
    Addresses(Glob),
}

impl Source {
    /// Whether a login came from this place. Names are not looked up: the text in PAM_RHOST decides.
    #[must_use]
    pub fn matches(&self, from: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Local => is_local(from),
            Self::Net(net, bits) => address(from).is_some_and(|from| in_net(from, *net, *bits)),
            Self::Host(glob) => !is_local(from) && glob.matches(&from.to_ascii_lowercase()),
            Self::Addresses(glob) => address(from).is_some_and(|from| glob.matches(&from.to_string())),
        }
    }

    /// Whether it matches only addresses and no host name.
    #[must_use]
    pub fn is_by_address(&self) -> bool {
        matches!(self, Self::Net(..) | Self::Addresses(_))
    }

    /// Reads a place without quotation marks.
    fn parse(text: &str) -> Result<Self, String> {
        // Host names ignore the case, and access.conf(5) writes LOCAL.
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "*" => return Ok(Self::Any),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.as_str(), None),
        };
        if let Ok(address) = address.parse() {
            return net(address, bits);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?' | ':');
        // 10.0.0.* is a pattern. 10.0.0 and 300.1.1.1 are mistyped addresses.
        let numbers = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        // A slash is not plain, because it may only follow an address.
        if numbers || !text.chars().all(plain) {
            return Err(Self::expected());
        }
        let glob = Glob::parse(&text)?;
        // A host name does not consist of these characters only, and does not contain a colon.
        let digits = text.contains(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '*' | '?'));
        Ok(if digits || text.contains(':') { Self::Addresses(glob) } else { Self::Host(glob) })
    }
}

impl Item for Source {
    const EXPECTED: &'static str = "a host, an address, address/bits, local or *";

    fn read(letters: &[Letter]) -> Result<Self, String> {
        Self::parse(&quoting::unescaped(letters).ok_or_else(Self::expected)?)
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
            Self::Host(glob) | Self::Addresses(glob) => write!(f, "{glob}"),
        }
    }
}

/// Reads an address and the text after its slash.
fn net(address: IpAddr, bits: Option<&str>) -> Result<Source, String> {
    if address != address.to_canonical() {
        return Err(format!("is matched as IPv4, expected {}", address.to_canonical()));
    }
    let width = width(address);
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
    let bits = bits.map_or(Some(width), number).filter(|bits| *bits <= width);
    let bits = bits.ok_or_else(|| format!("expected a number of bits after the slash, 0 to {width}"))?;
    // This is a mistake: the administrator meant an address, or another network.
    let network = network_of(address, bits);
    if network != address {
        return Err(format!("host bits are set; did you mean {network}/{bits}?"));
    }
    Ok(Source::Net(address, bits))
}

/// sshd uses this host name if its client has no TCP connection, for example for `sshd -i` on a pipe or over
/// vsock. A real host name cannot be equal to it, because sshd writes those in lower case.
const NO_PEER: &str = "UNKNOWN";

/// Whether a login comes from no remote host.
#[must_use]
pub fn is_local(from: &str) -> bool {
    from.is_empty() || from == NO_PEER
}

/// Whether PAM names a host by its name and not by its address, as sshd does with `UseDNS yes`.
#[must_use]
pub fn is_host_name(from: &str) -> bool {
    !is_local(from) && address(from).is_none()
}

/// The address of the host that PAM names, if it is an address: without its zone, and as IPv4 if it is a mapped
/// one.
#[must_use]
pub fn address(from: &str) -> Option<IpAddr> {
    let plain = from.split('%').next()?;
    plain.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The network of an address: the address without its host bits.
fn network_of(address: IpAddr, bits: u8) -> IpAddr {
    // The bits start at the left of 128 bits, also for IPv4.
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    let network = bits_of(address) & mask;
    match address {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(network >> 96).unwrap_or_default()).into(),
        IpAddr::V6(_) => Ipv6Addr::from(network).into(),
    }
}

/// The bits of an address, from the left of 128 bits.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn in_net(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let differ = bits_of(address) ^ bits_of(net);
    address.is_ipv4() == net.is_ipv4() && differ.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::super::list::List;
    use super::*;
    use proptest::prelude::*;

    fn from(pattern: &str, host: &str) -> bool {
        let list = List::<Source>::parse(pattern).unwrap();
        list.matches(|item| Ok::<_, ()>(item.matches(host))).unwrap()
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
        assert!(from("*,!local", "x") && !from("*,!local", ""));
    }

    #[test]
    fn without_a_tcp_connection_a_login_is_local() {
        assert!(from("local", "UNKNOWN") && !from("*,!local", "UNKNOWN") && from("*", "UNKNOWN"));
        for pattern in ["unknown", "unk*", "10.0.0.0/8", "10.0.*", "::/0"] {
            assert!(!from(pattern, "UNKNOWN"), "{pattern}");
        }
        // A host may have the name `unknown`.
        assert!(!from("local", "unknown") && from("unknown", "unknown"));
    }

    #[test]
    fn a_name_in_the_place_of_an_address_is_known() {
        for (from, name) in [
            ("", false),
            ("UNKNOWN", false),
            ("10.1.2.3", false),
            ("::ffff:10.1.2.3", false),
            ("fe80::1%eth0", false),
            ("ten.example.org", true),
            ("10.0.0.example.org", true),
        ] {
            assert_eq!(is_host_name(from), name, "{from}");
        }
        for (text, by_address) in [
            ("10.0.0.0/8", true),
            ("10.0.0.*", true),
            ("::1", true),
            ("*.example.org", false),
            ("local", false),
            ("*", false),
        ] {
            assert_eq!(Source::parse(text).unwrap().is_by_address(), by_address, "{text}");
        }
    }

    #[test]
    fn a_name_that_looks_like_an_address_is_none() {
        for pattern in ["10.0.0.*", "10.0.*", "1*", "10.0.0.?"] {
            assert!(from(pattern, "10.0.0.7") && from(pattern, "::ffff:10.0.0.7"), "{pattern}");
            for host in ["10.0.0.example.org", "10.0.0.x", "1.example.org", ""] {
                assert!(!from(pattern, host), "{pattern} {host}");
            }
        }
        assert!(from("2001:DB8:*", "2001:db8::1%eth0") && !from("2001:db8:*", "10.0.0.7"));
        assert!(from("host-10.0.*", "host-10.0.example.org") && from("*.*", "a.b"));
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
    }

    #[test]
    fn a_net_gone_wrong_is_told_why() {
        for (text, why) in [
            ("10.0.0.5/8", "host bits are set; did you mean 10.0.0.0/8?"),
            ("10.0.0.0/255.0.0.0", "expected a number of bits after the slash, 0 to 32"),
            ("::/129", "expected a number of bits after the slash, 0 to 128"),
            ("::ffff:10.0.0.1", "is matched as IPv4, expected 10.0.0.1"),
            ("x,10.0.0.0/", "\"10.0.0.0/\": expected a number of bits"),
            ("10.0.0", "expected a host"),
        ] {
            let problem = List::<Source>::parse(text).unwrap_err();
            assert!(problem.starts_with(why), "{text}: {problem}");
        }
    }

    #[test]
    fn capitals_and_zeros_are_read_as_the_same() {
        for text in ["Local", "*.EXAMPLE.org", "::", "0.0.0.0/0", "2001:DB8::1/128"] {
            let source = Source::parse(text).unwrap();
            assert_eq!(Source::parse(&source.to_string()), Ok(source), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(text in r"(!?(\*|[a-z.]{1,4}|10\.[0-9]\.0\.0/16|::/0|local),?){1,4}") {
            if let Ok(list) = List::<Source>::parse(&text) {
                prop_assert_eq!(List::parse(&list.to_string()), Ok(list));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*", host in ".*") {
            if let Ok(list) = List::<Source>::parse(&text) {
                let _ = list.matches(|item| Ok::<_, ()>(item.matches(&host)));
            }
        }
    }
}
