# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# The guest's clock is set, and the guest is suspended. No other case runs at the same time.

# The clock goes two hours forward, four back, and two forward. One user (i) is idle, one (t) types all the
# time, and two (w and k) are warned at that moment. k then presses Enter.
alone_clock() {
	login t alice
	typist t
	login k alice
	step_among '2 hours'
	step_among '4 hours ago'
	guest 'date -s "2 hours" >/dev/null'
	no_record t ': (warned|ending|tampering)'
	typist_stops t
	ends_idle k t
	gone k
	gone t
}
step_among() {
	logins w:alice i:alice
	keys k '\n'
	keys w '\n'
	# This key is in the next eight seconds, so that i is not warned together with the others.
	sleep 8
	keys i '\n'
	warned w k
	guest "date -s '$1' >/dev/null"
	keys k '\n'
	ends_idle w
	keys k '\n'
	ends_idle i
	keys k '\n'
	screen_says i 'press Enter'
	gone w
	gone i
	rm w.in i.in
}

# The clock is set back into the eight seconds of the last key. After that, another key leaves no trace on the
# terminal. One user is idle, one types, and then two are warned. One of these (k) presses Enter. The connection
# shows the difference.
alone_clock_bucket() {
	local back
	logins w:alice k:alice i:alice t:alice
	typist t
	keys i '\n'
	guest 'date -s "5 minutes" >/dev/null'
	sleep 2
	guest 'date -s "5 minutes ago" >/dev/null'
	keys w '\n'
	keys k '\n'
	warned w k
	back=$(since w)
	guest "date -s '$back seconds ago' >/dev/null"
	keys k '\n'
	ends_idle w i
	no_record t ': (warned|ending|tampering)'
	typist_stops t
	ends_idle k t
	for name in i w k t; do gone "$name"; done
	guest "date -s '$back seconds' >/dev/null"
}

# Time in suspend counts as idle, but not against the warning. w is warned before the suspend, i and k are
# warned after it, and k presses Enter. This case comes last, because an emulated machine can be suspended only
# once.
alone_suspend() {
	logins w:alice i:alice k:alice
	keys w '\n'
	warned w
	keys i '\n'
	keys k '\n'
	guest '(sleep 0.3; echo mem >/sys/power/state) >/dev/null 2>&1 &'
	within "$SOON" machine_is suspended || fail 'does not suspend'
	sleep 18
	machine system_wakeup
	LAST[woken]=$(now)
	warned i k
	keys k '\n'
	ends_between w "$LIMIT" "$SOON"
	ends_between i "$LIMIT" "$SOON"
	[ "$(since woken)" -le $((4 + SLACK)) ] || fail 'time in suspend was not counted'
	whole_warning w
	whole_warning i
	ends_idle k
	for name in w i k; do gone "$name"; done
}
# machine COMMAND: a command of QEMU's protocol. Prints its result.
machine() {
	perl -MIO::Socket::UNIX -e 'my $machine = IO::Socket::UNIX->new(Peer => shift) or die; <$machine>;
		for my $command ("qmp_capabilities", @ARGV) { print $machine "{\"execute\":\"$command\"}\n"; $machine->flush; $result = <$machine> }
		print $result' "$RUN/qmp" "$1"
}
machine_is() { machine query-status | grep -q "\"$1\""; }
# The warning takes 4 s of the guest's clock that stops in suspend. journald gets the first record late, because
# the guest has just woken up.
whole_warning() {
	record "$1" ': ended '
	records "$1" | perl -ne 'push @at, /^\[ *([\d.]+)\].*: (?:warned|ending) /; END { exit !(@at > 1 && $at[-1] - $at[-2] >= 2) }' ||
		fail "$1: the warning was cut short"
}
