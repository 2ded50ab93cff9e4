# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# A person who types in tmux types at the terminal of tmux. Its panes do not count.

case_tmux() {
	login a alice
	answers a 'exec tmux -L a' '[$] '
	types a 24
	# This pane is read all the time.
	keys a '\x15while tmux -L a send-keys -t 0:1 x; do sleep 1; done & tmux -L a new-window -d cat; tmux -L a kill-window -t 9\n'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
	not_runs 'tmux -L a'
}

# A tmux server in the user's own scope is not in the session, even if a client is attached. A pane in such a
# scope is ended when its server is. With kill=tty neither is ended.
in_scopes() {
	login a "$1"
	armed a "$3"
	does a "systemd-run -q --user --scope tmux -L s$2 new -d 'exec sleep $2.1'" \
		"systemd-run -q --user --scope tmux -L t$2 new -d 'exec sleep $2.2'" \
		"tmux -L p$2 new -d 'exec systemd-run -q --user --scope sleep $2.3'" \
		"tmux -L q$2 new -d 'trap \"\" HUP; exec systemd-run -q --user --scope sleep $2.4'"
	attended a within "$SOON" guest "pgrep -xf '[a-z/]*sleep $2\.4'" || fail 'no pane'
	keys a "exec tmux -L s$2 attach\n"
	attended a within "$SOON" guest "tmux -S /tmp/tmux-\$(id -u $1)/s$2 list-clients | grep -q ." || fail 'not attached'
	ends_idle a
	runs "sleep $2\.1" "sleep $2\.2" "[a-z/]*sleep $2\.4"
}
case_tmux_in_scopes() {
	in_scopes alice 1030 kill=session
	gone a
	not_runs '[a-z/]*sleep 1030\.3'
	guest "pkill -f 'sleep 1030\.'"
}
case_tmux_in_scopes_tty() {
	in_scopes carol 1031 kill=tty
	runs '[a-z/]*sleep 1031\.3'
	guest "pkill -f 'sleep 1031\.'"
	gone a
}
