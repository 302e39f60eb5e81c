//! What a client hears, whatever the server speaks and whether it can be asked: events in, actions out.
//!
//! A stack of layers with one interface, [`Layer`], between the client and the [`Session`], which carries messages to the
//! server. Nothing here does I/O or reads a clock.
//!
//! | layer, from the client down | what it decides |
//! |---|---|
//! | [`sign_in_tool`] | who signs in, where, and which calls wait for that |
//! | [`gate`] | which requests are taken at all |
//! | [`stand_in`] | what the client hears of a server that is away |
//! | [`negotiation`] | which era and which transport; messages wait until that is known |
//! | [`translate`] | each message in the other era's terms |
//! | [`tool_list`] | which tools the client sees, and which are remembered |
//! | [`session`] | the handshake, and at most once |

mod acknowledged;
pub mod description;
mod event;
pub mod failure;
mod gate;
mod greeting;
mod held;
mod known;
mod layer;
mod negotiation;
mod numbers;
pub mod reply;
pub mod session;
pub mod sign_in_tool;
mod stand_in;
mod tool_list;
mod translate;
pub mod transport;

use std::collections::VecDeque;

pub use crate::bridge::conversation::{
    event::{Action, Alarm, Event, Need},
    gate::BACKLOG_LIMIT,
};
use crate::{
    bridge::{
        control::policy::Rules,
        conversation::{
            description::Description,
            failure::Refusal,
            gate::Gate,
            known::Known,
            layer::{Layer, Said, Signal, Step},
            negotiation::Negotiation,
            reply::Words,
            session::{Action as Done, Session, Task},
            sign_in_tool::SignIn,
            stand_in::StandIn,
            tool_list::ToolList,
            translate::Translation,
        },
    },
    mcp::{
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        revision::Era,
    },
};

/// The conversation.
#[derive(Debug)]
pub struct Conversation {
    known: Known,
    /// The one next to the client first.
    layers: [Box<dyn Layer>; 6],
    session: Session,
    client: Client,
    /// What the session wants done.
    done: VecDeque<Done>,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Speaks,
    /// It has nothing more to say.
    Gone,
}

impl Conversation {
    /// A conversation with nothing said yet, with a server that said `remembered` of itself some time before.
    pub fn new(words: Words, remembered: Option<Description>, sign_in: SignIn, rules: Rules) -> Self {
        let mut session = Session::default();
        let tools = remembered.as_ref().and_then(Description::tools);
        tools.into_iter().for_each(|tools| session.recall_tools(tools));
        let gate = Gate::beside(sign_in.tool());
        Self {
            known: Known::new(words, remembered, rules),
            layers: [
                Box::new(sign_in),
                Box::new(gate),
                Box::<StandIn>::default(),
                Box::<Negotiation>::default(),
                Box::<Translation>::default(),
                Box::<ToolList>::default(),
            ],
            session,
            client: Client::Speaks,
            done: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// How many of the client's messages are on their way or waiting for it.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight() + self.layers.iter().map(|layer| layer.waiting()).sum::<usize>()
    }

    /// How many bytes of the client's are on their way, or wait for the server or for a person.
    pub fn backlog(&self) -> usize {
        self.session.bytes() + self.layers.iter().map(|layer| layer.bytes()).sum::<usize>()
    }

    /// Takes `event` in; the actions are to be carried out in their order.
    pub fn handle(&mut self, event: Event) -> std::vec::Drain<'_, Action> {
        match event {
            Event::Received(message) => self.received(message.recorded()),
            Event::Malformed(malformed) => self.actions.push(Action::Write(reply::malformed(malformed))),
            Event::Closed => self.close(),
            Event::Network(event) => self.carry(event),
            Event::Woken(alarm) => self.tell(&Signal::Woken(alarm)),
            Event::SignInOffered(invitation) => self.tell(&Signal::SignInOffered(invitation)),
            Event::SignedIn => self.tell(&Signal::SignedIn),
            Event::SignInFailed(reason) => self.tell(&Signal::SignInFailed(reason)),
            Event::Stopping => {
                self.close();
                self.carry(session::Event::Stopping);
                self.work();
                self.tell(&Signal::Stopping);
            }
        }
        self.work();
        if self.client == Client::Gone && self.session.is_idle() && self.in_flight() == 0 {
            self.done.extend(self.session.end());
            self.work();
        }
        self.actions.drain(..)
    }

