//! The basis of the tests: they do not see the host's own product, and tell at once why there is no sshd.

use std::panic::catch_unwind;

use crate::policy::{error, log_out, refused};
use crate::support::sshd::{Helper, Sshd};
use crate::support::{SOON, now};

/// The product is installed, and its policies are broken.
const INSTALLED: &str = r#"
mount -t tmpfs -o mode=755 libexec /usr/libexec
printf '#!/bin/sh\nexec sleep 1000\n' >/usr/libexec/pam_idle_watchdog_helper
chmod 755 /usr/libexec/pam_idle_watchdog_helper
mount -t tmpfs -o mode=755 share /usr/share
mkdir /usr/share/security
echo 'broken by the vendor' >/usr/share/security/idle_watchdog.conf
mount -t tmpfs -o mode=755 security /etc/security
echo 'broken by the administrator' >/etc/security/idle_watchdog.conf
"#;

#[test]
fn the_hosts_own_product_is_not_seen() {
    let sshd = Sshd::with("timeout=20m").on_a_host(INSTALLED).start();
    let alice = sshd.login("alice");
    sshd.log.wait_for_event("armed", "alice", SOON);
    log_out(&alice);

    let sshd = Sshd::with("timeout=20m").on_a_host(INSTALLED).helper(Helper::Missing).start();
    refused(&sshd, "alice");
    let error = error(&sshd, "session", "alice");
    assert!(
        error.text.contains("pam_idle_watchdog_helper cannot be started: execve: No such file"),
        "{}",
        error.text
    );
}

#[test]
fn a_failed_start_of_sshd_is_reported_at_once() {
    for (host, why) in [
        // unshare(1) says this in a chroot whose root is not a mount point.
        ("echo 'unshare: cannot change root' >&2; exit 1", "unshare: cannot change root"),
        // This is a message of sshd itself.
        ("echo 'NoSuchWord yes' >>\"$1/sshd_config\"", "Bad configuration option: NoSuchWord"),
    ] {
        let begun = now();
        let failed = catch_unwind(|| Sshd::with("timeout=20m").on_a_host(host).start());
        let panic = failed.map(drop).expect_err("no sshd");
        let said = panic.downcast_ref::<String>().expect("words");
        assert!(said.contains("did not come up") && said.contains(why), "{said}");
        assert!(now() - begun < SOON, "{said}");
    }
}
