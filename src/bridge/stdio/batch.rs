//! Batches: JSON arrays of messages (JSON-RPC 2.0 section 6). Only MCP 2025-03-26 has them; a client of that revision
//! also gets the responses to a batch in one array. The server gets the messages one by one.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::{
    conversation::reply::{self, ReplyCode},
    mcp::{
        array,
        id::Id,
        malformed::Malformed,
        message::{Kind, Message},
        object::Object,
        revision,
    },
};

/// The only revision with batches.
const REVISION: &str = "2025-03-26";

const NOT_A_MESSAGE: &str = "this part of the batch is not a JSON-RPC request, notification or response";
const ID_USED: &str = "another request of this batch has the same id";
const NO_INITIALIZE: &str = "initialize cannot be part of a batch";
const TOO_LARGE: &str = "The responses to this batch are too large together: send this request on its own";

/// The unanswered batches of one client.
#[derive(Debug)]
pub struct Batches {
    /// Whether the client and the server have agreed on the revision with batches.
    is_enabled: bool,
    /// The client's unanswered `initialize`.
    initialize: Option<Id>,
    /// The unanswered requests, each with the number of its batch if it is in one. If several share an id, the last
    /// one is answered first: it is refused for the duplicate id.
    requests: HashMap<Id, Vec<Option<u64>>>,
    open: HashMap<u64, Batch>,
    last: u64,
    /// The maximum total size of the responses to one batch, in bytes.
    limit: usize,
}

#[derive(Debug, Default)]
struct Batch {
    unanswered: usize,
    /// The responses, each followed by a comma.
    answers: BytesMut,
}

impl Batches {
    /// No batch yet. The responses to one batch may hold `limit` bytes together.
    pub fn new(limit: usize) -> Self {
        Self { is_enabled: false, initialize: None, requests: HashMap::new(), open: HashMap::new(), last: 0, limit }
    }

    /// Observes a message that the client sends outside a batch. Returns the responses to a batch if this message
    /// cancels its last unanswered request.
    pub fn received(&mut self, message: &Message) -> Option<Bytes> {
        self.note(message, None).and_then(|number| self.complete(number))
    }

    /// Splits the batch `line`. Returns the messages for the server, and the responses if they are complete already.
    ///
    /// # Errors
    /// [`Malformed`], if the whole line is refused.
    pub fn open(&mut self, line: &Bytes) -> Result<(Vec<Message>, Option<Bytes>), Malformed> {
        if !self.is_enabled {
            return Err(Message::parse(line.clone()).err().unwrap_or(Malformed::Message));
        }
        let elements = std::str::from_utf8(line).ok().and_then(array::split).filter(|elements| !elements.is_empty());
        let Some(elements) = elements else {
            return Err(Message::parse(line.clone()).err().unwrap_or(Malformed::Message));
        };
        let mut batch = Batch::default();
        let mut messages: Vec<Message> = Vec::new();
        for element in elements {
            match parse_element(line.slice_ref(element.as_bytes()), element, &messages) {
                Ok(message) => messages.push(message),
                Err(answer) => batch.push(*answer),
            }
        }
        batch.unanswered = messages.iter().filter(|message| matches!(message.kind, Kind::Request { .. })).count();
        self.last += 1;
        self.open.insert(self.last, batch);
        for message in &messages {
            self.note(message, Some(self.last));
        }
        let answers = self.complete(self.last);
        Ok((messages, answers))
    }

    /// Returns the line to write when `message` is for the client: none while it waits for the other responses to its
    /// batch.
    pub fn answered(&mut self, message: Message) -> Option<Bytes> {
        let Kind::Response { id: Some(id), succeeded } = &message.kind else { return Some(message.line()) };
        if self.initialize.as_ref() == Some(id) {
            self.initialize = None;
            self.is_enabled = *succeeded && revision::negotiated_version(&message).as_deref() == Some(REVISION);
        }
        let Some(number) = self.remove_request(id) else { return Some(message.line()) };
        let batch = self.open.get_mut(&number)?;
        batch.unanswered -= 1;
        if batch.answers.len() + message.raw().len() <= self.limit {
            batch.push(message);
        } else {
            batch.push(reply::error(id, ReplyCode::Network, TOO_LARGE));
        }
        self.complete(number)
    }

    /// Observes a message of the client; returns the number of the batch in which it cancelled a request.
    fn note(&mut self, message: &Message, batch: Option<u64>) -> Option<u64> {
        match &message.kind {
            Kind::Request { id, method } => {
                if &**method == "initialize" {
                    self.initialize = Some(id.clone());
                }
                if self.is_enabled {
                    self.requests.entry(id.clone()).or_default().push(batch);
                }
                None
            }
            // A cancelled request may never be answered, so the rest of the batch does not wait for it.
            Kind::Notification { method } if self.is_enabled && &**method == "notifications/cancelled" => {
                let number = self.remove_request(&message.cancels()?)?;
                self.open.get_mut(&number)?.unanswered -= 1;
                Some(number)
            }
            _ => None,
        }
    }

