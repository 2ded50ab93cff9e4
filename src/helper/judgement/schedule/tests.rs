//! Tests of the schedule.

use super::*;

fn at(seconds: i64) -> Moment {
    Moment { boot: seconds * SECOND, mono: seconds * SECOND, wall: seconds * SECOND }
}

fn shown(last: i64) -> Shown {
    Shown { last: last * SECOND, by: JudgedBy::Terminals, undecided: None }
}

fn warned_at(warn: &[u64]) -> Schedule {
    let warn: Vec<Duration> = warn.iter().copied().map(Duration::from_secs).collect();
    Schedule::new(Some(Duration::from_secs(900)), None, &warn, false)
}

fn schedule() -> Schedule {
    warned_at(&[60])
}

fn warn(left: u64) -> Option<Due> {
    Some(Due::Warn { left: Duration::from_secs(left) })
}

fn resume(away: u64) -> Option<Due> {
    Some(Due::Resume { away: Some(Duration::from_secs(away)) })
}

#[test]
fn one_look_a_deadline() {
    let mut s = schedule();
    assert_eq!(s.next(at(0), shown(0)), (None, 840 * SECOND));
    assert_eq!(s.next(at(840), shown(800)), (None, 1640 * SECOND));
    assert_eq!(s.next(at(1640), shown(800)), (warn(60), 1642 * SECOND));
    assert_eq!(s.next(at(1699), shown(800)), (None, 1700 * SECOND));
    assert_eq!(s.next(at(1700), shown(800)).0, Some(Due::End));
}

#[test]
fn a_key_in_the_window_resumes() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    assert_eq!(s.next(at(842), shown(841)), (resume(841), (841 + 840) * SECOND));
    assert_eq!(s.next(at(1681), shown(841)).0, warn(60));
}

#[test]
fn a_key_before_a_suspend_resumes_and_the_warning_follows() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    let woken = at(4440);
    assert_eq!(s.next(woken, shown(841)), (resume(841), woken.boot));
    assert_eq!(s.next(woken, shown(841)), (warn(60), 4442 * SECOND));
    assert_eq!(s.next(at(4499), shown(841)).0, None);
    assert_eq!(s.next(at(4500), shown(841)).0, Some(Due::End));
}

#[test]
fn a_suspend_does_not_eat_the_window() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    // An hour of suspend during the warning: the boot clock goes on, the monotonic clock does not.
    let woken = Moment { boot: 4440 * SECOND, ..at(841) };
    assert_eq!(s.next(woken, shown(0)), (None, 4442 * SECOND));
    assert_eq!(s.next(Moment { boot: 4499 * SECOND, ..at(900) }, shown(0)).0, Some(Due::End));
}

#[test]
fn a_late_look_still_warns_in_full() {
    let mut s = schedule();
    assert_eq!(s.next(at(5000), shown(0)), (warn(60), 5002 * SECOND));
    assert_eq!(s.next(at(5059), shown(0)).0, None);
    assert_eq!(s.next(at(5060), shown(0)).0, Some(Due::End));
}

#[test]
fn a_session_without_terminals_is_not_judged() {
    let none = Shown { by: JudgedBy::Nothing, ..shown(0) };
    let mut s = schedule();
    assert_eq!(s.next(at(100_000), none), (None, 100_840 * SECOND));
    assert_eq!(s.next(at(100_840), shown(0)).0, warn(60));
    assert_eq!(s.next(at(100_842), none).0, Some(Due::Resume { away: None }));
}

#[test]
fn without_a_warning_the_limit_is_the_end() {
    let mut s = warned_at(&[]);
    assert_eq!(s.next(at(899), shown(0)), (None, 900 * SECOND));
    assert_eq!(s.next(at(900), shown(0)).0, Some(Due::End));
}

#[test]
fn report_only_reports_once_for_each_idle_time() {
    let mut s = Schedule::new(Some(Duration::from_secs(900)), None, &[Duration::from_secs(60)], true);
    assert_eq!(s.next(at(840), shown(0)), (None, 900 * SECOND));
    assert_eq!(s.next(at(900), shown(0)), (Some(Due::Report), 945 * SECOND));
    assert_eq!(s.next(at(1800), shown(0)), (None, 1890 * SECOND));
    assert_eq!(s.next(at(2010), shown(2000)), (resume(2000), 2900 * SECOND));
    assert_eq!(s.next(at(2900), shown(2000)).0, Some(Due::Report));
    // The terminal is gone, but nobody came back.
    let none = Shown { by: JudgedBy::Nothing, ..shown(2000) };
    assert_eq!(s.next(at(2950), none), (None, 3850 * SECOND));
}

