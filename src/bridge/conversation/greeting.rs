//! The beginning of a conversation: which era the server is of, found out by asking it, and what the client is told
//! meanwhile.
//!
//! MCP 2026-07-28 versioning, "Backward Compatibility with Initialization-Based Versions". A client of either era asks in
//! its own words first, unless the server is known to speak the others.

use std::{collections::VecDeque, sync::Arc};

use http::StatusCode;
use serde::Deserialize;

use crate::{
    bridge::conversation::{
        description::Description,
        failure::{Failure, Refusal},
        held::Held,
        numbers::Numbers,
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

/// What a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `initialize`, of the legacy era.
    Initialize,
    /// `server/discover`, of the modern era.
    Discover,
    /// `initialize` over HTTP+SSE, as the first revision of all had it.
    InitializeOverSse,
}

impl Question {
    /// How it travels.
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

/// What came of a question.
#[derive(Debug)]
pub enum Outcome {
    /// The server says who it is; with its answer, where that is the client's to have as it is.
    Known(Box<Description>, Option<Message>),
    /// It is modern, and refuses the question as only a modern server does; with its answer to the client.
    Modern(Option<Message>),
    /// It does not speak so: this is the next question.
    Next(Question),
    /// It could not be asked, for this reason. Later may be better.
    OutOfReach(Refusal),
    /// It speaks neither way; with what the client is to be told, where it has not been told yet: the server's own words
    /// or else the reason.
    Rejected(Option<Message>, Arc<Failure>),
}

/// Whether the client waits for the answer to its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Waits,
    /// It has had it, or has not asked for one.
    Told,
}

/// What is at the server's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has turned down every question as places do where no messages are taken.
    Deserted,
    /// It takes messages.
    Taken,
}

/// Getting to know each other.
#[derive(Debug)]
pub struct Greeting {
    /// What the client opened with.
    hello: Message,
    client: Era,
    /// What the server spoke last time, and how that travelled.
    server: Option<Era>,
    transport: Transport,
    opening: Opening,
    asking: Option<(Question, Id)>,
    next: VecDeque<Question>,
    place: Place,
    /// How the server turned the first question down.
    rejection: Option<(Option<Message>, Arc<Failure>)>,
    held: Held<Message>,
}

impl Greeting {
    /// With a client that opens with `hello`, and a server that was known as this.
    pub fn new(hello: Message, server: Option<&Description>) -> Self {
        let is_question = matches!(hello.method(), Some("initialize" | "server/discover"));
        let mut held = Held::default();
        if !is_question {
            held.push(hello.clone());
        }
        Self {
            client: Era::of_message(&hello),
            server: server.map(|known| known.era),
            transport: server.map(|known| known.transport).unwrap_or_default(),
            opening: if is_question { Opening::Waits } else { Opening::Told },
            asking: None,
            next: VecDeque::new(),
            place: Place::Deserted,
            rejection: None,
            held,
            hello,
        }
    }

    /// What the client opened with.
    pub fn hello(&self) -> &Message {
        &self.hello
    }

    /// Whether the client has had its answer.
    pub fn is_told(&self) -> bool {
        self.opening == Opening::Told
    }

    /// Whether the server is being asked.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Whether the question under way has this id.
    pub fn asked_as(&self, id: &Id) -> bool {
        self.asking.as_ref().is_some_and(|(_, asking)| asking == id)
    }

    // Asking.

    /// The first question.
    pub fn begin(&mut self) -> Question {
        use Question::{Discover, Initialize, InitializeOverSse};
        let (first, second) = match self.server.unwrap_or(self.client) {
            Era::Legacy => (Initialize, Discover),
            Era::Modern => (Discover, Initialize),
        };
        let (first, next) = match self.transport {
            Transport::StreamableHttp => (first, [second, InitializeOverSse]),
            Transport::HttpSse => (InitializeOverSse, [first, second]),
        };
        self.rejection = None;
        self.place = Place::Deserted;
        self.next = next.into();
        first
    }

    /// The question after one that was turned down. The deprecated transport is looked for only where no
    /// messages are taken at the server's own URL (MCP 2026-07-28 transports, "HTTP+SSE Transport (2024-11-05)").
    fn next(&mut self) -> Option<Question> {
        let next = self.next.pop_front()?;
        (next != Question::InitializeOverSse || self.place == Place::Deserted).then_some(next)
    }

    /// The question as a message to the server: the client's own where it opened so.
    pub fn ask(&mut self, question: Question, numbers: &Numbers) -> Message {
        let message = match question {
            question if self.is_own(question) => self.hello.clone(),
            Question::Discover => LegacyClient::discover(&self.hello, numbers.next_id()),
            _ => ModernClient::initialize(&self.hello, numbers.next_id()),
        };
        self.asking = message.id().map(|id| (question, id.clone()));
        message
    }

