//! The events and actions between a session and the network.

use http::{HeaderMap, HeaderValue};

use crate::{
    conversation::{
        failure::{Failure, Refusal},
        transport::Transport,
    },
    mcp::{id::Id, message::Message},
};

/// The method of a subscription.
pub const SUBSCRIBE: &str = "subscriptions/listen";

/// One HTTP exchange with the server: a POST and its response, or the GET stream.
pub type Exchange = u64;

/// An input to the session.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Received(Message),
    /// The client closed its side and gets no more notifications of changes.
    Closed,
    /// The server accepted an exchange (with a 2xx status, or 405 for the GET stream); with the id of the session it
    /// opened.
    Accepted(Exchange, Option<HeaderValue>),
    /// The server sent a message within an exchange.
    Delivered(Exchange, Message),
    /// An exchange has ended.
    Finished(Exchange, Ending),
    /// Messages have waited long enough for the GET stream.
    HoldExpired(Exchange),
    /// finmcp has to stop, even with requests in flight.
    Stopping,
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Ending {
    /// Normally, as far as finmcp can tell.
    Complete,
    /// The server no longer knows the session; with the refusal, in case a new session does not help.
    SessionLost(Box<Refused>),
    /// Without a response.
    Failed(Failure),
}

/// How a server refused a request.
#[derive(Debug)]
pub enum Refused {
    /// With a JSON-RPC error.
    Response(Message),
    /// Otherwise.
    Failure(Failure),
}

/// An action for the caller.
#[derive(Debug)]
pub enum Action {
    /// A network task.
    Do(Task),
    /// Send the client this response to its request with this method.
    Answer(Message, Box<str>),
    /// Send the client another message from the server; with the client's request in whose exchange it came.
    Pass(Message, Option<Id>),
    /// Fail a request of the client.
    Refuse(Refusal),
}

/// A network task.
#[derive(Debug)]
pub enum Task {
    /// Use this transport from now on.
    Switch(Transport),
    /// POST the message.
    Post(Exchange, Message, HeaderMap),
    /// Open the GET stream.
    Listen(Exchange, HeaderMap),
    /// Report [`Event::HoldExpired`] after a delay.
    HoldFor(Exchange),
    /// Close an exchange.
    Cancel(Exchange),
    /// DELETE the session with these headers.
    Delete(HeaderMap),
    /// Every request has its response: stop.
    Stop,
}
