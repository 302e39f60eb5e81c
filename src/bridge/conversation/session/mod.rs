//! The conversation between one client and one server, as a state machine: events in, actions out.
//!
//! It owns every promise about responses: each request of the client gets exactly one, notifications and responses get
//! none, and a message that a lost session refused is sent once more in a new one. It does no I/O and reads no clock.

pub mod lost;
mod standing;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    bridge::conversation::{
        acknowledged::wants_tools,
        failure::{Failure, Refusal, Taken, only_reads},
        held::Held,
        session::standing::{Standing, Subject},
        transport::Transport,
    },
    mcp::{
        attempts::Reason,
        codes, headers,
        id::Id,
        message::{Kind, Message},
        mirrored::Tools,
        object::Object,
        revision,
    },
};
use http::{HeaderMap, HeaderValue};

/// How many messages of the client may be under way; then further requests wait. Each may be a connection, and a process
/// has 256 files on some systems. An answer or a cancellation never waits: the server
/// may need it to answer one.
const IN_FLIGHT_LIMIT: usize = 200;

/// How many questions of the server are kept account of.
const ASKED_LIMIT: usize = 1 << 12;

/// How many parts a list of tools may come in.
const PAGES_LIMIT: usize = 100;

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

/// How far the legacy handshake is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Handshake {
    /// There was none: a modern client, or one that has not spoken yet.
    #[default]
    None,
    /// `initialize` is under way. Everything else is held.
    Initializing(Exchange),
    /// `initialize` is answered; the client's `notifications/initialized` is awaited.
    Initialized,
    /// `notifications/initialized` is under way. Everything else is held, or the server could see it too early.
    Confirming(Exchange),
    /// The GET stream is being opened. Everything else is held, or early messages of the server could be lost.
    Opening(Exchange),
    /// Messages pass.
    Ready,
    /// The server has forgotten the session and a new one could not be opened yet.
    Lost,
}

/// A request of the client that has no response yet.
#[derive(Debug)]
struct Pending {
    exchange: Option<Exchange>,
    method: Box<str>,
    /// The client has lost interest: a response passes, none is made up.
    cancelled: bool,
}

/// What an exchange carries.
#[derive(Debug)]
struct Carried {
    message: Message,
    /// The session it was sent in.
    generation: u64,
}

impl AsRef<Message> for Carried {
    fn as_ref(&self) -> &Message {
        &self.message
    }
}

/// The tools are listed again, for calls that were refused.
#[derive(Debug)]
struct Relisting {
    id: Id,
    /// What every part of the list is asked with.
    parameters: String,
    pages: usize,
    /// The calls, and the refusals.
    calls: Vec<(Carried, Message)>,
}

/// The state machine: with nothing said yet, to begin with.
#[derive(Debug, Default)]
pub struct Session {
    handshake: Handshake,
    /// One more with each session opened.
    generation: u64,
    session_id: Option<HeaderValue>,
    version: Option<Box<str>>,
    /// The client's own `initialize` and `notifications/initialized`, for opening a session anew.
    initialize: Option<Message>,
    initialized: Option<Message>,
    /// What waits for the handshake, or for room.
    held: Held<Carried>,
    pending: HashMap<Id, Pending>,
    /// What the server has asked the client, and the client has not answered.
    asked: HashSet<Id>,
    carried: HashMap<Exchange, Carried>,
    /// Responses that name no request, by the exchanges that they came in; none where there were several.
    strays: HashMap<Exchange, Option<Message>>,
    listening: Option<Exchange>,
    /// The GET stream was there, or could have been, and is not any more.
    has_lost_stream: bool,
    relisting: Option<Relisting>,
    relists: u64,
    standing: Standing,
    tools: Tools,
    next_exchange: Exchange,
    /// The `initialize` under way is ours: the client has had its answer long ago.
    reopening: bool,
    actions: Vec<Action>,
}

impl Session {
    /// Takes in the tools that the server listed some time before: the members of a `tools/list` result.
    pub fn recall_tools(&mut self, tools: &str) {
        self.tools.learn(Message::response(&Id::ours(0), tools));
    }

