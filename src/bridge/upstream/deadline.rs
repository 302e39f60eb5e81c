//! Until when an answer is waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::mcp::message::{Kind, Message};

/// How much longer than from one message to the next an answer may take in all.
const ALL: u32 = 12;

/// How long a person may think about what a server asks in the middle of a call.
const PERSON: Duration = Duration::from_secs(3600);

/// Longer than anybody waits. (tokio's own "far future" is this too; beyond it some clocks end.)
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A point in time that moves on with each message of the server's, and with each comment or event that keeps a stream
/// alive; and an end that does not (MCP 2026-07-28 cancellation, "Timeouts": a maximum, regardless of progress).
/// Single bytes move nothing: they can drip for ever.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    idle: Duration,
    next: Instant,
    last: Instant,
}

impl Deadline {
    /// From now on: `idle` from one message to the next, and [`ALL`] times that in all. What is longer than thirty
    /// years is thirty years.
    pub fn new(idle: Duration) -> Self {
        let now = Instant::now();
        let idle = idle.min(FAR);
        Self { idle, next: now + idle, last: now + idle * ALL }
    }

    /// Never: a stream that may say nothing for as long as nothing happens.
    pub fn never() -> Self {
        Self::new(FAR)
    }

    /// When to give up, as it is now.
    pub fn end(&self) -> Instant {
        self.next.min(self.last)
    }

    /// The server has said something: it is at work, or waits for a person.
    pub fn heard(&mut self, message: &Message) {
        let patience = match message.kind {
            Kind::Request { .. } => PERSON.max(self.idle),
            _ => self.idle,
        };
        let before = self.next;
        // (Whatever else is said, the person may still be thinking.)
        self.next = self.next.max(Instant::now() + patience);
        if matches!(message.kind, Kind::Request { .. }) {
            self.last += self.next.saturating_duration_since(before);
        }
    }

    /// The server wants to be asked again only after this long: that is no silence of its.
    pub fn pause(&mut self, pause: Duration) {
        self.next += pause;
    }

    /// The server is at work, though it has said nothing: it has taken the message, or keeps the stream alive.
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

    /// t128: progress moves the deadline, but not beyond the end of all patience; a person has longer.
    #[tokio::test(start_paused = true)]
    async fn t128_progress_moves_the_deadline_up_to_a_point() {
        let begun = Instant::now();
        let idle = Duration::from_secs(10);
        let mut deadline = Deadline::new(idle);
        assert_eq!(deadline.end() - begun, idle);
        let progress = message(r#"{"method":"notifications/progress","params":{}}"#);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(9)).await;
            deadline.heard(&progress);
        }
        assert_eq!(deadline.end() - begun, idle * ALL);
        deadline.heard(&message(r#"{"id":1,"method":"elicitation/create"}"#));
        assert!(deadline.end() - begun > PERSON);
        // What is said beside the question does not hurry the person.
        let end = deadline.end();
        deadline.heard(&progress);
        assert_eq!(deadline.end(), end);
    }

    /// a9: a server that keeps the stream alive has as long as one that reports progress, and no longer.
    #[tokio::test(start_paused = true)]
    async fn a9_a_sign_of_life_moves_the_deadline_up_to_a_point() {
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
        assert_eq!(deadline.end() - begun, idle * ALL);
    }

    /// t124, t128: a pause that the server asks for is no silence of its, and still has its end.
    #[tokio::test(start_paused = true)]
    async fn t124_a_pause_moves_the_deadline_up_to_a_point() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(Duration::from_secs(10));
        deadline.pause(Duration::from_secs(30));
        assert_eq!(deadline.end() - begun, Duration::from_secs(40));
        deadline.pause(Duration::from_secs(300));
        assert_eq!(deadline.end() - begun, Duration::from_secs(120));
    }

    /// As long as anybody likes.
    #[test]
    fn t128_the_longest_patience_is_no_overflow() {
        for idle in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(u64::MAX / 12), FAR] {
            let mut deadline = Deadline::new(idle);
            deadline.heard(&message(r#"{"id":1,"method":"elicitation/create"}"#));
            deadline.alive();
            assert!(deadline.end() >= Deadline::never().end() - Duration::from_secs(60), "{idle:?}");
        }
    }
}
