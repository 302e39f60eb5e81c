//! The messages to the server, and the session they are sent in: they wait until the handshake is complete and there
//! is capacity, and are sent again in a new session if the server has lost the one they were sent in.

use std::sync::Arc;

use http::HeaderValue;

use crate::{
    conversation::{
        failure::{Failure, Processed, Refusal, only_reads},
        held::Held,
        session::{
            asked::Asked,
            exchange::{Action, Exchange, Task},
            handshake::{Handshake, Opener, Stage, for_reopening},
            in_flight::{Carried, InFlight, Place},
            session_state::Subject,
        },
    },
    mcp::{
        attempts::Reason,
        headers,
        message::{Kind, Message},
        mirrored::Tools,
        revision,
    },
};

/// How many of the client's messages may be in flight; beyond that requests wait. Each may need a connection, and a
/// process may have only 256 open files on some systems. Responses and cancellations never wait: the server may need
/// them to respond.
pub const IN_FLIGHT_LIMIT: usize = 200;

/// The messages to the server, and their session.
#[derive(Debug, Default)]
pub struct Channel {
    /// How far the session is.
    pub handshake: Handshake,
    /// The messages in flight, and the requests without a response.
    pub in_flight: InFlight,
    /// The messages that wait for the handshake or for capacity.
    pub held: Held<Carried>,
    /// The server's requests to the client without a response.
    pub asked: Asked,
    /// The headers that the server's tools ask for.
    pub tools: Tools,
    /// The actions to be carried out.
    pub actions: Vec<Action>,
}

impl Channel {
    pub fn push_task(&mut self, task: Task) {
        self.actions.push(Action::Do(task));
    }

    /// `message` for the current session.
    pub fn in_session(&self, message: Message) -> Carried {
        Carried { message, generation: self.handshake.generation() }
    }

    /// Sends a message as soon as the handshake is complete and there is capacity.
    pub fn send_in_turn(&mut self, carried: Carried) {
        let is_urgent = match &carried.message.kind {
            Kind::Request { .. } => false,
            Kind::Notification { method } => &**method == "notifications/cancelled",
            Kind::Response { .. } => true,
        };
        if self.handshake.passes() && (self.has_capacity() || is_urgent) {
            self.post(carried);
        } else {
            self.held.push(carried);
            if self.handshake.stage == Stage::Lost {
                self.reopen();
            }
        }
    }

    fn has_capacity(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_LIMIT
    }

    /// Sends the messages that waited for capacity.
    pub fn send_waiting(&mut self) {
        while self.handshake.passes()
            && self.has_capacity()
            && let Some(carried) = self.held.pop()
        {
            self.post(carried);
        }
    }

    fn release(&mut self) {
        for carried in self.held.take() {
            self.send_in_turn(carried);
        }
    }

    /// Sends a message at once.
    pub fn post(&mut self, carried: Carried) -> Exchange {
        let exchange = self.in_flight.next_exchange();
        let message = carried.message.clone();
        let is_modern = self.handshake.stage == Stage::None;
        let headers = match is_modern.then(|| revision::modern_version(&message)).flatten() {
            Some(version) => {
                let mut headers = headers::modern(&message, &version);
                self.tools.mirror(&message, &mut headers);
                headers
            }
            None if message.method() == Some("initialize") => headers::opening(),
            None => self.handshake.headers(),
        };
        self.in_flight.carry(exchange, Carried { generation: self.handshake.generation(), ..carried });
        self.push_task(Task::Post(exchange, message, headers));
        exchange
    }

    // The session.

    /// Sends `initialize` to open a session, or to open a new one for a lost one.
    pub fn open(&mut self) {
        if let Some(message) = self.handshake.initialize() {
            let exchange = self.post(self.in_session(message));
            self.handshake.stage = Stage::Initializing(exchange);
        }
    }

    /// Sends `notifications/initialized`. Returns whether the client has sent that yet.
    pub fn confirm(&mut self) -> bool {
        let Some(message) = self.handshake.initialized() else { return false };
        let exchange = self.post(self.in_session(message));
        self.handshake.stage = Stage::Confirming(exchange);
        true
    }

    /// The server accepted an exchange.
    pub fn accepted(&mut self, exchange: Exchange, session_id: Option<HeaderValue>) {
        match self.handshake.stage {
            Stage::Initializing(initializing) if initializing == exchange => self.handshake.accepted(session_id),
            Stage::Confirming(confirming) if confirming == exchange => self.open_stream(),
            Stage::Opening(opening) if opening == exchange => self.opened(exchange),
            _ => {}
        }
    }

    /// The handshake is complete: opens the GET stream, for which messages wait.
    pub fn open_stream(&mut self) {
        let exchange = self.listen();
        self.handshake.stage = Stage::Opening(exchange);
        self.push_task(Task::HoldFor(exchange));
    }

    pub fn listen(&mut self) -> Exchange {
        let exchange = self.in_flight.next_exchange();
        self.handshake.stream_opening(exchange);
        self.push_task(Task::Listen(exchange, self.handshake.headers()));
        exchange
    }

    /// Sends the waiting messages: the GET stream is open, is not supported, or takes too long.
    pub fn opened(&mut self, exchange: Exchange) {
        if self.handshake.stage == Stage::Opening(exchange) {
            self.handshake.stage = Stage::Ready;
            if self.handshake.opener == Opener::Finmcp {
                self.restore_state();
            }
            self.release();
        }
    }

