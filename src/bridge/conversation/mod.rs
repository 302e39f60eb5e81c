//! What a client hears, whatever the server speaks and whether it can be asked: events in, actions out.
//!
//! It finds out which era the server is of, puts a translator in between where client and server differ, answers for the
//! server as long as that is out of reach, and offers to sign in. Like the [`Session`] below it, which carries messages
//! to the server, it does no I/O and reads no clock.

mod acknowledged;
pub mod description;
pub mod failure;
pub mod greeting;
mod held;
pub mod reply;
pub mod session;
pub mod sign_in_tool;
mod translate;
pub mod transport;

use std::{collections::VecDeque, time::Duration};

use crate::{
    bridge::{
        control::policy::{Policy, Rules},
        conversation::{
            acknowledged::Acknowledged,
            description::Description,
            failure::{Failure, Refusal, Taken},
            greeting::{Greeting, Outcome, Question},
            reply::{ReplyCode, Words},
            session::{Action as Done, SUBSCRIBE, Session, Task},
            sign_in_tool::{Begin, Invitation, ShownBy, SignIn, Wanted},
            translate::{Numbers, Step, legacy_client::LegacyClient, modern_client::ModernClient},
            transport::Transport,
        },
    },
    mcp::{
        attempts::Reason,
        id::Id,
        malformed::Malformed,
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        revision::Era,
    },
};

/// How long the server may take before the client is answered for it.
const PATIENCE: Duration = Duration::from_millis(700);

/// How many bytes of the client's may be under way or wait; then no further request is taken. Small ones are, for a while:
/// what is under way may wait for what they say.
pub const BACKLOG_LIMIT: usize = 256 << 20;
const ROOM_FOR_SMALL: usize = 64 << 20;
const SMALL: usize = 64 << 10;

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
    /// Somebody is signed in, by what was begun here or elsewhere.
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
    /// Report [`Event::SignedIn`] as soon as somebody is.
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

/// What somebody is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The server has had the time that it may take to answer this greeting.
    Patience(u64),
    /// A translator's subscription is to be opened again.
    Subscription,
    /// This call has waited for a person to sign in for as long as a client waits.
    SignIn(u64),
}

/// How the client's messages get to the server.
#[derive(Debug)]
enum Dialect {
    /// The client has said nothing yet.
    Unknown,
    /// Both are getting to know each other, or would if the server could be asked.
    Greeting(Box<Greeting>),
    /// Both speak the same.
    Same,
    /// The client is legacy, the server modern.
    Older(Box<LegacyClient>),
    /// The client is modern, the server legacy.
    Newer(Box<ModernClient>),
}

/// The conversation.
#[derive(Debug)]
pub struct Conversation {
    words: Words,
    session: Session,
    /// How messages travel now.
    transport: Transport,
    dialect: Dialect,
    /// What is known of the server, be it from earlier.
    description: Option<Description>,
    /// That the server is modern is only remembered: it has not said so yet in this conversation.
    assumed: bool,
    /// A list of tools is coming in parts.
    paging: bool,
    policy: Policy,
    sign_in: SignIn,
    /// The sign-in that there is does not help.
    fresh: bool,
    numbers: Numbers,
    greetings: u64,
    /// What the client speaks.
    client: Era,
    /// The capabilities that a legacy client declared.
    capabilities: String,
    /// The client has gone on from the handshake, and hears of changes.
    listens: bool,
    acknowledged: Acknowledged,
    closing: bool,
    done: VecDeque<Done>,
    actions: Vec<Action>,
}

