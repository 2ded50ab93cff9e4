# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Sessions that are skipped, and other kinds of logins.

case_cron() {
	guest 'echo "* * * * * alice exec sleep 1101" >/etc/cron.d/tests'
	within 80 guest pgrep -xf "'sleep 1101'" || fail 'no cron job'
	guest rm /etc/cron.d/tests
	sleep $((LIMIT + BY_STAMPS + SLACK))
	runs 'sleep 1101'
	guest "pkill -xf 'sleep 1101'"
	not_ours cron 'service cron'
}

# A service that uses PAM. Its session has the class background.
case_service() {
	afterwards 'rm -f /etc/pam.d/job'
	printf '%s\n' 'account required pam_permit.so' 'session required pam_loginuid.so' 'session required pam_systemd.so' \
		"$OURS" | put /etc/pam.d/job
	guest systemd-run -q -p PAMName=job -p User=alice sleep 1102
	# This is watched, because sshd opens sessions for people. It has no terminal, so it is not ended.
	guest systemd-run -q -p PAMName=sshd -p User=alice sleep 1103
	sleep $((LIMIT + BY_STAMPS + SLACK))
	serves 1102
	no_record service ': (armed|error)'
	serves 1103
	no_record service ': (warned|ending|error)'
}
# serves SECONDS: checks that this sleep still runs, and ends it. Its session gets the name `service`.
serves() {
	runs "/usr/bin/sleep $1"
	ID[service]=$(guest "cat /proc/\$(pgrep -xf '/usr/bin/sleep $1')/sessionid")
	guest "pkill -xf '/usr/bin/sleep $1'"
}

# There is no limit without a terminal: for a command, a slow copy, an sftp that waits, and a connection without
# a session.
case_no_terminal() {
	local pid pids idle
	ssh -F "$RUN/ssh_config" -l alice guest 'sleep 30; echo "fin""ished"' >out &
	pids=($!)
	yes slow | head -c 1200000 >source
	# This takes at least 24 s, because scp does not delay the last 255 kB.
	scp -q -F "$RUN/ssh_config" -l 300 source alice@guest:copied &
	pids+=($!)
	{ echo pwd; sleep 30; echo 'mkdir still-there'; } | sftp -q -F "$RUN/ssh_config" -b - alice@guest &
	pids+=($!)
	ssh -F "$RUN/ssh_config" -l alice -N guest &
	idle=$!
	for pid in "${pids[@]}"; do wait "$pid" || fail 'ended without a terminal'; done
	kill -0 "$idle" || fail 'ended without a session'
	kill "$idle"
	grep -q finished out
	[ "$(guest 'cat /home/alice/copied; rmdir /home/alice/still-there' | cksum)" = "$(cksum <source)" ] || fail 'not copied'
}

# The guest reaches only the forwarded ports. It reaches neither this machine's loopback nor its address.
case_network() {
	local outside port
	port=$(sed -n '/Host guest/,/Port/s/.*Port //p' "$RUN/ssh_config")
	! connects 10.0.2.2 "$port" || fail "this machine's loopback is reached"
	outside=$(perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "192.0.2.1", PeerPort => 9); print $s ? $s->sockhost : ""')
	if [ -z "$outside" ]; then return; fi
	perl -MIO::Socket::INET -e '$| = 1; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => shift) or die;
		print $s->sockport, "\n"; sleep 600' "$outside" >listens &
	within 10 grep -q . listens
	! connects "$outside" "$(cat listens)" || fail 'this machine is reached'
}
connects() {
	guest "perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => \"$1:$2\", Timeout => 5)'"
}

