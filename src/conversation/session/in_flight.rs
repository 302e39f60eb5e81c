//! The client's requests without a response, and the messages in flight. Each request gets exactly one response.

use std::collections::HashMap;

use crate::{
    conversation::session::exchange::Exchange,
    mcp::{
        id::Id,
        message::{Kind, Message},
    },
};

#[derive(Debug, Default)]
pub struct InFlight {
    pending: HashMap<Id, Pending>,
    carried: HashMap<Exchange, Carried>,
    /// Responses without a request id, by the exchange that delivered them.
    strays: HashMap<Exchange, Stray>,
    next_exchange: Exchange,
}

/// A client's request without a response.
#[derive(Debug)]
struct Pending {
    place: Place,
    method: Box<str>,
    interest: Interest,
}

/// Whether a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It waits to be sent.
    Waiting,
    /// It was sent in this exchange.
    Sent(Exchange),
}

/// Whether the client waits for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Waits,
    /// It has cancelled the request: a response from the server is passed on, but finmcp generates none.
    Cancelled,
}

/// The responses in one exchange that name no request.
#[derive(Debug)]
enum Stray {
    Only(Message),
    Several,
}

/// A message in an exchange, or waiting for one.
#[derive(Debug)]
pub struct Carried {
    /// The client's message, or one of finmcp's own.
    pub message: Message,
    /// The session that it was sent in.
    pub generation: u64,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Settled {
    /// Its id, as the client wrote it.
    pub id: Id,
    pub method: Box<str>,
    /// Whether it had been sent.
    pub place: Place,
    /// Whether the client needs a response even if the server sends none.
    pub is_wanted: bool,
}

impl AsRef<Message> for Carried {
    fn as_ref(&self) -> &Message {
        &self.message
    }
}

impl InFlight {
    // Requests.

    /// Tracks request `id` until it has a response. Returns false if the id is already in use.
    pub fn expect(&mut self, id: &Id, method: &str) -> bool {
        if self.pending.contains_key(id) {
            return false;
        }
        let pending = Pending { place: Place::Waiting, method: method.into(), interest: Interest::Waits };
        self.pending.insert(id.clone(), pending);
        true
    }

    /// Whether the request was sent; none if it has its response, or was never made.
    pub fn place(&self, id: &Id) -> Option<Place> {
        self.pending.get(id).map(|pending| pending.place)
    }

    /// The client has cancelled the request, and the server is being told.
    pub fn cancel(&mut self, id: &Id) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.interest = Interest::Cancelled;
        }
    }

    /// The exchange of a request that was sent and then cancelled.
    pub fn cancelled(&self, id: &Id) -> Option<Exchange> {
        match self.pending.get(id) {
            Some(Pending { place: Place::Sent(exchange), interest: Interest::Cancelled, .. }) => Some(*exchange),
            _ => None,
        }
    }

    /// The request has its response, or gets none. Every request ends here.
    pub fn settle(&mut self, id: &Id) -> Option<Settled> {
        let (id, Pending { place, method, interest }) = self.pending.remove_entry(id)?;
        Some(Settled { id, method, place, is_wanted: interest == Interest::Waits })
    }

    /// The request `id` will be sent again.
    pub fn mark_waiting(&mut self, id: &Id) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.place = Place::Waiting;
        }
    }

    /// Whether every request has its response.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    // Exchanges.

    /// The number of a new exchange.
    pub fn next_exchange(&mut self) -> Exchange {
        self.next_exchange += 1;
        self.next_exchange
    }

    /// Sends the message in this exchange.
    pub fn carry(&mut self, exchange: Exchange, carried: Carried) {
        if let Kind::Request { id, .. } = &carried.message.kind
            && let Some(pending) = self.pending.get_mut(id)
        {
            pending.place = Place::Sent(exchange);
        }
        self.carried.insert(exchange, carried);
    }

    /// The message sent in this exchange.
    pub fn carried(&self, exchange: Exchange) -> Option<&Carried> {
        self.carried.get(&exchange)
    }

    /// Removes an exchange that has ended, or whose message is sent in another one.
    pub fn take(&mut self, exchange: Exchange) -> Option<Carried> {
        self.carried.remove(&exchange)
    }

    pub fn take_all(&mut self) -> HashMap<Exchange, Carried> {
        std::mem::take(&mut self.carried)
    }

    /// The exchanges whose messages satisfy the condition.
    pub fn carrying(&self, condition: impl Fn(&Message) -> bool) -> Vec<Exchange> {
        self.carried.iter().filter(|(_, carried)| condition(&carried.message)).map(|(exchange, _)| *exchange).collect()
    }

    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.carried.values().map(|carried| &carried.message)
    }

    pub fn len(&self) -> usize {
        self.carried.len()
    }

    pub fn bytes(&self) -> usize {
        self.messages().map(|message| message.raw().len()).sum()
    }

    /// The request sent in this exchange.
    pub fn asked_in(&self, exchange: Exchange) -> Option<Id> {
        let message = &self.carried.get(&exchange)?.message;
        matches!(message.kind, Kind::Request { .. }).then(|| message.id().cloned()).flatten()
    }

    // Responses that name no request.

    /// Keeps a response that names no request. If no other response comes in its exchange, it belongs to the request
    /// sent there (see [`Self::take_stray`]).
    pub fn keep_stray(&mut self, exchange: Exchange, message: Message) {
        let carried = &self.carried;
        self.strays.retain(|exchange, _| carried.contains_key(exchange));
        if self.asked_in(exchange).is_some_and(|asked| self.pending.contains_key(&asked)) {
            let strays = self.strays.entry(exchange).and_modify(|stray| *stray = Stray::Several);
            strays.or_insert(Stray::Only(message));
        }
    }

    /// The exchange has ended: if it brought exactly one response, that belongs to its request, whatever its id.
    pub fn take_stray(&mut self, exchange: Exchange) -> Option<Message> {
        let Some(Stray::Only(stray)) = self.strays.remove(&exchange) else { return None };
        let asked = self.asked_in(exchange).filter(|asked| self.pending.contains_key(asked))?;
        Some(stray.addressed_to(&asked))
    }
}
