//! Describes what a reload changes for a session.

use crate::policy::Settings;
use crate::policy::table::{OPTIONS, Within};

/// Describes the settings that apply now, with the old value of each setting that has changed. `before` is `None` if
/// the old settings are not known.
#[must_use]
pub fn text(before: Option<&Settings>, after: &Settings) -> String {
    let (now, then) = (values(after), before.map(values));
    let mut parts = Vec::new();
    for (at, (name, value)) in now.iter().enumerate() {
        let was = then.as_ref().and_then(|then| then.get(at)).map(|(_, was)| was);
        match was.filter(|was| *was != value) {
            Some(was) => parts.push(format!("{name}={value} (was {was})")),
            // These two are always shown, because they say when the session is ended and which processes.
            None if matches!(*name, "timeout" | "kill") => parts.push(format!("{name}={value}")),
            None => {}
        }
    }
    let mut text = parts.join(" ");
    let rule = after.rule.as_ref().map(ToString::to_string);
    if let Some(rule) = &rule {
        text.push_str(&format!(", {}", rule.escape_debug()));
    }
    let same_rule = |before: &Settings| before.rule.as_ref().map(ToString::to_string) == rule;
    if before.is_some_and(same_rule) && then.as_ref() == Some(&now) {
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
        assert_eq!(text(Some(&before), &after), "timeout=40s (was 1h) warn=20s (was 1m) kill=none, /f:3");
        let after = settings("timeout=1h grace=5s quiet", None);
        assert_eq!(text(Some(&before), &after), "timeout=1h kill=session (was none) quiet=yes (was no)");
        assert_eq!(text(Some(&before), &before), "timeout=1h kill=none, nothing changed");
        assert_eq!(text(None, &after), "timeout=1h kill=session");
        let after = settings("timeout=off notty=1h", None);
        assert!(text(Some(&before), &after).starts_with("timeout=off (was 1h) "));
    }
}
