//! A model of the kernel's terminal, its wall clock and its owner. It plays events on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pam_idle_watchdog::helper::judgement::activity::{Activity, Sample};
use pam_idle_watchdog::helper::judgement::credits::Doubt;
use pam_idle_watchdog::helper::judgement::schedule::{Due, JudgedBy, Schedule, Shown};
use pam_idle_watchdog::helper::judgement::witness::Witness;
use pam_idle_watchdog::sys::clock::{Moment, Nanos, SECOND};
use pam_idle_watchdog::sys::devnode::{DeviceId, Stamps};
use pam_idle_watchdog::sys::tty::Unread;
use proptest::prelude::*;

pub const MS: Nanos = SECOND / 1000;
pub const TTY: DeviceId = DeviceId { filesystem: 25, device: 34816 };
/// The kernel's tick. The kernel counts a connection's silence in it.
pub const TICK: Nanos = 10 * MS;
/// The wall clock at boot. It is not at the start of a bucket.
pub const EPOCH: Nanos = 1_700_000_003 * SECOND;

#[derive(Clone, Debug)]
pub enum Event {
    /// A key that a program reads at once.
    Key,
    /// A program writes.
    Print,
    /// Enter, while no program reads.
    Unread,
    /// `mesg n`, or stty, which moves the change time, too.
    Chmod,
    /// utimensat(2) sets the read time to this many ns from the wall clock.
    Touch(Nanos),
    /// Somebody sets the wall clock by this many ns.
    Step(Nanos),
    /// The client sends data that is not a key.
    Keepalive,
    /// From now on the connection can be asked, or cannot.
    Ask(bool),
    /// The machine is suspended for this many ns.
    Suspend(Nanos),
    /// The client opens another terminal.
    Open(u64),
    /// A key on such a terminal. A program reads it at once.
    PaneKey(u64),
    /// Such a terminal closes. The client sends a message about this.
    Close(u64),
    /// A program reads keys while the client is silent. They were typed ahead, or the program put them into the
    /// terminal (TIOCSTI).
    Read,
}

/// Another terminal of the session.
#[derive(Clone, Copy, Debug)]
pub struct Pane {
    pub stamps: Stamps,
    /// It has the number of a terminal that the last look showed and that is gone.
    anew: bool,
}

impl Event {
    /// Whether the person has pressed a key.
    pub fn is_typed(&self) -> bool {
        matches!(self, Self::Key | Self::Unread | Self::PaneKey(_))
    }
}

/// One terminal, its kernel and its wall clock.
pub struct Model {
    pub boot: Nanos,
    pub offset: Nanos,
    pub stamps: Stamps,
    pub unread: u32,
    /// We wrote to the terminal ourselves, and this was the last write.
    pub disowned: bool,
    /// How far the kernel's stamping clock is behind.
    pub lag: Nanos,
    /// When the client last sent data.
    pub heard: Nanos,
    /// The connection can be asked.
    pub asked: bool,
    /// How long the machine was suspended.
    pub slept: Nanos,
    pub panes: BTreeMap<u64, Pane>,
    /// The panes are found by their masters.
    pub masters: bool,
    /// The panes at the last look.
    seen: BTreeSet<u64>,
}

impl Model {
    pub fn new(lag: Nanos) -> Self {
        let mut model = Self {
            boot: 0,
            offset: EPOCH,
            stamps: Stamps { atime: 0, mtime: 0, ctime: 0, owner: 0 },
            unread: 0,
            disowned: false,
            lag,
            heard: 0,
            asked: true,
            slept: 0,
            panes: BTreeMap::new(),
            masters: true,
            seen: BTreeSet::new(),
        };
        let now = model.coarse();
        model.stamps = Stamps { atime: now / SECOND * SECOND, mtime: now, ctime: now, owner: 0 };
        model
    }

    pub fn coarse(&self) -> Nanos {
        self.boot + self.offset - self.lag
    }

    pub fn queue(&self) -> Unread {
        Unread { count: self.unread, mode: 2 }
    }

    pub fn now(&self) -> Moment {
        Moment { boot: self.boot, mono: self.boot - self.slept, wall: self.boot + self.offset }
    }

    /// The kernel counts ticks, which stop during a suspend. `heard` is on that clock.
    pub fn witness(&self) -> Option<Witness> {
        let ticks = |time: Nanos| time / TICK;
        let silence = ticks(self.boot - self.slept) - ticks(self.heard);
        let heard = self.boot - silence * TICK;
        self.asked.then_some(Witness { heard, awake: heard - self.slept })
    }

