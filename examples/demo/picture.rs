//! Draws a recording of the demo as an animated SVG. On the left is alice's screen, on the right is the log.
//!
//! Everything in the picture comes from the run. Each letter and each record appears at its time. Only the
//! waiting is shortened, and the picture says so. If a viewer shows no animation, it shows the last moment.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use super::{LIMIT, OPTIONS, WARN};

/// The events of the run and their times.
pub struct Recording {
    /// When alice's ssh was started.
    pub connect: Instant,
    pub last_key: Instant,
    /// The pieces that her client showed.
    pub screen: Vec<(Instant, String)>,
    /// When her client ended, and its exit status.
    pub status: (Instant, i32),
    pub log: Vec<(Instant, String)>,
    /// The command names of the session's processes and of the helper.
    pub processes: Vec<String>,
    /// When all of them were gone.
    pub gone: Instant,
}

/// Longer waits are shortened to this, in seconds.
const LONGEST_WAIT: f64 = 2.5;
/// How long the last moment stays before the picture starts again, in seconds.
const HOLD: f64 = 8.0;
const SCREEN_COLUMNS: usize = 54;
const LOG_COLUMNS: usize = 52;
/// The distance between two lines of text.
const ROW: usize = 18;
/// The top of both panels, and the first line of text in one.
const TOP: usize = 56;
const FIRST_ROW: usize = TOP + 52;

const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 @HEIGHT@" width="1000" height="@HEIGHT@" role="img" aria-labelledby="title desc">
<!-- Made by `make pictures` from a run of `make demo`. Do not edit. -->
"##;

