//! What goes to the server, and in which session: held until the handshake is over and there is room, and sent again in
//! another session where the server has forgotten the one it was sent in.

use std::sync::Arc;

use http::HeaderValue;

use crate::{
    bridge::conversation::{
        failure::{Failure, Refusal, Taken, only_reads},
        held::Held,
        session::{
            asked::Asked,
            exchange::{Action, Exchange, Task},
            handshake::{Handshake, Opener, Stage, of_reopening},
            in_flight::{Carried, InFlight, Place},
            standing::Subject,
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

/// How many messages of the client may be under way; then further requests wait. Each may be a connection, and a process
/// has 256 files on some systems. An answer or a cancellation never waits: the server may need it to answer one.
pub const IN_FLIGHT_LIMIT: usize = 200;

/// The way to the server: with nothing sent yet, to begin with.
#[derive(Debug, Default)]
pub struct Channel {
    /// How far the session is.
    pub handshake: Handshake,
    /// What is on its way, and what has no response yet.
    pub in_flight: InFlight,
    /// What waits for the handshake, or for room.
    pub held: Held<Carried>,
    /// What the server wants to know.
    pub asked: Asked,
    /// What the server's tools want to have in the headers.
    pub tools: Tools,
    /// What is to be done.
    pub actions: Vec<Action>,
}

impl Channel {
    /// Wants this of the network.
    pub fn act(&mut self, task: Task) {
        self.actions.push(Action::Do(task));
    }

    /// `message` in the session that there is now.
    pub fn fresh(&self, message: Message) -> Carried {
        Carried { message, generation: self.handshake.generation() }
    }

    /// Sends this, as soon as the handshake is over and there is room.
    pub fn send_in_turn(&mut self, carried: Carried) {
        let is_urgent = match &carried.message.kind {
            Kind::Request { .. } => false,
            Kind::Notification { method } => &**method == "notifications/cancelled",
            Kind::Response { .. } => true,
        };
        if self.handshake.passes() && (self.has_room() || is_urgent) {
            self.post(carried);
        } else {
            self.held.push(carried);
            if self.handshake.stage == Stage::Lost {
                self.reopen();
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_LIMIT
    }

    /// Sends what waited for room.
    pub fn refill(&mut self) {
        while self.handshake.passes()
            && self.has_room()
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

    /// Sends this at once.
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
        self.act(Task::Post(exchange, message, headers));
        exchange
    }

    // The session.

    /// Sends what opens the session, or opens it again.
    pub fn open(&mut self) {
        if let Some(message) = self.handshake.initialize() {
            let exchange = self.post(self.fresh(message));
            self.handshake.stage = Stage::Initializing(exchange);
        }
    }

    /// Tells the server that the handshake is over. Whether the client has said so.
    pub fn confirm(&mut self) -> bool {
        let Some(message) = self.handshake.initialized() else { return false };
        let exchange = self.post(self.fresh(message));
        self.handshake.stage = Stage::Confirming(exchange);
        true
    }

    /// The server took an exchange.
    pub fn accepted(&mut self, exchange: Exchange, session_id: Option<HeaderValue>) {
        match self.handshake.stage {
            Stage::Initializing(initializing) if initializing == exchange => self.handshake.named(session_id),
            Stage::Confirming(confirming) if confirming == exchange => self.open_stream(),
            Stage::Opening(opening) if opening == exchange => self.opened(exchange),
            _ => {}
        }
    }

    /// The handshake is over: the GET stream is opened next.
    pub fn open_stream(&mut self) {
        let exchange = self.listen();
        self.handshake.stage = Stage::Opening(exchange);
        self.act(Task::HoldFor(exchange));
    }

    /// Opens the GET stream.
    pub fn listen(&mut self) -> Exchange {
        let exchange = self.in_flight.next_exchange();
        self.handshake.listens(exchange);
        self.act(Task::Listen(exchange, self.handshake.headers()));
        exchange
    }

    /// Lets the held messages go: the GET stream is open, or is not needed, or takes too long.
    pub fn opened(&mut self, exchange: Exchange) {
        if self.handshake.stage == Stage::Opening(exchange) {
            self.handshake.stage = Stage::Ready;
            if self.handshake.opener == Opener::Finmcp {
                self.set_again();
            }
            self.release();
        }
    }

    /// Sets in the new session what the client had set in the lost one. The answers to that are for no request of the
    /// client's.
    fn set_again(&mut self) {
        // (Requests that we sent in the lost session to set it again died with it.)
        let of_client = |message: &&Message| message.id().is_some_and(|id| self.in_flight.place(id).is_some());
        let under_way = self.in_flight.messages().chain(self.held.iter()).filter(of_client);
        let under_way = under_way.filter_map(Subject::of).collect();
        for message in self.handshake.standing.again(&under_way) {
            self.send_in_turn(self.fresh(of_reopening(message)));
        }
    }

    /// `initialize` was answered. Whether the client waits for that.
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

    /// `initialize` came to nothing, and so does what waited for it.
    pub fn handshake_failed(&mut self, failure: &Arc<Failure>) {
        self.handshake.failed();
        self.refuse_held(failure);
    }

    /// Forgets the session, whose stream is closed.
    fn close_stream(&mut self) {
        if let Some(exchange) = self.handshake.end() {
            self.act(Task::Cancel(exchange));
        }
    }

    /// Ends the session at the server.
    pub fn end_session(&mut self) {
        let (had_id, headers) = (self.handshake.has_session_id(), self.handshake.headers());
        self.close_stream();
        if had_id {
            self.act(Task::Delete(headers));
        }
        self.asked.take();
    }

    /// Forgets whatever session there is: what comes next speaks for itself.
    pub fn reset(&mut self) {
        self.end_session();
        self.handshake.reset();
    }

    // A session that is lost.

    /// The server refused `carried` because it has forgotten the session: one new session for all that are refused, and
    /// each is sent once more.
    pub fn lost(&mut self, exchange: Exchange, carried: Carried) {
        let from_before = carried.generation < self.handshake.generation();
        if let Kind::Request { id, .. } = &carried.message.kind {
            self.in_flight.wait(id);
        }
        // A response belongs to a request of the forgotten session, and the handshake is done again anyway.
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
        // What the server has asked is not awaited any more, and an answer would be taken for one to another question; but
        // where a call goes on, the server may have asked in the middle of it.
        if !self.in_flight.messages().any(|message| matches!(message.kind, Kind::Request { .. })) {
            for id in self.asked.take() {
                self.actions.push(Action::Pass(Message::cancellation(&id), None));
            }
        }
        self.handshake.opener = Opener::Finmcp;
        self.open();
    }

    /// The server says with a status of success that it does not know the session. Whether the request is sent again: one
    /// with an answer for its own id only where that changes nothing; but the next one has a new session.
    pub fn denied(&mut self, exchange: Exchange, is_own: bool) -> bool {
        let Some(carried) = self.in_flight.carried(exchange) else { return false };
        let message = &carried.message;
        let may_be_sent = !is_own || only_reads(message.method());
        if may_be_sent && self.handshake.can_reopen() && message.attempts().admit(Reason::SessionLost) {
            if let Some(carried) = self.in_flight.take(exchange) {
                self.lost(exchange, carried);
            }
            return true;
        }
        if carried.generation == self.handshake.generation() && self.handshake.stage == Stage::Ready {
            self.handshake.stage = Stage::Lost;
        }
        false
    }

    // Answers.

    /// Tells the client what the server said in place of a result.
    pub fn answer(&mut self, message: &Message, said: Message) {
        if let Some(settled) = message.id().and_then(|id| self.in_flight.settle(id)) {
            self.actions.push(Action::Answer(said.addressed_to(&settled.id), settled.method));
        }
    }

    /// Has the request that `message` is answered, if it has no answer.
    pub fn refuse(&mut self, message: Message, failure: &Arc<Failure>) {
        let Kind::Request { id, .. } = &message.kind else { return };
        let Some(settled) = self.in_flight.settle(id) else { return };
        if settled.is_wanted {
            let taken = if settled.place == Place::Waiting { Taken::No } else { failure.taken() };
            self.actions.push(Action::Refuse(Refusal { message, failure: Arc::clone(failure), taken }));
        }
    }

    /// Has the requests that wait answered.
    pub fn refuse_held(&mut self, failure: &Arc<Failure>) {
        for held in self.held.take() {
            self.refuse(held.message, failure);
        }
    }

    /// The server has heard that a request is cancelled: it need not answer it any more, and many never do (MCP 2025-11-25
    /// cancellation, "Behavior Requirements").
    pub fn let_go(&mut self, cancellation: &Message) {
        let Some(id) = cancellation.cancels() else { return };
        if let Some(exchange) = self.in_flight.cancelled(&id) {
            self.in_flight.settle(&id);
            self.in_flight.take(exchange);
            self.act(Task::Cancel(exchange));
        }
    }
}
