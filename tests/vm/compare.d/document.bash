# shellcheck shell=bash disable=SC2016,SC2153,SC2154 # Markdown; of tests/vm/compare
# What docs/comparison.md says, and the short table of README.md: all of it from the cells of both releases.

RELEASES='bookworm trixie'
declare -A NAME=([bookworm]='Debian 12' [trixie]='Debian 13')

ORDER='ours logind channel tmout autolog'
systems() { for system in $ORDER; do if turns "$1" | grep -qw "$system"; then echo "$system"; fi; done; }
# of RELEASE SYSTEM ROW: the cell.
of() { cat "target/vm/compare/$1/$2/$3" 2>/dev/null || echo '?'; }
# rows COMMAND: calls it for each row, with ROW SAYS WISH and SHORT set.
rows() {
	while IFS='|' read -r ROW SAYS WISH SHORT; do
		ROW=$(trim "$ROW") SAYS=$(trim "$SAYS") WISH=$(trim "$WISH") SHORT=$(trim "$SHORT")
		if [ -n "$ROW" ]; then "$@"; fi
	done <<<"$ROWS"
}
trim() { sed -e 's/^ *//' -e 's/ *$//' <<<"$1"; }

# A table's head: head FIRST TITLE...
head_of() {
	printf '| %s |' "$1"
	shift
	printf ' %s |' "$@"
	printf '\n|---|'
	printf '%0.s---|' "$@"
	printf '\n'
}
table() {
	local system titles=()
	for system in $(systems "$1"); do
		limits "$system"
		titles+=("${TITLE[$system]}, $LIMIT s")
	done
	head_of '' "${titles[@]}"
	rows row "$1"
}
row() {
	local system
	[ -n "$WISH" ] || return 0
	printf '| %s |' "$SAYS"
	for system in $(systems "$1"); do printf ' %s |' "$(of "$1" "$system" "$ROW")"; done
	printf '\n'
}

# Where another's cell is as one would wish, and ours is not, or is far later.
better() {
	local release=$1 system
	[ -n "$WISH" ] || return 0
	for system in $(systems "$release"); do
		if wished "$release" "$system" && { ! wished "$release" ours || exacter "$release" "$system"; }; then
			echo "* ${NAME[$release]}, *$SAYS*: ${TITLE[$system]} has *$(of "$release" "$system" "$ROW")*, we have *$(of "$release" ours "$ROW")*."
		fi
	done
}
wished() { of "$1" "$2" "$ROW" | grep -Eq "$WISH"; }
exacter() { [ "$(tenths "$1" "$2")" -lt "$(tenths "$1" ours)" ] && { [ "$ROW" = typing_end ] || [ "$(tenths "$1" ours)" -gt 90 ]; }; }
# How late, or how late at most.
tenths() { of "$1" "$2" "$ROW" | sed -n -e 's/.*+\([0-9]*\)\.\([0-9]\) s\(, . of 4 ended\)*$/\1\2/p' | grep . || echo 0; }

# What was said: quotes RELEASE FILE
quotes() {
	local system
	for system in $(systems "$1"); do
		[ -s "target/vm/compare/$1/$system/$2" ] || continue
		echo "${TITLE[$system]}, ${NAME[$1]}:"
		echo
		sed 's/^/    /' "target/vm/compare/$1/$system/$2"
		echo
	done
}

document() {
	local release system
	cat <<END
# What there is to end idle ssh sessions, compared

Made by \`sudo make compare\`, or turn by turn by \`tests/vm/compare\`: every cell of the tables was measured, none was typed in.

* pam_idle_watchdog $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
$(for release in $RELEASES; do echo "* $(paste -sd "" "target/vm/compare/$release/about")"; done)
* The machine itself takes its time: from the key to the client's end $(for release in $RELEASES; do echo "$(of "$release" ours machine) (${NAME[$release]})"; done | paste -sd, | sed 's/,/, /g')
  where a shell kills itself. Nothing was subtracted.
* Limits: in the heads of the tables. autolog counts in minutes, and its warning comes on top: one minute and 10 s.

$(for release in $RELEASES; do echo "## ${NAME[$release]}"; echo; table "$release"; echo; done)

"+3.1 s": so long after the limit, counted from the last key, on the client's side. "Early": before it. "Not ended": still
there 24 s after the limit, and 60 s more where a loop forges stamps; autolog's 6 min after it, for it looks once a minute and sees off one user after the other (2 min where the clock is set, for there they are but two). Debian 13 has no autolog.

## What the rows mean

* *Idle*: a login, one command, and then nothing. Each row has a session and a user of its own; they run beside one another, and begin one after the other.
* *Enter every 2 s* goes on for longer than the limit. The four sessions' last keys are 2 s apart, because logind and autolog go by the kernel's time stamps, which have steps of 8 s.
* *No record in utmp*: sshd cannot write \`/run/utmp\`. On Debian 13 it never does.
* *Two terminals on one connection*: a master and a client of it (\`ControlMaster\`). They are one session to PAM and logind.
* *\`ssh host command\`*: a job that nobody sits at. Left alone, it finishes.
* *Left*: processes of three kinds that did not end with the session. pam_idle_watchdog has \`kill=tty\` for who wants to keep them.
* *The clock* is set 3 s after the last key.
* *The terminal shows*: any text that ssh did not print itself. What it was is below.
* *The log*: journal and log file, all lines of the session's own processes and all with the user's name, that speak of being idle; at the levels that are usual, but sshd's \`VERBOSE\`.
* *Another limit*: three times that of the others (autolog: two minutes more).

## What was read on the terminals

Before the end:

$(for release in $RELEASES; do quotes "$release" text.warned; done)

At the end:

$(for release in $RELEASES; do quotes "$release" text.reason; done)

## What was found in the log

$(for release in $RELEASES; do quotes "$release" text.record; done)

## Where another is better

By these measurements:

$(for release in $RELEASES; do rows better "$release"; done)

What no table shows: logind, sshd and the shell are there already.

## How each was set up

Each has an sshd of its own, with this and nothing else. Those whose settings are a whole machine's have a turn of their own.

$(for system in $ORDER; do
		limits "$system"
		echo "${TITLE[$system]}:"
		echo
		"config_$system" | sed 's/^/    /'
		echo
	done)

The rows are in \`tests/vm/compare.d/rows.bash\`, the systems in \`tests/vm/compare.d/systems.bash\`.
END
}

# The short table: yes, no, or where.
short() {
	head_of '' "${TITLE[ours]}" "${TITLE[logind]}" "${TITLE[channel]}" "${TITLE[tmout]}" "${TITLE[autolog]} (Debian 12)"
	rows short_row
}
short_row() {
	local system
	[ -n "$SHORT" ] || return 0
	printf '| %s |' "$SHORT"
	for system in $ORDER; do printf ' %s |' "$(in_short "$system")"; done
	printf '\n'
}
in_short() {
	local release yes=() no=()
	for release in $RELEASES; do
		if ! systems "$release" | grep -qx "$1"; then continue; fi
		if wished "$release" "$1"; then yes+=("${NAME[$release]}"); else no+=("${NAME[$release]}"); fi
	done
	if [ ${#no[@]} = 0 ]; then
		echo yes
	elif [ ${#yes[@]} = 0 ]; then
		echo no
	else
		echo "${yes[*]} only"
	fi
}
