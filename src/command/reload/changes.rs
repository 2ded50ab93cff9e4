//! Describes what a reload changes for a session.

use crate::policy::Settings;
use crate::policy::table::{OPTIONS, Within};

/// Describes the settings that apply now, with the old value of each setting that has changed.
#[must_use]
pub fn text(before: &Settings, after: &Settings) -> String {
    let (now, then) = (values(after), values(before));
    let mut parts = Vec::new();
    for ((name, value), (_, was)) in now.iter().zip(&then) {
        if was != value {
            parts.push(format!("{name}={value} (was {was})"));
        } else if matches!(*name, "timeout" | "kill") {
            // These two are always shown, because they say when the session is ended and which processes.
            parts.push(format!("{name}={value}"));
        }
    }
    let mut text = parts.join(" ");
    let rule = after.rule.as_ref().map(ToString::to_string);
    if let Some(rule) = &rule {
        text.push_str(&format!(", {}", rule.escape_debug()));
    }
    if before.rule.as_ref().map(ToString::to_string) == rule && then == now {
        text.push_str(", nothing changed");
    }
    text
}

/// All settings that a helper gets, with their values for people.
fn values(settings: &Settings) -> Vec<(&'static str, String)> {
    let told = OPTIONS.iter().filter(|option| option.is_allowed(Within::Helper));
    // The helper gets the text and not the file from which it came.
    let settings = Settings { message_file: None, ..settings.clone() };
    told.map(|option| (option.name, (option.get)(&settings).text())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Options;

    fn settings(words: &str, rule: Option<&str>) -> Settings {
        let options = Options::of_line(words.split_whitespace()).unwrap();
        Settings { rule: rule.map(|rule| rule.parse().unwrap()), ..Settings::of(&options, None) }
    }

    #[test]
    fn changes_are_shown_and_timeout_and_kill_always() {
        let before = settings("timeout=1h kill=none grace=5s", None);
        let after = settings("timeout=40s kill=none grace=5s", Some("/f:3"));
        assert_eq!(text(&before, &after), "timeout=40s (was 1h) warn=20s (was 1m) kill=none, /f:3");
        let after = settings("timeout=1h grace=5s quiet", None);
        assert_eq!(text(&before, &after), "timeout=1h kill=session (was none) quiet=yes (was no)");
        assert_eq!(text(&before, &before), "timeout=1h kill=none, nothing changed");
        let after = settings("timeout=off notty=1h", None);
        assert!(text(&before, &after).starts_with("timeout=off (was 1h) "));
    }
}
