# fish completion for idle-watchdog(8). `make completions` writes this file.

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
		case --file --from --limit --line --reason --service --since --tty --user
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

complete -c idle-watchdog -n __fish_use_subcommand -a 'check' -d 'check the policy'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l file -r -F -d 'check this file instead, installed or not; - is standard input'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l user -r -f -a '(__fish_complete_users)' -d 'whether this user\'s logins are watched, by which rule, how'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l service -r -f -a '(string replace -r ".*/" "" /etc/pam.d/*)' -d 'with this PAM service; default sshd'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l tty -r -f -d 'on this terminal; default ssh for sshd, otherwise none'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l from -r -f -d 'from this host, written as PAM_RHOST has it; default local'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l line -r -f -d 'with these options on the PAM line; default those of the service'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l system -d 'which services end idle sessions, and what is wrong on this machine'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l report -d 'also versions, exemptions and the last ends: for an auditor'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l strict -d 'treat notes as warnings'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check' -l json -d 'print JSON'
complete -c idle-watchdog -n '__fish_seen_subcommand_from check; and __idle_watchdog_is_first' -F

complete -c idle-watchdog -n __fish_use_subcommand -a 'reload' -d 'apply the current policy and PAM lines to the open sessions'

complete -c idle-watchdog -n __fish_use_subcommand -a 'status list' -d 'all sessions, or one in full: who is watched how, and who ends when'
complete -c idle-watchdog -n '__fish_seen_subcommand_from status list' -l watch -d 'show it again each second, until you press Ctrl-C'
complete -c idle-watchdog -n '__fish_seen_subcommand_from status list' -l json -d 'print JSON'
complete -c idle-watchdog -n '__fish_seen_subcommand_from status list; and __idle_watchdog_is_first' -f -a '(__idle_watchdog_sessions)'

complete -c idle-watchdog -n __fish_use_subcommand -a 'adopt' -d 'watch a session that is open and has no watchdog'
complete -c idle-watchdog -n '__fish_seen_subcommand_from adopt' -l all -d 'every session that should have a watchdog and has none'
complete -c idle-watchdog -n '__fish_seen_subcommand_from adopt; and __idle_watchdog_is_first' -f -a '(__idle_watchdog_sessions)'

complete -c idle-watchdog -n __fish_use_subcommand -a 'extend' -d 'do not end this session as idle for so long'
complete -c idle-watchdog -n '__fish_seen_subcommand_from extend' -l reason -r -f -d 'why; the person sees it, and the records have it'
complete -c idle-watchdog -n '__fish_seen_subcommand_from extend; and __idle_watchdog_is_first' -f -a '(__idle_watchdog_sessions)'

complete -c idle-watchdog -n __fish_use_subcommand -a 'end' -d 'end this session now'
complete -c idle-watchdog -n '__fish_seen_subcommand_from end' -l reason -r -f -d 'why; the person sees it, and the records have it'
complete -c idle-watchdog -n '__fish_seen_subcommand_from end; and __idle_watchdog_is_first' -f -a '(__idle_watchdog_sessions)'

complete -c idle-watchdog -n __fish_use_subcommand -a 'report' -d 'what the watchdogs of this machine did, from the log'
complete -c idle-watchdog -n '__fish_seen_subcommand_from report' -l since -r -f -d 'from then on: 24h, 7d (the default), or a date, 2026-11-20'
complete -c idle-watchdog -n '__fish_seen_subcommand_from report' -l user -r -f -a '(__fish_complete_users)' -d 'only sessions of this user'
complete -c idle-watchdog -n '__fish_seen_subcommand_from report' -l limit -r -f -d 'how many of the recorded absences this limit would have ended'
complete -c idle-watchdog -n '__fish_seen_subcommand_from report' -l json -d 'print JSON'
complete -c idle-watchdog -n '__fish_seen_subcommand_from report' -l csv -d 'print a table for a spreadsheet'
