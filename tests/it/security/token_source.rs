//! Tokens under fire: one refresh token, many users of it, servers and stores that fail at the worst moment.
//!
//! Each `TokenSource` stands for a process: they share a store and a folder of locks, and nothing else.

#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use finmcp::{
    credential::{
        clock::Clock,
        file::{FileStore, KeySource},
        judgement::{Judgement, RefusalReason},
        memory::MemoryStore,
        record::{Credential, Identity, Renewal},
        store::{CredentialStore, StoreError},
        token_source::{AccessToken, LoginReason, TokenSource, TokenSourceError},
    },
    disk::lock::{Lock, LockError},
    http::{DOCUMENT_DEADLINE, Http},
    mcp::attempts::Attempts,
    oauth::{
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
        token_set::TokenSet,
    },
    secret::Secret,
};
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Barrier;
use zeroize::Zeroizing;

use crate::support::vendor::{Effect, ExpiresIn, Gate, On, Recorded, Reply, Script, TokenShape, Vendor};

/// The origin by which the vendor is known.
const ORIGIN: &str = "https://mcp.example";
const RESOURCE: &str = "https://mcp.example/mcp";

/// A clock that stands still until it is told.
struct TestClock(Mutex<Timestamp>);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-11-20T00:00:00Z".parse().unwrap())))
    }

    fn advance(&self, seconds: f64) {
        *self.0.lock().unwrap() += SignedDuration::from_secs_f64(seconds);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A store that counts, and fails when it is told.
#[derive(Default)]
struct TestStore {
    inner: MemoryStore,
    loads: AtomicUsize,
    /// How many more saves it takes.
    saves_left: Mutex<Option<usize>>,
}

impl TestStore {
    fn saves_left(&self, left: Option<usize>) {
        *self.saves_left.lock().unwrap() = left;
    }
}

impl CredentialStore for TestStore {
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.inner.load(entry)
    }

    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        match &mut *self.saves_left.lock().unwrap() {
            Some(0) => return Box::pin(async { Err(StoreError::Locked) }),
            Some(left) => *left -= 1,
            None => {}
        }
        self.inner.save(entry, payload)
    }

    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.delete(entry)
    }

    fn description(&self) -> String {
        "a test".to_owned()
    }
}

/// A machine on which somebody has signed in an hour's token ago.
struct Machine {
    folder: tempfile::TempDir,
    clock: Arc<TestClock>,
    vendor: Vendor,
    store: Arc<TestStore>,
    identity: Identity,
    credential: Credential,
}

impl Machine {
    async fn new() -> Self {
        let clock = TestClock::new();
        let vendor = Vendor::start_within(
            ORIGIN,
            Script {
                clients: vec![("client".to_owned(), None)],
                token_shape: TokenShape::Numbered,
                ..Script::people()
            },
        );
        vendor.has_signed_in("client", "read write");
        let identity = Identity {
            environment: "sandbox".to_owned(),
            issuer: "https://as.example".to_owned(),
            resource: RESOURCE.to_owned(),
            client_id: "client".to_owned(),
            account: String::new(),
        };
        let credential = Credential {
            identity: identity.clone(),
            generation: 0,
            sign_in: 0,
            renewal: Renewal::RefreshToken,
            registration: ClientRegistration {
                client_id: "client".to_owned(),
                client_secret: None,
                authentication: ClientAuthentication::None,
                redirect_uri: None,
                expires_at: None,
                withheld: Scope::default(),
                other_redirect_uris: Vec::new(),
            },
            token_endpoint: format!("http://127.0.0.1:{}/token", vendor.port()).parse().unwrap(),
            revocation_endpoint: None,
            resource: Some(RESOURCE.to_owned()),
            scope: Some("read write".parse().unwrap()),
            scope_on_refresh: false,
            require_audience: false,
            parameters: Vec::new(),
            dpop_key: None,
            tokens: Some(TokenSet {
                access_token: Secret::new("access-0".to_owned()),
                refresh_token: Some(Secret::new("refresh-0".to_owned())),
                issued_at: clock.now(),
                expires_at: Some(clock.now() + SignedDuration::from_secs(3600)),
                scope: Some("read write".parse().unwrap()),
                person: Some("p@example".to_owned()),
            }),
            end: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder, clock, vendor, store: Arc::default(), identity, credential };
        machine.process().sign_in(machine.credential.clone()).await.unwrap();
        machine.store.loads.store(0, Ordering::SeqCst);
        machine
    }

    /// The source of another process.
    fn process(&self) -> TokenSource {
        self.process_with(self.store.clone())
    }

    fn process_with(&self, store: Arc<dyn CredentialStore>) -> TokenSource {
        TokenSource::new(
            Some(self.identity.clone()),
            store,
            self.folder.path().join("locks"),
            Arc::new(Http::default()),
            self.clock.clone(),
        )
    }

    async fn stored(&self) -> Credential {
        self.process().credential().await.unwrap().unwrap()
    }

    async fn stored_refresh_token(&self) -> Option<String> {
        Some(self.stored().await.tokens?.refresh_token?.expose().clone())
    }

