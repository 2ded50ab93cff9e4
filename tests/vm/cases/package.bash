# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.bash
# The Debian package is installed, upgraded and removed while sessions are open and people log in, by tests/deb/sessions.
# What tests/vm/install has put into the guest is set aside. tests/deb/matrix has more ways to remove the package.
# Not on bullseye, because the package is built for Debian 12.

alone_package() {
	local deb file
	deb=$(ls "$TREE"/target/deb/bookworm/libpam-idle-watchdog_*.deb) ||
		fail 'there is no package: run make dist and tests/deb/build bookworm'
	afterwards "$WITHOUT_PACKAGE"
	guest "$OUR_STATE >/run/before.state; $SET_ASIDE"
	for file in lib sessions; do put "/run/package/$file" <"$TREE/tests/deb/$file"; done
	put /run/package/package.deb <"$deb"
	guest sh /run/package/sessions /run/package/package.deb
	says "$(tail -n 1 log)"
	guest "$WITHOUT_PACKAGE"
	guest "$OUR_STATE | diff /run/before.state -" || fail 'the guest is not as before'
}
# The files of the guest that other cases need, and that the package or this case changes.
OUR_STATE='{ find /etc /var/lib/pam -printf "%p %y %m %u %g %l\n"
	find /etc /var/lib/pam /usr/lib/x86_64-linux-gnu/security /usr/libexec/pam_* /usr/sbin/idle-watchdog -type f -exec sha256sum {} +; } |
	grep -v "/etc/[a-z]*-\( \|$\)" | sort'
PROGRAMS='/usr/lib/x86_64-linux-gnu/security/pam_idle_watchdog.so /usr/libexec/pam_idle_watchdog_helper /usr/sbin/idle-watchdog'
SET_ASIDE="rm -rf /run/package; mkdir /run/package; cp -a /etc/pam.d /var/lib/pam $PROGRAMS /run/package
	rm /etc/pam.d/idle_watchdog*; sed -i /idle_watchdog/d /etc/pam.d/*; rm $PROGRAMS"
# A line without its module would fail a login.
WITHOUT_PACKAGE="[ -e /run/package ] || exit 0
	{ sed -i /idle_watchdog/d /etc/pam.d/*; dpkg --purge libpam-idle-watchdog
	for file in $PROGRAMS; do cp -p /run/package/\${file##*/} \$file; done
	cp -a /run/package/pam/. /var/lib/pam; cp -a /run/package/pam.d/. /etc/pam.d; rm -rf /run/package; } >/dev/null 2>&1"
