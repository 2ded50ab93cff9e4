# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# SELinux enforces Debian's policy and our module. Only the variant `selinux` has these cases.
# Not on bullseye.
# Not on bookworm.
# Not on trixie.
# Not on forky.

# domain_of PID: the type in the SELinux context of a process.
domain_of() { guest "ps -o label= -p $1" | cut -d : -f 3; }

# The helper has a domain of its own, and what sshd starts for the user has the user's.
case_selinux_domain() {
	[ "$(guest getenforce)" = Enforcing ] || fail 'SELinux does not enforce'
	login a alice
	armed a 'terminals-by=masters members-by=scope witness=connection'
	attended a eval '[ "$(domain_of "${HELPER[a]}")" = pam_idle_watchdog_t ]' || fail 'the helper has no domain of its own'
	answers a 'id -Z' 'unconfined_t'
	ends_idle a
	screen_says a 'press Enter'
	record a ': ended .*survivors=0'
	no_record a 'error|denied=|unconfined='
	gone a
}

# A confined user runs programs that have domains of their own: sudo and ssh. All of them are ended.
case_selinux_confined() {
	login a erin
	armed a 'terminals-by=masters members-by=scope witness=connection'
	answers a 'id -Z' 'staff_u:staff_r:staff_t'
	does a 'sudo -r sysadm_r -t sysadm_t sleep 1303.1 & sleep 1' 'ssh -o ProxyCommand="sleep 1303.2" x &'
	attended a within "$SOON" eval 'guest "pgrep -xf \"[a-z/]*sleep 1303\.1\" && pgrep -xf \"sleep 1303\.2\""'
	attended a guest 'ps -eo label,args' >contexts
	grep -E 'staff_sudo_t.* sudo ' contexts || fail 'sudo has no domain of its own'
	grep -E ':ssh_t.* ssh ' contexts || fail 'ssh has no domain of its own'
	does a true
	ends_idle a
	screen_says a 'press Enter'
	record a ': ended .*survivors=0'
	no_record a 'error|denied=|unconfined='
	gone a
	not_runs '[a-z/]*sleep 1303\..'
}

# A connection without a terminal. No other case of erin's runs at the same time.
alone_selinux_notty() {
	ssh -F "$RUN/ssh_config" -N -l erin guest </dev/null >a.screen 2>&1 &
	within "$SOON" logged ': armed user=erin .*notty=12' || fail 'not armed'
	ID[a]=$(logged ': armed user=erin .*notty=12' | sed -n 's/.* session=\([a-z0-9]*\) .*/\1/p' | tail -n 1)
	record a ': ended .*limit=12 by=connection .*survivors=0'
	no_record a 'error|denied=|unconfined='
	gone a
}

# Nothing was denied in all cases before this one, though all denials are logged. That the environment of the helper is not
# trusted (noatsecure) is as it should be.
alone_selinux_allows() {
	guest 'journalctl -q -o cat _TRANSPORT=kernel + _TRANSPORT=audit' |
		grep -a 'denied .*[st]context=[^ ]*:pam_idle_watchdog' | grep -av '{ noatsecure }' >denied || :
	cat denied
	[ ! -s denied ] || fail "SELinux has denied something: $(head -n 1 denied)"
}

# Without the module the record says what is missing, and nobody gets a session that is not watched. This is the last case,
# because loading the module again takes long.
alone_selinux_without_module() {
	guest 'semodule -r pam_idle_watchdog; restorecon -v /usr/libexec/pam_idle_watchdog_helper'
	on_terminal a -l alice guest
	LAST[a]=$(now)
	within "$SOON" logged 'pam_idle_watchdog\(sshd:session\): error .*SELinux: no policy module' || fail 'no such record'
	logged 'error .*/sys/fs/cgroup: Permission denied' || fail 'the record does not name what was denied'
	ends_between a 0 "$SOON"
}
