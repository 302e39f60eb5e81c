//! A vendor on this machine: an MCP server and its authorization server, which do as the test says and write down what
//! they got.

mod assertion;
mod authorization;
mod dpop;
mod endpoint;
mod http_sse;
mod pushed;
mod reply;
mod script;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use super::eventually;
pub use authorization::Rotation;
pub use reply::Reply;
pub use script::{
    Answer, Device, Dpop, Effect, Era, ExpiresIn, Gate, Guard, IssuerParameter, On, OtherRedirectUris, OtherScopes,
    Pushing, Registration, Script, SecretPlace, StateParameter, TokenShape, Transport,
};

/// A running vendor. Dropping it closes its port.
pub struct Vendor {
    port: u16,
    shared: Arc<Shared>,
    closing: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A request as it was received, body and all.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Recorded {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The fields of a form body.
    pub fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The fields of the query.
    pub fn query(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON-RPC id as it is spelled, where the body has one.
    pub fn rpc_id(&self) -> Option<String> {
        endpoint::Envelope::parse(&self.body).and_then(|envelope| envelope.id)
    }

    /// The JSON-RPC method, where the body has one.
    pub fn rpc_method(&self) -> Option<String> {
        endpoint::Envelope::parse(&self.body).and_then(|envelope| envelope.method)
    }
}

struct Shared {
    origin: String,
    state: Mutex<State>,
}

/// All that the vendor knows.
struct State {
    script: Script,
    records: Vec<Recorded>,
    faults: Vec<(On, Effect)>,
    complaints: Vec<String>,
    secrets: Vec<String>,
    clients: HashMap<String, authorization::Client>,
    forgotten_clients: usize,
    codes: HashMap<String, authorization::Code>,
    /// The `nonce` of the last authorization request, which its ID token repeats.
    id_token_nonce: Option<String>,
    /// The parameters of the pushed requests that no browser has brought yet.
    pushed: HashMap<String, BTreeMap<String, String>>,
    device_codes: HashMap<String, authorization::DeviceCode>,
    access_tokens: HashMap<String, authorization::AccessToken>,
    refresh_tokens: HashMap<String, authorization::RefreshToken>,
    dead_families: HashSet<u64>,
    /// The `jti` of every proof of possession so far.
    proofs: HashSet<String>,
    /// How often the nonces have changed.
    nonce_round: usize,
    replays: usize,
    rotations: Vec<Rotation>,
    sessions: HashSet<String>,
    streams: Vec<Stream>,
    pending: HashMap<String, oneshot::Sender<String>>,
    prepared: HashMap<String, Vec<u8>>,
    executed: Vec<String>,
}

/// An open SSE response that the server can say something on at any time.
struct Stream {
    kind: StreamKind,
    events: mpsc::UnboundedSender<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StreamKind {
    /// The legacy era's GET stream.
    Get,
    /// The response to the modern era's `subscriptions/listen`.
    Listen,
    /// HTTP+SSE's stream, of this session.
    Session(String),
}

impl Vendor {
    /// Starts a vendor on a free port of 127.0.0.1.
    pub fn start(script: Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::start_on(listener, script)
    }

    /// Starts a vendor on a given listener, for a test that needs its port before or after.
    pub fn start_on(listener: std::net::TcpListener, script: Script) -> Self {
        let origin = format!("http://{}", listener.local_addr().unwrap());
        Self::start_with(listener, origin, script)
    }

    /// Starts a vendor that others know by another origin than this machine's.
    #[cfg(unix)]
    pub fn start_as(origin: &str, script: Script) -> Self {
        Self::start_with(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), origin.to_owned(), script)
    }

    /// Starts a vendor in the test's own runtime, whose clock the two then share; others know it by `origin`.
    pub fn start_within(origin: &str, script: Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (vendor, serving) = Self::prepare_to_serve(listener, origin.to_owned(), script);
        tokio::spawn(serving);
        vendor
    }

    fn start_with(listener: std::net::TcpListener, origin: String, script: Script) -> Self {
        let (mut vendor, serving) = Self::prepare_to_serve(listener, origin, script);
        vendor.thread = Some(thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving);
        }));
        vendor
    }

    fn prepare_to_serve(
        listener: std::net::TcpListener,
        origin: String,
        script: Script,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { origin, state: Mutex::new(State::new(script)) });
        let closing = Arc::new(Notify::new());
        let (served, ended) = (Arc::clone(&shared), Arc::clone(&closing));
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                () = accept(listener, served) => {}
                () = ended.notified() => {}
            }
        };
        (Self { port, shared, closing, thread: None }, serving)
    }

    /// The port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// `http://127.0.0.1:PORT`, unless it was started as another.
    pub fn origin(&self) -> String {
        self.shared.origin.clone()
    }

    /// The MCP endpoint, which is the `resource` too.
    pub fn url(&self) -> String {
        self.at("/mcp")
    }

    /// The token endpoint.
    pub fn token_endpoint(&self) -> String {
        self.at("/token")
    }

    /// The URL of a path here.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.shared.origin)
    }

    /// Changes what it does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state().script);
    }

    /// Breaks the next request that `on` picks. Several faults for the same requests are used up in order.
    pub fn fault(&self, on: On, effect: Effect) {
        self.state().faults.push((on, effect));
    }

    /// Breaks nothing any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// The pushed requests that no browser has brought yet have expired.
    pub fn expire_pushed_requests(&self) {
        self.state().pushed.clear();
    }

    /// From now on proofs of possession need another nonce than before.
    pub fn change_nonces(&self) {
        self.state().nonce_round += 1;
    }

    /// Knows another client from now on.
    pub fn know(&self, client_id: &str, client_secret: &str) {
        let client =
            authorization::Client { secret: Some(client_secret.to_owned()), redirect_uris: None, devices: true };
        self.state().clients.insert(client_id.to_owned(), client);
    }

    /// A person has signed in by this client before; where the tokens are numbered, they are those of the request 0.
    pub fn has_signed_in(&self, client_id: &str, scope: &str) {
        self.state().sign_in(&self.shared.origin, client_id, scope, None);
    }

    /// A JWT in this vendor's name, which speaks of `subject` to `audience` and ends after `lifetime` seconds.
    pub fn jwt(&self, subject: &str, audience: &str, lifetime: i64) -> String {
        let claims = serde_json::json!({"sub": subject, "aud": audience});
        assertion::mint(&mut self.state(), &self.shared.origin, "JWT", claims, lifetime)
    }

    /// Every request so far.
    pub fn records(&self) -> Vec<Recorded> {
        self.state().records.clone()
    }

    /// Every request so far to `path`.
    pub fn records_at(&self, path: &str) -> Vec<Recorded> {
        self.records().into_iter().filter(|record| record.path == path).collect()
    }

    /// Every POST so far with that JSON-RPC method.
    pub fn calls(&self, method: &str) -> Vec<Recorded> {
        self.records().into_iter().filter(|record| record.rpc_method().as_deref() == Some(method)).collect()
    }

    /// Waits for a request that `wanted` picks.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Recorded) -> bool) -> Recorded {
        eventually(what, || self.state().records.iter().find(|record| wanted(record)).cloned())
    }

    /// What was against the protocol, in words, though it was answered all the same.
    pub fn complaints(&self) -> Vec<String> {
        self.state().complaints.clone()
    }

    /// Every secret that it issued or received: tokens, client secrets, codes, verifiers, session ids.
    pub fn secrets(&self) -> Vec<String> {
        self.state().secrets.clone()
    }

    /// How often a spent refresh token was seen.
    pub fn replays(&self) -> usize {
        self.state().replays
    }

    /// Every refresh token that was spent, in order.
    pub fn rotations(&self) -> Vec<Rotation> {
        self.state().rotations.clone()
    }

    /// The tools that really ran, by name.
    pub fn executed(&self) -> Vec<String> {
        self.state().executed.clone()
    }

    /// Refuses every access token issued so far.
    pub fn revoke_access_tokens(&self) {
        self.state().access_tokens.values_mut().for_each(|token| token.revoked = true);
    }

    /// Ends every sign-in so far: no refresh token is good any more.
    pub fn revoke_sign_ins(&self) {
        let mut state = self.state();
        let families: Vec<u64> = state.refresh_tokens.values().map(|token| token.family).collect();
        state.dead_families.extend(families);
        state.access_tokens.values_mut().for_each(|token| token.revoked = true);
    }

    /// Forgets every client, as a server does that kept them in memory and was restarted.
    pub fn forget_clients(&self) {
        let mut state = self.state();
        state.forgotten_clients += state.clients.len();
        state.clients.clear();
    }

    /// Forgets every session: the next request with a session id gets a 404.
    pub fn forget_sessions(&self) {
        let mut state = self.state();
        state.sessions.clear();
        state.streams.clear();
    }

    /// The sessions that no client has ended.
    pub fn session_count(&self) -> usize {
        self.state().sessions.len()
    }

    /// The streams on which the server could say something now.
    pub fn stream_count(&self) -> usize {
        let mut state = self.state();
        state.streams.retain(|stream| !stream.events.is_closed());
        state.streams.len()
    }

    /// Says `message`, byte for byte, on the newest stream; waits for a stream first.
    #[track_caller]
    pub fn push(&self, message: impl AsRef<[u8]>) {
        self.say(reply::event(message.as_ref()));
    }

    /// Writes these bytes on the newest stream; waits for a stream first.
    #[track_caller]
    pub fn say(&self, event: impl Into<Bytes>) {
        let event = event.into();
        eventually("a stream to say something on", || {
            let mut state = self.state();
            state.streams.retain(|stream| !stream.events.is_closed());
            state.streams.last().map(|stream| stream.events.send(event.clone()).unwrap())
        });
    }

    /// What the tool `raw` answers when it is called with `{"name": NAME}`: a whole message, in which `@ID@` stands for
    /// the request's id.
    pub fn prepare(&self, name: &str, message: impl Into<Vec<u8>>) {
        self.state().prepared.insert(name.to_owned(), message.into());
    }

    /// Closes the port and every connection.
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.closing.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn new(script: Script) -> Self {
        let clients =
            script.clients.iter().map(|(id, secret)| (id.clone(), authorization::Client::known(secret.clone())));
        Self {
            clients: clients.collect(),
            forgotten_clients: 0,
            secrets: script.clients.iter().filter_map(|(_, secret)| secret.clone()).collect(),
            script,
            records: Vec::new(),
            faults: Vec::new(),
            complaints: Vec::new(),
            codes: HashMap::new(),
            id_token_nonce: None,
            pushed: HashMap::new(),
            device_codes: HashMap::new(),
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            dead_families: HashSet::new(),
            proofs: HashSet::new(),
            nonce_round: 0,
            replays: 0,
            rotations: Vec::new(),
            sessions: HashSet::new(),
            streams: Vec::new(),
            pending: HashMap::new(),
            prepared: HashMap::new(),
            executed: Vec::new(),
        }
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(text.into());
    }

    /// A new secret, which [`Vendor::secrets`] will name.
    fn mint(&mut self, kind: &str) -> String {
        let mut bytes = [0; 20];
        getrandom::fill(&mut bytes).unwrap();
        let secret = format!("{kind}-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.secrets.push(secret.clone());
        secret
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, Arc::clone(&shared)));
            // An error here is a connection that one side broke, often because the test wants it so.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection is to be cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut by the test")]