    /// The samples of a look.
    pub fn samples(&mut self) -> BTreeMap<DeviceId, Sample> {
        let unread = Some(self.queue());
        let mut samples = BTreeMap::from([(
            TTY,
            Sample { stamps: self.stamps, unread, inner: false, anew: false, by_client: true },
        )]);
        for (n, pane) in &mut self.panes {
            let id = DeviceId { device: TTY.device + 1 + n, ..TTY };
            samples.insert(
                id,
                Sample {
                    stamps: pane.stamps,
                    unread: None,
                    inner: false,
                    anew: pane.anew,
                    by_client: self.masters,
                },
            );
            pane.anew = false;
        }
        self.seen = self.panes.keys().copied().collect();
        samples
    }

    pub fn happen(&mut self, event: &Event) {
        let heard = [Event::is_typed as fn(&Event) -> bool, |event| {
            matches!(event, Event::Keepalive | Event::Open(_) | Event::Close(_))
        }];
        if heard.iter().any(|is| is(event)) {
            self.heard = self.boot - self.slept;
        }
        match event {
            Event::Key => {
                let now = self.coarse();
                update(&mut self.stamps.atime, now);
                self.unread = 0;
            }
            Event::Print => {
                let now = self.coarse();
                self.disowned &= !update(&mut self.stamps.mtime, now);
            }
            Event::Unread => self.unread += 1,
            Event::Chmod => self.stamps.ctime = self.coarse(),
            Event::Touch(ahead) => {
                let (now, stamp) = (self.coarse(), self.coarse() + ahead);
                self.stamps = Stamps { atime: stamp, mtime: stamp, ctime: now, owner: 0 };
            }
            Event::Step(by) => self.offset += by,
            Event::Keepalive => {}
            Event::Ask(asked) => self.asked = *asked,
            Event::Suspend(by) => {
                self.boot += by;
                self.slept += by;
            }
            Event::Open(n) => {
                let (now, anew) = (self.coarse(), self.seen.contains(n));
                let stamps = Stamps { atime: now, mtime: now, ctime: now, owner: 1000 };
                self.panes.entry(*n).or_insert(Pane { stamps, anew });
            }
            Event::PaneKey(n) => {
                let now = self.coarse();
                self.panes.get_mut(n).into_iter().for_each(|pane| _ = update(&mut pane.stamps.atime, now));
            }
            Event::Close(n) => _ = self.panes.remove(n),
            Event::Read => {
                let now = self.coarse();
                update(&mut self.stamps.atime, now);
            }
        }
    }
}

/// tty_update_time() of the kernel. Returns whether it moved the stamp.
pub fn update(stamp: &mut Nanos, now: Nanos) -> bool {
    let (now, then) = (now / SECOND, stamp.div_euclid(SECOND));
    let moved = (now ^ then) & !7 != 0;
    if moved {
        *stamp = now * SECOND;
    }
    moved
}

#[derive(Debug)]
pub struct End {
    pub at: Nanos,
    /// The last key or, if output counts, the last output that left a trace.
    pub last_key: Nanos,
    /// How long before the end each warning came, without the cancelled ones.
    pub warned: Vec<Nanos>,
    pub looks: usize,
    pub doubts: Vec<Doubt>,
}

/// The parameters of a play.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Output counts.
    pub output: bool,
    /// The client uses a connection that can be asked.
    pub connection: bool,
    pub limit: Nanos,
    pub warn: &'a [Nanos],
    pub lag: Nanos,
}

/// Plays events, each after its time since the one before. Then nothing happens until the session is ended.
pub fn play(limit: Nanos, warn: Nanos, lag: Nanos, events: &[(Nanos, Event)]) -> End {
    play_seen(false, limit, warn, lag, events)
}

/// The same, with a connection that can be asked or without.
pub fn play_seen(connection: bool, limit: Nanos, warn: Nanos, lag: Nanos, events: &[(Nanos, Event)]) -> End {
    let warn = if warn > 0 { &[warn][..] } else { &[] };
    play_in(Setting { output: false, connection, limit, warn, lag }, events)
}

/// The same with any number of warnings, and with output that counts.
pub fn play_counting(
    output: bool,
    limit: Nanos,
    warn: &[Nanos],
    lag: Nanos,
    events: &[(Nanos, Event)],
) -> End {
    play_in(Setting { output, connection: false, limit, warn, lag }, events)
}

