//! What was measured.

use std::{
    fmt,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use super::process::Process;
use crate::support::vendor::Rotation;

/// When a client renews a token that lives for a second.
const SHORTEST_LIFE: Duration = Duration::from_millis(900);

pub struct Figures {
    pub rotations: usize,
    /// Rotations whose refresh token came once more.
    pub lost: usize,
    pub sign_ins: usize,
    /// Rotations whose access token had not ended by any clock.
    pub needless: usize,
    /// Calls that were put off for a moment, and those whose process was gone.
    pub put_off: usize,
    pub gone: usize,
    /// From the server's decision to where the successor is in the store for good.
    window: Spread,
    /// The waits for the lock.
    locks: Spread,
    /// From a call to its answer, in a round in which the token has ended.
    answers: Spread,
}

/// Durations, in order.
struct Spread(Vec<Duration>);

impl Figures {
    pub fn new(rotations: &[Rotation], processes: &[Process<'_>], sign_ins: usize) -> Self {
        let log: String = processes.iter().map(Process::log).collect();
        let saved: Vec<SystemTime> = times(&log, "saved a renewed sign-in").collect();
        // The lock lets no other process save in between.
        let ends = rotations.iter().skip(1).map(|next| next.committed).chain([SystemTime::now()]);
        let windows = rotations.iter().zip(ends).filter_map(|(rotation, end)| {
            let save = saved.iter().filter(|time| (rotation.committed..end).contains(*time)).min()?;
            save.duration_since(rotation.committed).ok()
        });
        let locked: Vec<SystemTime> = times(&log, "acquired the lock").collect();
        let needless = rotations.iter().enumerate().filter(|(number, rotation)| {
            // The process that got the token counts its life from before the request, which the lock comes before.
            let previous = number.checked_sub(1).map(|previous| rotations[previous].committed);
            let issued = previous.and_then(|end| locked.iter().filter(|time| **time < end).max());
            let age = issued.and_then(|issued| rotation.committed.duration_since(*issued).ok());
            !rotation.due && age.is_none_or(|age| age < SHORTEST_LIFE)
        });
        let waits = log.lines().filter_map(|line| duration(line.split_once("acquired the lock waited=")?.1));
        let sum = |count: fn(&Process<'_>) -> usize| processes.iter().map(count).sum();
        Self {
            rotations: rotations.len(),
            lost: rotations.iter().filter(|rotation| rotation.replayed).count(),
            sign_ins,
            needless: needless.count(),
            put_off: sum(|process| process.put_off.load(Ordering::SeqCst)),
            gone: sum(|process| process.gone.load(Ordering::SeqCst)),
            window: windows.collect(),
            locks: waits.collect(),
            answers: processes.iter().flat_map(|process| process.waits.lock().unwrap().clone()).collect(),
        }
    }

    /// How many rotations the log has a save for.
    pub fn saved(&self) -> usize {
        self.window.0.len()
    }
}

/// When the log says `what`.
pub fn times<'a>(log: &'a str, what: &'a str) -> impl Iterator<Item = SystemTime> + 'a {
    log.lines().filter(move |line| line.contains(what)).filter_map(|line| {
        let time: jiff::Timestamp = line.split(' ').next()?.parse().ok()?;
        Some(time.into())
    })
}

/// What `Debug` writes for a duration.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let number: f64 = text[..unit].parse().ok()?;
    let scale = match text[unit..].trim_end() {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number * scale))
}

impl FromIterator<Duration> for Spread {
    fn from_iter<Durations: IntoIterator<Item = Duration>>(durations: Durations) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |part: f64| {
            let last = self.0.len().saturating_sub(1);
            self.0.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
        };
        write!(formatter, "p50 {:.1?}, p99 {:.1?}, max {:.1?} of {}", at(0.5), at(0.99), at(1.0), self.0.len())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rotations, lost, sign_ins, needless, put_off, gone, window, locks, answers } = self;
        writeln!(
            formatter,
            "{rotations} token requests, {needless} needless, {lost} reused, {sign_ins} more sign-ins"
        )?;
        writeln!(formatter, "  calls put off: {put_off}; calls whose process was gone: {gone}")?;
        writeln!(formatter, "  from the server's decision to the save: {window}")?;
        writeln!(formatter, "  waits for the lock: {locks}")?;
        write!(formatter, "  from the call to the answer: {answers}")
    }
}
