# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# Not ours, and other ways in.

case_cron() {
	guest 'echo "* * * * * alice exec sleep 1101" >/etc/cron.d/tests'
	within 80 guest pgrep -xf "'sleep 1101'" || fail 'no cron job'
	guest rm /etc/cron.d/tests
	sleep $((LIMIT + STEP + SLACK))
	runs 'sleep 1101'
	guest "pkill -xf 'sleep 1101'"
	guest journalctl -q -o cat --facility=authpriv --grep="'pam_idle_watchdog.cron:session.*not-ours'" | grep -q . ||
		fail 'no record'
}

# A service that asks for PAM: a session of class background.
case_service() {
	guest systemd-run -q -p PAMName=sshd -p User=alice sleep 1102
	sleep $((LIMIT + STEP + SLACK))
	runs '/usr/bin/sleep 1102'
	local session
	session=$(guest 'cat /proc/$(pgrep -xf "/usr/bin/sleep 1102")/sessionid')
	guest "pkill -xf '/usr/bin/sleep 1102'"
	ID[service]=$session
	no_record service ': (armed|could-not)'
}

# No terminal, no limit.
case_command() {
	ssh -F "$RUN/ssh_config" -l alice guest 'sleep 30; echo "fin""ished"' >out
	grep -q finished out || fail 'ended without a terminal'
}

# login(1) on a terminal of its own, and agetty after it.
case_console() {
	OUT[tty]=$RUN/tty
	# agetty draws its prompt anew at Enter.
	answers_tty '\n' 'login: $'
	answers_tty 'alice\n' 'Password: '
	answers_tty 'alice\n' '[$] '
	answers_tty 'echo "id=$XDG_SESSION_ID."\n' 'id=[a-z0-9]*\.'
	ID[tty]=$(grep -ao 'id=[a-z0-9]*\.' "$RUN/tty" | tail -n 1 | tr -cd '0-9')
	armed tty 'terminals=own members=scope'
	tty_keys 'true\n'
	local before
	before=$(stat -c %s "$RUN/tty")
	sleep $((LIMIT - 1))
	! shows_since tty "$before" 'login: ' || fail 'ended too early'
	within $((STEP + SLACK)) shows_since tty "$before" 'login: ' || fail 'not ended'
	shows_since tty "$before" 'has been ended' || fail 'no reason given'
	record tty ': ended .*tty=ttyS1 .*survivors=0'
	gone tty
	local getty
	getty=$(guest 'systemctl show -P MainPID,NRestarts serial-getty@ttyS1')
	sleep 5
	[ "$(guest 'systemctl show -P MainPID,NRestarts serial-getty@ttyS1')" = "$getty" ] || fail 'agetty was disturbed'
}
answers_tty() {
	local before
	before=$(stat -c %s "$RUN/tty")
	tty_keys "$1"
	within "$SOON" shows_since tty "$before" "$2" || fail "no answer to: $1"
}

# The same on a virtual terminal. What is typed is put there by root; what it shows, the kernel tells.
case_virtual_terminal() {
	vt_answers '\n' 'login: *$'
	vt_answers 'alice\n' 'Password: *$'
	vt_answers 'alice\n' '[$] *$'
	vt_answers 'echo "id=$XDG_SESSION_ID."\n' '^id=[0-9]*\.'
	ID[tty]=$(vt_screen | sed -n 's/^id=\([0-9]*\)\..*/\1/p')
	armed tty 'terminals=own members=scope'
	vt_answers 'true\n' '[$] *$'
	sleep $((LIMIT - 1))
	! vt_shows 'login: *$' || fail 'ended too early'
	# systemd clears the screen for the next one, and the reason with it.
	within $((STEP + SLACK)) vt_shows 'login: *$' || fail 'not ended'
	record tty ': ended .*tty=tty1 .*survivors=0'
	gone tty
	local getty
	getty=$(guest 'systemctl show -P MainPID,NRestarts getty@tty1')
	sleep 5
	[ "$(guest 'systemctl show -P MainPID,NRestarts getty@tty1')" = "$getty" ] || fail 'agetty was disturbed'
}
# The screen, without empty lines.
vt_screen() { guest 'fold -w "$(stty size </dev/tty1 | cut -d " " -f 2)" /dev/vcs1' | sed -e 's/ *$//' -e '/^$/d'; }
vt_shows() { vt_screen | tail -n 4 | grep -Eaq "$1"; }
vt_answers() {
	# 0x5412 is TIOCSTI.
	printf '%b' "$1" | ssh -F "$RUN/ssh_config" backdoor \
		'perl -e '\''open my $tty, "+<", "/dev/tty1" or die; ioctl($tty, 0x5412, $_) || die $! for split //, join "", <STDIN>'\'
	LAST[tty]=$(now)
	within "$SOON" vt_shows "$2" || fail "no answer to: $1"
}
