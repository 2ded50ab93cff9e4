# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# What a machine's administrator restarts in mid-session. No other case runs beside these.

alone_restarts() {
	login a alice
	login t root
	armed a
	armed t
	does a true
	guest 'systemctl restart ssh systemd-logind systemd-journald; systemctl daemon-reexec; systemctl daemon-reload
		cd /usr/libexec; cp pam_idle_watchdog_helper new; mv new pam_idle_watchdog_helper'
	types_until_ended t a
	types t 2
	ends_idle t
	record a ': ended .*survivors=0'
	record t ': ended .*survivors=0'
	gone a
	gone t
}
