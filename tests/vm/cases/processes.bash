# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# What a session leaves running, and what its user may do to it through systemd.

# Detached work of four kinds, with an argument by which it is found again; in one line, for a guest is slow.
detach() {
	local work="nohup sleep $2.1 >/dev/null 2>&1 & setsid sh -c 'sleep $2.2 >/dev/null 2>&1 </dev/null & exit'"
	does "$1" "$work; tmux -L t$2 new -d 'exec sleep $2.3'; trap '' HUP; sleep $2.4 & trap - HUP"
	attended "$1" runs "sleep $2\.1" "sleep $2\.2" "sleep $2\.3" "sleep $2\.4"
}

case_kill_session() {
	login a alice
	armed a kill=session
	detach a 1001
	ends_idle a
	gone a
	not_runs 'sleep 1001\..'
	record a ': ended .*survivors=0'
}

case_kill_tty() {
	login c carol
	armed c kill=tty
	detach c 1002
	does c 'sleep 1002.9 &'
	ends_idle c
	record c ': ended .*survivors=0'
	runs 'sleep 1002\.1' 'sleep 1002\.2' 'sleep 1002\.3' 'sleep 1002\.4'
	not_runs 'sleep 1002\.9'
	within "$SOON" guest "! test -d /proc/${HELPER[c]}" || fail 'the helper is still there'
	# logind keeps the session until the last of its processes is gone.
	guest "pkill -xf 'sleep 1002\..'"
	gone c
}

# The connection alone: what hanging up does not end goes on.
case_kill_connection() {
	stack 2217 pam_loginuid.so pam_systemd.so "$OURS kill=connection"
	login a alice -J backdoor -p 2217
	armed a kill=connection
	detach a 1004
	ends_idle a
	screen_says a 'has been ended'
	record a ': ended .*survivors=0'
	runs 'sleep 1004\.1' 'sleep 1004\.2' 'sleep 1004\.3' 'sleep 1004\.4'
	guest "pkill -xf 'sleep 1004\..'"
	gone a
}

# Nobody is warned and nobody ended.
case_kill_none() {
	stack 2218 pam_loginuid.so pam_systemd.so "$OURS kill=none"
	login a alice -J backdoor -p 2218
	armed a kill=none
	does a true
	decided a ': would-end .*limit=12 by=terminal members=[1-9]'
	does a true
	no_record a ': (warned|ending|ended) '
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	gone a
}

# A process that HUP and TERM do not end.
case_stubborn() {
	local ignore='$SIG{$_} = "IGNORE" for qw(HUP TERM INT QUIT); sleep 1003'
	login a alice
	does a "perl -e '$ignore' stubborn &"
	runs 'perl -e .* stubborn'
	ends_idle a
	gone a
	not_runs 'perl -e .* stubborn'
	record a ': ended .*sigkill=1 survivors=0'
}

# Processes that fork and exit all the time: their scope is frozen to end them.
case_restless() {
	local chains='$SIG{$_} = "IGNORE" for qw(HUP TERM); for (1 .. 3) { fork and next; while (1) { fork and exit } }'
	login a alice
	armed a
	does a "setsid -f perl -e 'sleep 7; $chains' restless"
	ends_idle a
	record a ': ended .*sigkill=[1-9][0-9]* survivors=0'
	gone a
	not_runs 'perl -e .* restless'
	no_record a 'incomplete'
}

# A user may send any signal to all of his session through logind. The helper hears none, and no login
# goes on without it: it is ended by the signal or, at the latest, for being idle.
signalled() {
	login a alice
	armed a
	# Who thaws what was stopped sits outside the session.
	does a "systemd-run -q --user sh -c 'sleep 4; kill -CONT -1'"
	keys a "loginctl kill-session \$XDG_SESSION_ID -s $1\n"
	sleep 3
	if [ "$1" = STOP ]; then helper_lives a; fi
	ends_between a 0 "$SOON"
	gone a
}
case_signal_stop() {
	signalled STOP
	record a ': ended .*survivors=0'
}
case_signal_kill() { signalled KILL; }
case_signal_term() { signalled TERM; }
case_signal_hup() { signalled HUP; }
case_signal_usr1() { signalled USR1; }
case_signal_pipe() { signalled PIPE; }
case_signal_cont() { signalled CONT; }

# Stopped and never thawed by anybody.
case_frozen() {
	login a alice
	armed a
	keys a 'loginctl kill-session $XDG_SESSION_ID -s STOP\n'
	sleep 3
	helper_lives a
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# A user may have systemd move his processes, his own sshd child included, out of the session's scope.
moves_to() {
	armed a
	answers a "busctl --user call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' $1.scope fail 1 PIDs au 2 \$\$ \$PPID 0" '/job/'
	answers a 'until grep moved /proc/$PPID/cgroup; do :; done' "$1.scope"
}
case_moved() {
	login a alice
	moves_to moved-1
	types a 24
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# What was moved is out of reach for logind, by which he then has the leader killed: nobody stays
# connected without it.
case_moved_and_killed() {
	login a alice
	moves_to moved-2
	keys a 'loginctl kill-session $XDG_SESSION_ID --kill-who=leader -s KILL\n'
	ends_between a 0 "$SOON"
	record a ': orphaned .*members=[23]'
	record a ': ended .*survivors=0'
	gone a
}

# Or has the session terminated, with sshd's child stopped so that it does not hear of it.
case_moved_and_terminated() {
	login a alice
	moves_to moved-3
	keys a 'systemd-run -q --user sh -c "kill -STOP $PPID; loginctl terminate-session $XDG_SESSION_ID"\n'
	ends_between a 0 "$SOON"
	gone a
}

# In a scope of his own he may freeze it all.
case_moved_and_frozen() {
	login a alice
	moves_to moved-4
	does a 'systemd-run -q --user sh -c "sleep 2; systemctl --user freeze moved-4.scope"'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# Somebody outside the session stops all of it again and again.
case_harried() {
	login a alice
	armed a
	does a 'systemd-run -q --user --unit=harried sh -c "while loginctl kill-session $XDG_SESSION_ID -s STOP; do :; done"'
	helper_lives a
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# What a lingering user starts outside of his sessions lives on, and his sessions end as others do.
case_lingering() {
	guest loginctl enable-linger alice
	login a alice
	armed a
	local manager
	manager=$(attended a guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')
	does a 'systemd-run -q --user sleep 1020' 'systemd-run -q --user --scope sh -c "setsid -f sleep 1021"'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
	[ "$(guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')" = "$manager" ] || fail 'user@.service was disturbed'
	runs '/usr/bin/sleep 1020' 'sleep 1021'
	guest "loginctl disable-linger alice; pkill -f 'sleep 102[01]'"
}
