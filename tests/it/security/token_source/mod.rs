//! Tokens under fire: one refresh token, many users of it, servers and stores that fail at the worst moment.
//!
//! Each `TokenSource` stands for a process: they share a store and a folder of locks, and nothing else.

#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

mod lifetimes;
mod locks;
mod refusals;
mod saving;
mod sharing;

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

/// A machine on which a person has just signed in, with a token for an hour.
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
                key_algorithm: None,
                certificate: None,
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
            bearer: finmcp::credential::record::Bearer::AccessToken,
            dpop_key: None,
            tokens: Some(TokenSet {
                access_token: Secret::new("access-0".to_owned()),
                refresh_token: Some(Secret::new("refresh-0".to_owned())),
                issued_at: clock.now(),
                expires_at: Some(clock.now() + SignedDuration::from_secs(3600)),
                scope: Some("read write".parse().unwrap()),
                person: Some("p@example".to_owned()),
                id_token: None,
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
