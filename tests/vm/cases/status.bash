# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# What the administrator's command says about open sessions, and does to them.

# status ARGUMENTS: runs `idle-watchdog status` in the guest. CODE is its exit status, and the file `status` its output.
status() {
	CODE=0
	guest "idle-watchdog status $*" >status 2>&1 || CODE=$?
}
# status_says REGEX
status_says() {
	grep -Eq "$1" status || {
		cat status
		fail "status does not say: $1"
	}
}

# Each session is in the list, watched or not: of sshd and of login(1), with and without a line of ours. A session
# that should be watched and is not makes the exit status 1.
case_status() {
	another_sshd 2262 <<-'END'
		auth required pam_deny.so
		account required pam_permit.so
		session required pam_loginuid.so
		session required pam_systemd.so
	END
	afterwards 'systemctl stop sshd-2262; systemctl stop getty@tty11'
	guest systemctl start getty@tty11
	login d dave
	armed d
	login e erin
	login p dave -J backdoor -p 2262
	vt_login 11
	# The logins may have taken more than a minute.
	attended tty does d true
	attended tty status
	[ "$CODE" = 1 ] || fail "exit status $CODE"
	# Of ten minutes ten are left in the second of the last key.
	status_says "^${ID[d]} +dave +[0-9.]+ +pts/[0-9]+ +sshd +(0s +10m +10m|[0-9]+s +10m +9m[0-9]+s) +watched +-\$"
	status_says "^${ID[tty]} +alice +- +tty11 +login .* (watched|warned) +-\$"
	status_says "^${ID[e]} +erin .* - +- +- +unwatched +-\$"
	status_says "^${ID[p]}: unwatched: opened before installation\$"
	status_says "^[0-9]+ sessions, [0-9]+ not guarded\$"
	# The lines fit a terminal of 80 columns, and the state has a colour.
	guest "script -qec 'stty cols 80; TERM=xterm idle-watchdog list' /dev/null" >screen || :
	grep -q $'\e\[31munwatched\e\[0m' screen || fail 'no colour'
	sed -e 's/\x1b\[[0-9]*m//g' -e 's/\r$//' screen | awk 'length > 80 { print; bad = 1 } END { exit bad }' ||
		fail 'a line is longer than the terminal'

	# One session in full. JSON says the same.
	status "${ID[d]}"
	[ "$CODE" = 0 ] || fail "exit status $CODE"
	status_says "^session +${ID[d]} \(pid:[0-9]+\)\$"
	status_says "^helper +${HELPER[d]}\$"
	status_says '^members +[0-9]+ by scope: sshd'
	status_says '^witness +connection$'
	status_says '^  timeout +10m  \(line\)$'
	guest "idle-watchdog status ${ID[d]} --json" | python3 -c 'import json, sys
status = json.load(sys.stdin)
assert status["state"] == "watched" and status["limit"] == 600 and status["idle"] + status["ends_in"] in (600, 601), status
assert status["user"] == "dave" and status["reason"] is None and status["helper"] == int(sys.argv[1]), status' \
		"${HELPER[d]}" || fail 'the JSON is wrong'

	# A watchdog that was stopped does not answer.
	guest "kill -STOP ${HELPER[d]}"
	status "${ID[d]}"
	guest "kill -CONT ${HELPER[d]}"
	[ "$CODE" = 1 ] || fail "exit status $CODE"
	status_says '^state +silent: its watchdog gave no answer within 5 s$'
	status "${ID[d]}"
	[ "$CODE" = 0 ] || fail 'silent still'

	# Only root is told. What is no session is named.
	answers d '/usr/sbin/idle-watchdog list; echo code=$?' 'code=2'
	screen_says d 'only root can see how the sessions are watched'
	status no1such
	[ "$CODE" = 2 ] || fail "exit status $CODE"
	status_says '^idle-watchdog: there is no session no1such$'
}

# A session is extended: the person is told, is warned before the later end, and not ended before that.
case_extend() {
	login a alice
	armed a
	keys a '\n'
	LAST[a]=$(now)
	guest "idle-watchdog extend ${ID[a]} 20s --reason tea" || fail 'not extended'
	within "$SOON" shows_since a "${SEEN[a]}" 'keeps this session: even if idle, it does not end for 20s: tea' ||
		fail 'the person is not told'
	SEEN[a]=$(stat -c %s "${OUT[a]}")
	warned a
	ends_between a 20 "$SOON"
	record a ': extended .* remaining=20 requester=[a-z0-9]+ .*reason=tea'
	no_record a ': resumed'
	gone a
}

# root ends another session, with a reason. The records say who asked.
case_end() {
	logins d:dave r:root
	armed d
	answers r "idle-watchdog end ${ID[d]} --reason 'new kernel'; echo code=\$?" 'code=0'
	ends_between d 0 "$SOON"
	screen_says d 'An administrator has ended this session: new kernel'
	for event in ending ended; do
		record d ": $event .* requester=0 requester-ses=${ID[r]} reason=\"new kernel\""
	done
	record d ': ended .* survivors=0'
	gone d
}
