//! `idle-watchdog reload`: the policy and the PAM line as they are now, for sessions that are watched
//! already.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;

use super::machine::Machine;
use super::now::{self, Line};
use super::stack::{Entry, Kind};
use super::{BROKEN, CLEAN, FINDINGS, changes, complain};
use crate::policy::files::Files;
use crate::policy::{self, Fault, Policy, Words};
use crate::protocol::reload::{self, Helper};
use crate::protocol::start::{Assignment, Orders, Session};
use crate::record::shown;
use crate::sys::cgroup::Cgroups;
use crate::sys::nss::Person;
use crate::sys::proc::{Proc, ProcId};

/// How long one helper may take. It answers in microseconds, unless it is just talking to a terminal
/// that hangs.
const BUDGET: Duration = Duration::from_secs(3);

/// What has become of a reload.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What holds now, a line for each session.
    pub text: String,
    /// What could not be done, a line each.
    pub problems: Vec<String>,
    /// The exit status.
    pub code: u8,
}

/// Decides anew about every watched session of this machine and hands the decisions over; returns the text
/// and the exit status.
#[must_use]
pub fn run() -> (String, u8) {
    if !geteuid().is_root() {
        complain("idle-watchdog: only root may tell the watchdogs something");
        return (String::new(), BROKEN);
    }
    let Reloaded { text, problems, code } = reload(&reload::helpers(), &Machine::here());
    for problem in problems {
        complain(problem);
    }
    (text, code)
}

/// The same for these helpers. While anything of the policy or of a PAM line is broken, nobody gets
/// anything.
#[must_use]
pub fn reload(helpers: &[Helper], machine: &Machine) -> Reloaded {
    let told: Vec<(&Helper, &Assignment)> =
        helpers.iter().filter_map(|helper| Some((helper, helper.told.as_ref().ok()?))).collect();
    let mut done = Reloaded { text: String::new(), problems: Vec::new(), code: CLEAN };
    let mut decisions = Decisions { machine, lines: BTreeMap::new(), policies: BTreeMap::new() };
    let installed = decisions.read_installed();
    let steps = installed.and_then(|()| told.iter().map(|(_, told)| decisions.step(told)).collect());
    let steps: Vec<Step> = match steps {
        Ok(steps) => steps,
        Err(faults) => {
            done.problems.extend(faults.iter().map(ToString::to_string));
            done.problems.push("idle-watchdog: nothing was reloaded".to_owned());
            done.code = BROKEN;
            return done;
        }
    };
    for ((helper, told), step) in told.iter().zip(steps) {
        done.take(helper, &told.session, step);
    }
    for Helper { id, told } in helpers {
        if let Err(why) = told {
            done.failed(&format!("watchdog {}", id.pid), &format!("it is of another version: {why}"));
        }
    }
    done.text.push_str(&match helpers.len() {
        1 => "1 session is watched\n".to_owned(),
        count => format!("{count} sessions are watched\n"),
    });
    done
}

/// What is to be done for one session.
enum Step {
    /// It is given these orders. The text says what is left as it was.
    Give(Orders, Option<String>),
    /// It keeps what it has, because.
    Keep(String),
}

impl Reloaded {
    fn take(&mut self, helper: &Helper, session: &Session, step: Step) {
        let who = name(session);
        let (orders, left) = match step {
            Step::Give(orders, left) => (orders, left),
            Step::Keep(why) => return self.failed(&who, &why),
        };
        match reload::hand_over(helper.id, &orders, BUDGET) {
            Ok(before) => {
                self.text.push_str(&format!("{who}: {}\n", changes::text(before.as_ref(), &orders)));
                self.problems.extend(left.map(|left| format!("{who}: {left}")));
            }
            Err(_) if is_gone(helper.id) => self.text.push_str(&format!("{who}: has ended meanwhile\n")),
            Err(why) => self.failed(&who, &why),
        }
    }

    fn failed(&mut self, who: &str, why: &str) {
        self.problems.push(format!("{who}: keeps what it had, because {why}"));
        self.code = FINDINGS;
    }
}

/// What the files say now, each read once for all: it may change while we ask.
struct Decisions<'a> {
    machine: &'a Machine,
    lines: BTreeMap<String, Line>,
    policies: BTreeMap<Option<PathBuf>, Policy>,
}

