//! What a conversation is told, and what it wants done.

use std::time::Duration;

use crate::{
    bridge::conversation::{
        description::Description,
        session::{self, Task},
        sign_in_tool::invitation::{Invitation, ShownBy},
    },
    mcp::{malformed::Malformed, message::Message},
};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Received(Message),
    /// The client sent something else.
    Malformed(Malformed),
    /// The client has nothing more to say.
    Closed,
    /// Something on the network.
    Network(session::Event),
    /// A while is over.
    Woken(Alarm),
    /// The sign-in that was begun is open there, for a person.
    SignInOffered(Invitation),
    /// The user is signed in, by what was begun here or elsewhere.
    SignedIn,
    /// The sign-in that was begun came to nothing, for this reason.
    SignInFailed(String),
    /// It is time to end, whatever is under way.
    Stopping,
}

impl From<session::Event> for Event {
    fn from(event: session::Event) -> Self {
        Self::Network(event)
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Something on the network.
    Do(Task),
    /// Say this to the client.
    Write(Message),
    /// Say this to the client in place of the server, which has not carried out the request that it answers.
    Decline(Message),
    /// Report [`Event::Woken`] after this long.
    Wake(Alarm, Duration),
    /// Begin a sign-in, and report what comes of it.
    SignIn(Need, ShownBy),
    /// Show the page of the sign-in under way in a browser, where there is one.
    ShowSignIn,
    /// Report [`Event::SignedIn`] as soon as the user is signed in.
    Watch,
    /// Remember what the server says of itself.
    Remember(Box<Description>),
}

/// Which sign-in helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any, be it one that another process has brought about meanwhile.
    Any,
    /// Another than the one there is, which the server refuses or which is too narrow.
    Another,
}

/// What an alarm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The server has had the time that it may take to answer this greeting.
    Patience(u64),
    /// A translator's subscription is to be opened again.
    Subscription,
    /// This call has waited for a person to sign in for as long as a client waits.
    SignIn(u64),
}