    /// Restores in the new session what the client had set in the lost one. The responses to these requests do not go
    /// to the client.
    fn restore_state(&mut self) {
        // Requests that finmcp sent to restore the lost session ended with it.
        let is_clients = |message: &&Message| message.id().is_some_and(|id| self.in_flight.place(id).is_some());
        let in_flight = self.in_flight.messages().chain(self.held.iter()).filter(is_clients);
        let in_flight = in_flight.filter_map(Subject::of).collect();
        for message in self.handshake.state.requests(&in_flight) {
            self.send_in_turn(self.in_session(for_reopening(message)));
        }
    }

    /// Handles the response to `initialize`. Returns whether the client waits for it.
    pub fn handshake_answered(&mut self, answer: &Message, succeeded: bool) -> bool {
        let opener = self.handshake.opener;
        if succeeded {
            self.handshake.answered(answer);
            if !self.confirm() {
                self.release();
            }
        } else {
            self.handshake_failed(&Arc::new(Failure::NoSession));
        }
        opener == Opener::Client
    }

    /// `initialize` failed, and so do the messages that waited for it.
    pub fn handshake_failed(&mut self, failure: &Arc<Failure>) {
        self.handshake.failed();
        self.refuse_held(failure);
    }

    /// Forgets the session and closes its stream.
    fn close_stream(&mut self) {
        if let Some(exchange) = self.handshake.end() {
            self.push_task(Task::Cancel(exchange));
        }
    }

    /// Ends the session on the server.
    pub fn end_session(&mut self) {
        let (had_id, headers) = (self.handshake.has_session_id(), self.handshake.headers());
        self.close_stream();
        if had_id {
            self.push_task(Task::Delete(headers));
        }
        self.asked.take();
    }

    /// Forgets any session: the next message starts a new one.
    pub fn reset(&mut self) {
        self.end_session();
        self.handshake.reset();
    }

    // Lost sessions.

    /// The server no longer knows the session of `carried`. Opens one new session for all messages refused this way,
    /// and sends each of them once more.
    pub fn session_lost(&mut self, exchange: Exchange, carried: Carried) {
        let from_before = carried.generation < self.handshake.generation();
        if let Kind::Request { id, .. } = &carried.message.kind {
            self.in_flight.mark_waiting(id);
        }
        // Drop a response, because it belongs to a request of the lost session, and a confirmation, because the
        // handshake is repeated.
        let is_confirmation = self.handshake.stage == Stage::Confirming(exchange);
        if !is_confirmation && !matches!(carried.message.kind, Kind::Response { .. }) {
            if from_before {
                return self.send_in_turn(carried);
            }
            self.held.push(carried);
        }
        if !from_before && !matches!(self.handshake.stage, Stage::Initializing(_)) {
            self.reopen();
        }
    }

    /// Opens a new session with the client's own parameters.
    fn reopen(&mut self) {
        if !self.handshake.can_reopen() {
            return;
        }
        self.close_stream();
        // The server's requests ended with the session, and a late response could be taken for one to another request.
        // But while a call is in flight, the server may have sent its request in the middle of that.
        if !self.in_flight.messages().any(|message| matches!(message.kind, Kind::Request { .. })) {
            for id in self.asked.take() {
                self.actions.push(Action::Pass(Message::cancellation(&id), None));
            }
        }
        self.handshake.opener = Opener::Finmcp;
        self.open();
    }

    /// The server reports with a success status that it does not know the session. Returns whether the request is sent
    /// again: if the response is to that request, only if the method is read-only. Otherwise the next request opens a
    /// new session.
    pub fn session_denied(&mut self, exchange: Exchange, is_own: bool) -> bool {
        let Some(carried) = self.in_flight.carried(exchange) else { return false };
        let message = &carried.message;
        let may_be_sent = !is_own || only_reads(message.method());
        if may_be_sent && self.handshake.can_reopen() && message.attempts().admit(Reason::SessionLost) {
            if let Some(carried) = self.in_flight.take(exchange) {
                self.session_lost(exchange, carried);
            }
            return true;
        }
        if carried.generation == self.handshake.generation() && self.handshake.stage == Stage::Ready {
            self.handshake.stage = Stage::Lost;
        }
        false
    }

    // Responses.

    /// Passes a response to the client that the server sent with an error status.
    pub fn answer(&mut self, message: &Message, error: Message) {
        if let Some(settled) = message.id().and_then(|id| self.in_flight.settle(id)) {
            self.actions.push(Action::Answer(error.addressed_to(&settled.id), settled.method));
        }
    }

    /// Fails the request `message`, unless it has a response.
    pub fn refuse(&mut self, message: Message, failure: &Arc<Failure>) {
        let Kind::Request { id, .. } = &message.kind else { return };
        let Some(settled) = self.in_flight.settle(id) else { return };
        if settled.is_wanted {
            let processed = if settled.place == Place::Waiting { Processed::No } else { failure.processed() };
            self.actions.push(Action::Refuse(Refusal { message, failure: Arc::clone(failure), processed }));
        }
    }

    /// Fails the waiting requests.
    pub fn refuse_held(&mut self, failure: &Arc<Failure>) {
        for held in self.held.take() {
            self.refuse(held.message, failure);
        }
    }

    /// The server has got a cancellation: it need not respond to that request any more, and many servers never do (MCP
    /// 2025-11-25 cancellation, "Behavior Requirements").
    pub fn cancellation_delivered(&mut self, cancellation: &Message) {
        let Some(id) = cancellation.cancels() else { return };
        if let Some(exchange) = self.in_flight.cancelled(&id) {
            self.in_flight.settle(&id);
            self.in_flight.take(exchange);
            self.push_task(Task::Cancel(exchange));
        }
    }
}
