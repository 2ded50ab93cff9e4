#!/bin/sh
# Runs one private sshd. tests/support/sshd.rs starts it like this:
#
#     unshare --mount --propagation private sh launch.sh DIR PORT host|own PREFIX
#
# The caller has prepared everything below DIR. Only this process and its descendants see the mounts. The host's
# /etc, /dev, /run and /var/log do not change.
#
# If standard input ends, even because the caller died, every process of the namespace is killed and DIR is
# removed.
set -eu
umask 022
dir=$1
port=$2
terminals=$3
prefix=$4

# This machine may have put us into control groups, for example to limit our memory (version 1). A helper leaves all
# groups. It cannot leave these if their hierarchy is not mounted.
while IFS=: read -r _ controllers path; do
    case $controllers,$path in
    ,* | name=* | *,/) ;;
    *) umount "/sys/fs/cgroup/$controllers" 2>/dev/null || : ;;
    esac
done </proc/self/cgroup

# This changes how the host looks, if a test wants that.
[ ! -f "$dir/host.sh" ] || sh -eu "$dir/host.sh" "$dir"

for file in passwd shadow group pam.d security; do
    mount --bind "$dir/etc/$file" "/etc/$file"
done
[ ! -e "$dir/etc/nsswitch.conf" ] || mount --bind "$dir/etc/nsswitch.conf" /etc/nsswitch.conf

mount -t tmpfs -o mode=755 run /run
mkdir /run/sshd
mount -t tmpfs -o mode=755 log /var/log
touch /var/log/lastlog /var/log/wtmp /run/utmp

# The host may have the product, too. A character device 0/0 in a layer hides what the layers below it have.
hidden=/run/hidden
mkdir -p "$hidden/libexec" "$hidden/security" /usr/libexec
mknod "$hidden/libexec/pam_idle_watchdog_helper" c 0 0
# Our directory is put over the host's /usr/libexec, because sudo has its libraries there. It is read-only,
# because there is no upper layer.
mount -t overlay -o "lowerdir=$dir/libexec:$hidden/libexec:/usr/libexec" libexec /usr/libexec
if [ -d /usr/share/security ]; then
    mknod "$hidden/security/idle_watchdog.conf" c 0 0
    mount -t overlay -o "lowerdir=$hidden/security:/usr/share/security" security /usr/share/security
fi

# The private /dev has its own /dev/log. The terminals are the host's, as sshd's would be, unless a test needs
# to know the next number.
dev=$dir/dev
mount -t tmpfs -o mode=755 dev "$dev"
mkdir "$dev/pts" "$dev/pts2" "$dev/shm"
case $terminals in
host) mount --bind /dev/pts "$dev/pts" ;;
own) mount -t devpts -o newinstance,ptmxmode=666,mode=620 pts "$dev/pts" ;;
esac
mount -t tmpfs -o mode=1777 shm "$dev/shm"
# A container has pts numbers that start again, too.
mount -t devpts -o newinstance,ptmxmode=666,mode=620 pts2 "$dev/pts2"
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'ptmx 5 2' \
    'fuse 10 229'; do
    # shellcheck disable=SC2086 # three words on purpose
    set -- $node
    mknod -m 666 "$dev/$1" c "$2" "$3"
done
ln -s /proc/self/fd "$dev/fd"
ln -s /proc/self/fd/0 "$dev/stdin"
ln -s /proc/self/fd/1 "$dev/stdout"
ln -s /proc/self/fd/2 "$dev/stderr"
# This is a link, because a daemon that restarts makes its socket again.
ln -s "$dir/log" "$dev/log"
mount --move "$dev" /dev

# sshd gets its own session, as a service has. setsid does not fork here, because sh without job control makes
# no process groups.
# shellcheck disable=SC2086 # a prefix of several words, or of none
setsid $prefix /usr/sbin/sshd -D -e -f "$dir/sshd_config" -p "$port" </dev/null &
echo "sshd is $!" >&2
# From here on, the end of standard error means that sshd is gone.
exec 2>/dev/null

# From here on, only standard input matters.
set +e
while read -r _; do :; done

# A test may have hidden /proc.
[ -e /proc/$$ ] || mount -t proc proc /proc

sweep() {
    found=
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        # shellcheck disable=SC3013 # -ef: dash and bash both have it
        if [ "$pid" != $$ ] && [ "$process/ns/mnt" -ef /proc/$$/ns/mnt ]; then
            found=yes
            kill -KILL "$pid" 2>/dev/null
        fi
    done
    [ -n "$found" ]
}
while sweep; do sleep 0.02; done

# These are scopes that a test made. The innermost comes first.
if [ -f "$dir/cgroups" ]; then
    while read -r cgroup; do rmdir "$cgroup" 2>/dev/null; done <"$dir/cgroups"
fi
rm -rf "$dir"