    fn expire(&self) {
        self.clock.advance(3600.0);
    }

    /// From now on every token request is answered this, and spends nothing.
    fn answers(&self, status: u16, body: &str) {
        let reply = Reply::new(status).body("application/json", body);
        self.vendor.change(|script| script.token_answer = Some(reply));
    }

    /// From now on every token request gets new tokens.
    fn rotates(&self) {
        self.vendor.change(|script| script.token_answer = None);
    }

    /// The answer to the next token request is held until the test lets it go.
    fn holds(&self) -> Gate {
        let gate = Gate::default();
        self.vendor.fault(On::Path("/token"), Effect::Hold(gate.clone()));
        gate
    }

    /// How many token requests there were.
    fn requests(&self) -> usize {
        self.vendor.records_at("/token").len()
    }
}

async fn token(source: &TokenSource) -> Result<String, TokenSourceError> {
    Ok(text(&source.access_token(Duration::ZERO).await?.unwrap()))
}

/// What becomes of a request with `token` that the server answers with this status and challenge.
async fn judged(source: &TokenSource, token: &AccessToken, status: u16, challenge: &str, law: &Attempts) -> Judgement {
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge.parse().unwrap())]);
    let url = RESOURCE.parse().unwrap();
    source.judge(Some(token), &url, StatusCode::from_u16(status).unwrap(), &headers, law).await
}

/// What replaces `rejected` after a 401.
async fn renewed(source: &TokenSource, rejected: &AccessToken) -> Result<AccessToken, TokenSourceError> {
    match judged(source, rejected, 401, "Bearer", &Attempts::default()).await {
        Judgement::Retry(another) => Ok(another),
        Judgement::Refused(RefusalReason::NoToken(error)) => Err(error),
        judgement => panic!("{judgement:?}"),
    }
}

fn text(token: &AccessToken) -> String {
    token.secret().expose().clone()
}

/// Tries `check` until it holds.
async fn eventually<F: Future<Output = bool>>(check: impl Fn() -> F) {
    for _ in 0..1000 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it has not come about in 10 s");
}

/// t065, t068: 64 at once with every expiry; one of them asks, the others use what it got.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t065_one_request_an_expiry_among_64() {
    let machine = Machine::new().await;
    let key = machine.folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let open = || FileStore::new(machine.folder.path().join("credentials"), KeySource::KeyFile(key.clone()));
    let sources: Vec<_> = (0..64).map(|_| machine.process_with(Arc::new(open()))).collect();
    sources[0].sign_in(machine.credential.clone()).await.unwrap();
    let barrier = Arc::new(Barrier::new(sources.len()));
    for round in 1..=20 {
        machine.expire();
        let calls = sources.iter().cloned().map(|source| {
            let barrier = barrier.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                token(&source).await.unwrap()
            })
        });
        for call in join_all(calls).await {
            assert_eq!(call.unwrap(), format!("access-{round}"));
        }
        assert_eq!(machine.requests(), round);
    }
    assert_eq!(machine.vendor.replays(), 0);
}

/// t065: the same within one process: they share one request, and its failure.
#[tokio::test]
async fn t065_callers_in_one_process_share_a_flight() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.answers(503, "");
    for outcome in join_all((0..64).map(|_| token(&source))).await {
        assert!(matches!(outcome, Err(TokenSourceError::Unavailable(_))));
    }
    assert_eq!(machine.requests(), 1);
    machine.rotates();
    for outcome in join_all((0..64).map(|_| token(&source))).await {
        assert_eq!(outcome.unwrap(), "access-2");
    }
    assert_eq!(machine.requests(), 2);
}

/// t069: a process that slept through twenty rotations uses none of the old tokens.
#[tokio::test]
async fn t069_an_idle_process_reuses_nothing() {
    let machine = Machine::new().await;
    let (idle, busy) = (machine.process(), machine.process());
    assert_eq!(token(&idle).await.unwrap(), "access-0");
    for _ in 0..20 {
        machine.expire();
        token(&busy).await.unwrap();
    }
    assert_eq!(token(&idle).await.unwrap(), "access-20");
    machine.expire();
    assert_eq!(token(&idle).await.unwrap(), "access-21");
    assert_eq!((machine.requests(), machine.vendor.replays()), (21, 0));
}

/// One read of the store in the life of a token, and none for a server that nobody has signed in to.
#[tokio::test]
async fn the_steady_state_touches_no_store() {
    let machine = Machine::new().await;
    let source = machine.process();
    for _ in 0..1000 {
        assert_eq!(token(&source).await.unwrap(), "access-0");
    }
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), 1);
    let anonymous = TokenSource::new(
        None,
        machine.store.clone(),
        machine.folder.path().join("none"),
        Arc::new(Http::default()),
        machine.clock.clone(),
    );
    assert_eq!(anonymous.access_token(Duration::ZERO).await.unwrap(), None);
    assert!(anonymous.credential().await.unwrap().is_none());
    assert!(anonymous.sign_out().await.unwrap().is_none());
    anonymous.settle().await;
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), 1);
    assert!(!machine.folder.path().join("none").exists());
    // Until somebody does, here or elsewhere.
    anonymous.identify(machine.identity.clone());
    assert_eq!(token(&anonymous).await.unwrap(), "access-0");
}

