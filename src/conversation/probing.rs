//! Finds out the server's era by asking it, and responds to the client meanwhile.
//!
//! MCP 2026-07-28 versioning, "Backward Compatibility with Initialization-Based Versions". finmcp first asks in the
//! client's era, unless the server is known to speak the other one.

use std::{collections::VecDeque, sync::Arc};

use http::StatusCode;
use serde::Deserialize;

use crate::{
    conversation::{
        description::Description,
        failure::{Failure, Refusal},
        held::Held,
        request_ids::RequestIds,
        translate::{legacy_client::LegacyClient, modern_client::ModernClient},
        transport::{self, Transport},
    },
    mcp::{
        codes,
        id::Id,
        message::{Kind, Message},
        revision::{self, Era},
    },
};

/// A request that finds out whether the server speaks an era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `initialize`, of the legacy era.
    Initialize,
    /// `server/discover`, of the modern era.
    Discover,
    /// `initialize` over HTTP+SSE, as in the first revision.
    InitializeOverSse,
}

impl Probe {
    /// The transport of this probe.
    pub fn transport(self) -> Transport {
        match self {
            Self::Initialize | Self::Discover => Transport::StreamableHttp,
            Self::InitializeOverSse => Transport::HttpSse,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Initialize | Self::InitializeOverSse => "initialize",
            Self::Discover => "server/discover",
        }
    }
}

/// The result of a probe.
#[derive(Debug)]
pub enum ProbeResult {
    /// The server described itself; with its response, if the client can have that unchanged.
    Known(Box<Description>, Option<Message>),
    /// The server is modern: it refused the probe as only a modern server does; with its response for the client.
    Modern(Option<Message>),
    /// The server does not speak that era: send this probe next.
    Next(Probe),
    /// The server could not be asked, for this reason. A later attempt may succeed.
    OutOfReach(Refusal),
    /// The server speaks neither era; with the response for the client if it still waits for one: the server's own
    /// error or else the reason.
    Rejected(Option<Message>, Arc<Failure>),
}

/// Whether the client waits for the response to its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpeningResponse {
    Pending,
    /// The client has its response, or its first message needs none.
    Sent,
}

/// Whether the URL is an MCP endpoint, judging by the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    /// Every probe so far got HTTP 400, 404 or 405.
    Missing,
    /// The URL accepts messages.
    Present,
}

/// An era negotiation in progress.
#[derive(Debug)]
pub struct Probing {
    /// The client's first message.
    opening: Message,
    client: Era,
    /// The server's era and transport as last known.
    server: Option<Era>,
    transport: Transport,
    response: OpeningResponse,
    in_flight: Option<(Probe, Id)>,
    next: VecDeque<Probe>,
    endpoint: Endpoint,
    /// How the server refused the first probe.
    rejection: Option<(Option<Message>, Arc<Failure>)>,
    held: Held<Message>,
}

impl Probing {
    /// Starts with the client's first message, and the server's last known description.
    pub fn new(opening: Message, server: Option<&Description>) -> Self {
        let needs_response = matches!(opening.method(), Some("initialize" | "server/discover"));
        let mut held = Held::default();
        if !needs_response {
            held.push(opening.clone());
        }
        Self {
            client: Era::of_message(&opening),
            server: server.map(|known| known.era),
            transport: server.map(|known| known.transport).unwrap_or_default(),
            response: if needs_response { OpeningResponse::Pending } else { OpeningResponse::Sent },
            in_flight: None,
            next: VecDeque::new(),
            endpoint: Endpoint::Missing,
            rejection: None,
            held,
            opening,
        }
    }

    pub fn opening(&self) -> &Message {
        &self.opening
    }

    /// Whether the client has the response to its first message.
    pub fn has_responded(&self) -> bool {
        self.response == OpeningResponse::Sent
    }

    /// Whether a probe is in flight.
    pub fn is_waiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the probe in flight has this id.
    pub fn is_current(&self, id: &Id) -> bool {
        self.in_flight.as_ref().is_some_and(|(_, current)| current == id)
    }

    // Probes.

