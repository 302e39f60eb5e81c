//! The gate to a server that limits how often it is asked: one for all finmcp processes of a profile.
//!
//! How much is used up stands in the file of a lock, and is looked at and taken from while the lock is held, which is
//! never while somebody waits. A server without a limit has no file and no lock.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex as ShortMutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    bridge::governor::{Rate, Usage},
    credential::{
        clock::Clock,
        lock::{Lock, LockError},
    },
    server_url::ServerUrl,
};

/// How long others may hold the lock, which takes them no time at all.
const LOCK_DEADLINE: Duration = Duration::from_secs(1);

/// The gate to a server.
pub struct Turnstile {
    rate: Rate,
    place: Option<Place>,
    clock: Arc<dyn Clock>,
    /// What is known without the others.
    usage: ShortMutex<Usage>,
    /// Who of this process is next.
    queue: Mutex<()>,
}

/// Where the processes meet.
struct Place {
    folder: PathBuf,
    entry: String,
}

/// A wait that would be longer than the patience. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's limit of requests is used up: ask again in {} s", .wait.as_secs_f64().ceil())]
pub struct UsedUp {
    /// When to ask again; others may be waiting for the same.
    pub wait: Duration,
}

impl Turnstile {
    /// The gate to a server without a known limit: it is open until the server asks for a pause.
    pub fn open(clock: Arc<dyn Clock>) -> Self {
        Self { rate: Rate::UNLIMITED, place: None, clock, usage: ShortMutex::default(), queue: Mutex::default() }
    }

    /// The gate that all processes share that use `profile` at `server`, and that keep their locks in `locks`.
    pub fn shared(rate: Rate, locks: PathBuf, profile: &str, server: &ServerUrl, clock: Arc<dyn Clock>) -> Self {
        let origin = server.as_url().origin().ascii_serialization();
        let digest = Sha256::digest(format!("{origin} {profile}"));
        let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let place = Some(Place { folder: locks, entry: format!("rate-{name}") });
        Self { rate, place, ..Self::open(clock) }
    }

    /// Waits for a turn, first come, first served within this process; then the request has to go. A wait that is given
    /// up has taken nothing.
    ///
    /// # Errors
    /// [`UsedUp`] as soon as it is clear that it would take longer than `patience`.
    pub async fn pass(&self, patience: Duration) -> Result<(), UsedUp> {
        let begun = Instant::now();
        let next = timeout(patience, self.queue.lock()).await;
        let _next = next.map_err(|_| UsedUp { wait: self.rate.interval() })?;
        while let Err(wait) = self.take().await {
            if wait > patience.saturating_sub(begun.elapsed()) {
                return Err(UsedUp { wait });
            }
            sleep(wait + self.stagger()).await;
        }
        Ok(())
    }

    /// Takes a request that goes now, or says how long it has to wait; then nothing is taken, and it must ask again.
    ///
    /// # Errors
    /// The wait.
    pub async fn take(&self) -> Result<(), Duration> {
        self.change(|usage, rate, now| usage.take(rate, now)).await
    }

    /// Lets nobody pass for as long as the server asks: no process, where they share the gate.
    pub async fn hold(&self, wait: Duration) {
        self.change(|usage, rate, now| usage.hold(rate, now, wait)).await;
    }

    /// Changes what is used up, for all processes. Where they cannot meet, each keeps to the rate for itself: a request
    /// does not fail for that.
    async fn change<T>(&self, change: impl Fn(&mut Usage, Rate, u64) -> T) -> T {
        if let Some(place) = &self.place {
            match self.change_together(place, &change).await {
                Ok(outcome) => return outcome,
                Err(error) => tracing::warn!(%error, "cannot share the rate limit with other finmcp processes"),
            }
        }
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut usage, self.rate, self.now())
    }

    async fn change_together<T>(
        &self,
        place: &Place,
        change: impl Fn(&mut Usage, Rate, u64) -> T,
    ) -> Result<T, LockError> {
        let lock = Lock::acquire(&place.folder, &place.entry, LOCK_DEADLINE).await?;
        // The time by which it is this process's turn: others may have noted a later one while it waited for the lock.
        let now = self.now();
        let mut usage = Usage::from_text(&lock.note()?, self.rate, now);
        let outcome = change(&mut usage, self.rate, now);
        lock.leave(usage.to_text().as_bytes())?;
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        Ok(outcome)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0)
    }

    /// Processes that were told the same wait would otherwise all come at once, and the same one always first.
    fn stagger(&self) -> Duration {
        let random = getrandom::u32().unwrap_or_default();
        self.rate.interval().mul_f64(f64::from(random) / f64::from(u32::MAX) / 8.0)
    }
}
