//! The relay between a client on stdio and a server over Streamable HTTP or HTTP+SSE.
//!
//! [`Conversation`] decides; [`stdio`] and [`upstream`] do the I/O; the loop here connects them: events in, actions
//! out. It knows no OAuth: a `TokenSource` supplies tokens.

pub mod control;
mod ends;
mod memory;
pub mod reports;
mod sign_ins;
pub mod stdio;
pub mod upstream;

use std::{
    collections::HashMap,
    future::pending,
    io,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, sleep_until, timeout},
};

pub use crate::bridge::ends::{Ends, Offer, Remember};
use crate::{
    bridge::{
        control::{
            audit::{Audit, Released},
            label::Label,
        },
        memory::Memory,
        reports::{Report, Reports},
        sign_ins::SignIns,
        stdio::{
            batch::Batches,
            downstream::{Line, Reader, Writer},
        },
        upstream::Upstream,
    },
    conversation::{
        Action, BACKLOG_LIMIT, Conversation, Event,
        session::{self, Exchange, Task},
        sign_in_tool::SignIn,
    },
    mcp::{malformed::Malformed, message::Message},
    printable::quoted,
};

/// How long responses may still take after the client has closed its side. The whole shutdown stays under two seconds.
const GRACE: Duration = Duration::from_millis(1200);

/// How long the server may take to delete the session.
const SESSION_END_LIMIT: Duration = Duration::from_millis(400);

/// How long the audit log may take to write its last lines.
const AUDIT_LIMIT: Duration = Duration::from_millis(300);

/// How long the client's messages wait for the GET stream to open.
const STREAM_HOLD: Duration = Duration::from_secs(1);

/// How many client messages may be in flight or queued; beyond that, finmcp stops reading from the client. Far more
/// than a client sends at once, because a response to the server, a cancellation or the end of input may come behind
/// them.
const READ_AHEAD_LIMIT: usize = 1 << 16;

/// How long finmcp stops reading from a client whose in-flight messages use all the memory allowed. After that it
/// reads on and refuses large requests, because the requests in flight may depend on what the client sends next.
const READ_PAUSE_LIMIT: Duration = Duration::from_secs(5);

/// How many bytes may wait for the client; beyond that, finmcp stops reading from the server.
const WAITING_LIMIT: usize = 1 << 20;

/// How many bytes may wait for the client before finmcp also stops reading from it: these are finmcp's own error
/// responses.
const REFUSALS_LIMIT: usize = 16 * WAITING_LIMIT;

/// One relayed conversation.
pub struct Bridge {
    upstream: Arc<Upstream>,
    conversation: Conversation,
    sign_ins: SignIns,
    memory: Memory,
    label: Option<Label>,
    audit: Option<Audit>,
    batches: Batches,
    reader: Reader,
    writer: Writer,
    events: mpsc::Receiver<Report>,
    reports: Reports,
    exchanges: HashMap<Exchange, AbortHandle>,
    closing_tasks: Vec<JoinHandle<()>>,
    /// Until when finmcp does not read from the client; set while too many of its bytes are in flight.
    read_pause: Option<Instant>,
    /// When finmcp gives up on unanswered requests; set once the client has closed its side.
    grace: Option<Instant>,
}

impl Bridge {
    /// A conversation over `reader` and `writer`; nothing has been sent yet.
    pub fn new((reader, writer): (Reader, Writer), ends: Ends) -> Self {
        let (reports, events) = Reports::new();
        let upstream = Upstream::new(
            ends.server,
            ends.headers,
            ends.http,
            ends.tokens.clone(),
            ends.rate_gate,
            ends.deadline,
            reports.clone(),
        );
        let sign_in = SignIn::new(ends.offer.is_some());
        Self {
            upstream: Arc::new(upstream),
            conversation: Conversation::new(ends.labels, ends.remembered, sign_in, ends.rules)
                .declaring(ends.extension),
            sign_ins: SignIns::new(ends.tokens, ends.offer, reports.clone()),
            memory: Memory::new(ends.remember),
            label: ends.label,
            audit: ends.audit,
            batches: Batches::new(upstream::MESSAGE_LIMIT),
            reader,
            writer,
            events,
            reports,
            exchanges: HashMap::new(),
            closing_tasks: Vec::new(),
            read_pause: None,
            grace: None,
        }
    }