/// t060, t067, b1: a server that is busy, broken or makes no sense ends nothing: the next attempt works.
#[tokio::test]
async fn t060_a_server_in_trouble_ends_no_sign_in() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    for (status, body) in [
        (408, ""),
        (425, ""),
        (429, r#"{"error":"slow_down"}"#),
        (429, r#"{"error":"invalid_grant"}"#),
        (500, r#"{"error":"server_error"}"#),
        (500, r#"{"error":"invalid_grant"}"#),
        (400, r#"{"error":"temporarily_unavailable"}"#),
        (502, "<html>bad gateway</html>"),
        (503, ""),
        (200, "<html>sign in</html>"),
        (200, r#"{"access_token":"#),
        (200, "{}"),
        (200, r#"{"access_token":"a\r\nX: y","token_type":"Bearer"}"#),
        (200, r#"{"access_token":"a","token_type":"mac"}"#),
    ] {
        machine.answers(status, body);
        let outcome = token(&source).await;
        assert!(matches!(outcome, Err(TokenSourceError::Unavailable(_))), "{status} {body}: {outcome:?}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{status} {body}");
        assert_eq!(machine.stored().await.end, None, "{status} {body}");
    }
    machine.rotates();
    token(&source).await.unwrap();
    assert_eq!(machine.vendor.replays(), 0);
}

/// t060, b1: a definite refusal ends the sign-in in whatever words it comes. It is asked for once, in all processes; the
/// tokens are kept until the next sign-in.
#[tokio::test]
async fn b1_a_definite_refusal_ends_a_sign_in_in_whatever_words() {
    for (status, body) in [
        (400, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"invalid_grant"}"#),
        (200, r#"{"error":"bad_refresh_token","error_description":"The refresh token is incorrect or expired."}"#),
        (403, r#"{"error":"unauthorized_client"}"#),
        (400, r#"{"error":"invalid_request"}"#),
        (400, r#"{"error":"invalid_client"}"#),
        (400, r#"{"error":"something_new"}"#),
        (400, r#"{"error":{"code":400,"message":"Token has been revoked","status":"INVALID_ARGUMENT"}}"#),
        (400, r#"["no"]"#),
        (400, "{}"),
        (401, "the refresh token is unknown"),
        (403, ""),
        (404, "not found"),
    ] {
        let machine = Machine::new().await;
        let source = machine.process();
        machine.expire();
        machine.answers(status, body);
        for source in [&source, &source, &machine.process()] {
            let outcome = token(source).await;
            assert!(matches!(outcome, Err(TokenSourceError::LoginRequired(LoginReason::Ended))), "{body}: {outcome:?}");
            assert!(!source.is_signed_in().await, "{body}");
        }
        assert_eq!(machine.requests(), 1, "once it is known nobody asks again: {body}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{body}");
        // What it takes to sign in again is still there.
        assert_eq!(machine.stored().await.registration.client_id, "client");
        assert!(source.force_refresh().await.is_err());
        assert_eq!(machine.requests(), 1, "{body}");
        source.sign_in(machine.credential.clone()).await.unwrap();
        assert!(source.is_signed_in().await, "{body}");
    }
}

/// a1: a token that the resource server refused and that nothing replaces is no sign-in, whatever its lifetime says: not
/// until the server takes it after all, or somebody signs in.
#[tokio::test]
async fn a1_a_refused_token_is_no_sign_in() {
    let mut machine = Machine::new().await;
    let tokens = machine.credential.tokens.as_mut().unwrap();
    tokens.refresh_token = None;
    let credential = machine.credential.clone();
    let source = machine.process();
    source.sign_in(credential.clone()).await.unwrap();
    assert!(source.is_signed_in().await);
    let held = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let renewed = renewed(&source, &held).await;
    assert!(matches!(renewed, Err(TokenSourceError::LoginRequired(LoginReason::NotRenewable))), "{renewed:?}");
    assert!(!source.is_signed_in().await);
    // For another request it may do.
    assert_eq!(token(&source).await.unwrap(), "access-0");
    assert!(!source.is_signed_in().await);
    let taken = judged(&source, &held, 200, "", &Attempts::default()).await;
    assert!(matches!(taken, Judgement::Accepted) && source.is_signed_in().await, "{taken:?}");
    // One that the law of attempts lets nothing follow.
    let spent = Attempts::default();
    spent.may_have_run();
    let refused = judged(&source, &held, 401, "Bearer", &spent).await;
    assert!(matches!(refused, Judgement::Refused(RefusalReason::InvalidToken)), "{refused:?}");
    assert!(!source.is_signed_in().await);
    let fresh = TokenSet { access_token: Secret::new("access-9".to_owned()), ..credential.tokens.clone().unwrap() };
    machine.process().sign_in(Credential { tokens: Some(fresh), ..credential }).await.unwrap();
    assert!(source.is_signed_in().await);
}

/// a2: nothing is renewed to find out whether somebody is signed in; and a sign-in by another process shows without a look
/// at the store.
#[tokio::test]
async fn a2_looking_for_a_sign_in_renews_nothing() {
    let machine = Machine::new().await;
    let source = machine.process();
    token(&source).await.unwrap();
    machine.expire();
    for _ in 0..3 {
        assert!(source.is_signed_in().await, "it can be renewed");
    }
    assert_eq!(machine.requests(), 0);
    let before = source.trace().await;
    let loads = machine.store.loads.load(Ordering::SeqCst);
    assert_eq!(source.trace().await, before);
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), loads);
    machine.process().sign_in(machine.credential.clone()).await.unwrap();
    assert_ne!(source.trace().await, before);
}

/// t067: no network at all.
#[tokio::test]
async fn t067_being_offline_ends_nothing() {
    let machine = Machine::new().await;
    let source = machine.process();
    let offline =
        Credential { token_endpoint: "http://127.0.0.1:1/token".parse().unwrap(), ..machine.credential.clone() };
    source.sign_in(offline).await.unwrap();
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::Unavailable(_))));
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"));
}

/// t066: the server refuses our refresh token, and meanwhile somebody has signed in again without asking for the lock:
/// theirs stays, and is used.
#[tokio::test]
async fn t066_a_loser_clears_nothing_of_the_winner() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.answers(400, r#"{"error":"invalid_grant"}"#);
    let gate = machine.holds();
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    gate.arrived().await;
    let mut winner = Credential { generation: 9, ..machine.credential.clone() };
    let tokens = winner.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("winner".to_owned());
    tokens.issued_at = machine.clock.now();
    tokens.expires_at = Some(machine.clock.now() + SignedDuration::from_secs(3600));
    machine.store.save(&machine.identity.entry(), winner.to_payload().unwrap()).await.unwrap();
    gate.open();
    assert_eq!(call.await.unwrap().unwrap(), "winner");
    assert_eq!(machine.stored().await.generation, 9);
}

/// t070: the caller goes away in the middle of it; what the server hands out is saved all the same, and a process that
/// ends can wait for that.
#[tokio::test]
async fn t070_cancellation_loses_no_token() {
    for is_ending in [false, true] {
        let machine = Machine::new().await;
        let source = machine.process();
        machine.expire();
        let gate = machine.holds();
        tokio::select! {
            _ = token(&source) => panic!("it has not been answered"),
            () = gate.arrived() => {}
        }
        let settled = tokio::spawn({
            let source = source.clone();
            async move {
                if is_ending {
                    source.settle().await;
                }
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(settled.is_finished(), !is_ending);
        gate.open();
        settled.await.unwrap();
        if !is_ending {
            eventually(async || machine.stored_refresh_token().await.as_deref() != Some("refresh-0")).await;
        }
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
        assert_eq!(token(&source).await.unwrap(), "access-1");
        assert_eq!(machine.requests(), 1);
    }
}

/// t070: what waits for the lock when the process ends is given up: nothing has been sent, and nothing will be.
#[tokio::test]
async fn t070_nothing_is_begun_at_the_end() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    let held = Lock::acquire(&machine.folder.path().join("locks"), &machine.identity.entry(), Duration::ZERO).await;
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    tokio::task::yield_now().await;
    source.settle().await;
    assert!(!call.is_finished());
    drop(held);
    assert!(matches!(call.await.unwrap(), Err(TokenSourceError::Interrupted)));
    assert_eq!(machine.requests(), 0);
}

/// Saved before it is used: when the caller has the token, another process finds it in the store.
#[tokio::test]
async fn t070_a_token_is_stored_before_it_is_used() {
    let machine = Machine::new().await;
    machine.expire();
    assert_eq!(token(&machine.process()).await.unwrap(), "access-1");
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
    assert_eq!(machine.stored().await.generation, 2);
}

/// t070: a store that takes nothing is found out before the refresh token is spent.
#[tokio::test]
async fn t070_nothing_is_spent_for_a_store_that_takes_nothing() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.store.saves_left(Some(0));
    machine.expire();
    assert!(
        matches!(token(&source).await, Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Locked))
    );
    assert_eq!(machine.requests(), 0);
    machine.store.saves_left(None);
    assert_eq!(token(&source).await.unwrap(), "access-1");
}

/// t071: the store fails between the request and the save: calls go on from memory, the save is tried again, and
/// nothing is spent twice.
#[tokio::test]
async fn t071_a_failed_save_is_made_up_for() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.store.saves_left(Some(1));
    assert_eq!(token(&source).await.unwrap(), "access-1");
    assert_eq!(token(&source).await.unwrap(), "access-1");
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"));
    // The next renewal starts from what is in memory, and is not made while that cannot be saved.
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::Store(_))));
    assert_eq!(machine.requests(), 1);
    machine.store.saves_left(None);
    eventually(async || machine.stored_refresh_token().await.as_deref() == Some("refresh-1")).await;
    assert_eq!(token(&source).await.unwrap(), "access-2");
    assert_eq!((machine.requests(), machine.vendor.replays()), (2, 0));
}

/// t071: the process ends before the next attempt.
#[tokio::test]
async fn t071_settling_saves_what_is_unsaved() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.store.saves_left(Some(1));
    token(&source).await.unwrap();
    machine.store.saves_left(None);
    source.settle().await;
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
}

/// t071, t080: what could not be saved does not undo what others did meanwhile.
#[tokio::test]
async fn t080_an_unsaved_token_yields_to_others() {
    for signs_out in [true, false] {
        let machine = Machine::new().await;
        let (source, other) = (machine.process(), machine.process());
        machine.expire();
        machine.store.saves_left(Some(1));
        token(&source).await.unwrap();
        machine.store.saves_left(None);
        if signs_out {
            other.sign_out().await.unwrap();
        } else {
            other.sign_in(machine.credential.clone()).await.unwrap();
        }
        source.settle().await;
        let stored = machine.process().credential().await.unwrap();
        let refresh_token = stored.and_then(|stored| stored.tokens?.refresh_token);
        assert_eq!(refresh_token.map(|token| token.expose().clone()), (!signs_out).then(|| "refresh-0".to_owned()));
    }
}

/// t080: generations begin anew with a sign-in after a sign-out. What could not be saved before is not its successor.
#[tokio::test]
async fn t080_an_unsaved_token_does_not_survive_a_sign_out() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    machine.expire();
    machine.store.saves_left(Some(1));
    token(&source).await.unwrap();
    machine.store.saves_left(None);
    other.sign_out().await.unwrap();
    let mut again = machine.credential.clone();
    again.tokens.as_mut().unwrap().refresh_token = Some(Secret::new("another sign-in".to_owned()));
    other.sign_in(again).await.unwrap();
    source.settle().await;
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("another sign-in"));
}

/// t073: somebody holds the lock and does not give it back: nothing is sent without it.
#[tokio::test(start_paused = true)]
async fn t073_without_the_lock_nothing_is_sent() {
    let machine = Machine::new().await;
    let source = machine.process();
    let _held =
        Lock::acquire(&machine.folder.path().join("locks"), &machine.identity.entry(), Duration::ZERO).await.unwrap();
    // While the old token lives it is used.
    machine.clock.advance(3570.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    machine.clock.advance(30.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::Lock(_))));
    assert_eq!(machine.requests(), 0);
}

/// Not a test: a process that holds a lock for as long as it lives.
#[test]
#[ignore = "runs inside of the other tests"]
fn holder() {
    let Some(locks) = std::env::var_os("HOLDER_LOCKS") else { return };
    let entry = std::env::var("HOLDER_ENTRY").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _held = runtime.block_on(Lock::acquire(locks.as_ref(), &entry, Duration::ZERO)).unwrap();
    println!("\nheld");
    // Until it is killed, or its test is gone.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// [`holder`], which ends with its test.
struct Holder {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(machine: &Machine) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "security::token_source::holder", "--ignored", "--nocapture"])
            .env("HOLDER_LOCKS", machine.folder.path().join("locks"))
            .env("HOLDER_ENTRY", machine.identity.entry())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "held"));
        Self { child, _output: lines }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// t072: whoever holds the lock is killed: the next has it at once, with nothing to clear away.
