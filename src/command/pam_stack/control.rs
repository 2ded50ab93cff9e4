//! The control of a PAM line: what libpam does with a module's answer. Read as libpam's own
//! `_pam_parse_control` reads it, because a control that looks right and is read otherwise decides who
//! is guarded.

/// What a module answers libpam: the number of a return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub usize);

impl Code {
    /// `PAM_SUCCESS`
    pub const SUCCESS: Self = Self(0);
    /// `PAM_SERVICE_ERR`
    pub const SERVICE_ERR: Self = Self(3);
    /// `PAM_PERM_DENIED`. libpam's own answer for a line that it cannot read.
    pub const PERM_DENIED: Self = Self(6);
    /// `PAM_AUTH_ERR`
    pub const AUTH_ERR: Self = Self(7);
    /// `PAM_SESSION_ERR`
    pub const SESSION_ERR: Self = Self(14);
    /// `PAM_IGNORE`
    pub const IGNORE: Self = Self(25);
    /// `PAM_MODULE_UNKNOWN`. libpam's own answer for a module that it cannot load.
    pub const MODULE_UNKNOWN: Self = Self(28);

    /// Its name in a control.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(self.0).copied().unwrap_or("unknown")
    }
}

/// `new_authtok_reqd`, which the four words treat as a success.
const NEW_AUTHTOK_REQD: usize = 12;

/// The names of return codes in their order, as libpam's `pam_tokens.h` has them.
pub const NAMES: [&str; 32] = [
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
];

/// What libpam does at an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAction {
    /// It counts for nothing.
    Ignore,
    /// It counts as success, unless something failed before.
    Ok,
    /// Like `Ok`, and the lines after it do not run.
    Done,
    /// The whole stack fails.
    Bad,
    /// Like `Bad`, and the lines after it do not run.
    Die,
    /// What was before it counts for nothing.
    Reset,
    /// So many lines after it do not run.
    Jump(u32),
}

/// The actions that have a name in a control.
const ACTIONS: [(&str, ControlAction); 6] = [
    ("ignore", ControlAction::Ignore),
    ("ok", ControlAction::Ok),
    ("done", ControlAction::Done),
    ("bad", ControlAction::Bad),
    ("die", ControlAction::Die),
    ("reset", ControlAction::Reset),
];

/// A control, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control([ControlAction; NAMES.len()]);

impl Control {
    /// One that fails at every answer: that of a line which cannot be read.
    #[must_use]
    pub fn bad() -> Self {
        Self([ControlAction::Bad; NAMES.len()])
    }

    /// Reads a control, without brackets. One that cannot be read fails at every answer, success
    /// included.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        // The order of required, requisite, optional and sufficient is that of pam.conf(5).
        match text.to_ascii_lowercase().as_str() {
            "required" => Self::of_word(ControlAction::Ok, ControlAction::Ignore, ControlAction::Bad),
            "requisite" => Self::of_word(ControlAction::Ok, ControlAction::Ignore, ControlAction::Die),
            "optional" => Self::of_word(ControlAction::Ok, ControlAction::Ignore, ControlAction::Ignore),
            "sufficient" => Self::of_word(ControlAction::Done, ControlAction::Ignore, ControlAction::Ignore),
            _ => Self::of_pairs(text).unwrap_or_else(Self::bad),
        }
    }

    fn of_word(success: ControlAction, ignore: ControlAction, other: ControlAction) -> Self {
        let action = |code| match code {
            0 | NEW_AUTHTOK_REQD => success,
            code if Code(code) == Code::IGNORE => ignore,
            _ => other,
        };
        Self(std::array::from_fn(action))
    }

    /// `value=action ...`; `None` if libpam cannot read it.
    fn of_pairs(text: &str) -> Option<Self> {
        let mut actions: [Option<ControlAction>; NAMES.len()] = [None; NAMES.len()];
        let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
        let mut rest = text.trim_start_matches(blank);
        while !rest.is_empty() {
            // The first name that the text begins with, as libpam compares them.
            let code = NAMES.iter().position(|name| rest.starts_with(name));
            let name = code.and_then(|code| NAMES.get(code)).copied();
            rest = rest.strip_prefix(name.unwrap_or("default"))?;
            rest = rest.trim_start_matches(blank).strip_prefix('=')?.trim_start_matches(blank);
            let (action, tail) = action(rest)?;
            rest = tail.trim_start_matches(blank);
            match code {
                Some(code) => *actions.get_mut(code)? = Some(action),
                None => actions.iter_mut().for_each(|slot| *slot = slot.or(Some(action))),
            }
        }
        Some(Self(actions.map(|action| action.unwrap_or(ControlAction::Bad))))
    }

    /// What libpam does at that answer.
    #[must_use]
    pub fn action(&self, code: Code) -> ControlAction {
        self.0.get(code.0).copied().unwrap_or(ControlAction::Bad)
    }
}

/// The action that a text begins with, and what is behind it.
fn action(text: &str) -> Option<(ControlAction, &str)> {
    if let Some((name, action)) = ACTIONS.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((*action, text.strip_prefix(name)?));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, tail) = text.split_at(end);
    let jump = number.parse().ok().filter(|jump| (1..=i32::MAX as u32).contains(jump))?;
    Some((ControlAction::Jump(jump), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, code: Code) -> ControlAction {
        Control::parse(text).action(code)
    }

    #[test]
    fn the_words_mean_the_same_in_capitals() {
        for word in ["optional", "OPTIONAL", "Optional"] {
            assert_eq!(
                (at(word, Code::SUCCESS), at(word, Code::SESSION_ERR)),
                (ControlAction::Ok, ControlAction::Ignore)
            );
        }
        assert_eq!(at("required", Code::IGNORE), ControlAction::Ignore);
        assert_eq!(at("requisite", Code::SESSION_ERR), ControlAction::Die);
        assert_eq!(at("SUFFICIENT", Code::SUCCESS), ControlAction::Done);
    }

    #[test]
    fn pairs_are_read_as_libpam_reads_them() {
        let text = "success=ok default=ignore";
        assert_eq!(
            (at(text, Code::SUCCESS), at(text, Code::SESSION_ERR)),
            (ControlAction::Ok, ControlAction::Ignore)
        );
        let text = " success = 2  new_authtok_reqd=done default=die";
        assert_eq!(
            (at(text, Code::SUCCESS), at(text, Code::SESSION_ERR)),
            (ControlAction::Jump(2), ControlAction::Die)
        );
        // What is not named fails, and a default does not replace what stands before it.
        assert_eq!(at("success=1", Code::SESSION_ERR), ControlAction::Bad);
        assert_eq!(at("default=ignore success=ok default=die", Code::SESSION_ERR), ControlAction::Ignore);
        assert_eq!(at("default=1 success=ok", Code::SUCCESS), ControlAction::Ok);
        // libpam wants no blank between two pairs.
        assert_eq!(at("success=okdefault=ignore", Code::SESSION_ERR), ControlAction::Ignore);
    }

    #[test]
    fn a_control_that_cannot_be_read_fails_at_success_too() {
        for text in [
            "requird",
            "Success=ok",
            "success=0",
            "success=",
            "success",
            "success=OK",
            "x=ok",
            "success=99999999999",
        ] {
            assert_eq!(at(text, Code::SUCCESS), ControlAction::Bad, "{text}");
        }
    }
}
