//! The report in Markdown: contestants and machine, a table for each kind of measurement, and finmcp's budget line by
//! line.

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use super::{
    contestant::Absent,
    measure::{Metric, Results, Summary},
};

const MEGABYTE: f64 = (1 << 20) as f64;

/// Where and when the measurements were taken.
pub struct Circumstances {
    pub date: String,
    pub revision: Option<String>,
    pub machine: String,
    pub load_before: Option<String>,
    pub load_after: Option<String>,
    pub took: Duration,
}

/// The unit of a number.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Time,
    Megabytes,
    Count,
    Share,
    /// Milliseconds of CPU time per thousand calls.
    ThousandCalls,
}

/// A table's rows.
type Rows = Vec<(String, Metric, Unit)>;

/// A line of the budget, and whether it was kept.
struct Line {
    what: String,
    budget: String,
    measured: Option<String>,
    is_kept: bool,
}

impl Circumstances {
    /// The facts known at the start.
    pub fn begin(date: String) -> Self {
        Self {
            date,
            revision: revision(),
            machine: machine(),
            load_before: load(),
            load_after: None,
            took: Duration::ZERO,
        }
    }

    /// Adds the facts known at the end.
    pub fn end(self, took: Duration) -> Self {
        Self { load_after: load(), took, ..self }
    }
}

fn revision() -> Option<String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments));
    let revision = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { revision } else { format!("{revision} with changes") })
}

/// The output of a successful command.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|_| output.status.success())
}

