//! What name services know of users and groups.
#![forbid(unsafe_code)]

use std::ffi::CString;

use nix::unistd::{Gid, Group, User, getgrouplist};
use once_cell::unsync::OnceCell;

/// One user, asked about no more often than needed.
#[derive(Debug)]
pub struct Person<'a> {
    name: &'a str,
    user: OnceCell<Option<User>>,
    groups: OnceCell<Vec<Gid>>,
}

impl<'a> Person<'a> {
    /// The one of that name. Nobody is asked yet.
    #[must_use]
    pub fn named(name: &'a str) -> Self {
        Self { name, user: OnceCell::new(), groups: OnceCell::new() }
    }

    /// The user's id, `None` where name services do not know it.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.user().ok().flatten().map(|user| user.uid.as_raw())
    }

    /// Whether name services have answered, be it that there is no such user.
    ///
    /// # Errors
    ///
    /// They have not.
    pub fn is_told(&self) -> Result<(), String> {
        let failed = |e| format!("name services cannot tell who {} is: {e}", self.name.escape_debug());
        self.user().map(drop).map_err(failed)
    }

    /// The user's name as name services have it: the one asked for may be spelled otherwise, where they
    /// know no capitals, or let a domain go before it.
    #[must_use]
    pub fn canonical(&self) -> Option<&str> {
        self.user().ok().flatten().map(|user| user.name.as_str())
    }

    /// Whether the user is a member of a group, be it the primary one or another. Nobody is one of a
    /// group that does not exist.
    ///
    /// # Errors
    ///
    /// Name services do not answer: it cannot be told.
    pub fn is_in(&self, group: &str) -> Result<bool, String> {
        let failed = |e: nix::Error| format!("name services cannot tell the members of {group}: {e}");
        let Some(user) = self.user().map_err(failed)? else { return Ok(false) };
        let Some(group) = Group::from_name(group).map_err(failed)? else { return Ok(false) };
        let groups = self.groups.get_or_try_init(|| {
            let name = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
            getgrouplist(&name, user.gid)
        });
        Ok(groups.map_err(failed)?.contains(&group.gid))
    }

    fn user(&self) -> nix::Result<Option<&User>> {
        self.user.get_or_try_init(|| User::from_name(self.name)).map(Option::as_ref)
    }
}

/// Whether there is a user of that name.
///
/// # Errors
///
/// Name services do not answer.
pub fn user_exists(name: &str) -> nix::Result<bool> {
    Ok(User::from_name(name)?.is_some())
}

/// Whether there is a group of that name.
///
/// # Errors
///
/// Name services do not answer.
pub fn group_exists(name: &str) -> nix::Result<bool> {
    Ok(Group::from_name(name)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::aside::{self, Aside};
    use nix::sys::resource::{Resource, setrlimit};

    #[test]
    fn silence_of_name_services_is_no_answer() {
        assert!(Person::named("root").is_told().is_ok());
        // Without a descriptor nothing can be asked; in a child, for that is the whole process's.
        let answer = Aside::default().run(|pipe| {
            let none = setrlimit(Resource::RLIMIT_NOFILE, 0, 0).is_ok();
            let person = Person::named("root");
            let silent = person.is_told().is_err() && person.uid().is_none();
            aside::answer(pipe, &[u8::from(none && silent)]);
        });
        assert_eq!(answer, [1]);
    }
}
