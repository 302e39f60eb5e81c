//! The measurements, in rounds. In a round, the contestants take turns, and each round starts with a different one, so
//! that other load on this machine affects all of them alike.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    check::Damage,
    client::Client,
    contestant::Contestant,
    direct::Direct,
    load::{Farewell, Piped},
    process,
    server::{Era, Server},
};

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rounds: usize,
    /// How often to start each contestant in a round, to measure start and exit.
    pub starts: usize,
    /// How long to wait for requests before the client sends anything.
    pub silence: Duration,
    /// How long to measure an idle contestant.
    pub idle: Duration,
    /// Calls that are not measured.
    pub warm_up: usize,
    /// Sequential calls: the calls in a block, and the number of blocks.
    pub block: usize,
    pub blocks: usize,
    /// The numbers of concurrent calls, and how long to send them.
    pub in_flight: Vec<usize>,
    pub saturation: Duration,
    /// Sizes of large results, in megabytes (2^20 bytes).
    pub sizes: Vec<usize>,
    pub notifications: usize,
    /// How long any response may take.
    pub patience: Duration,
}

impl Plan {
    /// For the report.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            starts: 3,
            silence: Duration::from_millis(200),
            idle: Duration::from_secs(5),
            warm_up: 500,
            block: 1000,
            blocks: 10,
            in_flight: vec![1, 8, 64, 256],
            saturation: Duration::from_secs(1),
            sizes: vec![1, 16, 64],
            notifications: 100_000,
            patience: Duration::from_secs(60),
        }
    }

    /// For a quick look.
    pub fn quick() -> Self {
        Self {
            rounds: 2,
            starts: 1,
            idle: Duration::from_secs(1),
            blocks: 2,
            saturation: Duration::from_millis(300),
            ..Self::full()
        }
    }

    /// The number of sequential calls.
    pub fn calls(&self) -> usize {
        self.block * self.blocks
    }
}

/// The metrics. Times are in seconds, memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From the start to the first response.
    FirstAnswer,
    /// From the start to the first request at the server.
    FirstForwarded,
    /// Requests at the server before the client sends anything.
    RequestsBefore,
    /// Requests at the server until the first tool result.
    RequestsLegacy,
    RequestsModern,
    /// From the end of stdin to the exit.
    ExitEndOfInput,
    /// From SIGTERM to the exit.
    ExitTerminate,
    /// Whether the session was deleted: 0 or 1.
    SessionsEnded,
    /// CPU time per idle second.
    IdleCpu,
    IdleMemory,
    CallMedian,
    Call99,
    /// The latency less that of the direct client in the same round.
    AddedMedian,
    Added99,
    /// CPU time per call.
    CallCpu,
    /// Connections opened during the sequential calls.
    NewConnections,
    /// Memory after the sequential calls.
    LaterMemory,
    /// Calls per second with this many in flight.
    Throughput(usize),
    /// The peak memory of the measurements so far.
    PeakMemory,
    /// A result of this many megabytes.
    LargeTime(usize),
    LargePeak(usize),
    /// How many copies of the result were in memory: the peak less the memory before, divided by the result's size.
    LargeCopies(usize),
    /// Notifications per second.
    NotificationRate,
}

/// The measurements.
pub struct Results {
    pub contestants: Vec<Contestant>,
    pub plan: Plan,
    samples: BTreeMap<(usize, Metric), Vec<f64>>,
    /// In all rounds.
    pub damage: BTreeMap<usize, Damage>,
    /// The failures, with the contestant's name.
    pub failures: Vec<(&'static str, String)>,
}

/// The statistics of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// An open session for several measurements.
struct Running {
    client: Box<dyn Client>,
    process: Option<u32>,
}

impl Results {
    pub fn measure(contestants: Vec<Contestant>, plan: Plan) -> Result<Self> {
        let server = Server::start().context("no server")?;
        let mut results =
            Self { contestants, plan, samples: BTreeMap::new(), damage: BTreeMap::new(), failures: Vec::new() };
        for round in 0..results.plan.rounds {
            let mut order: Vec<usize> = (0..results.contestants.len()).collect();
            let first = round % order.len();
            order.rotate_left(first);
            results.say(round, "starts");
            for _ in 0..results.plan.starts {
                results.each(&order, "start", |results, index| results.measure_start(&server, index));
            }
            results.say(round, "calls");
            results.measure_calls(&server, &order);
            for size in results.plan.sizes.clone() {
                results.say(round, &format!("{size} MB"));
                results.each(&order, "large result", |results, index| results.measure_large(&server, index, size));
            }
            results.say(round, "notifications");
            results.each(&order, "notifications", |results, index| results.measure_notifications(&server, index));
        }
        Ok(results)
    }