#[test]
fn each_warning_comes_once_and_in_its_place() {
    let mut s = warned_at(&[300, 60, 59]);
    assert_eq!(s.next(at(0), shown(0)), (None, 600 * SECOND));
    assert_eq!(s.next(at(600), shown(0)), (warn(300), 602 * SECOND));
    assert_eq!(s.next(at(839), shown(0)), (None, 840 * SECOND));
    assert_eq!(s.next(at(840), shown(0)), (warn(60), 841 * SECOND));
    assert_eq!(s.next(at(841), shown(0)), (warn(59), 843 * SECOND));
    assert_eq!(s.next(at(899), shown(0)), (None, 900 * SECOND));
    assert_eq!(s.next(at(900), shown(0)).0, Some(Due::End));
}

#[test]
fn a_key_after_any_warning_cancels_all() {
    let mut s = warned_at(&[300, 60]);
    assert_eq!(s.next(at(600), shown(0)).0, warn(300));
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    assert_eq!(s.next(at(842), shown(841)), (resume(841), (841 + 600) * SECOND));
    assert_eq!(s.next(at(1441), shown(841)).0, warn(300));
    assert_eq!(s.next(at(1681), shown(841)).0, warn(60));
    assert_eq!(s.next(at(1741), shown(841)).0, Some(Due::End));
}

#[test]
fn after_a_late_look_the_later_warnings_keep_their_places() {
    let mut s = warned_at(&[300, 60]);
    assert_eq!(s.next(at(5000), shown(0)).0, warn(300));
    assert_eq!(s.next(at(5239), shown(0)), (None, 5240 * SECOND));
    assert_eq!(s.next(at(5240), shown(0)).0, warn(60));
    assert_eq!(s.next(at(5300), shown(0)).0, Some(Due::End));
}

#[test]
fn a_starved_machine_warns_once_of_what_is_left() {
    let mut s = warned_at(&[300, 60, 30]);
    assert_eq!(s.next(at(600), shown(0)).0, warn(300));
    assert_eq!(s.next(at(880), shown(0)), (warn(20), 882 * SECOND));
    assert_eq!(s.next(at(882), shown(0)).0, None);
}

#[test]
fn activity_that_comes_to_light_too_late_is_warned_of_in_full() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    assert_eq!(s.next(at(5000), shown(10)), (resume(10), 5000 * SECOND));
    assert_eq!(s.next(at(5000), shown(10)).0, warn(60));
}

#[test]
fn a_connection_has_a_limit_of_its_own_and_no_warning() {
    let seconds = |n| Some(Duration::from_secs(n));
    let by_connection = |last: i64| Shown { by: JudgedBy::Connection, ..shown(last) };
    let mut s = Schedule::new(seconds(900), seconds(2000), &[Duration::from_secs(60)], false);
    // A terminal may appear meanwhile.
    assert_eq!(s.next(at(0), by_connection(0)), (None, 840 * SECOND));
    assert_eq!(s.next(at(1680), by_connection(0)), (None, 2000 * SECOND));
    assert_eq!(s.next(at(2000), by_connection(1990)), (None, 2840 * SECOND));
    assert_eq!(s.next(at(2840), shown(2800)), (None, 3640 * SECOND));
    assert_eq!(s.next(at(3640), shown(2800)).0, warn(60));
    assert_eq!(s.next(at(3650), by_connection(3649)).0, resume(849));
    assert_eq!(s.next(at(5649), by_connection(3649)).0, Some(Due::End));
}

#[test]
fn what_is_left_is_ended_or_reported_without_a_warning() {
    let left = |last: i64| Shown { by: JudgedBy::Detached, ..shown(last) };
    for (report_only, due) in [(false, Due::End), (true, Due::Report)] {
        let mut s = Schedule::new(Some(Duration::from_secs(900)), None, &[], report_only);
        assert_eq!(s.next(at(0), left(0)), (None, 900 * SECOND));
        assert_eq!(s.next(at(900), left(500)), (None, 1400 * SECOND));
        assert_eq!(s.next(at(1400), left(500)).0, Some(due));
    }
}

#[test]
fn the_end_does_not_come_while_it_is_undecided() {
    let undecided = Shown { undecided: Some(930 * SECOND), ..shown(0) };
    let mut s = schedule();
    assert!(!s.is_due(at(839), undecided) && s.is_due(at(840), undecided));
    assert_eq!(s.next(at(840), undecided), (warn(60), 842 * SECOND));
    assert_eq!(s.next(at(900), undecided), (None, 930 * SECOND));
    assert_eq!(s.next(at(930), shown(0)).0, Some(Due::End));
    for report_only in [false, true] {
        let mut s = Schedule::new(Some(Duration::from_secs(900)), None, &[], report_only);
        assert_eq!(s.next(at(912), undecided), (None, 930 * SECOND));
        assert!(s.next(at(930), shown(0)).0.is_some());
    }
}

