# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Sessions that are open and have no watchdog get one. No other case runs at the same time, because all sessions of the
# machine are adopted.

# Every helper is killed. Before a minute has passed, the timer has replaced each of them once, and no session has ended
# early.
alone_adopt_after_kill() {
	local name names=() killed since of='-u idle-watchdog-adopt.service'
	for name in 0 1 2 3 4 5 6 7 8; do names+=("d$name"); done
	units
	since=$(guest 'date +%s')
	guest systemctl start idle-watchdog-adopt.timer
	logins "${names[@]/%/:dave}" a:alice
	for name in "${names[@]}"; do record "$name" ': armed '; done
	attended a record a ': armed '
	# All helpers are there, so the timer has nothing to do, and says nothing. It leaves logins to the module.
	guest 'systemctl show -p ExecMainExitTimestampMonotonic idle-watchdog-adopt.service' | grep -q '=[1-9]' || fail 'it has not run'
	# Debian 11's systemd logs that each run succeeded, in spite of the unit's LogLevelMax. There only the service must be silent.
	[ "$debian" != bullseye ] || of=_SYSTEMD_UNIT=idle-watchdog-adopt.service
	[ -z "$(guest "journalctl -q -o cat --since=@$since $of")" ] || fail 'it says something'
	keys a '\n'
	killed=$(now)
	guest 'pkill -KILL -x pam_idle_watchd'
	for name in "${names[@]}" a; do record "$name" "$ADOPTED"; done
	says "all were watched again after $((($(now) - killed) / 1000000)) s"
	[ $(($(now) - killed)) -le $(((60 + SLACK) * 1000000)) ] || fail 'not within a minute'
	guest 'idle-watchdog adopt --all & idle-watchdog adopt --all; wait' >said
	! grep ': adopted' said || fail 'adopted once more'
	# A helper that looks at its terminal has a child with the same name.
	within "$SOON" one_helper_each || fail 'not one helper for each session, in a control group of its own'
	# It may have been idle for longer than its limit. It gets the whole warning.
	record a ': warned .*remaining=4'
	record a ': ended .*survivors=0'
	# The module tells the new helper that the session closes.
	for name in "${names[@]}"; do keys "$name" 'exit\n'; done
	for name in "${names[@]}"; do record "$name" ': closed '; done
	caught_up || fail 'the log stands still'
	for name in "${names[@]}"; do
		[ "$(records "$name" | grep -cE "$ADOPTED")" = 1 ] || fail "$name: not adopted once"
		! has_record "$name" ': (warned|ending|error|orphaned)' || fail "$name: an unwanted record"
	done
	within "$SOON" guest '! pgrep -x pam_idle_watchd' || fail 'a helper is left'
}
ADOPTED=': adopted .*terminals-by=masters members-by=scope witness=connection( kernel=old)? reason="its helper was gone"'
one_helper_each() {
	local name ids=()
	for name in "${names[@]}"; do ids+=("${ID[$name]}"); done
	guest "for id in ${ids[*]}; do
		leader=\$(sed -n 's/^LEADER=//p' /run/systemd/sessions/\$id)
		helpers=\$(pgrep -f -- \"^/usr/libexec/pam_idle_watchdog_helper .*--leader=\$leader \")
		[ \$(echo \"\$helpers\" | wc -w) = 1 ] && grep -qx 0::/idle_watchdog /proc/\$helpers/cgroup || exit 1
	done"
}

# Sessions are open when the module is installed.
alone_adopt_installed() {
	local name
	afterwards "[ ! -e /run/idle_watchdog ] || cp /run/idle_watchdog /etc/pam.d/"
	guest 'cp /etc/pam.d/idle_watchdog /run && : >/etc/pam.d/idle_watchdog'
	logins a:alice r:root d:dave e:erin
	guest 'idle-watchdog adopt --all' >said
	for name in a r d e; do
		grep "^${ID[$name]} of .* by sshd: not adopted, the session stack of sshd has no pam_idle_watchdog.so line" said ||
			fail "$name: there is no line yet"
	done
	guest 'cp /run/idle_watchdog /etc/pam.d/'
	keys a '\n'
	keys r '\n'
	guest 'idle-watchdog adopt --all' >said
	grep "^${ID[e]} of erin by sshd: not adopted, no pam_idle_watchdog.so line runs: " said || fail 'erin is exempt'
	for name in a r d; do
		record "$name" ': adopted .*terminals-by=masters members-by=scope witness=connection( kernel=old)? reason="opened before installation"'
	done
	# Its stack tells no helper that it closes.
	keys d 'exit\n'
	record d ': closed '
	no_record d ': orphaned '
	ends_idle a r
	for name in a r; do
		record "$name" ': warned .*remaining=4'
		record "$name" ': ended .*survivors=0'
		gone "$name"
	done
	alive e
	keys e 'exit\n'
}

# units: the guest has our units, as after `make install`.
units() {
	local unit
	afterwards 'systemctl stop idle-watchdog-adopt.timer; rm -f /run/systemd/system/idle-watchdog-adopt.*; systemctl daemon-reload'
	for unit in service timer; do
		sed 's|@SBINDIR@|/usr/sbin|' "$TREE/dist/systemd/idle-watchdog-adopt.$unit" | put "/run/systemd/system/idle-watchdog-adopt.$unit"
	done
	guest 'systemctl daemon-reload'
}
TREE=$PWD
