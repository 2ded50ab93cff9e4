# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Many sessions at the same time, and the cost of their watchdogs. No other case runs at the same time.
# Not on bookworm, to save time: this does not depend on the release.

alone_load() {
	local many=${VM_SESSIONS:-32} logind n clients=()
	# The limit is so long that no session ends before the last one has got the reload.
	local limit=$((12 + many / 4))
	# At first no session ends, until all have logged in. Then a reload gives all of them the limit.
	echo '* * * * timeout=1h' | put /run/load.conf
	stack 2216 pam_loginuid.so pam_systemd.so 'pam_idle_watchdog.so conf=/run/load.conf'
	logind=$(cost -x systemd-logind)
	mkfifo keys
	exec {keys}<>keys
	for ((n = 0; n < many; n++)); do
		# Two sessions log in at a time. A helper must be ready within two seconds, and an emulated machine needs them
		# for one.
		within "$SOON" are_in $((n - 1)) || fail "no answer before login $n"
		ssh -F "$RUN/ssh_config" -J backdoor -p 2216 -tt -l alice guest 'echo here; exec cat' \
			<&"$keys" >"screen.$n" 2>&1 &
		clients+=($!)
	done
	within "$SOON" are_in "$many" || fail 'not all are in'
	says "$(echo "$(cost -x pam_idle_watchd)" "$(cost -f "'^sshd(-session)?: alice'")" "$logind" "$(cost -x systemd-logind)" |
		awk '{ printf "%d sessions at a time, for each: %.0f KiB and %.0f ms in its helper, %.0f KiB and %.0f ms in sshd, %.0f KiB and %.0f ms in logind",
			$1, $2 / $1, $3 / $1, $5 / $1, $6 / $1, ($11 - $8) / $1, ($12 - $9) / $1 }')"
	# The records reach the host on another path.
	within "$SOON" are_on_record "$many" armed || fail "not all were armed: $(count armed)"
	echo "* * * * timeout=${limit}s warn=4s grace=5s" | put /run/load.conf
	guest idle-watchdog reload | tail -n 1
	for n in "${clients[@]}"; do
		within $((SOON + many)) ended "$n" || fail 'one is left'
	done
	# The record comes after the client's end.
	within "$SOON" are_on_record "$many" "ended .* limit=$limit .*survivors=0" || fail 'not all were ended for being idle'
	[ "$(count error)" = 0 ] || fail 'something went wrong'
	within "$SOON" guest '! pgrep -x pam_idle_watchd && ! loginctl --no-legend list-sessions | grep alice | grep -v manager' || fail 'something is left'
}
# are_in NUMBER: this many sessions have answered.
are_in() { [ "$(cat screen.* 2>/dev/null | grep -ac here)" -ge "$1" ]; }
are_on_record() { [ "$(count "$2")" = "$1" ]; }
ended() { ! kill -0 "$1" 2>/dev/null; }
# cost PGREP'S-OPTIONS: prints the number of processes, their memory in KiB, and their processor time in ms.
cost() {
	guest "cd /proc; awk '/^Pss:/ { kib += \$2 } FILENAME ~ /schedstat/ { ns += \$1 } END { print (ARGC - 1) / 2, kib, ns / 1000000 }' \
		\$(pgrep $* | sed 's,.*,&/smaps_rollup &/schedstat,')"
}
count() {
	logged "pam_idle_watchdog.*: $1" | wc -l
}
