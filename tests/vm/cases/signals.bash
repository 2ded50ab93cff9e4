# shellcheck shell=bash # see the variables of lib.bash
# A user sends other signals than STOP and KILL to all processes of their session through logind. See `signalled` in
# processes.bash.
# Not on bookworm, to save time: the kernel and logind treat these signals as on Debian 13.

case_signal_term() { signalled TERM; }
case_signal_hup() { signalled HUP; }
case_signal_usr1() { signalled USR1; }
case_signal_pipe() { signalled PIPE; }
case_signal_cont() { signalled CONT; }
