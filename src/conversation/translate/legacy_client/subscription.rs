//! The changes that a legacy client wants to hear of, and the one stream on which a modern server reports them.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    conversation::{
        description::Description,
        event::Alarm,
        failure::Failure,
        layer::Step,
        reply::{self, ReplyCode},
        request_ids::RequestIds,
        session::SUBSCRIBE,
        translate::{legacy_client::sender::Sender, lists::LISTS},
    },
    mcp::{
        id::Id,
        message::Message,
        object::{self, Object},
    },
};

/// The shortest and the longest pause before reopening a subscription; it doubles each time that the stream ends at
/// once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The subscription, and the requests that wait for it.
#[derive(Debug)]
pub struct Subscription {
    /// `toolsListChanged` and the like, as far as the server supports them.
    lists: Vec<&'static str>,
    uris: BTreeSet<String>,
    open: Option<Id>,
    opening: Option<Id>,
    /// The client's requests that get their responses once the subscription is open.
    waiting: Vec<Id>,
    continuity: Continuity,
    /// The last pause before reopening; zero since the client or the server last sent something.
    pause: Duration,
    reopening: Reopening,
    request_ids: RequestIds,
}

/// Whether the client may have missed a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuity {
    Whole,
    /// The server has ended the stream meanwhile.
    Cut,
}

/// Whether to reopen the stream when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reopening {
    Again,
    /// It was reopened several times without anything from the client: an idle finmcp must not keep the server busy.
    GivenUp,
}

impl Subscription {
    /// A subscription to all lists whose changes the server reports.
    pub fn new(server: &Description, request_ids: RequestIds) -> Self {
        let lists = LISTS.iter().filter(|(kind, ..)| server.capability(&[kind, "listChanged"]).is_some());
        Self {
            lists: lists.map(|(_, filter, _)| *filter).collect(),
            uris: BTreeSet::new(),
            open: None,
            opening: None,
            waiting: Vec::new(),
            continuity: Continuity::Whole,
            pause: Duration::ZERO,
            reopening: Reopening::Again,
            request_ids,
        }
    }

    /// The client sent a message.
    pub fn client_active(&mut self, sender: &Sender, steps: &mut Vec<Step>) {
        self.server_active();
        if std::mem::replace(&mut self.reopening, Reopening::Again) == Reopening::GivenUp {
            self.woken(sender, steps);
        }
    }

    /// The server, or the client, sent a message: the next pause is a short one.
    pub fn server_active(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// The client subscribes to a resource with request `id`.
    pub fn add(&mut self, id: Id, uri: String, sender: &Sender, steps: &mut Vec<Step>) {
        self.uris.insert(uri);
        self.waiting.push(id);
        self.open(sender, steps);
    }

    /// The client unsubscribes from a resource with request `id`.
    pub fn remove(&mut self, id: Id, uri: &str, sender: &Sender, steps: &mut Vec<Step>) {
        self.uris.remove(uri);
        self.waiting.push(id);
        self.open(sender, steps);
    }

    /// The pause before reopening is over.
    pub fn woken(&mut self, sender: &Sender, steps: &mut Vec<Step>) {
        if self.open.is_none() && self.opening.is_none() {
            self.open(sender, steps);
        }
    }

    /// Opens a subscription to everything wanted now. The previous one ends when this one is open.
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
        let id = self.request_ids.next_id();
        let mut parameters = Object::default();
        parameters.set("notifications", filter.to_string());
        let request = sender.request(id.clone(), SUBSCRIBE, parameters);
        self.opening = Some(id);
        steps.push(Step::ToServer(request));
    }

    /// The server has opened the subscription `id`.
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
            self.report_possible_changes(steps);
        }
    }

    fn answer_waiting(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.waiting.drain(..).map(|id| Step::ToClient(Message::response(&id, "{}"))));
    }

    /// Reports every change that the client may have missed: a modern server does not repeat notifications (MCP
    /// 2026-07-28, "Subscriptions"), and a legacy client does not know of the gap.
    fn report_possible_changes(&self, steps: &mut Vec<Step>) {
        for (_, _, method) in LISTS.iter().filter(|(_, filter, _)| self.lists.contains(filter)) {
            steps.push(Step::ToClient(Message::notification(method, "{}")));
        }
        for uri in &self.uris {
            let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
            steps.push(Step::ToClient(Message::notification("notifications/resources/updated", &parameters)));
        }
    }

    /// The server has ended the subscription `id`, or refused it.
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
        self.fail_waiting(failure, steps);
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        let is_final = match failure {
            Failure::Status { status, .. } => status.is_client_error() && status.as_u16() != 429,
            Failure::Stopped => true,
            _ => false,
        };
        let is_enough = self.pause == PAUSES.1 || failure.needs_login();
        self.reopening = if is_enough { Reopening::GivenUp } else { Reopening::Again };
        if !is_final && !is_enough {
            steps.push(Step::Wake(Alarm::Subscription, self.pause));
        }
    }

    /// The client gets no more notifications of changes.
    pub fn close(&mut self, steps: &mut Vec<Step>) {
        for id in [self.open.take(), self.opening.take()].into_iter().flatten() {
            steps.push(Step::ToServer(Message::cancellation(&id)));
        }
        self.fail_waiting(&Failure::Stopped, steps);
    }

    /// Fails the requests that wait for the subscription.
    fn fail_waiting(&mut self, failure: &Failure, steps: &mut Vec<Step>) {
        let reason = failure.to_string();
        let errors = self.waiting.drain(..).map(|id| reply::error(&id, ReplyCode::Network, &reason));
        steps.extend(errors.map(Step::ToClient));
    }

    /// Whether the subscription `id` is open, or being opened.
    pub fn is_open_as(&self, id: &Id) -> bool {
        self.open.as_ref() == Some(id) || self.opening.as_ref() == Some(id)
    }

    fn forget(&mut self, id: &Id) {
        self.open.take_if(|open| open == id);
        self.opening.take_if(|opening| opening == id);
    }
}
