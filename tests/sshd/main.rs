//! Ring 2: a private sshd and real ssh clients on loopback, no systemd. Needs root.
//!
//! | module | content |
//! |---|---|
//! | [`announce`] | what the person is told at login |
//! | [`course`] | the course of an ordinary session: ended, warned, resumed, recorded |
//! | [`adopt`] | sessions that are open and have no helper |
//! | [`chaff`] | clients that hide the timing of keys |
//! | [`confined`] | what the helper may still do |
//! | [`connections`] | connections with several terminals or none, and root's |
//! | [`counted`] | output and processor time as activity |
//! | [`console`] | login(1) on its own terminal |
//! | [`detached`] | what a logout leaves behind |
//! | [`host`] | the basis of the tests themselves |
//! | [`hostile`] | a user who does not want to be ended |
//! | [`kill_modes`] | what `kill=` leaves alive |
//! | [`kept`] | `kill=terminal`: work that goes on beside an idle terminal |
//! | [`leader`] | the leader's end, and a helper that does not start |
//! | [`names`] | name services: directories that are down, large groups, names in any bytes |
//! | [`nested`] | su and sudo inside a session |
//! | [`openers`] | programs that use libpam in other ways than sshd |
//! | [`policy`] | the policy file at a login |
//! | [`preflight`] | the account line |
//! | [`quiet_lines`] | sessions without a terminal, judged by their connection |
//! | [`reload`] | new settings while the session runs |
//! | [`report`] | what the log of a machine adds up to |
//! | [`guest`] | the state of the helper, and of sshd |
//! | [`load`] | fifty sessions at once |
//! | [`status`] | the state of a session, and an administrator who extends or ends it |
//! | [`superserver`] | `sshd -i`, started by another program |
//! | [`version1`] | control groups of version 1 |
//! | [`warnings`] | several warnings, and the administrator's own text |
//! | [`witness`] | the client's connection: which connection it is, and how it is asked |
//!
//! `tests/old-kernel` runs them as on Linux 4.18: it denies the system calls that this kernel lacks. These tests then expect
//! something else. They ask [`support::old_kernel`].
//!
//! | test | what differs, and why |
//! |---|---|
//! | `guest::the_helper_has_nothing_of_the_session_open` | The helper has the leader's `stat` open, because there is no pidfd. |
//! | `hostile::input::a_session_that_outlives_its_connection_gains_nothing` | It ends later. Only the leader's descriptor knows a connection that was reset, and the helper cannot duplicate it. |
//! | `witness::the_leaders_descriptor_is_asked_in_another_network_namespace` | `witness=none`, because the helper cannot duplicate the leader's descriptor. |

// Functions that the tests share are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod announce;
mod chaff;
mod confined;
mod connections;
mod console;
mod counted;
mod course;
mod detached;
mod guest;
mod host;
mod hostile;
mod kept;
mod kill_modes;
mod leader;
mod load;
mod names;
mod nested;
mod openers;
mod policy;
mod preflight;
mod promise;
mod quiet_lines;
mod reload;
mod report;
mod status;
mod superserver;
mod version1;
mod warnings;
mod witness;
