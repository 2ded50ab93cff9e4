# shellcheck shell=bash disable=SC2016 # expressions for the guest
# AppArmor enforces the helper's profile (dist/apparmor) during all cases, because tests/vm/install loads it.
# Not on bullseye, which has an older AppArmor.
# Not on bookworm, because the guest has no AppArmor.
# Not on forky, because the guest has no AppArmor.

# The helper is confined, and so is a process that it has to end. AppArmor asks both profiles.
case_apparmor() {
	local ignore='$SIG{$_} = "IGNORE" for qw(HUP TERM INT QUIT); sleep 1005'
	afterwards 'apparmor_parser -R /run/stubborn.profile'
	put /run/stubborn.profile <<-'END'
		abi <abi/3.0>,
		include <tunables/global>
		profile stubborn {
		  include <abstractions/base>
		  file,
		}
	END
	guest 'apparmor_parser -r /run/stubborn.profile'
	login a alice
	armed a
	guest "grep -qx 'pam_idle_watchdog_helper (enforce)' /proc/${HELPER[a]}/attr/current" || fail 'the helper is not confined'
	does a "aa-exec -p stubborn -- perl -e '$ignore' confined &"
	runs 'perl -e .* confined'
	guest 'grep -qx "stubborn (enforce)" /proc/$(pgrep -nxf "perl -e .* confined")/attr/current' || fail 'the process is not confined'
	ends_idle a
	record a ': ended .*sigkill=1 survivors=0'
	gone a
	not_runs 'perl -e .* confined'
	! guest "journalctl -k | grep -E 'DENIED.* pid=${HELPER[a]} '" || fail 'AppArmor has denied something'
}

# A helper never does this.
case_apparmor_denies() {
	local tries='open my $f, "<", "/etc/shadow" or print "read: $!\n"; open my $g, ">", "/etc/motd" or print "write: $!\n";
		exec "/bin/true" or print "exec: $!\n"'
	guest "aa-exec -p pam_idle_watchdog_helper -- perl -e '$tries'" >denied
	cat denied
	diff denied - <<-'END'
		read: Permission denied
		write: Permission denied
		exec: Permission denied
	END
}