#[tokio::test]
async fn t072_a_killed_holder_leaves_no_lock() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    let mut holder = Holder::start(&machine);
    let call = tokio::spawn(async move { token(&source).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!call.is_finished());
    holder.child.kill().unwrap();
    let killed = Instant::now();
    assert_eq!(call.await.unwrap().unwrap(), "access-1");
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
}

/// t072: whoever holds the lock is stopped, and may go on at any time: nobody else spends anything.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn t072_a_stopped_holder_keeps_the_lock() {
    use rustix::process::{Pid, Signal, kill_process};
    let machine = Machine::new().await;
    machine.expire();
    let holder = Holder::start(&machine);
    kill_process(Pid::from_child(&holder.child), Signal::STOP).unwrap();
    for outcome in join_all([machine.process(), machine.process()].iter().map(token)).await {
        assert!(matches!(outcome, Err(TokenSourceError::Lock(_))));
    }
    assert_eq!(machine.requests(), 0);
}

/// t074: a server that takes its time, almost too long: no lock is too old, and one request is enough.
#[tokio::test(start_paused = true)]
async fn t074_a_slow_holder_is_waited_for() {
    let machine = Machine::new().await;
    machine.expire();
    let gate = machine.holds();
    let answer = tokio::spawn(async move {
        gate.arrived().await;
        tokio::time::sleep(DOCUMENT_DEADLINE - Duration::from_secs(2)).await;
        gate.open();
    });
    let sources: Vec<_> = (0..5).map(|_| machine.process()).collect();
    for outcome in join_all(sources.iter().map(token)).await {
        assert_eq!(outcome.unwrap(), "access-1");
    }
    answer.await.unwrap();
    assert_eq!((machine.requests(), machine.vendor.replays()), (1, 0));
}

