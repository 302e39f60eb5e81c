//! The gate to a server with a rate limit, shared by all finmcp processes of a profile.
//!
//! The usage is stored in a lock file, and read and changed only under that lock; no process holds the lock while it
//! waits. A server without a limit has neither file nor lock.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex as ShortMutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    bridge::upstream::rate::governor::{Rate, Usage},
    credential::clock::Clock,
    disk::lock::{Lock, LockError},
    http::retry_after,
    server_url::ServerUrl,
};

/// How long another process may hold the lock; it normally needs almost no time.
const LOCK_DEADLINE: Duration = Duration::from_secs(1);

/// The longest wait that finmcp reports: a server can ask for more than a clock can count.
const LONGEST_REPORTED: Duration = Duration::from_secs(366 * 24 * 3600);

/// Lets a request pass when the rate limit allows it.
pub struct RateGate {
    rate: Rate,
    shared: Option<SharedFile>,
    clock: Arc<dyn Clock>,
    /// The usage as this process knows it.
    usage: ShortMutex<Usage>,
    /// When the server wants the next request, as it said; finmcp may try earlier if that is far away.
    asked_until: ShortMutex<Option<Instant>>,
    /// Orders the waiting requests of this process.
    queue: Mutex<()>,
}

struct SharedFile {
    folder: PathBuf,
    entry: String,
}

/// The wait would exceed the patience. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's rate limit is used up: try again in {} s", .wait.as_secs_f64().ceil())]
pub struct RateLimited {
    /// When to try again; other requests may be waiting too.
    pub wait: Duration,
}

impl RateGate {
    /// A gate without a known limit: open until the server asks for a pause.
    pub fn open(clock: Arc<dyn Clock>) -> Self {
        Self {
            rate: Rate::UNLIMITED,
            shared: None,
            clock,
            usage: ShortMutex::default(),
            asked_until: ShortMutex::default(),
            queue: Mutex::default(),
        }
    }

    /// The gate shared by all processes that use `profile` at `server` and keep their locks in `locks`.
    pub fn shared(rate: Rate, locks: PathBuf, profile: &str, server: &ServerUrl, clock: Arc<dyn Clock>) -> Self {
        let origin = server.as_url().origin().ascii_serialization();
        let digest = Sha256::digest(format!("{origin} {profile}"));
        let shared = Some(SharedFile { folder: locks, entry: format!("rate-{}", hex::encode(&digest[..8])) });
        Self { rate, shared, ..Self::open(clock) }
    }

    /// Waits for a turn, in order of arrival within this process. After that the request must be sent. A cancelled
    /// wait uses nothing up.
    ///
    /// # Errors
    /// [`RateLimited`] as soon as the wait is known to exceed `patience`.
    pub async fn pass(&self, patience: Duration) -> Result<(), RateLimited> {
        let begun = Instant::now();
        let next = timeout(patience, self.queue.lock()).await;
        let _next = next.map_err(|_| RateLimited { wait: self.rate.interval() })?;
        while let Err(wait) = self.take().await {
            if wait > patience.saturating_sub(begun.elapsed()) {
                return Err(RateLimited { wait: wait.max(self.asked_wait()) });
            }
            sleep(wait + self.stagger()).await;
        }
        *self.asked_until() = None;
        Ok(())
    }

    /// Uses up one request, to be sent now. If that is not possible yet, uses up nothing and returns how long to wait
    /// before trying again.
    ///
    /// # Errors
    /// The wait.
    pub async fn take(&self) -> Result<(), Duration> {
        self.change(|usage, rate, now| usage.take(rate, now)).await
    }

    /// Closes the gate for as long as the server asks, [`LONGEST_WAIT`](super::patience::LONGEST_WAIT) at most, for
    /// all processes that share it.
    pub async fn hold(&self, wait: Duration) {
        *self.asked_until() = Some(Instant::now() + wait.min(LONGEST_REPORTED));
        self.change(|usage, rate, now| usage.hold(rate, now, wait)).await;
    }

    /// How much is left of the wait that the server asked for.
    fn asked_wait(&self) -> Duration {
        self.asked_until().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn asked_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wait that a response with these headers asks for.
    pub fn asked(&self, headers: &HeaderMap) -> Option<Duration> {
        retry_after::delay(headers, self.clock.now())
    }

    /// Changes the usage for all processes. If the file cannot be shared, this process keeps the rate on its own: no
    /// request fails for that.
    async fn change<T>(&self, change: impl Fn(&mut Usage, Rate, u64) -> T + Sync) -> T {
        if let Some(shared) = &self.shared {
            match self.change_shared(shared, &change).await {
                Ok(outcome) => return outcome,
                Err(error) => tracing::warn!(%error, "cannot share the rate limit with other finmcp processes"),
            }
        }
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut usage, self.rate, self.now())
    }

