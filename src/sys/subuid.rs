//! `/etc/subuid`: the user ids that a user may take on in user namespaces of their own (subuid(5)).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;

/// The ids of one user, each entry its first id and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subuids(Vec<(u32, u32)>);

impl Subuids {
    /// Those that the file lists; none where there is no file, or it cannot be read. (A name service that
    /// hands ids out is not asked.)
    #[must_use]
    pub fn of(user: &OsStr, uid: u32) -> Self {
        Self::parse(&fs::read("/etc/subuid").unwrap_or_default(), &user.to_string_lossy(), uid)
    }

    /// From the file's text. An entry names its user by name or by number.
    fn parse(text: &[u8], user: &str, uid: u32) -> Self {
        let uid = uid.to_string();
        let entry = |line: &str| {
            let (owner, ids) = line.split_once(':')?;
            let (first, count) = ids.split_once(':')?;
            // Name services may know no capitals, so the login may have spelled the name otherwise.
            let whose = owner.eq_ignore_ascii_case(user) || owner == uid;
            whose.then(|| Some((first.parse().ok()?, count.trim_end().parse().ok()?)))?
        };
        Self(String::from_utf8_lossy(text).lines().filter_map(entry).collect())
    }

    /// Whether an id is one of them.
    #[must_use]
    pub fn contain(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|above| above < *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] =
        b"bob:100000:65536\nalice:165536:65536\n# alice:1:2\n1000:300000:10\nalice:x:1\nalice:7\n\nalice:5:0\n";

    #[test]
    fn a_user_has_the_ids_listed_by_name_and_by_number() {
        let alices = Subuids::parse(TEXT, "alice", 1000);
        for (id, expected) in [
            (165_535, false),
            (165_536, true),
            (231_071, true),
            (231_072, false),
            (300_000, true),
            (300_010, false),
            (100_000, false),
            (5, false),
            (7, false),
        ] {
            assert_eq!(alices.contain(id), expected, "{id}");
        }
        assert_eq!(Subuids::parse(TEXT, "carol", 1002), Subuids::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*\n?.*", id: u32) {
            let _ = Subuids::parse(text.as_bytes(), "", 0).contain(id);
            let _ = Subuids::parse(format!(":{text}:{id}").as_bytes(), "", 0).contain(id);
        }
    }
}
