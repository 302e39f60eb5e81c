//! The relay between a client on stdio and a server on Streamable HTTP, or on HTTP+SSE.
//!
//! [`conversation`] and the [`session`] below it decide, [`downstream`] and [`upstream`] carry; the loop here connects them.
//! Knows no OAuth: a `TokenSource` gives tokens.

pub mod control;
pub mod conversation;
pub mod reports;
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
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle, spawn_blocking},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    bridge::{
        control::{
            audit::{Audit, Released},
            label::Label,
            policy::Rules,
        },
        conversation::{
            Action, BACKLOG_LIMIT, Conversation, Event, Need,
            description::Description,
            reply::Words,
            session,
            session::{Exchange, Task},
            sign_in_tool::{Invitation, ShownBy, SignIn},
        },
        reports::{Report, Reports},
        stdio::{
            batch::Batches,
            downstream::{Line, Reader, Writer},
        },
        upstream::{Upstream, rate::gate::Turnstile},
    },
    credential::token_source::TokenSource,
    http::Http,
    mcp::{malformed::Malformed, message::Message},
    printable::quoted,
    server_url::ServerUrl,
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
    tokens: TokenSource,
    offer: Option<Offer>,
    description: watch::Sender<Option<Description>>,
    remembering: JoinHandle<()>,
    label: Option<Label>,
    audit: Option<Audit>,
    batches: Batches,
    reader: Reader,
    writer: Writer,
    events: mpsc::Receiver<Report>,
    reports: Reports,
    exchanges: HashMap<Exchange, AbortHandle>,
    farewells: Vec<JoinHandle<()>>,
    /// Who shows the page of the last sign-in that was begun here.
    shown_by: Option<watch::Sender<ShownBy>>,
    /// When the client is read on although too many of its bytes are under way; set while that is so.
    standstill: Option<Instant>,
    /// Waits for a sign-in that happens elsewhere.
    polling: Option<JoinHandle<()>>,
    /// Told whenever the client says something.
    heard: Arc<Notify>,
    /// When unanswered requests are given up; set once the client has closed its side.
    grace: Option<Instant>,
}

/// What a conversation is between, and its limits.
pub struct Ends {
    /// The server.
    pub server: ServerUrl,
    /// The way to it.
    pub http: Arc<Http>,
    /// What it is shown.
    pub tokens: TokenSource,
    /// How errors speak of it.
    pub words: Words,
    /// How long a request may take from one sign of life of the server to the next.
    pub deadline: Duration,
    /// What keeps to the server's limit of requests.
    pub turnstile: Turnstile,
    /// What the server said of itself some time before.
    pub remembered: Option<Description>,
    /// Keeps what it says now.
    pub remember: Remember,
    /// Begins a sign-in, where a client may have that done.
    pub offer: Option<Offer>,
    /// Which tools the client may see and call.
    pub rules: Rules,
    /// What shows the client which server it is.
    pub label: Option<Label>,
    /// What keeps account of the calls.
    pub audit: Option<Audit>,
}

/// Keeps what a server says of itself for the next conversation. Called in a task that may block.
pub type Remember = Arc<dyn Fn(&Description) + Send + Sync>;

/// Begins a sign-in, whose page is shown as the receiver says by now: the sender takes where a person does it; the outcome
/// is known when that is over, with the reason where it came to nothing.
pub type Offer = Arc<
    dyn Fn(watch::Receiver<ShownBy>, oneshot::Sender<Invitation>) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync,
>;

impl Bridge {
    /// A conversation with the client at the other end of `reader` and `writer`; nothing has been sent yet.
    pub fn new((reader, writer): (Reader, Writer), ends: Ends) -> Self {
        let (reports, events) = Reports::new();
        let upstream =
            Upstream::new(ends.server, ends.http, ends.tokens.clone(), ends.turnstile, ends.deadline, reports.clone());
        let (description, described) = watch::channel(None);
        let sign_in = SignIn::offered_if(ends.offer.is_some());
        Self {
            upstream: Arc::new(upstream),
            conversation: Conversation::new(ends.words, ends.remembered, sign_in, ends.rules),
            tokens: ends.tokens,
            offer: ends.offer,
            remembering: tokio::spawn(remember(described, ends.remember)),
            description,
            label: ends.label,
            audit: ends.audit,
            batches: Batches::new(upstream::MESSAGE_LIMIT),
            reader,
            writer,
            events,
            reports,
            exchanges: HashMap::new(),
            farewells: Vec::new(),
            shown_by: None,
            standstill: None,
            polling: None,
            heard: Arc::default(),
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
        drop(self.description);
        self.farewells.push(self.remembering);
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
                self.heard.notify_one();
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
                Action::SignIn(need, shown_by) => {
                    if let Some(offer) = self.offer.clone() {
                        let shown_by = self.shown_by.insert(watch::Sender::new(shown_by)).subscribe();
                        tokio::spawn(sign_in(offer, need, shown_by, self.tokens.clone(), self.reports.clone()));
                    }
                }
                Action::ShowSignIn => {
                    if let Some(shown_by) = &self.shown_by {
                        shown_by.send_replace(ShownBy::Browser);
                    }
                }
                Action::Watch => {
                    if self.polling.as_ref().is_none_or(JoinHandle::is_finished) {
                        let polling = poll_sign_in(self.tokens.clone(), self.heard.clone(), self.reports.clone());
                        self.polling = Some(tokio::spawn(polling));
                    }
                }
                Action::Remember(description) => {
                    self.description.send_replace(Some(*description));
                }
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

/// Keeps what the server says of itself, the latest last.
async fn remember(mut described: watch::Receiver<Option<Description>>, remember: Remember) {
    while described.changed().await.is_ok() {
        let latest = described.borrow_and_update().clone();
        let remember = remember.clone();
        let _ = spawn_blocking(move || latest.iter().for_each(|description| remember(description))).await;
    }
}

/// Reports `event` after a while.
async fn later(after: Duration, event: Event, reports: Reports) {
    sleep(after).await;
    let _ = reports.send(event, 0).await;
}

/// Has a person sign in, unless somebody has done so meanwhile.
async fn sign_in(offer: Offer, need: Need, shown_by: watch::Receiver<ShownBy>, tokens: TokenSource, reports: Reports) {
    if need == Need::Any && tokens.is_signed_in().await {
        let _ = reports.send(Event::SignedIn, 0).await;
        return;
    }
    let (tell, told) = oneshot::channel();
    let invited = async {
        if let Ok(invitation) = told.await {
            let _ = reports.send(Event::SignInOffered(invitation), 0).await;
        }
    };
    let (outcome, ()) = tokio::join!(offer(shown_by, tell), invited);
    let event = outcome.map_or_else(Event::SignInFailed, |()| Event::SignedIn);
    let _ = reports.send(event, 0).await;
}

/// Reports when somebody is signed in, by whatever process. Until then it looks at the times of two files, as soon as the
/// client is heard of, and more and more rarely while it is not: the store is asked only when these have changed.
async fn poll_sign_in(tokens: TokenSource, heard: Arc<Notify>, reports: Reports) {
    const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
    let mut pause = PAUSES.0;
    let mut trace = tokens.trace().await;
    while !tokens.is_signed_in().await {
        loop {
            sleep(PAUSES.0).await;
            let is_heard = timeout(pause - PAUSES.0, heard.notified()).await.is_ok();
            pause = if is_heard { PAUSES.0 } else { (pause * 3 / 2).min(PAUSES.1) };
            let now = tokens.trace().await;
            if now != trace {
                trace = now;
                break;
            }
        }
    }
    let _ = reports.send(Event::SignedIn, 0).await;
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
