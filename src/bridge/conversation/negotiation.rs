//! Which era the server is of and how messages travel, found out by asking it: the client's messages wait until it is
//! known.

use std::{sync::Arc, time::Duration};

use crate::{
    bridge::conversation::{
        event::{Action, Alarm},
        failure::{Failure, Refusal, Taken},
        greeting::{Greeting, Outcome, Question},
        known::{Known, Reach, Shown},
        layer::{Layer, News, Said, Signal, Step},
        transport::Transport,
    },
    mcp::{
        message::{Kind, Message},
        revision::Era,
    },
};

/// How long the server may take before the client is answered for it.
const PATIENCE: Duration = Duration::from_millis(700);

/// The layer.
#[derive(Debug, Default)]
pub struct Negotiation {
    stage: Stage,
    /// How messages travel now.
    transport: Transport,
    /// How many greetings there were.
    greetings: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// The client has said nothing yet that asks for an answer to this.
    #[default]
    Unknown,
    /// The server is being asked, or would be if it could be.
    Greeting(Box<Greeting>),
    /// That the server is modern is only remembered: it has not said so yet in this conversation.
    Assumed,
    /// It is known.
    Settled,
}

impl Negotiation {
    fn greeting(&mut self) -> Option<&mut Greeting> {
        match &mut self.stage {
            Stage::Greeting(greeting) => Some(greeting),
            _ => None,
        }
    }

    fn reach(&self) -> Reach {
        match &self.stage {
            Stage::Greeting(greeting) if !greeting.is_told() => Reach::Asked,
            Stage::Greeting(greeting) if greeting.is_asking() => Reach::Slow,
            Stage::Greeting(_) => Reach::Away,
            _ => Reach::Open,
        }
    }

    // Asking.

    /// The client's first message, where it does not open a handshake of the legacy era. What goes on to the server.
    fn first(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        known.client = Era::of_message(&message);
        let server_is_modern = known.server.as_ref().is_some_and(|server| server.era == Era::Modern);
        match known.client {
            Era::Legacy => Some(message),
            Era::Modern if message.method() != Some("server/discover") && server_is_modern => {
                self.stage = Stage::Assumed;
                Some(message)
            }
            Era::Modern => {
                self.greet(message, known, out);
                None
            }
        }
    }

    /// Starts negotiating on behalf of the client, which opens with `hello`.
    fn greet(&mut self, hello: Message, known: &mut Known, out: &mut Vec<Step>) {
        out.push(Step::Tell(Signal::Begun));
        let left = self.greeting().map(Greeting::abandon).unwrap_or_default();
        out.extend(left.into_iter().map(|message| Step::Refuse(Refusal::unsent(message, Failure::NoSession))));
        out.push(Step::Reset);
        self.greetings += 1;
        known.client = Era::of_message(&hello);
        if known.shown == Shown::Remembered {
            known.shown = Shown::Own;
        }
        self.stage = Stage::Greeting(Box::new(Greeting::new(hello, known.server.as_ref())));
        out.push(Step::Wake(Alarm::Patience(self.greetings), PATIENCE));
        self.begin(known, out);
    }

    /// Asks the first question.
    fn begin(&mut self, known: &Known, out: &mut Vec<Step>) {
        if let Some(question) = self.greeting().map(Greeting::begin) {
            self.ask(question, known, out);
        }
    }

    fn ask(&mut self, question: Question, known: &Known, out: &mut Vec<Step>) {
        let Some(greeting) = self.greeting() else { return };
        let message = greeting.ask(question, &known.numbers).unsent();
        out.push(Step::Reset);
        self.travel_by(question.transport(), out);
        out.push(Step::ToServer(message));
    }

    fn travel_by(&mut self, transport: Transport, out: &mut Vec<Step>) {
        if std::mem::replace(&mut self.transport, transport) != transport {
            out.push(Step::Switch(transport));
        }
    }

    // What comes of it.

    fn went(&mut self, outcome: Outcome, known: &mut Known, out: &mut Vec<Step>) {
        match outcome {
            Outcome::Known(description, answer) => {
                let Some(greeting) = self.greeting() else { return };
                let description = description.with_tools_of(known.server.as_ref());
                let is_other = known.server.as_ref().is_none_or(|server| !server.says_the_same_as(&description));
                let news = match greeting.is_told() {
                    false => News::FirstHand,
                    true if is_other => News::Other,
                    true => News::Same,
                };
                let own = if greeting.is_told() { None } else { greeting.answer(&description) };
                let hello = greeting.hello().clone();
                if is_other {
                    out.push(Step::Do(Action::Remember(Box::new(description.clone()))));
                }
                known.server = Some(description);
                out.extend(answer.or(own).map(Step::ToClient));
                out.push(Step::Tell(Signal::Known(hello)));
                self.settle(news, out);
            }
            Outcome::Modern(answer) => {
                // It is modern, and will say the rest itself.
                out.extend(answer.map(Step::ToClient));
                self.settle(News::Unknown, out);
            }
            Outcome::Next(question) => self.ask(question, known, out),
            Outcome::OutOfReach(refusal) => {
                self.tell(known, out);
                let held = self.greeting().map(Greeting::take_requests).unwrap_or_default();
                for message in held {
                    let is_list = message.method() == Some("tools/list") && !refusal.failure.needs_login();
                    out.push(match is_list.then(|| known.list_from_memory(&message)).flatten() {
                        Some(answer) => Step::ToClient(answer),
                        None => {
                            let failure = Arc::clone(&refusal.failure);
                            Step::Refuse(Refusal { message, failure, taken: Taken::No })
                        }
                    });
                }
            }
            Outcome::Rejected(answer, failure) => self.rejected(answer, &failure, out),
        }
    }

