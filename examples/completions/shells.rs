//! The completions for bash, zsh and fish, from the table of the command line.

use std::collections::BTreeSet;

use pam_idle_watchdog::command::args::table::{Argument, Flag, SUBCOMMANDS, Subcommand};

/// Each file with its text.
pub fn files() -> [(&'static str, String); 3] {
    [("idle-watchdog.bash", bash()), ("_idle-watchdog", zsh()), ("idle-watchdog.fish", fish())]
}

/// What the shells offer for a word. It must be quick and silent, so no program is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Files,
    Users,
    /// The files of /etc/pam.d.
    Services,
    /// The sessions that logind has.
    Sessions,
    Nothing,
}

fn offer(value: Argument) -> Offer {
    match value {
        Argument::File => Offer::Files,
        Argument::User => Offer::Users,
        Argument::Service => Offer::Services,
        Argument::Session => Offer::Sessions,
        _ => Offer::Nothing,
    }
}

/// A subcommand's name and its other names.
fn names(sub: &Subcommand) -> Vec<&'static str> {
    [&[sub.name], sub.aliases].concat()
}

/// What a flag is for, on one line. In the help, a colon leads to the flags that need it.
fn about(flag: &Flag) -> &'static str {
    flag.about.trim_end_matches(':')
}

/// Text between single quotation marks.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

const BASH: &str = r#"# bash completion for idle-watchdog(8). `make completions` writes this file.
# shellcheck shell=bash

# _idle_watchdog_value SUBCOMMAND FLAG: what follows the flag, in the variable `offer`. It is empty if nothing does.
_idle_watchdog_value() {
	offer=
	case "$1 $2" in
@FLAGS@	esac
}

# The sessions that logind has. It also has a pipe for each.
_idle_watchdog_sessions() {
	local name
	for name in /run/systemd/sessions/*; do
		if [[ -f $name ]]; then echo "${name##*/}"; fi
	done
}

_idle_watchdog() {
	local cur=${COMP_WORDS[COMP_CWORD]} sub=${COMP_WORDS[1]} flags=' ' operands=0 offer at name
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W '@NAMES@ --help --version' -- "$cur")
		return
	fi
	case $sub in
@SUBCOMMANDS@	*) return ;;
	esac
	for ((at = 2; at < COMP_CWORD; at++)); do
		name=${COMP_WORDS[at]}
		if [[ $name != -* ]]; then
			((operands += 1))
			continue
		fi
		# Each flag is given once.
		flags=${flags/ $name / }
		_idle_watchdog_value "$sub" "$name"
		[[ $offer ]] || continue
		# bash makes three words of --user=alice.
		((at += 1))
		if [[ ${COMP_WORDS[at]} == = ]]; then ((at += 1)); fi
	done
	if ((at > COMP_CWORD)); then
		if [[ $cur == = ]]; then cur=; fi
		flags=
	else
		offer=
		case "$sub $operands" in
@OPERANDS@		esac
	fi
	case $offer in
	files)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	users) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
	services)
		for name in /etc/pam.d/*; do
			name=${name##*/}
			if [[ $name == "$cur"* ]]; then COMPREPLY+=("$name"); fi
		done
		;;
	sessions) mapfile -t COMPREPLY < <(compgen -W "$(_idle_watchdog_sessions)" -- "$cur") ;;
	esac
	mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "$flags" -- "$cur")
}

complete -F _idle_watchdog idle-watchdog
"#;

fn bash() -> String {
    let word = |value| match offer(value) {
        Offer::Files => "files",
        Offer::Users => "users",
        Offer::Services => "services",
        Offer::Sessions => "sessions",
        Offer::Nothing => "nothing",
    };
    let (mut flags, mut subcommands, mut operands) = (String::new(), String::new(), String::new());
    for sub in SUBCOMMANDS {
        let patterns = |rest: &str| {
            let quoted: Vec<String> = names(sub).iter().map(|name| format!("'{name}{rest}'")).collect();
            quoted.join(" | ")
        };
        for flag in sub.flags {
            if let Some(value) = flag.value {
                flags += &format!("\t{}) offer={} ;;\n", patterns(&format!(" --{}", flag.name)), word(value));
            }
        }
        let all: String = sub.flags.iter().map(|flag| format!("--{} ", flag.name)).collect();
        subcommands += &format!("\t{}) flags=' {all}--help ' ;;\n", patterns(""));
        for (at, operand) in sub.operands.iter().enumerate() {
            operands += &format!("\t\t{}) offer={} ;;\n", patterns(&format!(" {at}")), word(operand.value));
        }
    }
    let all: Vec<&str> = SUBCOMMANDS.iter().flat_map(names).collect();
    BASH.replace("@SUBCOMMANDS@", &subcommands)
        .replace("@NAMES@", &all.join(" "))
        .replace("@FLAGS@", &flags)
        .replace("@OPERANDS@", &operands)
}

const ZSH: &str = r#"#compdef idle-watchdog
# zsh completion for idle-watchdog(8). `make completions` writes this file.

