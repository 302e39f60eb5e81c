//! An HTTP answer in the making.

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Response, body::Frame};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};

use super::Never;

pub type Body = UnsyncBoxBody<Bytes, Never>;

/// A status, headers and a body that is there at once or comes event by event.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    events: Option<UnboundedReceiver<Bytes>>,
}

/// A copy of a body that is still coming is empty: faults are made of whole ones.
impl Clone for Reply {
    fn clone(&self) -> Self {
        Self { status: self.status, headers: self.headers.clone(), body: self.body.clone(), events: None }
    }
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), events: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into().into();
        self.header("content-type", content_type)
    }

    /// A body of which nothing says what it is.
    pub fn untyped(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into().into();
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// A stream of events, open for as long as the server can send on it.
    pub fn events(mut self, events: UnboundedReceiver<Bytes>) -> Self {
        self.events = Some(events);
        self.header("content-type", "text/event-stream").header("cache-control", "no-cache")
    }

    /// Says on a stream what it would have answered.
    pub(super) async fn forward(self, stream: &WeakUnboundedSender<Bytes>) {
        let say = |event| stream.upgrade().is_some_and(|stream| stream.send(event).is_ok());
        if !self.body.is_empty() {
            say(event(&self.body));
        }
        let Some(mut events) = self.events else { return };
        while let Some(event) = events.recv().await {
            say(event);
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let body = match self.events {
            Some(events) => {
                let frames = stream::unfold(events, async |mut events| {
                    let event = events.recv().await?;
                    Some((Ok(Frame::data(event)), events))
                });
                StreamBody::new(frames).boxed_unsync()
            }
            None => Full::new(self.body).boxed_unsync(),
        };
        response.body(body).unwrap()
    }
}

/// `message` as an SSE event; what has line breaks becomes several `data` lines.
pub fn event(message: &[u8]) -> Bytes {
    let mut event = BytesMut::from(&b"event: message\n"[..]);
    for line in message.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.extend_from_slice(b"\n");
    }
    event.extend_from_slice(b"\n");
    event.freeze()
}
