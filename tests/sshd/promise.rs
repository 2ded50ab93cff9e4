//! The promise, and the checks after each end of a session.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Exit, Typist};
use crate::support::log::Line;
use crate::support::process::{self, Process};
use crate::support::sshd::Sshd;
use crate::support::{SOON, secs, until};

/// The options of most tests. They make sessions as short as possible.
pub const OPTIONS: &str = "timeout=10s warn=4s grace=2s debug";
pub const LIMIT: Duration = secs(10);
pub const WARN: Duration = secs(4);
pub const GRACE: Duration = secs(2);

/// limit ≤ true idle time at the end < limit + 1 s, if the client sends only keys. sshd may need 1 s more to
/// close the connection on a busy machine.
pub const LATEST: Duration = secs(10 + 1 + 1);

/// limit ≤ true idle time at the end < limit + 8 s + 1 s, if only stamps show keys.
pub const LATEST_BY_STAMPS: Duration = secs(10 + 8 + 1);

/// In this time any session at which nobody types has ended.
pub const PAST_THE_PROMISE: Duration = secs(10 + 8 + 1 + 3);

/// When the last process of a session must be gone that has been idle since `last_key`.
pub fn gone_by(last_key: Instant) -> Instant {
    last_key + LATEST + GRACE + secs(1)
}

/// The same if only stamps show keys: there is no connection, or the client sends other data.
pub fn gone_by_stamps(last_key: Instant) -> Instant {
    gone_by(last_key) + (LATEST_BY_STAMPS - LATEST)
}

/// Waits for the end of `client`, which must come within the promise. The client sends only keys.
pub fn assert_ended_on_time(sshd: &Sshd, client: &Client) -> Exit {
    assert_ended(sshd, client, LATEST)
}

/// The same if only stamps show keys.
pub fn assert_ended_by_stamps(sshd: &Sshd, client: &Client) -> Exit {
    assert_ended(sshd, client, LATEST_BY_STAMPS)
}

fn assert_ended(sshd: &Sshd, client: &Client, latest: Duration) -> Exit {
    let last_key = client.last_key();
    let patience = until(gone_by_stamps(last_key) + secs(3));
    let Some(exit) = client.exit(patience) else {
        panic!("not ended; the screen:\n{}\nthe log:\n{}", client.screen(), sshd.log);
    };
    let idle = exit.at - last_key;
    assert!(idle >= LIMIT, "ended early, after {idle:?}; the log:\n{}", sshd.log);
    assert!(idle < latest, "ended late, after {idle:?}; the log:\n{}", sshd.log);
    exit
}

/// Waits until `user` has no process left, at most until `deadline`.
pub fn assert_no_process_left(sshd: &Sshd, user: &str, deadline: Instant) {
    if let Err(left) = process::wait_none(|| sshd.processes_of(user), until(deadline)) {
        panic!("left of {user}: {left:#?}\nthe log:\n{}", sshd.log);
    }
}

/// Waits until no helper is left.
pub fn assert_no_helper_left(sshd: &Sshd, timeout: Duration) {
    if let Err(left) = process::wait_none(|| sshd.helpers(), timeout) {
        panic!("helpers left: {left:#?}\nthe log:\n{}", sshd.log);
    }
}

/// Waits until the PAM session of `user` was closed properly.
pub fn assert_pam_closed(sshd: &Sshd, user: &str) -> Line {
    let closed = format!("session closed for user {user}");
    sshd.log.wait_for(&closed, |line| line.text.contains(&closed), SOON)
}

/// sshd has ended in the normal way: it has logged no error.
pub fn assert_no_error(sshd: &Sshd) {
    let errors = sshd.log.all(|line| line.text.starts_with("error: ") || line.text.starts_with("fatal: "));
    assert!(errors.is_empty(), "errors of sshd; the log:\n{}", sshd.log);
}

/// There is no decision about `user`, except those at the start of the session.
pub fn assert_untouched(sshd: &Sshd, user: &str) {
    for event in ["warned", "ending", "ended", "would-end"] {
        let seen = sshd.log.events(event, user);
        assert!(seen.is_empty(), "{event} for {user}; the log:\n{}", sshd.log);
    }
}

/// A hostile alice, an idle bob and a typing carol. Whatever alice does, bob is ended on time and carol is not
/// ended.
pub struct Town {
    pub sshd: Sshd,
    pub alice: Client,
    pub alices_helper: Process,
    pub bob: Client,
    pub carol: Client,
    typist: Typist,
}

impl Town {
    /// All three have logged in.
    pub fn awake() -> Self {
        let sshd = Sshd::with(OPTIONS).start();
        let alice = sshd.login("alice");
        let alices_helper = sshd.helper();
        let carol = sshd.login("carol");
        let typist = carol.keep_typing(secs(2));
        let bob = sshd.login("bob");
        Self { sshd, alice, alices_helper, bob, carol, typist }
    }

    /// Alice is ended as promised. The time starts at her last key.
    pub fn assert_promise(self) {
        let deadline = gone_by(self.alice.last_key());
        self.assert_all_by(deadline);
    }

    /// Alice is ended by `deadline`, bob as promised, and carol is not ended.
    pub fn assert_all_by(self, deadline: Instant) {
        let Self { sshd, bob, carol, typist, .. } = self;
        assert_ended_on_time(&sshd, &bob);
        assert_no_process_left(&sshd, "bob", gone_by(bob.last_key()));
        assert_no_process_left(&sshd, "alice", deadline);
        let ended = sshd.log.wait_for_event("ended", "alice", SOON);
        println!("{}", ended.text);
        assert_eq!(ended.field("survivors"), Some("0"), "{}", ended.text);

        typist.stop();
        carol.wait_for_shell();
        assert_untouched(&sshd, "carol");
        let left = process::wait_none(|| sshd.helpers().into_iter().skip(1).collect(), secs(2));
        assert_eq!(left, Ok(()), "carol's helper alone:\n{}", sshd.log);
    }
}
