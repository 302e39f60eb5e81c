//! How far a legacy session is: its handshake, what opens it again once the server has forgotten it, and the GET stream.

use http::{HeaderMap, HeaderValue};

use crate::{
    bridge::conversation::session::{exchange::Exchange, standing::Standing},
    mcp::{attempts::Reason, headers, message::Message, revision},
};

/// How far it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There was none: a modern client, or one that has not spoken yet.
    #[default]
    None,
    /// `initialize` is under way. Everything else is held.
    Initializing(Exchange),
    /// `initialize` is answered; the client's `notifications/initialized` is awaited.
    Initialized,
    /// `notifications/initialized` is under way. Everything else is held, or the server could see it too early.
    Confirming(Exchange),
    /// The GET stream is being opened. Everything else is held, or early messages of the server could be lost.
    Opening(Exchange),
    /// Messages pass.
    Ready,
    /// The server has forgotten the session and a new one could not be opened yet.
    Lost,
}

/// Who opened the session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The client.
    #[default]
    Client,
    /// finmcp, in place of a lost one. The client knows nothing of it: it has had its answer to `initialize` long ago.
    Finmcp,
}

/// The GET stream, on which a legacy server speaks outside of exchanges (MCP 2025-11-25 transports, "Listening for Messages from
/// the Server").
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// It was not opened, or has ended as it should.
    #[default]
    Closed,
    /// It is there, or being opened.
    Open(Exchange),
    /// It was there, or could have been, and is not any more.
    Lost,
}

/// The handshake: none to begin with.
#[derive(Debug, Default)]
pub struct Handshake {
    /// How far it is.
    pub stage: Stage,
    /// Who opened the session.
    pub opener: Opener,
    /// What the client has set in it.
    pub standing: Standing,
    /// The client's own `initialize` and `notifications/initialized`, for opening another session.
    initialize: Option<Message>,
    initialized: Option<Message>,
    generation: u64,
    session_id: Option<HeaderValue>,
    version: Option<Box<str>>,
    stream: Stream,
}

impl Handshake {
    /// Whether it holds nothing up.
    pub fn passes(&self) -> bool {
        matches!(self.stage, Stage::None | Stage::Initialized | Stage::Ready)
    }

    /// Whether a lost session can be opened again.
    pub fn can_reopen(&self) -> bool {
        self.initialize.is_some()
    }

    /// One more with each session opened.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the server keeps a session with an id.
    pub fn has_session_id(&self) -> bool {
        self.session_id.is_some()
    }

    /// The headers of whatever is sent in this session.
    pub fn headers(&self) -> HeaderMap {
        headers::legacy(self.session_id.as_ref(), self.version.as_deref())
    }

    /// The client opens a session with `initialize`.
    pub fn begin(&mut self, initialize: Message) {
        self.initialize = Some(initialize);
    }

    /// The client goes on with `notifications/initialized`.
    pub fn confirm(&mut self, initialized: Message) {
        self.initialized = Some(initialized);
    }

    /// What opens the session, or opens it again.
    pub fn initialize(&self) -> Option<Message> {
        self.initialize.clone().map(|message| self.spoken(message))
    }

    /// What tells the server that the handshake is over, as the client said it.
    pub fn initialized(&self) -> Option<Message> {
        self.initialized.clone().map(|message| self.spoken(message))
    }

    fn spoken(&self, message: Message) -> Message {
        match self.opener {
            Opener::Client => message,
            Opener::Finmcp => of_reopening(message),
        }
    }

    /// The server has named the session.
    pub fn named(&mut self, session_id: Option<HeaderValue>) {
        self.session_id = session_id;
    }

    /// `initialize` was answered.
    pub fn answered(&mut self, answer: &Message) {
        self.generation += 1;
        self.version = revision::negotiated_version(answer);
        self.stage = Stage::Initialized;
    }

    /// `initialize` came to nothing.
    pub fn failed(&mut self) {
        self.session_id = None;
        self.stage = match self.opener {
            Opener::Client => Stage::None,
            Opener::Finmcp => Stage::Lost,
        };
    }

    /// The session has ended, with the stream that is to be closed.
    pub fn end(&mut self) -> Option<Exchange> {
        self.session_id = None;
        self.version = None;
        let Stream::Open(exchange) = self.stream else { return None };
        self.stream = Stream::Closed;
        Some(exchange)
    }

    /// Whatever was before is over: what comes next speaks for itself.
    pub fn reset(&mut self) {
        let generation = self.generation;
        *self = Self { generation, ..Self::default() };
    }

    // The GET stream.

    /// It is being opened.
    pub fn listens(&mut self, exchange: Exchange) {
        self.stream = Stream::Open(exchange);
    }

    /// Whether `exchange` is the stream, which is over.
    pub fn stream_ended(&mut self, exchange: Exchange, has_failed: bool) -> bool {
        let is_stream = self.stream == Stream::Open(exchange);
        if is_stream {
            self.stream = if has_failed { Stream::Lost } else { Stream::Closed };
        }
        is_stream
    }

    /// Whether it is to be opened again: the client is heard of, and so may be a server whose stream was given up.
    pub fn wants_stream(&self) -> bool {
        self.stream == Stream::Lost && self.stage == Stage::Ready
    }
}

/// `message` as it is sent to open a session in the place of a lost one: with a record of its own, and not again if that
/// session is lost at once.
pub fn of_reopening(message: Message) -> Message {
    let message = message.unsent().recorded();
    message.attempts().admit(Reason::SessionLost);
    message
}
