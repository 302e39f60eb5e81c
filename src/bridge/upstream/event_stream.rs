//! A server's event stream, decoded into messages.

use std::collections::VecDeque;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::Instant;

use crate::{
    bridge::upstream::endpoint::{Endpoint, MESSAGE_LIMIT},
    conversation::failure::Failure,
    mcp::{delivery::Delivery, id::Id, message::Message, sse::Decoder},
};

/// The next item on a stream.
pub enum StreamItem {
    Message(Message),
    /// A response to this request with neither a result nor an error.
    Blank(Id),
    /// An event that was probably meant as a message but cannot be parsed.
    Unreadable,
    /// A comment, or an event that carries no message: it keeps the stream alive.
    SignOfLife,
}

/// A stream, and how far it has been read.
pub struct EventStream {
    decoder: Decoder,
    /// The remaining messages of an event that held several.
    messages: VecDeque<Message>,
}

impl EventStream {
    /// A stream of which nothing has been read.
    pub fn new() -> Self {
        Self { decoder: Decoder::new(MESSAGE_LIMIT), messages: VecDeque::new() }
    }

    /// A stream that continues where this one ended.
    pub fn resumed(&self) -> Self {
        Self { decoder: self.decoder.resumed(), messages: VecDeque::new() }
    }

    /// The decoder that splits bytes into events.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.decoder.last_event_id()
    }

    /// The last `retry` field on the stream, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.decoder.retry()
    }

    /// The next item that is already buffered.
    fn ready(&mut self) -> Result<Option<StreamItem>, Failure> {
        if let Some(message) = self.messages.pop_front() {
            return Ok(Some(StreamItem::Message(message)));
        }
        let event = self.decoder.next_event().map_err(|_| Failure::TooLarge { limit: MESSAGE_LIMIT })?;
        let Some(event) = event else {
            return Ok(self.decoder.take_sign_of_life().then_some(StreamItem::SignOfLife));
        };
        // Empty data only primes a resumption; other event types, such as `ping`, are not MCP's.
        if event.data.is_empty() || event.name != "message" {
            return Ok(Some(StreamItem::SignOfLife));
        }
        Ok(Some(match Delivery::read(event.data) {
            Delivery::Messages(messages) => {
                self.messages = messages.into();
                return Ok(self.messages.pop_front().map(StreamItem::Message));
            }
            Delivery::Blank(id) => StreamItem::Blank(id),
            Delivery::Heartbeat => StreamItem::SignOfLife,
            Delivery::Unreadable => StreamItem::Unreadable,
        }))
    }
}

impl Endpoint {
    /// The next item on `stream`, reading more from `response` as needed; none at the end.
    pub(super) async fn next_item(
        &self,
        response: &mut Response,
        stream: &mut EventStream,
        until: Instant,
    ) -> Result<Option<StreamItem>, Failure> {
        loop {
            if let Some(item) = stream.ready()? {
                return Ok(Some(item));
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

    fn items(text: &str) -> Vec<String> {
        let mut stream = EventStream::new();
        stream.decoder.push(text.as_bytes());
        let mut items = Vec::new();
        while let Some(next) = stream.ready().unwrap() {
            items.push(match next {
                StreamItem::Message(message) => String::from_utf8(message.raw().to_vec()).unwrap(),
                StreamItem::Blank(id) => format!("blank {id}"),
                StreamItem::Unreadable => "unreadable".to_owned(),
                StreamItem::SignOfLife => "alive".to_owned(),
            });
        }
        items
    }

    /// a5: events without a message are skipped, and several messages in one event come one by one.
    #[test]
    fn a5_an_event_yields_its_messages() {
        let message = r#"{"jsonrpc":"2.0","method":"n"}"#;
        for (text, expected) in [
            (format!("data: {message}\n\n"), vec![message]),
            (format!("data: ping\n\ndata: {message}\n\ndata: {{}}\n\n"), vec!["alive", message, "alive"]),
            (format!("data: [{message},\ndata: {message}]\n\ndata: {{\n\n"), vec![message, message, "unreadable"]),
            (format!(": one\n: two\n\ndata: {message}\n\n"), vec![message, "alive"]),
            ("event: ping\ndata: 12:00\n\ndata\n\n".to_owned(), vec!["alive", "alive"]),
            ("data: {\"jsonrpc\":\"2.0\",\"id\":3}\n\n".to_owned(), vec!["blank 3"]),
        ] {
            assert_eq!(items(&text), expected, "{text:?}");
        }
    }

    /// a9: a complete comment or event is a sign of life; single bytes and blank lines are not.
    #[test]
    fn a9_only_complete_comments_and_events_are_signs_of_life() {
        for alive in [":\n", ": keep-alive\r\n", ": a\n: b\n", "event: ping\n\n", "id: 7\n\n", "retry: 1\r\n\r\n"] {
            assert_eq!(items(alive), ["alive"], "{alive:?}");
        }
        for silent in ["", "\n\n\n\r\n", ":", ": keep-alive", "event: ping\n", "data: x\n", "data: x"] {
            assert_eq!(items(silent), Vec::<String>::new(), "{silent:?}");
        }
    }
}
