//! Measures how late an idle session ends: end − last key − limit, for hundreds of real sessions. As root:
//! `make accuracy`.
//!
//! Each round has sessions of every kind side by side, so that a busy machine delays all of them alike. `TMOUT`
//! of bash shows which part of the delay comes from the machine. If a session ends early, that is a fault, and
//! the exit status is 1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod kinds;
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code)] // the other benchmark uses the other units
#[path = "../cost/table.rs"]
mod table;

use std::env;
use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind, Sshds};
use support::client::Client;
use support::log::{Line, Log};
use support::{CHAFF_TEXT, SOON, secs, until};
use table::Table;

/// The limit. It is longer than all logins of a round take, so no session ends while others still log in.
const LIMIT: Duration = secs(40);
const OPTIONS: &str = "timeout=40s warn=5s grace=2s";
/// How many sessions of each kind a round has. With more sessions the load of two cores would be measured.
const EACH: usize = 50;
const ROUNDS: usize = 4;
/// The time stamps of a terminal have steps of 8 s. The last keys are spread evenly over a step.
const PHASES: Duration = secs(8);
/// How long after the limit we wait for the end. It is much longer than a step, so late ends are seen, too.
const PATIENCE: Duration = secs(30);

/// One session's delays in seconds: until its client had ended, and until the record of the end.
#[derive(Debug)]
struct Delay {
    kind: usize,
    client: f64,
    record: Option<f64>,
}

impl Delay {
    /// The session ended before the limit.
    fn early(&self) -> bool {
        self.client < 0.0 || self.record.is_some_and(|record| record < 0.0)
    }
}

fn main() {
    // `cargo bench` adds the argument `--bench`.
    let number = |name: &str, usual: usize| env::var(name).map_or(usual, |text| text.parse().unwrap());
    let rounds = number("IDLE_WATCHDOG_ACCURACY_ROUNDS", ROUNDS);
    let each = number("IDLE_WATCHDOG_ACCURACY_SESSIONS", EACH);
    println!("{rounds} rounds of {each} sessions of each kind, limit {} s. Please wait ...", LIMIT.as_secs());
    let mut delays = Vec::new();
    for n in 1..=rounds {
        delays.extend(round(each));
        println!("round {n}: done");
    }
    report(&delays);
    let early: Vec<_> = delays.iter().filter(|delay| delay.early()).collect();
    for delay in &early {
        println!("A session ended early, which is a fault: {}, {delay:?}", KINDS[delay.kind].name);
    }
    if !early.is_empty() {
        std::process::exit(1);
    }
}

/// Runs sessions of all kinds at the same time, from login to end.
fn round(each: usize) -> Vec<Delay> {
    let sshds = Sshds::start(OPTIONS);
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..each * KINDS.len())
            .map(|n| {
                let (index, kind) = (n % KINDS.len(), &KINDS[n % KINDS.len()]);
                // Logins are slow, so they are made one after the other.
                let client = Client::on_terminal(sshds.command(kind, LIMIT));
                client.wait_for_first_shell();
                let log = sshds.log(kind);
                scope.spawn(move || session(index, kind, &client, log))
            })
            .collect();
        sessions.into_iter().map(|session| session.join().unwrap()).collect()
    })
}

/// Types the last key at a random time, and waits for the end.
fn session(index: usize, kind: &Kind, client: &Client, log: Option<&Log>) -> Delay {
    let tty = tty_of(client);
    pause(random(PHASES));
    client.type_keys("\r");
    let key = client.last_key();
    let due = key + LIMIT;
    let exit = client.exit(until(due + PATIENCE)).unwrap_or_else(|| {
        panic!("{}: no end {PATIENCE:?} after the limit; the screen:\n{}", kind.name, client.screen())
    });
    if kind.chaff {
        assert!(client.shows(CHAFF_TEXT), "no chaff; the screen:\n{}", client.screen());
    }
    let record = log.map(|log| {
        // An earlier session may have had the same terminal.
        let wanted = |line: &Line| line.is("ending") && line.field("tty") == Some(&tty) && line.at > key;
        log.wait_for(&format!("the end on {tty}"), wanted, SOON).at
    });
    Delay { kind: index, client: seconds(exit.at, due), record: record.map(|at| seconds(at, due)) }
}

/// The session's terminal, as records name it.
fn tty_of(client: &Client) -> String {
    client.run("tty");
    let screen = client.screen();
    let (_, rest) = screen.rsplit_once("/dev/pts/").expect("tty(1) has answered");
    format!("pts/{}", rest.chars().take_while(char::is_ascii_digit).collect::<String>())
}

/// The time from `due` to `at` in seconds. It is negative if `at` is earlier.
fn seconds(at: Instant, due: Instant) -> f64 {
    at.saturating_duration_since(due).as_secs_f64() - due.saturating_duration_since(at).as_secs_f64()
}

fn report(delays: &[Delay]) {
    let title = format!("end - last key - limit, in seconds; limit {} s", LIMIT.as_secs());
    let head =
        ["sessions", "number", "min", "median", "p99", "max", "early", "record's median", "record's p99"];
    let mut table = Table::new(&title, &head);
    for (index, kind) in KINDS.iter().enumerate() {
        let of_kind = || delays.iter().filter(|delay| delay.kind == index);
        let clients = sorted(of_kind().map(|delay| delay.client).collect());
        let records = sorted(of_kind().filter_map(|delay| delay.record).collect());
        let early = of_kind().filter(|delay| delay.early()).count();
        table.row(&[
            kind.name,
            &clients.len().to_string(),
            &part(&clients, 0),
            &part(&clients, 50),
            &part(&clients, 99),
            &part(&clients, 100),
            &early.to_string(),
            &part(&records, 50),
            &part(&records, 99),
        ]);
    }
    table.print();
}

fn sorted(mut delays: Vec<f64>) -> Vec<f64> {
    delays.sort_by(f64::total_cmp);
    delays
}

/// The delay that this percentage of the sessions does not exceed.
fn part(sorted: &[f64], percent: usize) -> String {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or("-".to_owned(), |delay| format!("{delay:.3}"))
}

/// A random time up to `most`, evenly distributed.
fn random(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).unwrap();
    most.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}

#[allow(clippy::disallowed_methods)] // this waits for a time to pass
fn pause(time: Duration) {
    thread::sleep(time);
}
