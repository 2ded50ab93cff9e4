# shellcheck shell=bash # see the variables of lib.bash
# The whole guest runs with the system calls denied that Linux 4.18 lacks. Only the variant `old` has this case.
# Not on bullseye.
# Not on bookworm.
# Not on trixie.
# Not on forky.

# The record says that the kernel is old, and the helper has a file of /proc in place of a pidfd.
case_old_kernel() {
	login a alice
	armed a 'members-by=scope witness=connection kernel=old'
	attended a guest "readlink /proc/${HELPER[a]}/fd/*" >open
	! grep pidfd open || fail 'the helper has a pidfd'
	grep -x '/proc/[0-9]*/stat' open || fail 'the helper does not have the file of the leader'
	does a true
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}
