//! The events that a conversation handles, and the actions that it returns.

use std::time::Duration;

use crate::{
    conversation::{
        description::Description,
        session::{self, Task},
        sign_in_tool::invitation::{Invitation, ShownBy},
    },
    mcp::{malformed::Malformed, message::Message},
};

/// An input to the conversation.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Received(Message),
    /// The client sent something that is not a message.
    Malformed(Malformed),
    /// The client closed its side.
    Closed,
    /// A network event.
    Network(session::Event),
    /// An alarm went off.
    Woken(Alarm),
    /// The user can now sign in on this page.
    SignInOffered(Invitation),
    /// The user is signed in, through this process or another.
    SignedIn,
    /// The sign-in started here failed, for this reason.
    SignInFailed(String),
    /// finmcp has to stop, even with requests in flight.
    Stopping,
}

impl From<session::Event> for Event {
    fn from(event: session::Event) -> Self {
        Self::Network(event)
    }
}

/// An action for the caller.
#[derive(Debug)]
pub enum Action {
    /// A network task.
    Do(Task),
    /// Send this to the client.
    Write(Message),
    /// Send this to the client instead of a response from the server, which has not carried out the request.
    Decline(Message),
    /// Report [`Event::Woken`] after this long.
    Wake(Alarm, Duration),
    /// Start a sign-in, and report its outcome.
    SignIn(Need, ShownBy),
    /// Open the page of the current sign-in in a browser, if there is a sign-in.
    ShowSignIn,
    /// Report [`Event::SignedIn`] once the user is signed in.
    Watch,
    /// Store the server's description.
    Remember(Box<Description>),
}

/// Which sign-in is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any, including one that another process has made meanwhile.
    Any,
    /// A new one: the server rejects the current one, or its scope is too small.
    Another,
}

/// The purpose of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The server has had its time to respond in the negotiation with this number.
    SlowServer(u64),
    /// finmcp has to reopen the subscription that it holds for a legacy client.
    Subscription,
    /// This call has waited for a sign-in as long as a client waits.
    SignIn(u64),
}