    /// Relays until the client closes its side or exits, or `stop` returns; then responds to every unanswered request
    /// and ends the server's session.
    ///
    /// # Errors
    /// An I/O error on the client's side, unless it only means that the client is gone.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let outcome = self.relay(pin!(stop)).await;
        self.handle(Event::Stopping);
        self.finish_audit().await;
        for exchange in self.exchanges.into_values() {
            exchange.abort();
        }
        self.closing_tasks.push(self.memory.close());
        let _ = timeout(SESSION_END_LIMIT, join_all(self.closing_tasks)).await;
        match outcome {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            outcome => outcome,
        }
    }

    async fn relay(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> io::Result<()> {
        loop {
            let has_capacity = self.writer.waiting() < WAITING_LIMIT;
            let is_full = self.conversation.backlog() + self.audit.as_ref().map_or(0, Audit::bytes) >= BACKLOG_LIMIT;
            let read_pause = is_full.then(|| *self.read_pause.get_or_insert_with(|| Instant::now() + READ_PAUSE_LIMIT));
            self.read_pause = read_pause;
            let is_paused = read_pause.is_some_and(|end| Instant::now() < end);
            let reading = self.grace.is_none()
                && !is_paused
                && self.conversation.in_flight() < READ_AHEAD_LIMIT
                && self.writer.waiting() < REFUSALS_LIMIT;
            let grace = self.grace;
            let event = tokio::select! {
                biased;
                () = &mut stop => Event::Stopping,
                () = until(grace) => Event::Stopping,
                () = until(read_pause), if is_paused => continue,
                written = self.writer.write(), if self.writer.waiting() > 0 => {
                    written?;
                    continue;
                }
                () = audit_changed(&mut self.audit) => {
                    if self.continue_released() == Flow::Ended {
                        return self.flush_last_messages().await;
                    }
                    continue;
                }
                Some(report) = self.events.recv(), if has_capacity => report.event,
                line = self.reader.next(), if reading => match line? {
                    Some(Line::Message(message)) => {
                        let answers = self.batches.received(&message);
                        self.push(answers);
                        Event::Received(message)
                    }
                    Some(Line::Batch(line)) => match self.open_batch(&line) {
                        Ok(()) => continue,
                        Err(malformed) => Event::Malformed(malformed),
                    },
                    Some(Line::Malformed(malformed)) => Event::Malformed(malformed),
                    None => {
                        self.grace = Some(Instant::now() + GRACE);
                        Event::Closed
                    }
                },
            };
            if self.handle(event) == Flow::Ended || self.handle_ready_reports() == Flow::Ended {
                return self.flush_last_messages().await;
            }
            // Write what the client takes without waiting at once, instead of after another round of the loop.
            if self.writer.waiting() > 0
                && let Some(written) = self.writer.write().now_or_never()
            {
                written?;
            }
        }
    }

    /// Handles the reports that are already there, so that their messages are written together.
    fn handle_ready_reports(&mut self) -> Flow {
        while self.writer.waiting() < WAITING_LIMIT {
            let Ok(report) = self.events.try_recv() else { break };
            if self.handle(report.event) == Flow::Ended {
                return Flow::Ended;
            }
        }
        Flow::Continue
    }

    /// Writes what still has to go to the client. The time is limited, because the client may be gone or may have
    /// stopped reading.
    async fn flush_last_messages(&mut self) -> io::Result<()> {
        self.finish_audit().await;
        timeout(SESSION_END_LIMIT, self.writer.flush()).await.unwrap_or(Ok(()))
    }

    /// Gives the audit log time to write its lines.
    async fn finish_audit(&mut self) {
        let written = async {
            while self.audit.as_ref().is_some_and(Audit::is_waited_for) {
                audit_changed(&mut self.audit).await;
                self.continue_released();
            }
        };
        let _ = timeout(AUDIT_LIMIT, written).await;
        let left = self.audit.as_mut().map(Audit::release_all).unwrap_or_default();
        self.release(left);
    }

    /// Continues with the messages that waited for the audit log.
    fn continue_released(&mut self) -> Flow {
        let released = self.audit.as_mut().map(Audit::released).unwrap_or_default();
        self.release(released)
    }

    fn release(&mut self, released: Vec<Released>) -> Flow {
        let mut flow = Flow::Continue;
        for released in released {
            match released {
                Released::Call(call) => {
                    if self.carry_out(Event::Received(call)) == Flow::Ended {
                        flow = Flow::Ended;
                    }
                }
                Released::Answer(message) => {
                    write(&mut self.writer, &mut self.batches, labelled(self.label.as_mut(), message))
                }
            }
        }
        flow
    }

    fn handle(&mut self, event: Event) -> Flow {
        match &event {
            Event::Network(session::Event::Finished(exchange, _)) => drop(self.exchanges.remove(exchange)),
            Event::Received(message) => {
                self.sign_ins.client_active();
                tracing::debug!(
                    method = message.method().map(quoted),
                    bytes = message.raw().len(),
                    "received from the client"
                );
                if let ControlFlow::Break(answer) = self.observe(message) {
                    answer.into_iter().for_each(|answer| write(&mut self.writer, &mut self.batches, answer));
                    return Flow::Continue;
                }
            }
            _ => {}
        }
        self.carry_out(event)
    }

    /// Passes `event` to the conversation and carries out the actions it returns.
    fn carry_out(&mut self, event: Event) -> Flow {
        let mut flow = Flow::Continue;
        for action in self.conversation.handle(event) {
            match action {
                Action::Do(Task::Switch(transport)) => self.upstream = Arc::new(self.upstream.over(transport)),
                Action::Do(Task::Post(exchange, message, headers)) => {
                    let task = tokio::spawn(Arc::clone(&self.upstream).post(exchange, message, headers));
                    self.exchanges.insert(exchange, task.abort_handle());
                }
                Action::Do(Task::Listen(exchange, headers)) => {
                    let task = tokio::spawn(Arc::clone(&self.upstream).listen(exchange, headers));
                    self.exchanges.insert(exchange, task.abort_handle());
                }
                Action::Do(Task::HoldFor(exchange)) => {
                    tokio::spawn(report_later(
                        STREAM_HOLD,
                        session::Event::HoldExpired(exchange).into(),
                        self.reports.clone(),
                    ));
                }
                Action::Do(Task::Cancel(exchange)) => {
                    if let Some(task) = self.exchanges.remove(&exchange) {
                        task.abort();
                    }
                }
                Action::Do(Task::Delete(headers)) => {
                    self.closing_tasks.push(tokio::spawn(Arc::clone(&self.upstream).delete(headers)));
                }
                Action::Do(Task::Stop) => flow = Flow::Ended,
                Action::Write(message) => {
                    let message = match &mut self.audit {
                        Some(audit) => audit.answered(message),
                        None => Some(message),
                    };
                    if let Some(message) = message {
                        write(&mut self.writer, &mut self.batches, labelled(self.label.as_mut(), message));
                    }
                }
                Action::Decline(message) => {
                    let message = match &mut self.audit {
                        Some(audit) => audit.declined(message),
                        None => Some(message),
                    };
                    if let Some(message) = message {
                        write(&mut self.writer, &mut self.batches, labelled(self.label.as_mut(), message));
                    }
                }
                Action::Wake(alarm, after) => {
                    tokio::spawn(report_later(after, Event::Woken(alarm), self.reports.clone()));
                }
                Action::SignIn(need, shown_by) => self.sign_ins.begin(need, shown_by),
                Action::ShowSignIn => self.sign_ins.show(),
                Action::Watch => self.sign_ins.watch(),
                Action::Remember(description) => self.memory.learn(*description),
            }
        }
        flow
    }

    /// Handles the messages of a batch one by one.
    fn open_batch(&mut self, line: &Bytes) -> Result<(), Malformed> {
        let (messages, answers) = self.batches.open(line)?;
        self.push(answers);
        for message in messages {
            self.handle(Event::Received(message));
        }
        Ok(())
    }

    fn push(&mut self, line: Option<Bytes>) {
        line.into_iter().for_each(|line| self.writer.push(line));
    }

    /// Shows a client's message to the label and the audit log. Breaks if the message must not go on, with the
    /// response to send to the client, if it gets one now.
    fn observe(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        self.label.iter_mut().for_each(|label| label.received(message));
        self.audit.as_mut().map_or(ControlFlow::Continue(()), |audit| audit.received(message))
    }
}

/// Adds the label to `message` if it describes the server.
fn labelled(label: Option<&mut Label>, message: Message) -> Message {
    match label {
        Some(label) => label.apply(message),
        None => message,
    }
}

/// Writes `message` to the client; the last response of a batch writes the whole batch.
fn write(writer: &mut Writer, batches: &mut Batches, message: Message) {
    batches.answered(message).into_iter().for_each(|line| writer.push(line));
}

/// Returns when the audit log has progressed; never, if nothing waits for it.
async fn audit_changed(audit: &mut Option<Audit>) {
    match audit {
        Some(audit) if audit.is_waited_for() => audit.changed().await,
        _ => pending().await,
    }
}

/// Reports `event` after a delay.
async fn report_later(after: Duration, event: Event, reports: Reports) {
    sleep(after).await;
    let _ = reports.send(event, 0).await;
}

#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Ended,
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
