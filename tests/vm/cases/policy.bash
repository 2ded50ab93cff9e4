# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# The policy file, and the administrator's command.

# A rule decides. A reload gives a broken policy to no session, and a changed policy to open sessions. No other
# case runs at the same time, because each login has a record while the policy is broken.
alone_policy() {
	local file=/etc/security/idle_watchdog.conf
	afterwards "rm -f $file"
	echo 'dave sshd ssh * timeout=1h warn=30m,4s' | put $file
	login d dave
	armed d "limit=3600 warn=1800,4 .*rule=$file:1"
	echo 'dave sshd ssh * timeout=12s warm=4s' | put $file
	if guest idle-watchdog reload 2>mistakes; then fail 'a broken policy was handed over'; fi
	grep -F "$file:1:29: warm=4s: unknown" mistakes || fail 'the mistake was not named'
	no_record d ': reloaded '
	echo 'dave sshd ssh * timeout=12s warn=4s grace=2s' | put $file
	guest idle-watchdog reload
	record d ": reloaded .*limit=12 warn=4 .*rule=$file:1"
	does d true
	ends_idle d
	screen_says d 'press Enter'
	record d ': ended .*survivors=0'
	gone d
}

# Warnings about this machine: the kernels of Debian 11 and 12 cause two, newer ones none.
case_check_system() {
	local found=0
	guest idle-watchdog check --system >found || found=$?
	case $debian in
	bullseye | bookworm)
		[ "$found" = 1 ] || fail "exit status $found"
		[ "$(grep -c '^warning: ' found)" = 2 ] || fail 'there are not two warnings'
		grep '^warning: dev.tty.legacy_tiocsti does not exist' found || fail 'TIOCSTI was not found'
		grep '^warning: the kernel does not record reads through /dev/tty' found || fail '/dev/tty was not found'
		;;
	trixie | forky)
		[ "$found" = 0 ] || fail "exit status $found"
		grep -x 'no problem was found on this machine' found || fail 'there is a warning'
		;;
	esac
}