struct Cut;

async fn serve(request: Request<Incoming>, shared: Arc<Shared>) -> Result<hyper::Response<reply::Body>, Cut> {
    let (parts, body) = request.into_parts();
    // A client that goes away in the middle of its request has sent none.
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes().to_vec();
    let record = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
    };
    let effect = {
        let mut state = shared.state.lock().unwrap();
        state.records.push(record.clone());
        let rpc_method = record.rpc_method();
        let hit = state.faults.iter().position(|(on, _)| on.picks(&record, rpc_method.as_deref()));
        hit.map(|at| state.faults.remove(at).1)
    };
    match effect {
        Some(Effect::Answer(reply)) => return Ok(dated(reply, &shared).into_response()),
        Some(Effect::Drip(parts, pause)) => {
            let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
            tokio::spawn(async move {
                for part in parts {
                    tokio::time::sleep(pause).await;
                    let _ = events.send(part.into());
                }
            });
            return Ok(Reply::new(200).events(receiver).into_response());
        }
        Some(Effect::CutBefore) => return Err(Cut),
        Some(Effect::CutAfter) => {
            let _ = route(&record, &shared).await;
            return Err(Cut);
        }
        Some(Effect::AnswerAfter(reply)) => {
            let _ = route(&record, &shared).await;
            tokio::time::sleep(A_WHILE).await;
            return Ok(reply.into_response());
        }
        Some(Effect::Hold(gate)) => {
            let reply = route(&record, &shared).await;
            gate.pass().await;
            return Ok(reply.into_response());
        }
        Some(Effect::Delay(delay)) => {
            let reply = route(&record, &shared).await;
            tokio::time::sleep(delay).await;
            return Ok(reply.into_response());
        }
        None => {}
    }
    Ok(dated(route(&record, &shared).await, &shared).into_response())
}

