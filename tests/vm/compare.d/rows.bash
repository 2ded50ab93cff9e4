# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash and tests/vm/compare
# The measurements, one for each row. A job logs in, waits for the others, does something, and fills cells.

# A line has: the row | its text in the table | the wish, as a regex | its name in the short table | `readme` if
# it is also in the README.
ROWS='
idle_user    | An idle user                                                  | ^ended           | ends an idle session                          | readme
idle_root    | Idle root                                                     | ^ended           | ends an idle root session                     | readme
typing       | Enter every 2 s                                               | ^kept            |
typing_end   | … then nothing more: four sessions                            | ^\+              | never ends a session early                    | readme
line         | One long line, a key every 2 s                                | ^kept            |
no_utmp      | Idle, with no record in utmp                                  | ^ended           |
mux_typing   | Two terminals on one connection, typing in one                | ^both kept       |
mux_idle     | … typing in none                                              | ^ended           | ends an idle session with two terminals on one connection
touch        | Idle, while a loop does `touch -a $(tty)`                     | ^ended           | ends an idle session that forges time stamps
output       | Idle, while `while date; do sleep 1; done` runs               | ^ended           | ends an idle session that shows output        | readme
editor       | Idle in vi                                                    | ^ended           | ends an idle session in an editor             | readme
clock_ahead  | Idle, and the clock set 2 h ahead                             | ^ended,? [+0]     |
clock_back   | Idle, and the clock set 2 h back                              | ^ended           | ends an idle session after the clock was set back
command      | `ssh host command` that is silent and has no terminal         | ^finished        | leaves a silent `ssh host command` alone      | readme
left         | Left 15 s after the end: `nohup`, `setsid`, `trap "" HUP`     | ^0 of            | leaves no process behind                      | readme
warned       | The terminal shows a warning                                  | ^yes             | warns the person                              | readme
reason       | The terminal shows why it ended                               | ^yes             | shows the reason on the terminal
record       | The log says about it                                         | ^who, where, how | logs who, from where and how long             | readme
other        | A user with another limit                                     | ^yes             | gives one user another limit
'
USERS='quiet_ours quiet_logind quiet_channel quiet_tmout quiet_autolog typist1 typist2 typist3 typist4 writer unseen mux1 mux2 forger viewer remote editor leaver ahead back other self'

# The end of the session NAME, as a cell.
ended() {
	local ms
	if ms=$(over "$1"); then early_late "$ms"; else echo "not ended"; fi
}
early_late() {
	if [ "$1" -lt $((LIMIT * 1000)) ]; then
		echo "ended $(seconds $((LIMIT * 1000 - $1))) s early"
	else
		echo "ended, +$(seconds $(($1 - LIMIT * 1000))) s"
	fi
}

