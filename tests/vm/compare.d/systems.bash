# shellcheck shell=bash disable=SC2016,SC2034 # the guest's; of tests/vm/compare
# The systems that are compared, a column each, and how each is set up: the way its manual says, with what
# it has to offer. Each has an sshd of its own in the guest; what is said to a whole machine has a turn of its own.

declare -A TITLE=(
	[ours]='pam_idle_watchdog'
	[logind]='logind `StopIdleSessionSec`'
	[channel]='sshd `ChannelTimeout`'
	[tmout]='shell `TMOUT`'
	[autolog]='autolog'
)
no_utmp=0 # added to the port by a job that wants none
declare -A PORT=([ours]=2301 [logind]=2302 [channel]=2303 [tmout]=2304 [autolog]=2305)

# A turn a line: these are measured side by side.
turns() {
	# Debian 13 has it no more.
	if [ "$1" = bookworm ]; then echo autolog; fi
	echo ours channel tmout
	echo logind
}

# The limit of everybody, and that of the user `other`; how much later than that a system may come before it is given up.
limits() {
	case $1 in
	# It knows minutes, to which the warning is added; it looks once a minute, and sees off one user after the other,
	# half a minute each.
	autolog) LIMIT=70 OTHER=190 STEP=360 ;;
	*) LIMIT=20 OTHER=60 STEP=9 ;;
	esac
}

# What the document shows is what is used: config_SYSTEM prints the file, set_up_SYSTEM puts it where the first line says.

config_ours() {
	echo '# /etc/pam.d/sshd, at the end'
	echo 'session [success=1 default=ignore] pam_succeed_if.so quiet user = other'
	echo "session required pam_idle_watchdog.so timeout=${LIMIT}s warn=8s"
	echo 'session [success=1 default=ignore] pam_succeed_if.so quiet user != other'
	echo "session required pam_idle_watchdog.so timeout=${OTHER}s warn=8s"
}
set_up_ours() {
	config_ours | sshds ours pam
}

config_channel() {
	echo '# /etc/ssh/sshd_config; VERBOSE, because it does not log this at a lower level'
	echo 'LogLevel VERBOSE'
	echo "ChannelTimeout session:*=${LIMIT}s"
	echo "UnusedConnectionTimeout ${LIMIT}s"
	echo 'Match User other'
	echo "	ChannelTimeout session:*=${OTHER}s"
}
set_up_channel() {
	config_channel | sshds channel sshd
}

config_tmout() {
	echo '# /etc/profile.d/tmout.sh'
	echo "if [ \"\$USER\" = other ]; then TMOUT=$OTHER; else TMOUT=$LIMIT; fi"
	echo 'readonly TMOUT'
	echo 'export TMOUT'
}
set_up_tmout() {
	config_tmout | sshds tmout profile
}

config_logind() {
	echo '# /etc/systemd/logind.conf.d/idle.conf'
	echo '[Login]'
	echo "StopIdleSessionSec=${LIMIT}s"
}
set_up_logind() {
	config_logind | put /etc/systemd/logind.conf.d/idle.conf
	guest 'systemctl restart systemd-logind'
	sshds logind none </dev/null
}
take_down_logind() { guest 'rm /etc/systemd/logind.conf.d/idle.conf; systemctl restart systemd-logind'; }

config_autolog() {
	echo '# /etc/autolog.conf; it logs if /var/log/autolog.log exists'
	echo "name=other idle=$(((OTHER - 10) / 60)) grace=10 warn log nomail"
	echo "name=.+ idle=$(((LIMIT - 10) / 60)) grace=10 warn log nomail"
	echo 'nolostkill'
}
set_up_autolog() {
	config_autolog | put /etc/autolog.conf
	guest 'touch /var/log/autolog.log; systemctl -q unmask autolog; systemctl start autolog'
	sshds autolog none </dev/null
}
take_down_autolog() { guest 'systemctl stop autolog'; }

# sshds SYSTEM FILE: two sshds, at PORT, and at PORT+100 one that cannot write utmp. Standard input is the system's own part
# of the PAM stack (`pam`), of sshd's configuration (`sshd`) or of the shell's profile (`profile`).
sshds() {
	guest "mkdir -p /run/compare/$1"
	put "/run/compare/$1/$2"
	guest "set -e
	cd /run/compare/$1
	touch pam sshd profile /etc/profile.d/compare.sh
	# Without what tests/vm/install put there.
	grep -v idle_watchdog /etc/pam.d/sshd | cat - pam >pam.d
	printf '%s\\n' 'Include /etc/ssh/sshd_config' 'AuthorizedKeysFile /run/compare/keys' | cat - sshd >sshd_config
	for port in ${PORT[$1]} $((PORT[$1] + 100)); do
		files=\"\$PWD/pam.d:/etc/pam.d/sshd \$PWD/profile:/etc/profile.d/compare.sh\"
		if [ \$port != ${PORT[$1]} ] && [ -e /run/utmp ]; then files=\"\$files /dev/null:/run/utmp\"; fi
		systemd-run -q --collect -p Type=notify -p KillMode=process -p BindPaths=\"\$files\" \
			/usr/sbin/sshd -D -f \$PWD/sshd_config -o PidFile=none -p \$port
	done"
}
