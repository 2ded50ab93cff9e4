//! Describes what a reload changes for a session.

use crate::policy::duration;
use crate::protocol::start::Orders;

/// Describes the settings that apply now, with the old value of each setting that has changed. `before` is `None` if
/// the old settings are not known.
#[must_use]
pub fn text(before: Option<&Orders>, after: &Orders) -> String {
    let (now, then) = (settings(after), before.map(settings));
    let mut parts = Vec::new();
    for (at, (name, value)) in now.iter().enumerate() {
        let was = then.as_ref().and_then(|then| then.get(at)).map(|(_, was)| was);
        match was.filter(|was| *was != value) {
            Some(was) => parts.push(format!("{name}={value} (was {was})")),
            // These two are always shown: they say when the session is ended, and what of it.
            None if matches!(*name, "timeout" | "kill") => parts.push(format!("{name}={value}")),
            None => {}
        }
    }
    let mut text = parts.join(" ");
    if let Some(rule) = &after.rule {
        text.push_str(&format!(", {}", rule.escape_debug()));
    }
    if before == Some(after) {
        text.push_str(", nothing changed");
    }
    text
}

/// The settings as an administrator writes them. The place of the rule is not a setting.
fn settings(orders: &Orders) -> Vec<(&'static str, String)> {
    let Orders { limit, warn, grace, kill, activity, notty, message, rule: _, quiet, debug } = orders;
    let or = |value: &Option<std::time::Duration>, none: &str| {
        value.map_or_else(|| none.to_owned(), duration::print)
    };
    let warn = match warn.as_slice() {
        [] => "off".to_owned(),
        some => some.iter().copied().map(duration::print).collect::<Vec<_>>().join(","),
    };
    let flag = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let message =
        message.as_ref().map_or_else(|| "built-in".to_owned(), |text| format!("{:?}", text.source()));
    vec![
        ("timeout", or(limit, "off")),
        ("warn", warn),
        ("grace", duration::print(*grace)),
        ("kill", kill.word().to_owned()),
        ("activity", activity.word().to_owned()),
        ("notty", or(notty, "ignore")),
        ("message", message),
        ("quiet", flag(*quiet)),
        ("debug", flag(*debug)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Settings, Words};

    fn orders(words: &str, rule: Option<&str>) -> Orders {
        let words = Words::of_line(words.split_whitespace()).unwrap();
        Orders::new(&Settings::of(&words, None), None, rule.map(str::to_owned))
    }

    #[test]
    fn changes_are_shown_and_timeout_and_kill_always() {
        let before = orders("timeout=1h kill=none grace=5s", None);
        let after = orders("timeout=40s kill=none grace=5s", Some("/f:3"));
        assert_eq!(text(Some(&before), &after), "timeout=40s (was 1h) warn=20s (was 1m) kill=none, /f:3");
        let after = orders("timeout=1h grace=5s quiet", None);
        assert_eq!(text(Some(&before), &after), "timeout=1h kill=session (was none) quiet=yes (was no)");
        assert_eq!(text(Some(&before), &before), "timeout=1h kill=none, nothing changed");
        assert_eq!(text(None, &after), "timeout=1h kill=session");
        let after = orders("timeout=off notty=1h", None);
        assert!(text(Some(&before), &after).starts_with("timeout=off (was 1h) "));
    }
}