    /// How many of the client's messages are on their way or waiting for it.
    pub fn in_flight(&self) -> usize {
        self.carried.len() + self.held.len()
    }

    /// How many bytes of the client's are on their way or waiting for it.
    pub fn bytes(&self) -> usize {
        self.carried.values().map(|carried| carried.message.raw().len()).sum::<usize>() + self.held.bytes()
    }

    /// Takes `event` in; the actions are to be carried out in their order.
    pub fn handle(&mut self, event: Event) -> std::vec::Drain<'_, Action> {
        match event {
            Event::Received(message) => self.received(message),
            Event::Closed => self.closed(),
            Event::Accepted(exchange, session_id) => self.accepted(exchange, session_id),
            Event::Delivered(exchange, message) => self.delivered(exchange, message),
            Event::Finished(exchange, ending) => {
                self.take_stray(exchange);
                self.finished(exchange, ending);
            }
            Event::HoldExpired(exchange) => self.opened(exchange),
            Event::Stopping => self.stopping(),
        }
        self.refill();
        self.actions.drain(..)
    }

    fn act(&mut self, task: Task) {
        self.actions.push(Action::Do(task));
    }

    /// Whether everything is answered.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight() == 0 && self.relisting.is_none()
    }

    /// Ends the server's session: nothing more will come.
    pub fn end(&mut self) -> std::vec::Drain<'_, Action> {
        self.end_session();
        self.act(Task::Stop);
        self.actions.drain(..)
    }

    // The client's side.

    fn received(&mut self, message: Message) {
        let message = message.recorded();
        match &message.kind {
            Kind::Request { id, method } => {
                self.listen_again();
                if self.pending.contains_key(id) {
                    return self.actions.push(Action::Refuse(Refusal::unsent(message, Failure::IdInUse)));
                }
                let pending = Pending { exchange: None, method: method.clone(), cancelled: false };
                self.pending.insert(id.clone(), pending);
                if &**method == "initialize" {
                    return self.initialize(message);
                }
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" && !self.cancelled(&message) => {
                return;
            }
            Kind::Notification { method } if &**method == "notifications/initialized" => {
                self.initialized = Some(message);
                if self.handshake == Handshake::Initialized {
                    self.confirm();
                }
                return;
            }
            // The request that this answers went with its session.
            Kind::Response { id, .. } if !self.is_awaited(id.as_ref()) => return,
            Kind::Notification { method } if &**method == "notifications/progress" && self.asked.is_empty() => return,
            _ => {}
        }
        let carried = self.fresh(message);
        self.send_in_turn(carried);
    }

    /// Whether the server of this session may wait for the client's answer to its request `id`. (Where it has asked
    /// something, whether an odd answer is one is for it to say.)
    fn is_awaited(&mut self, id: Option<&Id>) -> bool {
        let asks = !self.asked.is_empty();
        id.is_some_and(|id| self.asked.remove(id)) || asks
    }

    fn fresh(&self, message: Message) -> Carried {
        Carried { message, generation: self.generation }
    }

    /// The client's `initialize`: whatever was before is over.
    fn initialize(&mut self, message: Message) {
        self.reset();
        self.initialize = Some(message.clone());
        let exchange = self.post(self.fresh(message));
        self.handshake = Handshake::Initializing(exchange);
    }

    /// Tells the server that the handshake is over, as the client said it.
    fn confirm(&mut self) {
        if let Some(message) = self.initialized.clone() {
            let message = if self.reopening { of_reopening(message) } else { message };
            let exchange = self.post(self.fresh(message));
            self.handshake = Handshake::Confirming(exchange);
        }
    }

    /// Takes note that the client does not want a response any more. Whether the server is to be told.
    fn cancelled(&mut self, message: &Message) -> bool {
        let Some(id) = message.cancels() else { return true };
        // (It has been answered, or was never made.)
        let Some(pending) = self.pending.get_mut(&id) else { return false };
        match pending.exchange {
            Some(exchange) if self.handshake == Handshake::None => {
                // (One whose tools are listed again has been refused: it is not sent any more.)
                if let Some(relisting) = &mut self.relisting {
                    relisting.calls.retain(|(call, _)| call.message.id() != Some(&id));
                }
                // Closing the answer's stream is how the modern era cancels (MCP 2026-07-28 transports,
                // "Cancellation").
                self.pending.remove(&id);
                self.carried.remove(&exchange);
                self.act(Task::Cancel(exchange));
                false
            }
            Some(_) => {
                pending.cancelled = true;
                true
            }
            None => {
                self.pending.remove(&id);
                self.held.remove_request(&id);
                false
            }
        }
    }

    fn send_in_turn(&mut self, carried: Carried) {
        let is_urgent = match &carried.message.kind {
            Kind::Request { .. } => false,
            Kind::Notification { method } => &**method == "notifications/cancelled",
            Kind::Response { .. } => true,
        };
        if self.passes() && (self.has_room() || is_urgent) {
            self.post(carried);
        } else {
            self.held.push(carried);
            if self.handshake == Handshake::Lost {
                self.reopen();
            }
        }
    }

    /// Whether the handshake holds nothing up.
    fn passes(&self) -> bool {
        matches!(self.handshake, Handshake::None | Handshake::Initialized | Handshake::Ready)
    }

    fn has_room(&self) -> bool {
        self.carried.len() < IN_FLIGHT_LIMIT
    }

    /// Sends what waited for room.
    fn refill(&mut self) {
        while self.passes()
            && self.has_room()
            && let Some(carried) = self.held.pop()
        {
            self.post(carried);
        }
    }

    fn post(&mut self, carried: Carried) -> Exchange {
        let exchange = self.next_exchange();
        let message = carried.message.clone();
        if let Kind::Request { id, .. } = &message.kind
            && let Some(pending) = self.pending.get_mut(id)
        {
            pending.exchange = Some(exchange);
        }
        let modern = (self.handshake == Handshake::None).then(|| revision::modern_version(&message)).flatten();
        let headers = match modern {
            Some(version) => {
                let mut headers = headers::modern(&message, &version);
                self.tools.mirror(&message, &mut headers);
                headers
            }
            None if message.method() == Some("initialize") => headers::opening(),
            None => self.session_headers(),
        };
        self.carried.insert(exchange, Carried { generation: self.generation, ..carried });
        self.act(Task::Post(exchange, message, headers));
        exchange
    }

    fn next_exchange(&mut self) -> Exchange {
        self.next_exchange += 1;
        self.next_exchange
    }

    fn session_headers(&self) -> HeaderMap {
        headers::legacy(self.session_id.as_ref(), self.version.as_deref())
    }

    // The server's side.

    fn accepted(&mut self, exchange: Exchange, session_id: Option<HeaderValue>) {
        match self.handshake {
            Handshake::Initializing(initializing) if initializing == exchange => self.session_id = session_id,
            Handshake::Confirming(confirming) if confirming == exchange => self.open_stream(),
            Handshake::Opening(opening) if opening == exchange => self.opened(exchange),
            _ => {}
        }
    }

    /// Opens the GET stream, on which a legacy server speaks up by itself (MCP 2025-11-25 transports, "Listening for
    /// Messages from the Server").
    fn open_stream(&mut self) {
        let exchange = self.listen();
        self.handshake = Handshake::Opening(exchange);
        self.act(Task::HoldFor(exchange));
    }

    fn listen(&mut self) -> Exchange {
        let exchange = self.next_exchange();
        self.listening = Some(exchange);
        self.has_lost_stream = false;
        self.act(Task::Listen(exchange, self.session_headers()));
        exchange
    }

    /// The client is heard of again: so may be a server whose stream was given up.
    fn listen_again(&mut self) {
        if self.has_lost_stream && self.handshake == Handshake::Ready {
            self.listen();
        }
    }

    /// Lets the held messages go: the GET stream is open, or is not needed, or takes too long.
    fn opened(&mut self, exchange: Exchange) {
        if self.handshake == Handshake::Opening(exchange) {
            self.handshake = Handshake::Ready;
            if self.reopening {
                self.set_again();
            }
            self.release();
        }
    }

    /// Sets in the new session what the client had set in the lost one. The answers to that are nobody's.
    fn set_again(&mut self) {
        let under_way = self.carried.values().map(|carried| &carried.message).chain(self.held.iter());
        // (Ours of before went with the session that they were for.)
        let of_client = under_way.filter(|message| message.id().is_some_and(|id| self.pending.contains_key(id)));
        let under_way = of_client.filter_map(Subject::of).collect();
        for message in self.standing.again(&under_way) {
            self.send_in_turn(self.fresh(of_reopening(message)));
        }
    }

    fn release(&mut self) {
        for carried in self.held.take() {
            self.send_in_turn(carried);
        }
    }

    fn delivered(&mut self, exchange: Exchange, message: Message) {
        match &message.kind {
            Kind::Response { id, succeeded } => {
                let asked = self.asked_in(exchange);
                let meant = self.meant_by(id.as_ref(), asked.as_ref());
                let is_for_this = meant.is_none() || meant == asked;
                if !succeeded && is_for_this && self.session_id.is_some() && lost::is_said(&message) {
                    let is_own = id.is_some() && meant.is_some();
                    if self.denied(exchange, is_own) {
                        return;
                    }
                }
                let Some(id) = meant else { return self.keep_stray(exchange, message) };
                if self.handshake == Handshake::Initializing(exchange) && Some(&id) == asked.as_ref() {
                    let for_us = self.reopening;
                    if *succeeded {
                        self.handshake_answered(&message);
                    } else {
                        self.handshake_failed(&Arc::new(Failure::NoSession));
                    }
                    if for_us {
                        return;
                    }
                }
                if self.relisting.as_ref().is_some_and(|relisting| relisting.id == id) {
                    return self.relisted(exchange, message);
                }
                if !succeeded && message.error_code() == Some(codes::HEADER_MISMATCH) && self.relist(exchange, &message)
                {
                    return;
                }
                if let Some((asked, pending)) = self.pending.remove_entry(&id) {
                    if *succeeded
                        && let Some(carried) = pending.exchange.and_then(|exchange| self.carried.get(&exchange))
                    {
                        self.standing.carried_out(&carried.message);
                    }
                    let is_list = self.handshake == Handshake::None && &*pending.method == "tools/list";
                    let message = if is_list { self.tools.learn(message) } else { message };
                    self.actions.push(Action::Answer(message.addressed_to(&asked), pending.method));
                }
            }
            // A modern server sends no requests (MCP 2026-07-28 transports, "Receiving Messages"): nobody would answer
            // one.
            Kind::Request { .. } if self.handshake == Handshake::None => {}
            kind => {
                if let Kind::Request { id, .. } = kind
                    && self.asked.len() < ASKED_LIMIT
                {
                    self.asked.insert(id.clone());
                }
                let within = self.carried.get(&exchange).and_then(|carried| carried.message.id().cloned());
                self.actions.push(Action::Pass(message, within));
            }
        }
    }

    /// The server says with a status of success that it does not know the session. Whether the request is sent again: one
    /// with an answer for its own id only where that changes nothing; but the next one has a new session.
    fn denied(&mut self, exchange: Exchange, is_own: bool) -> bool {
        let Some(carried) = self.carried.get(&exchange) else { return false };
        let message = &carried.message;
        let may_be_sent = !is_own || only_reads(message.method());
        if may_be_sent && self.initialize.is_some() && message.attempts().admit(Reason::SessionLost) {
            if let Some(carried) = self.carried.remove(&exchange) {
                self.lost(exchange, carried);
            }
            return true;
        }
        if carried.generation == self.generation && self.handshake == Handshake::Ready {
            self.handshake = Handshake::Lost;
        }
        false
    }

    /// The request that the exchange answers.
    fn asked_in(&self, exchange: Exchange) -> Option<Id> {
        let message = &self.carried.get(&exchange)?.message;
        matches!(message.kind, Kind::Request { .. }).then(|| message.id().cloned()).flatten()
    }

    /// The request that a response with this id means, in the exchange that answers `asked`. An id that is on its
    /// way to the server names its request, wherever the response comes. Without an id, or with one of another
    /// type, it can only answer the request that it is the answer to.
    fn meant_by(&self, id: Option<&Id>, asked: Option<&Id>) -> Option<Id> {
        let Some(id) = id else { return asked.cloned() };
        let is_sent = self.pending.get(id).is_some_and(|pending| pending.exchange.is_some());
        if is_sent || self.relisting.as_ref().is_some_and(|relisting| relisting.id == *id) {
            return Some(id.clone());
        }
        asked.filter(|asked| id.resembles(asked)).cloned()
    }

    /// Keeps a response that names no request. It is the answer to the one that its exchange answers, if no better one
    /// comes and it is the only one (see [`Self::take_stray`]).
    fn keep_stray(&mut self, exchange: Exchange, message: Message) {
        let carried = &self.carried;
        self.strays.retain(|exchange, _| carried.contains_key(exchange));
        if self.asked_in(exchange).is_some_and(|asked| self.pending.contains_key(&asked)) {
            self.strays.entry(exchange).and_modify(|stray| *stray = None).or_insert(Some(message));
        }
    }

    /// The exchange is over: the one response in the answer to a POST is the answer, whatever its id.
    fn take_stray(&mut self, exchange: Exchange) {
        let stray = self.strays.remove(&exchange).flatten();
        if let Some((stray, asked)) =
            stray.zip(self.asked_in(exchange)).filter(|(_, asked)| self.pending.contains_key(asked))
        {
            self.delivered(exchange, stray.addressed_to(&asked));
        }
    }

    // Calls whose headers were not what the server's tools want.

    /// The server refuses a call since its tools have changed: they are listed again, and the call is sent once more (MCP
    /// 2026-07-28 transports, "Client Behavior"). Whether that is done.
    fn relist(&mut self, exchange: Exchange, error: &Message) -> bool {
        let Some(Carried { message, .. }) = self.carried.get(&exchange) else { return false };
        let is_call = self.handshake == Handshake::None && message.method() == Some("tools/call");
        if !is_call || !message.attempts().admit(Reason::HeaderMismatch) {
            return false;
        }
        let Some(carried) = self.carried.remove(&exchange) else { return false };
        let parameters =
            carried.message.member("_meta").map_or("{}".to_owned(), |meta| format!(r#"{{"_meta":{meta}}}"#));
        let refused = (carried, error.clone());
        match &mut self.relisting {
            Some(relisting) => relisting.calls.push(refused),
            None => {
                self.relists += 1;
                let id = Id::named(&format!("finmcp-list-{}", self.relists));
                let list = Message::request(id.clone(), "tools/list", &parameters);
                self.relisting = Some(Relisting { id, parameters, pages: 1, calls: vec![refused] });
                self.post(self.fresh(list));
            }
        }
        true
    }

    /// A part of the tools has come; after the last one the calls are sent again.
    fn relisted(&mut self, exchange: Exchange, answer: Message) {
        self.carried.remove(&exchange);
        let Some(mut relisting) = self.relisting.take() else { return };
        let answer = self.tools.learn(answer);
        let cursor = answer.result::<Object<'_>>().and_then(|result| result.get("nextCursor").map(str::to_owned));
        if let Some(cursor) = cursor.filter(|cursor| cursor != "null" && relisting.pages < PAGES_LIMIT) {
            relisting.pages += 1;
            let mut parameters = Object::parse(&relisting.parameters).unwrap_or_default();
            parameters.set("cursor", cursor);
            let list = Message::request(relisting.id.clone(), "tools/list", &parameters.to_string());
            self.relisting = Some(relisting);
            self.post(self.fresh(list));
            return;
        }
        for (call, _) in relisting.calls {
            self.send_in_turn(call);
        }
    }

    /// The tools cannot be listed: the calls are answered as the server answered them.
    fn not_relisted(&mut self) {
        for (call, error) in self.relisting.take().into_iter().flat_map(|relisting| relisting.calls) {
            if let Some((id, pending)) = call.message.id().and_then(|id| self.pending.remove_entry(id)) {
                self.actions.push(Action::Answer(error.addressed_to(&id), pending.method));
            }
        }
    }

    /// `initialize` was answered: to the client, or to ourselves when a session is opened anew.
    fn handshake_answered(&mut self, answer: &Message) {
        self.generation += 1;
        self.version = revision::negotiated_version(answer);
        self.handshake = Handshake::Initialized;
        if self.initialized.is_some() {
            self.confirm();
        } else {
            self.release();
        }
    }

    /// `initialize` came to nothing, and so does what waited for it.
    fn handshake_failed(&mut self, failure: &Arc<Failure>) {
        self.session_id = None;
        self.handshake = if self.reopening { Handshake::Lost } else { Handshake::None };
        self.refuse_held(failure);
    }

    fn finished(&mut self, exchange: Exchange, ending: Ending) {
        if self.listening == Some(exchange) {
            self.listening = None;
            self.has_lost_stream = matches!(ending, Ending::Failed(_));
            return self.opened(exchange);
        }
        let Some(carried) = self.carried.remove(&exchange) else { return };
        if self.relisting.as_ref().is_some_and(|relisting| carried.message.id() == Some(&relisting.id)) {
            return self.not_relisted();
        }
        if let Ending::SessionLost(_) = ending
            && self.initialize.is_some()
            && carried.message.attempts().admit(Reason::SessionLost)
        {
            return self.lost(exchange, carried);
        }
        if carried.message.method() == Some("notifications/cancelled") {
            return self.let_go(&carried.message);
        }
        let said = match ending {
            Ending::Complete => Said::Failure(Failure::Cut),
            Ending::SessionLost(said) => *said,
            Ending::Failed(failure) => Said::Failure(failure),
        };
        if self.handshake == Handshake::Confirming(exchange) {
            // The server may have taken it all the same; what comes next will show.
            self.open_stream();
        }
        match said {
            Said::Answer(answer) => self.answer(&carried.message, answer),
            Said::Failure(failure) => self.failed(exchange, carried.message, &Arc::new(failure)),
        }
    }

    /// An exchange brought no response.
    fn failed(&mut self, exchange: Exchange, message: Message, failure: &Arc<Failure>) {
        if self.handshake == Handshake::Initializing(exchange) {
            self.handshake_failed(failure);
            if self.reopening {
                return; // it was ours, not the client's
            }
        }
        self.refuse(message, failure);
    }

    /// The server has heard that a request is cancelled: it need not answer it any more, and many never do (MCP 2025-11-25
    /// cancellation, "Behavior Requirements").
    fn let_go(&mut self, cancellation: &Message) {
        let Some(id) = cancellation.cancels() else { return };
        if let Some(Pending { exchange: Some(exchange), cancelled: true, .. }) = self.pending.get(&id) {
            let exchange = *exchange;
            self.pending.remove(&id);
            self.carried.remove(&exchange);
            self.act(Task::Cancel(exchange));
        }
    }

    /// Tells the client what the server said in place of a result.
    fn answer(&mut self, message: &Message, said: Message) {
        if let Some((id, pending)) = message.id().and_then(|id| self.pending.remove_entry(id)) {
            self.actions.push(Action::Answer(said.addressed_to(&id), pending.method));
        }
    }

    /// Has the request that `message` is answered, if nobody has answered it.
    fn refuse(&mut self, message: Message, failure: &Arc<Failure>) {
        let Kind::Request { id, .. } = &message.kind else { return };
        let Some(pending) = self.pending.remove(id) else { return };
        if !pending.cancelled {
            let taken = if pending.exchange.is_some() { failure.taken() } else { Taken::No };
            self.actions.push(Action::Refuse(Refusal { message, failure: Arc::clone(failure), taken }));
        }
    }

    fn refuse_held(&mut self, failure: &Arc<Failure>) {
        for held in self.held.take() {
            self.refuse(held.message, failure);
        }
    }

    /// The server refused `carried` because it has forgotten the session: one new session for all that are refused, and
    /// each is sent once more.
    fn lost(&mut self, exchange: Exchange, carried: Carried) {
        let from_before = carried.generation < self.generation;
        if let Kind::Request { id, .. } = &carried.message.kind
            && let Some(pending) = self.pending.get_mut(id)
        {
            pending.exchange = None;
        }
        // A response belongs to a request of the forgotten session, and the handshake is done again anyway.
        let confirmation = self.handshake == Handshake::Confirming(exchange);
        if !confirmation && !matches!(carried.message.kind, Kind::Response { .. }) {
            if from_before {
                return self.send_in_turn(carried);
            }
            self.held.push(carried);
        }
        if !from_before && !matches!(self.handshake, Handshake::Initializing(_)) {
            self.reopen();
        }
    }

    /// Opens a new session with the client's own parameters.
    fn reopen(&mut self) {
        let Some(message) = self.initialize.clone() else { return };
        self.stop_listening();
        self.session_id = None;
        self.version = None;
        // What it has asked is not awaited any more, and an answer would be taken for one to another question; but where a
        // call goes on, the server may have asked in the middle of it.
        if !self.carried.values().any(|carried| matches!(carried.message.kind, Kind::Request { .. })) {
            for id in self.asked.drain() {
                self.actions.push(Action::Pass(Message::cancellation(&id), None));
            }
        }
        self.reopening = true;
        let exchange = self.post(self.fresh(of_reopening(message)));
        self.handshake = Handshake::Initializing(exchange);
    }

    // The end.

    fn stop_listening(&mut self) {
        if let Some(exchange) = self.listening.take() {
            self.act(Task::Cancel(exchange));
        }
    }

    fn end_session(&mut self) {
        self.stop_listening();
        if self.session_id.is_some() {
            self.act(Task::Delete(self.session_headers()));
        }
        self.session_id = None;
        self.version = None;
        self.asked.clear();
    }

    /// The subscriptions to changes of the tools that are open at the server, or being opened, by the ids of the client's
    /// requests.
    pub fn tool_subscriptions(&self) -> impl Iterator<Item = &Id> {
        let asked = self.carried.values().map(|carried| &carried.message);
        asked.filter(|asked| asked.method() == Some(SUBSCRIBE) && wants_tools(asked)).filter_map(Message::id)
    }

    /// The client waits for no more changes: its subscriptions end here, as a server would end them. Everything else may still be answered.
    fn closed(&mut self) {
        let is_subscription = |carried: &Carried| carried.message.method() == Some(SUBSCRIBE);
        let ended: Vec<_> = self.carried.extract_if(|_, carried| is_subscription(carried)).collect();
        for (exchange, carried) in ended {
            self.act(Task::Cancel(exchange));
            if let Kind::Request { id, .. } = &carried.message.kind
                && self.pending.remove(id).is_some_and(|pending| !pending.cancelled)
            {
                self.actions.push(Action::Answer(Message::end_of_subscription(id), SUBSCRIBE.into()));
            }
        }
    }

    fn stopping(&mut self) {
        let failure = Arc::new(Failure::Stopped);
        self.not_relisted();
        self.refuse_held(&failure);
        for (exchange, carried) in std::mem::take(&mut self.carried) {
            self.act(Task::Cancel(exchange));
            self.refuse(carried.message, &failure);
        }
    }

    /// Forgets whatever session there is: what comes next speaks for itself.
    pub fn reset(&mut self) {
        self.end_session();
        self.initialize = None;
        self.initialized = None;
        self.standing = Standing::default();
        self.reopening = false;
        self.handshake = Handshake::None;
    }
}

/// `message` as it is sent to open a session in the place of a lost one: with a record of its own, and not again if that
/// session is lost at once.
fn of_reopening(message: Message) -> Message {
    let message = message.unsent().recorded();
    message.attempts().admit(Reason::SessionLost);
    message
}

#[cfg(test)]
mod tests;
