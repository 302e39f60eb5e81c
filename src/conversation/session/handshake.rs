//! The handshake of a legacy session, the messages to repeat it after the session is lost, and the GET stream.

use http::{HeaderMap, HeaderValue};

use crate::{
    conversation::session::{exchange::Exchange, session_state::SessionState},
    mcp::{attempts::Reason, headers, message::Message, revision},
};

/// How far the handshake is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is no session: the client is modern, or has sent nothing yet.
    #[default]
    None,
    /// `initialize` is in flight. All other messages wait.
    Initializing(Exchange),
    /// `initialize` has its response; the client's `notifications/initialized` is next.
    Initialized,
    /// `notifications/initialized` is in flight. All other messages wait, because the server could see them too early.
    Confirming(Exchange),
    /// The GET stream is being opened. All other messages wait, because early messages from the server could be lost.
    Opening(Exchange),
    /// Messages pass.
    Ready,
    /// The server no longer knows the session, and a new one could not be opened yet.
    Lost,
}

/// Who opened the session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    #[default]
    Client,
    /// finmcp, in place of a lost one. The client does not know of it: it got its response to `initialize` long ago.
    Finmcp,
}

/// The GET stream, on which a legacy server sends messages outside exchanges (MCP 2025-11-25 transports, "Listening
/// for Messages from the Server").
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// It was not opened, or has ended normally.
    #[default]
    Closed,
    /// It is open, or being opened.
    Open(Exchange),
    /// It was cut, or could not be opened.
    Lost,
}

#[derive(Debug, Default)]
pub struct Handshake {
    pub stage: Stage,
    pub opener: Opener,
    /// What the client has set in the session.
    pub state: SessionState,
    /// The client's own `initialize` and `notifications/initialized`, to open a new session with.
    initialize: Option<Message>,
    initialized: Option<Message>,
    generation: u64,
    session_id: Option<HeaderValue>,
    version: Option<Box<str>>,
    stream: Stream,
}

impl Handshake {
    /// Whether messages pass.
    pub fn passes(&self) -> bool {
        matches!(self.stage, Stage::None | Stage::Initialized | Stage::Ready)
    }

    /// Whether a lost session can be replaced.
    pub fn can_reopen(&self) -> bool {
        self.initialize.is_some()
    }

    /// A number that grows with each session opened.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the server has given the session an id.
    pub fn has_session_id(&self) -> bool {
        self.session_id.is_some()
    }

    /// The headers for every message in this session.
    pub fn headers(&self) -> HeaderMap {
        headers::legacy(self.session_id.as_ref(), self.version.as_deref())
    }

    /// The client opens a session with `initialize`.
    pub fn begin(&mut self, initialize: Message) {
        self.initialize = Some(initialize);
    }

    /// The client sends `notifications/initialized`.
    pub fn confirm(&mut self, initialized: Message) {
        self.initialized = Some(initialized);
    }

    /// The `initialize` to open a session with, or to open a new one for a lost one.
    pub fn initialize(&self) -> Option<Message> {
        self.initialize.clone().map(|message| self.for_new_session(message))
    }

    /// The `notifications/initialized` to complete the handshake with.
    pub fn initialized(&self) -> Option<Message> {
        self.initialized.clone().map(|message| self.for_new_session(message))
    }

    /// `message` as it is for the client's own session; adapted for a session that finmcp opens.
    fn for_new_session(&self, message: Message) -> Message {
        match self.opener {
            Opener::Client => message,
            Opener::Finmcp => for_reopening(message),
        }
    }

    /// The server has accepted `initialize`, and may have given the session an id.
    pub fn accepted(&mut self, session_id: Option<HeaderValue>) {
        self.session_id = session_id;
    }

    /// `initialize` has a successful response.
    pub fn answered(&mut self, answer: &Message) {
        self.generation += 1;
        self.version = revision::negotiated_version(answer);
        self.stage = Stage::Initialized;
    }

    /// `initialize` failed.
    pub fn failed(&mut self) {
        self.session_id = None;
        self.stage = match self.opener {
            Opener::Client => Stage::None,
            Opener::Finmcp => Stage::Lost,
        };
    }

    /// The session has ended; returns the exchange of the stream to close.
    pub fn end(&mut self) -> Option<Exchange> {
        self.session_id = None;
        self.version = None;
        let Stream::Open(exchange) = self.stream else { return None };
        self.stream = Stream::Closed;
        Some(exchange)
    }

    /// Forgets everything: the next message starts a new session.
    pub fn reset(&mut self) {
        let generation = self.generation;
        *self = Self { generation, ..Self::default() };
    }

    // The GET stream.

    pub fn stream_opening(&mut self, exchange: Exchange) {
        self.stream = Stream::Open(exchange);
    }

    /// Whether `exchange` was the stream, which has now ended.
    pub fn stream_ended(&mut self, exchange: Exchange, has_failed: bool) -> bool {
        let is_stream = self.stream == Stream::Open(exchange);
        if is_stream {
            self.stream = if has_failed { Stream::Lost } else { Stream::Closed };
        }
        is_stream
    }

    /// Whether to reopen a lost stream. The client has just sent something, so the server may have something to send
    /// too.
    pub fn wants_stream(&self) -> bool {
        self.stream == Stream::Lost && self.stage == Stage::Ready
    }
}

/// `message` as sent to replace a lost session: with a separate record of attempts, and not again if that session is
/// lost at once.
pub fn for_reopening(message: Message) -> Message {
    let message = message.unsent().recorded();
    message.attempts().admit(Reason::SessionLost);
    message
}
