//! The requests that wait for their responses on an HTTP+SSE stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    bridge::upstream::deadline::Deadline,
    conversation::{
        failure::Failure,
        session::{Ending, Exchange},
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
    },
};

/// The requests that wait on one stream.
pub(super) struct PendingRequests {
    state: Mutex<State>,
}

struct State {
    awaited: HashMap<Id, Pending>,
    /// Whether the stream has ended, so that nothing more will come.
    over: bool,
}

/// The exchange that a response belongs to, and where to signal that the response has been passed on.
pub(super) type Waiter = (Exchange, oneshot::Sender<Result<(), Failure>>);

struct Pending {
    exchange: Exchange,
    /// Anything on the stream moves it, even a comment: a comment does not say which request it is about.
    deadline: Deadline,
    /// Signals that the response has been passed on, or why there is none. Processed as soon as the response has come.
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// A request that waits for its response. Dropping it ends the wait.
pub(super) struct PendingResponse {
    answers: Arc<PendingRequests>,
    id: Id,
    exchange: Exchange,
    idle: Duration,
    done: oneshot::Receiver<Result<(), Failure>>,
}

impl PendingRequests {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { awaited: HashMap::new(), over: false }) }
    }

    /// Waits for the response to `message`, if that is a request. `idle` may pass from one message of the server to
    /// the next.
    pub(super) fn expect(
        self: &Arc<Self>,
        message: &Message,
        exchange: Exchange,
        idle: Duration,
    ) -> Option<PendingResponse> {
        let Kind::Request { id, .. } = &message.kind else { return None };
        let (sender, done) = oneshot::channel();
        let mut state = self.locked();
        if !state.over {
            let deadline = Deadline::new(idle);
            state.awaited.insert(id.clone(), Pending { exchange, deadline, done: Some(sender) });
        }
        drop(state);
        Some(PendingResponse { answers: self.clone(), id: id.clone(), exchange, idle, done })
    }

    /// Takes the exchange that waits for the response with this id. Some servers return an id of another JSON type; it
    /// matches if it can be meant for one request only.
    pub(super) fn take(&self, id: Option<&Id>) -> Option<Waiter> {
        let (id, mut state) = (id?, self.locked());
        if let Some(awaited) = state.awaited.get_mut(id) {
            return Some((awaited.exchange, awaited.done.take()?));
        }
        let alike = state.awaited.iter_mut().filter(|(asked, awaited)| asked.resembles(id) && awaited.done.is_some());
        let mut alike = alike.map(|(_, awaited)| awaited);
        let awaited = alike.next().filter(|_| alike.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    /// Takes the exchange that waits, if there is exactly one, whatever id the response has.
    pub(super) fn take_only(&self) -> Option<Waiter> {
        let mut state = self.locked();
        let mut waiting = state.awaited.values_mut().filter(|awaited| awaited.done.is_some());
        let awaited = waiting.next().filter(|_| waiting.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    pub(super) fn observe(&self, message: &Message) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.observe(message));
    }

    pub(super) fn alive(&self) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.alive());
    }

    /// The stream has ended: every waiting request fails with the reason.
    pub(super) fn end(&self, failure: &Failure) {
        let mut state = self.locked();
        state.over = true;
        for (_, awaited) in state.awaited.extract_if(|_, awaited| awaited.done.is_some()) {
            let why = match failure {
                Failure::Malformed => Failure::Malformed,
                Failure::TooLarge { limit } => Failure::TooLarge { limit: *limit },
                _ => Failure::Cut,
            };
            let _ = awaited.done.map(|done| done.send(Err(why)));
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.locked().over
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingResponse {
    /// Whether the response has come, even if it has not been passed on yet.
    pub(super) fn is_there(&self) -> bool {
        let state = self.answers.locked();
        state.awaited.get(&self.id).is_some_and(|awaited| awaited.exchange == self.exchange && awaited.done.is_none())
    }

    /// Waits until the response has been passed on, as long as a [`Deadline`] allows, counted from when the server
    /// accepted the request. Once the response has come, the client may take any time to read it.
    pub(super) async fn wait(mut self) -> Ending {
        if let Some(awaited) = self.answers.locked().awaited.get_mut(&self.id) {
            awaited.deadline.alive();
        }
        loop {
            let end = self.end();
            if end <= Instant::now() {
                return Ending::Failed(Failure::TimedOut { seconds: self.idle.as_secs() });
            }
            match timeout_at(end, &mut self.done).await {
                Ok(Ok(Ok(()))) => return Ending::Complete,
                Ok(Ok(Err(failure))) => return Ending::Failed(failure),
                Ok(Err(_)) => return Ending::Failed(Failure::Cut),
                Err(_) => {} // the deadline may have moved meanwhile
            }
        }
    }

    /// The current end of the wait.
    fn end(&self) -> Instant {
        let state = self.answers.locked();
        let awaited = state.awaited.get(&self.id).filter(|awaited| awaited.done.is_some());
        awaited.map_or_else(Deadline::never, |awaited| awaited.deadline).end()
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        let mut state = self.answers.locked();
        if state.awaited.get(&self.id).is_some_and(|awaited| awaited.exchange == self.exchange) {
            state.awaited.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn request(id: u64) -> Message {
        Message::request(Id::own(id), "tools/call", "{}")
    }

    /// The requests of a stream, and the first of them, in exchange 7.
    fn answers() -> (Arc<PendingRequests>, PendingResponse) {
        let answers = Arc::new(PendingRequests::new());
        let answer = answers.expect(&request(1), 7, IDLE).unwrap();
        (answers, answer)
    }

    /// Takes the response to request `id`, if that waits, and passes it on.
    fn pass_on(answers: &PendingRequests, id: u64) -> Option<Exchange> {
        let (exchange, done) = answers.take(Some(&Id::own(id)))?;
        done.send(Ok(())).unwrap();
        Some(exchange)
    }

    /// t105: a response goes to the exchange that waits for it, once, and only while it waits.
    #[tokio::test]
    async fn t105_a_response_goes_to_the_exchange_that_waits_for_it() {
        let (answers, answer) = answers();
        assert!(answers.expect(&Message::notification("x", "{}"), 8, IDLE).is_none());
        assert_eq!((pass_on(&answers, 2), answers.take(None).is_none()), (None, true));
        assert!(!answer.is_there());
        assert_eq!(pass_on(&answers, 1), Some(7));
        assert!(answer.is_there());
        assert_eq!(pass_on(&answers, 1), None);
        assert!(matches!(answer.wait().await, Ending::Complete));
        drop(answers.expect(&request(2), 8, IDLE));
        assert_eq!(pass_on(&answers, 2), None);
        assert!(answers.locked().awaited.is_empty());
    }

    #[tokio::test]
    async fn requests_that_wait_when_the_stream_ends_fail_with_the_reason() {
        for (failure, text) in [
            (Failure::Malformed, "not a JSON-RPC message"),
            (Failure::TooLarge { limit: 1 << 20 }, "1 MiB"),
            (Failure::Cut, "without a JSON-RPC response"),
        ] {
            let (answers, answer) = answers();
            let answered = answers.expect(&request(2), 8, IDLE).unwrap();
            pass_on(&answers, 2);
            answers.end(&failure);
            assert!(!answer.is_there());
            assert!(answered.is_there());
            assert!(matches!(answered.wait().await, Ending::Complete));
            assert!(matches!(answer.wait().await, Ending::Failed(failure) if failure.to_string().contains(text)));
            let late = answers.expect(&request(3), 9, IDLE).unwrap();
            assert!(matches!(late.wait().await, Ending::Failed(Failure::Cut)));
        }
    }

    fn progress() -> Message {
        Message::notification("notifications/progress", "{}")
    }

    /// t128: the wait lasts from one message of the server to the next, up to a total limit.
    #[tokio::test(start_paused = true)]
    async fn t128_the_wait_lasts_while_the_server_sends_messages() {
        for (messages, seconds) in [(0, 10), (3, 27 + 10), (40, 12 * 10)] {
            let begun = Instant::now();
            let (answers, answer) = answers();
            let waiting = tokio::spawn(answer.wait());
            for _ in 0..messages {
                tokio::time::sleep(Duration::from_secs(9)).await;
                if waiting.is_finished() {
                    break;
                }
                answers.observe(&progress());
            }
            let ending = waiting.await.unwrap();
            let elapsed = begun.elapsed();
            assert!(matches!(ending, Ending::Failed(Failure::TimedOut { seconds: 10 })), "{ending:?}");
            assert!((seconds..seconds + 9).contains(&elapsed.as_secs()), "{messages}: {elapsed:?}");
        }
    }

    /// t128: the time before the server accepts the request does not count; a user who is asked has longer.
    #[tokio::test(start_paused = true)]
    async fn t128_a_user_may_think_about_a_question() {
        let (answers, answer) = answers();
        tokio::time::sleep(Duration::from_secs(9)).await;
        let waiting = tokio::spawn(answer.wait());
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!waiting.is_finished());
        answers.observe(&Message::request(Id::named("q"), "elicitation/create", "{}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        answers.observe(&progress());
        tokio::time::sleep(Duration::from_secs(3000)).await;
        assert!(!waiting.is_finished());
        pass_on(&answers, 1);
        assert!(matches!(waiting.await.unwrap(), Ending::Complete));
    }

    /// The client may take any time to read a response that has come.
    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_come_does_not_time_out() {
        let (answers, answer) = answers();
        let waiting = tokio::spawn(answer.wait());
        tokio::time::sleep(Duration::from_secs(9)).await;
        let (_, done) = answers.take(Some(&Id::own(1))).unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!waiting.is_finished());
        done.send(Ok(())).unwrap();
        assert!(matches!(waiting.await.unwrap(), Ending::Complete));
    }
}
