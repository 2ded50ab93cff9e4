# shellcheck shell=bash disable=SC2034,SC2154
# The functions that the cases call. A case is a function `case_NAME` in cases/, or `alone_NAME` if no other case may run
# at the same time. It passes if it returns. It fails at the first check that fails.
#
# A case gives each session a name. Time is measured by the host's clock, which no case sets.

LIMIT=12 # of the watched users, in seconds; see install
STEP=1   # the end may be decided on this much later than the limit, where the ssh client sends nothing but keys
BY_STAMPS=9 # and this much where stamps alone tell of keys, because the kernel sets them in steps of 8 s
SLACK=${VM_SLACK:-7} # an emulated machine is slow to read what was typed
SYSTEMD= # where systemd's hierarchy of control groups is, below /sys/fs/cgroup
case $release in *-cgroup1) SYSTEMD=systemd ;; esac
SOON=120 # the longest wait for anything that happens at once; it only bounds a failure

# LAST and ANSWERED: when the last key was sent, and when it had certainly been read.
# TYPES: the function that types at a terminal of the guest itself.
declare -A IN OUT PID LAST ANSWERED SEEN ID HELPER TYPES

# says TEXT: prints it now, and keeps it in the case's log.
says() {
	echo "     $release $*"
	echo "     $release $*" >&3
}
fail() {
	echo "$*" >&2
	exit 1
}
now() { echo "${EPOCHREALTIME/[.,]/}"; } # microseconds

# Runs a command in the guest as root, outside of all sessions.
guest() { ssh -F "$RUN/ssh_config" backdoor "$@" </dev/null; }

# follow: from now on the guest's log of logins is written to a file on the host. So a search for a record costs the
# guest nothing. Each line starts with the seconds since the guest booted.
follow() {
	ssh -F "$RUN/ssh_config" backdoor \
		'exec journalctl -q -f -n 0 --no-hostname -o short-monotonic --facility=authpriv' </dev/null >"$RUN/records" &
	FOLLOWER=$!
	disown
	until grep -qs follows "$RUN/records"; do
		guest logger -t follows -p authpriv.debug .
		sleep 0.2
	done
}
# caught_up: waits until everything logged so far is in that file. MARK is the line that shows it.
caught_up() {
	local name=mark-$BASHPID-$RANDOM
	MARK_SENT=$(now)
	guest logger -t "$name" -p authpriv.debug .
	within $SOON mark_is_there "$name"
}
mark_is_there() { MARK=$(grep -F " $1" "$RUN/records"); }

# put FILE: writes standard input to a file in the guest.
put() { ssh -F "$RUN/ssh_config" backdoor "cat >'$1'"; }

# afterwards COMMAND: runs in the guest when the case is over, whether it passed or failed.
afterwards() { AFTERWARDS=$1; }

# within SECONDS COMMAND...: runs the command again and again until it succeeds. Fails after that time.
within() {
	local end=$(($(now) + $1 * 1000000))
	shift
	until "$@"; do
		if [ "$(now)" -ge "$end" ]; then return 1; fi
		sleep 0.2
	done
}

# attended NAME COMMAND...: somebody presses Enter at that terminal every two seconds while the command runs, and once
# when it has ended. On a slow machine a command can take as long as the limit.
attended() {
	local name=$1 outcome=0 presser
	shift
	if [ -z "${IN[$name]:-}${TYPES[$name]:-}" ]; then "$@"; return; fi
	pressing "$name"
	presser=$PRESSER
	"$@" || outcome=$?
	kill "$presser" 2>/dev/null || :
	keys "$name" '\n'
	return $outcome
}
# pressing NAME...: presses Enter at these terminals every two seconds, in the background. PRESSER is its PID.
pressing() {
	local at_exit='' name self=$BASHPID
	# The loop must not have the case's trap for its exit, which ends the case's processes: a shell that is killed right
	# after its fork runs the trap. A subshell has no trap of its own, but `trap -p` prints that of its parent.
	if [ "$self" = "$CASE_SHELL" ]; then
		at_exit=$(trap -p EXIT)
		trap - EXIT
	fi
	while sleep 2; do for name; do keys "$name" '\n'; done; done &
	PRESSER=$!
	eval "$at_exit"
}
# shown NAME REGEX: waits for new text on the screen that matches. A slow machine may answer only after an idle
# session would have ended. So Enter is pressed every two seconds after the first four.
shown() {
	local name=$1 seen=${SEEN[$1]} started next
	started=$(now)
	next=$((started + 4000000))
	until shows_since "$name" "$seen" "$2"; do
		if [ "$(now)" -ge $((started + SOON * 1000000)) ]; then return 1; fi
		if [ "$(now)" -ge $next ]; then
			keys "$name" '\n'
			next=$((next + 2000000))
		fi
		sleep 0.2
	done
}

