//! The one interface of the layers between the client and the session. A layer passes on what it is not about; what else it
//! wants done are steps: up to the client, down to the server, or an effect outside of the stack.

use std::{fmt::Debug, time::Duration};

use crate::{
    bridge::conversation::{
        event::{Action, Alarm},
        failure::Refusal,
        known::Known,
        sign_in_tool::invitation::Invitation,
        transport::Transport,
    },
    mcp::{id::Id, message::Message},
};

/// A layer. That the client has closed its side, or that an alarm has gone off, comes as a [`Signal`].
pub trait Layer: Debug + Send {
    /// The client says this. What the layer below hears of it.
    fn client_says(&mut self, message: Message, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Message> {
        Some(message)
    }

    /// The server says this. What the layer above hears of it.
    fn server_says(&mut self, said: Said, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Said> {
        Some(said)
    }

    /// A request came to nothing. What the layer above hears of it.
    fn refused(&mut self, refusal: Refusal, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Refusal> {
        Some(refusal)
    }

    /// Something that all layers hear of, the one next to the client first.
    fn hear(&mut self, _signal: &Signal, _known: &mut Known, _out: &mut Vec<Step>) {}

    /// How many messages of the client wait here for the server.
    fn waiting(&self) -> usize {
        0
    }

    /// How many bytes of the client's wait here.
    fn bytes(&self) -> usize {
        0
    }
}

/// Something that the server says.
#[derive(Debug)]
pub struct Said {
    /// The message.
    pub message: Message,
    /// The method of the request that it answers, as long as no layer has put it in other words.
    pub method: Option<Box<str>>,
    /// The request in whose exchange it came, where it is no answer.
    pub within: Option<Id>,
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self { message, method: None, within: None }
    }
}

/// What a layer wants done, in its order.
#[derive(Debug)]
pub enum Step {
    /// Say this to the client, by the layers above.
    ToClient(Message),
    /// Answer a request that came to nothing, by the layers above.
    Refuse(Refusal),
    /// Say this to the client in place of the server, which has not carried out the request that it answers.
    Decline(Message),
    /// Say this to the server, by the layers below.
    ToServer(Message),
    /// Take a message of the client's in once more, from the top.
    Again(Message),
    /// Let every layer hear this.
    Tell(Signal),
    /// Wake the layers in a while.
    Wake(Alarm, Duration),
    /// Have this done outside.
    Do(Action),
    /// Forget the session: what is said next speaks for itself.
    Reset,
    /// From now on messages travel so.
    Switch(Transport),
}

/// What all layers hear of.
#[derive(Debug)]
pub enum Signal {
    /// The client makes a new start: what was before is over.
    Begun,
    /// The server has said who it is to the client that opened with this: from now on each speaks as it does.
    Known(Message),
    /// Messages pass from now on, those that waited first.
    Met(News),
    /// The server's tools are others now.
    ToolsChanged,
    /// The sign-in under way is open there, for the user.
    SignInOffered(Invitation),
    /// The user is signed in.
    SignedIn,
    /// The sign-in under way came to nothing, for this reason.
    SignInFailed(String),
    /// A while is over.
    Woken(Alarm),
    /// The client has nothing more to say, and hears of no more changes.
    Closed,
    /// It is time to end.
    Stopping,
}

/// Whether the server is what the client was told in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The server has not described itself.
    Unknown,
    /// The client has heard it from the server itself.
    FirstHand,
    /// The client was told the same.
    Same,
    /// The client was told something else.
    Other,
}
