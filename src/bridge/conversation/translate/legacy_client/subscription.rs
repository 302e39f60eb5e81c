//! What a legacy client is to hear of, and the one stream by which a modern server tells of it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    bridge::conversation::{
        description::Description,
        event::Alarm,
        failure::Failure,
        layer::Step,
        numbers::Numbers,
        reply::{self, ReplyCode},
        session::SUBSCRIBE,
        translate::{legacy_client::sender::Sender, lists::LISTS},
    },
    mcp::{
        id::Id,
        message::Message,
        object::{self, Object},
    },
};

/// How long until a subscription that ended is opened again: this, and twice as long each time that it ends at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The subscription, and the requests that wait for it.
#[derive(Debug)]
pub struct Subscription {
    /// `toolsListChanged` and its like, as far as the server has them.
    lists: Vec<&'static str>,
    uris: BTreeSet<String>,
    open: Option<Id>,
    opening: Option<Id>,
    /// The client's requests to be answered once it is open.
    waiting: Vec<Id>,
    continuity: Continuity,
    /// How long the last pause was before it was opened again; none since the client was heard of.
    pause: Duration,
    effort: Effort,
    numbers: Numbers,
}

/// Whether the client may have missed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuity {
    Whole,
    /// It has: the server has ended the stream.
    Cut,
}

/// Whether the stream is opened again when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Again,
    /// It was opened again often enough, and the client has said nothing since: an idle process keeps no server busy.
    GivenUp,
}

impl Subscription {
    /// To all the lists that change at the server.
    pub fn new(server: &Description, numbers: Numbers) -> Self {
        let lists = LISTS.iter().filter(|(kind, ..)| server.capability(&[kind, "listChanged"]).is_some());
        Self {
            lists: lists.map(|(_, filter, _)| *filter).collect(),
            uris: BTreeSet::new(),
            open: None,
            opening: None,
            waiting: Vec::new(),
            continuity: Continuity::Whole,
            pause: Duration::ZERO,
            effort: Effort::Again,
            numbers,
        }
    }

    /// The client is heard of.
    pub fn client_spoke(&mut self, sender: &Sender, steps: &mut Vec<Step>) {
        self.spoke();
        if std::mem::replace(&mut self.effort, Effort::Again) == Effort::GivenUp {
            self.woken(sender, steps);
        }
    }

    /// One of both is heard of: the next pause is a short one.
    pub fn spoke(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// The client wants to hear of a resource by its request `id`.
    pub fn add(&mut self, id: Id, uri: String, sender: &Sender, steps: &mut Vec<Step>) {
        self.uris.insert(uri);
        self.waiting.push(id);
        self.open(sender, steps);
    }

    /// The client does not want to hear of it any more.
    pub fn remove(&mut self, id: Id, uri: &str, sender: &Sender, steps: &mut Vec<Step>) {
        self.uris.remove(uri);
        self.waiting.push(id);
        self.open(sender, steps);
    }

    /// The pause before it is opened again is over.
    pub fn woken(&mut self, sender: &Sender, steps: &mut Vec<Step>) {
        if self.open.is_none() && self.opening.is_none() {
            self.open(sender, steps);
        }
    }

    /// Opens a subscription to all that is wanted by now; the one before ends when this one is there.
    pub fn open(&mut self, sender: &Sender, steps: &mut Vec<Step>) {
        if let Some(id) = self.opening.take() {
            steps.push(Step::ToServer(Message::cancellation(&id)));
        }
        if self.lists.is_empty() && self.uris.is_empty() {
            let open = self.open.take();
            steps.extend(open.map(|id| Step::ToServer(Message::cancellation(&id))));
            return self.answer_waiting(steps);
        }
        let mut filter = Object::default();
        for list in &self.lists {
            filter.set(list, "true");
        }
        if !self.uris.is_empty() {
            filter.set("resourceSubscriptions", serde_json::json!(self.uris).to_string());
        }
        let id = self.numbers.next_id();
        let mut parameters = Object::default();
        parameters.set("notifications", filter.to_string());
        let request = sender.request(id.clone(), SUBSCRIBE, parameters);
        self.opening = Some(id);
        steps.push(Step::ToServer(request));
    }

    /// The server has opened it, as `id`.
    pub fn opened(&mut self, id: Id, steps: &mut Vec<Step>) {
        if self.opening.as_ref() != Some(&id) {
            return;
        }
        self.opening = None;
        if let Some(before) = self.open.replace(id) {
            steps.push(Step::ToServer(Message::cancellation(&before)));
        }
        self.answer_waiting(steps);
        if std::mem::replace(&mut self.continuity, Continuity::Whole) == Continuity::Cut {
            self.tell_what_may_have_changed(steps);
        }
    }

    fn answer_waiting(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.waiting.drain(..).map(|id| Step::ToClient(Message::response(&id, "{}"))));
    }

    /// Tells the client of all the changes that it may have missed. What is missed is not made up for (MCP 2026-07-28,
    /// "Subscriptions"), and a legacy client does not know of the gap.
    fn tell_what_may_have_changed(&self, steps: &mut Vec<Step>) {
        for (_, _, method) in LISTS.iter().filter(|(_, filter, _)| self.lists.contains(filter)) {
            steps.push(Step::ToClient(Message::notification(method, "{}")));
        }
        for uri in &self.uris {
            let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
            steps.push(Step::ToClient(Message::notification("notifications/resources/updated", &parameters)));
        }
    }

    /// The server has ended the subscription `id`, or refuses it.
    pub fn answered(&mut self, answer: &Message, id: &Id, succeeded: bool, steps: &mut Vec<Step>) {
        if succeeded {
            return self.ended(id, &Failure::Cut, steps);
        }
        self.forget(id);
        let waiting = std::mem::take(&mut self.waiting);
        steps.extend(waiting.iter().map(|id| Step::ToClient(answer.clone().addressed_to(id))));
    }

    /// The subscription `id` has ended, or could not be opened.
    pub fn ended(&mut self, id: &Id, failure: &Failure, steps: &mut Vec<Step>) {
        if self.open.as_ref() == Some(id) {
            self.continuity = Continuity::Cut;
        }
        self.forget(id);
        self.give_up(failure, steps);
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        let is_final = match failure {
            Failure::Status { status, .. } => status.is_client_error() && status.as_u16() != 429,
            Failure::Stopped => true,
            _ => false,
        };
        let is_enough = self.pause == PAUSES.1 || failure.needs_login();
        self.effort = if is_enough { Effort::GivenUp } else { Effort::Again };
        if !is_final && !is_enough {
            steps.push(Step::Wake(Alarm::Subscription, self.pause));
        }
    }

    /// The client hears of no more changes.
    pub fn close(&mut self, steps: &mut Vec<Step>) {
        for id in [self.open.take(), self.opening.take()].into_iter().flatten() {
            steps.push(Step::ToServer(Message::cancellation(&id)));
        }
        self.give_up(&Failure::Stopped, steps);
    }

    /// Answers the requests that wait for it: it is not to be had.
    fn give_up(&mut self, failure: &Failure, steps: &mut Vec<Step>) {
        let said = failure.to_string();
        let errors = self.waiting.drain(..).map(|id| reply::error(&id, ReplyCode::Network, &said));
        steps.extend(errors.map(Step::ToClient));
    }

    /// Whether it is open as `id`, or being opened.
    pub fn is_open_as(&self, id: &Id) -> bool {
        self.open.as_ref() == Some(id) || self.opening.as_ref() == Some(id)
    }

    fn forget(&mut self, id: &Id) {
        self.open.take_if(|open| open == id);
        self.opening.take_if(|opening| opening == id);
    }
}
