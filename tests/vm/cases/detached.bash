# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# What a logout leaves behind: mosh, tmux, screen. With `detached=` it is ended when nobody types there any longer.

DETACHED=detached=12s

# left_by NAME TEXT: the session has closed, and the record says what is left. Its watchdog is another process now.
left_by() {
	record "$1" ": closed .*left=.*$2"
	HELPER[$1]=$(records "$1" | sed -n 's/^[^]]*\] [^ ]*\[\([0-9]*\)\]: .*: closed .*/\1/p' | tail -n 1)
}
# forgotten NAME TYPIST: what the session left is ended, LIMIT seconds after the last key of the typist.
forgotten() {
	no_record "$1" ': (ending|ended) .*by=detached'
	LAST[$1]=${LAST[$2]}
	ANSWERED[$1]=${ANSWERED[$2]}
	STEP=$BY_STAMPS decided "$1" ": ending .*limit=$LIMIT by=detached members=[1-9]"
	record "$1" ': ended .*by=detached .*survivors=0'
	gone "$1"
}

# As the script mosh does: mosh-server is started over ssh, and the ssh session ends at once. Erin, who is not watched,
# runs the client in the guest.
case_detached_mosh() {
	# In an emulated guest it takes a while until the client has connected.
	local address LIMIT=20
	stack 2240 pam_loginuid.so pam_systemd.so "$OURS detached=20s"
	login e erin
	does e 'stty rows 24 cols 80'
	next_login
	ssh -F "$RUN/ssh_config" -tt -J backdoor -p 2240 -l alice guest \
		'echo "session=$XDG_SESSION_ID."; exec mosh-server new -i 127.0.0.1 -l LANG=C.UTF-8' </dev/null >server || :
	flock -u 7
	address=$(sed -n 's/.*MOSH CONNECT \([0-9]*\) \([A-Za-z0-9/+]*\).*/\1 \2/p' server)
	[ -n "$address" ] || fail 'no mosh-server'
	ID[m]=$(sed -n 's/.*session=\([a-z0-9]*\)\..*/\1/p' server)
	# The first prompt in mosh.
	answers e "LC_ALL=C.UTF-8 MOSH_KEY=${address#* } mosh-client 127.0.0.1 ${address% *}" 'alice@'
	answers e 'echo in-mo""sh' 'in-mosh'
	left_by m mosh-server
	types e 22
	helper_lives m
	forgotten m e
	not_runs '.*mosh-server new .*'
	alive e
}

# Somebody has attached from another session and only scrolls, so tmux reads the keys, and no program in it does. Their own
# session stays when the tmux is ended.
case_detached_tmux() {
	stack 2241 pam_loginuid.so pam_systemd.so "$OURS $DETACHED"
	stack 2242 pam_loginuid.so pam_systemd.so
	login b alice -J backdoor -p 2242
	login a alice -J backdoor -p 2241
	armed a 'detached=12 '
	does a 'tmux -L d new -d "exec bash"'
	attended a answers b 'tmux -L d attach' 'bash'
	attended a answers b 'seq 300; echo do""ne-1' 'done-1'
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	keys b '\x02['
	left_by a tmux
	types b 26 '\x1b[A'
	helper_lives a
	forgotten a b
	not_runs 'tmux -L d.*'
	answers b 'echo still-he""re' 'still-here'
	[ "$(guest "loginctl show-session -p State --value ${ID[b]}")" = active ] || fail "the other session is gone"
}

# The idle session is ended by us, and kill=tty leaves the screen alone. Later it is ended, too.
case_detached_screen() {
	stack 2243 pam_loginuid.so pam_systemd.so "$OURS $DETACHED kill=tty"
	login a alice -J backdoor -p 2243
	armed a 'detached=12 '
	does a 'screen -dmS d'
	ends_idle a
	left_by a '[sS][cC][rR][eE][eE][nN]'
	within "$SOON" has_record a ': ended .*by=detached .*survivors=0' || fail 'not ended'
	gone a
	not_runs 'SCREEN -dmS d'
}

# Without systemd the audit id shows what is left.
case_detached_by_audit() {
	stack 2244 pam_loginuid.so "$OURS $DETACHED"
	login a alice -J backdoor -p 2244
	by_audit a
	armed a 'members-by=audit'
	does a 'tmux -L u new -d "exec bash"'
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	left_by a tmux
	forgotten a a
	not_runs 'tmux -L u.*'
}

# By default it lives on, and so it does with kill=none. Both are on record.
case_detached_lives() {
	stack 2245 pam_loginuid.so pam_systemd.so "$OURS"
	stack 2246 pam_loginuid.so pam_systemd.so "$OURS $DETACHED kill=none"
	login a alice -J backdoor -p 2245
	does a 'tmux -L i new -d "exec bash"'
	keys a 'exit\n'
	ends_between a 0 "$SOON"
	left_by a tmux
	login b alice -J backdoor -p 2246
	does b 'tmux -L n new -d "exec bash"'
	keys b 'exit\n'
	ends_between b 0 "$SOON"
	left_by b tmux
	STEP=$BY_STAMPS decided b ': would-end .*limit=12 by=detached members=[1-9]'
	helper_lives b
	within "$SOON" guest "! test -d /proc/${HELPER[a]}" || fail 'the helper is still there'
	[ "$(guest "loginctl show-session -p State --value ${ID[a]}")" = closing ] || fail 'logind does not say that it closes'
	no_record a ': (ending|ended|would-end)'
	no_record b ': (ending|ended)'
	runs 'tmux -L i new .*' 'tmux -L n new .*'
	# The watchdog leaves with what is left.
	guest 'tmux -S /tmp/tmux-$(id -u alice)/n kill-server; tmux -S /tmp/tmux-$(id -u alice)/i kill-server'
	gone a
	gone b
}
