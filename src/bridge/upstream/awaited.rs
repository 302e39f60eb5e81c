//! The answers that are to come on an HTTP+SSE stream, and who waits for them.

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
    bridge::{
        conversation::{
            failure::Failure,
            session::{Ending, Exchange},
        },
        upstream::deadline::Deadline,
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
    },
};

/// The answers that are to come on a stream.
pub(super) struct Answers {
    state: Mutex<State>,
}

struct State {
    awaited: HashMap<Id, Awaited>,
    /// Nothing more will come.
    over: bool,
}

/// An exchange that an answer is for, and who is told that it has been passed on.
pub(super) type Asked = (Exchange, oneshot::Sender<Result<(), Failure>>);

struct Awaited {
    exchange: Exchange,
    /// Whatever comes on the stream moves it, be it a comment: it cannot be told which request that is about.
    deadline: Deadline,
    /// Takes note that the answer has been passed on, or why there is none. Gone as soon as the answer is there.
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// The answer to one request, which nobody waits for once this is dropped.
pub(super) struct AwaitedAnswer {
    answers: Arc<Answers>,
    id: Id,
    exchange: Exchange,
    idle: Duration,
    done: oneshot::Receiver<Result<(), Failure>>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { awaited: HashMap::new(), over: false }) }
    }

    /// The answer to come for `message`, where that is a request; it may take `idle` from one message of the server to
    /// the next.
    pub(super) fn expect(
        self: &Arc<Self>,
        message: &Message,
        exchange: Exchange,
        idle: Duration,
    ) -> Option<AwaitedAnswer> {
        let Kind::Request { id, .. } = &message.kind else { return None };
        let (sender, done) = oneshot::channel();
        let mut state = self.locked();
        if !state.over {
            let deadline = Deadline::new(idle);
            state.awaited.insert(id.clone(), Awaited { exchange, deadline, done: Some(sender) });
        }
        drop(state);
        Some(AwaitedAnswer { answers: self.clone(), id: id.clone(), exchange, idle, done })
    }

    /// The exchange that waits for the answer with this id; the answer is there now. Some servers give it an id of
    /// another type, which can be meant for one request only.
    pub(super) fn take(&self, id: Option<&Id>) -> Option<Asked> {
        let (id, mut state) = (id?, self.locked());
        if let Some(awaited) = state.awaited.get_mut(id) {
            return Some((awaited.exchange, awaited.done.take()?));
        }
        let alike = state.awaited.iter_mut().filter(|(asked, awaited)| asked.resembles(id) && awaited.done.is_some());
        let mut alike = alike.map(|(_, awaited)| awaited);
        let awaited = alike.next().filter(|_| alike.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    /// The same of the only exchange that waits for an answer, whatever the id of that.
    pub(super) fn take_only(&self) -> Option<Asked> {
        let mut state = self.locked();
        let mut waiting = state.awaited.values_mut().filter(|awaited| awaited.done.is_some());
        let awaited = waiting.next().filter(|_| waiting.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    pub(super) fn hear(&self, message: &Message) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.heard(message));
    }

    pub(super) fn alive(&self) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.alive());
    }

    /// Nothing more will come: whoever waits is told why.
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

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.locked().over
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AwaitedAnswer {
    /// Whether it has come, though it may not have been passed on yet.
    pub(super) fn is_there(&self) -> bool {
        let state = self.answers.locked();
        state.awaited.get(&self.id).is_some_and(|awaited| awaited.exchange == self.exchange && awaited.done.is_none())
    }

    /// Waits until it has been passed on, for as long as a [`Deadline`] lets it from when the server has taken the
    /// request. Once the answer is there, the client has all the time it wants.
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
                Err(_) => {} // the server may have said something meanwhile
            }
        }
    }

    /// Until when it is waited for, as it is now.
    fn end(&self) -> Instant {
        let state = self.answers.locked();
        let awaited = state.awaited.get(&self.id).filter(|awaited| awaited.done.is_some());
        awaited.map_or_else(Deadline::never, |awaited| awaited.deadline).end()
    }
}

impl Drop for AwaitedAnswer {
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

    /// The answers of a stream, and that to the first request, which comes in exchange 7.
    fn answers() -> (Arc<Answers>, AwaitedAnswer) {
        let answers = Arc::new(Answers::new());
        let answer = answers.expect(&request(1), 7, IDLE).unwrap();
        (answers, answer)
    }

    /// Takes the answer to the request `id`, if anybody waits for it, and passes it on.
    fn pass_on(answers: &Answers, id: u64) -> Option<Exchange> {
        let (exchange, done) = answers.take(Some(&Id::own(id)))?;
        done.send(Ok(())).unwrap();
        Some(exchange)
    }

    /// t105: an answer is for whoever has asked, once, and for as long as it is waited for.
    #[tokio::test]
    async fn t105_an_answer_is_for_the_exchange_that_waits_for_it() {
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
    async fn whoever_waits_when_the_stream_ends_is_told_why() {
        for (failure, text) in [
            (Failure::Malformed, "not a JSON-RPC message"),
            (Failure::TooLarge { limit: 1 << 20 }, "1 MiB"),
            (Failure::Cut, "without a response"),
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

    /// t128: from one message of the server to the next, and not for ever.
    #[tokio::test(start_paused = true)]
    async fn t128_an_answer_is_waited_for_while_the_server_speaks() {
        for (messages, seconds) in [(0, 10), (3, 27 + 10), (40, 12 * 10)] {
            let begun = Instant::now();
            let (answers, answer) = answers();
            let waiting = tokio::spawn(answer.wait());
            for _ in 0..messages {
                tokio::time::sleep(Duration::from_secs(9)).await;
                if waiting.is_finished() {
                    break;
                }
                answers.hear(&progress());
            }
            let ending = waiting.await.unwrap();
            let elapsed = begun.elapsed();
            assert!(matches!(ending, Ending::Failed(Failure::TimedOut { seconds: 10 })), "{ending:?}");
            assert!((seconds..seconds + 9).contains(&elapsed.as_secs()), "{messages}: {elapsed:?}");
        }
    }

    /// t128: the time that the server takes to take the request is its own; a person who is asked has longer.
    #[tokio::test(start_paused = true)]
    async fn t128_a_person_may_think_about_a_question() {
        let (answers, answer) = answers();
        tokio::time::sleep(Duration::from_secs(9)).await;
        let waiting = tokio::spawn(answer.wait());
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!waiting.is_finished());
        answers.hear(&Message::request(Id::named("q"), "elicitation/create", "{}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        answers.hear(&progress());
        tokio::time::sleep(Duration::from_secs(3000)).await;
        assert!(!waiting.is_finished());
        pass_on(&answers, 1);
        assert!(matches!(waiting.await.unwrap(), Ending::Complete));
    }

    /// An answer that is there is the client's to take, however long that takes.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_is_not_given_up() {
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
