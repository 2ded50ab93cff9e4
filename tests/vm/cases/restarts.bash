# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# The administrator restarts and replaces programs and changes settings while sessions are open. No other case
# runs at the same time.

# Restarts the services that we use. Replaces our own files as dpkg does, and then removes them.
alone_restarts() {
	logins a:alice r:root t:alice
	typist t
	attended r armed a
	attended a armed r
	guest "systemctl restart ssh systemd-logind systemd-journald; systemctl daemon-reexec; systemctl daemon-reload
		for file in $FILES; do cp -p \$file \$file.new; mv \$file.new \$file; done"
	ends_idle a r
	afterwards "for file in $FILES; do mv /run/\${file##*/} \$file; done"
	guest "for file in $FILES; do mv \$file /run; done"
	typist_stops t
	ends_idle t
	for name in a r t; do
		record $name ': warned '
		record $name ': ended .*survivors=0'
		gone $name
	done
}
FILES='/usr/lib/x86_64-linux-gnu/security/pam_idle_watchdog.so /usr/libexec/pam_idle_watchdog_helper'

# rsyslog runs in place of journald, and is stopped for a while. All records are in its file, once each.
alone_rsyslog() {
	local rsyslog='systemd-run -q --unit=tests-rsyslog rsyslogd -n -f /run/rsyslog.conf -i /run/tests-rsyslog.pid'
	local journald='systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald'
	login a alice
	armed a
	typist a
	afterwards "systemctl stop tests-rsyslog; ln -sf /run/systemd/journal/dev-log /dev/log; systemctl start $journald"
	guest "systemctl stop $journald; rm -f /var/log/auth.log; ln -sf /run/rsyslog.log /dev/log
		printf '%s\n' 'module(load=\"imuxsock\" SysSock.Name=\"/run/rsyslog.log\")' 'authpriv.* /var/log/auth.log' >/run/rsyslog.conf
		$rsyslog"
	login b alice
	typist_stops a
	keys b '\n'
	within "$SOON" in_file ': armed .* session='"${ID[b]} "
	guest systemctl stop tests-rsyslog
	warned a b
	guest "$rsyslog"
	# The log is only in the file.
	ends_between a "$LIMIT" $((LIMIT + BY_STAMPS + SLACK + SLACK))
	ends_between b "$LIMIT" $((LIMIT + BY_STAMPS + SLACK + SLACK))
	within "$SOON" in_file ': ended .* session='"${ID[a]} "
	within "$SOON" in_file ': ended .* session='"${ID[b]} "
	guest 'cat /var/log/auth.log' >auth.log
	for name in a b; do
		for event in warned ending ended; do
			[ "$(grep -c ": $event .* session=${ID[$name]} " auth.log)" = 1 ] || fail "$name: not once in the file: $event"
		done
	done
	! grep 'session): error ' auth.log || fail 'something went wrong'
	vanished a
	vanished b
}
in_file() { guest "grep -q '$1' /var/log/auth.log"; }

# logind's own limit is first shorter and then longer than ours. No session hangs. If logind does not end a
# session (it must know the terminal), we do.
alone_stop_idle() {
	afterwards 'rm /etc/systemd/logind.conf.d/tests.conf; systemctl restart systemd-logind'
	# A shorter time would also end sessions with typing users, because the stamps have steps of eight seconds.
	stop_idle 10s
	login a alice
	ends_between a 0 "$SOON"
	gone a
	stop_idle 40s
	logins b:alice t:alice
	typist t
	keys b '\n'
	ends_idle b
	typist_stops t
	ends_idle t
	for name in b t; do
		record $name ': ended .*survivors=0'
		gone $name
	done
}
stop_idle() {
	guest "printf '[Login]\nStopIdleSessionSec=$1\n' >/etc/systemd/logind.conf.d/tests.conf
		systemctl restart systemd-logind"
}
