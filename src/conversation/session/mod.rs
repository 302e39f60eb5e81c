//! The session between one client and one server, as a state machine: events in, actions out.
//!
//! It keeps every promise about responses: each request of the client gets exactly one, notifications and responses
//! get none, and a message refused because of a lost session is sent once more in a new one. It does no I/O and reads
//! no clock.

mod asked;
mod channel;
mod exchange;
mod handshake;
mod in_flight;
pub mod lost;
mod relisting;
mod session_state;

use std::sync::Arc;

pub use crate::conversation::session::exchange::{Action, Ending, Event, Exchange, Refused, SUBSCRIBE, Task};
use crate::{
    conversation::{
        acknowledged::wants_tools,
        failure::{Failure, Refusal},
        session::{
            channel::Channel,
            handshake::{Opener, Stage},
            in_flight::{Carried, Place},
            relisting::{Next, RefusedCall, Relisting},
        },
    },
    mcp::{
        attempts::Reason,
        codes,
        id::Id,
        message::{Kind, Message},
    },
};

/// The state machine.
#[derive(Debug, Default)]
pub struct Session {
    channel: Channel,
    relisting: Relisting,
}

impl Session {
    /// Learns a remembered list of tools: the members of a `tools/list` result.
    pub fn recall_tools(&mut self, tools: &str) {
        self.channel.tools.learn(Message::response(&Id::own(0), tools));
    }

    /// How many of the client's messages are in flight or waiting.
    pub fn in_flight(&self) -> usize {
        self.channel.in_flight.len() + self.channel.held.len()
    }

    /// How many of the client's bytes are in flight or waiting.
    pub fn bytes(&self) -> usize {
        self.channel.in_flight.bytes() + self.channel.held.bytes()
    }

    /// Whether every request has its response.
    pub fn is_idle(&self) -> bool {
        self.channel.in_flight.is_settled() && self.in_flight() == 0 && self.relisting.is_idle()
    }

    /// The subscriptions to changes of the tools that are open on the server or being opened, by the ids of the
    /// client's requests.
    pub fn tool_subscriptions(&self) -> impl Iterator<Item = &Id> {
        let asked = self.channel.in_flight.messages();
        asked.filter(|asked| asked.method() == Some(SUBSCRIBE) && wants_tools(asked)).filter_map(Message::id)
    }

