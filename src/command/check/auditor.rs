//! `check --system --report`: the page for an auditor. It adds to the check: the machine, the exemptions with their
//! reasons, and the last ends.

use std::fs;

use nix::unistd::geteuid;
use serde_json::{Map, Value, json};

use super::services::Policies;
use crate::command::facts::Facts;
use crate::command::machine::Machine;
use crate::command::records::calendar::Zone;
use crate::command::report::{self, Period, SessionEnd, Whose, end_json};
use crate::policy::{Kill, Options, Rule, Settings};
use crate::record::shown;

/// How far back ends are looked for.
const DAYS: i64 = 30;

/// A rule that leaves sessions alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exemption {
    place: String,
    rule: String,
    /// The comment above it and on its line.
    comment: Option<String>,
}

/// What an auditor asks for.
pub struct AuditorPage {
    facts: Facts,
    now: i64,
    zone: Zone,
    exemptions: Vec<Exemption>,
    /// The last ends, the newest last, or why they are not known.
    ends: Result<Vec<SessionEnd>, String>,
}

impl AuditorPage {
    /// Collects it. The policies have been read already.
    #[must_use]
    pub fn of(machine: &Machine, policies: &Policies) -> Self {
        let (now, zone) = (report::now(), Zone::HERE);
        let period = Period { since: now - DAYS * 86_400, until: now };
        let ends = if geteuid().is_root() {
            report::add_up(period, &zone, None).map(|(_, totals)| totals.ends.into())
        } else {
            Err("only root can read the whole log".to_owned())
        };
        let exemptions = policies.rules().iter().filter(|rule| is_exemption(rule)).map(exemption).collect();
        Self { facts: Facts::of(machine), now, zone, exemptions, ends }
    }

    /// What stands above the check.
    #[must_use]
    pub fn head(&self) -> String {
        let line = |name: &str, value: &str| format!("{name:<14}{}\n", shown(value));
        let mut text = line("host", &self.facts.host) + &line("date", &self.zone.text(self.now));
        text.extend(self.facts.versions.iter().map(|(name, version)| line(name, version)));
        text + "\n"
    }

    /// What stands below the check.
    #[must_use]
    pub fn tail(&self) -> String {
        let mut text = "\nexemptions:\n".to_owned();
        for Exemption { place, rule, comment } in &self.exemptions {
            text += &format!("{}: {}\n", shown(place), shown(rule));
            let comment = comment.as_deref().unwrap_or("(no comment says why)");
            text.extend(comment.lines().map(|line| format!("    {}\n", shown(line))));
        }
        if self.exemptions.is_empty() {
            text += "none\n";
        }
        text += &format!("\nlast ends, in {DAYS} days:\n");
        match &self.ends {
            Err(why) => text += &format!("not known: {}\n", shown(why)),
            Ok(ends) if ends.is_empty() => text += "none\n",
            Ok(ends) => text.extend(ends.iter().map(|end| self.end(end))),
        }
        text
    }

    fn end(&self, end: &SessionEnd) -> String {
        let SessionEnd { about: Whose { at, user, service, rhost, rule, .. }, idle, limit, survivors } = end;
        let from = rhost.as_ref().map_or_else(String::new, |host| format!(" from {host}"));
        let idle = idle.map_or_else(|| "?".to_owned(), |idle| idle.to_string());
        let limit = limit.as_deref().unwrap_or("?");
        let rule = rule.as_ref().map_or_else(String::new, |rule| format!(", by {rule}"));
        let left = survivors.as_ref().map_or_else(|| "none".to_owned(), Clone::clone);
        let at = self.zone.text(*at);
        let text =
            format!("{at} {user}, {service}{from}: idle {idle} s of {limit} s{rule}, survivors {left}");
        shown(&text) + "\n"
    }

