# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# A session ends as if its own program had ended it, without an error in the log.

# sits NAME COMMAND: the administrator runs a command that opens a session with a shell on a terminal.
sits() {
	on_terminal "$1" backdoor "$2"
	ready "$1"
}

# hung_up NAME SERVICE SECONDS: a session whose leader is the shell itself hangs up. systemd decides whether PAM
# closes the session. At least up to version 257 it does not, even after an ordinary exit. Its process for that
# is in the shell's process group, and the kernel hangs up that group when the shell exits.
hung_up() {
	local prefix="pam_idle_watchdog\\($2:session\\): "
	within "$SOON" logged "${prefix}armed .*terminals-by=own" || fail 'not armed'
	does "$1" "sleep $3 &" "trap 'echo left >/tmp/left-$2' EXIT"
	ends_between "$1" "$LIMIT" "$SOON"
	within "$SOON" logged "${prefix}ended .*sigkill=0 .*survivors=0" || fail 'no such end'
	! logged "${prefix}(error|orphaned)" || fail 'something went wrong'
	# The shell had time to run its exit trap.
	guest "cat /tmp/left-$2; rm /tmp/left-$2" | grep -q left || fail 'the shell was not asked'
	not_runs "sleep $3"
}

# systemd's executor opens the session and becomes the shell. A child of it closes the session.
case_shell_of_a_unit() {
	sits a 'systemd-run -q --pty -p PAMName=login -p User=alice bash -i'
	hung_up a login 1201
	gone a
}

# The same with run0. Debian 12 does not have it. Debian 13 has no PAM stack for it.
case_run0() {
	if ! guest 'command -v run0'; then
		says 'has no run0'
		return
	fi
	afterwards 'rm /etc/pam.d/systemd-run0'
	put /etc/pam.d/systemd-run0 <<-'END'
		@include common-account
		session required pam_loginuid.so
		@include common-session
		session include idle_watchdog
	END
	sits a 'run0 --user=alice bash -i'
	hung_up a systemd-run0 1202
	gone a
}

# A connection without a terminal is ended, and sshd logs no error.
case_quiet_end() {
	stack 2231 pam_loginuid.so pam_systemd.so pam_unix.so "$OURS notty=12s"
	ssh -F "$RUN/ssh_config" -N -J backdoor -p 2231 -l alice guest </dev/null >a.screen 2>&1 &
	within "$SOON" logged ': armed .*notty=12' || fail 'not armed'
	ID[a]=$(logged ': armed .*notty=12' | sed -n 's/.* session=\([a-z0-9]*\) .*/\1/p' | tail -n 1)
	record a ': ended .*limit=12 by=connection .*survivors=0'
	within "$SOON" logged 'pam_unix\(sshd:session\): session closed for user alice' || fail 'PAM did not close it'
	guest "journalctl -q _SYSTEMD_UNIT=session-${ID[a]}.scope" | tee sshd.log
	! grep -E 'sshd(-session)?\[[0-9]*\]: (error|fatal): ' sshd.log || fail 'sshd logged an error'
	record a ': ended .*sigkill=0 '
	gone a
}
