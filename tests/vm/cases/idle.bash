# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# Who does nothing is warned and ended; who leaves is left in peace.

case_idle_user() {
	login a alice
	armed a 'terminals=masters members=scope'
	local manager
	manager=$(guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')
	does a 'true'
	ends_idle a
	[ "$(guest 'systemctl show -P MainPID,ActiveState user@$(id -u alice)')" = "$manager" ] || fail 'user@.service was disturbed'
	screen_says a 'press Enter'
	screen_says a 'has been idle for 1[2-9]s .* and has been ended'
	record a ': warned .* tty=pts/[0-9]+ .*left=4'
	record a ': ending .* tty=pts/[0-9]+ .*limit=12 members=[1-9]'
	record a ': ended .* survivors=0'
	no_record a 'could-not|orphaned|tampering'
	gone a
}

case_idle_root() {
	login a root
	armed a 'terminals=masters members=scope'
	does a 'true'
	ends_idle a
	screen_says a 'press Enter'
	record a ': ended .* survivors=0'
	no_record a 'could-not|orphaned|tampering'
	gone a
}

case_typing_user() {
	login a alice
	types a 40
	no_record a ': (ending|tampering)'
	ends_idle a
	gone a
}

# Processes of one session take no longer to go than those of one that is not watched.
case_logout() {
	login a alice
	login e erin
	armed a
	no_record e armed
	local a e
	a=$(leaving a)
	e=$(leaving e)
	echo "watched: $a ms, not watched: $e ms"
	[ "$a" -lt $((e + 2000)) ] || fail "gone after $a ms, $e ms where nobody watches"
	record a ': closed '
	no_record a 'ending|orphaned|could-not'
	gone a
}
leaving() {
	keys "$1" 'exit\n'
	gone "$1" >&2
	echo $((($(now) - LAST[$1]) / 1000))
}

# One connection, two terminals: a key at either keeps both.
case_two_terminals() {
	login a alice -o ControlMaster=yes -o ControlPath="$PWD/master"
	login b alice -o ControlPath="$PWD/master"
	[ "${ID[a]}" = "${ID[b]}" ] || fail 'two sessions'
	types b 30
	alive a
	LAST[a]=${LAST[b]}
	ends_idle a b
	record a ': ended .* tty=pts/[0-9]+,pts/[0-9]+ .*survivors=0'
	gone a
}
