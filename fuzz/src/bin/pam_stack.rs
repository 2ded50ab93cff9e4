//! PAM's own files, which `idle-watchdog check` reads. The input has several files with a line `==` between
//! them. The first line of each is its name. The first file belongs to the service.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;

use libfuzzer_sys::{Corpus, fuzz_target};
use pam_idle_watchdog::command::pam_stack::control::{Code, ControlAction};
use pam_idle_watchdog::command::pam_stack::dispatch;
use pam_idle_watchdog::command::pam_stack::parse;
use pam_idle_watchdog::command::pam_stack::stack::LineType;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(input) = std::str::from_utf8(data) else { return Corpus::Reject };
    let files: Vec<(&str, &str)> =
        input.split("\n==\n").map(|file| file.split_once('\n').unwrap_or((file, ""))).collect();
    let service = files.first().map(|(name, _)| *name).unwrap_or_default();
    let files: BTreeMap<&str, &str> = files.into_iter().rev().collect();
    let read = |name: &str| Some((PathBuf::from(name), (*files.get(name)?).to_owned()));
    let Some(stack) = parse::read(service, true, read) else {
        assert!(service.is_empty() || service.contains('/'));
        return Corpus::Keep;
    };
    for entry in &stack.entries {
        assert!(!entry.module().contains('/'), "{entry:?}");
        let (name, line) = entry.place.rsplit_once(':').expect("a place");
        let line: usize = line.parse().expect("a number");
        assert!((1..=files[name].split('\n').count()).contains(&line), "{entry:?}");
    }
    for kind in LineType::ALL {
        let entries = stack.of_type(kind);
        for code in [Code::SUCCESS, Code::IGNORE, Code::SESSION_ERR] {
            let run = dispatch::run(&entries, |_, _| code);
            // A stack runs forward, and runs no line twice.
            assert!(run.ran.windows(2).all(|pair| pair[0].0 < pair[1].0), "{run:?}");
            let counts = |(_, action): &(usize, ControlAction)| {
                !matches!(action, ControlAction::Ignore | ControlAction::Jump(_))
            };
            assert!(!run.succeeds() || run.ran.iter().any(counts), "{run:?}");
            let failed = run.ran.iter().any(|(_, action)| matches!(action, ControlAction::Die));
            let reset = run.ran.iter().any(|(_, action)| matches!(action, ControlAction::Reset));
            assert!(!run.succeeds() || !failed || reset, "{run:?}");
        }
    }
    Corpus::Keep
});
