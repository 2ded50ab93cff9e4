//! The administrator's own text of the warning. After a line `==` follow the values of its placeholders, which
//! a user may have chosen.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::policy::Template;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(input) = std::str::from_utf8(data) else { return Corpus::Reject };
    let (text, value) = input.split_once("\n==\n").unwrap_or((input, "x"));
    match Template::parse(text) {
        Ok(template) => {
            assert_eq!(Template::parse(template.source()).as_ref(), Ok(&template));
            let filled = template.fill(|_| value.to_owned());
            assert!(filled.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')), "{filled:?}");
            // No part of a value makes a new line or a character that is not plain.
            let strange = |text: &str| text.chars().filter(|c| *c == '\n' || !c.is_ascii()).count();
            assert_eq!(strange(&filled), strange(text), "{filled:?}");
        }
        Err(problem) => assert!(!problem.is_empty() && !problem.chars().any(char::is_control), "{problem:?}"),
    }
    Corpus::Keep
});
