//! The vendor as a server of the first revision: HTTP+SSE.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Recorded, Reply, Shared, State, Stream, StreamKind,
    endpoint::{self, Envelope},
};

/// Where messages go.
pub const MESSAGES: &str = "/messages";

/// The MCP endpoint: nothing but the stream.
pub fn open(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if let Err(refusal) = state.admit(record, &shared.origin) {
        return refusal;
    }
    if record.method != "GET" {
        return Reply::new(405).header("allow", "GET").body("text/plain", "Method Not Allowed");
    }
    state.check_accept(record, &["text/event-stream"]);
    let session = state.mint("session");
    let (events, receiver) = mpsc::unbounded_channel();
    let _ = events.send(format!("event: endpoint\r\ndata: {MESSAGES}?session={session}\r\n\r\n").into());
    state.streams.push(Stream { kind: StreamKind::Session(session), events });
    Reply::new(200).events(receiver)
}

/// A message of the client's; whatever answers it comes on the stream.
pub fn take(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let stream = {
        let mut state = shared.state.lock().unwrap();
        if let Err(refusal) = state.admit(record, &shared.origin) {
            return refusal;
        }
        match state.stream_of(record) {
            Some(stream) => stream,
            None => return Reply::new(404).body("text/plain", "Could not find session"),
        }
    };
    let Some(envelope) = Envelope::parse(&record.body) else { return Reply::new(400) };
    let (record, shared) = (record.clone(), Arc::clone(shared));
    tokio::spawn(async move {
        endpoint::converse(&record, &envelope, &shared).await.forward(&stream).await;
    });
    Reply::new(202).body("text/plain", "Accepted")
}

impl State {
    /// The stream of the session that a message names. What is still to be said does not keep it open.
    fn stream_of(&mut self, record: &Recorded) -> Option<mpsc::WeakUnboundedSender<Bytes>> {
        let session = record.query().remove("session")?;
        let mut live = self.streams.iter().filter(|stream| !stream.events.is_closed());
        Some(live.find(|stream| stream.kind == StreamKind::Session(session.clone()))?.events.downgrade())
    }
}
