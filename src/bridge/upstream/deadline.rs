//! How long finmcp waits for a response.

use std::time::Duration;

use tokio::time::Instant;

use crate::mcp::message::{Kind, Message};

/// The total limit, as a multiple of the limit from one message to the next.
const TOTAL: u32 = 12;

/// How long a user may think about a question that a server asks in the middle of a call.
const QUESTION: Duration = Duration::from_secs(3600);

/// Longer than any real wait. (tokio's own "far future" is the same; some clocks cannot count further.)
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A deadline that moves with each message from the server and with each comment or event that keeps a stream alive,
/// up to a fixed end (MCP 2026-07-28 cancellation, "Timeouts": a maximum, regardless of progress). Single bytes do not
/// move it: they could drip forever.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    idle: Duration,
    next: Instant,
    last: Instant,
}

impl Deadline {
    /// Starts now: `idle` from one message to the next, and [`TOTAL`] times that in total. Anything beyond thirty
    /// years is thirty years.
    pub fn new(idle: Duration) -> Self {
        let now = Instant::now();
        let idle = idle.min(FAR_FUTURE);
        Self { idle, next: now + idle, last: now + idle * TOTAL }
    }

    /// Never expires: for a stream that is silent while nothing happens.
    pub fn never() -> Self {
        Self::new(FAR_FUTURE)
    }

    pub fn end(&self) -> Instant {
        self.next.min(self.last)
    }

    /// The server sent a message: it is working, or waiting for the user.
    pub fn observe(&mut self, message: &Message) {
        let patience = match message.kind {
            Kind::Request { .. } => QUESTION.max(self.idle),
            _ => self.idle,
        };
        let before = self.next;
        // Other messages do not shorten the time to answer the question.
        self.next = self.next.max(Instant::now() + patience);
        if matches!(message.kind, Kind::Request { .. }) {
            self.last += self.next.saturating_duration_since(before);
        }
    }

    /// The server asked finmcp to wait this long: that does not count as silence.
    pub fn pause(&mut self, pause: Duration) {
        self.next += pause;
    }

    /// The server sent no message but is working: it accepted the request, or keeps the stream alive.
    pub fn alive(&mut self) {
        self.next = self.next.max(Instant::now() + self.idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    /// t128: progress moves the deadline up to the total limit; a question to the user extends that.
    #[tokio::test(start_paused = true)]
    async fn t128_progress_moves_the_deadline_up_to_the_total_limit() {
        let begun = Instant::now();
        let idle = Duration::from_secs(10);
        let mut deadline = Deadline::new(idle);
        assert_eq!(deadline.end() - begun, idle);
        let progress = message(r#"{"method":"notifications/progress","params":{}}"#);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(9)).await;
            deadline.observe(&progress);
        }
        assert_eq!(deadline.end() - begun, idle * TOTAL);
        deadline.observe(&message(r#"{"id":1,"method":"elicitation/create"}"#));
        assert!(deadline.end() - begun > QUESTION);
        // Other messages do not shorten the time to answer the question.
        let end = deadline.end();
        deadline.observe(&progress);
        assert_eq!(deadline.end(), end);
    }

    /// a9: a server that keeps the stream alive has as long as one that reports progress, and no longer.
    #[tokio::test(start_paused = true)]
    async fn a9_a_sign_of_life_moves_the_deadline_up_to_the_total_limit() {
        let begun = Instant::now();
        let idle = Duration::from_secs(10);
        let mut deadline = Deadline::new(idle);
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(9)).await;
            deadline.alive();
            assert_eq!(deadline.end(), Instant::now() + idle);
        }
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(9)).await;
            deadline.alive();
        }
        assert_eq!(deadline.end() - begun, idle * TOTAL);
    }

    /// t124, t128: a pause that the server asks for does not count as silence, but counts towards the total.
    #[tokio::test(start_paused = true)]
    async fn t124_a_pause_moves_the_deadline_up_to_the_total_limit() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(Duration::from_secs(10));
        deadline.pause(Duration::from_secs(30));
        assert_eq!(deadline.end() - begun, Duration::from_secs(40));
        deadline.pause(Duration::from_secs(300));
        assert_eq!(deadline.end() - begun, Duration::from_secs(120));
    }

    #[test]
    fn t128_the_longest_timeout_does_not_overflow() {
        for idle in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(u64::MAX / 12), FAR_FUTURE] {
            let mut deadline = Deadline::new(idle);
            deadline.observe(&message(r#"{"id":1,"method":"elicitation/create"}"#));
            deadline.alive();
            assert!(deadline.end() >= Deadline::never().end() - Duration::from_secs(60), "{idle:?}");
        }
    }
}