/// The answer with the vendor's own time.
fn dated(reply: Reply, shared: &Shared) -> Reply {
    let ahead = shared.state.lock().unwrap().script.clock_ahead;
    let now = std::time::SystemTime::now();
    let distance = Duration::from_secs(ahead.unsigned_abs());
    let date = if ahead < 0 { now - distance } else { now + distance };
    reply.header("date", httpdate::fmt_http_date(date))
}

async fn route(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let transport = shared.state.lock().unwrap().script.transport;
    match (record.method.as_str(), record.path.as_str()) {
        (_, "/mcp") if transport == Transport::HttpSse => http_sse::open(record, shared),
        ("POST", http_sse::MESSAGES) if transport == Transport::HttpSse => http_sse::take(record, shared),
        (_, "/mcp") => endpoint::answer(record, shared).await,
        ("GET", path) if path.starts_with("/.well-known/") => authorization::document(path, shared),
        ("POST", "/register") => authorization::register(record, shared),
        ("GET", "/authorize") => authorization::authorize(record, shared),
        ("POST", "/par") => pushed::push(record, shared),
        ("POST", "/device") => authorization::device(record, shared),
        ("POST", "/token") => authorization::token(record, shared),
        ("POST", "/revoke") => authorization::revoke(record, shared),
        _ => Reply::new(404),
    }
}

/// `value` with `patch` merged into it (RFC 7396): null removes a member.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    for (name, member) in members {
        if member.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut value[name], member);
        }
    }
}

type Never = Infallible;

/// Long enough for whatever else a request brings about to arrive first.
const A_WHILE: Duration = Duration::from_millis(500);

/// Long enough that nothing expires in a test that does not ask for it.
const AN_HOUR: Duration = Duration::from_secs(3600);
