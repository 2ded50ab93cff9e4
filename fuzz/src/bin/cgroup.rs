//! `/proc/PID/cgroup`. Users may choose the paths below their own service manager.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pam_idle_watchdog::sys::cgroup::Cgroups;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let places = Cgroups::parse(&text);
    let scope = places.scope();
    assert_eq!(places.session().is_some(), scope.is_some());
    if let Some(scope) = scope {
        assert!(places.in_scope() && scope.holds(&places));
        // A process below the scope is in it. A process in a neighbour of the scope is not.
        let with = |end: &str| text.lines().map(|line| format!("{line}{end}\n")).collect::<String>();
        assert!(scope.holds(&Cgroups::parse(&with("/below"))));
        assert!(!scope.holds(&Cgroups::parse(&with("x"))) || text.lines().count() > 1);
    }
    // Any text can be a path, and it remains a path.
    let path = text.replace('\n', "");
    let places = Cgroups::parse(&format!("3:cpu:/session-1.scope\n0::/a/{path}/b\n"));
    assert_eq!(places.session(), None);
});