    /// The statistics of one contestant, if it was measured.
    pub fn summary(&self, index: usize, metric: Metric) -> Option<Summary> {
        let mut samples = self.samples.get(&(index, metric))?.clone();
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        let median =
            if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 };
        Some(Summary { median, least: samples[0], most: samples[samples.len() - 1] })
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.contestants.iter().position(|contestant| contestant.name == name)
    }

    fn say(&self, round: usize, what: &str) {
        eprintln!("round {} of {}: {what}", round + 1, self.plan.rounds);
    }

    /// Runs `work` for each contestant. A failure does not stop the others.
    fn each(&mut self, order: &[usize], what: &str, mut work: impl FnMut(&mut Self, usize) -> Result<()>) {
        for index in order {
            if let Err(error) = work(self, *index) {
                let text = format!("{what}: {error:#}");
                eprintln!("  {}: {text}", self.contestants[*index].name);
                self.failures.push((self.contestants[*index].name, text));
            }
        }
    }

    /// Records a measurement.
    pub fn note(&mut self, index: usize, metric: Metric, value: f64) {
        self.samples.entry((index, metric)).or_default().push(value);
    }

    /// Discards the measurements of a contestant.
    pub fn forget(&mut self, index: usize, metric: Metric) {
        self.samples.remove(&(index, metric));
    }

