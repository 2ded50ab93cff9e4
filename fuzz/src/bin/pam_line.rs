//! The options of a PAM line, one a line. The options of a rule follow after a line `==`.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::policy::{Options, Settings};

const MINUTE: Duration = Duration::from_secs(60);

/// Reads options, prints them and reads them again. Both must be the same.
fn read(text: &str) -> Option<Options> {
    let line: Vec<&str> = text.lines().collect();
    match Options::of_line(line.iter().copied()) {
        Ok(words) => {
            let again = words.to_words();
            assert_eq!(Options::of_line(again.iter().map(String::as_str)).as_ref(), Ok(&words));
            Some(words)
        }
        Err(bad) => {
            assert!(line.contains(&bad.word.as_str()) && !bad.problem.is_empty(), "{bad:?}");
            None
        }
    }
}

/// Every value is in range, and the values fit together.
fn check(settings: &Settings) {
    for limit in [settings.limit, settings.notty, settings.detached].into_iter().flatten() {
        assert!(limit >= MINUTE / 6 && limit <= 365 * 24 * 60 * MINUTE, "{limit:?}");
    }
    assert!(settings.grace <= 5 * MINUTE);
    assert!(settings.warn.iter().all(|warn| !warn.is_zero()));
    assert!(settings.warn.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", settings.warn);
    assert!(settings.limit.is_none_or(|limit| settings.warn.iter().all(|warn| *warn < limit)));
}

fuzz_target!(|data: &[u8]| -> Corpus {
    // The module converts it to text before it reads it.
    let input = String::from_utf8_lossy(data);
    let (line, rule) = input.split_once("\n==\n").unwrap_or((&input, ""));
    let (line, rule) = (read(line), read(rule));
    if let Some(line) = &line {
        check(&Settings::of(line, None));
        check(&Settings::of(line, rule.as_ref()));
    }
    Corpus::Keep
});
