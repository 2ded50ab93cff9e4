# shellcheck shell=bash disable=SC2016,SC2034 # the guest's; of tests/vm/compare
# The systems that are compared, one for each column, and the way to set up each: as its manual says, with all
# that it offers. Each has its own sshd in the guest. A system that affects the whole machine has its own turn.

declare -A TITLE=(
	[ours]='pam_idle_watchdog'
	[logind]='logind `StopIdleSessionSec`'
	[channel]='sshd `ChannelTimeout`'
	[tmout]='shell `TMOUT`'
	[autolog]='autolog'
)
no_utmp=0 # added to the port by a job that wants none
declare -A PORT=([ours]=2301 [logind]=2302 [channel]=2303 [tmout]=2304 [autolog]=2305)

# Each line is a turn. Its systems are measured at the same time.
turns() {
	# Debian 13 no longer has it.
	if [ "$1" = bookworm ]; then echo autolog; fi
	echo ours channel tmout
	echo logind
}

# The limit of all users, the limit of the user `other`, and how much later a system may come before it is given
# up.
limits() {
	case $1 in
	# It counts in minutes and adds the warning to them. It looks once a minute, and ends one user after the other,
	# with half a minute for each.
	autolog) LIMIT=70 OTHER=190 STEP=360 ;;
	*) LIMIT=20 OTHER=60 STEP=9 ;;
	esac
}

# The document shows the files that are used. config_SYSTEM prints the file, and set_up_SYSTEM puts it at the
# path in its first line.

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

# sshds SYSTEM FILE: starts two sshds, one at PORT, and one at PORT+100 that cannot write utmp. Standard input
# is the system's own part of the PAM stack (`pam`), of sshd's configuration (`sshd`) or of the shell's profile
# (`profile`).
sshds() {
	guest "mkdir -p /run/compare/$1"
	put "/run/compare/$1/$2"
	guest "set -e
	cd /run/compare/$1
	touch pam sshd profile /etc/profile.d/compare.sh
	# The lines of tests/vm/install are removed.
	grep -v idle_watchdog /etc/pam.d/sshd | cat - pam >pam.d
	printf '%s\\n' 'Include /etc/ssh/sshd_config' 'AuthorizedKeysFile /run/compare/keys' | cat - sshd >sshd_config
	for port in ${PORT[$1]} $((PORT[$1] + 100)); do
		files=\"\$PWD/pam.d:/etc/pam.d/sshd \$PWD/profile:/etc/profile.d/compare.sh\"
		if [ \$port != ${PORT[$1]} ] && [ -e /run/utmp ]; then files=\"\$files /dev/null:/run/utmp\"; fi
		systemd-run -q --collect -p Type=notify -p KillMode=process -p BindPaths=\"\$files\" \
			/usr/sbin/sshd -D -f \$PWD/sshd_config -o PidFile=none -p \$port
	done"
}
