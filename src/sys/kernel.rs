//! The version of the kernel.
#![forbid(unsafe_code)]

/// The two numbers that name a version of Linux, as 6.12. `None` if the text is not the release of a kernel.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The file that has the release of the running kernel.
pub const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// The release of the running kernel. Empty if /proc is not mounted.
#[must_use]
pub fn release() -> String {
    std::fs::read_to_string(RELEASE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_releases_of_distributions() {
        for (release, is) in [
            ("4.18.0-553.el8_10.x86_64\n", Some((4, 18))),
            ("5.4.0-216-generic", Some((5, 4))),
            ("6.12.118+deb13-cloud-amd64", Some((6, 12))),
            ("10.0-rc1", Some((10, 0))),
            ("6", None),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(version(release), is, "{release}");
        }
        assert!(version(&super::release()).is_some());
    }
}
