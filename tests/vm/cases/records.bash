# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# What the records are for other programs: entries of the journal, lines of rsyslog, events of auditd.

# An entry has the line as its message, and each value in a field. The catalog explains it. The module's entries have the
# same program as those of other modules.
case_journal_entries() {
	local entry line message
	put /usr/lib/systemd/catalog/pam_idle_watchdog.catalog <"${RUN%/target/vm/*}/dist/journal/pam_idle_watchdog.catalog"
	guest journalctl --update-catalog
	login a alice
	armed a
	ends_idle a
	record a ': ended .*survivors=0'
	guest "journalctl -q -o json _UID=0 IDLE_WATCHDOG_EVENT=ended IDLE_WATCHDOG_USER=alice IDLE_WATCHDOG_SESSION=${ID[a]}" >entry
	[ "$(wc -l <entry)" = 1 ] || fail 'not one entry'
	for field in 'IDLE_WATCHDOG_LIMIT":"12"' 'IDLE_WATCHDOG_SURVIVORS":"0"' 'PRIORITY":"5"' 'SYSLOG_FACILITY":"10"' \
		'_TRANSPORT":"journal"' 'SYSLOG_IDENTIFIER":"pam_idle_watchdog_helper"' "MESSAGE_ID\":\"$(message_id ended)\""; do
		grep -qF "\"$field" entry || fail "no $field: $(cat entry)"
	done
	line=$(records a | sed -n 's/^.*\]: \(pam_idle_watchdog.*: ended .*\)/\1/p')
	message=$(guest "journalctl -q -o cat MESSAGE_ID=$(message_id ended) IDLE_WATCHDOG_SESSION=${ID[a]}")
	[ "$line" = "$message" ] || fail "the message differs: $message"
	guest "journalctl -q -x IDLE_WATCHDOG_EVENT=ended IDLE_WATCHDOG_SESSION=${ID[a]}" >explained
	grep -q 'Subject: A session of alice was ended' explained || fail 'not explained'
	grep -q 'and its limit is$' explained || fail 'the text is missing'
	! grep -q '@' explained || fail 'a field of the text is missing'
	gone a
	afterwards 'systemctl stop sshd-2265'
	exempt_entry carol
}
# exempt_entry USER: the record of the module in an sshd whose line exempts everybody.
exempt_entry() {
	local pid ident
	{
		guest 'grep -v idle_watchdog /etc/pam.d/sshd'
		echo 'session required pam_idle_watchdog.so timeout=off'
	} | another_sshd 2265
	ssh -F "$RUN/ssh_config" -J backdoor -p 2265 -l "$1" guest true
	within "$SOON" guest "journalctl -q -o json _UID=0 IDLE_WATCHDOG_EVENT=exempt IDLE_WATCHDOG_USER=$1 | grep -q ."
	guest "journalctl -q -o json _UID=0 IDLE_WATCHDOG_EVENT=exempt IDLE_WATCHDOG_USER=$1" >exempt
	for field in 'IDLE_WATCHDOG_LIMIT":"off"' "MESSAGE\":\"pam_idle_watchdog(sshd:session): exempt user=$1 " \
		'PRIORITY":"6"' 'SYSLOG_FACILITY":"10"' '_TRANSPORT":"journal"' "MESSAGE_ID\":\"$(message_id exempt)\""; do
		grep -qF "\"$field" exempt || fail "no $field: $(cat exempt)"
	done
	pid=$(sed -n 's/.*"_PID":"\([0-9]*\)".*/\1/p' exempt)
	ident=$(guest "journalctl -q -o json _PID=$pid --grep='pam_unix.sshd:session.: session opened'" | sed -n 's/.*\("SYSLOG_IDENTIFIER":"[^"]*"\).*/\1/p')
	[ -n "$ident" ] || fail 'pam_unix wrote nothing'
	grep -qF "$ident" exempt || fail "the program is not $ident: $(cat exempt)"
}
# message_id EVENT: its number, from the catalog.
message_id() {
	sed -n "/^# $1\$/,/^-- /s/^-- //p" "${RUN%/target/vm/*}/dist/journal/pam_idle_watchdog.catalog"
}

