# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# The report about a machine's own journal, and the page for the auditor.
# Not on bookworm, to save time: this does not depend on the release.

# reported USER FILE: the numbers of the report about a user, one `name value` a line.
reported() {
	guest "idle-watchdog report --since 1d --user $1 --json" >"$2.json" || fail "no report about $1"
	python3 -c 'import json, sys
found = json.load(open(sys.argv[1]))
for name, value in found["times"].items(): print(name, value)
print("absences", found["absences"]["count"])
for name in "trusted", "name": print(name, found["log"][name])' "$2.json" >"$2"
}
# grew NAME BY: a number of `after` is so much more than that of `before`.
grew() {
	local before after
	before=$(sed -n "s/^$1 //p" before)
	after=$(sed -n "s/^$1 //p" after)
	[ "$after" = $((before + $2)) ] || fail "$1: $before before, $after after"
}

# What the journal has about real sessions is counted. A line that the user writes is not, even if it looks like ours.
alone_report() {
	reported carol before
	login a carol
	armed a
	for line in 'ended user=carol idle=900 survivors=0' 'would-end user=carol idle=900' 'armed user=carol'; do
		does a "logger -t pam_idle_watchdog_helper -p authpriv.notice 'pam_idle_watchdog(sshd:session): $line'"
	done
	warned a
	keys a '\n'
	record a ': resumed .* away=[0-9]+'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
	caught_up || fail 'the log stands still'
	logged ': would-end user=carol idle=900$' >/dev/null || fail 'the forged line is not in the log'
	reported carol after
	grew watched 1
	grew warned 2
	grew resumed 1
	grew ended 1
	grew would-end 0
	grew absences 2
	grep -qx 'name the journal' after || fail 'this is not the journal'
	grep -qx 'trusted True' after || fail 'the journal is not trusted'
	guest 'idle-watchdog report --since 10m --limit 8s' >text || fail 'no report'
	for line in 'host  *[a-z]' 'OpenSSH  *[0-9]*\.' 'libpam  *0\.' 'kernel  *[0-9]' 'distribution  *Debian GNU/Linux' 'A limit of 8s'; do
		grep -q "^$line" text || fail "the report does not say: $line: $(cat text)"
	done
}

# With kill=none it is on record when they come back, and how long they were away.
case_report_trial() {
	stack 2264 pam_loginuid.so pam_systemd.so "$OURS kill=none"
	login a alice -J backdoor -p 2264
	armed a kill=none
	does a true
	decided a ': would-end '
	keys a '\n'
	record a ': resumed .*limit=12 by=terminal away=1[2-9]'
	no_record a ': (warned|ending|ended) '
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	gone a
}