const STYLE: &str = "\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e6edf3}
.say{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
.head{font-size:16px;font-weight:600}
.dim{fill:#9da7b3}
.time{fill:#9da7b3;text-anchor:end}
.end{text-anchor:end}
.middle{text-anchor:middle}
.notice{fill:#f0c04f}
.event{fill:#79c0ff;font-weight:600}
.good{fill:#7ee787}
.panel{fill:#161b22;stroke:#3d444d}
.chip{fill:#21262d;stroke:#3d444d}
";

/// The time of the picture: the time of the run with shortened waits.
struct Film {
    /// Each moment of the run at which something appeared, and its time in the picture.
    moments: Vec<(Instant, f64)>,
    length: f64,
}

impl Film {
    fn of(recording: &Recording) -> Self {
        let Recording { connect, last_key, screen, status, log, gone, .. } = recording;
        let mut times = BTreeSet::from([*connect, *last_key, status.0, *gone]);
        times.extend(screen.iter().chain(log).map(|(at, _)| at));
        let (mut moments, mut shown, mut before) = (Vec::new(), 0.0, *connect);
        for at in times.into_iter().filter(|at| at >= connect) {
            shown += (at - before).as_secs_f64().min(LONGEST_WAIT);
            moments.push((at, shown));
            before = at;
        }
        Self { moments, length: shown + HOLD }
    }

    /// The passed part of the picture's time, in hundredths of a per cent.
    fn share(&self, at: Instant) -> u32 {
        let found = self.moments.iter().find(|(moment, _)| *moment == at).expect("a moment of the run");
        (found.1 / self.length * 10_000.0).round() as u32
    }
}

/// The parts of the picture so far.
struct Picture {
    film: Film,
    body: String,
    /// The moments at which something appears.
    appear: BTreeSet<u32>,
}

impl Picture {
    /// The class of the things that appear at a moment.
    fn from(&mut self, at: Instant) -> String {
        let share = self.film.share(at);
        self.appear.insert(share);
        format!("a{share}")
    }

    fn add(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    fn panel(&mut self, x: usize, top: usize, width: usize, height: usize, title: &str) {
        self.add(&format!(
            r#"<rect class="panel" x="{x}" y="{top}" width="{width}" height="{height}" rx="8"/>"#
        ));
        let (x, y) = (x + 14, top + 24);
        self.add(&format!(r#"<text class="say dim" x="{x}" y="{y}">{title}</text>"#));
    }
}

/// The SVG.
pub fn draw(recording: &Recording) -> String {
    let film = Film::of(recording);
    let mut picture = Picture { film, body: String::new(), appear: BTreeSet::new() };
    let (mut screen, screen_rows) = (String::new(), rows_of_screen(&recording.screen));
    std::mem::swap(&mut screen, &mut picture.body);
    let log_height = draw_log(&mut picture, recording);
    let mut log = String::new();
    std::mem::swap(&mut log, &mut picture.body);

    let least = (screen_rows.len() + 1) * ROW + 50 + 12 + 76;
    let height = least.max(log_height);
    let bottom = TOP + height;
    picture.add(r#"<text class="say head" x="20" y="34">An idle ssh session is warned and ended</text>"#);
    picture.add(&format!(r#"<text class="dim end" x="980" y="34">pam_idle_watchdog.so {OPTIONS}</text>"#));
    picture.panel(20, TOP, 450, height - 88, "Alice’s screen");
    draw_screen(&mut picture, &screen_rows, recording.status);
    picture.panel(20, bottom - 76, 450, 76, "Alice’s processes, and the watchdog of her session");
    draw_processes(&mut picture, recording, bottom - 42);
    picture.panel(490, TOP, 490, height, "The log, with the seconds since alice ran ssh");
    picture.body.push_str(&log);
    draw_idle_time(&mut picture, recording, bottom + 22);
    let height = bottom + 106;
    let note = "A real run of <tspan class=\"say\" font-weight=\"600\">make demo</tspan>. Waiting is shortened; the seconds are those of the run.";
    picture.add(&format!(r#"<text class="say dim" x="20" y="{}">{note}</text>"#, height - 18));

    let head = HEAD.replace("@HEIGHT@", &height.to_string());
    let card = format!(
        r##"<rect x="0.5" y="0.5" width="999" height="{}" rx="12" fill="#0d1117" stroke="#3d444d"/>"##,
        height - 1
    );
    format!(
        "{head}{}<style>\n{STYLE}{}</style>\n{card}\n{}</svg>\n",
        words(recording),
        motion(&picture, recording),
        picture.body
    )
}

/// The same in words, for people who do not see the picture.
fn words(recording: &Recording) -> String {
    let screen: String = recording.screen.iter().map(|(_, text)| text.as_str()).collect();
    let lines = screen.lines().map(printable).filter(|line| !line.trim().is_empty());
    let screen = lines.collect::<Vec<_>>().join("\n");
    let log = recording
        .log
        .iter()
        .map(|(at, text)| format!("{:.1} s: {}", (*at - recording.connect).as_secs_f64(), message(text)));
    let log = log.collect::<Vec<_>>().join("\n");
    format!(
        "<title id=\"title\">An idle ssh session is warned and ended</title>\n\
         <desc id=\"desc\">A recording of make demo. The limit is {LIMIT} seconds, and the warning comes {WARN} seconds before.\n\
         On alice’s screen:\n{}\nHer ssh exits with status {}.\n\
         In the log, with the seconds since she ran ssh:\n{}\n\
         At the end none of her processes is left.</desc>\n",
        escape(&screen),
        recording.status.1,
        escape(&log)
    )
}

/// The things that appear, with their times.
fn motion(picture: &Picture, recording: &Recording) -> String {
    let Film { length, .. } = picture.film;
    let percent = |share: u32| f64::from(share) / 100.0;
    let mut css = String::from("@media (prefers-reduced-motion:no-preference){\n");
    for share in &picture.appear {
        let at = percent(*share);
        writeln!(css, "@keyframes a{share}{{0%{{opacity:0;fill-opacity:0}}{at}%{{opacity:1;fill-opacity:1}}}}.a{share}{{animation:a{share} {length:.2}s step-end infinite}}").unwrap();
    }
    let gone = percent(picture.film.share(recording.gone));
    writeln!(
        css,
        "@keyframes dim{{0%{{opacity:1}}{gone}%{{opacity:.45}}}}.gone{{animation:dim {length:.2}s step-end infinite}}"
    )
    .unwrap();
    // The cover of the bar moves away at the speed of the picture's time.
    let end = recording.log.iter().find(|(_, text)| message(text).starts_with("ending "));
    let end = end.expect("the end is on record").0;
    css.push_str("@keyframes idle{0%{transform:none}");
    for (at, _) in picture.film.moments.iter().filter(|(at, _)| (recording.last_key..=end).contains(at)) {
        let idle = (*at - recording.last_key).as_secs_f64() / LIMIT as f64;
        let share = percent(picture.film.share(*at));
        write!(css, "{share}%{{transform:translateX({:.1}px)}}", idle.min(1.0) * BAR as f64).unwrap();
    }
    writeln!(
        css,
        "100%{{transform:translateX({BAR}px)}}}}.cover{{animation:idle {length:.2}s linear infinite}}\n}}"
    )
    .unwrap();
    css
}

/// A line of a screen: the text that appeared at once, and whether the watchdog wrote it.
struct Row {
    parts: Vec<(Instant, String)>,
    notice: bool,
}

impl Row {
    fn of(letters: &[(Instant, char)], notice: bool) -> Self {
        let parts = letters.chunk_by(|one, next| one.0 == next.0);
        let parts = parts.map(|part| (part[0].0, part.iter().map(|(_, letter)| letter).collect()));
        Self { parts: parts.collect(), notice }
    }
}

/// The lines of a screen. Long lines are broken at a blank because that is easier to read, although a terminal
/// does not do so.
fn rows_of_screen(pieces: &[(Instant, String)]) -> Vec<Row> {
    let letters = pieces.iter().flat_map(|(at, piece)| piece.chars().map(move |letter| (*at, letter)));
    let letters: Vec<(Instant, char)> =
        letters.filter(|(_, letter)| *letter == '\n' || !letter.is_control()).collect();
    let mut rows = Vec::new();
    for line in letters.split(|(_, letter)| *letter == '\n') {
        let notice = line.first().is_some_and(|(_, letter)| *letter == '*');
        let mut rest = line;
        while rest.len() > SCREEN_COLUMNS {
            let blank = rest[..=SCREEN_COLUMNS].iter().rposition(|(_, letter)| *letter == ' ');
            let (row, next) = rest.split_at(blank.map_or(SCREEN_COLUMNS, |blank| blank + 1));
            rows.push(Row::of(row, notice));
            rest = next;
        }
        rows.push(Row::of(rest, notice));
    }
    while rows.last().is_some_and(|row| row.parts.is_empty()) {
        rows.pop();
    }
    rows
}

fn draw_screen(picture: &mut Picture, rows: &[Row], (ended, status): (Instant, i32)) {
    let mut y = FIRST_ROW;
    for row in rows {
        let class = if row.notice { r#" class="notice""# } else { "" };
        let mut line = format!(r#"<text{class} x="34" y="{y}" xml:space="preserve">"#);
        for (at, text) in &row.parts {
            write!(line, r#"<tspan class="{}">{}</tspan>"#, picture.from(*at), escape(text)).unwrap();
        }
        picture.add(&(line + "</text>"));
        y += ROW;
    }
    let class = picture.from(ended);
    let text = format!("Her ssh exits with status {status}.");
    picture.add(&format!(r#"<text class="say dim {class}" x="34" y="{}">{text}</text>"#, y + 6));
}

/// A record without the text that a log daemon and a process write before it.
fn message(text: &str) -> &str {
    match text.split_once("pam_idle_watchdog(sshd:session): ") {
        Some((_, record)) => record,
        None => text.find("pam_unix(").map_or(text, |start| &text[start..]),
    }
}

/// Returns the height of the panel.
fn draw_log(picture: &mut Picture, recording: &Recording) -> usize {
    let mut y = FIRST_ROW;
    for (at, text) in &recording.log {
        let class = picture.from(*at);
        let since = (*at - recording.connect).as_secs_f64();
        picture.add(&format!(r#"<g class="{class}">"#));
        picture.add(&format!(r#"<text class="time" x="546" y="{y}">{since:.1}</text>"#));
        let record = message(text);
        let ours = record != text && !record.starts_with("pam_unix(");
        for (number, line) in wrapped(record).iter().enumerate() {
            let line = escape(line);
            let line = match line.split_once(' ') {
                Some((event, fields)) if number == 0 && ours => {
                    format!(r#"<tspan class="event">{event}</tspan> {fields}"#)
                }
                _ => line,
            };
            let class = if ours { "" } else { r#" class="dim""# };
            picture.add(&format!(r#"<text{class} x="560" y="{y}">{line}</text>"#));
            y += ROW;
        }
        picture.add("</g>");
        y += 8;
    }
    y - 8 - TOP
}

/// The text is broken at blanks, so that each line fits.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= LOG_COLUMNS {
            *line += " ";
            *line += word;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn draw_processes(picture: &mut Picture, recording: &Recording, top: usize) {
    let there = picture.from(recording.last_key);
    picture.add(&format!(r#"<g class="{there}"><g class="gone" opacity=".45">"#));
    let mut x = 34;
    for name in &recording.processes {
        let width = name.len() * 8 + 20;
        picture.add(&format!(r#"<rect class="chip" x="{x}" y="{top}" width="{width}" height="26" rx="6"/>"#));
        let (middle, y) = (x + width / 2, top + 18);
        picture.add(&format!(r#"<text class="middle" x="{middle}" y="{y}">{}</text>"#, escape(name)));
        x += width + 8;
    }
    picture.add("</g></g>");
    let class = picture.from(recording.gone);
    let y = top + 18;
    picture.add(&format!(r#"<text class="say good end {class}" x="456" y="{y}">all gone</text>"#));
}

/// The length of the bar.
const BAR: usize = 960;

fn draw_idle_time(picture: &mut Picture, recording: &Recording, top: usize) {
    let warned = BAR - BAR * WARN as usize / LIMIT as usize;
    let rest = BAR - warned;
    picture.add(&format!(
        r#"<clipPath id="bar"><rect x="20" y="{top}" width="{BAR}" height="8" rx="4"/></clipPath><g clip-path="url(#bar)">"#
    ));
    for (x, width, color) in [(20, warned, "#388bfd"), (20 + warned, rest, "#f0c04f")] {
        picture.add(&format!(r#"<rect x="{x}" y="{top}" width="{width}" height="8" fill="{color}"/>"#));
    }
    // If nothing moves, the text is beside the bar.
    picture.add(&format!(
        r##"<rect class="cover" x="20" y="{top}" width="{BAR}" height="8" fill="#30363d" transform="translate({BAR})"/></g>"##
    ));
    let y = top + 28;
    let (after, mark) = ((recording.last_key - recording.connect).as_secs_f64(), 20 + warned);
    picture.add(&format!(r#"<text class="say dim" x="20" y="{y}">last key, at {after:.1} s</text>"#));
    let warning = format!("idle for {} s: warning", LIMIT - WARN);
    picture.add(&format!(r#"<text class="say dim middle" x="{mark}" y="{y}">{warning}</text>"#));
    let limit = format!("idle for {LIMIT} s: end");
    picture.add(&format!(r#"<text class="say dim end" x="980" y="{y}">{limit}</text>"#));
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
