//! Responds to the client, whichever era the server speaks and whether or not it can be asked: events in, actions out.
//!
//! A stack of layers with one interface, [`Layer`], between the client and the [`Session`], which carries messages to
//! the server. Nothing here does I/O or reads a clock.
//!
//! | layer, from the client down | what it does |
//! |---|---|
//! | [`sign_in_tool`] | offers sign-in to the client, and lets calls wait for it |
//! | [`gate`] | refuses requests: too many bytes, or not allowed |
//! | [`stand_in`] | responds in place of a server that cannot be asked |
//! | [`negotiation`] | finds out era and transport; messages wait until both are known |
//! | [`translate`] | translates messages between the eras |
//! | [`tool_list`] | filters and remembers the list of tools |
//! | [`session`] | the handshake, and delivery at most once |

mod acknowledged;
pub mod description;
mod event;
pub mod extension;
pub mod failure;
mod gate;
mod held;
mod known;
mod layer;
mod negotiation;
pub mod policy;
mod probing;
pub mod reply;
mod request_ids;
pub mod session;
pub mod sign_in_tool;
mod stand_in;
mod tool_list;
mod translate;
pub mod transport;

use std::collections::VecDeque;

pub use crate::conversation::{
    event::{Action, Alarm, Event, Need},
    gate::BACKLOG_LIMIT,
};
use crate::{
    conversation::{
        description::Description,
        extension::Extension,
        failure::Refusal,
        gate::Gate,
        known::Known,
        layer::{Layer, ServerMessage, Signal, Step},
        negotiation::Negotiation,
        policy::Rules,
        reply::ServerLabels,
        session::{Action as SessionAction, Session, Task},
        sign_in_tool::SignIn,
        stand_in::StandIn,
        tool_list::ToolList,
        translate::Translation,
    },
    mcp::{
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        revision::Era,
    },
    printable::quoted,
};

/// The conversation between one client and one server.
#[derive(Debug)]
pub struct Conversation {
    known: Known,
    /// The layer next to the client comes first.
    layers: [Box<dyn Layer>; 6],
    session: Session,
    /// The extension that finmcp declares to the server.
    extension: Option<Extension>,
    client_input: ClientInput,
    /// Actions of the session that are still to be handled.
    session_actions: VecDeque<SessionAction>,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientInput {
    Open,
    /// The client has closed its side.
    Closed,
}

impl Conversation {
    /// At the beginning, with the server's description from an earlier conversation.
    pub fn new(labels: ServerLabels, remembered: Option<Description>, sign_in: SignIn, rules: Rules) -> Self {
        let mut session = Session::default();
        let tools = remembered.as_ref().and_then(Description::tools);
        tools.into_iter().for_each(|tools| session.recall_tools(tools));
        let gate = Gate::new(sign_in.tool());
        Self {
            known: Known::new(labels, remembered, rules),
            layers: [
                Box::new(sign_in),
                Box::new(gate),
                Box::<StandIn>::default(),
                Box::<Negotiation>::default(),
                Box::<Translation>::default(),
                Box::<ToolList>::default(),
            ],
            session,
            extension: None,
            client_input: ClientInput::Open,
            session_actions: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Declares `extension` to the server.
    pub fn declaring(self, extension: Option<Extension>) -> Self {
        Self { extension, ..self }
    }

    /// How many of the client's messages are in flight or waiting.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight() + self.layers.iter().map(|layer| layer.waiting()).sum::<usize>()
    }

    /// How many of the client's bytes are in flight, or wait for the server or the user.
    pub fn backlog(&self) -> usize {
        self.session.bytes() + self.layers.iter().map(|layer| layer.bytes()).sum::<usize>()
    }

    /// Handles `event`. The caller carries out the actions in order.
    pub fn handle(&mut self, event: Event) -> std::vec::Drain<'_, Action> {
        match event {
            Event::Received(message) => self.received(message.recorded()),
            Event::Malformed(malformed) => self.actions.push(Action::Write(reply::malformed(malformed))),
            Event::Closed => {
                tracing::info!("the client has closed its side");
                self.close();
            }
            Event::Network(event) => self.handle_in_session(event),
            Event::Woken(alarm) => self.signal(&Signal::Woken(alarm)),
            Event::SignInOffered(invitation) => {
                tracing::info!("the sign-in page is ready");
                self.signal(&Signal::SignInOffered(invitation));
            }
            Event::SignedIn => {
                tracing::info!("signed in");
                self.signal(&Signal::SignedIn);
            }
            Event::SignInFailed(reason) => {
                tracing::info!("the sign-in failed: {reason}");
                self.signal(&Signal::SignInFailed(reason));
            }
            Event::Stopping => {
                tracing::info!("stopping");
                self.close();
                self.handle_in_session(session::Event::Stopping);
                self.run_session_actions();
                self.signal(&Signal::Stopping);
            }
        }
        self.run_session_actions();
        if self.client_input == ClientInput::Closed && self.session.is_idle() && self.in_flight() == 0 {
            self.session_actions.extend(self.session.end());
            self.run_session_actions();
        }
        self.actions.drain(..)
    }

