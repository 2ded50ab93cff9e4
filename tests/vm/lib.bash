# shellcheck shell=bash disable=SC2034,SC2154
# The words the cases are written in. A case is a function `case_NAME` (or `alone_NAME`: no other runs
# beside it) in cases/; it passes if it returns, and fails at the first word that does not hold.
#
# A session has a name of the case's choosing. Time is the host's, whose clock nobody sets.

LIMIT=12 # of the users that are watched, in seconds; see install
STEP=1   # the end may be decided on this much later than the limit, where the ssh client sends nothing but keys
BY_STAMPS=9 # and this much where stamps alone tell of keys, because the kernel sets them in steps of 8 s
SLACK=${VM_SLACK:-7} # an emulated machine is slow to read what was typed
SOON=120 # how long anything may take that happens at once

# LAST and ANSWERED: when the last key was sent, and when it had certainly been read.
declare -A IN OUT PID LAST ANSWERED SEEN ID HELPER

# says TEXT: beside the case's result, whatever that is.
says() {
	echo "     $release $*"
	echo "     $release $*" >&3
}
fail() {
	echo "$*" >&2
	exit 1
}
now() { echo "${EPOCHREALTIME/[.,]/}"; } # microseconds

# Runs a command in the guest as root, behind every session's back.
guest() { ssh -F "$RUN/ssh_config" backdoor "$@" </dev/null; }

# follow: from here on the guest's log of logins is written to a file of the host's, so that to look for a record
# is no work for the guest. Each line begins with the seconds since it booted.
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
# caught_up: all that has been logged until now is in that file, and MARK is the line that shows it.
caught_up() {
	local name=mark-$BASHPID-$RANDOM
	MARK_SENT=$(now)
	guest logger -t "$name" -p authpriv.debug .
	within $SOON mark_is_there "$name"
}
mark_is_there() { MARK=$(grep -F " $1" "$RUN/records"); }

# put FILE: standard input becomes a file of the guest.
put() { ssh -F "$RUN/ssh_config" backdoor "cat >'$1'"; }

# afterwards COMMAND: what the guest is to do when the case is over, however it went.
afterwards() { AFTERWARDS=$1; }

# Runs a command until it succeeds: within SECONDS command...
within() {
	local end=$(($(now) + $1 * 1000000))
	shift
	until "$@"; do
		if [ "$(now)" -ge "$end" ]; then return 1; fi
		sleep 0.2
	done
}

# attended NAME COMMAND...: until that succeeds, somebody sits at the terminal and presses Enter now and then.
attended() {
	local name=$1 end=$(($(now) + SOON * 1000000))
	shift
	until "$@"; do
		if [ "$(now)" -ge "$end" ]; then return 1; fi
		awake "$name"
		sleep 1
	done
}

# login NAME USER [ssh's options]: a session with a shell that has answered.
login() {
	connect "$@"
	ready "$1"
}
# logins NAME:USER...: several at once, so that the first is not idle before the last is there.
logins() {
	local one
	for one; do connect "${one%:*}" "${one#*:}"; done
	for one; do ready "${one%:*}"; done
	for one; do keys "${one%:*}" '\n'; done
}
connect() {
	local name=$1 user=$2
	shift 2
	on_terminal "$name" "$@" -l "$user" guest
}
# on_terminal NAME [ssh's words]: what ssh starts there is the session.
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
	guest "systemctl -q stop sshd-$1 2>/dev/null
		systemd-run -q --unit=sshd-$1 -p BindPaths=/run/sshd-$1.pam:/etc/pam.d/sshd -p KillMode=process \
		/usr/sbin/sshd -D -p $1 -o PidFile=none"
	within $SOON guest "ss -Hltn sport = $1 | grep -q ." || fail "no sshd at port $1"
}

# The shell of a session has answered, and its number is known.
ready() {
	# A shell that starts discards what was typed before its prompt.
	within $SOON grep -q '[$#] ' "${OUT[$1]}" || fail "$1: no prompt"
	# shellcheck disable=SC2016 # the guest's
	answers "$1" 'echo "id=$XDG_SESSION_ID."' 'id=[a-z0-9]*\.'
	ID[$1]=$(sed -n 's/.*id=\([a-z0-9]*\)\..*/\1/p' "${OUT[$1]}" | tail -n 1)
	HELPER[$1]=
}

# by_audit NAME: the session is not its user's own in logind; its audit id is.
by_audit() {
	# shellcheck disable=SC2016 # the guest's
	answers "$1" 'echo "audit=$(cat /proc/self/sessionid)."' 'audit=[0-9]*\.'
	ID[$1]=$(sed -n 's/.*audit=\([0-9]*\)\..*/\1/p' "${OUT[$1]}" | tail -n 1)
}

# keys NAME TEXT: typed, Enter is \n.
keys() {
	LAST[$1]=$(now)
	ANSWERED[$1]=${LAST[$1]}
	SEEN[$1]=$(stat -c %s "${OUT[$1]}")
	# Who is gone takes no keys.
	printf '%b' "$2" >&"${IN[$1]}" || fail "$1: takes no keys"
}

# answers NAME COMMAND REGEX: types a command line, and the screen shows something new that matches.
answers() {
	keys "$1" "$2\n"
	within $SOON shows_since "$1" "${SEEN[$1]}" "$3" || fail "$1: no answer to: $2"
	ANSWERED[$1]=$(now)
}
shows_since() { tail -c "+$(($2 + 1))" "${OUT[$1]}" | grep -Eaq "$3"; }

# does NAME COMMAND...: each is typed at the prompt, and has ended.
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