/// t076: the lock is on a file of its own. While somebody holds it others read what is stored, and use what has been
/// renewed.
#[tokio::test]
async fn t076_a_held_lock_keeps_nobody_from_reading() {
    let machine = Machine::new().await;
    let key = machine.folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let credentials = machine.folder.path().join("credentials");
    let store = Arc::new(FileStore::new(credentials.clone(), KeySource::KeyFile(key)));
    machine.process_with(store.clone()).sign_in(machine.credential.clone()).await.unwrap();
    let _holder = Holder::start(&machine);
    let reader = machine.process_with(store.clone());
    assert_eq!(token(&reader).await.unwrap(), "access-0");
    machine.expire();
    let mut renewed = Credential { generation: 2, ..machine.credential.clone() };
    let tokens = renewed.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("renewed".to_owned());
    tokens.expires_at = None;
    store.save(&machine.identity.entry(), renewed.to_payload().unwrap()).await.unwrap();
    assert_eq!(token(&reader).await.unwrap(), "renewed");
    assert_eq!(machine.requests(), 0);
    let names = |folder: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_ne!(names(&credentials), names(&machine.folder.path().join("locks")));
}

/// t077: a file system that cannot lock, as some network homes: it is said, and nothing is sent.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn t077_where_nothing_can_be_locked_nothing_is_sent() {
    let machine = Machine::new().await;
    machine.expire();
    let process = machine.process();
    // With a runtime of its own, whose threads for what blocks begin under the same rule.
    let asking = std::thread::spawn(move || {
        refuse_locks();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(token(&process)).unwrap_err()
    });
    let error = asking.join().unwrap();
    assert!(
        matches!(&error, TokenSourceError::Lock(error) if matches!(**error, LockError::Failed { .. })),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("could not lock "), "{error}");
    assert_eq!(machine.requests(), 0);
}

