//! What a session and the network tell each other.

use http::{HeaderMap, HeaderValue};

use crate::{
    bridge::conversation::{
        failure::{Failure, Refusal},
        transport::Transport,
    },
    mcp::{id::Id, message::Message},
};

/// The request that is a subscription.
pub const SUBSCRIBE: &str = "subscriptions/listen";

/// One HTTP exchange with the server: a POST and its answer, or the GET stream.
pub type Exchange = u64;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Received(Message),
    /// The client has nothing more to say, and hears of no more changes.
    Closed,
    /// The server took an exchange (its status is 2xx, or 405 for the GET stream); with the session that it opened.
    Accepted(Exchange, Option<HeaderValue>),
    /// The server sent a message within an exchange.
    Delivered(Exchange, Message),
    /// An exchange is over.
    Finished(Exchange, Ending),
    /// The GET stream was waited for long enough.
    HoldExpired(Exchange),
    /// It is time to end, whatever is under way.
    Stopping,
}

/// How an exchange ends.
#[derive(Debug)]
pub enum Ending {
    /// As it should, or so it seems.
    Complete,
    /// The server does not know the session any more; with what it said, for where no other session helps.
    SessionLost(Box<Said>),
    /// Without a response.
    Failed(Failure),
}

/// What a server said in place of a result.
#[derive(Debug)]
pub enum Said {
    /// A JSON-RPC error.
    Answer(Message),
    /// Nothing that a client could be told as it is.
    Failure(Failure),
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Something on the network.
    Do(Task),
    /// Tell the client the answer to its request of this method.
    Answer(Message, Box<str>),
    /// Tell the client what else the server says; with the client's request whose answer it came in.
    Pass(Message, Option<Id>),
    /// Answer a request of the client's that brought no response.
    Refuse(Refusal),
}

/// What the network is for.
#[derive(Debug)]
pub enum Task {
    /// From now on let messages travel so.
    Switch(Transport),
    /// POST the message.
    Post(Exchange, Message, HeaderMap),
    /// Open the GET stream.
    Listen(Exchange, HeaderMap),
    /// Report [`Event::HoldExpired`] in a while.
    HoldFor(Exchange),
    /// Close an exchange.
    Cancel(Exchange),
    /// DELETE the session with these headers.
    Delete(HeaderMap),
    /// Everything is answered: end.
    Stop,
}