# The texts on the screen of an idle user, and the log's lines about this user.
job_idle() {
	local before warned='' cursor ms user=quiet_$SYSTEM
	enter a "$user"
	cursor=$(guest 'journalctl -q -n 0 --show-cursor' | sed -n 's/^-- cursor: //p')
	settle a
	answers a true '[$] '
	before=$(stat -c %s a.screen)
	over a >took &
	while kill -0 $! 2>/dev/null; do
		if [ -z "$warned" ] && text_since "$before" | grep -q .; then
			warned_at=$(now)
			sleep 1
			warned=$(stat -c %s a.screen)
		fi
		sleep 0.5
	done
	ms=$(cat took)
	if [ -z "$ms" ]; then
		for row in idle_user warned reason record; do cell $row 'not ended'; done
		return
	fi
	cell idle_user "$(early_late "$ms")"
	# How long before the end a text was shown.
	ms=$((ms - (${warned_at:-$(now)} - LAST[a]) / 1000))
	# Otherwise it is the text at the end.
	if [ -n "$warned" ] && [ "$ms" -gt 3000 ]; then
		cell warned "yes, $(seconds "$ms") s before"
		text_since "$before" "$warned" >"$RESULTS/$SYSTEM/text.warned"
		before=$warned
	else
		cell warned no
	fi
	text_since "$before" >"$RESULTS/$SYSTEM/text.reason"
	if [ -s "$RESULTS/$SYSTEM/text.reason" ]; then cell reason yes; else cell reason no; fi

	sleep 12
	guest "{ journalctl -q -o cat --after-cursor='$cursor' _AUDIT_SESSION=${ID[a]}
		journalctl -q -o cat --after-cursor='$cursor' | grep -w $user
		cat /var/log/autolog.log 2>/dev/null | grep -w $user; } | grep -Ei 'idle[ =:]|inactiv|timed out'" |
		awk '!seen[$0]++' >"$RESULTS/$SYSTEM/text.record" || :
	local said=
	if recorded -w "$user"; then said="$said, who"; fi
	if recorded -wF 127.0.0.1; then said="$said, where"; fi
	if recorded -E '[ =:][0-9]+( seconds|s| sess|$| )'; then said="$said, how long"; fi
	cell record "$(echo "${said:-, nothing}" | cut -c 3-)"
}
recorded() { grep -q "$@" "$RESULTS/$SYSTEM/text.record"; }
# text_since BYTES [BYTES]: the text that appeared after this many bytes, without ssh's own messages.
text_since() {
	head -c "${2:--0}" a.screen | tail -c "+$(($1 + 1))" | sed -e 's/\x1b\[[?0-9;]*[a-zA-Z]//g' -e 's/\x1b\][^\a]*\a//g' | tr -d '\r\a' |
		grep -aE '[[:alpha:]]{3}' | grep -avE '^(Connection to .* closed|client_loop: )' || :
}

job_root() {
	enter a root
	settle a
	does a true
	cell idle_root "$(ended a)"
}

# The kernel's stamps have steps of 8 s. So there are four sessions, with their last keys in different parts of
# a step.
typing() {
	local end
	enter a "typist$1"
	settle a
	end=$(($(now) + (LIMIT + 10 + 2 * $1) * 1000000))
	while [ "$(now)" -lt $end ] && kill -0 "${PID[a]}" 2>/dev/null; do
		keys a '\n'
		sleep 2
	done
	if kill -0 "${PID[a]}" 2>/dev/null; then over a >"$RESULTS/$SYSTEM/typing.$1" || :; else touch "$RESULTS/$SYSTEM/typing.cut"; fi
}
job_typing1() { typing 1; }
job_typing2() { typing 2; }
job_typing3() { typing 3; }
job_typing4() { typing 4; }
# The time when all of a turn is done.
sum_up() {
	local all
	if [ -e "$RESULTS/$SYSTEM/typing.cut" ]; then cell typing 'ended while typing'; else cell typing kept; fi
	mapfile -t all < <(sort -n "$RESULTS/$SYSTEM"/typing.[1-4])
	case ${#all[@]} in
	0) cell typing_end 'not ended' ;;
	4) cell typing_end "$(signed "${all[0]}") … $(signed "${all[3]}") s" ;;
	*) cell typing_end "$(signed "${all[0]}") … $(signed "${all[-1]}") s, ${#all[@]} of 4 ended" ;;
	esac
}
signed() { if [ "$1" -lt $((LIMIT * 1000)) ]; then echo "−$(seconds $((LIMIT * 1000 - $1)))"; else echo "+$(seconds $(($1 - LIMIT * 1000)))"; fi; }

job_line() {
	local end
	enter a writer
	settle a
	end=$(($(now) + PATIENCE * 1000000))
	while [ "$(now)" -lt $end ]; do
		if ! kill -0 "${PID[a]}" 2>/dev/null; then
			cell line "ended while typing"
			return
		fi
		keys a x
		sleep 2
	done
	cell line kept
}

job_no_utmp() {
	no_utmp=100
	enter a unseen
	settle a
	does a true
	cell no_utmp "$(ended a)"
}

