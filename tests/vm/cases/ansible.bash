# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# Sessions that Ansible opens. Ansible runs on this machine; see tests/prepare.
# Not on bookworm, to save time: this does not depend on the release.

# with_ansible PROGRAM [ARGUMENT...]: runs a program of Ansible.
with_ansible() {
	local top=${RUN%/target/vm/*} program=$1
	shift
	[ -x "$top/target/ansible/bin/$program" ] || fail 'there is no Ansible: run tests/prepare'
	# An emulated guest may need more time for sudo than the 12 s that Ansible gives it.
	ANSIBLE_TIMEOUT=60 ANSIBLE_HOME=$PWD/ansible ANSIBLE_ROLES_PATH=$top/dist/ansible/roles ANSIBLE_NOCOWS=1 LC_ALL=C.UTF-8 \
		ANSIBLE_SSH_ARGS="-F $RUN/ssh_config" ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 \
		"$top/target/ansible/bin/$program" -i backdoor,guest, "$@" </dev/null
}

# Ansible asks for a terminal, so a silent task is cut off at the limit. Each of these prevents it: no terminal, also with
# sudo; and a rule. This case runs alone. Beside others, the shell of the first task was seen to need more than the limit of
# twelve seconds until it executed the task.
alone_ansible_sessions() {
	afterwards 'rm /usr/local/bin/silent'
	guest 'cp /bin/sleep /usr/local/bin/silent'
	echo 'alice sshd * * timeout=1h' | put /run/automation.conf
	printf '%s\n' 'account required pam_permit.so' 'session required pam_loginuid.so' 'session required pam_systemd.so' \
		'session required pam_idle_watchdog.so timeout=12s conf=/run/automation.conf' | another_sshd 2263
	silent_task default &
	ANSIBLE_SSH_USETTY=false silent_task usetty &
	ANSIBLE_SSH_USETTY=false silent_task usetty-sudo --become &
	ANSIBLE_SSH_EXTRA_ARGS='-J backdoor -p 2263' silent_task rule &
	wait
	grep 'guest | UNREACHABLE!' default || fail 'not cut off'
	within "$SOON" logged ': ended user=alice .*limit=12 .*processes=sshd[^ ]*,silent( |$)' || fail 'no record says why'
	for remedy in usetty usetty-sudo rule; do
		grep 'guest | CHANGED | rc=0' $remedy || fail "does not help: $remedy"
	done
}
# silent_task NAME [ARGUMENT...]: a task that is silent for longer than the limit. What Ansible says is in the file NAME.
silent_task() {
	local name=$1
	shift
	with_ansible ansible guest -u alice -m raw -a "/usr/local/bin/silent $((LIMIT + 8))" "$@" >"$name" 2>&1
}