fn machine() -> String {
    let system = output(Command::new("uname").arg("-srm")).unwrap_or_else(|| "unknown system".to_owned());
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes = field("/proc/meminfo", "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<f64>().ok());
    let memory = kilobytes.map(|kilobytes| format!(", {:.0} GB", kilobytes / MEGABYTE)).unwrap_or_default();
    format!("{processor}, {cores} cores{memory}, {system}")
}

fn load() -> Option<String> {
    Some(fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.to_owned())
}

/// The whole report.
pub fn render(results: &Results, absent: &[Absent], circumstances: &Circumstances) -> String {
    let mut text = String::new();
    write_head(&mut text, results, absent, circumstances);
    for (title, rows) in tables(results) {
        write_table(&mut text, results, title, &rows);
    }
    write_damage(&mut text, results);
    write_budget(&mut text, results);
    write_failures(&mut text, results);
    text
}

fn write_head(text: &mut String, results: &Results, absent: &[Absent], circumstances: &Circumstances) {
    let Circumstances { date, machine, .. } = circumstances;
    let plan = &results.plan;
    let revision = circumstances.revision.as_deref().unwrap_or("unknown");
    let load = |load: &Option<String>| load.clone().unwrap_or_else(|| "unknown".to_owned());
    let took = circumstances.took.as_secs();
    let _ = writeln!(text, "# finmcp, measured\n");
    let _ = writeln!(text, "- Date: {date}; revision {revision}");
    let _ = writeln!(
        text,
        "- Machine: {machine}; load {} before, {} after",
        load(&circumstances.load_before),
        load(&circumstances.load_after)
    );
    let _ = writeln!(
        text,
        "- Rounds: {}, with the contestants in turns, in {took} s; {} calls one after the other in each, and {} notifications",
        plan.rounds,
        plan.calls(),
        plan.notifications
    );
    if cfg!(debug_assertions) {
        let _ = writeln!(text, "- Built without optimisation: the times mean nothing");
    }
    let _ = writeln!(text, "- Plain HTTP on loopback; server and client are threads of one process");
    let _ = writeln!(text, "- Each number is the median of the rounds (least – most); a MB is 2^20 bytes");
    let contestants = results.contestants.iter().map(|contestant| match contestant.size {
        Some(size) => format!("{} {} ({:.1} MB)", contestant.name, contestant.version, size as f64 / MEGABYTE),
        None => format!("{} {}", contestant.name, contestant.version),
    });
    let _ = writeln!(text, "- Contestants: {}", contestants.collect::<Vec<_>>().join("; "));
    for Absent { name, variable } in absent {
        let _ = writeln!(text, "- Absent: {name}, which is neither on PATH nor named by {variable}");
    }
}

fn tables(results: &Results) -> Vec<(&'static str, Rows)> {
    let plan = &results.plan;
    let row = |what: &str, metric, unit| (what.to_owned(), metric, unit);
    let calls = plan.calls();
    vec![
        (
            "Start and end",
            vec![
                row("start to first answer", Metric::FirstAnswer, Unit::Time),
                row("start to first request at the server", Metric::FirstForwarded, Unit::Time),
                row("requests before the client speaks", Metric::RequestsBefore, Unit::Count),
                row("requests until the first tool result, legacy", Metric::RequestsLegacy, Unit::Count),
                row("requests until the first tool result, modern", Metric::RequestsModern, Unit::Count),
                row("end of stdin to exit", Metric::ExitEndOfInput, Unit::Time),
                row("SIGTERM to exit", Metric::ExitTerminate, Unit::Time),
                row("sessions ended, of one", Metric::SessionsEnded, Unit::Count),
            ],
        ),
        (
            "Calls one after the other",
            vec![
                row("p50", Metric::CallMedian, Unit::Time),
                row("p99", Metric::Call99, Unit::Time),
                row("added p50", Metric::AddedMedian, Unit::Time),
                row("added p99", Metric::Added99, Unit::Time),
                row("CPU for 1,000 calls", Metric::CallCpu, Unit::ThousandCalls),
                row("new connections", Metric::NewConnections, Unit::Count),
            ],
        ),
        (
            "Calls a second",
            plan.in_flight
                .iter()
                .map(|in_flight| (format!("{in_flight} in flight"), Metric::Throughput(*in_flight), Unit::Count))
                .collect(),
        ),
        (
            "At rest",
            vec![
                row("CPU for each idle second", Metric::IdleCpu, Unit::Time),
                row("memory (RSS) after the handshake", Metric::IdleMemory, Unit::Megabytes),
                row(&format!("memory (RSS) after {calls} calls"), Metric::LaterMemory, Unit::Megabytes),
                row("most memory, with all in flight", Metric::PeakMemory, Unit::Megabytes),
            ],
        ),
        (
            "Large results",
            plan.sizes
                .iter()
                .flat_map(|size| {
                    [
                        (format!("{size} MB: time"), Metric::LargeTime(*size), Unit::Time),
                        (format!("{size} MB: most memory"), Metric::LargePeak(*size), Unit::Megabytes),
                        (format!("{size} MB: copies of it"), Metric::LargeCopies(*size), Unit::Share),
                    ]
                })
                .collect(),
        ),
        ("Notifications", vec![row("notifications a second", Metric::NotificationRate, Unit::Count)]),
    ]
}

fn write_table(text: &mut String, results: &Results, title: &str, rows: &Rows) {
    let _ = writeln!(text, "\n## {title}\n");
    write_names(text, results);
    for (what, metric, unit) in rows {
        let _ = write!(text, "| {what} |");
        for index in 0..results.contestants.len() {
            let cell = results.summary(index, *metric).map_or("–".to_owned(), |summary| unit.range(summary));
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

fn write_names(text: &mut String, results: &Results) {
    let names: Vec<_> = results.contestants.iter().map(|contestant| contestant.name).collect();
    let _ = writeln!(text, "| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
}

/// The last row of the notifications' table.
fn write_damage(text: &mut String, results: &Results) {
    let _ = write!(text, "| damage, in all rounds |");
    for index in 0..results.contestants.len() {
        let _ = write!(text, " {} |", results.damage.get(&index).map_or("–".to_owned(), ToString::to_string));
    }
    text.push('\n');
}

fn write_failures(text: &mut String, results: &Results) {
    if results.failures.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## What failed\n");
    for (name, failure) in &results.failures {
        let _ = writeln!(text, "- {name}: {}", failure.replace('\n', " "));
    }
}

fn write_budget(text: &mut String, results: &Results) {
    let (Some(finmcp), Some(relay)) = (results.index_of("finmcp"), results.index_of("minimal relay")) else { return };
    let _ = writeln!(text, "\n## finmcp's budget\n\n| | budget | measured | |\n|---|---:|---:|---|");
    for line in budget(results, finmcp, relay) {
        let verdict = match (&line.measured, line.is_kept) {
            (None, _) => "not measured",
            (_, true) => "ok",
            (_, false) => "**over**",
        };
        let measured = line.measured.as_deref().unwrap_or("–");
        let _ = writeln!(text, "| {} | {} | {measured} | {verdict} |", line.what, line.budget);
    }
}

/// Every line of the budget, by the medians.
fn budget(results: &Results, finmcp: usize, relay: usize) -> Vec<Line> {
    let median = |metric| results.summary(finmcp, metric).map(|summary| summary.median);
    let at_most = |what: &str, metric, unit: Unit, limit: f64| {
        let measured = median(metric);
        Line {
            what: what.to_owned(),
            budget: format!("≤ {}", unit.one(limit)),
            measured: measured.map(|value| unit.one(value)),
            is_kept: measured.is_some_and(|value| value <= limit),
        }
    };
    // Relative to the relay.
    let share = |metric| Some(median(metric)? / results.summary(relay, metric)?.median);
    let mut lines = vec![
        at_most("added p50 of a small call", Metric::AddedMedian, Unit::Time, 45e-6),
        at_most("added p99 of a small call", Metric::Added99, Unit::Time, 200e-6),
    ];
    for in_flight in results.plan.in_flight.iter().filter(|in_flight| **in_flight > 1) {
        let share = share(Metric::Throughput(*in_flight));
        lines.push(Line {
            what: format!("calls a second, {in_flight} in flight"),
            budget: "≥ 0.50 of the relay's".to_owned(),
            measured: share.map(|share| Unit::Share.one(share)),
            is_kept: share.is_some_and(|share| share >= 0.5),
        });
    }
    let rate = median(Metric::NotificationRate);
    lines.push(Line {
        what: "notifications a second".to_owned(),
        budget: "≥ 200000".to_owned(),
        measured: rate.map(|rate| Unit::Count.one(rate)),
        is_kept: rate.is_some_and(|rate| rate >= 200_000.0),
    });
    let damage = results.damage.get(&finmcp);
    lines.push(Line {
        what: "notifications lost, reordered or re-labelled".to_owned(),
        budget: "none".to_owned(),
        measured: damage.map(ToString::to_string),
        is_kept: damage.is_some_and(|damage| *damage == Default::default()),
    });
    if let Some(size) = results.plan.sizes.iter().max() {
        let share = share(Metric::LargeTime(*size));
        lines.push(Line {
            what: format!("{size} MB result: time"),
            budget: "≤ 1.30 of the relay's".to_owned(),
            measured: share.map(|share| Unit::Share.one(share)),
            is_kept: share.is_some_and(|share| share <= 1.3),
        });
        lines.push(at_most(&format!("{size} MB result: copies"), Metric::LargeCopies(*size), Unit::Share, 1.3));
    }
    let size = results.contestants[finmcp].size.map(|size| size as f64);
    lines.extend([
        at_most("CPU for 1,000 calls", Metric::CallCpu, Unit::ThousandCalls, 60e-6),
        at_most("memory after the handshake", Metric::IdleMemory, Unit::Megabytes, 10.0 * MEGABYTE),
        at_most(
            &format!("memory after {} calls", results.plan.calls()),
            Metric::LaterMemory,
            Unit::Megabytes,
            15.0 * MEGABYTE,
        ),
        at_most("start to first answer", Metric::FirstAnswer, Unit::Time, 10e-3),
        at_most("start to first request at the server (no keychain here)", Metric::FirstForwarded, Unit::Time, 25e-3),
        at_most("requests before the client speaks", Metric::RequestsBefore, Unit::Count, 0.0),
        at_most("requests until the first tool result, legacy", Metric::RequestsLegacy, Unit::Count, 5.0),
        at_most("requests until the first tool result, modern", Metric::RequestsModern, Unit::Count, 3.0),
        at_most("new connections for calls one after the other", Metric::NewConnections, Unit::Count, 0.0),
        at_most("CPU for each idle second", Metric::IdleCpu, Unit::Time, 100e-6),
        at_most("end of stdin to exit", Metric::ExitEndOfInput, Unit::Time, 50e-3),
        at_most("SIGTERM to exit", Metric::ExitTerminate, Unit::Time, 50e-3),
        Line {
            what: "sessions ended, of one".to_owned(),
            budget: "1".to_owned(),
            measured: median(Metric::SessionsEnded).map(|ended| Unit::Count.one(ended)),
            is_kept: median(Metric::SessionsEnded) == Some(1.0),
        },
        Line {
            what: "program".to_owned(),
            budget: "≤ 7.0 MB".to_owned(),
            measured: size.map(|size| Unit::Megabytes.one(size)),
            is_kept: size.is_some_and(|size| size <= 7.0 * MEGABYTE),
        },
    ]);
    lines
}

impl Unit {
    fn one(self, value: f64) -> String {
        match self {
            Self::Time if value.abs() < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Time if value.abs() < 1.0 => format!("{:.1} ms", value * 1e3),
            Self::Time => format!("{value:.2} s"),
            Self::Megabytes => format!("{:.1} MB", value / MEGABYTE),
            // A median between two rounds, which must not be rounded to zero.
            Self::Count if value.fract() != 0.0 && value.abs() < 100.0 => format!("{value:.1}"),
            Self::Count => format!("{value:.0}"),
            Self::Share => format!("{value:.2}"),
            Self::ThousandCalls => format!("{:.1} ms", value * 1e6),
        }
    }

    fn range(self, Summary { median, least, most }: Summary) -> String {
        let (median, least, most) = (self.one(median), self.one(least), self.one(most));
        if least == most { median } else { format!("{median} ({least} – {most})") }
    }
}
