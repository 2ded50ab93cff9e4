//! `idle-watchdog reload`: applies the current policy and PAM lines to sessions that are already open.

mod changes;
mod current_line;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::command::machine::Machine;
use crate::command::output::{BROKEN, CLEAN, FINDINGS, complain};
use crate::command::pam_stack::stack::{Entry, LineType};
use crate::login::Login;
use crate::policy::files::Files;
use crate::policy::{self, Fault, Options, Policy, Settings};
use crate::protocol::reload;
use crate::protocol::running::{self, RunningHelper};
use crate::protocol::start::Assignment;
use crate::record::shown;
use crate::sys::cgroup::Cgroups;
use crate::sys::nss::Person;
use crate::sys::proc::{Proc, ProcId};
use current_line::CurrentLine;

/// How long to wait for one helper. It usually replies within microseconds. It needs longer only while it
/// writes to a terminal that hangs.
const REPLY_BUDGET: Duration = Duration::from_secs(3);

/// The result of a reload.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that apply now: one line for each session.
    pub text: String,
    /// The problems: one line for each.
    pub problems: Vec<String>,
    pub code: u8,
}

/// Applies the current policy to each watched session of this machine. Returns the output and the exit status.
#[must_use]
pub fn run() -> (String, u8) {
    if !geteuid().is_root() {
        complain("idle-watchdog: only root can reload");
        return (String::new(), BROKEN);
    }
    let Reloaded { text, problems, code } = reload(&running::helpers(), &Machine::here());
    for problem in problems {
        complain(problem);
    }
    (text, code)
}

/// Reloads the settings of these helpers. If the policy or any PAM line of ours is broken, nothing is reloaded.
#[must_use]
pub fn reload(helpers: &[RunningHelper], machine: &Machine) -> Reloaded {
    let told: Vec<(&RunningHelper, &Assignment)> =
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
        done.take(helper, told, step);
    }
    for RunningHelper { id, told } in helpers {
        if let Err(why) = told {
            done.failed(&format!("helper {}", id.pid), &format!("it is another version: {why}"));
        }
    }
    done.text.push_str(&match helpers.len() {
        1 => "1 session is watched\n".to_owned(),
        count => format!("{count} sessions are watched\n"),
    });
    done
}

/// What to do for one session.
enum Step {
    /// Send these settings to its helper. The text says what could not be reloaded.
    Give(Box<Settings>, Option<String>),
    /// Keep the old settings, for this reason.
    Keep(String),
}

impl Reloaded {
    fn take(&mut self, helper: &RunningHelper, told: &Assignment, step: Step) {
        let who = name(told);
        let (settings, kept) = match step {
            Step::Give(settings, kept) => (settings, kept),
            Step::Keep(why) => return self.failed(&who, &why),
        };
        match reload::hand_over(helper.id, &settings, REPLY_BUDGET) {
            Ok(before) => {
                self.text.push_str(&format!("{who}: {}\n", changes::text(&before, &settings)));
                self.problems.extend(kept.map(|kept| format!("{who}: {kept}")));
            }
            Err(_) if is_gone(helper.id) => self.text.push_str(&format!("{who}: has ended\n")),
            Err(why) => self.failed(&who, &why),
        }
    }

    fn failed(&mut self, who: &str, why: &str) {
        self.problems.push(format!("{who}: keeps its old settings, because {why}"));
        self.code = FINDINGS;
    }
}

/// The current PAM lines and policies. Each file is read once, because it may change while we run.
struct Decisions<'a> {
    machine: &'a Machine,
    lines: BTreeMap<String, CurrentLine>,
    policies: BTreeMap<Option<PathBuf>, Policy>,
}

impl Decisions<'_> {
    /// Checks all PAM lines of ours and all policies, because a mistake also matters for services without an
    /// open session.
    ///
    /// # Errors
    ///
    /// All mistakes in them.
    fn read_installed(&mut self) -> Result<(), Vec<Fault>> {
        let libpam = &self.machine.libpam;
        let stacks = libpam.services().into_iter().filter_map(|service| libpam.stack(&service));
        // Several services may include the same line.
        let lines: BTreeMap<String, Vec<String>> = stacks
            .flat_map(|stack| stack.of_type(LineType::Session))
            .filter(Entry::is_ours)
            .map(|entry| (entry.place, entry.words))
            .collect();
        let mut faults = self.policy(&Options::default()).err().unwrap_or_default();
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
    fn policy(&mut self, line: &Options) -> Result<&Policy, Vec<Fault>> {
        Ok(match self.policies.entry(line.conf_path().map(ToOwned::to_owned)) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(Files::of(line.conf_path()).load()?),
        })
    }

    /// What to do for a session.
    fn step(&mut self, told: &Assignment) -> Result<Step, Vec<Fault>> {
        let service = told.login.service_text();
        let machine = self.machine;
        let found = || current_line::line(machine, &service);
        let line = self.lines.entry(service.to_string()).or_insert_with(found).clone();
        let (place, words, kept) = match line {
            CurrentLine::Gone(why) => return Ok(Step::Keep(why)),
            CurrentLine::Known(place, words) => (place, words, None),
            CurrentLine::Unclear(why) => {
                let place = format!("PAM line of process {}", told.leader);
                let kept = format!("keeps the PAM line options from its start, because {why}");
                (place, told.line.clone(), Some(kept))
            }
        };
        let settings = self.decide(&told.login, &place, &words)?;
        Ok(Step::Give(Box::new(settings), kept))
    }

    /// The settings for a session with these options on its PAM line.
    fn decide(&mut self, login: &Login, place: &str, words: &[String]) -> Result<Settings, Vec<Fault>> {
        let line = read_line(place, words).map_err(|fault| vec![fault])?;
        let files = Files::of(line.conf_path());
        let policy = self.policy(&line)?;
        let person = Person::named(login.user());
        policy::resolve(&line, policy, &files, login, &person)
    }
}

/// Parses the options of the PAM line at this place.
fn read_line(place: &str, words: &[String]) -> Result<Options, Fault> {
    Options::of_line(words.iter().map(String::as_str))
        .map_err(|bad| Fault { word: Some(bad.word), ..Fault::of_file(place, bad.problem) })
}

/// Names a session as the log does.
fn name(Assignment { login, leader, .. }: &Assignment) -> String {
    let proc = Proc::default();
    let (cgroups, ses) = (Cgroups::of(&proc, *leader), proc.audit_session(*leader));
    let mut ids: Vec<String> = cgroups.session().map(|id| format!("session={id}")).into_iter().collect();
    ids.extend(ses.map(|id| format!("ses={id}")));
    if ids.is_empty() {
        ids.push(format!("process={leader}"));
    }
    let (user, service) = (shown(&login.user_text()), shown(&login.service_text()));
    format!("{user} by {service}, {}", ids.join(" "))
}

fn is_gone(helper: ProcId) -> bool {
    Proc::default().find(helper).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::test_tree::Tree;

    #[test]
    fn a_mistake_is_found_even_if_no_session_is_open() {
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