#[test]
fn an_extended_session_is_warned_in_full_before_the_later_end() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    s.extend(at(850), 2000 * SECOND);
    assert_eq!((s.is_warned(), s.not_before()), (false, Some(2000 * SECOND)));
    assert_eq!(s.next(at(850), shown(0)), (None, 1690 * SECOND));
    assert_eq!(s.ends_in(at(850), shown(0)), Some(1150 * SECOND));
    assert!(!s.is_due(at(1939), shown(0)) && s.is_due(at(1940), shown(0)));
    assert_eq!(s.next(at(1940), shown(0)).0, warn(60));
    assert_eq!(s.next(at(1999), shown(0)).0, None);
    assert_eq!(s.next(at(2000), shown(0)).0, Some(Due::End));
}

#[test]
fn an_extension_never_brings_the_end_forward() {
    let mut s = schedule();
    s.extend(at(0), 500 * SECOND);
    assert_eq!(s.next(at(839), shown(0)), (None, 840 * SECOND));
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    // The end is later than this already, so the warning goes on.
    s.extend(at(860), 890 * SECOND);
    assert!(s.is_warned());
    assert_eq!(s.next(at(900), shown(0)).0, Some(Due::End));
    let mut s = schedule();
    s.extend(at(0), 5000 * SECOND);
    s.extend(at(0), 1000 * SECOND);
    assert_eq!(s.not_before(), Some(5000 * SECOND));
    // A person who is active has their whole limit.
    assert_eq!(s.next(at(4990), shown(4980)), (None, 5820 * SECOND));
}

#[test]
fn an_extension_within_the_warning_starts_the_warning_again() {
    let mut s = schedule();
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    s.extend(at(890), 910 * SECOND);
    assert_eq!(s.next(at(890), shown(0)).0, warn(60));
    assert_eq!(s.next(at(949), shown(0)).0, None);
    assert_eq!(s.next(at(950), shown(0)).0, Some(Due::End));
}

#[test]
fn every_kind_of_end_and_report_waits_for_the_extension() {
    let seconds = |n| Some(Duration::from_secs(n));
    let by_connection = Shown { by: JudgedBy::Connection, ..shown(0) };
    let mut s = Schedule::new(seconds(900), seconds(1000), &[Duration::from_secs(60)], false);
    s.extend(at(0), 3000 * SECOND);
    assert_eq!(s.next(at(2999), by_connection).0, None);
    assert_eq!(s.ends_in(at(2999), by_connection), Some(SECOND));
    assert_eq!(s.next(at(3000), by_connection).0, Some(Due::End));
    for report_only in [false, true] {
        let mut s = Schedule::new(seconds(900), None, &[], report_only);
        s.extend(at(0), 3000 * SECOND);
        assert_eq!(s.next(at(2999), shown(0)).0, None);
        assert!(s.next(at(3000), shown(0)).0.is_some());
    }
}

#[test]
fn the_end_is_foretold() {
    let mut s = schedule();
    let left = |s: &Schedule, now, shown| s.ends_in(at(now), shown).map(|left| left / SECOND);
    assert_eq!(left(&s, 100, shown(40)), Some(840));
    // Nothing has been warned of, so the whole warning comes first.
    assert_eq!(left(&s, 5000, shown(0)), Some(60));
    assert_eq!(s.next(at(840), shown(0)).0, warn(60));
    assert_eq!(left(&s, 850, shown(0)), Some(50));
    let undecided = Shown { undecided: Some(920 * SECOND), ..shown(0) };
    assert_eq!((left(&s, 890, undecided), left(&s, 2000, shown(0))), (Some(30), Some(0)));
    for (limit, report_only, by) in [
        (None, false, JudgedBy::Terminals),
        (None, false, JudgedBy::Connection),
        (Some(900), true, JudgedBy::Terminals),
        (Some(900), false, JudgedBy::Nothing),
        (Some(900), false, JudgedBy::Connection),
    ] {
        let s = Schedule::new(limit.map(Duration::from_secs), None, &[], report_only);
        assert_eq!(left(&s, 100, Shown { by, ..shown(0) }), None, "{limit:?} {by:?}");
    }
}

#[test]
fn without_a_limit_nothing_is_judged() {
    let mut s = Schedule::new(None, Some(Duration::from_secs(10)), &[Duration::from_secs(60)], false);
    for by in [JudgedBy::Terminals, JudgedBy::Connection, JudgedBy::Nothing] {
        assert_eq!(s.next(at(1_000_000), Shown { by, ..shown(0) }), (None, NEVER));
    }
}