two() {
	in_turn two_logins "$1"
}
two_logins() {
	get_in a "$1" -o ControlMaster=yes -o ControlPath="$PWD/master"
	get_in b "$1" -o ControlPath="$PWD/master"
}
job_mux_typing() {
	local end a b
	two mux1
	a=$(shell_of a) b=$(shell_of b)
	settle a b
	end=$(($(now) + PATIENCE * 1000000))
	while [ "$(now)" -lt $end ] && kill -0 "${PID[b]}" 2>/dev/null; do
		keys b '\n'
		sleep 2
	done
	# The client of the first one stays while the second one needs the connection. The shells show the difference.
	case $(guest "for shell in $a $b; do ! kill -0 \$shell 2>/dev/null || echo \$shell; done" | wc -l) in
	2) cell mux_typing 'both kept' ;;
	1) cell mux_typing 'the idle one ended' ;;
	0) cell mux_typing 'both ended' ;;
	esac
}
shell_of() {
	answers "$1" 'echo "pid=$$."' 'pid=[0-9]+\.'
	grep -aoE 'pid=[0-9]+' "$1.screen" | tail -n 1 | tr -cd 0-9
}
job_mux_idle() {
	two mux2
	settle a b
	does a true
	does b true
	LAST[a]=${LAST[b]}
	cell mux_idle "$(ended a)"
}

job_touch() {
	enter a forger
	settle a
	does a 'tty=$(tty); while sleep 1; do touch -a $tty; done &'
	# Some systems take it for a key, but not forever.
	PATIENCE=$((PATIENCE + 60))
	cell touch "$(ended a)"
}
job_output() {
	enter a viewer
	settle a
	answers a 'while date; do sleep 1; done' '[0-9]:[0-9][0-9]'
	cell output "$(ended a)"
}
job_editor() {
	enter a editor
	settle a
	answers a 'vi' '~'
	cell editor "$(ended a)"
}

job_command() {
	settle
	to
	ssh -F "$RUN/ssh_config" "${TO[@]}" -l remote guest "echo begun; sleep $((LIMIT + STEP)); echo finished" >out </dev/null &
	PID[a]=$!
	within "$SOON" grep -q begun out
	LAST[a]=$(now)
	over a >took || :
	if grep -q finished out; then cell command finished; else cell command "$(early_late "$(cat took)")"; fi
}

job_left() {
	local n="${PORT[$SYSTEM]}"
	enter a leaver
	settle a
	does a "nohup sleep $n.1 >/dev/null 2>&1 &" "setsid sh -c 'sleep $n.2 >/dev/null 2>&1 </dev/null & exit'" \
		"trap '' HUP; sleep $n.3 & trap - HUP"
	if ! over a >/dev/null; then
		cell left 'not ended'
		return
	fi
	sleep 15
	cell left "$(guest "pgrep -cxf 'sleep $n\..'" || :) of 3"
}

job_other() {
	local before end halfway=$(((LIMIT + OTHER) / 2))
	enter a other
	settle a
	answers a true '[$] '
	before=$(stat -c %s a.screen)
	# By then all others have been warned or ended.
	PATIENCE=$halfway
	if over a >took || text_since "$before" | grep -q .; then
		cell other no
		return
	fi
	PATIENCE=$((OTHER + STEP + 15)) LIMIT=$OTHER
	end=$(ended a)
	if [ "$end" = 'not ended' ]; then cell other "$end"; else cell other "yes, $end"; fi
}

job_machine() {
	[ "$SYSTEM" = ours ] || return 0
	enter a self
	settle a
	sleep 5
	keys a 'kill -9 $$\n'
	cell machine "$(seconds "$(over a)") s"
}

# If few sessions end, nobody waits long for their turn.
few() { if [ "$STEP" -gt 60 ]; then PATIENCE=$((LIMIT + 135)); fi; }
# There is one clock for all. It is set after the others are done, 3 s after the last key, for all systems of
# the turn at once.
clock_ahead() {
	few
	enter a ahead
	settle a
	types a 15 '\n'
	touch "$TURN/left.$JOB"
	cell clock_ahead "$(ended a)"
}
clock_back() {
	few
	enter a back
	settle a
	until [ -e "$TURN/back" ]; do
		keys a '\n'
		sleep 2
	done
	keys a '\n'
	touch "$TURN/left.$JOB"
	cell clock_back "$(ended a)"
}
