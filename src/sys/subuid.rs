//! `/etc/subuid`: the uids that users may use in their own user namespaces (subuid(5)).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;

/// The subordinate uids of one user. Each entry is the first uid of a range and the length of the range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subuids(Vec<(u32, u32)>);

impl Subuids {
    /// Reads the file. The result is empty if the file does not exist or cannot be read. Name services may have
    /// more subordinate uids, but are not asked.
    #[must_use]
    pub fn of(user: &OsStr, uid: u32) -> Self {
        Self::parse(&fs::read("/etc/subuid").unwrap_or_default(), &user.to_string_lossy(), uid)
    }

    /// Parses the text of the file. An entry names its user by name or by uid.
    fn parse(text: &[u8], user: &str, uid: u32) -> Self {
        let uid = uid.to_string();
        let entry = |line: &str| {
            let (owner, ids) = line.split_once(':')?;
            let (first, count) = ids.split_once(':')?;
            // The login may use another spelling, because some name services ignore the case.
            let whose = owner.eq_ignore_ascii_case(user) || owner == uid;
            whose.then(|| Some((first.parse().ok()?, count.trim_end().parse().ok()?)))?
        };
        Self(String::from_utf8_lossy(text).lines().filter_map(entry).collect())
    }

    /// Whether the user may use this uid.
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
    fn entries_name_users_by_name_or_by_uid() {
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
        fn no_text_causes_a_panic(text in ".*\n?.*", id: u32) {
            let _ = Subuids::parse(text.as_bytes(), "", 0).contain(id);
            let _ = Subuids::parse(format!(":{text}:{id}").as_bytes(), "", 0).contain(id);
        }
    }
}
