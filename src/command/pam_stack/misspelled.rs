//! Finds lines that were probably meant as session lines of our module, but have a typing error. Pure.

use super::stack::{LineType, MODULE};

/// The mistake in a line that looks like a mistyped session line of our module. `word` is the first word of the
/// line.
#[must_use]
pub fn misspelled(word: &str, kind: Option<LineType>, module: &str) -> Option<String> {
    let name = module.rsplit('/').next().unwrap_or(module);
    match kind {
        None if name == MODULE => Some(format!("{word} is not a line type: did you mean session?")),
        None | Some(LineType::Session) if name != MODULE && is_nearly_ours(name) => {
            Some(format!("no module is called {name}: did you mean {MODULE}?"))
        }
        _ => None,
    }
}

/// Whether a module's name differs from ours by one letter, by a missing `.so`, or by hyphens and capitals.
fn is_nearly_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let stem = |name: &str| name.strip_suffix(".so").unwrap_or(name).to_owned();
    let (name, ours) = (stem(&name), stem(MODULE));
    let same = |(a, b): &(char, char)| a == b;
    let front = name.chars().zip(ours.chars()).take_while(same).count();
    let back = name.chars().rev().zip(ours.chars().rev()).take_while(same).count();
    let (shorter, longer) = (name.len().min(ours.len()), name.len().max(ours.len()));
    longer - shorter <= 1 && front + back + 1 >= longer
}

#[cfg(test)]
mod tests {
    use crate::command::pam_stack::parse;
    use std::path::PathBuf;

    #[test]
    fn a_mistyped_line_of_our_module_is_found() {
        let told = |line: &str| {
            let text = format!("{line}\n");
            parse::read("x", true, |_| Some((PathBuf::from("/f"), text.clone()))).unwrap().misspelled
        };
        let type_of_line = "/f:1: sesion is not a line type: did you mean session?";
        assert_eq!(told("sesion required pam_idle_watchdog.so"), [type_of_line]);
        for name in [
            "pam_idle_watchdogs.so",
            "pam_idle_watchdog",
            "pam_idle_watchdo.so",
            "pam_idle_wotchdog.so",
            "pam_idle-watchdog.so",
            "pam_ide_watchdog.so",
        ] {
            let says = format!("/f:1: no module is called {name}: did you mean pam_idle_watchdog.so?");
            assert_eq!(told(&format!("session required {name} timeout=5m")), [says]);
        }
        for line in [
            "session required pam_idle_watchdog.so",
            "session required /lib/pam_idle_watchdog.so",
            "account required pam_idle_watchdog.so",
            "session required pam_watchdog.so",
            "session required pam_unix.so",
            "session required pam_idle_watch.so",
        ] {
            assert_eq!(told(line), [""; 0], "{line}");
        }
    }
}
