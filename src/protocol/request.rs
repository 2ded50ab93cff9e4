//! What the command asks a running helper, and what the helper answers.
//!
//! The command creates a [channel](crate::sys::channel) and writes a request into it. Then it sends the helper
//! [`REQUEST_SIGNAL`](crate::protocol::start::REQUEST_SIGNAL), whose value is the number of a descriptor. By that number
//! the helper takes the other end of the channel. It reads the request there, and answers.
//! [`crate::protocol::ask`] is the side of the command, [`crate::helper::caller`] is the side of the helper.
//!
//! A message is the version of the protocol, a verb and its arguments, separated by NUL.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::policy::Settings;
use crate::protocol::start::{self, PROTOCOL, unsupported};
use crate::protocol::status::Status;
use crate::protocol::words::Words;

/// The longest message, in bytes. It fits into one packet.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// The longest reason that an administrator can give, in characters.
pub const REASON_MAX: usize = 200;

/// What an administrator asks of a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Look anew and tell how the session is.
    Status {
        /// Count the members, too.
        members: bool,
    },
    /// Apply these settings.
    Reload(Box<Settings>),
    /// Do not end the session as idle before this time has passed.
    Extend { time: Duration, reason: Option<Reason> },
    /// End the session now.
    End { reason: Option<Reason> },
}

/// What a helper answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// How the session is now.
    Status(Box<Status>),
    /// The new settings apply. These applied before.
    Reloaded(Box<Settings>),
    /// The end has begun. [`Reply::Ended`] follows.
    Ending {
        /// How many processes are ended.
        members: usize,
        /// How long they may take after SIGTERM.
        grace: Duration,
    },
    /// The end is over. These processes remain.
    Ended { survivors: usize },
    /// Nothing was done, for this reason.
    Refused(String),
}

/// Why an administrator does something to a session: a short text without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// The text is no reason, and this is why.
    pub fn of(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("expected a text".to_owned());
        }
        if text.chars().count() > REASON_MAX {
            return Err(format!("too long, expected at most {REASON_MAX} characters"));
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(format!("control character {} is not allowed", c.escape_unicode()));
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Request {
    /// The request as a message.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Status { members } => message("status", [format!("--members={members}")]),
            Self::Reload(settings) => message("reload", start::settings_args(settings)),
            Self::Extend { time, reason } => message(
                "extend",
                [format!("--seconds={}", time.as_secs())].into_iter().chain(because(reason)),
            ),
            Self::End { reason } => message("end", because(reason)),
        }
    }

    /// Reads what [`Request::message`] wrote.
    ///
    /// # Errors
    ///
    /// The message is malformed. Then no part of it applies.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        let (verb, words) = split(message)?;
        if verb == "reload" {
            return start::settings(words)
                .map(|settings| Self::Reload(Box::new(settings)))
                .map_err(|e| e.to_string());
        }
        let mut words = Words::split(words)?;
        let request = match verb {
            "status" => Self::Status { members: words.value("members")? },
            "extend" => Self::Extend {
                time: Duration::from_secs(words.value("seconds")?),
                reason: reason(&mut words)?,
            },
            "end" => Self::End { reason: reason(&mut words)? },
            other => return Err(format!("{other:?} is no request")),
        };
        words.finish()?;
        Ok(request)
    }
}

impl Reply {
    /// The answer as a message.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Status(status) => message("status", status.to_words()),
            Self::Reloaded(before) => message("reloaded", start::settings_args(before)),
            Self::Ending { members, grace } => {
                message("ending", [format!("--members={members}"), format!("--grace={}", grace.as_secs())])
            }
            Self::Ended { survivors } => message("ended", [format!("--survivors={survivors}")]),
            Self::Refused(why) => message("refused", [why.replace('\0', " ")]),
        }
    }

    /// Reads what [`Reply::message`] wrote.
    ///
    /// # Errors
    ///
    /// The message is malformed.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        let (verb, words) = split(message)?;
        match (verb, &words[..]) {
            ("status", _) => return Status::from_words(&words).map(Box::new).map(Self::Status),
            ("reloaded", _) => {
                return start::settings(words)
                    .map(|settings| Self::Reloaded(Box::new(settings)))
                    .map_err(|e| e.to_string());
            }
            ("refused", [why]) => return Ok(Self::Refused((*why).to_owned())),
            _ => {}
        }
        let mut words = Words::split(words)?;
        let answer = match verb {
            "ending" => Self::Ending {
                members: words.value("members")?,
                grace: Duration::from_secs(words.value("grace")?),
            },
            "ended" => Self::Ended { survivors: words.value("survivors")? },
            other => return Err(format!("{other:?} is no answer")),
        };
        words.finish()?;
        Ok(answer)
    }
}

fn message(verb: &str, words: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut all = vec![format!("--protocol={PROTOCOL}"), verb.to_owned()];
    all.extend(words);
    all.join("\0").into_bytes()
}

/// Splits a message into its verb and the words that follow.
fn split(message: &[u8]) -> Result<(&str, Vec<&str>), String> {
    if message.len() > MESSAGE_MAX {
        return Err(format!("the message has more than {MESSAGE_MAX} bytes"));
    }
    let message = std::str::from_utf8(message).map_err(|_| "the message is no text")?;
    let mut words = message.split('\0');
    let Some(version) = words.next().and_then(|word| word.strip_prefix("--protocol=")) else {
        return Err("--protocol is missing".to_owned());
    };
    if version != PROTOCOL.to_string() {
        return Err(unsupported(version));
    }
    let verb = words.next().ok_or("the verb is missing")?;
    Ok((verb, words.collect()))
}

