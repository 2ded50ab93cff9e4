//! One login: the facts that libpam tells, and the user's ID.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

/// A login. PAM's items are bytes, so they need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// PAM_SERVICE.
    pub service: OsString,
    /// PAM_USER, in the spelling of the person. `None` if PAM names no user.
    pub user: Option<OsString>,
    /// The user's ID, if name services know it.
    pub uid: Option<u32>,
    /// PAM_RHOST.
    pub rhost: Option<OsString>,
    /// PAM_TTY: a device (`/dev/tty1`, `pts/3`), or a word such as `ssh`.
    pub tty: Option<OsString>,
}

/// Rules and records compare and show text. Only these functions turn bytes into text.
impl Login {
    /// The user's name, which is empty if PAM names no user.
    #[must_use]
    pub fn user(&self) -> &OsStr {
        self.user.as_deref().unwrap_or_default()
    }

    /// The user's name as text.
    #[must_use]
    pub fn user_text(&self) -> Cow<'_, str> {
        self.user().to_string_lossy()
    }

    /// The service's name as text.
    #[must_use]
    pub fn service_text(&self) -> Cow<'_, str> {
        self.service.to_string_lossy()
    }

    /// The terminal as text, which is empty if PAM names none.
    #[must_use]
    pub fn tty_text(&self) -> Cow<'_, str> {
        self.tty.as_deref().unwrap_or_default().to_string_lossy()
    }

    /// The remote host as text, which is empty if PAM names none.
    #[must_use]
    pub fn rhost_text(&self) -> Cow<'_, str> {
        self.rhost.as_deref().unwrap_or_default().to_string_lossy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_missing_items_are_empty() {
        let user = Some(OsString::from_vec(vec![b'a', 0xff]));
        let login = Login { service: "sshd".into(), user, ..Login::default() };
        assert_eq!((login.user_text().as_ref(), login.service_text().as_ref()), ("a\u{fffd}", "sshd"));
        assert_eq!((login.tty_text().as_ref(), login.rhost_text().as_ref()), ("", ""));
        assert_eq!(Login::default().user(), "");
    }
}
