# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Virtual consoles of display servers, on machines without logind's information.

# mode NUMBER 0|1: sets text or graphics mode (KDSETMODE), as a display server does.
mode() { guest "perl -e 'open my \$tty, \"+<\", \"/dev/tty$1\" or die; ioctl(\$tty, 0x4b3a, $2) or die \$!'"; }

# A display manager opens the session as root, without a controlling terminal. After that its display server
# takes the console. The session becomes idle only when the console is in text mode again.
case_graphical_console() {
	printf 'session required %s\n' pam_loginuid.so 'pam_idle_watchdog.so timeout=12s warn=4s grace=2s debug' |
		put /etc/pam.d/manager-6
	afterwards 'systemctl stop manager-6; rm /etc/pam.d/manager-6'
	guest 'systemd-run -q --unit=manager-6 -p PAMName=manager-6 -p User=alice -p TTYPath=/dev/tty6 sleep 1116'
	mode 6 1
	within "$SOON" logged 'manager-6:session.*: armed user=alice .*terminals-by=own' || fail 'not armed'
	within "$SOON" logged 'manager-6:session.*: console user=alice .*tty=tty6 graphical=yes' || fail 'not noticed'
	sleep $((LIMIT + BY_STAMPS + SLACK))
	runs '/usr/bin/sleep 1116'
	if logged 'manager-6:session.*: (warned|ending) '; then fail 'ended under its user'; fi
	mode 6 0
	within "$SOON" logged 'manager-6:session.*: console user=alice .*tty=tty6 graphical=no' || fail 'not noticed'
	within "$SOON" logged 'manager-6:session.*: ended user=alice .*tty=tty6 .*survivors=0' || fail 'not ended'
	not_runs '/usr/bin/sleep 1116'
}

# A user at a text console may set its mode, and gains nothing.
case_graphics_claimed() {
	guest systemctl start getty@tty8
	afterwards 'systemctl stop getty@tty8'
	vt_login 8
	armed tty 'terminals-by=own members-by=scope witness=none'
	vt_answers "perl -e 'ioctl(STDIN, 0x4b3a, 1) and print qq(taken\\\\n)'\n" 'taken$|[$] *$'
	guest "perl -e 'open my \$tty, \"<\", \"/dev/tty8\" or die; my \$mode = pack \"i\", 0; ioctl(\$tty, 0x4b3b, \$mode) or die; exit 1 - unpack \"i\", \$mode'" ||
		fail 'it is no graphics mode'
	STEP=$BY_STAMPS decided tty ': ending '
	record tty ': ended .*tty=tty8 .*survivors=0'
	no_record tty ': console '
	gone tty
}
