//! The usage and the help, as the table of subcommands gives them.

use super::table::{Flag, Operand, SUBCOMMANDS, Subcommand};

/// The exit statuses, for the end of the help.
const EXIT: &str = "\
Exit status: 0 no problem found; 1 there is a warning, the login is not watched, a session keeps its old
settings, or there is a note with --strict; 2 the command line, a PAM line or the policy is invalid.
";

/// The usage: one command line for each subcommand, not wider than a terminal.
#[must_use]
pub fn usage() -> String {
    const WIDTH: usize = 80;
    let mut text = String::new();
    for (at, sub) in SUBCOMMANDS.iter().enumerate() {
        let start = format!("{} idle-watchdog {}", if at == 0 { "usage:" } else { "      " }, sub.name);
        let indent = " ".repeat(start.len());
        let mut line = start;
        for word in words(sub) {
            if line.len() + 1 + word.len() > WIDTH {
                text += &(line + "\n");
                line = indent.clone();
            }
            line = line + " " + &word;
        }
        text += &(line + "\n");
    }
    text + "       idle-watchdog --help | --version"
}

/// The operands and flags of a subcommand, as the usage shows them.
fn words(sub: &Subcommand) -> Vec<String> {
    let operand = |operand: &Operand| match (operand.value.shown(), operand.is_required) {
        (word, true) => word.to_owned(),
        (word, false) => format!("[{word}]"),
    };
    let said_by_operand = |flag: &&Flag| sub.operands.iter().any(|operand| operand.flag == Some(flag.name));
    let flags = sub.flags.iter().filter(|flag| !said_by_operand(flag));
    sub.operands.iter().map(operand).chain(flags.map(|flag| format!("[{}]", flag.shown()))).collect()
}

impl Flag {
    /// How the usage and the help show it.
    fn shown(&self) -> String {
        match self.value {
            Some(value) => format!("--{} {}", self.name, value.shown()),
            None => format!("--{}", self.name),
        }
    }
}

/// The help.
#[must_use]
pub fn help() -> String {
    const COLUMN: usize = 32;
    let mut text =
        "idle-watchdog: shows what pam_idle_watchdog does for a login, and checks that it can\n".to_owned();
    let line = |left: &str, about: &str| format!("{left:<COLUMN$}{about}\n");
    for sub in SUBCOMMANDS {
        let operands = sub.operands.iter().filter(|operand| operand.flag.is_none());
        let names = [&[sub.name], sub.aliases].concat().join("|");
        let operands: String = operands.map(|operand| format!(" {}", operand.value.shown())).collect();
        text += "\n";
        text += &line(&format!("idle-watchdog {names}{operands} "), sub.about);
        for flag in sub.flags {
            let indent = if flag.needs.is_some() { 8 } else { 4 };
            let same = sub.operands.iter().filter(|operand| operand.flag == Some(flag.name));
            let same: String = same.map(|operand| format!(", {}", operand.value.shown())).collect();
            text += &line(&format!("{:indent$}{}{same} ", "", flag.shown()), flag.about);
        }
    }
    text + "\n" + EXIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_fits_a_terminal_and_the_help_a_screen() {
        assert!(usage().lines().all(|line| line.len() <= 80), "{}", usage());
        assert!(help().lines().all(|line| line.len() <= 110), "{}", help());
    }

    #[test]
    fn every_subcommand_and_every_flag_is_shown() {
        for sub in SUBCOMMANDS {
            assert!(usage().contains(&format!(" idle-watchdog {}", sub.name)));
            for flag in sub.flags {
                assert!(help().contains(&flag.shown()), "{}", flag.name);
            }
        }
    }
}
