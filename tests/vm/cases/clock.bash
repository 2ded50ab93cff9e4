# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# The guest's clock is set. No other case runs beside these.

# Somebody idle, somebody typing, and the clock set by so much after 4 seconds.
stepped() {
	login i alice
	login t alice
	does i true
	types t 4
	guest "date -s '$1' >/dev/null"
	# The idle one's time runs meanwhile.
	types t 6
	types_until_ended t i
	types t 30
	no_record t ': ending'
	guest "date -s '$2' >/dev/null"
	types t 14
	ends_idle t
	gone i
	gone t
}
# types_until_ended TYPING IDLE
types_until_ended() {
	local took
	while kill -0 "${PID[$2]}" 2>/dev/null; do
		alive "$1"
		keys "$1" x
		for _ in 1 2 3 4; do
			if kill -0 "${PID[$2]}" 2>/dev/null; then sleep 0.5; fi
		done
		if [ "$(since "$2")" -gt $((LIMIT + STEP + SLACK)) ]; then fail "$2: not ended"; fi
	done
	took=$(($(now) - LAST[$2]))
	[ "$took" -ge $((LIMIT * 1000000)) ] || fail "$2: ended after only $((took / 1000)) ms"
	echo "$2: ended $((took / 1000)) ms after the last key"
}

alone_clock_forward() { stepped '2 hours' '2 hours ago'; }
alone_clock_back() { stepped '2 hours ago' '2 hours'; }

# Set back into the eight seconds of the last key, where a further key leaves no trace: as many may be added.
alone_clock_bucket() {
	login i alice
	login t alice
	does i true
	types t 4
	guest 'date -s "5 seconds ago" >/dev/null'
	types t 3
	keys t x
	sleep 12
	alive t
	guest 'date -s "5 seconds" >/dev/null'
	ends_between i "$LIMIT" $((LIMIT + STEP + 8 + SLACK))
	ends_between t "$LIMIT" $((LIMIT + STEP + 8 + SLACK))
	gone i
	gone t
}

# Set in the warning window: the whole warning is given, and a key cancels it.
warned_and_stepped() {
	login i alice
	login t alice
	does i true
	does t true
	within $((LIMIT + STEP + SLACK)) grep -aq 'press Enter' t.screen i.screen || fail 'not warned'
	guest "date -s '$1' >/dev/null"
	keys t '\n'
	ends_idle i
	screen_says i 'press Enter'
	types t 16
	guest "date -s '$2' >/dev/null"
	ends_idle t
	gone i
	gone t
}
alone_clock_warned_forward() { warned_and_stepped '2 hours' '2 hours ago'; }
alone_clock_warned_back() { warned_and_stepped '2 hours ago' '2 hours'; }
