//! PAM's own files, which `idle-watchdog check` reads. The input is several, a line `==` between them; the first
//! line of each is its name. The first is the service's.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::command::stack::entries;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(input) = std::str::from_utf8(data) else { return Corpus::Reject };
    let files: Vec<(&str, &str)> =
        input.split("\n==\n").map(|file| file.split_once('\n').unwrap_or((file, ""))).collect();
    let service = files.first().map(|(name, _)| *name).unwrap_or_default();
    let files: BTreeMap<&str, &str> = files.into_iter().rev().collect();
    let read = |name: &str| Some((PathBuf::from(name), (*files.get(name)?).to_owned()));
    let Some(entries) = entries(service, read) else {
        assert!(service.is_empty() || service.contains('/'));
        return Corpus::Keep;
    };
    for entry in entries {
        assert!(matches!(entry.kind.as_str(), "session" | "account"), "{entry:?}");
        assert!(!entry.module.contains('/'), "{entry:?}");
        let (name, line) = entry.place.rsplit_once(':').expect("a place");
        let line: usize = line.parse().expect("a number");
        assert!((1..=files[name].lines().count()).contains(&line), "{entry:?}");
    }
    Corpus::Keep
});
