# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# A session inside a session. `nest` is watched in the stacks of su and sudo. root is not watched there.

# sudo with its own pty reads through /dev/tty. On Linux 6.1 this leaves no trace on the outer terminal.
case_sudo_typing() {
	login a alice
	answers a 'sudo -i' 'root@.*# '
	types a 40
	no_record a ': ending'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# The inner pty's start is not a key, and nobody types there.
case_sudo_idle() {
	login a alice
	answers a 'sudo -i' 'root@.*# '
	does a true
	ends_idle a
	gone a
}

# A user who has left sudo is still watched.
case_sudo_left() {
	login a alice
	answers a 'sudo -i' 'root@.*# '
	types a 16
	answers a '\x15exit' 'alice@.*[$] '
	does a true
	ends_idle a
	gone a
}

# The inner session ends alone. The outer one, whose limit is longer, goes on.
inner_ends() {
	login d dave
	armed d limit=600
	answers d "$1" 'nest@.*[$] '
	record d ': armed user=nest .*members-by=descendants'
	does d true
	sleep $((LIMIT - 1))
	alive d
	local before
	before=$(stat -c %s "${OUT[d]}")
	within "$SOON" shows_since d "$before" 'dave@.*[$] ' || fail "$1 was not ended"
	STEP=$BY_STAMPS decided d ': ending user=nest '
	record d ': ended user=nest .*survivors=0'
	does d true
	no_record d 'ending user=dave'
	keys d 'exit\n'
	ends_between d 0 "$SOON"
	gone d
}
case_su() { inner_ends 'su - nest'; }
case_sudo_user() { inner_ends 'sudo -i -u nest'; }

# Typing in the inner session keeps both.
case_nested_typing() {
	login a alice
	answers a 'su - nest' 'nest@.*[$] '
	types a 30
	no_record a ': ending'
	ends_idle a
	record a ': ended user=alice .*survivors=0'
	gone a
}
case_nested_sudo_typing() {
	login a alice
	answers a 'sudo -i -u nest' 'nest@.*[$] '
	types a 30
	no_record a ': ending'
	ends_idle a
	record a ': ended user=alice .*survivors=0'
	gone a
}

# The outer session ends, and the inner one ends with it, although its own limit is much longer.
outer_ends() {
	login a alice
	armed a
	local outer=${HELPER[a]}
	answers a "$1" 'dave@.*[$] '
	armed a 'limit=600 .*members-by=descendants'
	does a true
	ends_idle a
	record a ': ended user=alice .*survivors=0'
	record a ': (closed|orphaned) user=dave'
	no_record a '(ending|ended) user=dave|error'
	gone a
	! guest test -d "/proc/$outer" || fail 'the helper is still there'
}
case_outer_su() { outer_ends 'sudo su - dave'; }
case_outer_sudo() { outer_ends 'sudo -i -u dave'; }