    /// Removes the latest request with this id; returns the number of its batch.
    fn remove_request(&mut self, id: &Id) -> Option<u64> {
        let alike = self.requests.get_mut(id)?;
        let batch = alike.pop().flatten();
        if alike.is_empty() {
            self.requests.remove(id);
        }
        batch
    }

    /// The responses to a batch in one line, once all of them are there.
    fn complete(&mut self, number: u64) -> Option<Bytes> {
        self.open.get(&number).filter(|batch| batch.unanswered == 0)?;
        let answers = self.open.remove(&number)?.answers;
        let answers = answers.strip_suffix(b",")?;
        Some([b"[", answers, b"]"].concat().into())
    }
}

impl Batch {
    fn push(&mut self, answer: Message) {
        self.answers.extend_from_slice(&answer.line());
        self.answers.extend_from_slice(b",");
    }
}

/// Reads one element of a batch: a message, or the error response to it.
fn parse_element(raw: Bytes, text: &str, before: &[Message]) -> Result<Message, Box<Message>> {
    let Ok(message) = Message::parse(raw) else {
        let id = Object::parse(text).and_then(|object| Id::from_json(object.get("id")?));
        return Err(Box::new(Message::error(id.as_ref(), ReplyCode::InvalidRequest as i32, NOT_A_MESSAGE)));
    };
    let Kind::Request { id, method } = &message.kind else { return Ok(message) };
    let is_used = before.iter().any(|other| matches!(&other.kind, Kind::Request { id: used, .. } if used == id));
    let objection = match &**method {
        _ if is_used => ID_USED,
        "initialize" => NO_INITIALIZE,
        _ => return Ok(message),
    };
    Err(Box::new(reply::error(id, ReplyCode::InvalidRequest, objection)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#;
    const OTHER: &str = r#"{"jsonrpc":"2.0","id":"b","method":"a"}"#;

    fn message(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn agree(batches: &mut Batches, revision: &str) {
        batches.received(&message(r#"{"id":"i","method":"initialize"}"#));
        let answer = format!(r#"{{"id":"i","result":{{"protocolVersion":"{revision}"}}}}"#);
        assert_eq!(batches.answered(message(&answer)), Some(answer.into()));
    }

    fn batches() -> Batches {
        let mut batches = Batches::new(1000);
        agree(&mut batches, REVISION);
        batches
    }

    /// Opens the batch; returns the messages for the server and the line for the client.
    fn open(batches: &mut Batches, line: &str) -> (Vec<String>, String) {
        let (messages, written) = batches.open(&Bytes::copy_from_slice(line.as_bytes())).unwrap();
        let texts = messages.iter().map(|message| text(message.raw())).collect();
        (texts, written.as_ref().map(text).unwrap_or_default())
    }

    fn text(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn answer(batches: &mut Batches, id: &str) -> String {
        let answer = message(&format!(r#"{{"id":{id},"result":1.0}}"#));
        batches.answered(answer).as_ref().map(text).unwrap_or_default()
    }

    /// a18: messages reach the server as they were written, and the responses come back in one array.
    #[test]
    fn a18_responses_wait_for_each_other() {
        let mut batches = batches();
        let notification = r#"{"method":"n","params":{"x":1.10}}"#;
        let (sent, written) = open(&mut batches, &format!("[{CALL}, {notification} ,{OTHER}]"));
        assert_eq!((sent, &*written), (vec![CALL.to_owned(), notification.to_owned(), OTHER.to_owned()], ""));
        assert_eq!(answer(&mut batches, "7"), r#"{"id":7,"result":1.0}"#, "outside the batch");
        assert_eq!(batches.answered(message(notification)), Some(notification.into()));
        assert_eq!(answer(&mut batches, r#""b""#), "");
        assert_eq!(answer(&mut batches, "1"), r#"[{"id":"b","result":1.0},{"id":1,"result":1.0}]"#);
        assert!(batches.open.is_empty() && batches.requests.is_empty());
    }

    /// a18: an invalid element gets its error in the array; an element that is not a request gets no response.
    #[test]
    fn a18_each_element_is_judged_separately() {
        let mut batches = batches();
        let (sent, written) = open(&mut batches, &format!(r#"[1,{CALL},{{"id":5}},{CALL},[{OTHER}]]"#));
        assert_eq!((sent.len(), &*written), (1, ""));
        let answers: Vec<serde_json::Value> = serde_json::from_str(&answer(&mut batches, "1")).unwrap();
        let told: Vec<_> =
            answers.iter().map(|answer| (answer["id"].to_string(), answer["error"]["code"].as_i64())).collect();
        let id = |id: &str| id.to_owned();
        assert_eq!(
            told,
            [
                (id("null"), Some(-32600)),
                (id("5"), Some(-32600)),
                (id("1"), Some(-32600)),
                (id("null"), Some(-32600)),
                (id("1"), None)
            ]
        );
        let (sent, written) = open(&mut batches, r#"[{"id":2,"method":"initialize"}]"#);
        assert!(sent.is_empty() && written.starts_with('[') && written.contains("-32600"), "{written}");
        let (sent, written) = open(&mut batches, r#"[{"method":"n"},{"id":9,"result":{}}]"#);
        assert_eq!((sent.len(), &*written), (2, ""));
        assert!(batches.open.is_empty());
        for (line, problem) in [
            ("[]", Malformed::Message),
            (" [ ] ", Malformed::Message),
            ("[1,", Malformed::Json),
            ("[\"\u{fffd}\" 1]", Malformed::Json),
        ] {
            assert_eq!(batches.open(&Bytes::from(line)).unwrap_err(), problem, "{line}");
        }
        let many = format!("[{}]", vec![CALL; array::LIMIT + 1].join(","));
        assert_eq!(batches.open(&Bytes::from(many)).unwrap_err(), Malformed::Message);
    }

    /// a18: if an id is used twice, the second request is refused first, in or outside a batch.
    #[test]
    fn a18_an_id_in_use_is_refused_where_it_is_used_again() {
        let mut batches = batches();
        batches.received(&message(CALL));
        open(&mut batches, &format!("[{CALL}]"));
        assert_eq!(answer(&mut batches, "1"), r#"[{"id":1,"result":1.0}]"#);
        assert_eq!(answer(&mut batches, "1"), r#"{"id":1,"result":1.0}"#);
        open(&mut batches, &format!("[{CALL}]"));
        batches.received(&message(CALL));
        assert_eq!(answer(&mut batches, "1"), r#"{"id":1,"result":1.0}"#);
        assert_eq!(answer(&mut batches, "1"), r#"[{"id":1,"result":1.0}]"#);
    }

    /// a18: a cancelled request may never be answered.
    #[test]
    fn a18_a_cancelled_request_holds_up_no_other() {
        let cancellation =
            |id: &str| format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
        let mut batches = batches();
        open(&mut batches, &format!("[{CALL},{OTHER}]"));
        assert_eq!(batches.received(&message(&cancellation("1"))), None);
        assert_eq!(answer(&mut batches, r#""b""#), r#"[{"id":"b","result":1.0}]"#);
        open(&mut batches, &format!("[{CALL},{OTHER}]"));
        assert_eq!(answer(&mut batches, r#""b""#), "");
        let written = batches.received(&message(&cancellation("1")));
        assert_eq!(written, Some(r#"[{"id":"b","result":1.0}]"#.into()));
        let (sent, written) = open(&mut batches, &format!("[{CALL},{}]", cancellation("1")));
        assert_eq!((sent.len(), &*written), (2, ""));
        assert!(batches.open.is_empty() && batches.requests.is_empty());
    }

    /// a18: a response that does not fit into the array is replaced by an error.
    #[test]
    fn a18_the_responses_to_a_batch_have_a_limit() {
        let mut batches = batches();
        open(&mut batches, &format!("[{CALL},{OTHER}]"));
        let large = format!(r#"{{"id":"b","result":"{}"}}"#, "x".repeat(1000));
        assert_eq!(batches.answered(message(&large)), None);
        let written = answer(&mut batches, "1");
        assert!(written.contains(TOO_LARGE) && written.ends_with(r#",{"id":1,"result":1.0}]"#), "{written}");
    }

    /// a18: no other revision has batches.
    #[test]
    fn a18_other_revisions_have_no_batches() {
        let line = Bytes::from(format!("[{CALL}]"));
        let mut batches = Batches::new(1000);
        assert_eq!(batches.open(&line).unwrap_err(), Malformed::Message);
        for revision in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "2025-03-27"] {
            agree(&mut batches, revision);
            assert_eq!(batches.open(&line).unwrap_err(), Malformed::Message, "{revision}");
            assert_eq!(batches.open(&Bytes::from("[1")).unwrap_err(), Malformed::Json, "{revision}");
        }
        agree(&mut batches, REVISION);
        assert!(batches.open(&line).is_ok());
        agree(&mut batches, "2025-06-18");
        assert!(batches.open(&line).is_err());
        batches.received(&message(r#"{"id":"i","method":"initialize"}"#));
        batches.answered(message(r#"{"id":"i","error":{"code":1,"message":""}}"#));
        assert!(batches.open(&line).is_err());
    }
}