# rsyslog runs beside journald, as on most Debian systems. It gets each record once, from the module and from the helper.
alone_rsyslog_beside() {
	afterwards 'systemctl stop sshd-2265 syslog.socket rsyslog
		systemctl -q mask syslog.socket rsyslog; rm -f /var/log/auth.log
		systemctl restart systemd-journald'
	guest 'systemctl -q unmask syslog.socket rsyslog; rm -f /var/log/auth.log; systemctl start syslog.socket rsyslog'
	exempt_entry dave
	login a alice
	armed a
	ends_idle a
	record a ': ended .*survivors=0'
	within "$SOON" in_file ': ended .* session='"${ID[a]} "
	guest 'grep pam_idle_watchdog /var/log/auth.log' >auth.log
	for event in armed warned ending ended; do
		[ "$(grep -c ": $event .* session=${ID[a]} " auth.log)" = 1 ] || fail "not once in the file: $event"
	done
	[ "$(grep -c 'sshd[a-z-]*\[[0-9]*\]: pam_idle_watchdog(sshd:session): exempt user=dave ' auth.log)" = 1 ] ||
		fail "the module's record is not once in the file"
	# The journal has the same lines, once each.
	for event in armed warned ending ended; do
		[ "$(records a | grep -c ": $event ")" = 1 ] || fail "not once in the journal: $event"
	done
	gone a
}

# auditd gets one event for the end of an idle session, and none for an ordinary logout. Its tools find and count it, and
# aulast shows the logins as usual. While auditing is off nothing happens, and nothing is reported.
alone_audit() {
	local ended
	afterwards 'systemctl kill auditd; until ! systemctl -q is-active auditd; do sleep 0.2; done
		auditctl -e 0 >/dev/null; systemctl -q mask auditd; rm -f /var/log/audit/*; systemctl stop sshd-2266'
	guest 'systemctl -q unmask auditd; systemctl start auditd; auditctl -e 1 >/dev/null'
	login b alice
	armed b
	keys b 'exit\n'
	gone b
	unknown_to_the_kernel d
	login a alice
	armed a
	ends_idle a
	gone a
	ends_between d "$LIMIT" "$SOON"
	within "$SOON" guest "ausearch --input-logs -m RESP_TERM_ACCESS -ua alice | grep -q ses=${ID[a]}" || fail 'no event'
	ended=$(guest 'ausearch --input-logs -i -m RESP_TERM_ACCESS -ua alice' | grep '^type=')
	# b has none, and that of d has no id that ausearch knows.
	[ "$(wc -l <<<"$ended")" = 1 ] || fail "not one event: $ended"
	grep -qx "type=RESP_TERM_ACCESS .* uid=root auid=alice ses=${ID[a]} .*msg='op=idle-timeout id=alice acct=alice \
exe=/usr/libexec/pam_idle_watchdog_helper hostname=10.0.2.2 addr=10.0.2.2 terminal=pts/[0-9]* res=success' *" <<<"$ended" ||
		fail "another event: $ended"
	within "$SOON" guest "ausearch --input-logs -i -m RESP_TERM_ACCESS |
		grep -q 'auid=unset ses=unset .*op=idle-timeout sauid=alice ses=${ID[d]} id=alice acct=alice '" || fail 'no event without ids'
	guest 'aureport --input-logs --summary' | grep -qx 'Number of responses to anomaly events: 2' || fail 'not counted'
	guest 'aureport --input-logs -i --event --summary' | grep -qx '2  RESP_TERM_ACCESS' || fail 'not counted by type'
	guest 'aureport --input-logs --response' | grep -q ' RESP_TERM_ACCESS yes ' || fail 'not listed'
	[ "$(guest aulast | grep -c '^alice .* - .*(00:0')" = 3 ] || fail "aulast: $(guest aulast)"
	guest 'auditctl -e 0 >/dev/null'
	login c alice
	armed c
	ends_idle c
	gone c
	[ "$(guest 'ausearch --input-logs -m RESP_TERM_ACCESS' | grep -c '^type=')" = 2 ] || fail 'an event although auditing is off'
}
# unknown_to_the_kernel NAME: a session whose stack has our line before that of pam_loginuid. So the helper has no audit
# id, and the event has the session's.
unknown_to_the_kernel() {
	{
		echo 'session required pam_idle_watchdog.so timeout=12s warn=4s grace=2s'
		guest 'grep -v idle_watchdog /etc/pam.d/sshd'
	} | another_sshd 2266
	login "$1" alice -J backdoor -p 2266
	by_audit "$1"
	keys "$1" '\n'
}
