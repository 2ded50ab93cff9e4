# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Processes that a session leaves running, and what its user may do to it through systemd.

# Starts detached work of four kinds. An argument identifies each. It is one line, because a guest is slow.
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
	# logind keeps the session until its last process is gone.
	guest "pkill -xf 'sleep 1002\..'"
	gone c
}

# Only the connection ends. Processes that survive a hang-up go on.
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

# The session is neither warned nor ended.
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

# HUP and TERM do not end this process. All others have time to exit by themselves, even on a slow machine.
case_stubborn() {
	local ignore='$SIG{$_} = "IGNORE" for qw(HUP TERM INT QUIT); sleep 1003'
	stack 2267 pam_loginuid.so pam_systemd.so "${OURS/grace=2s/grace=20s}"
	login a alice -J backdoor -p 2267
	does a "perl -e '$ignore' stubborn &"
	runs 'perl -e .* stubborn'
	ends_idle a
	record a ': ended .*sigkill=1 survivors=0'
	gone a
	not_runs 'perl -e .* stubborn'
}

# These processes fork and exit all the time. Their scope is frozen to end them.
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

# The session has as many processes as it may have, so none of them can start another. The helper's own child writes the warning.
case_task_limit() {
	local fill='$SIG{$_} = "IGNORE" for qw(HUP TERM); while (defined(my $child = fork)) { $child or sleep(1008), exit }'
	login a alice
	armed a
	attended a guest "systemctl set-property --runtime session-${ID[a]}.scope TasksMax=20"
	answers a "perl -e '\$| = 1; $fill print qq(fu), qq(ll\\\\n); sleep 1008' task-limit &" 'full'
	warned a
	ends_idle a
	record a ': warned '
	record a ': ended .*sigkill=1[0-9] survivors=0'
	no_record a 'not-shown|incomplete'
	gone a
	not_runs 'perl -e .* task-limit'
}

# A user may send any signal to all processes of their session through logind. The helper does not get it, and
# no login goes on without the helper: the signal ends the login, or it is ended when it is idle.
signalled() {
	login a alice
	armed a
	# The process that continues the stopped ones is outside the session.
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
# signals.bash has the other signals.

# The session is stopped, and nothing continues it.
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

# A user may ask systemd to move their processes, even their sshd child, out of the session's scope.
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

# logind does not reach the moved processes. The user then has the leader killed through logind. No process
# stays connected without it. Debian 11's logind cannot kill a leader, so root does it there.
case_moved_and_killed() {
	login a alice
	moves_to moved-2
	if [ "$debian" = bullseye ]; then
		guest "kill -KILL \$(loginctl show-session -P Leader ${ID[a]})"
	else
		keys a 'loginctl kill-session $XDG_SESSION_ID --kill-who=leader -s KILL\n'
	fi
	ends_between a 0 "$SOON"
	record a ': orphaned .*members=[23]'
	record a ': ended .*survivors=0'
	gone a
}

# Or the user has the session terminated, while sshd's child is stopped and so does not notice it.
case_moved_and_terminated() {
	login a alice
	moves_to moved-3
	keys a 'systemd-run -q --user sh -c "kill -STOP $PPID; loginctl terminate-session $XDG_SESSION_ID"\n'
	ends_between a 0 "$SOON"
	gone a
}

# In their own scope, users may freeze all processes.
case_moved_and_frozen() {
	login a alice
	moves_to moved-4
	does a 'systemd-run -q --user sh -c "sleep 2; systemctl --user freeze moved-4.scope"'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# A process outside the session stops all its processes again and again.
case_harried() {
	login a alice
	armed a
	does a 'systemd-run -q --user --unit=harried sh -c "while loginctl kill-session $XDG_SESSION_ID -s STOP; do :; done"'
	helper_lives a
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# Processes that a lingering user starts outside of their sessions go on. The sessions end as usual.
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
