# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# A connection that has an idle terminal and a transfer (kill=terminal), and what the person is told at login (announce).

# over PORT: the arguments of an ssh that shares the case's connection to the sshd at that port. `master` opens it.
over() { OVER=(-F "$RUN/ssh_config" -S "$PWD/c" -J backdoor -p "$1" -l alice); }
# master PORT: opens the connection, without a session. MASTER is the PID of its client.
master() {
	over "$1"
	ssh "${OVER[@]}" -M -N guest </dev/null >master.screen 2>&1 &
	MASTER=$!
	within "$SOON" test -S c || fail 'no shared connection'
}
# An idle shell (a) and a transfer share a connection. The transfer ends when the guest has the file. TRANSFER is the PID
# of its client.
kept() {
	stack "$1" pam_loginuid.so pam_systemd.so "$OURS kill=terminal"
	master "$1"
	login a alice "${OVER[@]:2:6}"
	armed a kill=terminal
	# shellcheck disable=SC2029 # the case's
	ssh "${OVER[@]}" guest "until [ -e /tmp/$2 ]; do echo going; sleep 1; done; echo all" </dev/null >transfer.screen 2>&1 &
	TRANSFER=$!
	AFTERWARDS="rm -f /tmp/$2"
	attended a within "$SOON" grep -q going transfer.screen || fail 'no transfer'
	detach a "$2"
	ends_idle a
	screen_says a 'has been ended'
	record a ': ending .*kept=bash'
	kill -0 "$TRANSFER" "$MASTER" || fail 'the connection has ended with the shell'
	helper_lives a
}

# The transfer is finished. Then the persisted connection ends.
case_kill_terminal() {
	kept 2250 1040
	guest touch /tmp/1040
	wait "$TRANSFER" || fail 'the transfer has failed'
	[ "$(tail -n 1 transfer.screen)" = all ] || fail 'the transfer was cut off'
	record a ': ended .*kept-until=done .*survivors=0'
	within "$SOON" eval '! kill -0 $MASTER 2>/dev/null' || fail 'the connection is still there'
	runs 'sleep 1040\.1' 'sleep 1040\.2' 'sleep 1040\.3' 'sleep 1040\.4'
	guest "pkill -xf 'sleep 1040\..'"
	gone a
}

# Nobody gets in over the kept connection. Whoever tries ends it.
case_kill_terminal_back() {
	kept 2251 1041
	on_terminal b "${OVER[@]:2}" guest
	within "$SOON" grep -q 'Log in again' b.screen || fail 'nobody says why'
	record a ': ended .*kept-until=opened .*survivors=0'
	within "$SOON" eval '! kill -0 $MASTER ${PID[b]} 2>/dev/null' || fail 'the connection is still there'
	guest "touch /tmp/1041; pkill -xf 'sleep 1041\..'"
	gone a
}

# A shell shows the announcement, and the output of a command or of a transfer has nothing of it.
case_announce() {
	stack 2252 pam_loginuid.so pam_systemd.so "$OURS announce"
	login a alice -J backdoor -p 2252
	screen_says a 'This session ends after 12s without a key\.'
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	gone a
	over 2252
	local output
	output=$(ssh "${OVER[@]}" -o ControlPath=none guest 'echo out' 2>&1 </dev/null)
	[ "$output" = out ] || fail "a command says: $output"
	for way in -O -s; do
		output=$(scp -q "$way" -F "$RUN/ssh_config" -J backdoor -P 2252 alice@guest:/etc/hostname copied 2>&1)
		[ -z "$output" ] || fail "scp $way says: $output"
		[ "$(cat copied)" = "$(guest cat /etc/hostname)" ] || fail "scp $way copies something else"
	done
}
