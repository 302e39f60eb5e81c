//! What a vendor is told to do.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{AN_HOUR, Recorded, Reply};

/// How a vendor behaves. The default is a legacy server with sessions that asks for no authorization, with an
/// authorization server that does everything right.
#[derive(Debug, Clone)]
pub struct Script {
    pub era: Era,
    /// How messages travel to the legacy server.
    pub transport: Transport,
    /// The one revision that the legacy server speaks; else whichever it is asked for.
    pub revision: Option<&'static str>,
    pub guard: Guard,
    /// The `scope` of the challenge, where it names one.
    pub challenge_scope: Option<&'static str>,
    /// Whether the challenge says where the metadata is (RFC 9728 section 5.1).
    pub challenge_points: bool,
    /// Merged into the protected resource metadata (RFC 9728).
    pub protected_resource: Value,
    /// Merged into the authorization server metadata (RFC 8414).
    pub authorization_server: Value,
    /// Whether any metadata is published at all.
    pub publishes_metadata: bool,
    /// Whether there is an MCP server; else only an identity provider, whose tokens are for no resource.
    pub serves_mcp: bool,
    pub registration: Registration,
    /// The scopes that clients can be registered for, where not all can; and what becomes of a client that wants others.
    pub client_scope: Option<(&'static str, OtherScopes)>,
    /// What becomes of a client with several redirect URIs, where it cannot have them.
    pub one_redirect_uri: Option<OtherRedirectUris>,
    /// The one place where a client's secret is looked for at the token endpoint; else wherever it is.
    pub secret_place: Option<SecretPlace>,
    /// Whether authorization requests can or must be pushed (RFC 9126).
    pub pushing: Option<Pushing>,
    /// How long a pushed request can be used, in seconds; null to leave that out.
    pub pushed_life: Value,
    /// Whether tokens are bound to keys (RFC 9449), and who says so.
    pub dpop: Option<Dpop>,
    /// Whether proofs of possession need a nonce.
    pub nonces: bool,
    /// Whose JWTs are taken for a grant (RFC 7523 section 2.1).
    pub trusted_issuer: Option<String>,
    /// That issuer's JWK set, to check the signatures; null to check none.
    pub trusted_keys: Value,
    /// The scope that is granted, where that is another than was asked for.
    pub granted_scope: Option<&'static str>,
    /// What an identity provider answers instead of a grant (RFC 8693 section 2.2.2).
    pub policy: Option<&'static str>,
    /// Clients known in advance, with their secrets.
    pub clients: Vec<(String, Option<String>)>,
    /// Whether people sign in on other devices too, and what they say there.
    pub device: Device,
    /// The claims of the ID token that a sign-in comes with; null for none. With the `exp` "fresh" it names its issuer
    /// and client, and ends with the access token.
    pub id_token: Value,
    pub callback_state: StateParameter,
    pub callback_issuer: IssuerParameter,
    /// The right `iss`, where that is not the vendor's origin.
    pub iss: Option<String>,
    pub access_lifetime: Duration,
    pub expires_in: ExpiresIn,
    pub token_shape: TokenShape,
    /// What every token request is answered, where it has no effect.
    pub token_answer: Option<Reply>,
    /// Whether a sign-in comes with a refresh token.
    pub refresh_tokens: bool,
    /// How requests are answered: as one JSON object or as a stream of events.
    pub answer: Answer,
    /// Whether the legacy server opens a GET stream; else 405.
    pub get_stream: bool,
    /// Whether the legacy server has sessions.
    pub sessions: bool,
    /// The pages of `tools/list`: arrays of tools. The first is given without a cursor.
    pub tool_pages: Vec<Value>,
    /// How far the vendor's clock is ahead, in seconds.
    pub clock_ahead: i64,
    /// Whether the legacy server asks for the client's roots as soon as it has a stream to ask on.
    pub asks_for_roots: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            era: Era::Legacy,
            transport: Transport::StreamableHttp,
            revision: None,
            guard: Guard::Open,
            challenge_scope: None,
            challenge_points: true,
            protected_resource: json!({}),
            authorization_server: json!({}),
            publishes_metadata: true,
            serves_mcp: true,
            registration: Registration::Public,
            client_scope: None,
            one_redirect_uri: None,
            secret_place: None,
            pushing: None,
            pushed_life: json!(60),
            dpop: None,
            nonces: false,
            trusted_issuer: None,
            trusted_keys: Value::Null,
            granted_scope: None,
            policy: None,
            clients: Vec::new(),
            device: Device::Unsupported,
            id_token: Value::Null,
            callback_state: StateParameter::Right,
            callback_issuer: IssuerParameter::Right,
            iss: None,
            access_lifetime: AN_HOUR,
            expires_in: ExpiresIn::Seconds,
            token_shape: TokenShape::Opaque,
            token_answer: None,
            refresh_tokens: true,
            answer: Answer::Json,
            get_stream: true,
            sessions: true,
            tool_pages: vec![super::endpoint::tools()],
            clock_ahead: 0,
            asks_for_roots: false,
        }
    }
}

impl Script {
    /// A vendor like Asset: one confidential client, JWTs, no refresh token, no metadata.
    pub fn machine(client_id: &str, client_secret: &str) -> Self {
        Self {
            guard: Guard::Bearer,
            challenge_points: false,
            publishes_metadata: false,
            registration: Registration::Closed,
            clients: vec![(client_id.to_owned(), Some(client_secret.to_owned()))],
            token_shape: TokenShape::Jwt,
            refresh_tokens: false,
            ..Self::default()
        }
    }