    fn received(&mut self, message: Message) {
        if matches!(message.kind, Kind::Request { .. }) {
            self.known.backlog = self.backlog();
        }
        self.client_says(0, message);
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.client, Client::Gone) == Client::Speaks {
            self.tell(&Signal::Closed);
            self.carry(session::Event::Closed);
        }
    }

    // Down and up.

    /// Takes a message of the client's down, from the layer `top` on.
    fn client_says(&mut self, top: usize, mut message: Message) {
        for place in top..self.layers.len() {
            let mut out = Vec::new();
            let passed = self.layers[place].client_says(message, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            message = passed;
        }
        self.carry(session::Event::Received(message));
    }

    /// Takes what the server says up, from above the layer `bottom`.
    fn server_says(&mut self, bottom: usize, mut said: Said) {
        for place in (0..bottom).rev() {
            let mut out = Vec::new();
            let passed = self.layers[place].server_says(said, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            said = passed;
        }
        self.actions.push(Action::Write(said.message));
    }

    /// Takes a request that came to nothing up, from above the layer `bottom`.
    fn refused(&mut self, bottom: usize, mut refusal: Refusal) {
        for place in (0..bottom).rev() {
            let mut out = Vec::new();
            let passed = self.layers[place].refused(refusal, &mut self.known, &mut out);
            self.carry_out(place, out);
            let Some(passed) = passed else { return };
            refusal = passed;
        }
        self.actions.extend(self.known.words.refused(&refusal).map(Action::Write));
    }

    /// Lets all layers hear of something.
    fn tell(&mut self, signal: &Signal) {
        for place in 0..self.layers.len() {
            let mut out = Vec::new();
            self.layers[place].hear(signal, &mut self.known, &mut out);
            self.carry_out(place, out);
        }
        if let Signal::ToolsChanged = signal {
            self.tell_subscriptions();
        }
    }

    /// Does what the layer at `place` wants done.
    fn carry_out(&mut self, place: usize, out: Vec<Step>) {
        for step in out {
            match step {
                Step::ToClient(message) => self.server_says(place, message.into()),
                Step::Refuse(refusal) => self.refused(place, refusal),
                Step::Decline(message) => self.actions.push(Action::Decline(message)),
                Step::ToServer(message) => self.client_says(place + 1, message),
                Step::Again(message) => self.received(message),
                Step::Tell(signal) => self.tell(&signal),
                Step::Wake(alarm, after) => self.actions.push(Action::Wake(alarm, after)),
                Step::Do(action) => self.actions.push(action),
                Step::Reset => self.session.reset(),
                Step::Switch(transport) => self.done.push_back(Done::Do(Task::Switch(transport))),
            }
        }
    }

    // The session.

    fn carry(&mut self, event: session::Event) {
        self.done.extend(self.session.handle(event));
    }

    /// Does what the session wants done, and what comes of that.
    fn work(&mut self) {
        let bottom = self.layers.len();
        while let Some(done) = self.done.pop_front() {
            match done {
                Done::Do(task) => self.actions.push(Action::Do(task)),
                Done::Answer(message, method) => {
                    self.server_says(bottom, Said { message, method: Some(method), within: None });
                }
                Done::Pass(message, within) => self.server_says(bottom, Said { message, method: None, within }),
                Done::Refuse(refusal) => self.refused(bottom, refusal),
            }
        }
    }

    /// Tells a modern client of other tools, by the subscriptions that the server has.
    fn tell_subscriptions(&mut self) {
        if self.known.client == Era::Legacy {
            return;
        }
        let told = self.session.tool_subscriptions().map(|id| {
            let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
            Action::Write(Message::notification("notifications/tools/list_changed", &parameters))
        });
        self.actions.extend(told);
    }
}

#[cfg(test)]
mod tests;
