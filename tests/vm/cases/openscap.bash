# shellcheck shell=bash disable=SC2016,SC2154 # expressions for the guest; variables of lib.bash
# OpenSCAP's scanner evaluates the content of dist/openscap. A guest without `oscap` fails the case.
# Not on bullseye, because Debian 11 has no OpenSCAP.
# Not on bookworm, to save time: this does not depend on the release.

# On a guarded machine both rules pass. After each of these breaks, the rules that can know it fail. No other case runs at
# the same time, because the line of sshd changes for everybody.
alone_openscap() {
	# The second copy has one line of ours, that of sshd.
	afterwards "$PUT_BACK; cp -a /run/pam.d/. /etc/pam.d; rm -rf $SCAP"
	guest 'rm -rf /run/pam.d /run/scap; cp -a /etc/pam.d /run/pam.d; cp -a /etc/pam.d /run/scap
		sed -i /idle_watchdog/d /run/scap/*
		echo "session required pam_idle_watchdog.so timeout=15m" >>/run/scap/sshd
		cp -a /run/scap/. /etc/pam.d'
	content
	guest "oscap xccdf validate $SCAP/idle_watchdog-xccdf.xml && oscap oval validate --skip-schematron $SCAP/idle_watchdog-oval.xml"

	results 'guarded' pass pass
	results '15 minutes, 10 are allowed' fail fail 10-minutes text-10
	broken '10 minutes, 10 are allowed' 'sed -i s/timeout=15m/timeout=600/ /etc/pam.d/sshd' pass pass 10-minutes text-10
	broken 'without the line' 'sed -i /idle_watchdog/d /etc/pam.d/sshd' fail fail
	broken 'kill=none' 'sed -i "s/timeout=15m/& kill=none/" /etc/pam.d/sshd' fail fail
	broken 'the limit in minutes' 'sed -i s/timeout=15m/timeout=16m/ /etc/pam.d/sshd' fail fail
	broken 'the limit of a rule, in seconds' 'echo "* * * * timeout=901" >/etc/security/idle_watchdog.conf' fail fail
	broken 'no module' 'mv /usr/lib/x86_64-linux-gnu/security/pam_idle_watchdog.so /run/scap.so' fail fail
	broken 'no helper' 'mv /usr/libexec/pam_idle_watchdog_helper /run/scap.helper' fail fail
	broken 'a sufficient line before it' 'sed -i "s/.*idle_watchdog.*/session sufficient pam_permit.so\n&/" /etc/pam.d/sshd' fail fail
	# What text alone does not tell.
	broken 'a jump over it' 'sed -i "s/.*idle_watchdog.*/session [success=1 default=ignore] pam_permit.so\n&/" /etc/pam.d/sshd' fail pass
	broken 'an early end in an included file' 'echo "session sufficient pam_permit.so" >>/etc/pam.d/common-session' fail pass
	broken 'sshd without PAM' 'echo UsePAM no >/etc/ssh/sshd_config.d/scap.conf' fail pass
	# The report says why. The content is valid, and so are the results.
	guest "oscap xccdf eval --results /run/scap.xml $SCAP/idle_watchdog-xccdf.xml && cat /run/scap.xml" >said || fail 'not guarded again'
	grep -F 'sshd: ends after 15m, kill=session, by /etc/pam.d/sshd:' said || fail "no reason: $(cat said)"
	# A result of somebody who cannot read everything would be wrong.
	guest "runuser -u alice -- oscap xccdf eval --skip-validation $SCAP/idle_watchdog-xccdf.xml" >said || :
	grep -E '^Result[[:space:]]+error$' said || fail "alice: $(cat said)"
}

# content: the guest has the files of dist/openscap in their place, as after `make install`.
content() {
	local file
	guest "mkdir -p $SCAP"
	for file in "$TREE"/dist/openscap/*; do
		sed -e 's|@SBINDIR@|/usr/sbin|' -e 's|@PAMDIR@|/usr/lib/x86_64-linux-gnu/security|' \
			-e 's|@HELPER@|/usr/libexec/pam_idle_watchdog_helper|' "$file" | put "$SCAP/${file##*/}"
	done
	guest "chmod 755 $SCAP/idle-sessions-end"
}
SCAP=/usr/share/xml/scap/pam_idle_watchdog
PUT_BACK='cp -a /run/scap/. /etc/pam.d; rm -f /etc/security/idle_watchdog.conf /etc/ssh/sshd_config.d/scap.conf
	if [ -e /run/scap.so ]; then mv /run/scap.so /usr/lib/x86_64-linux-gnu/security/pam_idle_watchdog.so; fi
	if [ -e /run/scap.helper ]; then mv /run/scap.helper /usr/libexec/pam_idle_watchdog_helper; fi'

# results WHAT RESULT RESULT [PROFILE PROFILE]: what the rule that asks the command says, and the rule that reads text.
results() { broken "$1" : "$2" "$3" "${4:-}" "${5:-text}"; }
# broken WHAT COMMAND RESULT RESULT: the same after a command that changes the guest. Then its files are put back. oscap
# exits with 2 if a rule fails. It does not validate the content each time, because that takes longer than the evaluation.
broken() {
	local profile=${5:-} text_profile=${6:-text} got
	got=$(guest "$2
		scap() { oscap xccdf eval --skip-validation \"\$@\" $SCAP/idle_watchdog-xccdf.xml; echo exit=\$?; }
		scap ${profile:+--profile $profile}; scap --profile $text_profile; $PUT_BACK" |
		sed -n -e 's/^Result[[:space:]]*//p' -e 's/^exit=//p' | paste -sd ' ')
	echo "$1: $got"
	[ "$got" = "$3 $(exit_of "$3") $4 $(exit_of "$4")" ] || fail "$1: $got"
}
exit_of() { if [ "$1" = pass ]; then echo 0; else echo 2; fi; }