impl Decisions<'_> {
    /// Reads every PAM line of ours and every policy, because a mistake matters before a session is open, too.
    ///
    /// # Errors
    ///
    /// Every mistake in them.
    fn read_installed(&mut self) -> Result<(), Vec<Fault>> {
        let libpam = &self.machine.libpam;
        let stacks = libpam.services().into_iter().filter_map(|service| libpam.stack(&service));
        // Several services include the same line.
        let lines: BTreeMap<String, Vec<String>> = stacks
            .flat_map(|stack| stack.of_kind(Kind::Session))
            .filter(Entry::is_ours)
            .map(|entry| (entry.place, entry.words))
            .collect();
        let mut faults = self.policy(&Words::default()).err().unwrap_or_default();
        for (place, words) in &lines {
            let found = read_line(place, words).map_err(|fault| vec![fault]).and_then(|line| {
                let files = Files::of(line.conf_path());
                let unread = policy::message_faults(&line, self.policy(&line)?, &files);
                if unread.is_empty() { Ok(()) } else { Err(unread) }
            });
            for fault in found.err().unwrap_or_default() {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The policy that a PAM line names.
    fn policy(&mut self, line: &Words) -> Result<&Policy, Vec<Fault>> {
        Ok(match self.policies.entry(line.conf_path().map(ToOwned::to_owned)) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(Files::of(line.conf_path()).load()?),
        })
    }

    /// What is to be done for a session.
    fn step(&mut self, told: &Assignment) -> Result<Step, Vec<Fault>> {
        let service = told.session.service.to_string_lossy();
        let machine = self.machine;
        let found = || now::line(machine, &service);
        let line = self.lines.entry(service.to_string()).or_insert_with(found).clone();
        let (place, words, left) = match line {
            Line::Lost(why) => return Ok(Step::Keep(why)),
            Line::Now(place, words) => (place, words, None),
            Line::Unsure(why) => {
                let place = format!("PAM line of process {}", told.session.leader);
                let left =
                    format!("the words of its PAM line stay as they were when it began, because {why}");
                (place, told.line.clone(), Some(left))
            }
        };
        let orders = self.decide(&told.session, &place, &words)?;
        Ok(Step::Give(orders, left))
    }

    /// What is to hold for a session with these words on its PAM line.
    fn decide(&mut self, session: &Session, place: &str, words: &[String]) -> Result<Orders, Vec<Fault>> {
        let line = read_line(place, words).map_err(|fault| vec![fault])?;
        let files = Files::of(line.conf_path());
        let policy = self.policy(&line)?;
        let person = Person::named(&session.user);
        let facts = policy::Login {
            user: &session.user,
            canonical: person.canonical(),
            uid: session.uid,
            service: &session.service.to_string_lossy(),
            tty: &session.tty.as_deref().unwrap_or_default().to_string_lossy(),
            from: &session.rhost.as_deref().unwrap_or_default().to_string_lossy(),
        };
        let resolved = policy::resolve(&line, policy, &files, &facts, &person)?;
        let rule = resolved.rule.map(|place| place.to_string());
        Ok(Orders::new(&resolved.settings, resolved.message, rule))
    }
}

/// Reads the words of the PAM line at that place.
fn read_line(place: &str, words: &[String]) -> Result<Words, Fault> {
    Words::of_line(words.iter().map(String::as_str))
        .map_err(|bad| Fault { word: Some(bad.word), ..Fault::of_file(place, bad.problem) })
}

/// A session as the log names it.
fn name(session: &Session) -> String {
    let proc = Proc::default();
    let Session { user, service, leader, .. } = session;
    let (places, ses) = (Cgroups::of(&proc, *leader), proc.audit_session(*leader));
    let mut ids: Vec<String> = places.session().map(|id| format!("session={id}")).into_iter().collect();
    ids.extend(ses.map(|id| format!("ses={id}")));
    if ids.is_empty() {
        ids.push(format!("process={leader}"));
    }
    let (user, service) = (shown(&user.to_string_lossy()), shown(&service.to_string_lossy()));
    format!("{user} by {service}, {}", ids.join(" "))
}

fn is_gone(helper: ProcId) -> bool {
    Proc::default().find(helper).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn a_mistake_is_named_where_no_session_is_open() {
        let told = |words: &str| {
            let tree = Tree::with(&format!("session required pam_idle_watchdog.so {words}"));
            reload(&[], &tree.machine())
        };
        let good = told("timeout=5m");
        assert_eq!(
            (good.text.as_str(), good.problems, good.code),
            ("0 sessions are watched\n", vec![], CLEAN)
        );
        let file = std::env::temp_dir().join(format!("idle-watchdog-reload-{}", std::process::id()));
        let conf = format!("conf={}", file.display());
        std::fs::write(&file, "* * * * timeot=5m\n* * * * timeout=1\n").unwrap();
        let broken = told(&conf);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let open = told(&conf);
        std::fs::remove_file(&file).unwrap();
        for (broken, says) in [
            (told("timeot=5m"), "/etc/pam.d/sshd:9: timeot=5m: unknown"),
            (told("conf=/nowhere/at-all"), "/nowhere/at-all: No such file"),
            (told("timeout=5m message-file=/nowhere/text"), "/nowhere/text: No such file"),
            (broken, &file.display().to_string()),
            (open, &file.display().to_string()),
        ] {
            let Reloaded { text, problems, code } = broken;
            assert_eq!((text.as_str(), code), ("", BROKEN), "{problems:?}");
            assert!(problems.first().is_some_and(|problem| problem.starts_with(says)), "{problems:?}");
            assert_eq!(problems.last().map(String::as_str), Some("idle-watchdog: nothing was reloaded"));
        }
    }
}
