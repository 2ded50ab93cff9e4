//! The one description of the command line. The usage, the help and the parser come from it.

/// What a word of the command line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    File,
    User,
    Service,
    Tty,
    Host,
    /// The options of a PAM line.
    Options,
    /// logind's ID, or `pid:LEADER`.
    Session,
    Duration,
    /// A short text for the records.
    Text,
    /// The start of a period.
    When,
}

impl Argument {
    /// How the usage and the help show it.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::File => "FILE",
            Self::User => "USER",
            Self::Service => "SERVICE",
            Self::Tty => "TTY",
            Self::Host => "HOST",
            Self::Options => "OPTIONS",
            Self::Session => "SESSION",
            Self::Duration => "DURATION",
            Self::Text => "TEXT",
            Self::When => "WHEN",
        }
    }
}

/// A flag, such as `--user USER`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// The word that follows it, if one does.
    pub value: Option<Argument>,
    /// The flag without which it makes no sense.
    pub needs: Option<&'static str>,
    /// One line for the help.
    pub about: &'static str,
}

/// A word without a flag.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub value: Argument,
    /// The flag that says the same, if there is one. Only one of them can be given.
    pub flag: Option<&'static str>,
    pub is_required: bool,
}

/// A subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Subcommand {
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    pub operands: &'static [Operand],
    pub flags: &'static [Flag],
    /// One line for the help.
    pub about: &'static str,
}

/// A flag without a value.
const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: None, needs: None, about }
}

/// A flag with a value.
const fn flag(name: &'static str, value: Argument, about: &'static str) -> Flag {
    Flag { name, value: Some(value), needs: None, about }
}

/// A flag that describes the login of `--user`.
const fn of_login(name: &'static str, value: Argument, about: &'static str) -> Flag {
    Flag { needs: Some("user"), ..flag(name, value, about) }
}

/// The session of which a subcommand speaks.
const fn session(is_required: bool) -> Operand {
    Operand { value: Argument::Session, flag: None, is_required }
}

/// The reason of an administrator.
const REASON: Flag = flag("reason", Argument::Text, "why; the person sees it, and the records have it");

/// All subcommands, in the order of the help.
pub const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "check",
        aliases: &[],
        operands: &[Operand { value: Argument::File, flag: Some("file"), is_required: false }],
        flags: &[
            flag("file", Argument::File, "check this file instead, installed or not; - is standard input"),
            flag("user", Argument::User, "whether this user's logins are watched, by which rule, how:"),
            of_login("service", Argument::Service, "with this PAM service; default sshd"),
            of_login("tty", Argument::Tty, "on this terminal; default ssh for sshd, otherwise none"),
            of_login("from", Argument::Host, "from this host, written as PAM_RHOST has it; default local"),
            flag(
                "line",
                Argument::Options,
                "with these options on the PAM line; default those of the service",
            ),
            switch("system", "which services end idle sessions, and what is wrong on this machine"),
            Flag {
                needs: Some("system"),
                ..switch("report", "also versions, exemptions and the last ends: for an auditor")
            },
            switch("strict", "treat notes as warnings"),
            switch("json", "print JSON"),
        ],
        about: "check the policy",
    },
    Subcommand {
        name: "reload",
        aliases: &[],
        operands: &[],
        flags: &[],
        about: "apply the current policy and PAM lines to the open sessions",
    },
    Subcommand {
        name: "status",
        aliases: &["list"],
        operands: &[session(false)],
        flags: &[
            switch("watch", "show it again each second, until you press Ctrl-C"),
            switch("json", "print JSON"),
        ],
        about: "all sessions, or one in full: who is watched how, and who ends when",
    },
    Subcommand {
        name: "adopt",
        aliases: &[],
        operands: &[session(false)],
        flags: &[switch("all", "every session that should have a watchdog and has none")],
        about: "watch a session that is open and has no watchdog",
    },
    Subcommand {
        name: "extend",
        aliases: &[],
        operands: &[session(true), Operand { value: Argument::Duration, flag: None, is_required: true }],
        flags: &[REASON],
        about: "do not end this session as idle for so long",
    },
    Subcommand {
        name: "end",
        aliases: &[],
        operands: &[session(true)],
        flags: &[REASON],
        about: "end this session now",
    },
    Subcommand {
        name: "report",
        aliases: &[],
        operands: &[],
        flags: &[
            flag("since", Argument::When, "from then on: 24h, 7d (the default), or a date, 2026-11-20"),
            flag("user", Argument::User, "only sessions of this user"),
            flag(
                "limit",
                Argument::Duration,
                "how many of the recorded absences this limit would have ended",
            ),
            switch("json", "print JSON"),
            switch("csv", "print a table for a spreadsheet"),
        ],
        about: "what the watchdogs of this machine did, from the log",
    },
];

impl Subcommand {
    /// The subcommand with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SUBCOMMANDS.iter().find(|known| known.name == name || known.aliases.contains(&name))
    }

    /// Its flag with this name.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_what_a_flag_or_an_operand_refers_to_exists() {
        let names: Vec<&str> =
            SUBCOMMANDS.iter().flat_map(|sub| sub.aliases.iter().copied().chain([sub.name])).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name}");
        }
        for sub in SUBCOMMANDS {
            for (at, flag) in sub.flags.iter().enumerate() {
                assert!(sub.flags[at + 1..].iter().all(|other| other.name != flag.name), "{}", flag.name);
                assert!(flag.needs.is_none_or(|needs| sub.flag(needs).is_some()), "{}", flag.name);
            }
            for operand in sub.operands {
                let same = operand.flag.map(|name| sub.flag(name).and_then(|flag| flag.value));
                assert!(same.is_none_or(|value| value == Some(operand.value)), "{operand:?}");
            }
        }
    }
}