    /// The same as members of the JSON object.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let versions: Map<String, Value> =
            self.facts.versions.iter().map(|(name, version)| ((*name).to_owned(), json!(version))).collect();
        let exemption = |Exemption { place, rule, comment }: &Exemption| json!({"place": place, "rule": rule, "comment": comment});
        let ends = self.ends.as_ref().map(|ends| ends.iter().map(end_json).collect::<Vec<_>>()).ok();
        Map::from_iter(
            [
                ("host", json!(self.facts.host)),
                ("date", json!(self.now)),
                ("versions", Value::from(versions)),
                ("exemptions", self.exemptions.iter().map(exemption).collect()),
                ("last_ends", json!(ends)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}

/// Whether a rule leaves sessions alone, whatever the PAM line says.
fn is_exemption(rule: &Rule) -> bool {
    let settings = Settings::of(&Options::default(), Some(&rule.options));
    settings.limit.is_none() || settings.kill == Kill::None
}

fn exemption(rule: &Rule) -> Exemption {
    let text = fs::read_to_string(rule.place.file.as_path()).unwrap_or_default();
    let comment = comment(&text, rule.place.line);
    Exemption { place: rule.place.to_string(), rule: rule.to_string(), comment }
}

/// The comment lines right above a line, counted from 1, and the comment at its end.
fn comment(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let above = lines.get(..line.checked_sub(1)?)?;
    let begin = above.iter().rposition(|line| !line.starts_with('#')).map_or(0, |last| last + 1);
    let mut found: Vec<&str> = above.get(begin..)?.to_vec();
    found.extend(lines.get(line - 1).and_then(|line| trailing(line)));
    Some(found.join("\n")).filter(|comment| !comment.is_empty())
}

/// The comment at the end of a rule. A # inside a word or a quotation starts none.
fn trailing(line: &str) -> Option<&str> {
    let starts = line.match_indices('#').map(|(at, _)| at);
    let is_start = |at: &usize| {
        let before = line.get(..*at).unwrap_or_default();
        before.ends_with([' ', '\t']) && before.matches('"').count() % 2 == 0
    };
    starts.into_iter().find(is_start).and_then(|at| line.get(at..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_of_a_rule_is_above_it_or_on_its_line() {
        let text = "# about the file\n\n# Exception: deployment,\n#  approved by x\ndeploy * * * timeout=off # until May\n\
                    \"a #b\"#c * * * timeout=off\n";
        let both = "# Exception: deployment,\n#  approved by x\n# until May";
        assert_eq!(comment(text, 5).as_deref(), Some(both));
        assert_eq!(comment(text, 6), None);
        assert_eq!((comment("", 1), comment("x", 0), comment("x", 9)), (None, None, None));
    }

    #[test]
    fn a_rule_without_an_end_is_an_exemption() {
        let text = "a * * * timeout=off\nb * * * kill=none\nc * * * timeout=5m\nd * * * quiet\n";
        let policy = crate::policy::Policy::parse("/f".into(), text).unwrap();
        let found: Vec<bool> = policy.rules.iter().map(is_exemption).collect();
        assert_eq!(found, [true, true, false, false]);
    }

    #[test]
    fn the_page_has_the_reasons_and_the_ends() {
        let end = SessionEnd {
            about: Whose {
                user: "a\u{1b}".into(),
                service: "sshd".into(),
                rhost: Some("h".into()),
                ..Whose::default()
            },
            idle: Some(900),
            limit: Some("900".into()),
            survivors: None,
        };
        let exemption = |comment: Option<&str>| Exemption {
            place: "/f:1".into(),
            rule: "a * * * timeout=off".into(),
            comment: comment.map(str::to_owned),
        };
        let mut page = AuditorPage {
            facts: Facts { host: "alpha".into(), versions: vec![("kernel", "6.1".into())] },
            now: 0,
            zone: Zone::HERE,
            exemptions: vec![exemption(Some("# one\n# two")), exemption(None)],
            ends: Ok(vec![end]),
        };
        assert!(page.head().starts_with("host          alpha\ndate          19"), "{}", page.head());
        let tail = page.tail();
        let rule = "/f:1: a * * * timeout=off\n";
        assert!(
            tail.contains(&format!("{rule}    # one\n    # two\n{rule}    (no comment says why)\n")),
            "{tail}"
        );
        let said = " a\\u{1b}, sshd from h: idle 900 s of 900 s, survivors none\n";
        assert!(tail.ends_with(said), "{tail}");
        assert_eq!(page.json()["last_ends"][0]["idle"], 900);
        assert_eq!(page.json()["exemptions"][1]["comment"], Value::Null);
        page.ends = Err("no log".to_owned());
        assert!(page.tail().ends_with("not known: no log\n") && page.json()["last_ends"].is_null());
    }
}