    async fn change_shared<T>(
        &self,
        shared: &SharedFile,
        change: impl Fn(&mut Usage, Rate, u64) -> T + Sync,
    ) -> Result<T, LockError> {
        let lock = Lock::acquire(&shared.folder, &shared.entry, LOCK_DEADLINE).await?;
        // Read the clock only under the lock: another process may have written a later time meanwhile.
        let now = self.now();
        let mut usage = Usage::from_text(&lock.note().await?, self.rate, now);
        let outcome = change(&mut usage, self.rate, now);
        lock.leave(usage.to_text().as_bytes()).await?;
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        Ok(outcome)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0)
    }

    /// A random delay, so that waiting processes do not retry simultaneously or always in the same order.
    fn stagger(&self) -> Duration {
        let random = getrandom::u32().unwrap_or_default();
        self.rate.interval().mul_f64(f64::from(random) / f64::from(u32::MAX) / 8.0)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, path::Path};

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::bridge::upstream::rate::patience;

    const FOREVER: Duration = Duration::MAX;

    /// A clock on tokio's paused time.
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(self.0.elapsed()).unwrap()
        }
    }

    /// Sixty a minute, in several processes: each has a gate in the same folder.
    fn processes<const COUNT: usize>(locks: &Path) -> [Arc<RateGate>; COUNT] {
        let begun = Instant::now();
        [(); COUNT].map(|()| Arc::new(rate_gate(locks, "masset", "https://a.example/mcp", begun)))
    }

    fn rate_gate(locks: &Path, profile: &str, server: &str, begun: Instant) -> RateGate {
        let rate = Rate::per_minute(NonZeroU32::new(60).unwrap());
        RateGate::shared(rate, locks.to_owned(), profile, &server.parse().unwrap(), Arc::new(TestClock(begun)))
    }

    async fn use_up(gate: &RateGate) -> usize {
        let mut taken = 0;
        while gate.take().await.is_ok() {
            taken += 1;
        }
        taken
    }

    /// t121: several processes together keep the limit of one, and each serves its requests in order of arrival.
    #[tokio::test(start_paused = true)]
    async fn t121_processes_share_the_rate() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let waiting = processes::<4>(&folder.path().join("locks")).into_iter().flat_map(|gate| {
            (0..50).map(move |number| {
                let gate = gate.clone();
                tokio::spawn(async move {
                    gate.pass(FOREVER).await.unwrap();
                    (begun.elapsed(), Arc::as_ptr(&gate) as usize, number)
                })
            })
        });
        let mut passed = Vec::new();
        for pass in waiting.collect::<Vec<_>>() {
            passed.push(pass.await.unwrap());
        }
        // Within a process, requests pass in order of arrival.
        assert!(passed.windows(2).all(|pair| pair[0].1 != pair[1].1 || pair[0].0 <= pair[1].0), "{passed:?}");
        passed.sort();
        let minute = Duration::from_secs(60);
        for (first, (from, ..)) in passed.iter().enumerate() {
            let within = passed[first..].iter().take_while(|(to, ..)| *to <= *from + minute).count();
            assert!(within <= 60, "{within} in a minute");
        }
        // The burst passed at once, and no request was lost after it.
        assert!(passed[19].0 < Duration::from_millis(100), "{passed:?}");
        let last = Duration::from_secs(63) * 180 / 41;
        assert!(passed[199].0 < last + Duration::from_secs(1), "{:?}", passed[199]);
        // No process was always last.
        let owners: std::collections::BTreeSet<usize> = passed[20..60].iter().map(|pass| pass.1).collect();
        assert_eq!(owners.len(), 4);
    }

    /// A cancelled wait uses up nothing, in this process or another.
    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_uses_up_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = processes(&folder.path().join("locks"));
        assert_eq!(use_up(&one).await, 20);
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let one = one.clone();
                tokio::spawn(async move { one.pass(FOREVER).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for wait in &waiting {
            wait.abort();
        }
        for wait in waiting {
            assert!(wait.await.unwrap_err().is_cancelled());
        }
        for gate in [one, other] {
            let begun = Instant::now();
            gate.pass(FOREVER).await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    }

    /// A wait that is too long is refused at once; one behind others, when its patience is over.
    #[tokio::test(start_paused = true)]
    async fn patience_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let [one] = processes(&folder.path().join("locks"));
        use_up(&one).await;
        let begun = Instant::now();
        let used_up = one.pass(Duration::from_secs(1)).await.unwrap_err();
        assert!(used_up.wait > Duration::from_secs(1));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(used_up.to_string(), "the server's rate limit is used up: try again in 2 s");

        one.hold(Duration::from_secs(60)).await;
        let ahead = one.clone();
        let ahead = tokio::spawn(async move { ahead.pass(FOREVER).await });
        tokio::task::yield_now().await;
        one.pass(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        ahead.await.unwrap().unwrap();
    }

    /// t121: when a server asks one process for a pause, all of them keep it, even those that already wait.
    #[tokio::test(start_paused = true)]
    async fn t121_a_pause_applies_to_all_processes() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = processes(&folder.path().join("locks"));
        use_up(&one).await;
        let begun = Instant::now();
        let waiting = tokio::spawn(async move { other.pass(FOREVER).await });
        tokio::task::yield_now().await;
        one.hold(Duration::from_secs(30)).await;
        waiting.await.unwrap().unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn another_profile_and_another_server_have_separate_limits() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        let begun = Instant::now();
        for (profile, server, left) in [
            ("masset", "https://a.example/mcp", 20),
            ("masset", "https://a.example/other", 0),
            ("another", "https://a.example/mcp", 20),
            ("masset", "https://b.example/mcp", 20),
        ] {
            assert_eq!(use_up(&rate_gate(&locks, profile, server, begun)).await, left, "{profile} {server}");
        }
    }

    /// Without a limit there is no file, but a pause that the server asks for still counts.
    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_is_open() {
        let open = RateGate::open(Arc::new(TestClock(Instant::now())));
        assert!(open.shared.is_none());
        let begun = Instant::now();
        for _ in 0..1000 {
            open.pass(Duration::ZERO).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        open.hold(Duration::from_secs(7)).await;
        assert_eq!(open.pass(Duration::from_secs(6)).await, Err(RateLimited { wait: Duration::from_secs(7) }));
        open.pass(Duration::from_secs(7)).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(7));
    }

    /// a17: finmcp reports the server's own number, even if it tries earlier, and stops once the server has taken a
    /// request.
    #[tokio::test(start_paused = true)]
    async fn a17_a_long_wait_is_reported_with_the_servers_own_number() {
        let folder = tempfile::tempdir().unwrap();
        let [shared] = processes(&folder.path().join("locks"));
        let open = Arc::new(RateGate::open(Arc::new(TestClock(Instant::now()))));
        for gate in [shared, open] {
            for (asked, reported) in [(200, 200), (301, 301), (3600, 3600), (86_400, 86_400), (u64::MAX, 366 * 86_400)]
            {
                gate.hold(Duration::from_secs(asked)).await;
                let used_up = gate.pass(Duration::from_secs(45)).await.unwrap_err();
                assert_eq!(used_up.wait.as_secs(), reported, "{asked}");
                // After five minutes finmcp tries anyway.
                gate.pass(patience::LONGEST_WAIT).await.unwrap();
            }
            gate.hold(Duration::from_secs(3600)).await;
            gate.pass(patience::LONGEST_WAIT).await.unwrap();
            gate.hold(Duration::from_secs(60)).await;
            assert_eq!(gate.pass(Duration::from_secs(45)).await.unwrap_err().wait.as_secs(), 60);
        }
    }

    /// Processes with the same wait do not all try at once, and none tries too early or much too late.
    #[tokio::test(start_paused = true)]
    async fn waiters_are_spread() {
        let folder = tempfile::tempdir().unwrap();
        let [one] = processes(&folder.path().join("locks"));
        let begun = Instant::now();
        use_up(&one).await;
        let mut late = std::collections::BTreeSet::new();
        for turn in 1..=20 {
            one.pass(FOREVER).await.unwrap();
            late.insert(begun.elapsed().checked_sub(one.rate.interval() * turn).unwrap());
        }
        let (least, most) = (*late.first().unwrap(), *late.last().unwrap());
        // Far more than the clock's resolution.
        assert!(most - least > Duration::from_millis(10) && most < one.rate.interval() / 7, "{late:?}");
    }

    /// A process that waited for the lock counts from when it got it. An earlier time would make the others' entries
    /// look like a clock that was set back.
    #[tokio::test(start_paused = true)]
    async fn time_is_read_under_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = processes(&folder.path().join("locks"));
        use_up(&one).await;
        let begun = Instant::now();
        let shared = one.shared.as_ref().unwrap();
        let held = Lock::acquire(&shared.folder, &shared.entry, LOCK_DEADLINE).await.unwrap();
        let waiting = one.clone();
        let waiting = tokio::spawn(async move { waiting.take().await });
        sleep(LOCK_DEADLINE / 2).await;
        let mut usage = Usage::from_text(&held.note().await.unwrap(), one.rate, one.now());
        usage.take(one.rate, one.now()).unwrap_err();
        held.leave(usage.to_text().as_bytes()).await.unwrap();
        drop(held);
        waiting.await.unwrap().unwrap_err();
        let wait = other.take().await.unwrap_err();
        assert!(begun.elapsed() + wait >= one.rate.interval() - Duration::from_millis(1), "{wait:?}");
    }

    /// If the file cannot be shared, each process keeps the rate on its own.
    #[tokio::test(start_paused = true)]
    async fn without_a_shared_file_each_process_keeps_the_rate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let [one, other] = processes(&file.join("locks"));
        assert_eq!([use_up(&one).await, use_up(&other).await], [20, 20]);
        assert!(one.take().await.is_err());
    }
}
