# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # expressions for the guest; variables of lib.bash
# What a user may tell logind about their session.

# The user tells logind everything that it accepts.
case_told_logind() {
	login a alice
	armed a
	does a 'self="org.freedesktop.login1 /org/freedesktop/login1/session/self org.freedesktop.login1.Session"' \
		'loginctl lock-session' 'loginctl activate' \
		'for told in "SetIdleHint b true" "SetLockedHint b true" "SetClass s greeter" "SetDisplay s :0"; do busctl call $self $told; done'
	ends_idle a
	record a ': ended .*survivors=0'
	gone a
}

# Installs a program that takes control of a session, as a compositor does, and gives it the type x11. The type
# applies while the program runs.
put_desktop() {
	put /run/desktop.pl <<'END_OF_PERL'
use IO::Socket::UNIX;
my $session = sprintf "/org/freedesktop/login1/session/_%02x%s", ord $ARGV[0], substr $ARGV[0], 1;
my $bus = IO::Socket::UNIX->new(Peer => "/run/dbus/system_bus_socket") or die $!;
my $serial = 0;
sub padded { $_[0] . "\0" x (-length($_[0]) % 8) }
sub text { pack "V/a* x", $_[0] }
# Calls a method, and returns when it has been answered.
sub call {
	my ($service, $path, $interface, $method, $kind, $body) = @_;
	my $fields = "";
	$fields = padded($fields) . pack("CCax", $_->[0], 1, $_->[1]) . $_->[2]
		for [1, "o", text($path)], [2, "s", text($interface)], [3, "s", text($method)], [6, "s", text($service)],
			[8, "g", pack "C/a* x", $kind];
	$bus->printflush(padded(pack "aCCCVVV/a*", "l", 1, 0, 1, length $body, ++$serial, $fields) . $body);
	for (my $type = 0; $type != 2;) {
		read $bus, my $head, 16 or die;
		(undef, $type, my $length, undef, my $more) = unpack "CC xx VVV", $head;
		read $bus, my $answer, length(padded("x" x $more)) + $length;
		die "$method: $answer" if $type == 3;
	}
}
$bus->printflush("\0AUTH EXTERNAL " . unpack("H*", $<) . "\r\n");
<$bus>;
$bus->printflush("BEGIN\r\n");
call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "Hello", "", "");
my @session = ("org.freedesktop.login1", $session, "org.freedesktop.login1.Session");
call(@session, "TakeControl", "b", pack "V", 0);
call(@session, "SetType", "s", text("x11"));
open my $told, ">", $ARGV[1] or die;
sleep;
END_OF_PERL
}

# The user does this while the rest of the login's PAM stack still runs.
case_desktop_claimed() {
	put_desktop
	put /run/claim <<-'END_OF_SH'
		setpriv --reuid=alice --clear-groups perl /run/desktop.pl "$XDG_SESSION_ID" /tmp/claimed.$$ &
		until [ -e /tmp/claimed.$$ ]; do sleep 0.1; done
	END_OF_SH
	stack 2214 pam_loginuid.so pam_systemd.so 'pam_exec.so /bin/sh /run/claim' "$OURS"
	login a alice -J backdoor -p 2214
	attended a guest grep -qx TYPE=x11 "/run/systemd/sessions/${ID[a]}" || fail 'logind was not told'
	armed a
	ends_idle a
	gone a
}

# The user does this before a session inside the session begins.
case_desktop_claimed_nested() {
	put_desktop
	login d dave
	does d 'perl /run/desktop.pl $XDG_SESSION_ID /tmp/claimed.$$ & until [ -e /tmp/claimed.$$ ]; do sleep 0.1; done'
	attended d guest grep -qx TYPE=x11 "/run/systemd/sessions/${ID[d]}" || fail 'logind was not told'
	answers d 'su - nest' 'nest@.*[$] '
	record d ': armed user=nest .*members-by=descendants'
	keys d 'exit\nkill %1; exit\n'
	ends_between d 0 "$SOON"
	gone d
}