pub fn play_in(setting: Setting<'_>, events: &[(Nanos, Event)]) -> End {
    let Setting { output, connection, limit, warn, lag } = setting;
    let ns = |n: Nanos| Duration::from_nanos(n.unsigned_abs());
    let mut model = Model::new(lag);
    let mut activity = Activity::new(model.now(), output);
    let warn: Vec<Duration> = warn.iter().copied().map(ns).collect();
    let mut schedule = Schedule::new(Some(ns(limit)), None, &warn, false);
    let mut coming: Vec<(Nanos, Event)> = Vec::new();
    let mut at = 0;
    for (gap, event) in events {
        at += gap;
        coming.push((at, event.clone()));
        at += if let Event::Suspend(by) = event { by } else { &0 };
    }
    let mut coming = coming.into_iter().peekable();
    let (mut last_key, mut warned, mut looks, mut all_doubts) = (0, Vec::new(), 0, Vec::new());
    let mut wake = 0;
    loop {
        // A step wakes the helper at once. All other events wait for the next look.
        while let Some((at, event)) = coming.next_if(|(at, _)| *at <= wake) {
            model.boot = at;
            model.happen(&event);
            match event {
                Event::PaneKey(n) if !model.panes.contains_key(&n) => {}
                Event::Key | Event::Unread | Event::PaneKey(_) => last_key = at,
                Event::Suspend(by) => wake = wake.max(at + by),
                Event::Print if output && !model.disowned => last_key = at,
                Event::Step(_) => wake = at + MS,
                _ => {}
            }
        }
        model.boot = model.boot.max(wake);
        let samples = model.samples();
        let witness = model.witness().filter(|_| connection);
        let doubts = activity.look(model.now(), &samples, witness);
        all_doubts.extend(doubts.into_iter().map(|(_, doubt)| doubt));
        looks += 1;
        assert!(activity.has_terminals());
        if schedule.is_due(model.now(), shown(&activity)) {
            all_doubts.extend(activity.decide().map(|(_, doubt)| doubt));
        }
        let (action, next) = schedule.next(model.now(), shown(&activity));
        match action {
            Some(Due::Warn { .. }) => {
                warned.push(model.boot);
                let before = model.stamps.mtime;
                model.happen(&Event::Print);
                model.disowned |= model.stamps.mtime != before;
                if output {
                    activity.wrote(TTY, model.stamps);
                }
            }
            Some(Due::Resume { .. }) => warned.clear(),
            Some(Due::End) => {
                let warned = warned.into_iter().map(|warned: Nanos| model.boot - warned).collect();
                return End { at: model.boot, last_key, warned, looks, doubts: all_doubts };
            }
            _ => {}
        }
        assert!(next > model.boot || action.is_some(), "the helper would spin");
        assert!(looks < 1_000_000, "the session is never ended");
        wake = activity.looks_again().map_or(next, |again| again.min(next));
    }
}

pub fn shown(activity: &Activity) -> Shown {
    Shown { last: activity.last(), by: JudgedBy::Terminals, undecided: activity.undecided() }
}

/// One look at one terminal, and the decision. Returns what was odd.
pub fn look_once(activity: &mut Activity, model: &Model, unread: Option<Unread>) -> Vec<Doubt> {
    let sample = Sample { stamps: model.stamps, unread, inner: false, anew: false, by_client: true };
    let mut doubts = activity.look(model.now(), &BTreeMap::from([(TTY, sample)]), None);
    doubts.extend(activity.decide());
    doubts.into_iter().map(|(_, doubt)| doubt).collect()
}

prop_compose! {
    pub fn settings()(limit in 10i64..1200, part in 0i64..100, lag in 0i64..10) -> (Nanos, Nanos, Nanos) {
        (limit * SECOND, limit * SECOND * part / 100, lag * MS)
    }
}

pub fn gaps() -> impl Strategy<Value = Nanos> {
    prop_oneof![(0i64..20_000).prop_map(|ms| ms * MS), (0i64..1_300_000).prop_map(|ms| ms * MS)]
}

pub fn keys() -> impl Strategy<Value = Vec<(Nanos, Event)>> {
    proptest::collection::vec((gaps(), Just(Event::Key)), 0..40)
}

pub fn steps() -> impl Strategy<Value = Event> {
    prop_oneof![
        (-8_000i64..8_000).prop_map(|ms| Event::Step(ms * MS)),
        (-7200i64..7200).prop_map(|s| Event::Step(s * SECOND)),
    ]
}
