//! Signals, at random, and now and then aimed at the process that has just spent the refresh token.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{holders, process::Process};
use crate::support::vendor::Vendor;

/// How long the server takes for its answer at most, once it has decided.
const LONGEST_ANSWER: u64 = 30;

pub struct Fire {
    seed: u64,
    random: Mutex<u64>,
    is_over: AtomicBool,
    killed: Mutex<HashSet<u32>>,
    sent: Mutex<Vec<&'static str>>,
    hits: AtomicUsize,
}

impl Fire {
    /// With the seed that is set, or another each time.
    pub fn new() -> Self {
        let seed = match std::env::var("FINMCP_STRESS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from(getrandom::u32().unwrap()),
        };
        Self {
            seed,
            random: Mutex::new(seed),
            is_over: AtomicBool::default(),
            killed: Mutex::default(),
            sent: Mutex::default(),
            hits: AtomicUsize::default(),
        }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How long each answer of the token endpoint takes.
    pub fn delays(&self, count: usize) -> Vec<Duration> {
        (0..count).map(|_| Duration::from_millis(self.below(LONGEST_ANSWER))).collect()
    }

    /// A number below `limit` (SplitMix64).
    fn below(&self, limit: u64) -> u64 {
        let mut random = self.random.lock().unwrap();
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Shoots until it is to cease.
    pub fn shoot(&self, processes: &[Process<'_>], vendor: &Vendor) {
        while !self.is_over.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(self.below(60)));
            let aimed = if self.below(3) == 0 { self.aim(processes, vendor) } else { None };
            let target = aimed.unwrap_or_else(|| &processes[self.below(processes.len() as u64) as usize]);
            let (name, signal) = [
                ("TERM", Signal::TERM),
                ("STOP", Signal::STOP),
                ("TERM", Signal::TERM),
                ("STOP", Signal::STOP),
                ("KILL", Signal::KILL),
            ][self.below(5) as usize];
            target.signal(signal, Duration::from_millis(self.below(100)), |id| {
                self.sent.lock().unwrap().push(name);
                if signal == Signal::KILL {
                    self.killed.lock().unwrap().insert(id);
                }
                self.hits.fetch_add(usize::from(aimed.is_some()), Ordering::SeqCst);
            });
        }
    }

    /// The next process to spend the refresh token, as soon as the server has taken it.
    fn aim<'a>(&self, processes: &'a [Process<'a>], vendor: &Vendor) -> Option<&'a Process<'a>> {
        let (begun, before) = (Instant::now(), vendor.rotations().len());
        while begun.elapsed() < Duration::from_secs(2) && !self.is_over.load(Ordering::SeqCst) {
            if let Some(rotation) = vendor.rotations().get(before) {
                let (_, holder) = *holders(processes, rotation.committed).first()?;
                return processes.iter().find(|process| process.id() == Some(holder));
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    pub fn cease(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// The processes that had no time to do anything more.
    pub fn killed(&self) -> HashSet<u32> {
        self.killed.lock().unwrap().clone()
    }

    /// Every signal.
    pub fn sent(&self) -> Vec<&'static str> {
        self.sent.lock().unwrap().clone()
    }

    /// How many signals came to a process that was renewing.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

impl fmt::Display for Fire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent();
        let of = |signal: &str| sent.iter().filter(|name| **name == signal).count();
        write!(
            formatter,
            "{} KILL, {} TERM, {} STOP, {} of them to who was renewing; seed {}",
            of("KILL"),
            of("TERM"),
            of("STOP"),
            self.hits(),
            self.seed
        )
    }
}
