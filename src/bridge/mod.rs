//! The relay between a client on stdio and a server on Streamable HTTP, or on HTTP+SSE.
//!
//! [`conversation`] decides, [`stdio`] and [`upstream`] carry; the loop here connects them: events in, actions out.
//! Knows no OAuth: a `TokenSource` gives tokens.

pub mod control;
pub mod conversation;
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
        conversation::{
            Action, BACKLOG_LIMIT, Conversation, Event, session,
            session::{Exchange, Task},
            sign_in_tool::SignIn,
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
    mcp::{malformed::Malformed, message::Message},
    printable::quoted,
};

/// How long an answer may still take once the client has closed its side. All endings together stay under two seconds.
const GRACE: Duration = Duration::from_millis(1200);

/// How long the server may take to end the session.
const FAREWELL: Duration = Duration::from_millis(400);

/// How long the log of the calls may take for its last lines.
const LAST_LINES: Duration = Duration::from_millis(300);

/// How long messages wait for the GET stream to open.
const HOLD: Duration = Duration::from_secs(1);

/// How many messages of the client may be under way or waiting for it; then no more are read. Far more than are sent at once: an answer to
/// the server, a cancellation or the end may stand behind them.
const READ_AHEAD_LIMIT: usize = 1 << 16;

/// How long the client may be kept waiting for room, once as many bytes of it are under way as may be. Then it is read on,
/// and large requests are refused: what is under way may wait for what the client says next.
const STANDSTILL: Duration = Duration::from_secs(5);

/// How many bytes may wait for the client; then no more are taken from the server.
const WAITING_LIMIT: usize = 1 << 20;

/// How many bytes may wait for the client; then no more are read from it either: they are refusals of ours, of what it sends.
const REFUSALS_LIMIT: usize = 16 * WAITING_LIMIT;

/// One conversation.
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
    farewells: Vec<JoinHandle<()>>,
    /// When the client is read on although too many of its bytes are under way; set while that is so.
    standstill: Option<Instant>,
    /// When unanswered requests are given up; set once the client has closed its side.
    grace: Option<Instant>,
}

impl Bridge {
    /// A conversation with the client at the other end of `reader` and `writer`; nothing has been sent yet.
    pub fn new((reader, writer): (Reader, Writer), ends: Ends) -> Self {
        let (reports, events) = Reports::new();
        let upstream = Upstream::new(
            ends.server,
            ends.headers,
            ends.http,
            ends.tokens.clone(),
            ends.turnstile,
            ends.deadline,
            reports.clone(),
        );
        let sign_in = SignIn::offered_if(ends.offer.is_some());
        Self {
            upstream: Arc::new(upstream),
            conversation: Conversation::new(ends.words, ends.remembered, sign_in, ends.rules),
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
            farewells: Vec::new(),
            standstill: None,
            grace: None,
        }
    }

