# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the guest's; of lib.bash
# Who types in tmux types at the terminal that tmux runs on. Its panes count for nothing by themselves.

case_tmux() {
	login a alice
	answers a 'exec tmux -L a' '[$] '
	types a 24
	# A pane that is read from all the time.
	keys a '\x15while tmux -L a send-keys -t 0:1 x; do sleep 1; done & tmux -L a new-window -d cat; tmux -L a kill-window -t 9\n'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
	not_runs 'tmux -L a'
}
