//! Which requests of the client have no response yet, and which exchange carries what: each request gets exactly one
//! answer.

use std::collections::HashMap;

use crate::{
    bridge::conversation::session::exchange::Exchange,
    mcp::{
        id::Id,
        message::{Kind, Message},
    },
};

/// What is under way.
#[derive(Debug, Default)]
pub struct InFlight {
    pending: HashMap<Id, Pending>,
    carried: HashMap<Exchange, Carried>,
    /// Responses that name no request, by the exchanges that they came in.
    strays: HashMap<Exchange, Stray>,
    next_exchange: Exchange,
}

/// A request of the client that has no response yet.
#[derive(Debug)]
struct Pending {
    place: Place,
    method: Box<str>,
    interest: Interest,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It waits until it can be sent.
    Waiting,
    /// It was sent in this exchange.
    Sent(Exchange),
}

/// Whether the client waits for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Waits,
    /// It does not: a response passes, none is made up.
    Cancelled,
}

/// The responses of one exchange that name no request.
#[derive(Debug)]
enum Stray {
    Only(Message),
    Several,
}

/// What an exchange carries.
#[derive(Debug)]
pub struct Carried {
    /// The client's message, or one of ours.
    pub message: Message,
    /// The session it was sent in.
    pub generation: u64,
}

/// A request that is over.
#[derive(Debug)]
pub struct Settled {
    /// Its id, as the client wrote it.
    pub id: Id,
    /// Its method.
    pub method: Box<str>,
    /// Where it was.
    pub place: Place,
    /// Whether the client is to be answered even where the server says nothing.
    pub is_wanted: bool,
}

impl AsRef<Message> for Carried {
    fn as_ref(&self) -> &Message {
        &self.message
    }
}

impl InFlight {
    // Requests.

    /// The client waits for a response to `id`. Not where it does so already: then this is false.
    pub fn expect(&mut self, id: &Id, method: &str) -> bool {
        if self.pending.contains_key(id) {
            return false;
        }
        let pending = Pending { place: Place::Waiting, method: method.into(), interest: Interest::Waits };
        self.pending.insert(id.clone(), pending);
        true
    }

    /// Where the request is that the client waits for; none where it does not, or has its response.
    pub fn place(&self, id: &Id) -> Option<Place> {
        self.pending.get(id).map(|pending| pending.place)
    }

    /// The client is not interested in the response any more, and the server was told so.
    pub fn cancel(&mut self, id: &Id) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.interest = Interest::Cancelled;
        }
    }

    /// The exchange of a request that was sent and cancelled.
    pub fn cancelled(&self, id: &Id) -> Option<Exchange> {
        match self.pending.get(id) {
            Some(Pending { place: Place::Sent(exchange), interest: Interest::Cancelled, .. }) => Some(*exchange),
            _ => None,
        }
    }

    /// The request has its response, or gets none: the only way out.
    pub fn settle(&mut self, id: &Id) -> Option<Settled> {
        let (id, Pending { place, method, interest }) = self.pending.remove_entry(id)?;
        Some(Settled { id, method, place, is_wanted: interest == Interest::Waits })
    }

    /// The request `id` is to be sent again.
    pub fn wait(&mut self, id: &Id) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.place = Place::Waiting;
        }
    }

    /// Whether every request has its response.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    // Exchanges.

    /// The number of another exchange.
    pub fn next_exchange(&mut self) -> Exchange {
        self.next_exchange += 1;
        self.next_exchange
    }

    /// The exchange takes this to the server.
    pub fn carry(&mut self, exchange: Exchange, carried: Carried) {
        if let Kind::Request { id, .. } = &carried.message.kind
            && let Some(pending) = self.pending.get_mut(id)
        {
            pending.place = Place::Sent(exchange);
        }
        self.carried.insert(exchange, carried);
    }

    /// What the exchange took to the server.
    pub fn carried(&self, exchange: Exchange) -> Option<&Carried> {
        self.carried.get(&exchange)
    }

    /// The exchange is over, or what it carries is taken elsewhere.
    pub fn take(&mut self, exchange: Exchange) -> Option<Carried> {
        self.carried.remove(&exchange)
    }

    /// Everything that is on its way.
    pub fn take_all(&mut self) -> HashMap<Exchange, Carried> {
        std::mem::take(&mut self.carried)
    }

    /// The exchanges that carry such a message.
    pub fn carrying(&self, is_such: impl Fn(&Message) -> bool) -> Vec<Exchange> {
        self.carried.iter().filter(|(_, carried)| is_such(&carried.message)).map(|(exchange, _)| *exchange).collect()
    }

    /// The messages that are on their way.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.carried.values().map(|carried| &carried.message)
    }

    /// How many messages are on their way.
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// How many bytes are on their way.
    pub fn bytes(&self) -> usize {
        self.messages().map(|message| message.raw().len()).sum()
    }

    /// The request that the exchange answers.
    pub fn asked_in(&self, exchange: Exchange) -> Option<Id> {
        let message = &self.carried.get(&exchange)?.message;
        matches!(message.kind, Kind::Request { .. }).then(|| message.id().cloned()).flatten()
    }

    // Responses that name no request.

    /// Keeps a response that names no request. It is the answer to the one that its exchange answers, if no better one
    /// comes and it is the only one (see [`Self::take_stray`]).
    pub fn keep_stray(&mut self, exchange: Exchange, message: Message) {
        let carried = &self.carried;
        self.strays.retain(|exchange, _| carried.contains_key(exchange));
        if self.asked_in(exchange).is_some_and(|asked| self.pending.contains_key(&asked)) {
            let strays = self.strays.entry(exchange).and_modify(|stray| *stray = Stray::Several);
            strays.or_insert(Stray::Only(message));
        }
    }

    /// The exchange is over: the one response in the answer to a POST is the answer, whatever its id.
    pub fn take_stray(&mut self, exchange: Exchange) -> Option<Message> {
        let Some(Stray::Only(stray)) = self.strays.remove(&exchange) else { return None };
        let asked = self.asked_in(exchange).filter(|asked| self.pending.contains_key(asked))?;
        Some(stray.addressed_to(&asked))
    }
}