    /// Relays until the client closes its side or goes away, or `stop` returns; then answers what is unanswered and ends
    /// the server's session.
    ///
    /// # Errors
    /// What the system says of the client's side, except that the client is gone.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let outcome = self.relay(pin!(stop)).await;
        self.take(Event::Stopping);
        self.settle_audit().await;
        for exchange in self.exchanges.into_values() {
            exchange.abort();
        }
        self.farewells.push(self.memory.close());
        let _ = timeout(FAREWELL, join_all(self.farewells)).await;
        match outcome {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            outcome => outcome,
        }
    }

    async fn relay(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> io::Result<()> {
        loop {
            let room = self.writer.waiting() < WAITING_LIMIT;
            let is_full = self.conversation.backlog() + self.audit.as_ref().map_or(0, Audit::bytes) >= BACKLOG_LIMIT;
            let standstill = is_full.then(|| *self.standstill.get_or_insert_with(|| Instant::now() + STANDSTILL));
            self.standstill = standstill;
            let is_held_up = standstill.is_some_and(|end| Instant::now() < end);
            let reading = self.grace.is_none()
                && !is_held_up
                && self.conversation.in_flight() < READ_AHEAD_LIMIT
                && self.writer.waiting() < REFUSALS_LIMIT;
            let grace = self.grace;
            let event = tokio::select! {
                biased;
                () = &mut stop => Event::Stopping,
                () = until(grace) => Event::Stopping,
                () = until(standstill), if is_held_up => continue,
                written = self.writer.write(), if self.writer.waiting() > 0 => {
                    written?;
                    continue;
                }
                () = changed(&mut self.audit) => {
                    if self.take_up() == Flow::Ended {
                        return self.farewell().await;
                    }
                    continue;
                }
                Some(report) = self.events.recv(), if room => report.event,
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
            if self.take(event) == Flow::Ended || self.take_what_is_ready() == Flow::Ended {
                return self.farewell().await;
            }
            // Whatever the client takes at once goes out in one piece, without another round of the loop.
            if self.writer.waiting() > 0
                && let Some(written) = self.writer.write().now_or_never()
            {
                written?;
            }
        }
    }

    /// Handles what has come meanwhile, so that it is written together.
    fn take_what_is_ready(&mut self) -> Flow {
        while self.writer.waiting() < WAITING_LIMIT {
            let Ok(report) = self.events.try_recv() else { break };
            if self.take(report.event) == Flow::Ended {
                return Flow::Ended;
            }
        }
        Flow::On
    }

    /// Writes what the client is still to be told. It may be gone, or not be reading any more: then there is nobody to
    /// finish for.
    async fn farewell(&mut self) -> io::Result<()> {
        self.settle_audit().await;
        timeout(FAREWELL, self.writer.flush()).await.unwrap_or(Ok(()))
    }

    /// Gives the log of the calls the time to be written.
    async fn settle_audit(&mut self) {
        let written = async {
            while self.audit.as_ref().is_some_and(Audit::is_waited_for) {
                changed(&mut self.audit).await;
                self.take_up();
            }
        };
        let _ = timeout(LAST_LINES, written).await;
        let left = self.audit.as_mut().map(Audit::abandoned).unwrap_or_default();
        self.go_on(left);
    }

    /// Goes on with what has waited for the log of the calls.
    fn take_up(&mut self) -> Flow {
        let released = self.audit.as_mut().map(Audit::released).unwrap_or_default();
        self.go_on(released)
    }

    fn go_on(&mut self, released: Vec<Released>) -> Flow {
        let mut flow = Flow::On;
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

    fn take(&mut self, event: Event) -> Flow {
        match &event {
            Event::Network(session::Event::Finished(exchange, _)) => drop(self.exchanges.remove(exchange)),
            Event::Received(message) => {
                self.sign_ins.client_spoke();
                tracing::debug!(method = message.method().map(quoted), bytes = message.raw().len(), "the client says");
                if let ControlFlow::Break(answer) = self.hear(message) {
                    answer.into_iter().for_each(|answer| write(&mut self.writer, &mut self.batches, answer));
                    return Flow::On;
                }
            }
            _ => {}
        }
        self.carry_out(event)
    }

    /// Has the conversation take `event` in, and does what it wants done.
    fn carry_out(&mut self, event: Event) -> Flow {
        let mut flow = Flow::On;
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
                    tokio::spawn(later(HOLD, session::Event::HoldExpired(exchange).into(), self.reports.clone()));
                }
                Action::Do(Task::Cancel(exchange)) => {
                    if let Some(task) = self.exchanges.remove(&exchange) {
                        task.abort();
                    }
                }
                Action::Do(Task::Delete(headers)) => {
                    self.farewells.push(tokio::spawn(Arc::clone(&self.upstream).delete(headers)));
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
                    tokio::spawn(later(after, Event::Woken(alarm), self.reports.clone()));
                }
                Action::SignIn(need, shown_by) => self.sign_ins.begin(need, shown_by),
                Action::ShowSignIn => self.sign_ins.show(),
                Action::Watch => self.sign_ins.watch(),
                Action::Remember(description) => self.memory.learn(*description),
            }
        }
        flow
    }

    /// Takes the messages of a batch one by one.
    fn open_batch(&mut self, line: &Bytes) -> Result<(), Malformed> {
        let (messages, answers) = self.batches.opened(line)?;
        self.push(answers);
        for message in messages {
            self.take(Event::Received(message));
        }
        Ok(())
    }

    fn push(&mut self, line: Option<Bytes>) {
        line.into_iter().for_each(|line| self.writer.push(line));
    }

    /// Takes note of what the client says, which goes no further where this breaks off: then it is answered so, if it waits
    /// for an answer.
    fn hear(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        self.label.iter_mut().for_each(|label| label.received(message));
        self.audit.as_mut().map_or(ControlFlow::Continue(()), |audit| audit.received(message))
    }
}

/// `message` with the label, where it says who the server is.
fn labelled(label: Option<&mut Label>, message: Message) -> Message {
    match label {
        Some(label) => label.put_on(message),
        None => message,
    }
}

/// Writes `message` to the client, or all the responses to its batch when it is the last.
fn write(writer: &mut Writer, batches: &mut Batches, message: Message) {
    batches.answered(message).into_iter().for_each(|line| writer.push(line));
}

/// Returns when the log of the calls has got on; never, where nothing waits for it.
async fn changed(audit: &mut Option<Audit>) {
    match audit {
        Some(audit) if audit.is_waited_for() => audit.changed().await,
        _ => pending().await,
    }
}

/// Reports `event` after a while.
async fn later(after: Duration, event: Event, reports: Reports) {
    sleep(after).await;
    let _ = reports.send(event, 0).await;
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Ended,
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
