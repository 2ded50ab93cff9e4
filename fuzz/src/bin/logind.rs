//! logind's file of a session.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::sys::logind::parse;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    let kind = parse(text);
    assert!(kind.class.is_none_or(|class| text.contains(&format!("CLASS={class}"))));
    assert!(kind.kind.is_none_or(|kind| text.contains(&format!("TYPE={kind}"))));
    // The value of another line must not become a value of ours.
    let other = text.replace('\n', "\\n").replace('\r', "\\r");
    let kind = parse(&format!("REMOTE_USER={other}\nCLASS=user\nTYPE=tty\n"));
    assert_eq!((kind.class.as_deref(), kind.kind.as_deref()), (Some("user"), Some("tty")));
    Corpus::Keep
});