/// From now on the calls of flock(2) of this thread, and of those that it starts, end as they do on such a file system.
#[cfg(target_os = "linux")]
fn refuse_locks() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let number = if cfg!(target_arch = "x86_64") { 73 } else { 32 };
    let refused = SeccompAction::Errno(rustix::io::Errno::NOLCK.raw_os_error().cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new([(number, Vec::new())].into(), SeccompAction::Allow, refused, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// t078: a renewal that hangs in the safety margin does not hold up the calls, and is not started over and over.
#[tokio::test]
async fn t078_a_slow_renewal_holds_nobody_up() {
    let machine = Machine::new().await;
    let source = machine.process();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    // A second is left.
    machine.clock.advance(3599.0);
    let gate = machine.holds();
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(token(&source).await.unwrap(), "access-0");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert_eq!(machine.requests(), 1);
    gate.open();
    eventually(async || token(&source).await.unwrap() == "access-1").await;
    assert_eq!(machine.requests(), 1);
}

/// A renewal that fails in the safety margin is tried again after a while, not with each call.
#[tokio::test]
async fn a_failing_renewal_leaves_the_old_token_in_use() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.clock.advance(3570.0);
    machine.answers(503, "");
    for _ in 0..100 {
        assert_eq!(token(&source).await.unwrap(), "access-0");
    }
    assert_eq!(machine.requests(), 1);
    machine.clock.advance(30.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::Unavailable(_))));
}