# login NAME USER [SSH-OPTION...]: opens a session and waits until its shell answers.
login() {
	next_login
	connect "$@"
	ready "$1"
	flock -u 7
}
# logins NAME:USER...: opens several sessions. Enter is pressed at the open ones, so that none becomes idle
# meanwhile.
logins() {
	local one name names=() presser
	next_login
	for one; do
		presser=
		if [ ${#names[@]} != 0 ]; then
			pressing "${names[@]}"
			presser=$PRESSER
		fi
		connect "${one%:*}" "${one#*:}"
		ready "${one%:*}"
		if [ -n "$presser" ]; then kill "$presser" 2>/dev/null || :; fi
		names+=("${one%:*}")
	done
	for name in "${names[@]}"; do keys "$name" '\n'; done
	flock -u 7
}
# One login at a time, whichever case it belongs to. A helper has two seconds to be ready, or else the login fails. An
# emulated guest was seen to take longer when six cases logged in at once.
next_login() {
	exec 7>"$RUN/logins"
	flock 7
}
connect() {
	local name=$1 user=$2
	shift 2
	on_terminal "$name" "$@" -l "$user" guest
}
# on_terminal NAME [SSH-ARGUMENT...]: starts ssh on a terminal. This is the session.
on_terminal() {
	local name=$1
	shift
	mkfifo "$name.in"
	OUT[$name]=$PWD/$name.screen
	ssh -F "$RUN/ssh_config" -tt "$@" <"$name.in" >"$name.screen" 2>&1 &
	PID[$name]=$!
	# shellcheck disable=SC1083,SC2093,SC2086 # the number of a free descriptor
	exec {IN[$name]}>"$name.in"
}

# another_sshd PORT: one more sshd in the guest, whose PAM stack is read from standard input.
# `-J backdoor -p PORT` leads a login to it.
another_sshd() {
	put "/run/sshd-$1.pam"
	# SELinux does not let sshd read a file that has the label of /run.
	guest "systemctl -q stop sshd-$1 2>/dev/null
		if [ -e /sys/fs/selinux/enforce ]; then chcon -t etc_t /run/sshd-$1.pam; fi
		systemd-run -q --unit=sshd-$1 -p BindPaths=/run/sshd-$1.pam:/etc/pam.d/sshd -p KillMode=process \
		/usr/sbin/sshd -D -p $1 -o PidFile=none"
	within $SOON guest "ss -Hltn sport = $1 | grep -q ." || fail "no sshd at port $1"
}

# Waits until the session's shell answers, and asks it for the session's ID.
ready() {
	# A shell that starts discards what was typed before its prompt.
	SEEN[$1]=0
	shown "$1" '[$#] ' || fail "$1: no prompt"
	# shellcheck disable=SC2016 # the guest's
	answers "$1" 'echo "id=$XDG_SESSION_ID."' 'id=[a-z0-9]*\.'
	ID[$1]=$(sed -n 's/.*id=\([a-z0-9]*\)\..*/\1/p' "${OUT[$1]}" | tail -n 1)
	HELPER[$1]=
}

# by_audit NAME: the session is known by its audit id, because logind does not list it as the user's own.
by_audit() {
	# shellcheck disable=SC2016 # the guest's
	answers "$1" 'echo "audit=$(cat /proc/self/sessionid)."' 'audit=[0-9]*\.'
	ID[$1]=$(sed -n 's/.*audit=\([0-9]*\)\..*/\1/p' "${OUT[$1]}" | tail -n 1)
}

# keys NAME TEXT: types the text. \n is Enter.
keys() {
	if [ -n "${TYPES[$1]:-}" ]; then
		"${TYPES[$1]}" "$2"
		return
	fi
	LAST[$1]=$(now)
	ANSWERED[$1]=${LAST[$1]}
	SEEN[$1]=$(stat -c %s "${OUT[$1]}")
	printf '%b' "$2" >&"${IN[$1]}" || fail "$1: has ended and takes no keys"
}

# answers NAME COMMAND REGEX: types a command line and waits until new text on the screen matches.
answers() {
	keys "$1" "$2\n"
	shown "$1" "$3" || fail "$1: no answer to: $2"
	ANSWERED[$1]=$(now)
}
shows_since() { tail -c "+$(($2 + 1))" "${OUT[$1]}" | grep -Eaq "$3"; }

# does NAME COMMAND...: types each at the prompt and waits until it has ended.
does() {
	local name=$1 command n=0
	shift
	for command; do
		n=$((n + 1))
		answers "$name" "$command\necho do\"\"ne-$n" "done-$n"
	done
}

# screen_says NAME REGEX
screen_says() {
	grep -Eaq "$2" "${OUT[$1]}" || fail "$1: the screen does not say: $2"
}

alive() { kill -0 "${PID[$1]}" 2>/dev/null || fail "$1: ended $(since "$1") s after the last key"; }
since() { echo "$((($(now) - LAST[$1]) / 1000000))"; }

# types NAME SECONDS [KEY]: types a key every two seconds. The session must not end.
types() {
	local end=$(($(now) + $2 * 1000000))
	while [ "$(now)" -lt "$end" ]; do
		alive "$1"
		keys "$1" "${3:-x}"
		sleep 2
	done
	alive "$1"
}

# typist NAME: types in the background until typist_stops NAME.
typist() {
	types "$1" 600 &
	typist=$!
}
typist_stops() {
	kill "$typist"
	keys "$1" x
	alive "$1"
}

# warned NAME...: waits for a warning after the last key.
warned() {
	local name
	for name; do
		within $SOON shows_since "$name" "${SEEN[$name]}" 'press Enter' || fail "$name: not warned"
	done
}

# ends_idle NAME...: the session ends. The decision came no earlier than the limit and no later than allowed.
ends_idle() {
	local name
	for name; do
		ends_between "$name" $LIMIT $SOON
		decided "$name" ': ending '
	done
}
# ends_between NAME SECONDS SECONDS: the client exits that long after the last key, at least and at most.
ends_between() {
	local took left=$((LAST[$1] + $3 * 1000000 - $(now)))
	timeout $((left > 0 ? left / 1000000 + 1 : 1)) tail --pid="${PID[$1]}" --sleep-interval=0.1 -f /dev/null ||
		fail "$1: still there $(since "$1") s after the last key"
	took=$(($(now) - LAST[$1]))
	if [ "$took" -lt "$(($2 * 1000000))" ]; then fail "$1: ended after only $((took / 1000)) ms"; fi
	echo "$1: ended $((took / 1000)) ms after the last key"
}
# decided NAME REGEX: there is such a record, no earlier than the limit and no later than allowed. The time is taken from
# the guest's monotonic clock, so the time that the end itself takes does not count.
decided() {
	local ago after
	record "$1" "$2"
	caught_up || fail 'the log stands still'
	ago=$({ records "$1" | grep -E "$2" | head -n 1; echo "$MARK"; } |
		awk '{ gsub(/[][]/, " "); at[NR] = $1 } END { printf "%d", (at[2] - at[1]) * 1000000 }')
	# The guest logged the mark at some time between MARK_SENT and now.
	after=$(($(now) - ago - LAST[$1]))
	if [ $after -lt $((LIMIT * 1000000)) ]; then fail "$1: decided on after only $((after / 1000)) ms: $2"; fi
	after=$((MARK_SENT - ago - ANSWERED[$1]))
	echo "$1: decided on $((after / 1000)) ms after the last key, by$2"
	if [ $after -gt $(((LIMIT + STEP + SLACK) * 1000000)) ]; then fail "$1: decided on as late as after $((after / 1000)) ms"; fi
}

# All records of a session and of the sessions inside it. They share its audit id, which here equals the session's id.
records() { logged "pam_idle_watchdog.* (session|ses)=${ID[$1]}( |$)"; }
# logged REGEX: there is such a line since the case began.
logged() { tail -c "+$FROM" "$RUN/records" | grep -E "$1"; }
# record NAME REGEX: waits for such a record. Its fields are in the order of the log.
record() {
	within $SOON has_record "$1" "$2" || fail "$1: no record: $2"
}
has_record() { records "$1" | grep -Eq "$2"; }
# no_record NAME REGEX
no_record() {
	caught_up || fail 'the log stands still'
	if has_record "$1" "$2"; then fail "$1: an unwanted record: $2"; fi
}

# armed NAME [REGEX]: the session is watched, by a helper out of the user's reach.
armed() { attended "$1" is_armed "$@"; }
is_armed() {
	record "$1" ": armed .*${2:-}"
	HELPER[$1]=$(records "$1" | sed -n 's/^[^]]*\] [^ ]*\[\([0-9]*\)\]: .*: armed .*/\1/p' | tail -n 1)
	# With version 1 the helper is in the root group of each controller.
	guest "cd /proc/${HELPER[$1]} && grep -q :/idle_watchdog\$ cgroup && ! grep -vE ':/(idle_watchdog)?\$' cgroup" ||
		fail "$1: the helper has not left the control groups"
	helper_lives "$1"
}
helper_lives() {
	guest "grep -q '^State:.[SRD]' /proc/${HELPER[$1]}/status" || fail "$1: the helper is gone or stopped"
}

# gone NAME: logind and systemd have removed the session, its helper has exited, and there was no error.
gone() {
	vanished "$1"
	no_record "$1" ': error'
}
vanished() {
	# loginctl comes last, because each call is work for the guest.
	guest "for i in \$(seq 75); do
		if ! [ -d /sys/fs/cgroup/$SYSTEMD/user.slice/*/session-${ID[$1]}.scope ] && ! [ -d /proc/${HELPER[$1]:-none} ] &&
			! [ -e /run/systemd/sessions/${ID[$1]} ] &&
			! loginctl --no-legend list-sessions | awk '{print \$1}' | grep -qx ${ID[$1]}; then exit 0; fi
		sleep 0.2
	done
	loginctl list-sessions; loginctl session-status ${ID[$1]}; ps -fp ${HELPER[$1]:-1}; exit 1" || fail "$1: not gone"
}

# runs COMMAND... and not_runs COMMAND...: the guest has a process with each of these command lines, or has none.
runs() {
	for command; do guest "pgrep -xf '$command'" >/dev/null || fail "does not run: $command"; done
}
not_runs() {
	for command; do ! guest "pgrep -xf '$command'" || fail "runs still: $command"; done
}

# tty_keys TEXT: types at the guest's second serial line, where login(1) runs. Its screen is OUT[tty].
tty_keys() {
	local text
	LAST[tty]=$(now)
	ANSWERED[tty]=${LAST[tty]}
	text=$(printf '%b.' "$1")
	# shellcheck disable=SC2016 # perl's
	perl -MIO::Socket::UNIX -e 'my $line = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $line $ARGV[1]; $line->flush; sleep 1' \
		"$RUN/tty.sock" "${text%.}" || fail 'no serial line'
}
