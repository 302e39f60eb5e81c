//! The gate to a server that limits how often it is asked: one for all finmcp processes of a profile.
//!
//! How much is used up stands in the file of a lock, and is looked at and taken from while the lock is held, which is
//! never while somebody waits. A server without a limit has no file and no lock.

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

/// How long others may hold the lock, which takes them no time at all.
const LOCK_DEADLINE: Duration = Duration::from_secs(1);

/// The longest wait that is said: a server can ask for more than a clock can count.
const LONGEST_SAID: Duration = Duration::from_secs(366 * 24 * 3600);

/// The gate to a server.
pub struct Turnstile {
    rate: Rate,
    place: Option<Place>,
    clock: Arc<dyn Clock>,
    /// What is known without the others.
    usage: ShortMutex<Usage>,
    /// Until when the server wants no request, in its own words: it is asked again before that where that is far away.
    asked_until: ShortMutex<Option<Instant>>,
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
        Self {
            rate: Rate::UNLIMITED,
            place: None,
            clock,
            usage: ShortMutex::default(),
            asked_until: ShortMutex::default(),
            queue: Mutex::default(),
        }
    }

    /// The gate that all processes share that use `profile` at `server`, and that keep their locks in `locks`.
    pub fn shared(rate: Rate, locks: PathBuf, profile: &str, server: &ServerUrl, clock: Arc<dyn Clock>) -> Self {
        let origin = server.as_url().origin().ascii_serialization();
        let digest = Sha256::digest(format!("{origin} {profile}"));
        let place = Some(Place { folder: locks, entry: format!("rate-{}", hex::encode(&digest[..8])) });
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
                return Err(UsedUp { wait: wait.max(self.asked_wait()) });
            }
            sleep(wait + self.stagger()).await;
        }
        *self.asked_until() = None;
        Ok(())
    }

    /// Takes a request that goes now, or says how long it has to wait; then nothing is taken, and it must ask again.
    ///
    /// # Errors
    /// The wait.
    pub async fn take(&self) -> Result<(), Duration> {
        self.change(|usage, rate, now| usage.take(rate, now)).await
    }

    /// Lets nobody pass for as long as the server asks, [`LONGEST_WAIT`](super::patience::LONGEST_WAIT) at most: no
    /// process, where they share the gate.
    pub async fn hold(&self, wait: Duration) {
        *self.asked_until() = Some(Instant::now() + wait.min(LONGEST_SAID));
        self.change(|usage, rate, now| usage.hold(rate, now, wait)).await;
    }

    /// How long the server has still asked not to be asked.
    fn asked_wait(&self) -> Duration {
        self.asked_until().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn asked_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an answer with these headers asks to wait from now on.
    pub fn asked(&self, headers: &HeaderMap) -> Option<Duration> {
        retry_after::delay(headers, self.clock.now())
    }

    /// Changes what is used up, for all processes. Where they cannot meet, each keeps to the rate for itself: a request
    /// does not fail for that.
    async fn change<T>(&self, change: impl Fn(&mut Usage, Rate, u64) -> T + Sync) -> T {
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
        change: impl Fn(&mut Usage, Rate, u64) -> T + Sync,
    ) -> Result<T, LockError> {
        let lock = Lock::acquire(&place.folder, &place.entry, LOCK_DEADLINE).await?;
        // The time by which it is this process's turn: others may have noted a later one while it waited for the lock.
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

    /// Processes that were told the same wait would otherwise all come at once, and the same one always first.
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

    /// The tests' own time, on which sleeping takes none.
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(self.0.elapsed()).unwrap()
        }
    }

    /// Sixty a minute, as several processes see it: each with its own turnstile in the same folder.
    fn processes<const COUNT: usize>(locks: &Path) -> [Arc<Turnstile>; COUNT] {
        let begun = Instant::now();
        [(); COUNT].map(|()| Arc::new(turnstile(locks, "masset", "https://a.example/mcp", begun)))
    }

    fn turnstile(locks: &Path, profile: &str, server: &str, begun: Instant) -> Turnstile {
        let rate = Rate::per_minute(NonZeroU32::new(60).unwrap());
        Turnstile::shared(rate, locks.to_owned(), profile, &server.parse().unwrap(), Arc::new(TestClock(begun)))
    }

    async fn use_up(turnstile: &Turnstile) -> usize {
        let mut taken = 0;
        while turnstile.take().await.is_ok() {
            taken += 1;
        }
        taken
    }

    /// t121: the processes together keep to what each of them alone is allowed, and each serves who came first.
    #[tokio::test(start_paused = true)]
    async fn t121_processes_share_the_rate() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let waiting = processes::<4>(&folder.path().join("locks")).into_iter().flat_map(|turnstile| {
            (0..50).map(move |number| {
                let turnstile = turnstile.clone();
                tokio::spawn(async move {
                    turnstile.pass(FOREVER).await.unwrap();
                    (begun.elapsed(), Arc::as_ptr(&turnstile) as usize, number)
                })
            })
        });
        let mut passed = Vec::new();
        for pass in waiting.collect::<Vec<_>>() {
            passed.push(pass.await.unwrap());
        }
        // Those of a process stand in the order in which they came.
        assert!(passed.windows(2).all(|pair| pair[0].1 != pair[1].1 || pair[0].0 <= pair[1].0), "{passed:?}");
        passed.sort();
        let minute = Duration::from_secs(60);
        for (first, (from, ..)) in passed.iter().enumerate() {
            let within = passed[first..].iter().take_while(|(to, ..)| *to <= *from + minute).count();
            assert!(within <= 60, "{within} in a minute");
        }
        // A burst was free, and nothing was given away after it.
        assert!(passed[19].0 < Duration::from_millis(100), "{passed:?}");
        let last = Duration::from_secs(63) * 180 / 41;
        assert!(passed[199].0 < last + Duration::from_secs(1), "{:?}", passed[199]);
        // Nobody was always last.
        let owners: std::collections::BTreeSet<usize> = passed[20..60].iter().map(|pass| pass.1).collect();
        assert_eq!(owners.len(), 4);
    }

    /// Whoever gives up has taken nothing, from this process or from another.
    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_given_up_takes_nothing() {
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
        for turnstile in [one, other] {
            let begun = Instant::now();
            turnstile.pass(FOREVER).await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    }

    /// A wait that is too long is refused at once, and one behind others when the patience is over.
    #[tokio::test(start_paused = true)]
    async fn patience_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let [one] = processes(&folder.path().join("locks"));
        use_up(&one).await;
        let begun = Instant::now();
        let used_up = one.pass(Duration::from_secs(1)).await.unwrap_err();
        assert!(used_up.wait > Duration::from_secs(1));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(used_up.to_string(), "the server's limit of requests is used up: ask again in 2 s");

        one.hold(Duration::from_secs(60)).await;
        let ahead = one.clone();
        let ahead = tokio::spawn(async move { ahead.pass(FOREVER).await });
        tokio::task::yield_now().await;
        one.pass(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        ahead.await.unwrap().unwrap();
    }

    /// t121: when a server asks one process for a pause, all of them keep it, also those that are waiting already.
    #[tokio::test(start_paused = true)]
    async fn t121_a_pause_is_for_all_processes() {
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
    async fn another_profile_and_another_server_have_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        let begun = Instant::now();
        for (profile, server, left) in [
            ("masset", "https://a.example/mcp", 20),
            ("masset", "https://a.example/other", 0),
            ("another", "https://a.example/mcp", 20),
            ("masset", "https://b.example/mcp", 20),
        ] {
            assert_eq!(use_up(&turnstile(&locks, profile, server, begun)).await, left, "{profile} {server}");
        }
    }

    /// No limit, no file; a pause is kept all the same.
    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_is_open() {
        let open = Turnstile::open(Arc::new(TestClock(Instant::now())));
        assert!(open.place.is_none());
        let begun = Instant::now();
        for _ in 0..1000 {
            open.pass(Duration::ZERO).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        open.hold(Duration::from_secs(7)).await;
        assert_eq!(open.pass(Duration::from_secs(6)).await, Err(UsedUp { wait: Duration::from_secs(7) }));
        open.pass(Duration::from_secs(7)).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(7));
    }

    /// a17: what is said is the server's own number, also where it is asked again before that; and not any more once it
    /// has taken a request.
    #[tokio::test(start_paused = true)]
    async fn a17_a_long_wait_is_said_in_the_servers_own_number() {
        let folder = tempfile::tempdir().unwrap();
        let [shared] = processes(&folder.path().join("locks"));
        let open = Arc::new(Turnstile::open(Arc::new(TestClock(Instant::now()))));
        for turnstile in [shared, open] {
            for (asked, said) in [(200, 200), (301, 301), (3600, 3600), (86_400, 86_400), (u64::MAX, 366 * 86_400)] {
                turnstile.hold(Duration::from_secs(asked)).await;
                let used_up = turnstile.pass(Duration::from_secs(45)).await.unwrap_err();
                assert_eq!(used_up.wait.as_secs(), said, "{asked}");
                // Five minutes later it is asked all the same.
                turnstile.pass(patience::LONGEST_WAIT).await.unwrap();
            }
            turnstile.hold(Duration::from_secs(3600)).await;
            turnstile.pass(patience::LONGEST_WAIT).await.unwrap();
            turnstile.hold(Duration::from_secs(60)).await;
            assert_eq!(turnstile.pass(Duration::from_secs(45)).await.unwrap_err().wait.as_secs(), 60);
        }
    }

    /// Processes that were told the same wait do not come at the same time, and none comes too early or much too late.
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
        // Far more than the clock's own grain.
        assert!(most - least > Duration::from_millis(10) && most < one.rate.interval() / 7, "{late:?}");
    }

    /// Whoever waits for the lock takes by the time at which it is got: by an earlier one, what others have noted
    /// meanwhile would look like a clock that has been set back.
    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_lock_gives_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = processes(&folder.path().join("locks"));
        use_up(&one).await;
        let begun = Instant::now();
        let place = one.place.as_ref().unwrap();
        let held = Lock::acquire(&place.folder, &place.entry, LOCK_DEADLINE).await.unwrap();
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

    /// What the others do cannot be known: then each keeps to the rate for itself.
    #[tokio::test(start_paused = true)]
    async fn without_a_place_to_meet_each_keeps_the_rate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let [one, other] = processes(&file.join("locks"));
        assert_eq!([use_up(&one).await, use_up(&other).await], [20, 20]);
        assert!(one.take().await.is_err());
    }
}