# types NAME SECONDS [KEY]: somebody types one key every two seconds, and the session goes on.
types() {
	local end=$(($(now) + $2 * 1000000))
	while [ "$(now)" -lt "$end" ]; do
		alive "$1"
		keys "$1" "${3:-x}"
		sleep 2
	done
	alive "$1"
}

# typist NAME: somebody types all the time, in the background; until typist_stops NAME.
typist() {
	types "$1" 600 &
	typist=$!
}
typist_stops() {
	kill "$typist"
	keys "$1" x
	alive "$1"
}

# warned NAME...: and not before the last key.
warned() {
	local name
	for name; do
		within $SOON shows_since "$name" "${SEEN[$name]}" 'press Enter' || fail "$name: not warned"
	done
}

# ends_idle NAME...: the client is cut off, and that was decided neither before the limit nor much later than it may.
ends_idle() {
	local name
	for name; do
		ends_between "$name" $LIMIT $SOON
		decided "$name" ': ending '
	done
}
# ends_between NAME SECONDS SECONDS: the client is cut off so long after the last key.
ends_between() {
	local took left=$((LAST[$1] + $3 * 1000000 - $(now)))
	timeout $((left > 0 ? left / 1000000 + 1 : 1)) tail --pid="${PID[$1]}" --sleep-interval=0.1 -f /dev/null ||
		fail "$1: still there $(since "$1") s after the last key"
	took=$(($(now) - LAST[$1]))
	if [ "$took" -lt "$(($2 * 1000000))" ]; then fail "$1: ended after only $((took / 1000)) ms"; fi
	echo "$1: ended $((took / 1000)) ms after the last key"
}
# decided NAME REGEX: there is such a record, of a time not before the limit and not much later than it may be. The
# guest's monotonic clock tells: nothing that the end itself takes there counts.
decided() {
	local ago after
	record "$1" "$2"
	caught_up || fail 'the log stands still'
	ago=$({ records "$1" | grep -E "$2" | head -n 1; echo "$MARK"; } |
		awk '{ gsub(/[][]/, " "); at[NR] = $1 } END { printf "%d", (at[2] - at[1]) * 1000000 }')
	# The mark is of some time between its sending and now.
	after=$(($(now) - ago - LAST[$1]))
	if [ $after -lt $((LIMIT * 1000000)) ]; then fail "$1: decided on after only $((after / 1000)) ms: $2"; fi
	after=$((MARK_SENT - ago - ANSWERED[$1]))
	echo "$1: decided on $((after / 1000)) ms after the last key, by$2"
	if [ $after -gt $(((LIMIT + STEP + SLACK) * 1000000)) ]; then fail "$1: decided on as late as after $((after / 1000)) ms"; fi
}

# All records of a session and of those inside it, which have its audit id (here the same number).
records() { logged "pam_idle_watchdog.* (session|ses)=${ID[$1]}( |$)"; }
# logged REGEX: since the case began.
logged() { tail -c "+$FROM" "$RUN/records" | grep -E "$1"; }
# record NAME REGEX: there is such a record; fields in the order of the log.
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
armed() {
	record "$1" ": armed .*${2:-}"
	HELPER[$1]=$(records "$1" | sed -n 's/^[^]]*\] [^ ]*\[\([0-9]*\)\]: .*: armed .*/\1/p' | tail -n 1)
	awake "$1"
	guest "grep -qx 0::/idle_watchdog /proc/${HELPER[$1]}/cgroup" || fail "$1: no helper in a cgroup of its own"
	helper_lives "$1"
	awake "$1"
}
# A guest may be so slow that to look takes as long as the limit.
awake() { if [ -n "${IN[$1]:-}" ]; then keys "$1" '\n'; fi; }
helper_lives() {
	guest "grep -q '^State:.[SRD]' /proc/${HELPER[$1]}/status" || fail "$1: the helper is gone or stopped"
}

# gone NAME: neither logind nor systemd knows the session any more, its helper has left, and nothing
# of it went wrong.
gone() {
	vanished "$1"
	no_record "$1" ': error'
}
vanished() {
	# loginctl last: each call is work for the guest.
	guest "for i in \$(seq 75); do
		if ! [ -d /sys/fs/cgroup/user.slice/*/session-${ID[$1]}.scope ] && ! [ -d /proc/${HELPER[$1]:-none} ] &&
			! [ -e /run/systemd/sessions/${ID[$1]} ] &&
			! loginctl --no-legend list-sessions | awk '{print \$1}' | grep -qx ${ID[$1]}; then exit 0; fi
		sleep 0.2
	done
	loginctl list-sessions; loginctl session-status ${ID[$1]}; ps -fp ${HELPER[$1]:-1}; exit 1" || fail "$1: not gone"
}

# runs COMMAND... / not_runs COMMAND...: whether the guest has a process with these arguments.
runs() {
	for command; do guest "pgrep -xf '$command'" >/dev/null || fail "does not run: $command"; done
}
not_runs() {
	for command; do ! guest "pgrep -xf '$command'" || fail "runs still: $command"; done
}

# The second serial line of the guest, with login(1) on it; types on it, its screen is OUT[tty].
tty_keys() {
	local text
	LAST[tty]=$(now)
	ANSWERED[tty]=${LAST[tty]}
	text=$(printf '%b.' "$1")
	# shellcheck disable=SC2016 # perl's
	perl -MIO::Socket::UNIX -e 'my $line = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $line $ARGV[1]; $line->flush; sleep 1' \
		"$RUN/tty.sock" "${text%.}" || fail 'no serial line'
}
