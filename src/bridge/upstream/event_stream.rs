//! A stream of events of the server's, as what it delivers.

use std::collections::VecDeque;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::Instant;

use crate::{
    bridge::{
        conversation::failure::Failure,
        upstream::endpoint::{Endpoint, MESSAGE_LIMIT},
    },
    mcp::{delivery::Delivery, id::Id, message::Message, sse::Decoder},
};

/// What comes next on a stream.
pub enum Heard {
    /// A message.
    Message(Message),
    /// A response to this request, with neither a result nor an error.
    Blank(Id),
    /// An event that may be a message, and cannot be read.
    Unreadable,
    /// A comment, or an event that is no message: the server keeps the stream alive.
    SignOfLife,
}

/// A stream, as far as it has been read.
pub struct EventStream {
    decoder: Decoder,
    /// Messages that came in one event.
    messages: VecDeque<Message>,
}

impl EventStream {
    /// A stream of which nothing has been read.
    pub fn new() -> Self {
        Self { decoder: Decoder::new(MESSAGE_LIMIT), messages: VecDeque::new() }
    }

    /// The stream that goes on where this one ended.
    pub fn resumed(&self) -> Self {
        Self { decoder: self.decoder.resumed(), messages: VecDeque::new() }
    }

    /// How the bytes are cut into events.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The last `id` seen.
    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.decoder.last_event_id()
    }

    /// The last `retry` seen, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.decoder.retry()
    }

    /// What is there already; none where more has to be read.
    fn ready(&mut self) -> Result<Option<Heard>, Failure> {
        if let Some(message) = self.messages.pop_front() {
            return Ok(Some(Heard::Message(message)));
        }
        let event = self.decoder.next_event().map_err(|_| Failure::TooLarge { limit: MESSAGE_LIMIT })?;
        let Some(event) = event else {
            return Ok(self.decoder.take_sign_of_life().then_some(Heard::SignOfLife));
        };
        // No data primes a resumption and says nothing; another type is not MCP's, such as a `ping`.
        if event.data.is_empty() || event.name != "message" {
            return Ok(Some(Heard::SignOfLife));
        }
        Ok(Some(match Delivery::read(event.data) {
            Delivery::Messages(messages) => {
                self.messages = messages.into();
                return Ok(self.messages.pop_front().map(Heard::Message));
            }
            Delivery::Blank(id) => Heard::Blank(id),
            Delivery::Heartbeat => Heard::SignOfLife,
            Delivery::Unreadable => Heard::Unreadable,
        }))
    }
}

impl Endpoint {
    /// What comes next on `stream`, of which `response` brings more; none at its end.
    pub(super) async fn hear(
        &self,
        response: &mut Response,
        stream: &mut EventStream,
        until: Instant,
    ) -> Result<Option<Heard>, Failure> {
        loop {
            if let Some(heard) = stream.ready()? {
                return Ok(Some(heard));
            }
            match self.next_chunk(response, until).await? {
                Some(chunk) => stream.decoder.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Vec<String> {
        let mut stream = EventStream::new();
        stream.decoder.push(text.as_bytes());
        let mut heard = Vec::new();
        while let Some(next) = stream.ready().unwrap() {
            heard.push(match next {
                Heard::Message(message) => String::from_utf8(message.raw().to_vec()).unwrap(),
                Heard::Blank(id) => format!("blank {id}"),
                Heard::Unreadable => "unreadable".to_owned(),
                Heard::SignOfLife => "alive".to_owned(),
            });
        }
        heard
    }

    /// a5: what is no message is skipped, and several messages in one event come one by one.
    #[test]
    fn a5_an_event_is_what_it_delivers() {
        let message = r#"{"jsonrpc":"2.0","method":"n"}"#;
        for (text, expected) in [
            (format!("data: {message}\n\n"), vec![message]),
            (format!("data: ping\n\ndata: {message}\n\ndata: {{}}\n\n"), vec!["alive", message, "alive"]),
            (format!("data: [{message},\ndata: {message}]\n\ndata: {{\n\n"), vec![message, message, "unreadable"]),
            (format!(": one\n: two\n\ndata: {message}\n\n"), vec![message, "alive"]),
            ("event: ping\ndata: 12:00\n\ndata\n\n".to_owned(), vec!["alive", "alive"]),
            ("data: {\"jsonrpc\":\"2.0\",\"id\":3}\n\n".to_owned(), vec!["blank 3"]),
        ] {
            assert_eq!(heard(&text), expected, "{text:?}");
        }
    }

    /// a9: a whole comment is a sign of life, and the end of an event; single bytes and blank lines are none.
    #[test]
    fn a9_only_what_is_whole_is_a_sign_of_life() {
        for alive in [":\n", ": keep-alive\r\n", ": a\n: b\n", "event: ping\n\n", "id: 7\n\n", "retry: 1\r\n\r\n"] {
            assert_eq!(heard(alive), ["alive"], "{alive:?}");
        }
        for silent in ["", "\n\n\n\r\n", ":", ": keep-alive", "event: ping\n", "data: x\n", "data: x"] {
            assert_eq!(heard(silent), Vec::<String>::new(), "{silent:?}");
        }
    }
}
