//! The audit log: which tool was called when, and with what outcome.
//!
//! One line of JSON per `tools/call`, appended as soon as the outcome is known and before the client receives it; and
//! one more line when the client learns how a task ended that a call created. A line is written in one piece, so that
//! several processes can share the file. finmcp keeps a line that it cannot write, reports the error, and calls no
//! further tool until the line is written.
//!
//! The file may be on a network, where a write can take arbitrarily long, so a separate thread writes it. Meanwhile
//! the response to the call and the next call wait for the line; everything else continues.

mod calls;
mod entries;
mod error;
pub mod fault;
mod known_tasks;
mod link;
mod log;
mod open_calls;
mod order;
mod outcome;
pub mod seal;
mod state;
pub mod verify;

use std::{collections::VecDeque, ops::ControlFlow, path::PathBuf, sync::Arc, thread, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

pub use self::error::AuditError;
use self::{
    calls::{Calls, Terms},
    log::Log,
    order::Order,
    seal::SealKey,
};
use crate::{
    conversation::reply::{self, ReplyCode},
    credential::clock::Clock,
    mcp::{
        id::Id,
        message::{Kind, Message},
    },
};

/// Where to record calls, and which parts of them.
pub struct AuditOptions {
    /// The file, which must be a regular file that only this user can access. Created if it is missing.
    pub path: PathBuf,
    /// The served profile.
    pub profile: String,
    /// Its environment; empty if the server has only one.
    pub environment: String,
    /// Whether to record the values of the arguments.
    pub arguments: bool,
    /// Seals the lines.
    pub seal: Option<SealKey>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Reports that the log cannot be written.
    pub report_failure: Box<dyn Fn(AuditError) + Send>,
}

/// How long writing a line may take. After that the log counts as failed until the line is written.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// The audit log, with the calls that have no outcome yet.
pub struct Audit {
    calls: Calls,
    path: PathBuf,
    report_failure: Box<dyn Fn(AuditError) + Send>,
    orders: std::sync::mpsc::Sender<Order>,
    reports: mpsc::UnboundedReceiver<Option<AuditError>>,
    /// How many orders that have reports were sent to the writing thread, and how many reports came back.
    given: u64,
    reported: u64,
    /// Why the log cannot be written at present.
    failure: Option<AuditError>,
    /// The messages that wait for the report with this number, and since when the first one waits.
    waiting: VecDeque<(u64, Waiting)>,
    since: Instant,
}

/// A message that waits for the log.
#[derive(Debug)]
enum Waiting {
    Call(Message),
    /// A response to a call, or another message that tells the client how a task ended.
    Answer(Message),
}

/// A message that need not wait any longer.
#[derive(Debug)]
pub enum Released {
    /// A call for the server.
    Call(Message),
    /// A message for the client.
    Answer(Message),
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be appended to, is a link, is accessible to others, or is sealed and there is no key.
    pub fn open(options: AuditOptions) -> Result<Self, AuditError> {
        let mut log = Log::open(options.path.clone(), options.seal.clone())?;
        Self::with(options, move |order| log.carry_out(order))
    }

    /// A log whose orders `carry_out` carries out on a separate thread.
    fn with(
        options: AuditOptions,
        carry_out: impl FnMut(&Order) -> Result<(), AuditError> + Send + 'static,
    ) -> Result<Self, AuditError> {
        let (orders, received) = std::sync::mpsc::channel();
        let (report, reports) = mpsc::unbounded_channel();
        let writing =
            thread::Builder::new().name("audit".to_owned()).spawn(move || order::run(&received, &report, carry_out));
        writing.map_err(|error| AuditError(format!("could not start the log's thread: {error}")))?;
        let AuditOptions { path, profile, environment, arguments, seal: _, clock, report_failure } = options;
        Ok(Self {
            calls: Calls::new(Terms { profile, environment, arguments, clock }),
            path,
            report_failure,
            orders,
            reports,
            given: 0,
            reported: 0,
            failure: None,
            waiting: VecDeque::new(),
            since: Instant::now(),
        })
    }

    /// Observes a message from the client. Breaks if the message must not go on: a call that waits for the log and
    /// comes back as [`Released`], or one that cannot be recorded, with the response to send to the client if it gets
    /// one now.
    pub fn received(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        let is_call = message.method() == Some("tools/call");
        match &message.kind {
            Kind::Request { id, method } => {
                if is_call && self.failure.is_some() && !self.is_caught_up() {
                    return ControlFlow::Break(Some(self.refusal(id)));
                }
                self.calls.requested(id, method, message);
                self.give_orders();
                if is_call && self.failure.is_some() {
                    self.order(Order::TryAgain);
                }
                if is_call && !self.is_caught_up() {
                    self.queue(Waiting::Call(message.clone()));
                    return ControlFlow::Break(None);
                }
            }
            // A call sent as a notification would have no outcome, and MCP does not allow it.
            Kind::Notification { .. } if is_call => {
                self.calls.refused(message);
                self.give_orders();
                return ControlFlow::Break(None);
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                let Some(id) = message.cancels() else { return ControlFlow::Continue(()) };
                self.calls.cancelled(&id);
                self.give_orders();
                let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Call(call) if call.id() == Some(&id));
                let before = self.waiting.len();
                self.waiting.retain(|(_, waiting)| !is_it(waiting));
                if self.waiting.len() < before {
                    return ControlFlow::Break(None);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Observes a message to the client; returns it unless it has to wait for its line.
    pub fn answered(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        self.calls.answered(&message);
        self.give_orders();
        self.after_its_line(before, message)
    }

    /// The same for finmcp's own responses, for which no server has carried out the request.
    pub fn declined(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        self.calls.declined(&message);
        self.give_orders();
        self.after_its_line(before, message)
    }

    /// Returns when a waiting message may go on or the file has taken too long. Cancel-safe.
    pub async fn changed(&mut self) {
        tokio::select! {
            report = self.reports.recv() => match report {
                Some(report) => self.handle_report(report),
                None => {
                    self.reported = self.given;
                    self.fail(AuditError("the thread that writes the audit log has ended".to_owned()));
                }
            },
            () = sleep_until(self.since + WRITE_LIMIT), if self.failure.is_none() => {
                let path = self.path.display();
                self.fail(AuditError(format!("{path} has not accepted a line for {} s", WRITE_LIMIT.as_secs())));
            }
        }
    }

    /// Whether [`Audit::changed`] has something to wait for.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() || !self.is_caught_up()
    }

    /// How many bytes are waiting.
    pub fn bytes(&self) -> usize {
        let length = |(_, waiting): &(u64, Waiting)| match waiting {
            Waiting::Call(message) | Waiting::Answer(message) => message.raw().len(),
        };
        self.waiting.iter().map(length).sum()
    }

    /// Removes the messages whose lines are written, or cannot be.
    pub fn released(&mut self) -> Vec<Released> {
        while let Ok(report) = self.reports.try_recv() {
            self.handle_report(report);
        }
        let mut released = Vec::new();
        while let Some((_, waiting)) =
            self.waiting.pop_front_if(|(number, _)| *number <= self.reported || self.failure.is_some())
        {
            released.push(match waiting {
                Waiting::Call(call) if self.failure.is_none() => Released::Call(call),
                Waiting::Call(call) => {
                    let Some(id) = call.id() else { continue };
                    self.calls.forget(id);
                    self.give_orders();
                    Released::Answer(self.refusal(id))
                }
                Waiting::Answer(answer) => Released::Answer(answer),
            });
        }
        released
    }

    /// Removes all messages that still wait, because the conversation is ending.
    pub fn release_all(&mut self) -> Vec<Released> {
        if self.is_waited_for() && self.failure.is_none() {
            self.fail(AuditError(format!("{} has not accepted the last lines", self.path.display())));
        }
        self.released()
    }

    fn refusal(&self, id: &Id) -> Message {
        let why = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        reply::error(
            id,
            ReplyCode::Failure,
            &format!("finmcp calls no tool while it cannot write the audit log: {why}"),
        )
    }

    /// Whether every order has been reported on, even if it failed.
    fn is_caught_up(&self) -> bool {
        self.reported == self.given
    }

    fn give_orders(&mut self) {
        self.calls.take_orders().into_iter().for_each(|order| self.order(order));
    }

    fn order(&mut self, order: Order) {
        if order.has_report() {
            if self.is_caught_up() {
                self.since = Instant::now();
            }
            self.given += 1;
        }
        // If the thread has ended, no report will come: `changed` notices that.
        let _ = self.orders.send(order);
    }

    fn queue(&mut self, waiting: Waiting) {
        self.waiting.push_back((self.given, waiting));
    }

    fn handle_report(&mut self, failure: Option<AuditError>) {
        self.reported += 1;
        self.since = Instant::now();
        match failure {
            Some(error) => self.fail(error),
            None => self.failure = None,
        }
    }

    fn fail(&mut self, error: AuditError) {
        if self.failure.is_none() {
            (self.report_failure)(error.clone());
        }
        self.failure = Some(error);
    }

    /// Returns `message` at once if nothing was ordered for it since the order `before`, or if the log is failing;
    /// otherwise it waits for its line.
    fn after_its_line(&mut self, before: u64, message: Message) -> Option<Message> {
        if self.given == before || self.is_caught_up() || self.failure.is_some() {
            return Some(message);
        }
        self.queue(Waiting::Answer(message));
        None
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;