    /// Handles `event`. The caller carries out the actions in order.
    pub fn handle(&mut self, event: Event) -> std::vec::Drain<'_, Action> {
        match event {
            Event::Received(message) => self.received(message),
            Event::Closed => self.closed(),
            Event::Accepted(exchange, session_id) => self.channel.accepted(exchange, session_id),
            Event::Delivered(exchange, message) => self.delivered(exchange, message),
            Event::Finished(exchange, ending) => {
                if let Some(stray) = self.channel.in_flight.take_stray(exchange) {
                    self.delivered(exchange, stray);
                }
                self.finished(exchange, ending);
            }
            Event::HoldExpired(exchange) => self.channel.opened(exchange),
            Event::Stopping => self.stopping(),
        }
        self.channel.send_waiting();
        self.channel.actions.drain(..)
    }

    // From the client.

    fn received(&mut self, message: Message) {
        let message = message.recorded();
        match &message.kind {
            Kind::Request { id, method } => {
                if self.channel.handshake.wants_stream() {
                    self.channel.listen();
                }
                if !self.channel.in_flight.expect(id, method) {
                    return self.channel.actions.push(Action::Refuse(Refusal::unsent(message, Failure::IdInUse)));
                }
                if &**method == "initialize" {
                    return self.initialize(message);
                }
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" && !self.cancelled(&message) => {
                return;
            }
            Kind::Notification { method } if &**method == "notifications/initialized" => {
                self.channel.handshake.confirm(message);
                if self.channel.handshake.stage == Stage::Initialized {
                    self.channel.confirm();
                }
                return;
            }
            // The request that this responds to ended with its session.
            Kind::Response { id, .. } if !self.channel.asked.is_awaited(id.as_ref()) => return,
            Kind::Notification { method } if &**method == "notifications/progress" && self.channel.asked.is_empty() => {
                return;
            }
            _ => {}
        }
        self.channel.send_in_turn(self.channel.in_session(message));
    }

    /// The client's `initialize`: forgets any earlier session.
    fn initialize(&mut self, message: Message) {
        self.channel.reset();
        self.channel.handshake.begin(message);
        self.channel.open();
    }

    /// Handles a cancellation. Returns whether to send it to the server.
    fn cancelled(&mut self, message: &Message) -> bool {
        let Some(id) = message.cancels() else { return true };
        match self.channel.in_flight.place(&id) {
            // It has its response, or was never made.
            None => false,
            Some(Place::Sent(exchange)) if self.channel.handshake.stage == Stage::None => {
                // The modern era cancels by closing the response stream (MCP 2026-07-28 transports, "Cancellation").
                self.relisting.forget(&id);
                self.channel.in_flight.settle(&id);
                self.channel.in_flight.take(exchange);
                self.channel.push_task(Task::Cancel(exchange));
                false
            }
            Some(Place::Sent(_)) => {
                self.channel.in_flight.cancel(&id);
                true
            }
            Some(Place::Waiting) => {
                self.channel.in_flight.settle(&id);
                self.channel.held.remove_request(&id);
                false
            }
        }
    }

    // From the server.

    fn delivered(&mut self, exchange: Exchange, message: Message) {
        match &message.kind {
            Kind::Response { id, succeeded } => {
                let (id, succeeded) = (id.clone(), *succeeded);
                self.responded(exchange, id.as_ref(), succeeded, message);
            }
            // A modern server sends no requests (MCP 2026-07-28 transports, "Receiving Messages"), and the client
            // would not respond to one.
            Kind::Request { .. } if self.channel.handshake.stage == Stage::None => {}
            kind => {
                if let Kind::Request { id, .. } = kind {
                    self.channel.asked.add(id);
                }
                let within = self.channel.in_flight.carried(exchange).and_then(|carried| carried.message.id().cloned());
                self.channel.actions.push(Action::Pass(message, within));
            }
        }
    }

    fn responded(&mut self, exchange: Exchange, id: Option<&Id>, succeeded: bool, message: Message) {
        let asked = self.channel.in_flight.asked_in(exchange);
        let meant = self.request_of(id, asked.as_ref());
        let is_for_this = meant.is_none() || meant == asked;
        if !succeeded
            && is_for_this
            && self.channel.handshake.has_session_id()
            && lost::is_error_of_lost_session(&message)
        {
            let is_own = id.is_some() && meant.is_some();
            if self.channel.session_denied(exchange, is_own) {
                return;
            }
        }
        let Some(id) = meant else { return self.channel.in_flight.keep_stray(exchange, message) };
        let is_handshake = self.channel.handshake.stage == Stage::Initializing(exchange) && Some(&id) == asked.as_ref();
        if is_handshake && !self.channel.handshake_answered(&message, succeeded) {
            return;
        }
        if self.relisting.owns(&id) {
            return self.relisted(exchange, message);
        }
        let is_mismatch = !succeeded && message.error_code() == Some(codes::HEADER_MISMATCH);
        if is_mismatch && self.relist(exchange, &message) {
            return;
        }
        let Some(settled) = self.channel.in_flight.settle(&id) else { return };
        if succeeded
            && let Place::Sent(exchange) = settled.place
            && let Some(carried) = self.channel.in_flight.carried(exchange)
        {
            self.channel.handshake.state.record(&carried.message);
        }
        let is_list = self.channel.handshake.stage == Stage::None && &*settled.method == "tools/list";
        let message = if is_list { self.channel.tools.learn(message) } else { message };
        self.channel.actions.push(Action::Answer(message.addressed_to(&settled.id), settled.method));
    }

    /// The request that a response with this id belongs to, in the exchange of request `asked`. The id of a request in
    /// flight names that request, in whichever exchange the response comes. A response without an id, or with one of
    /// another JSON type, can only belong to the request of that exchange.
    fn request_of(&self, id: Option<&Id>, asked: Option<&Id>) -> Option<Id> {
        let Some(id) = id else { return asked.cloned() };
        if matches!(self.channel.in_flight.place(id), Some(Place::Sent(_))) || self.relisting.owns(id) {
            return Some(id.clone());
        }
        asked.filter(|asked| id.resembles(asked)).cloned()
    }

    // Calls whose headers did not match the server's tools.

    /// The server refused a call because its tools have changed. Returns whether they are listed again for it.
    fn relist(&mut self, exchange: Exchange, error: &Message) -> bool {
        let Some(Carried { message, .. }) = self.channel.in_flight.carried(exchange) else { return false };
        let is_call = self.channel.handshake.stage == Stage::None && message.method() == Some("tools/call");
        if !is_call || !message.attempts().admit(Reason::HeaderMismatch) {
            return false;
        }
        let Some(call) = self.channel.in_flight.take(exchange) else { return false };
        if let Some(list) = self.relisting.add(RefusedCall { call, error: error.clone() }) {
            self.channel.post(self.channel.in_session(list));
        }
        true
    }

    /// A page of the list has come; after the last one the calls are sent again.
    fn relisted(&mut self, exchange: Exchange, page: Message) {
        self.channel.in_flight.take(exchange);
        let page = self.channel.tools.learn(page);
        match self.relisting.listed(&page) {
            Some(Next::Page(list)) => {
                self.channel.post(self.channel.in_session(list));
            }
            Some(Next::Send(refused)) => {
                refused.into_iter().for_each(|refused| self.channel.send_in_turn(refused.call))
            }
            None => {}
        }
    }

    /// The tools could not be listed: the calls fail with the server's own errors.
    fn not_relisted(&mut self) {
        for RefusedCall { call, error } in self.relisting.end() {
            self.channel.answer(&call.message, error);
        }
    }

    // Exchanges without a response.

    fn finished(&mut self, exchange: Exchange, ending: Ending) {
        if self.channel.handshake.stream_ended(exchange, matches!(ending, Ending::Failed(_))) {
            return self.channel.opened(exchange);
        }
        let Some(carried) = self.channel.in_flight.take(exchange) else { return };
        if carried.message.id().is_some_and(|id| self.relisting.owns(id)) {
            return self.not_relisted();
        }
        if let Ending::SessionLost(_) = ending
            && self.channel.handshake.can_reopen()
            && carried.message.attempts().admit(Reason::SessionLost)
        {
            return self.channel.session_lost(exchange, carried);
        }
        if carried.message.method() == Some("notifications/cancelled") {
            return self.channel.cancellation_delivered(&carried.message);
        }
        let refused = match ending {
            Ending::Complete => Refused::Failure(Failure::Cut),
            Ending::SessionLost(refused) => *refused,
            Ending::Failed(failure) => Refused::Failure(failure),
        };
        if self.channel.handshake.stage == Stage::Confirming(exchange) {
            // The server may have got it anyway; the next message will show.
            self.channel.open_stream();
        }
        match refused {
            Refused::Response(response) => self.channel.answer(&carried.message, response),
            Refused::Failure(failure) => self.failed(exchange, carried.message, &Arc::new(failure)),
        }
    }

    /// An exchange got no response.
    fn failed(&mut self, exchange: Exchange, message: Message, failure: &Arc<Failure>) {
        if self.channel.handshake.stage == Stage::Initializing(exchange) {
            self.channel.handshake_failed(failure);
            if self.channel.handshake.opener == Opener::Finmcp {
                return; // finmcp opened the session, and the client does not wait for it
            }
        }
        self.channel.refuse(message, failure);
    }

    // The end.

    /// The client wants no more notifications of changes: its subscriptions end here, as a server would end them.
    /// Other requests can still get their responses.
    fn closed(&mut self) {
        for exchange in self.channel.in_flight.carrying(|message| message.method() == Some(SUBSCRIBE)) {
            let Some(Carried { message, .. }) = self.channel.in_flight.take(exchange) else { continue };
            self.channel.push_task(Task::Cancel(exchange));
            if let Kind::Request { id, .. } = &message.kind
                && self.channel.in_flight.settle(id).is_some_and(|settled| settled.is_wanted)
            {
                self.channel.actions.push(Action::Answer(Message::end_of_subscription(id), SUBSCRIBE.into()));
            }
        }
    }

    fn stopping(&mut self) {
        let failure = Arc::new(Failure::Stopped);
        self.not_relisted();
        self.channel.refuse_held(&failure);
        for (exchange, carried) in self.channel.in_flight.take_all() {
            self.channel.push_task(Task::Cancel(exchange));
            self.channel.refuse(carried.message, &failure);
        }
    }

    /// Forgets any session: the next message starts a new one.
    pub fn reset(&mut self) {
        self.channel.reset();
    }

    /// Ends the session on the server; nothing more will come.
    pub fn end(&mut self) -> std::vec::Drain<'_, Action> {
        self.channel.end_session();
        self.channel.push_task(Task::Stop);
        self.channel.actions.drain(..)
    }
}

#[cfg(test)]
mod tests;