# login(1) on its own terminal, with agetty after it.
case_console() {
	OUT[tty]=$RUN/tty
	# agetty shows its prompt again after Enter.
	answers_tty '\n' 'login: $'
	answers_tty 'alice\n' 'Password: '
	answers_tty 'alice\n' '[$] '
	answers_tty 'echo "id=$XDG_SESSION_ID."\n' 'id=[a-z0-9]*\.'
	ID[tty]=$(grep -ao 'id=[a-z0-9]*\.' "$RUN/tty" | tail -n 1 | tr -cd '0-9')
	TYPES[tty]=tty_keys
	armed tty 'terminals-by=own members-by=scope'
	tty_keys 'true\n'
	local before
	before=$(stat -c %s "$RUN/tty")
	sleep $((LIMIT - 1))
	! shows_since tty "$before" 'login: ' || fail 'ended too early'
	within "$SOON" shows_since tty "$before" 'login: ' || fail 'not ended'
	STEP=$BY_STAMPS decided tty ': ending '
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

# The same on a virtual terminal. root puts the keys into it, and the kernel tells what it shows.
case_virtual_terminal() {
	vt_login 1
	armed tty 'terminals-by=own members-by=scope'
	vt_answers 'true\n' '[$] *$'
	# `decided` checks in the log that the end was not too early, because a slow machine needs more than a second
	# to read the screen. systemd clears the screen for the next login, so the reason is not checked here.
	within "$SOON" vt_shows 'login: *$' || fail 'not ended'
	STEP=$BY_STAMPS decided tty ': ending '
	record tty ': ended .*tty=tty1 .*survivors=0'
	gone tty
	local getty
	getty=$(guest 'systemctl show -P MainPID,NRestarts getty@tty1')
	sleep 5
	[ "$(guest 'systemctl show -P MainPID,NRestarts getty@tty1')" = "$getty" ] || fail 'agetty was disturbed'
}
# vt_login NUMBER: logs in as alice on this virtual terminal. The other vt_ functions then use it.
vt_login() {
	vt=$1
	vt_answers '\n' 'login: *$'
	vt_answers 'alice\n' 'Password: *$'
	vt_answers 'alice\n' '[$] *$'
	vt_answers 'echo "id=$XDG_SESSION_ID."\n' '^id=[0-9]*\.'
	ID[tty]=$(vt_screen | sed -n 's/^id=\([0-9]*\)\..*/\1/p')
	TYPES[tty]=vt_keys
}
# The screen, without empty lines.
vt_screen() { guest "fold -w \"\$(stty size </dev/tty$vt | cut -d ' ' -f 2)\" /dev/vcs$vt" | sed -e 's/ *$//' -e '/^$/d'; }
vt_shows() { vt_screen | tail -n 4 | grep -Eaq "$1"; }
vt_keys() {
	local started
	started=$(now)
	# This number is TIOCSTI.
	printf '%b' "$1" | ssh -F "$RUN/ssh_config" backdoor \
		'perl -e '\''open my $tty, "+<", shift or die; ioctl($tty, 0x5412, $_) || die $! for split //, join "", <STDIN>'\'" /dev/tty$vt"
	LAST[tty]=$started
	ANSWERED[tty]=$(now)
}
vt_answers() {
	vt_keys "$1"
	within "$SOON" vt_shows "$2" || fail "no answer to: $1"
	ANSWERED[tty]=$(now)
}

# A shell hangs in the kernel, here because of a frozen file system. login(1) would wait for it, but is killed,
# and the record names the shell as a survivor.
case_unkillable() {
	truncate -s 4M hung.img
	/sbin/mke2fs -q -t ext4 hung.img
	put /run/hung.img <hung.img
	guest 'mkdir /run/hung; mount -o loop /run/hung.img /run/hung; chmod 1777 /run/hung; systemctl start getty@tty2'
	afterwards 'fsfreeze -u /run/hung; umount /run/hung; rm -r /run/hung*; systemctl stop getty@tty2'
	vt_login 2
	armed tty 'terminals-by=own members-by=scope'
	attended tty guest fsfreeze -f /run/hung
	vt_answers 'exec 3>/run/hung/file\n' 'hung/file$'
	STEP=$BY_STAMPS decided tty ': ending '
	within "$SOON" vt_shows 'login: *$' || fail 'not ended'
	record tty ': ended .*tty=tty2 .*survivors=[0-9]+( |$)'
	within "$SOON" guest "! test -d /proc/${HELPER[tty]}" || fail 'the helper is still there'
	runs '[-]bash'
	guest fsfreeze -u /run/hung
	gone tty
}

# A job of at(1), which is like a job of cron.
case_at() {
	guest "systemctl -q start atd; cd /; runuser -u alice -- sh -c 'echo exec sleep 1104 | at -q a now 2>/dev/null'"
	within 80 guest "pgrep -xf 'sleep 1104' >/dev/null" || fail 'no job'
	sleep $((LIMIT + BY_STAMPS + SLACK))
	runs 'sleep 1104'
	guest "pkill -xf 'sleep 1104'"
	not_ours atd 'service atd'
}
# not_ours SERVICE WHY: there is a record that the session was skipped.
not_ours() {
	logged "pam_idle_watchdog\($1:session.*skipped user=alice reason=\"$2\"" || fail "no record of $1"
}

# Greeters and desktops. Each has a terminal on which a login would be ended.
case_desktops() {
	local kind tty=3
	for kind in class=greeter type=x11 type=wayland; do
		printf 'session required %s\n' pam_loginuid.so "pam_systemd.so $kind" 'pam_idle_watchdog.so timeout=12s warn=4s grace=2s debug' |
			put "/etc/pam.d/desktop-$tty"
		guest systemd-run -q --unit="desktop-$tty" -p PAMName="desktop-$tty" -p User=alice \
			-p TTYPath="/dev/tty$tty" -p StandardInput=tty sleep "111$tty"
		tty=$((tty + 1))
	done
	sleep $((LIMIT + BY_STAMPS + SLACK))
	runs '/usr/bin/sleep 1113' '/usr/bin/sleep 1114' '/usr/bin/sleep 1115'
	guest 'systemctl stop desktop-3 desktop-4 desktop-5'
	not_ours desktop-3 'session class greeter'
	not_ours desktop-4 'session type x11'
	not_ours desktop-5 'session type wayland'
}

# root starts an sshd by hand in a session, and alice logs in through it. The end of root's session does not end
# hers.
case_sshd_by_hand() {
	login r root
	armed r
	does r '/usr/sbin/sshd -p 2215 -o PidFile=none'
	types r 300 &
	local typist=$!
	login a alice -J backdoor -p 2215
	by_audit a
	armed a 'members-by=audit'
	kill $typist
	typist a
	does r true
	ends_idle r
	record r ': ending .*spared=[0-9]'
	record r ': ended .*survivors=0'
	typist_stops a
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
	gone r
}