    /// The server has answered the question.
    pub fn answered(&mut self, answer: Message) -> Outcome {
        let Some((question, _)) = self.asking.take() else {
            return Outcome::Rejected(None, Arc::new(Failure::NoSession));
        };
        let for_client = (self.is_own(question) && !self.is_told()).then(|| answer.clone());
        match question {
            Question::Initialize | Question::InitializeOverSse => {
                let era = revision::negotiated_version(&answer).map(|version| Era::of(&version));
                let described = Description::learn(Era::Legacy, &answer);
                let described = described.map(|described| Box::new(described.over(question.transport())));
                match (era, described, self.next.front()) {
                    // It says yes to everything: no server that keeps sessions speaks this revision.
                    (Some(Era::Modern), _, Some(Question::Discover)) => self.rejected(None, Failure::NoSession),
                    (Some(_), Some(described), _) => Outcome::Known(described, for_client),
                    _ => self.rejected(Some(answer), Failure::NoSession),
                }
            }
            Question::Discover => {
                let described = Description::learn(Era::Modern, &answer).filter(|described| {
                    described.supported_versions().iter().any(|version| Era::of(version) == Era::Modern)
                });
                match described {
                    Some(described) => Outcome::Known(Box::new(described), for_client),
                    None if self.client == Era::Modern && is_modern_refusal(&answer) => Outcome::Modern(for_client),
                    None => self.rejected(Some(answer), Failure::NoSession),
                }
            }
        }
    }

    /// The question brought no answer.
    pub fn refused(&mut self, refusal: Refusal) -> Outcome {
        let question = self.asking.take().map(|(question, _)| question);
        // What a server says that has never heard of a question, or does not want it so. Authentication, a limit of the
        // rate and failures on the way say nothing about that.
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
            | Failure::Unaddressed { .. } => true,
            // Nothing at all, where there is no such method.
            Failure::Cut => question == Some(Question::Discover),
            _ => false,
        };
        if !is_rejection {
            return Outcome::OutOfReach(refusal);
        }
        let said = match &*refusal.failure {
            Failure::Unaddressed { said, .. } => Some(Message::clone(said)),
            _ => None,
        };
        if !is_deserted(&refusal.failure) {
            self.place = Place::Taken;
        }
        match self.next() {
            Some(next) => {
                self.rejection.get_or_insert((said, refusal.failure));
                Outcome::Next(next)
            }
            None => {
                let (answer, failure) = self.rejection.take().unwrap_or((said, refusal.failure));
                self.turned_down(answer, failure)
            }
        }
    }

    fn rejected(&mut self, answer: Option<Message>, failure: Failure) -> Outcome {
        let rejection = self.rejection.take().unwrap_or((answer, Arc::new(failure)));
        self.place = Place::Taken;
        match self.next() {
            Some(next) => {
                self.rejection = Some(rejection);
                Outcome::Next(next)
            }
            None => self.turned_down(rejection.0, rejection.1),
        }
    }

    fn turned_down(&self, answer: Option<Message>, failure: Arc<Failure>) -> Outcome {
        let answer = answer.zip(self.hello.id()).filter(|_| !self.is_told());
        Outcome::Rejected(answer.map(|(answer, id)| answer.addressed_to(id)), failure)
    }

    /// Whether the client has asked that itself.
    fn is_own(&self, question: Question) -> bool {
        self.hello.method() == Some(question.method())
    }

    // The client meanwhile.

    /// The answer for a client that has waited long enough, made from what `server` is known to be; none where it has had
    /// one.
    pub fn tell(&mut self, server: &Description) -> Option<Message> {
        if std::mem::replace(&mut self.opening, Opening::Told) == Opening::Told {
            return None;
        }
        self.answer(server)
    }

    /// The answer to the client's opening, in its own era's words.
    pub fn answer(&self, server: &Description) -> Option<Message> {
        let result = match self.hello.method()? {
            "initialize" => {
                let requested = self.hello.member("protocolVersion");
                let requested: Option<String> = requested.and_then(|text| serde_json::from_str(&text).ok());
                server.as_initialize_result(&requested.unwrap_or_default())
            }
            "server/discover" => server.as_discover_result(),
            _ => return None,
        };
        Some(Message::response(self.hello.id()?, &result))
    }

    /// Keeps a message until the server is known. What answers a server, or tells it how far an answer is, is for one
    /// that was there before: this one has asked nothing yet.
    pub fn hold(&mut self, message: Message) {
        let is_stale =
            matches!(message.kind, Kind::Response { .. }) || message.method() == Some("notifications/progress");
        if !is_stale {
            self.held.push(message);
        }
    }

    /// The kept requests for the list of tools.
    pub fn take_lists(&mut self) -> Vec<Message> {
        self.held.take_requests(|message| message.method() == Some("tools/list"))
    }

    /// How many requests are kept, subscriptions aside: those have been answered as far as they can be.
    pub fn held(&self) -> usize {
        self.held.request_count()
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }

    /// The client does not want this request answered any more.
    pub fn forget(&mut self, id: &Id) {
        self.held.remove_request(id);
    }

    /// Gives the kept requests back, to be answered otherwise.
    pub fn take_requests(&mut self) -> Vec<Message> {
        self.held.take_requests(|_| true)
    }

    /// Gives back the requests that would get no answer if this ended now. The client's own opening is answered by the
    /// server, where it is that which the server was asked.
    pub fn abandon(&mut self) -> Vec<Message> {
        let is_open = !self.is_told() && !self.hello.id().is_some_and(|id| self.asked_as(id));
        let mut requests = self.take_requests();
        requests.extend(is_open.then(|| self.hello.clone()));
        requests
    }

    /// Everything that was kept, in its order.
    pub fn into_held(mut self) -> impl Iterator<Item = Message> {
        self.held.take()
    }
}

/// Whether this is how a place answers where no messages are taken.
fn is_deserted(failure: &Failure) -> bool {
    match failure {
        Failure::Status { status, .. } | Failure::Unaddressed { status, .. } => transport::is_deserted(*status),
        _ => false,
    }
}

/// Whether an error is one that only a modern server gives, to one whose revisions it could speak.
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
