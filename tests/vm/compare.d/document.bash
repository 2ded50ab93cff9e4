# shellcheck shell=bash disable=SC2016,SC2153,SC2154 # Markdown; of tests/vm/compare
# Writes docs/comparison.md and the short table of README.md, both from the cells of both releases.

RELEASES='bookworm trixie'
declare -A NAME=([bookworm]='Debian 12' [trixie]='Debian 13')

ORDER='ours logind channel tmout autolog'
systems() { for system in $ORDER; do if turns "$1" | grep -qw "$system"; then echo "$system"; fi; done; }
# of RELEASE SYSTEM ROW: prints the cell.
of() { cat "target/vm/compare/$1/$2/$3" 2>/dev/null || echo '?'; }
# rows COMMAND [ARGUMENT...]: calls the command for each row. ROW SAYS WISH SHORT and README are set.
rows() {
	while IFS='|' read -r ROW SAYS WISH SHORT README; do
		ROW=$(trim "$ROW") SAYS=$(trim "$SAYS") WISH=$(trim "$WISH") SHORT=$(trim "$SHORT") README=$(trim "${README:-}")
		if [ -n "$ROW" ]; then "$@"; fi
	done <<<"$ROWS"
}
trim() { sed -e 's/^ *//' -e 's/ *$//' <<<"$1"; }

# head FIRST TITLE...: prints the head of a table.
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

# Prints a line if another system fulfils a wish and we do not, or if we are much later.
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
# Prints how late, or how late at most.
tenths() { of "$1" "$2" "$ROW" | sed -n -e 's/.*+\([0-9]*\)\.\([0-9]\) s\(, . of 4 ended\)*$/\1\2/p' | grep . || echo 0; }

# quotes RELEASE FILE: prints the texts that were seen.
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
# Ways to end idle ssh sessions, compared

\`sudo make compare\` wrote this file. Every cell of the tables was measured. Nobody wrote a cell by hand.

* pam_idle_watchdog $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
$(for release in $RELEASES; do echo "* $(paste -sd "" "target/vm/compare/$release/about")"; done)
* The machine itself needs some time. If a shell kills itself after a key, the client ends after
  $(for release in $RELEASES; do echo "$(of "$release" ours machine) (${NAME[$release]})"; done | paste -sd, | sed 's/,/, /g'). Nothing was subtracted.
* The heads of the tables show the limits. autolog counts in minutes and adds its warning: one minute and 10 s.

## In short

A cell says "yes" if the system does it on each release on which the system was measured.

$(short document)

$(for release in $RELEASES; do echo "## ${NAME[$release]}"; echo; table "$release"; echo; done)

"+3.1 s" means 3.1 s after the limit. The measured time starts with the last key and ends when the client ends. "Early" means before the
limit. "Not ended" means that the session was still there 24 s after the limit, or 84 s after it where a loop forges time stamps.
autolog got 6 minutes instead of 24 s, because it looks once a minute and ends one user after the other. In the rows about the
clock it got 2 minutes, because only two users are logged in then. Debian 13 has no autolog.

## What the rows mean

* *Idle*: a login, one command, and then nothing. Each row has a session and a user of its own. The sessions run at the same time,
  and their idle times start one after the other.
* *Enter every 2 s* goes on for longer than the limit. The last keys of the four sessions are 2 s apart, because logind and autolog
  read the kernel's time stamps, which have steps of 8 s.
* *With no record in utmp*: sshd cannot write \`/run/utmp\`. On Debian 13 it never writes it.
* *Two terminals on one connection*: a master and a client of that master (\`ControlMaster\`). They are one session to PAM and logind.
* *\`ssh host command\`*: a job without a person at a terminal. If it is left alone, it finishes.
* *Left*: processes of three kinds that did not end with the session. "0 of 3" means that all three ended. pam_idle_watchdog has \`kill=tty\` for people who want to keep
  them.
* *The clock* is set 3 s after the last key.
* *The terminal shows*: any text that ssh did not print itself. The texts are below.
* *The log*: the journal and the log file. A line counts if it mentions the idle time, and if it comes from the session's own
  processes or contains the user's name. The log levels are the usual ones, except that sshd has \`VERBOSE\`.
* *Another limit*: three times the limit of the others (autolog: two minutes more).

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

The tables do not show one advantage of logind, sshd and the shell: they are installed already.

## Not measured

Many guides name sshd's \`ClientAliveCountMax 0\`. It has not ended idle connections since OpenSSH 8.2, so it has no column. Older
versions ended a connection if nothing was sent on it. Output counted like keys.

## How each was set up

Each system has an sshd of its own with these settings and no others. If the settings of a system apply to a whole machine, it was
measured in a run of its own.

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

# The short table, which says yes or no, or where. `short document` has all rows. `short readme` has the rows of
# the README, with short heads.
short() {
	if [ "$1" = readme ]; then
		head_of '' ours logind sshd '`TMOUT`' autolog
	else
		head_of '' "${TITLE[ours]}" "${TITLE[logind]}" "${TITLE[channel]}" "${TITLE[tmout]}" "${TITLE[autolog]} (Debian 12)"
	fi
	rows short_row "$1"
}
short_row() {
	local system
	[ -n "$SHORT" ] || return 0
	[ "$1" = document ] || [ "$README" = "$1" ] || return 0
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
