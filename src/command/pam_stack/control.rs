//! The control of a PAM line: what libpam does when the module returns. Controls are parsed exactly as in
//! libpam's `_pam_parse_control`. libpam reads some controls differently from what they seem to say. Then other
//! sessions are watched than the administrator thinks.

/// A module's return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub usize);

impl Code {
    pub const SUCCESS: Self = Self(0);
    pub const SERVICE_ERR: Self = Self(3);
    /// libpam uses this code for a line that it cannot read.
    pub const PERM_DENIED: Self = Self(6);
    pub const AUTH_ERR: Self = Self(7);
    pub const SESSION_ERR: Self = Self(14);
    pub const IGNORE: Self = Self(25);
    /// libpam uses this code for a module that it cannot load.
    pub const MODULE_UNKNOWN: Self = Self(28);

    /// The code's name in a control.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(self.0).copied().unwrap_or("unknown")
    }
}

/// `new_authtok_reqd`. The controls `required`, `requisite`, `optional` and `sufficient` treat it as success.
const NEW_AUTHTOK_REQD: usize = 12;

/// The names of the return codes, from 0 on, as in libpam's `pam_tokens.h`.
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

/// What libpam does when a module returns some code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAction {
    /// Ignores the code.
    Ignore,
    /// The stack succeeds, unless a line before this one failed.
    Ok,
    /// Like `Ok`, and the lines after this one do not run.
    Done,
    /// The stack fails.
    Bad,
    /// Like `Bad`, and the lines after this one do not run.
    Die,
    /// Forgets the results of the lines before this one.
    Reset,
    /// Skips this many lines.
    Jump(u32),
}

const ACTIONS: [(&str, ControlAction); 6] = [
    ("ignore", ControlAction::Ignore),
    ("ok", ControlAction::Ok),
    ("done", ControlAction::Done),
    ("bad", ControlAction::Bad),
    ("die", ControlAction::Die),
    ("reset", ControlAction::Reset),
];

/// A parsed control: the action for each return code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control([ControlAction; NAMES.len()]);

impl Control {
    /// The control of a line that cannot be read. It fails whatever the module returns.
    #[must_use]
    pub fn bad() -> Self {
        Self([ControlAction::Bad; NAMES.len()])
    }

    /// Parses a control without its brackets. If libpam cannot read the control, it fails whatever the module
    /// returns, even for `success`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
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

    /// Parses `value=action ...`. `None` if libpam cannot read it.
    fn of_pairs(text: &str) -> Option<Self> {
        let mut actions: [Option<ControlAction>; NAMES.len()] = [None; NAMES.len()];
        let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
        let mut rest = text.trim_start_matches(blank);
        while !rest.is_empty() {
            // libpam takes the first name in the table with which the text starts.
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

    /// What libpam does when the module returns this code.
    #[must_use]
    pub fn action(&self, code: Code) -> ControlAction {
        self.0.get(code.0).copied().unwrap_or(ControlAction::Bad)
    }
}

/// Splits a text into the action with which it starts, and the rest.
fn action(text: &str) -> Option<(ControlAction, &str)> {
    if let Some((name, action)) = ACTIONS.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((*action, text.strip_prefix(name)?));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, tail) = text.split_at(end);
    let jump: u32 = number.parse().ok()?;
    if jump == 0 || i32::try_from(jump).is_err() {
        return None;
    }
    Some((ControlAction::Jump(jump), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, code: Code) -> ControlAction {
        Control::parse(text).action(code)
    }

    #[test]
    fn the_case_of_a_control_does_not_matter() {
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
    fn pairs_are_parsed_as_in_libpam() {
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
        // Codes without an action fail. A default does not replace an action that comes before it.
        assert_eq!(at("success=1", Code::SESSION_ERR), ControlAction::Bad);
        assert_eq!(at("default=ignore success=ok default=die", Code::SESSION_ERR), ControlAction::Ignore);
        assert_eq!(at("default=1 success=ok", Code::SUCCESS), ControlAction::Ok);
        // libpam does not need a blank between two pairs.
        assert_eq!(at("success=okdefault=ignore", Code::SESSION_ERR), ControlAction::Ignore);
    }

    #[test]
    fn a_control_that_cannot_be_read_fails_even_for_success() {
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
