# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# An idle session is warned and ended. A session that closes is left alone.

case_idle_user() {
	login a alice
	armed a 'terminals-by=masters members-by=scope witness=connection'
	local manager
	manager=$(attended a guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')
	# The group is removed with the last helper. On Debian 11 no control group gets a share of the processor, until a unit
	# asks for one. With version 1 the file does not exist.
	local weight=10000
	case $debian,$SYSTEMD in bullseye,* | *,systemd) weight=none ;; esac
	[ "$(attended a guest "cd /sys/fs/cgroup/$SYSTEMD/idle_watchdog && if [ -e cpu.weight ]; then cat cpu.weight; else echo none; fi")" = "$weight" ] ||
		fail 'the helpers wait for others'
	does a 'true'
	ends_idle a
	[ "$(guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')" = "$manager" ] || fail 'user@.service was disturbed'
	screen_says a 'press Enter'
	screen_says a 'has been idle for 1[2-9]s .* and has been ended'
	record a ': warned .* tty=pts/[0-9]+ .*limit=12 by=terminal remaining=4'
	record a ': ending .* tty=pts/[0-9]+ .*limit=12 by=terminal members=[1-9]'
	record a ': ended .* survivors=0'
	no_record a 'error|orphaned|tampering'
	gone a
}

case_idle_root() {
	login a root
	armed a 'terminals-by=masters members-by=scope witness=connection'
	does a 'true'
	ends_idle a
	screen_says a 'press Enter'
	record a ': ended .* survivors=0'
	no_record a 'error|orphaned|tampering'
	gone a
}

case_typing_user() {
	login a alice
	types a 40
	no_record a ': (ending|tampering)'
	ends_idle a
	gone a
}

# After the logout, a watched session disappears as fast as another one. The time is from sshd's last message
# until logind has removed the session, on the guest's own clock. This case runs alone, because the load of
# other cases would change the times.
alone_logout() {
	local n name watched=() others=()
	local -A PORT
	for n in 1 2 3; do
		logins "d$n:dave" "e$n:erin"
		for name in "e$n" "d$n"; do
			answers "$name" 'set -- $SSH_CLIENT; echo "port=$2."' 'port=[0-9]*\.'
			PORT[$name]=$(sed -n 's/.*port=\([0-9]*\)\..*/\1/p' "${OUT[$name]}" | tail -n 1)
		done
		armed "d$n"
		no_record "e$n" armed
	done
	for n in 1 2 3; do
		for name in "d$n" "e$n"; do
			keys "$name" 'exit\n'
			gone "$name"
		done
		watched+=("$(leaving "d$n")")
		others+=("$(leaving "e$n")")
	done
	echo "watched: ${watched[*]} ms, others: ${others[*]} ms"
	local more=$(($(median "${watched[@]}") - $(median "${others[@]}")))
	[ $more -lt 1000 ] || fail "gone $more ms later where it is watched"
	for n in 1 2 3; do
		record "d$n" ': closed '
		no_record "d$n" 'ending|orphaned|error'
	done
}
# leaving NAME: the milliseconds from the disconnect to the end of the session. The client's port tells whose disconnect it
# was, because the journal does not know the scope of a process that has exited.
leaving() {
	guest "journalctl -q -o json --output-fields=MESSAGE SYSLOG_IDENTIFIER=sshd + SYSLOG_IDENTIFIER=sshd-session + SYSLOG_IDENTIFIER=systemd-logind" |
		perl -ne '/"__MONOTONIC_TIMESTAMP":"(\d+)"/ or next; my $at = $1;
			$from = $at if /Received disconnect from \S+ port '"${PORT[$1]}"':/; $to = $at if /Removed session '"${ID[$1]}"'\./;
			END { print int(($to - $from) / 1000) if $from && $to }' | grep . || fail "$1: no goodbye in the journal"
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# One connection has two terminals. A key at either keeps both.
case_two_terminals() {
	login a alice -o ControlMaster=yes -o ControlPath="$PWD/master"
	attended a login b alice -o ControlPath="$PWD/master"
	[ "${ID[a]}" = "${ID[b]}" ] || fail 'two sessions'
	types b 30
	alive a
	LAST[a]=${LAST[b]} ANSWERED[a]=${ANSWERED[b]}
	ends_idle a b
	record a ': ended .* tty=pts/[0-9]+,pts/[0-9]+ .*survivors=0'
	gone a
}

# Output is not activity.
case_output() {
	login a alice
	keys a 'while date; do sleep 1; done\n'
	ends_idle a
	gone a
}

# Stamps that no key has set gain nothing while the client is silent. Stamps in the future never gain anything.
case_forged() {
	logins l:alice f:alice
	keys l 't=$(tty); while sleep 1; do touch -a $t; done\n'
	# This is after the last key and the first look.
	keys f 't=$(tty); (sleep 7; touch -d 2100-01-01 $t) &\n'
	ends_idle f
	record f ': tampering .*stamp=future believed=no'
	gone f
	ends_idle l
	record l ': tampering .*stamp=refuted believed=no'
	no_record l ': tampering .*believed=yes'
	record l ': ended .*disbelieved=[1-9].* survivors=0'
	gone l
}

# If the client sends keepalives, the loop is believed three times. Each time adds at most the limit. Then the
# end waits for a proven key, 18 s after the warning.
case_forged_with_keepalives() {
	login l alice -o ServerAliveInterval=1 -o ServerAliveCountMax=60
	keys l 't=$(tty); while sleep 1; do touch -a $t; done\n'
	ends_between l $((2 * LIMIT)) "$SOON"
	STEP=$((3 * LIMIT + 4 * BY_STAMPS + 14)) decided l ': ending '
	record l ': tampering .*believed=yes credits=0'
	record l ': tampering .*stamp=doubtful believed=no'
	record l ': ended .*disbelieved=[1-9].* survivors=0'
	gone l
}

# root kills the leader, and a connected shell remains. It is ended at once.
case_leader_killed() {
	logins a:alice r:root
	attended r armed a
	attended a armed r
	guest "for id in ${ID[a]} ${ID[r]}; do kill -KILL \$(loginctl show-session -P Leader \$id); done"
	ends_between a 0 "$SOON"
	ends_between r 0 "$SOON"
	record a ': ended .*survivors=0'
	record a ': orphaned '
	record r ': orphaned '
	no_record a ': ending'
	gone a
	gone r
}

# A user who kills their own processes, such as their side of sshd, is logged out.
case_own_sshd_killed() {
	logins a:alice s:alice
	attended s armed a
	attended a armed s
	keys a 'kill -KILL $PPID\n'
	keys s 'kill -KILL $$\n'
	ends_between a 0 "$SOON"
	ends_between s 0 "$SOON"
	record a ': closed '
	record s ': closed '
	no_record a ': ending '
	no_record s ': ending '
	gone a
	gone s
}
