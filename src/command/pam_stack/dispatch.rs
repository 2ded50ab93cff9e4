//! Runs a stack as libpam does. The caller says what each module returns. Pure.
//!
//! It follows `_pam_dispatch_aux` of Linux-PAM 1.5 to 1.7. `tests/dispatch.rs` compares it with the libpam of
//! the machine.

use super::control::{Code, ControlAction};
use super::stack::{Entry, Runs};

/// What happened while a stack ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The code that the application gets.
    pub result: Code,
    /// The positions of the lines that ran, each with the action that libpam took after it.
    pub ran: Vec<(usize, ControlAction)>,
    /// The position of the first line that jumps past the end of the stack.
    pub bad_jump: Option<usize>,
}

impl Run {
    #[must_use]
    pub fn succeeds(&self) -> bool {
        self.result == Code::SUCCESS
    }

    /// Whether the line at this position ran.
    #[must_use]
    pub fn has(&self, at: usize) -> bool {
        self.ran.iter().any(|(ran, _)| *ran == at)
    }
}

/// The result of the lines that ran so far. `impression` and `status` are libpam's names.
#[derive(Clone, Copy)]
struct StackState {
    impression: Impression,
    status: Code,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Impression {
    Undefined,
    Positive,
    Negative,
}

impl StackState {
    const NONE: Self = Self { impression: Impression::Undefined, status: Code::PERM_DENIED };

    fn succeed(&mut self, code: Code) {
        let undefined = self.impression == Impression::Undefined;
        if undefined || (self.impression == Impression::Positive && self.status == Code::SUCCESS) {
            *self = Self { impression: Impression::Positive, status: code };
        }
    }

    fn fail(&mut self, code: Code) {
        if self.impression != Impression::Negative {
            let status = if code == Code::IGNORE { Code::PERM_DENIED } else { code };
            *self = Self { impression: Impression::Negative, status };
        }
    }
}

/// Runs lines of the same type. `result` returns the result of a line's module.
#[must_use]
pub fn run(entries: &[Entry], result: impl Fn(usize, &Entry) -> Code) -> Run {
    let mut run = Run { result: Code::PERM_DENIED, ran: Vec::new(), bad_jump: None };
    // The state at the start of each substack.
    let mut before = vec![StackState::NONE];
    let mut state = StackState::NONE;
    let (mut at, mut level) = (0, 0);
    while let Some(entry) = entries.get(at) {
        if level < entry.level {
            before.resize(entry.level + 1, StackState::NONE);
            if let Some(slot) = before.get_mut(entry.level) {
                *slot = state;
            }
        }
        level = entry.level;
        let code = match &entry.runs {
            Runs::Substack => {
                at += 1;
                continue;
            }
            Runs::Fails(_) => Code::PERM_DENIED,
            Runs::Module(_) => result(at, entry),
        };
        let action = entry.control.action(code);
        run.ran.push((at, action));
        let mut next = at + 1;
        match action {
            ControlAction::Ignore => {}
            ControlAction::Ok => state.succeed(code),
            ControlAction::Done => {
                state.succeed(code);
                if state.impression == Impression::Positive {
                    next = end_of(entries, at);
                }
            }
            ControlAction::Bad => state.fail(code),
            ControlAction::Die => {
                state.fail(code);
                next = end_of(entries, at);
            }
            ControlAction::Reset => state = before.get(level).copied().unwrap_or(StackState::NONE),
            ControlAction::Jump(lines) => match jump(entries, at, lines) {
                Ok(to) => next = to,
                Err(to) => {
                    next = to;
                    state = StackState { impression: Impression::Negative, status: Code::PERM_DENIED };
                    run.bad_jump.get_or_insert(at);
                }
            },
        }
        at = next;
    }
    let unsure = state.status == Code::SUCCESS && state.impression != Impression::Positive;
    run.result = if unsure { Code::PERM_DENIED } else { state.status };
    run
}

/// The position after the stack or substack of the line.
fn end_of(entries: &[Entry], at: usize) -> usize {
    let level = entries.get(at).map_or(0, |entry| entry.level);
    let inner = entries.iter().skip(at + 1).take_while(|entry| entry.level >= level).count();
    at + 1 + inner
}

/// The position after a jump over this many lines. A substack counts as one line. If there are fewer lines, the
/// error is the position where libpam continues.
fn jump(entries: &[Entry], at: usize, lines: u32) -> Result<usize, usize> {
    let level_at = |at: usize| entries.get(at).map(|entry| entry.level);
    let level = level_at(at).unwrap_or(0);
    let (mut at, mut remaining) = (at, lines);
    while remaining > 0 && level_at(at + 1).is_some_and(|next| next >= level) {
        at += 1;
        while level_at(at + 1).is_some_and(|next| next > level) {
            at += 1;
        }
        remaining -= 1;
    }
    if remaining == 0 { Ok(at + 1) } else { Err(at + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::pam_stack::parse;
    use crate::command::pam_stack::stack::LineType;
    use std::path::PathBuf;

    /// The positions of the lines that ran, and the result. The name of each module is the code that it
    /// returns.
    fn ran(text: &str) -> (Vec<usize>, &'static str) {
        let file = |name: &str| {
            let text = if name == "sub" {
                "session sufficient success\nsession required session_err\n"
            } else {
                text
            };
            Some((PathBuf::from(name), text.to_owned()))
        };
        let entries = parse::read("service", true, file).unwrap().of_type(LineType::Session);
        let code = |name: &str| Code((0..32).find(|code| Code(*code).name() == name).unwrap());
        let run = run(&entries, |_, entry| code(entry.module()));
        (run.ran.iter().map(|(at, _)| *at).collect(), run.result.name())
    }

    #[test]
    fn a_stack_ends_where_libpam_ends_it() {
        assert_eq!(ran("session required success\nsession optional session_err\n"), (vec![0, 1], "success"));
        assert_eq!(ran("session sufficient success\nsession required session_err\n"), (vec![0], "success"));
        assert_eq!(
            ran("session requisite session_err\nsession required success\n"),
            (vec![0], "session_err")
        );
        assert_eq!(
            ran("session required session_err\nsession sufficient success\nsession required success\n").0,
            [0, 1, 2]
        );
        assert_eq!(ran("session required ignore\n"), (vec![0], "perm_denied"));
        assert_eq!(ran("session requird success\n"), (vec![0], "perm_denied"));
        assert_eq!(ran(""), (vec![], "perm_denied"));
    }

    #[test]
    fn a_jump_counts_a_substack_as_one_line() {
        let text = "session [success=1] success\nsession substack sub\nsession required success\n";
        assert_eq!(ran(text), (vec![0, 4], "success"));
        let text = "session [success=1] success\nsession include sub\nsession required success\n";
        assert_eq!(ran(text), (vec![0, 2, 3], "session_err"));
        // `done` inside a substack ends that substack only.
        let text = "session substack sub\nsession required success\n";
        assert_eq!(ran(text), (vec![1, 3], "success"));
        let text = "session [success=2 default=ignore] success\nsession required success\n";
        assert_eq!(ran(text), (vec![0], "perm_denied"));
    }

    #[test]
    fn reset_forgets_earlier_results() {
        let text =
            "session required session_err\nsession [success=reset] success\nsession required success\n";
        assert_eq!(ran(text), (vec![0, 1, 2], "success"));
    }
}
