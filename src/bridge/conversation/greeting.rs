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

/// Getting to know each other.
#[derive(Debug)]
pub struct Greeting {
    /// What the client opened with.
    hello: Message,
    client: Era,
    /// What the server spoke last time, and how that travelled.
    server: Option<Era>,
    transport: Transport,
    /// The client has had the answer to its opening, or has not asked for one.
    told: bool,
    asking: Option<(Question, Id)>,
    next: VecDeque<Question>,
    /// Every question was turned down as in a place where nobody takes messages.
    deserted: bool,
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
            client: Era::spoken(&hello),
            server: server.map(|known| known.era),
            transport: server.map(|known| known.transport).unwrap_or_default(),
            told: !is_question,
            asking: None,
            next: VecDeque::new(),
            deserted: true,
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
        self.told
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
        self.deserted = true;
        self.next = next.into();
        first
    }

    /// The question after one that was turned down. The deprecated transport is looked for only where nobody takes
    /// messages at the server's own URL (MCP 2026-07-28 transports, "HTTP+SSE Transport (2024-11-05)").
    fn next(&mut self) -> Option<Question> {
        let next = self.next.pop_front()?;
        (next != Question::InitializeOverSse || self.deserted).then_some(next)
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
        let for_client = (self.is_own(question) && !self.told).then(|| answer.clone());
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
        self.deserted &= is_deserted(&refusal.failure);
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
        self.deserted = false;
        match self.next() {
            Some(next) => {
                self.rejection = Some(rejection);
                Outcome::Next(next)
            }
            None => self.turned_down(rejection.0, rejection.1),
        }
    }

    fn turned_down(&self, answer: Option<Message>, failure: Arc<Failure>) -> Outcome {
        let answer = answer.zip(self.hello.id()).filter(|_| !self.told);
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
        if std::mem::replace(&mut self.told, true) {
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

    /// Gives back the requests that nobody would answer if this ended now. The client's own opening is answered by the
    /// server, where it is that which the server was asked.
    pub fn abandon(&mut self) -> Vec<Message> {
        let is_open = !self.told && !self.hello.id().is_some_and(|id| self.asked_as(id));
        let mut requests = self.take_requests();
        requests.extend(is_open.then(|| self.hello.clone()));
        requests
    }

    /// Everything that was kept, in its order.
    pub fn into_held(mut self) -> impl Iterator<Item = Message> {
        self.held.take()
    }
}

/// Whether this is how a place answers where nobody takes messages.
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
mod tests {
    use super::*;
    use crate::bridge::conversation::failure::Taken;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    const LEGACY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;

    fn initialized(version: &str) -> Message {
        message(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#
        ))
    }

    fn over_sse() -> Description {
        Description::learn(Era::Legacy, &initialized("2024-11-05")).unwrap().over(Transport::HttpSse)
    }

    /// A greeting whose first question has been asked, and that question.
    fn begun(hello: &str, server: Option<&Description>) -> (Greeting, Question) {
        let mut greeting = Greeting::new(message(hello), server);
        let question = greeting.begin();
        greeting.ask(question, &Numbers::default());
        (greeting, question)
    }

    fn status(code: u16) -> Failure {
        Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None }
    }

    fn refuse(greeting: &mut Greeting, failure: Failure) -> Outcome {
        let outcome =
            greeting.refused(Refusal { message: message(LEGACY), failure: Arc::new(failure), taken: Taken::No });
        if let Outcome::Next(question) = outcome {
            greeting.ask(question, &Numbers::default());
        }
        outcome
    }

    /// What is asked of a server that turns one question after the other down so, and what comes of the last.
    fn questions(hello: &str, server: Option<&Description>, failures: Vec<Failure>) -> (Vec<Question>, Outcome) {
        let (mut greeting, first) = begun(hello, server);
        let mut asked = vec![first];
        for failure in failures {
            match refuse(&mut greeting, failure) {
                Outcome::Next(question) => asked.push(question),
                outcome => return (asked, outcome),
            }
        }
        panic!("more than {asked:?} is asked");
    }

    use Question::{Discover, Initialize, InitializeOverSse};

    #[test]
    fn a_stream_is_asked_for_last_and_where_no_message_is_taken() {
        for (hello, first, second) in [(LEGACY, Initialize, Discover), (MODERN, Discover, Initialize)] {
            for codes in [[404, 404], [405, 400], [400, 405]] {
                let (asked, outcome) = questions(hello, None, vec![status(codes[0]), status(codes[1]), status(404)]);
                assert_eq!(asked, [first, second, InitializeOverSse]);
                assert!(
                    matches!(outcome, Outcome::Rejected(None, failure) if failure.to_string() == status(codes[0]).to_string())
                );
            }
            for (one, other) in [(404, 410), (410, 404), (501, 404), (404, 307)] {
                assert_eq!(questions(hello, None, vec![status(one), status(other)]).0, [first, second]);
            }
            for other in [Failure::Malformed, Failure::NotMcp { content_type: String::new() }] {
                assert_eq!(questions(hello, None, vec![status(404), other]).0, [first, second]);
            }
        }
    }

    /// t136: an answer, be it an error, is the server's, and its own words are the client's to have.
    #[test]
    fn t136_a_server_that_answers_takes_messages() {
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no"}}"#;
        let (mut greeting, _) = begun(LEGACY, None);
        assert!(matches!(greeting.answered(message(error)), Outcome::Next(Discover)));
        greeting.ask(Discover, &Numbers::default());
        assert!(matches!(refuse(&mut greeting, status(404)), Outcome::Rejected(Some(_), _)));
        let (mut greeting, _) = begun(LEGACY, None);
        assert!(matches!(refuse(&mut greeting, status(404)), Outcome::Next(Discover)));
        assert!(matches!(greeting.answered(message(error)), Outcome::Rejected(None, _)));
    }

    /// What is no answer is the server's too, where the stream comes to nothing.
    #[test]
    fn what_is_said_where_nobody_takes_messages_is_no_answer() {
        let said = |code, text| Failure::Unaddressed {
            status: StatusCode::from_u16(code).unwrap(),
            said: Box::new(message(text)),
        };
        let first = r#"{"id":null,"error":{"code":-32601,"message":"first"}}"#;
        let second = r#"{"id":"server-error","error":{"code":-32600,"message":"second"}}"#;
        for hello in [LEGACY, MODERN] {
            let (asked, outcome) = questions(hello, None, vec![said(405, first), said(404, second), status(404)]);
            assert_eq!((asked.len(), asked[2]), (3, InitializeOverSse));
            let Outcome::Rejected(Some(answer), failure) = outcome else { panic!("{outcome:?}") };
            assert_eq!(answer.id(), message(hello).id());
            assert!(String::from_utf8_lossy(answer.raw()).contains("first"));
            assert_eq!(failure.to_string(), "the server answered HTTP 405");
            assert_eq!(questions(hello, None, vec![status(404), said(400, second), status(404)]).0.len(), 3);
        }
    }

    #[test]
    fn a_known_stream_is_asked_for_first_and_once() {
        for hello in [LEGACY, MODERN] {
            let (asked, outcome) = questions(hello, Some(&over_sse()), vec![status(404), status(404), status(404)]);
            assert_eq!(asked, [InitializeOverSse, Initialize, Discover]);
            assert!(matches!(outcome, Outcome::Rejected(..)));
            let (mut greeting, question) = begun(hello, Some(&over_sse()));
            assert_eq!((question.transport(), question.method()), (Transport::HttpSse, "initialize"));
            let Outcome::Known(known, answer) = greeting.answered(initialized("2024-11-05")) else { panic!() };
            assert_eq!((known.era, known.transport), (Era::Legacy, Transport::HttpSse));
            assert_eq!(answer.is_some(), hello == LEGACY, "the client has its own question answered");
        }
    }

    #[test]
    fn a_server_that_moves_is_known_as_it_is_now() {
        let (mut greeting, _) = begun(LEGACY, Some(&over_sse()));
        assert!(matches!(refuse(&mut greeting, Failure::NoEndpoint { status: None }), Outcome::Next(Initialize)));
        let Outcome::Known(known, Some(_)) = greeting.answered(initialized("2025-11-25")) else { panic!() };
        assert_eq!(known.transport, Transport::StreamableHttp);
    }

    /// That there is no stream tells less than what the server said before. What comes later may tell more.
    #[test]
    fn a_wrong_guess_changes_nothing() {
        let guess = |failure| questions(LEGACY, None, vec![status(404), status(404), failure]).1;
        let none = |code| Failure::NoEndpoint { status: Some(StatusCode::from_u16(code).unwrap()) };
        for failure in [Failure::NoEndpoint { status: None }, none(404), none(403), none(503), Failure::Malformed] {
            let what = format!("{failure:?}");
            assert!(
                matches!(guess(failure), Outcome::Rejected(None, said) if said.to_string() == status(404).to_string()),
                "{what}"
            );
        }
        for failure in [Failure::ForeignEndpoint, Failure::Refused, Failure::TimedOut { seconds: 1 }, status(503)] {
            let what = format!("{failure:?}");
            assert!(matches!(guess(failure), Outcome::OutOfReach(_)), "{what}");
        }
    }

    #[test]
    fn every_beginning_is_a_new_one() {
        let (mut greeting, _) = begun(LEGACY, None);
        refuse(&mut greeting, status(410));
        refuse(&mut greeting, status(410));
        for expected in [Initialize, Discover, InitializeOverSse] {
            let question = if expected == Initialize {
                greeting.begin()
            } else {
                match refuse(&mut greeting, status(404)) {
                    Outcome::Next(question) => question,
                    outcome => panic!("{outcome:?}"),
                }
            };
            assert_eq!(question, expected);
            greeting.ask(question, &Numbers::default());
        }
    }
}