    fn received(&mut self, message: Message) {
        if matches!(message.kind, Kind::Request { .. }) {
            self.known.backlog = self.backlog();
        }
        self.client_sent(0, message);
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.client_input, ClientInput::Closed) == ClientInput::Open {
            self.signal(&Signal::Closed);
            self.handle_in_session(session::Event::Closed);
        }
    }

    // Down and up.

    /// Passes a message of the client down, starting with layer `top`.
    fn client_sent(&mut self, top: usize, mut message: Message) {
        for place in top..self.layers.len() {
            let mut out = Vec::new();
            let passed = self.layers[place].client_sent(message, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            message = passed;
        }
        self.handle_in_session(session::Event::Received(message));
    }

    /// Passes a message of the server up, starting above layer `bottom`.
    fn server_sent(&mut self, bottom: usize, mut incoming: ServerMessage) {
        for place in (0..bottom).rev() {
            let mut out = Vec::new();
            let passed = self.layers[place].server_sent(incoming, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            incoming = passed;
        }
        self.actions.push(Action::Write(incoming.message));
    }

    /// Passes a failed request up, starting above layer `bottom`.
    fn refused(&mut self, bottom: usize, mut refusal: Refusal) {
        for place in (0..bottom).rev() {
            let mut out = Vec::new();
            let passed = self.layers[place].refused(refusal, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            refusal = passed;
        }
        refusal.failure.log(&format!("{} failed", quoted(refusal.message.method().unwrap_or("a notification"))));
        self.actions.extend(self.known.labels.refused(&refusal).map(Action::Write));
    }

    /// Signals something to all layers.
    fn signal(&mut self, signal: &Signal) {
        for place in 0..self.layers.len() {
            let mut out = Vec::new();
            self.layers[place].observe(signal, &mut self.known, &mut out);
            self.carry_out(place, out);
        }
        if let Signal::ToolsChanged = signal {
            self.notify_subscriptions();
        }
    }

    /// Carries out the steps that the layer at `place` returned.
    fn carry_out(&mut self, place: usize, out: Vec<Step>) {
        for step in out {
            match step {
                Step::ToClient(message) => self.server_sent(place, message.into()),
                Step::Refuse(refusal) => self.refused(place, refusal),
                Step::Decline(message) => self.actions.push(Action::Decline(message)),
                Step::ToServer(message) => self.client_sent(place + 1, message),
                Step::Resubmit(message) => self.received(message),
                Step::Signal(signal) => self.signal(&signal),
                Step::Wake(alarm, after) => self.actions.push(Action::Wake(alarm, after)),
                Step::Do(action) => self.actions.push(action),
                Step::Reset => self.session.reset(),
                Step::Switch(transport) => self.session_actions.push_back(SessionAction::Do(Task::Switch(transport))),
            }
        }
    }

    // The session.

    fn handle_in_session(&mut self, event: session::Event) {
        self.session_actions.extend(self.session.handle(event));
    }

    /// Handles the session's actions, and those that they cause.
    fn run_session_actions(&mut self) {
        let bottom = self.layers.len();
        while let Some(action) = self.session_actions.pop_front() {
            match action {
                SessionAction::Do(Task::Post(exchange, message, headers)) => {
                    let message = match self.extension {
                        Some(extension) => extension.declared_in(message),
                        None => message,
                    };
                    self.actions.push(Action::Do(Task::Post(exchange, message, headers)));
                }
                SessionAction::Do(task) => self.actions.push(Action::Do(task)),
                SessionAction::Answer(message, method) => {
                    self.server_sent(bottom, ServerMessage { message, method: Some(method), within: None });
                }
                SessionAction::Pass(message, within) => {
                    self.server_sent(bottom, ServerMessage { message, method: None, within })
                }
                SessionAction::Refuse(refusal) => self.refused(bottom, refusal),
            }
        }
    }

    /// Notifies a modern client of changed tools, through the subscriptions that the server has.
    fn notify_subscriptions(&mut self) {
        if self.known.client == Era::Legacy {
            return;
        }
        let notifications = self.session.tool_subscriptions().map(|id| {
            let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
            Action::Write(Message::notification("notifications/tools/list_changed", &parameters))
        });
        self.actions.extend(notifications);
    }
}

#[cfg(test)]
mod tests;