    /// A vendor like Tesorio: people sign in, clients register themselves.
    pub fn people() -> Self {
        Self { guard: Guard::Bearer, ..Self::default() }
    }

    pub fn modern(mut self) -> Self {
        self.era = Era::Modern;
        self
    }

    pub fn over_sse(mut self) -> Self {
        self.transport = Transport::HttpSse;
        self.sessions = false; // the stream is one
        self
    }
}

/// Which protocol the MCP endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// The `initialize` handshake, up to 2025-11-25.
    Legacy,
    /// 2026-07-28: stateless.
    Modern,
}

impl Era {
    /// Every era that a client can be of, with every era that a server can be of.
    pub const COMBINATIONS: [(Self, Self); 4] = [
        (Self::Legacy, Self::Legacy),
        (Self::Modern, Self::Modern),
        (Self::Legacy, Self::Modern),
        (Self::Modern, Self::Legacy),
    ];
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    StreamableHttp,
    /// 2024-11-05: a stream, and an address beside it.
    HttpSse,
}

/// Who may use the MCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Anybody.
    Open,
    /// Who has a live access token of this vendor.
    Bearer,
    /// Who sends this header with this value.
    ApiKey(&'static str, String),
}

/// Who asks for tokens that are bound to keys. The authorization server binds them whenever it is shown a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dpop {
    /// The authorization server lists it, and the MCP endpoint takes any token.
    Listed,
    /// The MCP endpoint's challenge has the scheme DPoP, and it takes no other tokens.
    Challenged,
    /// The protected resource metadata say that it takes no other tokens; the challenge says Bearer.
    Required,
}

/// How authorization requests come (RFC 9126 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushing {
    /// Pushed or in the URL.
    Offered,
    /// Only pushed.
    Required,
}

/// Who may become a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anybody (RFC 7591), without a secret.
    Public,
    /// Anybody, and each gets a secret to use in the form body.
    Confidential,
    /// Only the clients known in advance.
    Closed,
}

/// What becomes of a registration that asks for scopes that no client has (RFC 7591 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherScopes {
    /// It is refused, as by FastMCP. One without a scope is for all that clients can have.
    Refused,
    /// The client is registered without them.
    LeftOut,
    /// The client is registered for all that clients can have, said as an array.
    Replaced,
}

/// What becomes of a registration with several redirect URIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherRedirectUris {
    /// It is refused.
    Refused,
    /// The client is registered with the first one, and the answer says so (RFC 7591 section 3.2.1).
    LeftOut,
}

/// Where a client's secret is looked for (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretPlace {
    /// The form, like the Python SDK's authorization server.
    Form,
    /// The `Authorization` header, with the client's id in the form.
    Header,
}

/// A person with a device code (RFC 8628).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// There are no device codes.
    Unsupported,
    /// Has not entered it yet.
    Hesitates,
    /// Says yes.
    Consents,
    /// Says no.
    Denies,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Json,
    Events,
}

/// How a token response says when the token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiresIn {
    /// Seconds from now, as RFC 6749 section 5.1 has it.
    Seconds,
    /// Seconds from now, as a string.
    Text,
    /// The unix time of the end.
    UnixTime,
    /// Not at all.
    Absent,
    /// This number, whatever the token's lifetime.
    Exactly(i64),
}

/// What an access token looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenShape {
    Opaque,
    /// A JWT with `aud`, `iss`, `exp` and `scope`.
    Jwt,
    /// `access-N`, for the token request N since the start; and the refresh token is `refresh-N`.
    Numbered,
}

/// The `state` of the authorization response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateParameter {
    Right,
    Absent,
    Wrong,
}

/// The `iss` of the authorization response (RFC 9207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerParameter {
    Right,
    Absent,
    Wrong,
}

/// Which request a fault is for.
#[derive(Debug, Clone)]
pub enum On {
    /// A request to this path.
    Path(&'static str),
    /// A POST with this JSON-RPC method.
    Rpc(&'static str),
    /// A request with this HTTP method.
    Method(&'static str),
}

impl On {
    pub fn picks(&self, record: &Recorded, rpc_method: Option<&str>) -> bool {
        match self {
            Self::Path(path) => record.path == *path,
            Self::Rpc(method) => rpc_method == Some(method),
            Self::Method(method) => record.method == *method,
        }
    }
}

/// What happens to it.
#[derive(Debug, Clone)]
pub enum Effect {
    /// This answer instead of the right one; the request has no effect.
    Answer(Reply),
    /// A stream of these parts, one after each pause, and then its end; the request has no effect.
    Drip(Vec<String>, Duration),
    /// The connection is cut; the request has no effect.
    CutBefore,
    /// The request has its effect, then the connection is cut before the answer.
    CutAfter,
    /// The request has its effect, and this answer comes after whatever that brings.
    AnswerAfter(Reply),
    /// The request has its effect at once, and the right answer comes later.
    Delay(Duration),
    /// The request has its effect at once, and the right answer waits until the gate opens.
    Hold(Gate),
}

impl Effect {
    /// An empty answer with this status.
    pub fn status(status: u16) -> Self {
        Self::Answer(Reply::new(status))
    }
}

/// Holds the answer to one request.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    arrived: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    /// Waits until the request has had its effect.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets the answer go.
    pub fn open(&self) {
        self.open.notify_one();
    }

    /// Waits, as the answer.
    pub(super) async fn pass(&self) {
        self.arrived.notify_one();
        self.open.notified().await;
    }
}