    /// The first probe.
    pub fn first_probe(&mut self) -> Probe {
        use Probe::{Discover, Initialize, InitializeOverSse};
        let (first, second) = match self.server.unwrap_or(self.client) {
            Era::Legacy => (Initialize, Discover),
            Era::Modern => (Discover, Initialize),
        };
        let (first, next) = match self.transport {
            Transport::StreamableHttp => (first, [second, InitializeOverSse]),
            Transport::HttpSse => (InitializeOverSse, [first, second]),
        };
        self.rejection = None;
        self.endpoint = Endpoint::Missing;
        self.next = next.into();
        first
    }

    /// The probe after a refused one. The deprecated transport is tried only if the server's URL itself accepts no
    /// messages (MCP 2026-07-28 transports, "HTTP+SSE Transport (2024-11-05)").
    fn next(&mut self) -> Option<Probe> {
        let next = self.next.pop_front()?;
        (next != Probe::InitializeOverSse || self.endpoint == Endpoint::Missing).then_some(next)
    }

    /// The message that carries out a probe: the client's own first message, if it is the same request.
    pub fn send(&mut self, probe: Probe, request_ids: &RequestIds) -> Message {
        let message = match probe {
            probe if self.is_opening(probe) => self.opening.clone(),
            Probe::Discover => LegacyClient::discover(&self.opening, request_ids.next_id()),
            _ => ModernClient::initialize(&self.opening, request_ids.next_id()),
        };
        self.in_flight = message.id().map(|id| (probe, id.clone()));
        message
    }

    /// The server has responded to the probe.
    pub fn answered(&mut self, answer: Message) -> ProbeResult {
        let Some((probe, _)) = self.in_flight.take() else {
            return ProbeResult::Rejected(None, Arc::new(Failure::NoSession));
        };
        let for_client = (self.is_opening(probe) && !self.has_responded()).then(|| answer.clone());
        match probe {
            Probe::Initialize | Probe::InitializeOverSse => {
                let era = revision::negotiated_version(&answer).map(|version| Era::of(&version));
                let described = Description::learn(Era::Legacy, &answer);
                let described = described.map(|described| Box::new(described.over(probe.transport())));
                match (era, described, self.next.front()) {
                    // A server with sessions does not speak this revision: this one echoes any revision.
                    (Some(Era::Modern), _, Some(Probe::Discover)) => self.rejected(None, Failure::NoSession),
                    (Some(_), Some(described), _) => ProbeResult::Known(described, for_client),
                    _ => self.rejected(Some(answer), Failure::NoSession),
                }
            }
            Probe::Discover => {
                let described = Description::learn(Era::Modern, &answer).filter(|described| {
                    described.supported_versions().iter().any(|version| Era::of(version) == Era::Modern)
                });
                match described {
                    Some(described) => ProbeResult::Known(Box::new(described), for_client),
                    None if self.client == Era::Modern && is_modern_refusal(&answer) => ProbeResult::Modern(for_client),
                    None => self.rejected(Some(answer), Failure::NoSession),
                }
            }
        }
    }

