# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Other PAM stacks than Debian's. Each has its own sshd.

OURS='session required pam_idle_watchdog.so timeout=12s warn=4s grace=2s debug'

# stack PORT LINE...: starts an sshd whose session stack has these lines.
stack() {
	local port=$1
	shift
	{
		echo 'auth required pam_deny.so'
		echo 'account required pam_permit.so'
		printf 'session required %s\n' "${@/#session required /}"
	} | another_sshd "$port"
}

# However the members are found, the person is warned, all members are ended, and no other process is.
ends_whole() {
	detach a "$1"
	ends_idle a
	screen_says a 'press Enter'
	screen_says a 'has been ended'
	record a ': ended .* survivors=0'
	no_record a 'error|orphaned|tampering|spared'
	gone a
	not_runs "sleep $1\\.."
}

# There is no scope. The members are found by the audit ID.
case_stack_without_systemd() {
	stack 2210 pam_loginuid.so "$OURS"
	login a alice -J backdoor -p 2210
	by_audit a
	armed a 'terminals-by=masters members-by=audit'
	ends_whole 1010
	guest pidof sshd >/dev/null || fail 'no sshd is left'
}

# The line before pam_systemd finds no scope, either.
case_stack_before_systemd() {
	stack 2211 pam_loginuid.so "$OURS" pam_systemd.so
	login a alice -J backdoor -p 2211
	armed a 'terminals-by=masters members-by=audit'
	ends_whole 1011
}

# There is no audit ID. The scope is enough.
case_stack_without_loginuid() {
	stack 2212 pam_systemd.so "$OURS"
	login a alice -J backdoor -p 2212
	armed a 'terminals-by=masters members-by=scope'
	no_record a ' ses='
	ends_whole 1012
}

# The context that pam_selinux sets for the person's shell does not apply to the helper.
case_stack_selinux() {
	stack 2213 pam_loginuid.so pam_systemd.so 'pam_selinux.so open' "$OURS"
	login a alice -J backdoor -p 2213
	armed a 'terminals-by=masters members-by=scope'
	local contexts
	# AppArmor's profile depends on the helper's path.
	contexts=$(guest "cat /proc/${HELPER[a]}/attr/current /proc/\$(systemctl show -P MainPID sshd-2213)/attr/current |
		grep -vx 'pam_idle_watchdog_helper (enforce)' | uniq")
	[ "$(echo "$contexts" | wc -l)" = 1 ] || fail "not sshd's context: $contexts"
	ends_whole 1013
}

# If pam_env reads the user's own file before pam_systemd, the user chooses the class and type of the session in
# logind. (With sshd, pam_systemd chooses them, because the terminal is "ssh".) This tests login(1) on a
# terminal of the machine, and for a remote host.
case_greeter_claimed() {
	afterwards 'systemctl stop greeter-21 greeter-22 2>/dev/null
		rm -f /home/erin/.pam_environment; [ -s /etc/pam.d/remote ] || rm -f /etc/pam.d/remote'
	printf '%s\n' XDG_SESSION_CLASS=greeter XDG_SESSION_TYPE=wayland | put /home/erin/.pam_environment
	printf '%s\n' 'cp "/run/systemd/sessions/$XDG_SESSION_ID" "/run/greeter.${PAM_RHOST:-here}"' | put /run/greeter.keep
	printf '%s\n' 'auth required pam_permit.so' 'account required pam_permit.so' 'session required pam_loginuid.so' \
		'session required pam_env.so user_readenv=1 envfile=/dev/null conffile=/dev/null' \
		'session required pam_systemd.so' 'session required pam_exec.so /bin/sh /run/greeter.keep' "$OURS" | put /run/greeter.pam
	guest '[ -e /etc/pam.d/remote ] || touch /etc/pam.d/remote'
	greeter_ends 21 here '' ''
	greeter_ends 22 192.0.2.7 '-h 192.0.2.7' 'rhost=192.0.2.7 '
}
# greeter_ends NUMBER HOST OPTIONS FIELD: logs in on this virtual console, with these options of login(1). This field must be in the
# records.
greeter_ends() {
	# This runs login(1) as getty does, on its own virtual console. Nobody types.
	guest "systemd-run -q --unit=greeter-$1 -p BindPaths=/run/greeter.pam:/etc/pam.d/login \
		-p BindPaths=/run/greeter.pam:/etc/pam.d/remote -p StandardInput=tty -p StandardOutput=tty -p StandardError=tty \
		-p TTYPath=/dev/tty$1 -p TTYReset=yes -p TTYVHangup=yes login $3 -f erin"
	within "$SOON" logged "pam_idle_watchdog.*: (armed|skipped) user=erin (uid=[0-9]* )?$4(session|reason)=" >judged ||
		fail "$2: no session"
	guest grep -qx CLASS=greeter "/run/greeter.$2" || fail "$2: logind keeps it as of another class"
	guest grep -qx TYPE=wayland "/run/greeter.$2" || fail "$2: logind keeps it as of another type"
	ID[g]=$(sed -n 's/.*: armed .* session=\([a-z0-9]*\) .*/\1/p' judged)
	[ -n "${ID[g]}" ] || fail "$2: not watched: $(cat judged)"
	record g ': armed .*terminals-by=own '
	record g ": ended .*tty=tty$1 .*survivors=0"
	HELPER[g]=
	gone g
}

# said REGEX: the unit's stack has logged such a record.
said() { guest 'journalctl -q -b --facility=authpriv -o cat' | grep -E >/dev/null "\\(pamunit:session\\): ($1)"; }

# systemd opens a unit's session in the process that becomes the unit's program. A child of it closes the
# session.
case_unit_with_a_session() {
	local user
	afterwards 'systemctl -q stop "pamunit-*"; rm -f /etc/pam.d/pamunit'
	{
		echo 'account required pam_permit.so'
		echo 'session required pam_loginuid.so'
		echo "$OURS"
	} | put /etc/pam.d/pamunit
	for user in root alice; do
		guest systemd-run -q --unit="pamunit-$user" --uid="$user" -p PAMName=pamunit sleep 1014
		within "$SOON" said "armed user=$user" || fail "$user: not armed"
		sleep 4
		guest systemctl stop "pamunit-$user"
		within "$SOON" said "closed user=$user" || fail "$user: the helper did not hear of an ordinary end"
	done
	if said 'orphaned|error'; then fail 'an ordinary end is told as something else'; fi
	not_runs 'sleep 1014'
}