impl Conversation {
    /// A conversation with nothing said yet, with a server that said `remembered` of itself some time before.
    pub fn new(words: Words, remembered: Option<Description>, sign_in: SignIn, rules: Rules) -> Self {
        let mut session = Session::default();
        let tools = remembered.as_ref().and_then(Description::tools);
        tools.into_iter().for_each(|tools| session.recall_tools(tools));
        let policy = Policy::new(rules, tools);
        Self {
            words,
            session,
            transport: Transport::default(),
            dialect: Dialect::Unknown,
            description: remembered,
            assumed: false,
            paging: false,
            policy,
            sign_in,
            fresh: false,
            numbers: Numbers::default(),
            greetings: 0,
            client: Era::Legacy,
            capabilities: "{}".to_owned(),
            listens: false,
            acknowledged: Acknowledged::default(),
            closing: false,
            done: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// How many of the client's messages are on their way or waiting for it.
    pub fn in_flight(&self) -> usize {
        let waiting = if let Dialect::Greeting(greeting) = &self.dialect { greeting.held() } else { 0 };
        self.session.in_flight() + waiting
    }

    /// How many bytes of the client's are on their way, or wait for the server or for a person.
    pub fn backlog(&self) -> usize {
        let waiting = if let Dialect::Greeting(greeting) = &self.dialect { greeting.bytes() } else { 0 };
        self.session.bytes() + waiting + self.sign_in.bytes()
    }

    /// Takes `event` in; the actions are to be carried out in their order.
    pub fn handle(&mut self, event: Event) -> std::vec::Drain<'_, Action> {
        match event {
            Event::Received(message) => self.received(message),
            Event::Malformed(malformed) => self.write(&reply::malformed(malformed)),
            Event::Closed => self.closed(),
            Event::Network(event) => self.carry(event),
            Event::Woken(Alarm::Patience(number)) => self.out_of_patience(number),
            Event::Woken(Alarm::Subscription) => self.translate(|translator, steps| {
                if let Dialect::Older(client) = translator {
                    client.woken(steps);
                }
            }),
            Event::Woken(Alarm::SignIn(number)) => {
                let answer = self.sign_in.woken(number, &self.words);
                self.decline(answer);
            }
            Event::SignInOffered(invitation) => self.sign_in_offered(invitation),
            Event::SignedIn => self.signed_in(),
            Event::SignInFailed(reason) => {
                let answers = self.sign_in.failed(&reason, &self.words);
                self.decline(answers);
            }
            Event::Stopping => {
                self.closed();
                self.carry(session::Event::Stopping);
                self.refuse_greeting();
            }
        }
        self.work();
        for alarm in self.sign_in.alarms() {
            self.actions.push(Action::Wake(Alarm::SignIn(alarm), sign_in_tool::PATIENCE));
        }
        if self.closing && self.session.is_idle() && self.in_flight() == 0 {
            self.done.extend(self.session.end());
            self.work();
        }
        self.actions.drain(..)
    }

    // The client's side.

    fn received(&mut self, message: Message) {
        let message = message.recorded();
        if message.method() == Some("initialize") {
            self.capabilities = message.member("capabilities").unwrap_or_else(|| "{}".to_owned());
            return self.greet(message);
        }
        self.listens |= message.method() == Some("notifications/initialized");
        if let Some(answered) = self.sign_in.take(&message, &self.words) {
            return self.sign_in_wanted(answered);
        }
        if self.acknowledged.end(&message) {
            return;
        }
        if let Kind::Request { .. } = &message.kind
            && self.backlog() >= BACKLOG_LIMIT + if message.raw().len() < SMALL { ROOM_FOR_SMALL } else { 0 }
        {
            return self.refuse(Refusal::unsent(message, Failure::Crowded));
        }
        if let Some(objection) = self.policy.objection(&message) {
            let answer = message.id().map(|id| reply::error(id, ReplyCode::InvalidParameters, &objection));
            return self.decline(answer);
        }
        match &mut self.dialect {
            Dialect::Unknown => self.first(message),
            Dialect::Greeting(_) => self.received_while_greeting(message),
            Dialect::Same => self.carry(session::Event::Received(message)),
            Dialect::Older(_) | Dialect::Newer(_) => self.translate(|translator, steps| match translator {
                Dialect::Older(client) => client.client(message, steps),
                Dialect::Newer(client) => client.client(message, steps),
                _ => {}
            }),
        }
    }

    /// The client's first message, where it does not open a handshake of the legacy era.
    fn first(&mut self, message: Message) {
        self.client = Era::spoken(&message);
        let is_modern = self.client == Era::Modern;
        let server_is_modern = self.description.as_ref().is_some_and(|known| known.era == Era::Modern);
        if is_modern && (message.method() == Some("server/discover") || !server_is_modern) {
            return self.greet(message);
        }
        if is_modern {
            self.dialect = Dialect::Same;
            self.assumed = true;
        }
        self.carry(session::Event::Received(message));
    }

    /// Makes the acquaintance of the server in the name of the client that opens with `hello`.
    fn greet(&mut self, hello: Message) {
        self.leave();
        self.greetings += 1;
        self.session.reset();
        self.listens = false;
        self.client = Era::spoken(&hello);
        let mut greeting = Box::new(Greeting::new(self.greetings, hello, self.description.as_ref()));
        let question = greeting.begin();
        self.dialect = Dialect::Greeting(greeting);
        self.actions.push(Action::Wake(Alarm::Patience(self.greetings), PATIENCE));
        self.ask(question);
    }

    /// Whatever waited for the client or for an acquaintance with the server is over.
    fn leave(&mut self) {
        self.translate(|translator, steps| match translator {
            Dialect::Older(client) => client.closed(steps),
            Dialect::Newer(client) => client.closed(steps),
            _ => {}
        });
        let left = greeting_of(&mut self.dialect).map(Greeting::abandon).unwrap_or_default();
        for message in left {
            self.refuse(Refusal::unsent(message, Failure::NoSession));
        }
        self.end_subscriptions();
    }

    /// Ends the subscriptions of which the server knows nothing.
    fn end_subscriptions(&mut self) {
        let kept = self.acknowledged.close();
        let early = greeting_of(&mut self.dialect).map(Greeting::end_subscriptions).unwrap_or_default();
        kept.iter().chain(&early).for_each(|answer| self.write(answer));
    }

    fn ask(&mut self, question: Question) {
        let Dialect::Greeting(greeting) = &mut self.dialect else { return };
        let message = greeting.ask(question, &self.numbers).unsent();
        self.session.reset();
        self.travel_by(question.transport());
        self.carry(session::Event::Received(message));
    }

    fn travel_by(&mut self, transport: Transport) {
        if std::mem::replace(&mut self.transport, transport) != transport {
            self.done.push_back(Done::Do(Task::Switch(transport)));
        }
    }

    fn received_while_greeting(&mut self, message: Message) {
        let Dialect::Greeting(greeting) = &mut self.dialect else { return };
        let is_unanswerable = greeting.is_told() && !greeting.is_asking();
        match (&message.kind, message.method().unwrap_or_default()) {
            (Kind::Request { id, .. }, "ping") => {
                let pong = Message::response(id, "{}");
                self.write(&pong);
            }
            (Kind::Request { id, .. }, "server/discover") if greeting.is_told() => {
                let answer = Message::response(id, &self.tentative().as_discover_result());
                self.write(&answer);
            }
            (Kind::Request { id, .. }, SUBSCRIBE) if greeting.is_told() && greeting.has_room_for_subscription() => {
                // Of everything else it hears once the server can be asked.
                self.actions.push(Action::Write(self.acknowledged.begin(id)));
                greeting_of(&mut self.dialect).into_iter().for_each(|greeting| greeting.subscribe(message.clone()));
            }
            (Kind::Request { .. }, "tools/list") if greeting.is_told() && greeting.is_asking() => {
                self.list_or_hold(message);
            }
            (Kind::Notification { .. }, "notifications/cancelled") => {
                if let Some(id) = message.cancels() {
                    greeting.forget(&id);
                }
            }
            _ => {
                let is_request = matches!(message.kind, Kind::Request { .. });
                greeting.hold(message);
                if is_request && is_unanswerable {
                    let question = greeting.begin();
                    self.ask(question);
                }
            }
        }
    }

    fn closed(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.translate(|translator, steps| match translator {
            Dialect::Older(client) => client.closed(steps),
            Dialect::Newer(client) => client.closed(steps),
            _ => {}
        });
        let refused = self.sign_in.failed("the client has gone", &self.words);
        self.decline(refused);
        self.end_subscriptions();
        self.carry(session::Event::Closed);
    }

    // Between the two.

    /// Has the translator say what it wants done, and does it.
    fn translate(&mut self, say: impl FnOnce(&mut Dialect, &mut Vec<Step>)) {
        let mut steps = Vec::new();
        say(&mut self.dialect, &mut steps);
        for step in steps {
            match step {
                Step::ToServer(message) => self.carry(session::Event::Received(message)),
                Step::ToClient(message) => self.write(&message),
                Step::Refuse(refusal) => self.refuse(refusal),
                Step::Wake(after) => self.actions.push(Action::Wake(Alarm::Subscription, after)),
            }
        }
    }

    fn carry(&mut self, event: session::Event) {
        self.done.extend(self.session.handle(event));
    }

    /// Does what the session wants done, and what comes of that.
    fn work(&mut self) {
        while let Some(done) = self.done.pop_front() {
            match done {
                Done::Do(task) => self.actions.push(Action::Do(task)),
                Done::Answer(message, method) => self.answered(message, &method),
                Done::Pass(message, within) => self.passed(message, within),
                Done::Refuse(refusal) => self.refused(refusal),
            }
        }
    }

    // The server's side.

    fn answered(&mut self, message: Message, method: &str) {
        if std::mem::take(&mut self.assumed) && !matches!(message.kind, Kind::Response { succeeded: true, .. }) {
            self.doubt();
        }
        if method == SUBSCRIBE && self.keeps_subscription(&message) {
            return;
        }
        let message = if method == "tools/list" { self.learn_tools(message) } else { message };
        match &mut self.dialect {
            Dialect::Greeting(greeting) if message.id().is_some_and(|id| greeting.asked_as(id)) => {
                let outcome = greeting.answered(message);
                self.greeting_went(outcome);
            }
            Dialect::Older(_) | Dialect::Newer(_) => self.translate(|translator, steps| match translator {
                Dialect::Older(client) => client.server(message, steps),
                Dialect::Newer(client) => client.server(message, None, steps),
                _ => {}
            }),
            _ => self.write(&message),
        }
    }

    fn passed(&mut self, message: Message, within: Option<Id>) {
        match &mut self.dialect {
            // Nobody has been told of this server yet.
            Dialect::Greeting(greeting) if greeting.is_told() => {}
            Dialect::Older(_) | Dialect::Newer(_) => self.translate(|translator, steps| match translator {
                Dialect::Older(client) => client.server(message, steps),
                Dialect::Newer(client) => client.server(message, within, steps),
                _ => {}
            }),
            _ => self.write(&message),
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let is_rejection = match &*refusal.failure {
            Failure::Status { status, .. } | Failure::Unaddressed { status, .. } => status.is_client_error(),
            _ => false,
        };
        if is_rejection && std::mem::take(&mut self.assumed) {
            self.doubt();
        }
        match &mut self.dialect {
            Dialect::Greeting(greeting) if refusal.message.id().is_some_and(|id| greeting.asked_as(id)) => {
                let outcome = greeting.refused(refusal);
                self.greeting_went(outcome);
            }
            Dialect::Older(_) | Dialect::Newer(_) => self.translate(|translator, steps| match translator {
                Dialect::Older(client) => client.refused(refusal, steps),
                Dialect::Newer(client) => client.refused(refusal, steps),
                _ => {}
            }),
            _ => self.refuse(refusal),
        }
    }

    /// Whether `answer` refuses a subscription that the client has been told it has.
    fn keeps_subscription(&mut self, answer: &Message) -> bool {
        matches!(&answer.kind, Kind::Response { id: Some(id), succeeded: false } if self.acknowledged.keep(id))
    }

    /// What is remembered of the server may be wrong: the next message makes its acquaintance again.
    fn doubt(&mut self) {
        self.dialect = Dialect::Unknown;
        self.description = None;
    }

    /// Answers a request of the client's that came to nothing.
    fn refuse(&mut self, refusal: Refusal) {
        // Another sign-in would not help what was sent again after one.
        let may_help = refusal.message.attempts().admits(Reason::SignIn);
        let (method, needs_login) = (refusal.message.method(), refusal.failure.needs_login());
        if method == Some(SUBSCRIBE) && refusal.message.id().is_some_and(|id| self.acknowledged.keep(id)) {
            return;
        }
        if needs_login
            && !self.sign_in.is_offered()
            && method == Some("tools/list")
            && self.list_remembered(&refusal.message)
        {
            return;
        }
        if needs_login && self.sign_in.is_offered() && may_help && !self.closing {
            if refusal.failure.is_signed_out() {
                self.actions.push(Action::Watch);
            }
            match method {
                Some("tools/list") => return self.list_sign_in(&refusal.message),
                Some("tools/call") => {
                    let reason = refusal.failure.to_string();
                    self.fresh |= !refusal.failure.is_signed_out();
                    return self.sign_in_wanted(Begin::For(refusal.message, Some(reason)));
                }
                _ => {}
            }
        }
        if let Some(answer) = self.words.refused(&refusal) {
            self.write(&answer);
        }
    }

    fn write(&mut self, message: &Message) {
        if !self.acknowledged.covers(message) {
            self.actions.push(Action::Write(message.clone()));
        }
    }

    fn decline(&mut self, answers: impl IntoIterator<Item = Message>) {
        self.actions.extend(answers.into_iter().map(Action::Decline));
    }

    /// Keeps the list of tools for when the server cannot be asked, and gives what the client may see of it. A list that
    /// comes in parts is not kept.
    fn learn_tools(&mut self, answer: Message) -> Message {
        let was_paging = std::mem::replace(&mut self.paging, Description::is_part_of_list(&answer));
        if let Some(description) = self.description.as_mut().filter(|_| !was_paging && !self.paging)
            && description.learn_tools(&answer)
        {
            self.actions.push(Action::Remember(Box::new(description.clone())));
        }
        self.policy.admit(answer)
    }

    /// The tools that the server listed last, as far as the client may see them.
    fn remembered_tools(&self) -> Option<String> {
        let tools = self.description.as_ref().and_then(Description::tools)?;
        Some(self.policy.visible(tools))
    }

    // Getting to know the server.

    fn greeting_went(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Known(description, answer) => self.acquainted(*description, answer),
            Outcome::Modern(answer) => {
                // It is modern, and will say the rest itself.
                if let Some(answer) = answer {
                    self.write(&answer);
                }
                self.settle(Dialect::Same);
            }
            Outcome::Next(question) => self.ask(question),
            Outcome::OutOfReach(refusal) => {
                self.tell();
                let held = greeting_of(&mut self.dialect).map(Greeting::take_requests).unwrap_or_default();
                for message in held {
                    let failure = refusal.failure.clone();
                    self.refuse_unreached(Refusal { message, failure, taken: Taken::No });
                }
            }
            Outcome::Rejected(answer, failure) => {
                self.travel_by(Transport::default());
                let Some(greeting) = greeting_of(&mut self.dialect) else { return };
                let mut refused = greeting.take_requests();
                if !greeting.is_told() {
                    refused.extend(answer.is_none().then(|| greeting.hello().clone()));
                    self.dialect = Dialect::Unknown;
                }
                answer.iter().for_each(|answer| self.write(answer));
                for message in refused {
                    self.refuse(Refusal { message, failure: failure.clone(), taken: Taken::No });
                }
            }
        }
    }

    /// The server has said who it is.
    fn acquainted(&mut self, description: Description, answer: Option<Message>) {
        let Dialect::Greeting(greeting) = &mut self.dialect else { return };
        let description = description.with_tools_of(self.description.as_ref());
        let was_told = greeting.is_told();
        let listens = self.client == Era::Legacy || greeting.subscriptions().next().is_some();
        let changes = was_told
            && listens
            && (greeting.listed_for_server()
                || self.description.as_ref().is_none_or(|told| !told.says_the_same_as(&description)));
        let (hello, era) = (greeting.hello().clone(), description.era);
        let dialect = match (greeting.client(), era) {
            (Era::Legacy, Era::Modern) => {
                Dialect::Older(Box::new(LegacyClient::new(&hello, &description, self.numbers.clone())))
            }
            (Era::Modern, Era::Legacy) => {
                Dialect::Newer(Box::new(ModernClient::new(description.clone(), self.numbers.clone())))
            }
            _ => Dialect::Same,
        };
        let answer = answer.or_else(|| if was_told { None } else { greeting.answer(&description) });
        if self.description.as_ref().is_none_or(|known| !known.says_the_same_as(&description)) {
            self.actions.push(Action::Remember(Box::new(description.clone())));
        }
        self.description = Some(description);
        if let Some(answer) = answer {
            self.write(&answer);
        }
        if matches!(dialect, Dialect::Newer(_)) {
            let initialized = Message::notification("notifications/initialized", "{}");
            self.carry(session::Event::Received(initialized));
        }
        self.settle(dialect);
        if self.sign_in.was_listed() || changes {
            self.tell_of_tools();
        }
    }

    /// From now on messages go through `dialect`: what was held first.
    fn settle(&mut self, dialect: Dialect) {
        let before = std::mem::replace(&mut self.dialect, dialect);
        let Dialect::Greeting(greeting) = before else { return };
        for message in greeting.into_held() {
            self.received(message);
        }
    }

    /// Tells the client that the tools are others now: one that listens.
    fn tell_of_tools(&mut self) {
        const CHANGED: &str = "notifications/tools/list_changed";
        let changed = Message::notification(CHANGED, "{}");
        if self.client == Era::Legacy {
            if self.listens {
                self.write(&changed);
            }
            return;
        }
        self.translate(|translator, steps| {
            if let Dialect::Newer(client) = translator {
                client.server(changed, None, steps);
            }
        });
        let subscriptions = self.session.tool_subscriptions().chain(self.acknowledged.kept());
        let told: Vec<_> = subscriptions
            .map(|id| Message::notification(CHANGED, &format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#)))
            .collect();
        told.iter().for_each(|message| self.write(message));
    }

    fn out_of_patience(&mut self, number: u64) {
        if greeting_of(&mut self.dialect).is_some_and(|greeting| greeting.number() == number) {
            self.tell();
            let lists = greeting_of(&mut self.dialect).map(Greeting::take_lists).unwrap_or_default();
            lists.into_iter().for_each(|list| self.list_or_hold(list));
        }
    }

    /// Answers the client for the server, as far as that has not happened.
    fn tell(&mut self) {
        let tentative = self.tentative();
        let Dialect::Greeting(greeting) = &mut self.dialect else { return };
        if let Some(answer) = greeting.tell(&tentative) {
            self.write(&answer);
        }
    }

    /// What the client is told of a server that cannot be asked.
    fn tentative(&self) -> Description {
        match &self.description {
            Some(known) => known.tentative(),
            None => Description::minimal(&self.words.title),
        }
    }

    /// Answers a request that the server could not be reached for.
    fn refuse_unreached(&mut self, refusal: Refusal) {
        let is_list = refusal.message.method() == Some("tools/list") && !refusal.failure.needs_login();
        if !is_list || !self.list_remembered(&refusal.message) {
            self.refuse(refusal);
        }
    }

    /// Lists the tools from memory, where any are known: some clients ask once, and wait for nobody. When the server says
    /// who it is, they are told that the tools have changed.
    fn list_remembered(&mut self, list: &Message) -> bool {
        let (Some(tools), Some(id)) = (self.remembered_tools(), list.id()) else { return false };
        let answer = Message::response(id, &description::listed(list, Some(&tools)).to_string());
        greeting_of(&mut self.dialect).into_iter().for_each(Greeting::list_for_server);
        self.write(&answer);
        true
    }

    /// Lists the tools for a server that takes its time, or has it do so when it answers.
    fn list_or_hold(&mut self, list: Message) {
        if !self.list_remembered(&list)
            && let Some(greeting) = greeting_of(&mut self.dialect)
        {
            greeting.hold(list);
        }
    }

    /// It is time to end: what waits for the server is answered.
    fn refuse_greeting(&mut self) {
        self.work();
        let held = greeting_of(&mut self.dialect).map(Greeting::take_requests).unwrap_or_default();
        for message in held {
            self.refuse(Refusal::unsent(message, Failure::Stopped));
        }
    }

    // Signing in.

    fn list_sign_in(&mut self, list: &Message) {
        greeting_of(&mut self.dialect).into_iter().for_each(Greeting::list_for_server);
        let remembered = self.remembered_tools();
        let answer = self.sign_in.list(list, remembered.as_deref(), &self.words);
        answer.iter().for_each(|answer| self.write(answer));
    }

    fn sign_in_wanted(&mut self, wanted: Begin) {
        match wanted {
            Begin::For(call, reason) => {
                match self.sign_in.wanted(call, reason, &self.capabilities) {
                    Wanted::SignIn(shown_by) => {
                        let need = if std::mem::take(&mut self.fresh) { Need::Another } else { Need::Any };
                        self.actions.push(Action::SignIn(need, shown_by));
                    }
                    Wanted::Browser => self.actions.push(Action::ShowSignIn),
                    Wanted::Nothing => {}
                }
                self.sign_in_answers();
            }
            Begin::Answer(answer) => self.decline([answer]),
            Begin::Nothing => {}
        }
    }

    fn sign_in_offered(&mut self, invitation: Invitation) {
        self.sign_in.offered(invitation);
        self.sign_in_answers();
    }

    fn sign_in_answers(&mut self) {
        let answers = self.sign_in.answers(&self.capabilities, &self.words, &self.numbers);
        self.decline(answers);
    }

    fn signed_in(&mut self) {
        let (of_tool, calls) = self.sign_in.done();
        let answers = match &mut self.dialect {
            Dialect::Greeting(greeting) if greeting.is_told() && !greeting.is_asking() => {
                // Whoever hears that it is done looks for the tools: they come first.
                of_tool.into_iter().for_each(|call| greeting.hold(call));
                let question = greeting.begin();
                self.ask(question);
                Vec::new()
            }
            Dialect::Greeting(_) => of_tool,
            _ => {
                if self.sign_in.was_listed() {
                    self.tell_of_tools();
                }
                of_tool
            }
        };
        let answers: Vec<_> = answers.iter().map(|call| sign_in_tool::signed_in(call, &self.words)).collect();
        self.decline(answers);
        for call in calls {
            if call.attempts().admit(Reason::SignIn) {
                self.received(call);
            } else {
                self.refuse(Refusal::unsent(call, Failure::TriedTooOften));
            }
        }
    }
}

fn greeting_of(dialect: &mut Dialect) -> Option<&mut Greeting> {
    match dialect {
        Dialect::Greeting(greeting) => Some(greeting),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
