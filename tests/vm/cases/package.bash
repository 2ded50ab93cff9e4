# shellcheck shell=bash disable=SC2016,SC2034,SC2153,SC2154 # expressions for the guest; variables of lib.bash
# The Debian package is installed, enabled, upgraded, disabled, removed, purged and installed again, while somebody logs in
# again and again. What tests/vm/install has put into the guest is set aside. tests/deb/matrix has more ways to remove it.

alone_package() {
	local deb presser
	deb=$(ls "${RUN%/target/vm/*}"/target/deb/bookworm/libpam-idle-watchdog_*.deb) ||
		fail 'there is no package: run make dist and tests/deb/build bookworm'
	afterwards "$PUT_BACK"
	guest "$SET_ASIDE"
	put /run/package.deb <"$deb"
	guest "$ETC >/run/etc.before; $MAKE_HIGHER"
	logging_in
	enable_package
	guest 'journalctl --list-catalog' | grep -q 6ed5fd4e23f743d499360dc61aac94ca || fail 'journald does not have the catalog'

	login a alice
	armed a
	does a true
	ends_idle a
	record a ': warned '
	gone a

	logins b:alice c:alice
	attended c armed b
	attended b armed c
	pressing b c
	presser=$PRESSER
	guest 'systemctl enable -q --now idle-watchdog-adopt.timer; dpkg -i /run/higher.deb
		systemctl is-active idle-watchdog-adopt.timer' || fail 'the upgrade stops the timer'
	kill "$presser"
	login d alice
	helper_lives b
	helper_lives c
	pressing b c d
	presser=$PRESSER
	armed d
	[[ $(helper_file b) == *' (deleted)' ]] || fail 'not upgraded'
	[[ $(helper_file d) != *' (deleted)' ]] || fail 'a new session has the old helper'
	! logged ': error' || fail 'a login was not guarded'
	guest 'pam-auth-update --disable idle-watchdog; ! grep pam_idle_watchdog /etc/pam.d/* && dpkg --remove libpam-idle-watchdog' ||
		fail 'not removed'
	guest '! systemctl is-active idle-watchdog-adopt.timer && ! ls /usr/libexec/pam_idle_watchdog_helper' || fail 'something is left'
	kill "$presser"
	# The sessions are watched until they end, in each way.
	keys b '\n'
	keys d '\n'
	keys c 'exit\n'
	gone c
	ends_idle b d
	record b ': ended .*survivors=0'
	record d ': ended .*survivors=0'
	gone b
	gone d

	guest "dpkg --purge libpam-idle-watchdog; $ETC | diff /run/etc.before -" || fail '/etc is not as before'
	enable_package
	login e alice
	armed e
	attended e guest "dpkg --purge libpam-idle-watchdog && $ETC | diff /run/etc.before -" || fail '/etc is not as before'
	does e true
	ends_idle e
	touch enough
	wait "$LOGINS"
	[ ! -e refused ] || fail "logins failed: $(wc -l <refused)"
	says "$(wc -l <opened) logins meanwhile"
	[ "$(wc -l <opened)" -ge 10 ]
}
enable_package() {
	guest 'dpkg -i /run/package.deb && ! grep pam_idle_watchdog /etc/pam.d/*' || fail 'not installed'
	guest "echo 'alice * * * timeout=12s warn=4s grace=2s' >>/etc/security/idle_watchdog.conf
		pam-auth-update --enable idle-watchdog; idle-watchdog check --user alice; grep pam_idle_watchdog /etc/pam.d/common-session" ||
		fail 'not enabled'
}
helper_file() { guest "readlink /proc/${HELPER[$1]}/exe"; }
# Logs in until the file `enough` is there.
logging_in() {
	while [ ! -e enough ]; do
		if ssh -F "$RUN/ssh_config" -l dave guest true </dev/null; then echo >>opened; else echo >>refused; fi
	done &
	LOGINS=$!
}
# What is in /etc, with type, mode, owner and content.
ETC='{ find /etc -printf "%p %y %m %u %g %l\n"; find /etc -type f -exec sha256sum {} +; } | sort'
MAKE_HIGHER='rm -rf /run/higher; dpkg-deb -R /run/package.deb /run/higher; sed -i "s/^Version: .*/&.1/" /run/higher/DEBIAN/control
	dpkg-deb -b /run/higher /run/higher.deb'
OURS='/usr/lib/x86_64-linux-gnu/security/pam_idle_watchdog.so /usr/libexec/pam_idle_watchdog_helper /usr/sbin/idle-watchdog'
SET_ASIDE="rm -rf /run/aside; mkdir /run/aside; cp -a /etc/pam.d /run/aside; cp -a /var/lib/pam /run/aside/state
	rm /etc/pam.d/idle_watchdog*; sed -i /idle_watchdog/d /etc/pam.d/*; mv $OURS /run/aside"
PUT_BACK="sed -i /idle_watchdog/d /etc/pam.d/*; dpkg --purge libpam-idle-watchdog
	rm -rf /etc/pam.d /var/lib/pam; cp -a /run/aside/pam.d /etc; cp -a /run/aside/state /var/lib/pam
	for file in $OURS; do cp -p /run/aside/\${file##*/} \$file; done; rm -rf /run/aside /run/higher* /run/package.deb"
