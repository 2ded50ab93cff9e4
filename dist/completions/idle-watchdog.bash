# bash completion for idle-watchdog(8). `make completions` writes this file.
# shellcheck shell=bash

# _idle_watchdog_value SUBCOMMAND FLAG: what follows the flag, in the variable `offer`. It is empty if nothing does.
_idle_watchdog_value() {
	offer=
	case "$1 $2" in
	'check --file') offer=files ;;
	'check --user') offer=users ;;
	'check --service') offer=services ;;
	'check --tty') offer=nothing ;;
	'check --from') offer=nothing ;;
	'check --line') offer=nothing ;;
	'extend --reason') offer=nothing ;;
	'end --reason') offer=nothing ;;
	'report --since') offer=nothing ;;
	'report --user') offer=users ;;
	'report --limit') offer=nothing ;;
	esac
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
		mapfile -t COMPREPLY < <(compgen -W 'check reload status list adopt extend end report --help --version' -- "$cur")
		return
	fi
	case $sub in
	'check') flags=' --file --user --service --tty --from --line --system --report --strict --json --help ' ;;
	'reload') flags=' --help ' ;;
	'status' | 'list') flags=' --watch --json --help ' ;;
	'adopt') flags=' --all --help ' ;;
	'extend') flags=' --reason --help ' ;;
	'end') flags=' --reason --help ' ;;
	'report') flags=' --since --user --limit --json --csv --help ' ;;
	*) return ;;
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
		'check 0') offer=files ;;
		'status 0' | 'list 0') offer=sessions ;;
		'adopt 0') offer=sessions ;;
		'extend 0') offer=sessions ;;
		'extend 1') offer=nothing ;;
		'end 0') offer=sessions ;;
		esac
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