    /// The server speaks neither way.
    fn rejected(&mut self, answer: Option<Message>, failure: &Arc<Failure>, out: &mut Vec<Step>) {
        self.travel_by(Transport::default(), out);
        let Some(greeting) = self.greeting() else { return };
        let mut refused = greeting.take_requests();
        if !greeting.is_told() {
            refused.extend(answer.is_none().then(|| greeting.hello().clone()));
            self.stage = Stage::Unknown;
        }
        out.extend(answer.map(Step::ToClient));
        out.extend(
            refused
                .into_iter()
                .map(|message| Step::Refuse(Refusal { message, failure: Arc::clone(failure), taken: Taken::No })),
        );
    }

    /// From now on messages pass: what was held first.
    fn settle(&mut self, news: News, out: &mut Vec<Step>) {
        if let Stage::Greeting(greeting) = std::mem::replace(&mut self.stage, Stage::Settled) {
            out.extend(greeting.into_held().map(Step::Again));
        }
        out.push(Step::Tell(Signal::Met(news)));
    }

    /// What is remembered of the server is wrong: the next message asks it.
    fn doubt(&mut self, known: &mut Known) {
        self.stage = Stage::Unknown;
        known.server = None;
    }

    // The client meanwhile.

    fn received(&mut self, message: Message, known: &Known, out: &mut Vec<Step>) {
        let is_away = self.reach() == Reach::Away;
        let Some(greeting) = self.greeting() else { return };
        match (&message.kind, message.method().unwrap_or_default()) {
            (Kind::Notification { .. }, "notifications/cancelled") => {
                message.cancels().iter().for_each(|id| greeting.forget(id));
            }
            (kind, _) => {
                let is_request = matches!(kind, Kind::Request { .. });
                greeting.hold(message);
                if is_request && is_away {
                    self.begin(known, out);
                }
            }
        }
    }

    /// Answers the client for the server, as far as that has not happened.
    fn tell(&mut self, known: &Known, out: &mut Vec<Step>) {
        let answer = self.greeting().and_then(|greeting| greeting.tell(&known.tentative()));
        out.extend(answer.map(Step::ToClient));
    }

    /// The server has taken longer than a client waits.
    fn out_of_patience(&mut self, known: &mut Known, out: &mut Vec<Step>) {
        self.tell(known, out);
        let Some(greeting) = self.greeting() else { return };
        for list in greeting.take_lists() {
            match known.list_from_memory(&list) {
                Some(answer) => out.push(Step::ToClient(answer)),
                None => greeting.hold(list),
            }
        }
    }
}

impl Layer for Negotiation {
    fn client_says(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        let passed = match &self.stage {
            _ if message.method() == Some("initialize") => {
                self.greet(message, known, out);
                None
            }
            Stage::Unknown => self.first(message, known, out),
            Stage::Greeting(_) => {
                self.received(message, known, out);
                None
            }
            Stage::Assumed | Stage::Settled => return Some(message),
        };
        known.reach = self.reach();
        passed
    }

    fn server_says(&mut self, said: Said, known: &mut Known, out: &mut Vec<Step>) -> Option<Said> {
        match &mut self.stage {
            Stage::Greeting(greeting) if said.message.id().is_some_and(|id| greeting.asked_as(id)) => {
                let outcome = greeting.answered(said.message);
                self.went(outcome, known, out);
                known.reach = self.reach();
                None
            }
            // The client has not been told of this server yet.
            Stage::Greeting(greeting) if greeting.is_told() && said.method.is_none() => None,
            Stage::Assumed if said.method.is_some() => {
                match &said.message.kind {
                    Kind::Response { succeeded: true, .. } => self.stage = Stage::Settled,
                    _ => self.doubt(known),
                }
                Some(said)
            }
            _ => Some(said),
        }
    }

    fn refused(&mut self, refusal: Refusal, known: &mut Known, out: &mut Vec<Step>) -> Option<Refusal> {
        match &mut self.stage {
            Stage::Greeting(greeting) if refusal.message.id().is_some_and(|id| greeting.asked_as(id)) => {
                let outcome = greeting.refused(refusal);
                self.went(outcome, known, out);
                known.reach = self.reach();
                None
            }
            Stage::Assumed => {
                let is_rejection = match &*refusal.failure {
                    Failure::Status { status, .. } | Failure::Unaddressed { status, .. } => status.is_client_error(),
                    _ => false,
                };
                if is_rejection {
                    self.doubt(known);
                }
                Some(refusal)
            }
            _ => Some(refusal),
        }
    }

    fn hear(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::Woken(Alarm::Patience(number)) if self.greetings == *number => self.out_of_patience(known, out),
            Signal::SignedIn if known.reach == Reach::Away => self.begin(known, out),
            Signal::Stopping => {
                let held = self.greeting().map(Greeting::take_requests).unwrap_or_default();
                out.extend(held.into_iter().map(|held| Step::Refuse(Refusal::unsent(held, Failure::Stopped))));
            }
            _ => return,
        }
        known.reach = self.reach();
    }

    fn waiting(&self) -> usize {
        if let Stage::Greeting(greeting) = &self.stage { greeting.held() } else { 0 }
    }

    fn bytes(&self) -> usize {
        if let Stage::Greeting(greeting) = &self.stage { greeting.bytes() } else { 0 }
    }
}