    fn note_some(&mut self, index: usize, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.note(index, metric, value);
        }
    }

    fn measure_start(&mut self, server: &Server, index: usize) -> Result<()> {
        if !self.contestants[index].is_process() {
            return self.measure_direct_start(server, index);
        }
        let mut piped = self.start(server, index, Era::Legacy)?;
        piped.greet()?;
        self.note(index, Metric::FirstAnswer, piped.begun().elapsed().as_secs_f64());
        let first = server.seen().first.map(|first| first.duration_since(piped.begun()).as_secs_f64());
        self.note_some(index, Metric::FirstForwarded, first);
        piped.reach_first_result()?;
        self.note(index, Metric::RequestsLegacy, server.seen().requests as f64);
        let took = piped.end(Farewell::EndOfInput)?;
        self.note(index, Metric::ExitEndOfInput, took.as_secs_f64());
        self.note(index, Metric::SessionsEnded, f64::from(u8::from(server.seen().deleted)));

        let mut piped = self.start(server, index, Era::Legacy)?;
        std::thread::sleep(self.plan.silence);
        self.note(index, Metric::RequestsBefore, server.seen().requests as f64);
        piped.greet()?;
        piped.reach_first_result()?;
        let took = piped.end(Farewell::Terminate)?;
        self.note(index, Metric::ExitTerminate, took.as_secs_f64());

        if self.contestants[index].is_modern {
            let mut piped = self.start(server, index, Era::Modern)?;
            piped.greet()?;
            piped.reach_first_result()?;
            self.note(index, Metric::RequestsModern, server.seen().requests as f64);
            piped.end(Farewell::EndOfInput)?;
        }
        Ok(())
    }

    fn measure_direct_start(&mut self, server: &Server, index: usize) -> Result<()> {
        for (era, metric) in [(Era::Legacy, Metric::RequestsLegacy), (Era::Modern, Metric::RequestsModern)] {
            server.forget();
            let begun = Instant::now();
            let mut direct = Direct::open(server.url(era), era)?;
            if era == Era::Legacy {
                self.note(index, Metric::FirstAnswer, begun.elapsed().as_secs_f64());
            }
            direct.reach_first_result()?;
            self.note(index, metric, server.seen().requests as f64);
        }
        Ok(())
    }

    fn start(&self, server: &Server, index: usize, era: Era) -> Result<Piped> {
        server.forget();
        self.contestants[index].start(server, era, self.plan.patience)
    }

    /// Opens a session up to the first tool result.
    fn open(&self, server: &Server, index: usize) -> Result<Running> {
        if !self.contestants[index].is_process() {
            let mut direct = Direct::open(server.url(Era::Legacy), Era::Legacy)?;
            direct.reach_first_result()?;
            return Ok(Running { client: Box::new(direct), process: None });
        }
        let mut piped = self.start(server, index, Era::Legacy)?;
        piped.greet()?;
        piped.reach_first_result()?;
        let process = Some(piped.id());
        Ok(Running { client: Box::new(piped), process })
    }

    /// All measurements with small calls. All contestants' sessions are open at the same time.
    fn measure_calls(&mut self, server: &Server, order: &[usize]) {
        let mut running = BTreeMap::new();
        self.each(order, "calls", |results, index| {
            running.insert(index, results.open(server, index)?);
            Ok(())
        });
        self.measure_idleness(&running);
        self.each(order, "calls", |results, index| {
            let Some(running) = running.get_mut(&index) else { return Ok(()) };
            (0..results.plan.warm_up).try_for_each(|_| running.client.call().map(drop))
        });
        self.measure_latency(server, order, &mut running);
        for in_flight in self.plan.in_flight.clone() {
            self.each(order, "calls in flight", |results, index| {
                let Some(running) = running.get_mut(&index) else { return Ok(()) };
                let rate = running.client.saturate(in_flight, results.plan.saturation)?;
                results.note(index, Metric::Throughput(in_flight), rate);
                Ok(())
            });
        }
        for (index, running) in &running {
            let peak = running.process.and_then(process::peak).map(|bytes| bytes as f64);
            self.note_some(*index, Metric::PeakMemory, peak);
        }
    }

    fn measure_idleness(&mut self, running: &BTreeMap<usize, Running>) {
        let cpu = |running: &Running| running.process.and_then(process::cpu);
        // Work right after the handshake does not count as idle.
        std::thread::sleep(self.plan.idle / 5);
        let before: Vec<_> = running.values().map(cpu).collect();
        std::thread::sleep(self.plan.idle);
        let after: Vec<_> = running.values().map(cpu).collect();
        for ((index, running), (before, after)) in running.iter().zip(before.into_iter().zip(after)) {
            let used = before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64());
            self.note_some(*index, Metric::IdleCpu, used.map(|used| used / self.plan.idle.as_secs_f64()));
            let memory = running.process.and_then(process::resident).map(|bytes| bytes as f64);
            self.note_some(*index, Metric::IdleMemory, memory);
        }
    }

    /// Sequential calls, with the contestants in turns.
    fn measure_latency(&mut self, server: &Server, order: &[usize], running: &mut BTreeMap<usize, Running>) {
        let mut taken: BTreeMap<usize, (Vec<Duration>, Duration, usize)> = BTreeMap::new();
        for _ in 0..self.plan.blocks {
            self.each(order, "calls", |results, index| {
                let Some(running) = running.get_mut(&index) else { return Ok(()) };
                let (latencies, cpu, connections) = taken.entry(index).or_default();
                let connections_before = server.seen().connections;
                let cpu_before = running.process.and_then(process::cpu);
                for _ in 0..results.plan.block {
                    latencies.push(running.client.call()?);
                }
                let cpu_after = running.process.and_then(process::cpu);
                *cpu += cpu_after.unwrap_or_default().saturating_sub(cpu_before.unwrap_or_default());
                *connections += server.seen().connections - connections_before;
                Ok(())
            });
        }
        let mut direct = None;
        // The direct client comes first, because the others are compared with it.
        for (index, (mut latencies, cpu, connections)) in taken {
            if latencies.len() < self.plan.calls() {
                continue; // it failed on the way
            }
            latencies.sort();
            let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64();
            let (median, most) = (percentile(50), percentile(99));
            self.note(index, Metric::CallMedian, median);
            self.note(index, Metric::Call99, most);
            self.note(index, Metric::NewConnections, connections as f64);
            if !self.contestants[index].is_process() {
                direct = Some((median, most));
                continue;
            }
            if let Some((direct_median, direct_most)) = direct {
                self.note(index, Metric::AddedMedian, median - direct_median);
                self.note(index, Metric::Added99, most - direct_most);
            }
            let process = running.get(&index).and_then(|running| running.process);
            self.note_some(index, Metric::LaterMemory, process.and_then(process::resident).map(|bytes| bytes as f64));
            if process.and_then(process::cpu).is_some() {
                self.note(index, Metric::CallCpu, cpu.as_secs_f64() / self.plan.calls() as f64);
            }
        }
    }

    fn measure_large(&mut self, server: &Server, index: usize, size: usize) -> Result<()> {
        let bytes = size << 20;
        let mut running = self.open(server, index)?;
        let before = running.process.and_then(process::resident);
        let took = running.client.large(bytes)?;
        self.note(index, Metric::LargeTime(size), took.as_secs_f64());
        let peak = running.process.and_then(process::peak);
        self.note_some(index, Metric::LargePeak(size), peak.map(|peak| peak as f64));
        let copies = before.zip(peak).map(|(before, peak)| peak.saturating_sub(before) as f64 / bytes as f64);
        self.note_some(index, Metric::LargeCopies(size), copies);
        Ok(())
    }

    fn measure_notifications(&mut self, server: &Server, index: usize) -> Result<()> {
        let count = self.plan.notifications;
        let mut running = self.open(server, index)?;
        let (took, damage) = running.client.notifications(count)?;
        self.note(index, Metric::NotificationRate, count as f64 / took.as_secs_f64());
        *self.damage.entry(index).or_default() += damage;
        Ok(())
    }
}