fn because(reason: &Option<Reason>) -> Option<String> {
    reason.as_ref().map(|reason| format!("--reason={}", reason.text()))
}

fn reason(words: &mut Words) -> Result<Option<Reason>, String> {
    words.maybe("reason").map(|text| Reason::of(&text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::start::tests::all_settings;
    use crate::protocol::status::tests::all_statuses;
    use proptest::option;
    use proptest::prelude::*;

    fn reasons() -> impl Strategy<Value = Option<Reason>> {
        option::of("[^\\pC]{0,20}x".prop_map(|text| Reason::of(&text).unwrap()))
    }

    fn requests() -> impl Strategy<Value = Request> {
        let extend = |(seconds, reason)| Request::Extend { time: Duration::from_secs(seconds), reason };
        prop_oneof![
            any::<bool>().prop_map(|members| Request::Status { members }),
            all_settings().prop_map(|settings| Request::Reload(Box::new(settings))),
            (any::<u64>(), reasons()).prop_map(extend),
            reasons().prop_map(|reason| Request::End { reason }),
        ]
    }

    fn answers() -> impl Strategy<Value = Reply> {
        let ending = |(members, grace)| Reply::Ending { members, grace: Duration::from_secs(grace) };
        prop_oneof![
            all_statuses().prop_map(|status| Reply::Status(Box::new(status))),
            all_settings().prop_map(|settings| Reply::Reloaded(Box::new(settings))),
            any::<(usize, u64)>().prop_map(ending),
            any::<usize>().prop_map(|survivors| Reply::Ended { survivors }),
            "[^\0]*".prop_map(Reply::Refused),
        ]
    }

    proptest! {
        #[test]
        fn what_is_asked_and_answered_is_read(request in requests(), answer in answers()) {
            let (asked, answered) = (request.message(), answer.message());
            prop_assert!(asked.len() <= MESSAGE_MAX && answered.len() <= MESSAGE_MAX);
            prop_assert_eq!(Request::read(&asked), Ok(request));
            prop_assert_eq!(Reply::read(&answered), Ok(answer));
            // Nothing can be both.
            prop_assert!(Request::read(&answered).is_err() || Reply::read(&asked).is_err());
        }

        #[test]
        fn a_request_cut_short_is_refused_or_does_not_do_more(request in requests(), at: prop::sample::Index) {
            let message = request.message();
            let cut = &message[..at.index(message.len())];
            match (Request::read(cut), request) {
                (Err(_), _) | (Ok(Request::End { .. }), Request::End { .. }) => {}
                (Ok(Request::Reload(read)), Request::Reload(given)) => {
                    prop_assert_eq!((read.kill, read.grace), (given.kill, given.grace));
                }
                (Ok(Request::Extend { time: read, .. }), Request::Extend { time, .. }) => prop_assert!(read <= time),
                (read, given) => prop_assert!(false, "{given:?} became {read:?}"),
            }
        }

        #[test]
        fn a_word_too_many_is_refused(request in requests(), word in "[^\0]{0,9}") {
            let message = [&request.message()[..], b"\0", word.as_bytes()].concat();
            if let Ok(read) = Request::read(&message) {
                prop_assert!(matches!(read, Request::Reload(_)), "{read:?} with {word}");
            }
        }

        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>, text in "((--)?[a-z-]{1,12}(=[a-z0-9]*)?\0?){0,6}") {
            for message in [&bytes[..], text.as_bytes()] {
                for verb in ["", "status\0", "reload\0", "extend\0", "end\0", "ended\0"] {
                    let spoken = [format!("--protocol={PROTOCOL}\0{verb}").as_bytes(), message].concat();
                    let _ = (Request::read(&spoken), Reply::read(&spoken));
                }
                let _ = (Request::read(message), Reply::read(message));
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_no_consent() {
        for verb in ["", "T", "reload", "reloaded", "ending", "ended", "status"] {
            let message = message(verb, []);
            assert!(Reply::read(&message).is_err(), "{verb}");
            assert!(Reply::read(verb.as_bytes()).is_err(), "{verb}");
        }
    }

    #[test]
    fn another_protocol_or_too_long_a_message_is_refused() {
        let error = Request::read(b"--protocol=5\0grace=10s").unwrap_err();
        assert!(error.starts_with(&format!("protocol 5, expected {PROTOCOL}: ")), "{error}");
        assert_eq!(Request::read(PROTOCOL.to_string().as_bytes()), Err("--protocol is missing".to_owned()));
        assert!(Request::read(&vec![b'x'; MESSAGE_MAX + 1]).unwrap_err().contains("bytes"));
        assert!(Request::read(b"").is_err());
        assert_eq!(Request::read(&message("kill", [])), Err("\"kill\" is no request".to_owned()));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        for text in ["", "  ", "a\nb", "\u{1b}[2J", "\u{9b}2J", &"x".repeat(REASON_MAX + 1)] {
            assert!(Reason::of(text).is_err(), "{text:?}");
        }
        assert!(Reason::of(&"é".repeat(REASON_MAX)).is_ok());
    }
}
