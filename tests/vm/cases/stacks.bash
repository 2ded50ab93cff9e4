# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# Other PAM stacks than Debian's, each in an sshd of its own.

OURS='session required pam_idle_watchdog.so timeout=12s warn=4s grace=2s debug'

# stack PORT LINE...: an sshd whose sessions are opened by these lines.
stack() {
	local port=$1
	shift
	{
		echo 'auth required pam_deny.so'
		echo 'account required pam_permit.so'
		printf 'session required %s\n' "${@/#session required /}"
	} | another_sshd "$port"
}

# Whatever tells its members: the person is warned, all go, and nothing else.
ends_whole() {
	detach a "$1"
	ends_idle a
	screen_says a 'press Enter'
	screen_says a 'has been ended'
	record a ': ended .* survivors=0'
	no_record a 'could-not|orphaned|tampering|spared'
	gone a
	not_runs "sleep $1\\.."
}

# No scope: the audit id tells the members.
case_stack_without_systemd() {
	stack 2210 pam_loginuid.so "$OURS"
	login a alice -J backdoor -p 2210
	by_audit a
	armed a 'terminals=masters known-by=audit'
	ends_whole 1010
	guest pidof sshd >/dev/null || fail 'no sshd is left'
}

# The line before pam_systemd finds no scope either.
case_stack_before_systemd() {
	stack 2211 pam_loginuid.so "$OURS" pam_systemd.so
	login a alice -J backdoor -p 2211
	armed a 'terminals=masters known-by=audit'
	ends_whole 1011
}

# No audit id: the scope is enough.
case_stack_without_loginuid() {
	stack 2212 pam_systemd.so "$OURS"
	login a alice -J backdoor -p 2212
	armed a 'terminals=masters known-by=scope'
	no_record a audit=
	ends_whole 1012
}

# What pam_selinux sets for the person's shell is nothing to the helper.
case_stack_selinux() {
	stack 2213 pam_loginuid.so pam_systemd.so 'pam_selinux.so open' "$OURS"
	login a alice -J backdoor -p 2213
	armed a 'terminals=masters known-by=scope'
	local contexts
	contexts=$(guest "cat /proc/${HELPER[a]}/attr/current /proc/\$(systemctl show -P MainPID sshd-2213)/attr/current | uniq")
	[ "$(echo "$contexts" | wc -l)" = 1 ] || fail "not sshd's context: $contexts"
	ends_whole 1013
}
