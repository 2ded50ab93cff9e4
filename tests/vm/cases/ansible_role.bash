# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# The Ansible role of dist/.
# Not on trixie, because the case takes ten minutes, and the role does the same on Debian 12.
# Not on forky, for the same reason.

# role STAGE: runs the role. What Ansible says is in the file STAGE.
role() {
	local outcome=0
	ANSIBLE_PIPELINING=true with_ansible ansible-playbook play.yml -e @vars.yml -e "idle_watchdog_stage=$1" >"$1" 2>&1 || outcome=$?
	cat "$1"
	return $outcome
}

# The role from its first stage to its last, on a machine where two sessions are open. No other case runs at the same time,
# because the line of sshd changes for everybody.
alone_ansible_role() {
	units
	# The last stage removes the lines from all files.
	afterwards "$AFTERWARDS; systemctl -q disable idle-watchdog-adopt.timer 2>/dev/null; "'cp -a /run/pam.d/. /etc/pam.d; rm -rf /etc/pam.d/*~ /etc/security/idle_watchdog.conf*'
	guest 'rm -rf /run/pam.d; cp -a /etc/pam.d /run/pam.d
		sed -i /idle_watchdog/d /etc/pam.d/sshd; cp -p /etc/pam.d/sshd /run/sshd.before'
	printf '%s\n' '- hosts: backdoor' '  gather_facts: false' '  roles: [idle_watchdog]' >play.yml
	printf '%s\n' 'idle_watchdog_package: ""' 'idle_watchdog_timeout: 12s' 'idle_watchdog_options: warn=4s grace=2s debug' 'idle_watchdog_policy: |' \
		'  # erin is exempt.' '  erin * * * timeout=off' >vars.yml
	# A drop-in of the machine would end sessions during the trial.
	guest 'mkdir -p /etc/security/idle_watchdog.conf.d; echo "alice * * * kill=tty" >/etc/security/idle_watchdog.conf.d/own.conf'
	if role trial; then fail 'a drop-in would end sessions'; fi
	grep -F 'idle_watchdog.conf.d/own.conf:1:alice * * * kill=tty' trial || fail 'the drop-in is not named'
	guest 'rm /etc/security/idle_watchdog.conf.d/own.conf'
	# The line of Debian's package comes first, so the trial would end sessions.
	guest 'echo "session required pam_idle_watchdog.so timeout=15m onerr=succeed" >>/etc/pam.d/common-session'
	if role trial; then fail 'another line comes first'; fi
	grep -F 'Another line of the module comes first in the stack of sshd' trial || fail 'the other line is not named'
	guest 'sed -i /idle_watchdog/d /etc/pam.d/common-session; diff /run/sshd.before /etc/pam.d/sshd' || fail 'not put back'
	role trial
	timer_is enabled active
	login a alice
	armed a 'kill=none'
	attended a role trial
	grep -q ' changed=0 .* failed=0 ' trial || fail 'a second run changes something'
	record a ': would-end '
	attended a role live
	timer_is enabled active
	record a ': reloaded .*limit=12'
	does a true
	ends_idle a
	login b alice
	attended b role strict
	guest 'idle-watchdog check --user alice' | grep -E 'onerr +fail ' || fail 'not strict'
	guest 'idle-watchdog check --user erin' | grep 'not watched' || fail 'the policy is not there'
	attended b role absent
	timer_is disabled inactive
	record b ': reloaded .*kill=none'
	guest 'diff /run/sshd.before /etc/pam.d/sshd; ls /etc/security/idle_watchdog.conf.d' >left
	[ ! -s left ] || fail "left: $(cat left)"
	record b ': would-end '
	alive b
	login c alice
	! has_record c ': ' || fail 'a record without a line'
}

# timer_is ENABLED ACTIVE: systemd says this of the timer that adopts sessions.
timer_is() {
	local is
	is=$(guest 'systemctl is-enabled idle-watchdog-adopt.timer; systemctl is-active idle-watchdog-adopt.timer' | paste -sd ' ') || :
	[ "$is" = "$1 $2" ] || fail "the timer is $is"
}