# The sessions that logind has. It also has a pipe for each.
_idle_watchdog_sessions() {
	local -a sessions=(/run/systemd/sessions/*(N.:t))
	compadd -a sessions
}

_idle_watchdog() {
	local curcontext=$curcontext state
	local -a line subcommands=(
@NAMES@	)
	_arguments -C '(- *)'{-h,--help}'[print the help]' '(- *)'{-V,--version}'[print the version]' \
		'1: :->subcommand' '*:: :->words'
	case $state in
	subcommand) _describe subcommand subcommands ;;
	words)
		case $words[1] in
@SUBCOMMANDS@		esac
		;;
	esac
}

_idle_watchdog "$@"
"#;

fn zsh() -> String {
    let action = |value: Argument| {
        let action = match offer(value) {
            Offer::Files => "_files",
            Offer::Users => "_users",
            Offer::Services => "_files -W /etc/pam.d",
            Offer::Sessions => "_idle_watchdog_sessions",
            // A message, and no words.
            Offer::Nothing => " ",
        };
        format!(":{}:{action}", value.shown())
    };
    let explained = |text: &str| text.replace('[', "\\[").replace(']', "\\]");
    let (mut subcommands, mut described) = (String::new(), String::new());
    for sub in SUBCOMMANDS {
        let mut specs = vec!["'(- *)'{-h,--help}'[print the help]'".to_owned()];
        for flag in sub.flags {
            // With the sign, --user=alice is completed, too.
            let (sign, value) = flag.value.map_or(("", String::new()), |value| ("=", action(value)));
            specs.push(quoted(&format!("--{}{sign}[{}]{value}", flag.name, explained(about(flag)))));
        }
        for operand in sub.operands {
            let optional = if operand.is_required { "" } else { ":" };
            specs.push(quoted(&format!("{optional}{}", action(operand.value))));
        }
        let specs: String = specs.iter().map(|spec| format!(" \\\n\t\t\t\t{spec}")).collect();
        subcommands += &format!("\t\t{})\n\t\t\t_arguments{specs}\n\t\t\t;;\n", names(sub).join(" | "));
        for name in names(sub) {
            described += &format!("\t\t{}\n", quoted(&format!("{name}:{}", sub.about)));
        }
    }
    ZSH.replace("@NAMES@", &described).replace("@SUBCOMMANDS@", &subcommands)
}

const FISH: &str = r#"# fish completion for idle-watchdog(8). `make completions` writes this file.

# The sessions that logind has. It also has a pipe for each.
function __idle_watchdog_sessions
	for session in /run/systemd/sessions/*
		if test -f $session
			string replace -r '.*/' '' $session
		end
	end
end

# Whether the next word is the first one after the subcommand that belongs to no flag.
function __idle_watchdog_is_first
	set -l words (commandline -opc)
	set -l belongs no
	for word in $words[3..-1]
		if test $belongs = yes
			set belongs no
			continue
		end
		switch $word
		case @FLAGS@
			set belongs yes
		case '-*'
		case '*'
			return 1
		end
	end
end

complete -c idle-watchdog -f
complete -c idle-watchdog -s h -l help -d 'print the help'
complete -c idle-watchdog -n __fish_use_subcommand -s V -l version -d 'print the version'
"#;

fn fish() -> String {
    let words = |value| match offer(value) {
        Offer::Files => "-F",
        Offer::Users => "-f -a '(__fish_complete_users)'",
        Offer::Services => "-f -a '(string replace -r \".*/\" \"\" /etc/pam.d/*)'",
        Offer::Sessions => "-f -a '(__idle_watchdog_sessions)'",
        Offer::Nothing => "-f",
    };
    let with_value = SUBCOMMANDS.iter().flat_map(|sub| sub.flags).filter(|flag| flag.value.is_some());
    let with_value: BTreeSet<String> = with_value.map(|flag| format!("--{}", flag.name)).collect();
    let with_value: Vec<String> = with_value.into_iter().collect();
    let mut text = FISH.replace("@FLAGS@", &with_value.join(" "));
    for sub in SUBCOMMANDS {
        let names = names(sub).join(" ");
        text += "\n";
        text += &format!(
            "complete -c idle-watchdog -n __fish_use_subcommand -a '{names}' -d {}\n",
            fish_quoted(sub.about)
        );
        let seen = format!("complete -c idle-watchdog -n '__fish_seen_subcommand_from {names}");
        for flag in sub.flags {
            let value = flag.value.map(|value| format!(" -r {}", words(value))).unwrap_or_default();
            text += &format!("{seen}' -l {}{value} -d {}\n", flag.name, fish_quoted(about(flag)));
        }
        // No subcommand has a second operand for which there is something to offer.
        if let Some(operand) = sub.operands.first().filter(|operand| offer(operand.value) != Offer::Nothing) {
            text += &format!("{seen}; and __idle_watchdog_is_first' {}\n", words(operand.value));
        }
    }
    text
}

fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
