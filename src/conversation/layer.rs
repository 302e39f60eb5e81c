//! The interface of the layers between the client and the session. A layer passes on the messages that do not concern
//! it. Anything else is a step: up to the client, down to the server, or an effect outside the stack.

use std::{fmt::Debug, time::Duration};

use crate::{
    conversation::{
        event::{Action, Alarm},
        failure::Refusal,
        known::Known,
        sign_in_tool::invitation::Invitation,
        transport::Transport,
    },
    mcp::{id::Id, message::Message},
};

/// A layer. It learns of the end of the client's input and of alarms as a [`Signal`].
pub trait Layer: Debug + Send {
    /// The client sent `message`. Returns what goes to the layer below.
    fn client_sent(&mut self, message: Message, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Message> {
        Some(message)
    }

    /// The server sent a message. Returns what goes to the layer above.
    fn server_sent(
        &mut self,
        incoming: ServerMessage,
        _known: &mut Known,
        _out: &mut Vec<Step>,
    ) -> Option<ServerMessage> {
        Some(incoming)
    }

    /// A request failed. Returns what goes to the layer above.
    fn refused(&mut self, refusal: Refusal, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Refusal> {
        Some(refusal)
    }

    /// An event for all layers, the one next to the client first.
    fn observe(&mut self, _signal: &Signal, _known: &mut Known, _out: &mut Vec<Step>) {}

    /// How many of the client's messages wait in this layer.
    fn waiting(&self) -> usize {
        0
    }

    /// How many of the client's bytes wait in this layer.
    fn bytes(&self) -> usize {
        0
    }
}

/// A message from the server.
#[derive(Debug)]
pub struct ServerMessage {
    pub message: Message,
    /// The method of the request that it responds to, until a layer translates the response.
    pub method: Option<Box<str>>,
    /// The request in whose exchange it came, if it is not a response.
    pub within: Option<Id>,
}

impl From<Message> for ServerMessage {
    fn from(message: Message) -> Self {
        Self { message, method: None, within: None }
    }
}

/// What a layer wants done. Steps are carried out in order.
#[derive(Debug)]
pub enum Step {
    /// Send this to the client, through the layers above.
    ToClient(Message),
    /// Fail a request, through the layers above.
    Refuse(Refusal),
    /// Send this to the client instead of a response from the server, which has not carried out the request.
    Decline(Message),
    /// Send this to the server, through the layers below.
    ToServer(Message),
    /// Handle this message of the client again, from the top.
    Resubmit(Message),
    /// Signal this to every layer.
    Signal(Signal),
    /// Wake the layers after a delay.
    Wake(Alarm, Duration),
    /// Carry this out outside the stack.
    Do(Action),
    /// Forget the session: the next message starts a new one.
    Reset,
    /// Use this transport from now on.
    Switch(Transport),
}

/// An event that all layers observe.
#[derive(Debug)]
pub enum Signal {
    /// The client has started a new negotiation: earlier state is void.
    Restarted,
    /// The server has described itself, in the negotiation that this message of the client started. Both eras are
    /// known now.
    Identified(Message),
    /// Messages pass from now on, the waiting ones first.
    Ready(Comparison),
    /// The server's tools have changed.
    ToolsChanged,
    /// The user can now sign in on this page.
    SignInOffered(Invitation),
    /// The user is signed in.
    SignedIn,
    /// The sign-in failed, for this reason.
    SignInFailed(String),
    /// An alarm went off.
    Woken(Alarm),
    /// The client has closed its side and gets no more notifications of changes.
    Closed,
    /// finmcp has to stop.
    Stopping,
}

/// How the server's description compares to the one that finmcp gave the client in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The server has not described itself.
    Unknown,
    /// The client got the server's own description only.
    FirstHand,
    /// Both are the same.
    Same,
    /// They differ.
    Different,
}
