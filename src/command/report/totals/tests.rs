use std::time::Duration;

use super::super::absences::Trial;
use super::*;
use crate::command::records::ParsedRecord;

/// Adds up lines such as `100 7 ended user=alice`: the time, the writer's PID, the record. A helper writes them, unless
/// the PID has a sign. `(su)` before the record is its service.
fn totals(lines: &[&str]) -> Totals {
    let mut totals = Totals::default();
    for line in lines {
        let (at, rest) = line.split_once(' ').unwrap();
        let (pid, record) = rest.split_once(' ').unwrap();
        let by_helper = !pid.starts_with('-');
        let (service, record) =
            record.strip_prefix("(su) ").map_or(("sshd", record), |record| ("su", record));
        let record =
            ParsedRecord::parse(&format!("pam_idle_watchdog({service}:session): {record}"), by_helper);
        let record = record.unwrap_or_else(|| panic!("{line}"));
        let pid = pid.trim_start_matches('-').parse().ok();
        totals.take(&LogEntry { at: at.parse().unwrap(), pid, by_helper, record }, 9);
    }
    totals.finish();
    totals
}

fn counts(totals: &Totals) -> Vec<u64> {
    Happening::ALL.iter().map(|what| totals.times.of(*what)).collect()
}

#[test]
fn a_session_is_watched_warned_and_ended() {
    let found = totals(&[
        "0 7 armed user=alice session=1 limit=900 warn=120,60 kill=session",
        "780 7 warned user=alice session=1 idle=780 limit=900 rule=/f:1",
        "840 7 warned user=alice session=1 idle=840 limit=900 rule=/f:1",
        "900 7 ending user=alice session=1 idle=900 limit=900 rule=/f:1",
        "901 7 ended user=alice rhost=h session=1 tty=pts/1 idle=900 limit=900 rule=/f:1 survivors=0",
    ]);
    assert_eq!(counts(&found), [1, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(found.by_rule[&Some("/f:1".to_owned())].of(Happening::Ended), 1);
    assert_eq!(found.by_user["alice"], found.times);
    assert_eq!(found.by_hour[&9], found.times);
    assert_eq!((found.absences.len(), found.absences.count(Until::Ended)), (1, 1));
    assert_eq!(found.recorded_from.iter().copied().collect::<Vec<_>>(), [780]);
    let end = found.ends.back().unwrap();
    assert_eq!((end.idle, end.limit.as_deref(), end.survivors.as_deref()), (Some(900), Some("900"), None));
    assert_eq!((end.about.at, end.about.rhost.as_deref()), (901, Some("h")));
}

#[test]
fn a_trial_tells_how_long_people_were_away() {
    let found = totals(&[
        "0 7 armed user=alice ses=1 limit=900 warn=60 kill=none",
        "900 7 would-end user=alice ses=1 idle=900 limit=900",
        "1500 7 resumed user=alice ses=1 idle=1 limit=900 away=1499",
        "2400 7 would-end user=alice ses=1 idle=900 limit=900",
        // Reloaded settings report the same absence again.
        "2500 7 reloaded user=alice ses=1 limit=900 warn=60 kill=none",
        "2500 7 would-end user=alice ses=1 idle=1000 limit=900",
        // Another session, which is still away at the end.
        "0 8 armed user=bob ses=2 limit=900 warn=60 kill=none",
        "900 8 would-end user=bob ses=2 idle=900 limit=900",
    ]);
    assert_eq!(counts(&found), [2, 0, 1, 0, 3, 0, 0, 0]);
    assert_eq!((found.sessions.of(Happening::WouldEnd), found.sessions.of(Happening::Resumed)), (2, 1));
    assert_eq!(
        found.absences.longest().map(|(seconds, about)| (seconds, about.user.as_str())),
        Some((1499, "alice"))
    );
    let trial = found.absences.try_limit(Duration::from_secs(950));
    assert_eq!(trial, Trial { ended: 2, of_people_who_came_back: 1, shorter: 0, unknown: 1 });
    assert_eq!(found.recorded_from.iter().copied().collect::<Vec<_>>(), [900]);
}

#[test]
fn sessions_are_told_apart_after_a_reboot_and_by_the_helper() {
    let found = totals(&[
        "0 7 armed user=alice session=1 limit=900",
        "840 7 warned user=alice session=1 idle=840",
        "5000 7 armed user=bob session=1 limit=900",
        "5000 8 armed user=bob limit=900",
        "5001 9 armed user=bob limit=900",
        // This one was armed before the period.
        "5002 10 warned user=carol session=5 idle=840",
    ]);
    assert_eq!(counts(&found), [5, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!((found.absences.len(), found.absences.count(Until::Unknown)), (2, 2));
}

#[test]
fn what_a_logout_leaves_behind_is_no_other_session() {
    let found = totals(&[
        "0 7 armed user=alice session=1 limit=900",
        "900 7 ended user=alice session=1 idle=900 limit=900 survivors=0",
        "903 7 closed user=alice session=1 left=\"tmux: server\"",
        "904 7 error user=alice session=1 error=\"cannot ask\"",
        "1803 7 ending user=alice session=1 idle=900 limit=900 by=detached",
        "1805 7 ended user=alice session=1 idle=900 limit=900 by=detached survivors=0",
    ]);
    assert_eq!(counts(&found), [1, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!((found.sessions.of(Happening::Watched), found.other_ends), (1, 1));
}

#[test]
fn a_su_inside_a_session_is_a_session_of_its_own() {
    let found = totals(&[
        "0 7 armed user=alice session=1 limit=900",
        "10 8 (su) armed user=bob session=1 limit=300",
        "310 8 (su) ended user=bob session=1 idle=300 limit=300 survivors=0",
        "900 7 ended user=alice session=1 idle=900 limit=900 survivors=0",
    ]);
    assert_eq!(counts(&found), [2, 0, 0, 2, 0, 0, 0, 0]);
    assert_eq!((found.sessions.of(Happening::Watched), found.sessions.of(Happening::Ended)), (2, 2));
}

#[test]
fn an_end_for_another_reason_is_no_idle_end() {
    let found = totals(&[
        "0 7 armed user=alice session=1 limit=900",
        "50 7 orphaned user=alice session=1 idle=50 limit=900 members=2",
        "51 7 ended user=alice session=1 idle=50 limit=900 survivors=12,13",
        "60 8 armed user=bob session=2 limit=900",
        "61 8 ended user=bob session=2 idle=1 limit=900 requester=1000 survivors=0",
    ]);
    assert_eq!((found.other_ends, found.times.of(Happening::Ended), found.absences.len()), (2, 0, 0));
    assert_eq!(found.ends.len(), 0);
    assert_eq!((found.survivor_count, found.survivors[0].survivors.as_deref()), (1, Some("12,13")));
}

#[test]
fn a_refused_login_is_counted_once_and_one_that_goes_on_is_not_refused() {
    let found = totals(&[
        "0 -5 error user=a error=x",
        "0 -5 error user=a error=x",
        // The account line and the session line of one login.
        "1 -6 error user=b error=x",
        "1 -6 unguarded user=b reason=onerr=succeed",
        "2 -6 error user=b error=x",
        "2 -6 unguarded user=b reason=onerr=succeed",
        // Guarded by the line alone, and a helper that had vanished.
        "3 -7 error user=c error=x fallback=\"the PAM line alone\"",
        "4 -8 error user=d error=x helper=9",
        // The PID is used again.
        "9000 -5 error user=a error=x",
        "9000 -9 exempt user=deploy limit=off rule=/f:2",
        "9000 -9 skipped user=x reason=cron",
    ]);
    assert_eq!(counts(&found), [0, 0, 0, 0, 0, 1, 2, 1]);
    assert_eq!(found.by_rule[&Some("/f:2".to_owned())].of(Happening::Exempt), 1);
    assert_eq!(found.by_user["b"].of(Happening::Refused), 0);
}

#[test]
fn only_the_last_ends_are_kept_and_no_session_that_has_ended() {
    let mut totals = Totals::default();
    for n in 0..100_000 {
        for text in ["armed user=a limit=900", "ended user=a idle=900 survivors=0"] {
            let record =
                ParsedRecord::parse(&format!("pam_idle_watchdog(sshd:session): {text}"), true).unwrap();
            totals.take(&LogEntry { at: n, pid: u32::try_from(n).ok(), by_helper: true, record }, 0);
        }
    }
    assert_eq!((totals.open.len(), totals.ends.len()), (0, SHOWN_ENDS));
    assert_eq!(totals.ends.back().map(|end| end.about.at), Some(99_999));
    assert_eq!(totals.times.of(Happening::Ended), 100_000);
}
