//! Durations as an administrator writes them: `90`, `90s`, `15m`, `1h30m`, `2d`.

use std::time::Duration;

/// The units, longest first, each with its seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a duration of whole seconds.
///
/// A number alone is in seconds. Otherwise every number has a unit (`d`, `h`, `m`, `s`). The units go from long
/// to short, and each comes at most once. Signs, spaces and fractions are not accepted.
///
/// Returns `None` if the text is malformed or the seconds do not fit into a `u64`.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.is_ascii() {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut seconds: u64 = 0;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next()?;
        // The iterator moves past each unit that it returns, so the order is right and no unit comes twice.
        let (_, scale) = units.find(|(name, _)| *name == unit)?;
        let number: u64 = number.parse().ok()?;
        seconds = seconds.checked_add(number.checked_mul(*scale)?)?;
        rest = tail.get(1..)?;
    }
    Some(Duration::from_secs(seconds))
}

/// Writes a duration for a person: `15m`, `1h30m`, `45s`. Fractions of a second are left out. [`parse`] reads
/// it back.
#[must_use]
pub fn print(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut text = String::new();
    for (unit, scale) in UNITS {
        let count = left / scale;
        left %= scale;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push(unit);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<u64> {
        parse(text).map(|d| d.as_secs())
    }

    #[test]
    fn reads_what_administrators_write() {
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("365d"), Some(31_536_000));
        assert_eq!(seconds("1d1h1m1s"), Some(90_061));
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in [
            "",
            "m",
            "-5m",
            "+5m",
            " 5m",
            "5m ",
            "5 m",
            "1.5h",
            "5min",
            "30m1h",
            "5m5m",
            "1h30",
            "5M",
            "0x10",
            "٣",
            "1e3",
            "off",
            "18446744073709551615d",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_identity(seconds: u64) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&print(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_but_digits_and_units_is_read(text in "[0-9dhms]{0,8}[^0-9dhms][0-9dhms]{0,8}") {
            prop_assert_eq!(parse(&text), None);
        }
    }
}