    /// The probe got no response.
    pub fn refused(&mut self, refusal: Refusal) -> ProbeResult {
        let probe = self.in_flight.take().map(|(probe, _)| probe);
        // A server that does not know the method, or not in this form, responds like this. Authentication errors, rate
        // limits and network errors say nothing about its era.
        let is_rejection = match &*refusal.failure {
            Failure::Status { status, .. } => {
                let is_server_error = status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED;
                let is_passing = matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429);
                !is_passing && !is_server_error
            }
            Failure::NotMcp { .. }
            | Failure::Malformed
            | Failure::NoSession
            | Failure::NoEndpoint { .. }
            | Failure::UnrelatedError { .. } => true,
            // Some servers end the response when they do not know the method.
            Failure::Cut => probe == Some(Probe::Discover),
            _ => false,
        };
        if !is_rejection {
            return ProbeResult::OutOfReach(refusal);
        }
        let error = match &*refusal.failure {
            Failure::UnrelatedError { error, .. } => Some(Message::clone(error)),
            _ => None,
        };
        if !suggests_no_endpoint(&refusal.failure) {
            self.endpoint = Endpoint::Present;
        }
        match self.next() {
            Some(next) => {
                self.rejection.get_or_insert((error, refusal.failure));
                ProbeResult::Next(next)
            }
            None => {
                let (answer, failure) = self.rejection.take().unwrap_or((error, refusal.failure));
                self.fail(answer, failure)
            }
        }
    }

    fn rejected(&mut self, answer: Option<Message>, failure: Failure) -> ProbeResult {
        let rejection = self.rejection.take().unwrap_or((answer, Arc::new(failure)));
        self.endpoint = Endpoint::Present;
        match self.next() {
            Some(next) => {
                self.rejection = Some(rejection);
                ProbeResult::Next(next)
            }
            None => self.fail(rejection.0, rejection.1),
        }
    }

    fn fail(&self, answer: Option<Message>, failure: Arc<Failure>) -> ProbeResult {
        let answer = answer.zip(self.opening.id()).filter(|_| !self.has_responded());
        ProbeResult::Rejected(answer.map(|(answer, id)| answer.addressed_to(id)), failure)
    }

    /// Whether the client's first message is this probe.
    fn is_opening(&self, probe: Probe) -> bool {
        self.opening.method() == Some(probe.method())
    }

    // Responses to the client meanwhile.

    /// The response for a client that has waited long enough, based on what is known of the server; none if the client
    /// has one already.
    pub fn respond_once(&mut self, server: &Description) -> Option<Message> {
        if std::mem::replace(&mut self.response, OpeningResponse::Sent) == OpeningResponse::Sent {
            return None;
        }
        self.opening_response(server)
    }

    /// The response to the client's first message, in the client's era.
    pub fn opening_response(&self, server: &Description) -> Option<Message> {
        let result = match self.opening.method()? {
            "initialize" => {
                let requested = self.opening.member("protocolVersion");
                let requested: Option<String> = requested.and_then(|text| serde_json::from_str(&text).ok());
                server.as_initialize_result(&requested.unwrap_or_default())
            }
            "server/discover" => server.as_discover_result(),
            _ => return None,
        };
        Some(Message::response(self.opening.id()?, &result))
    }

    /// Keeps a message until the server is known. Responses and progress notifications are dropped: they were meant
    /// for an earlier session, because this server has not sent any request yet.
    pub fn hold(&mut self, message: Message) {
        let is_stale =
            matches!(message.kind, Kind::Response { .. }) || message.method() == Some("notifications/progress");
        if !is_stale {
            self.held.push(message);
        }
    }

    /// Removes the kept requests for the list of tools.
    pub fn take_lists(&mut self) -> Vec<Message> {
        self.held.take_requests(|message| message.method() == Some("tools/list"))
    }

    /// How many requests are kept. Subscriptions do not count: finmcp has acknowledged them already.
    pub fn held(&self) -> usize {
        self.held.request_count()
    }

    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }

    /// The client has cancelled this request.
    pub fn forget(&mut self, id: &Id) {
        self.held.remove_request(id);
    }

    /// Removes the kept requests, to respond to them otherwise.
    pub fn take_requests(&mut self) -> Vec<Message> {
        self.held.take_requests(|_| true)
    }

    /// Removes the requests that would get no response if this negotiation ended now. The client's first message is
    /// among them, unless it is the probe in flight, to which the server responds.
    pub fn abandon(&mut self) -> Vec<Message> {
        let is_open = !self.has_responded() && !self.opening.id().is_some_and(|id| self.is_current(id));
        let mut requests = self.take_requests();
        requests.extend(is_open.then(|| self.opening.clone()));
        requests
    }

    /// The kept messages, in order.
    pub fn into_held(mut self) -> impl Iterator<Item = Message> {
        self.held.take()
    }
}

/// Whether a URL that accepts no messages would refuse a probe like this.
fn suggests_no_endpoint(failure: &Failure) -> bool {
    match failure {
        Failure::Status { status, .. } | Failure::UnrelatedError { status, .. } => {
            transport::suggests_no_endpoint(*status)
        }
        _ => false,
    }
}

/// Whether only a modern server sends this error, and not because it supports legacy revisions alone.
fn is_modern_refusal(answer: &Message) -> bool {
    #[derive(Deserialize)]
    struct Unsupported {
        supported: Vec<String>,
    }
    let legacy_only = answer
        .error_data::<Unsupported>()
        .is_some_and(|data| data.supported.iter().all(|version| Era::of(version) == Era::Legacy));
    answer.error_code().is_some_and(codes::is_modern_error) && !legacy_only
}

#[cfg(test)]
mod tests;
