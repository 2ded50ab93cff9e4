# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash and detached.bash
# AppArmor enforces the helper's profile (dist/apparmor) during all cases, because tests/vm/install loads it.
# Not on bullseye, which has an older AppArmor.
# Not on bookworm, because the guest has no AppArmor.
# Not on forky, because the guest has no AppArmor.

# The helper is confined, and so is a process that it has to end. AppArmor asks both profiles. All other processes have time
# to exit by themselves, even on a slow machine.
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
	stack 2268 pam_loginuid.so pam_systemd.so "${OURS/grace=2s/grace=20s}"
	login a alice -J backdoor -p 2268
	armed a
	guest "grep -qx 'pam_idle_watchdog_helper (enforce)' /proc/${HELPER[a]}/attr/current" || fail 'the helper is not confined'
	does a "aa-exec -p stubborn -- perl -e '$ignore' confined &"
	attended a runs 'perl -e .* confined'
	attended a guest 'grep -qx "stubborn (enforce)" /proc/$(pgrep -nxf "perl -e .* confined")/attr/current' ||
		fail 'the process is not confined'
	ends_idle a
	record a ': ended .*sigkill=1 survivors=0'
	gone a
	not_runs 'perl -e .* confined'
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

# The profile has denied nothing to the helpers of all cases before this one.
alone_apparmor_allows() {
	! guest "journalctl -k | grep -E 'DENIED.* profile=.pam_idle_watchdog_helper. .*comm=.(pam_idle_watchd|idle_wd_aside).'" ||
		fail 'AppArmor has denied something'
}

# A program whose profile does not let the helper end it survives, and the record says so.
case_apparmor_survivor() {
	afterwards 'pkill -KILL -xf "perl -e .* foreign"; apparmor_parser -R /run/foreign.profile'
	put /run/foreign.profile <<-'END'
		abi <abi/3.0>,
		profile foreign {
		  file,
		  ptrace,
		  signal receive peer=unconfined,
		}
	END
	guest 'apparmor_parser -r /run/foreign.profile'
	login a alice
	armed a
	# The kernel, too, sends SIGHUP when the terminal closes.
	does a "aa-exec -p foreign -- perl -e '\$SIG{HUP} = \"IGNORE\"; sleep 1006' foreign &"
	runs 'perl -e .* foreign'
	ends_idle a
	record a ': ended .*denied=[1-9].* survivors=[1-9][0-9]*'
	runs 'perl -e .* foreign'
}

# Without attach_disconnected the profile does not allow the helper to look at a terminal in another mount namespace, which
# is that of `stack`. A person has attached to a tmux there. The helper does not know whether they type, so it ends nothing
# until it may look. No other case runs at the same time, because the profile is that of all helpers.
alone_apparmor_refuses() {
	local profile=/etc/apparmor.d/pam_idle_watchdog_helper
	afterwards "apparmor_parser -r $profile"
	stack 2297 pam_loginuid.so pam_systemd.so "$OURS $DETACHED"
	stack 2298 pam_loginuid.so pam_systemd.so
	login b alice -J backdoor -p 2298
	login a alice -J backdoor -p 2297
	armed a 'detached=12 '
	does a 'tmux -L e new -d "exec bash"'
	attended a answers b 'tmux -L e attach' 'bash'
	guest "sed 's/ flags=(attach_disconnected)//' $profile >/run/refuses.profile; apparmor_parser -r /run/refuses.profile"
	# tmux reads these keys itself, and no program in it does.
	keys b '\x02['
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	left_by a tmux
	record a ': error .*cannot ask all terminals'
	types b 16 '\x1b[A'
	helper_lives a
	guest "apparmor_parser -r $profile"
	types b 3 '\x1b[A'
	record a ': ended .*by=detached .*survivors=0'
	vanished a
	not_runs 'tmux -L e.*'
}