/// t057, t058: a response without refresh token, scope or ID token leaves the old ones; a smaller scope is recorded.
#[tokio::test]
async fn t057_what_a_response_leaves_out_stays() {
    let machine = Machine::new().await;
    let source = machine.process();
    for (body, scope) in [
        (r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#, "read write"),
        (r#"{"access_token":"b","token_type":"Bearer","expires_in":3600,"scope":""}"#, "read write"),
        (r#"{"access_token":"c","token_type":"Bearer","expires_in":3600,"scope":"read"}"#, "read"),
        (r#"{"access_token":"d","token_type":"Bearer","expires_in":3600}"#, "read"),
    ] {
        machine.expire();
        machine.answers(200, body);
        let token = source.access_token(Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(token.scope().unwrap().to_string(), scope, "{body}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{body}");
        let stored = machine.stored().await.tokens.unwrap();
        assert_eq!(
            (&stored.scope.unwrap().to_string()[..], stored.person.as_deref()),
            (scope, Some("p@example")),
            "{body}"
        );
    }
    let forms: Vec<_> = machine.vendor.records_at("/token").iter().map(Recorded::form).collect();
    assert!(forms.iter().all(|form| form["resource"] == RESOURCE && !form.contains_key("scope")));
}

/// t064: a wider sign-in of another process is used at once; a mere renewal there does not pass for one.
#[tokio::test]
async fn t064_a_wider_sign_in_elsewhere_is_used() {
    let machine = Machine::new().await;
    let source = machine.process();
    let narrow = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let widened = async || {
        let challenge = r#"Bearer error="insufficient_scope", scope="admin""#;
        judged(&source, &narrow, 403, challenge, &Attempts::default()).await
    };
    let is_narrow = |judgement| {
        let Judgement::Refused(RefusalReason::InsufficientScope { missing, wanted }) = judgement else { return false };
        missing.as_deref() == Some("admin") && wanted == ["admin", "read", "write"]
    };
    assert!(is_narrow(widened().await));

    let renewed = machine.process().force_refresh().await.unwrap();
    assert_ne!(renewed, narrow);
    assert!(is_narrow(widened().await));

    let mut wide = machine.credential.clone();
    let tokens = wide.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("wide".to_owned());
    tokens.scope = Some("admin read write".parse().unwrap());
    machine.process().sign_in(wide).await.unwrap();
    let requests = machine.requests();
    assert!(matches!(widened().await, Judgement::Retry(wider) if text(&wider) == "wide"));
    assert_eq!(token(&source).await.unwrap(), "wide");
    assert_eq!(machine.requests(), requests);
}

/// t054: a server that hands out expired tokens: each is used, and they are not fetched in a storm.
#[tokio::test]
async fn t054_expired_tokens_start_no_storm() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    for lifetime in [0, -1, -99_999_999] {
        machine.vendor.change(|script| script.expires_in = ExpiresIn::Exactly(lifetime));
        source.force_refresh().await.unwrap();
        let asked = machine.requests();
        for _ in 0..600 {
            token(&source).await.unwrap();
            machine.clock.advance(0.1);
        }
        let asked = machine.requests() - asked;
        assert!((1..=6).contains(&asked), "{lifetime}: {asked} in a minute");
    }
}

/// Five-second tokens for an hour: each is used for most of its life, none after it, and one sign-in is enough.
#[tokio::test]
async fn five_second_tokens_last_for_an_hour() {
    let machine = Machine::new().await;
    machine.vendor.change(|script| script.expires_in = ExpiresIn::Exactly(5));
    let source = machine.process();
    machine.expire();
    for _ in 0..36_000 {
        let token = source.access_token(Duration::ZERO).await.unwrap().unwrap();
        assert!(token.expires_at().unwrap() > machine.clock.now());
        machine.clock.advance(0.1);
    }
    // Between 4.4 s and 4.5 s each, as its process is in haste.
    assert!((720..=820).contains(&machine.requests()), "{}", machine.requests());
    assert_eq!(machine.vendor.replays(), 0);
}

/// t052: nobody knows when the token ends: it is used until a 401, and then renewed once.
#[tokio::test]
async fn t052_a_token_without_end_is_used_until_a_401() {
    let machine = Machine::new().await;
    machine.answers(200, r#"{"access_token":"endless","token_type":"Bearer","refresh_token":"refresh-0"}"#);
    let source = machine.process();
    machine.expire();
    assert_eq!(token(&source).await.unwrap(), "endless");
    for _ in 0..100 {
        machine.clock.advance(86_400.0);
        assert_eq!(token(&source).await.unwrap(), "endless");
    }
    assert_eq!(machine.requests(), 1);
    machine.rotates();
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(text(&renewed(&source, &rejected).await.unwrap()), "access-2");
    assert_eq!(token(&source).await.unwrap(), "access-2");
}

/// t055: a clock that jumps a day ahead or back, and a machine that sleeps for two: the next call makes one request at
/// most, nobody has to sign in again, and a 401 has the last word.
#[tokio::test]
async fn t055_a_clock_that_jumps_costs_one_request_and_no_sign_in() {
    const DAY: f64 = 86_400.0;
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    for (jump, requests) in [(DAY, 1), (-2.0 * DAY, 1), (2.0 * DAY, 1), (2.0 * DAY, 2), (-DAY, 2)] {
        machine.clock.advance(jump);
        let found = token(&source).await.unwrap();
        for _ in 0..20 {
            assert_eq!(token(&source).await.unwrap(), found);
            assert_eq!(token(&other).await.unwrap(), found);
        }
        assert_eq!(machine.requests(), requests, "after {jump} s");
    }
    // Long before its end by our clock, and the server disagrees.
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    renewed(&source, &rejected).await.unwrap();
    assert_eq!((machine.requests(), machine.vendor.replays()), (3, 0));
}

/// t056: a 401 for a token that looks valid: another process's newer one is used; else one request is made, however
/// many calls were rejected.
#[tokio::test]
async fn t056_a_rejected_token_is_replaced_once() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let rejected_there = other.access_token(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(rejected, rejected_there);
    for renewed in join_all((0..64).map(|_| renewed(&source, &rejected))).await {
        assert_eq!(text(&renewed.unwrap()), "access-1");
    }
    assert_eq!(text(&renewed(&other, &rejected_there).await.unwrap()), "access-1");
    // Late news of the old token.
    assert_eq!(text(&renewed(&source, &rejected).await.unwrap()), "access-1");
    assert_eq!(machine.requests(), 1);
}

/// A server that rejects every token does not make us fetch one for each call.
#[tokio::test]
async fn t056_rejections_start_no_storm() {
    let machine = Machine::new().await;
    let source = machine.process();
    let first = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let second = renewed(&source, &first).await.unwrap();
    for _ in 0..100 {
        assert!(matches!(renewed(&source, &second).await, Err(TokenSourceError::Rejected)));
    }
    assert_eq!(machine.requests(), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(text(&renewed(&source, &second).await.unwrap()), "access-2");
}

/// t062: the client's own credentials: the same lock, the same sharing, asked for again and again without a person.
#[tokio::test]
async fn t062_client_credentials_are_minted_once_for_all() {
    let machine = Machine::new().await;
    machine.vendor.know("client", "secret");
    let mut credential = Credential { renewal: Renewal::ClientCredentials, tokens: None, ..machine.credential.clone() };
    credential.registration.client_secret = Some(Secret::new("secret".to_owned()));
    credential.registration.authentication = ClientAuthentication::Body;
    machine.process().sign_in(credential).await.unwrap();
    let sources: Vec<_> = (0..64).map(|_| machine.process()).collect();
    for round in 1..=5 {
        for outcome in join_all(sources.iter().map(token)).await {
            assert_eq!(outcome.unwrap(), format!("access-{round}"));
        }
        assert_eq!(machine.requests(), round);
        machine.expire();
    }
    assert!(machine.vendor.records_at("/token").iter().all(|record| record.form()["scope"] == "read write"));
    // Not even `invalid_grant` ends what needs no person.
    machine.answers(400, r#"{"error":"invalid_grant"}"#);
    assert!(matches!(token(&sources[0]).await, Err(TokenSourceError::Refused(_))));
    machine.rotates();
    token(&sources[0]).await.unwrap();
    // A store that fails costs another request later, and no call.
    machine.expire();
    machine.store.saves_left(Some(0));
    token(&sources[0]).await.unwrap();
}

#[tokio::test]
async fn a_forced_refresh_asks_whatever_is_stored() {
    let machine = Machine::new().await;
    let source = machine.process();
    assert_eq!(text(&source.force_refresh().await.unwrap()), "access-1");
    assert_eq!(text(&source.force_refresh().await.unwrap()), "access-2");
    assert_eq!(token(&source).await.unwrap(), "access-2");
    assert_eq!(machine.vendor.replays(), 0);
}

/// A wish for more time than is left is granted, but never more than the server gives.
#[tokio::test]
async fn a_wish_for_time_renews() {
    let machine = Machine::new().await;
    let source = machine.process();
    let long = Duration::from_secs(1800);
    assert_eq!(text(&source.access_token(long).await.unwrap().unwrap()), "access-0");
    machine.clock.advance(1801.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    assert_eq!(text(&source.access_token(long).await.unwrap().unwrap()), "access-1");
    for _ in 0..10 {
        assert_eq!(text(&source.access_token(Duration::from_secs(86_400)).await.unwrap().unwrap()), "access-1");
    }
}

#[tokio::test]
async fn without_a_refresh_token_a_person_is_needed() {
    let machine = Machine::new().await;
    let mut credential = machine.credential.clone();
    credential.tokens.as_mut().unwrap().refresh_token = None;
    let source = machine.process();
    source.sign_in(credential).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    // Until it ends.
    machine.clock.advance(3599.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    machine.clock.advance(1.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::LoginRequired(LoginReason::NotRenewable))));
    assert_eq!(machine.requests(), 0);
}

/// t080: signing out waits for a renewal and wins over it; signing in again is seen by those who run.
#[tokio::test]
async fn t080_a_sign_out_wins_over_a_renewal() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    machine.expire();
    let gate = machine.holds();
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    gate.arrived().await;
    let signed_out = tokio::spawn({
        let other = other.clone();
        async move { other.sign_out().await }
    });
    gate.open();
    assert_eq!(call.await.unwrap().unwrap(), "access-1");
    // What is handed out to be revoked is the newest.
    let gone = signed_out.await.unwrap().unwrap().unwrap();
    assert_eq!(gone.tokens.unwrap().refresh_token.unwrap().expose(), "refresh-1");
    assert!(other.sign_out().await.unwrap().is_none());
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::LoginRequired(LoginReason::SignedOut))));
    let mut again = machine.credential.clone();
    again.tokens.as_mut().unwrap().expires_at = None;
    other.sign_in(again).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
}

/// t081, t086: a damaged record can be signed in over and signed out of; a newer finmcp's is left alone.
#[tokio::test]
async fn t086_a_damaged_record_is_replaced_and_a_newer_one_is_not() {
    let machine = Machine::new().await;
    let (source, entry) = (machine.process(), machine.identity.entry());
    let write = |text: &str| machine.store.save(&entry, Zeroizing::new(text.as_bytes().to_vec()));
    write("garbage").await.unwrap();
    assert!(
        matches!(token(&source).await, Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)))
    );
    source.sign_in(machine.credential.clone()).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    write("garbage").await.unwrap();
    assert!(source.sign_out().await.unwrap().is_none());
    assert!(machine.store.load(&entry).await.unwrap().is_none());
    write(r#"{"version":2}"#).await.unwrap();
    assert!(source.sign_in(machine.credential.clone()).await.is_err());
    assert!(source.sign_out().await.is_err());
    assert_eq!(*machine.store.load(&entry).await.unwrap().unwrap(), br#"{"version":2}"#);
}
