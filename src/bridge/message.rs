//! One JSON-RPC message: its bytes as they came, and the little that relaying needs to know of it.

use std::{borrow::Cow, fmt, hash};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::bridge::{
    era::meta::SUBSCRIPTION_ID,
    object::{self, Object},
    splice::{Piece, splice},
};

/// A message that can be relayed. Its bytes are never written anew: what came in goes out.
#[derive(Debug, Clone)]
pub struct Message {
    raw: Bytes,
    /// From where to where in the bytes the id stands, where it was read there.
    place: Option<(usize, usize)>,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of message (JSON-RPC 2.0 sections 4 and 5).
#[derive(Debug, Clone)]
pub enum Kind {
    /// Wants exactly one response.
    Request {
        /// Which is which.
        id: Id,
        /// What is wanted.
        method: Box<str>,
    },
    /// Wants none.
    Notification {
        /// What is said.
        method: Box<str>,
    },
    /// Answers a request.
    Response {
        /// Which request; none where a server could not tell (JSON-RPC 2.0 section 5).
        id: Option<Id>,
        /// Whether it carries a result, not an error.
        succeeded: bool,
    },
}

/// Bytes that are no message, sorted by what JSON-RPC 2.0 section 5.1 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON: -32700.
    Json,
    /// JSON, but neither request, notification nor response; batches among them, which MCP has given up: -32600.
    Message,
    /// Longer than a message may be: -32600.
    TooLong,
}

/// A request's identifier, kept as it was spelled. Two are equal when they mean the same: a server may spell `"a"` as
/// `"\u0061"`, and `1` is not `"1"`.
#[derive(Debug, Clone)]
pub struct Id {
    text: Bytes,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Meaning {
    Text(Box<str>),
    Integer(i128),
    /// A number beyond that, or a text that no program could decode: equal only when spelled alike.
    Spelling(Bytes),
}

/// The members that decide. Everything else is skipped without being looked at.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Message {
    /// Reads the envelope of `raw`, which is one JSON text.
    ///
    /// # Errors
    /// [`Malformed`], by what it should be answered with.
    pub fn parse(raw: Bytes) -> Result<Self, Malformed> {
        let envelope: Envelope<'_> = serde_json::from_slice(&raw).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Malformed::Message,
            _ => Malformed::Json,
        })?;
        let place = envelope.id.map(|id| {
            let start = id.get().as_ptr() as usize - raw.as_ptr() as usize;
            (start, start + id.get().len())
        });
        let id = envelope.id.map(|id| Id::parse(Id::part_of(&raw, id.get()), id.get())).transpose()?;
        let kind = match (envelope.method, id, envelope.result.is_some(), envelope.error.is_some()) {
            (Some(method), Some(Some(id)), false, false) => Kind::Request { id, method: method.into() },
            (Some(method), None, false, false) => Kind::Notification { method: method.into() },
            (None, Some(id), true, false) => Kind::Response { id, succeeded: true },
            // Some peers send `"result": null` beside an error, or an error with no id at all.
            (None, id, _, true) => Kind::Response { id: id.flatten(), succeeded: false },
            _ => return Err(Malformed::Message),
        };
        Ok(Self { raw, place, kind })
    }

    /// A request of ours; `params` is JSON.
    pub fn request(id: Id, method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{params}}}"#, object::text(method));
        Self { raw: raw.into(), place: None, kind: Kind::Request { id, method: method.into() } }
    }

    /// A notification of ours; `params` is JSON.
    pub fn notification(method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, object::text(method));
        Self { raw: raw.into(), place: None, kind: Kind::Notification { method: method.into() } }
    }

    /// A notification of ours that the request `id` is not wanted any more.
    pub fn cancellation(id: &Id) -> Self {
        Self::notification("notifications/cancelled", &format!(r#"{{"requestId":{id}}}"#))
    }

    /// A result of ours for the request `id`; `result` is JSON.
    pub fn response(id: &Id, result: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        Self { raw: raw.into(), place: None, kind: Kind::Response { id: Some(id.clone()), succeeded: true } }
    }

    /// The answer to a subscription that ends as it should (MCP 2026-07-28 subscriptions, "Graceful Closure").
    pub fn end_of_subscription(id: &Id) -> Self {
        Self::response(id, &format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#))
    }

    /// An error of ours for the request `id`, or for what has no readable one (JSON-RPC 2.0 section 5.1).
    pub fn error(id: Option<&Id>, code: i32, message: &str) -> Self {
        let spelled = id.map_or("null".to_owned(), Id::to_string);
        let message = object::text(message);
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{spelled},"error":{{"code":{code},"message":{message}}}}}"#);
        Self { raw: raw.into(), place: None, kind: Kind::Response { id: id.cloned(), succeeded: false } }
    }

    /// The message with other members: what `edit` does not touch stays as it was written, and where it is in memory, if
    /// nobody else has a hold of it. As it is where that is no message.
    pub fn edited(self, edit: impl FnOnce(&mut Object<'_>)) -> Self {
        let text = std::str::from_utf8(&self.raw).unwrap_or_default();
        let Some(pieces) = Object::edited(text, edit) else { return self };
        let Self { raw, kind, .. } = self;
        // What is read of a message that is none any more would have to be made up: members are named to be one.
        let edited = splice(raw, &pieces);
        Self::parse(edited.clone()).unwrap_or(Self { raw: edited, place: None, kind })
    }

    /// The request or response in the name of another id, wherever it carries one.
    pub fn renamed(self, id: &Id) -> Self {
        self.edited(|message| message.set("id", id.to_string()))
    }

    /// Its id, where it is a request or a response that has one.
    pub fn id(&self) -> Option<&Id> {
        match &self.kind {
            Kind::Request { id, .. } => Some(id),
            Kind::Response { id, .. } => id.as_ref(),
            Kind::Notification { .. } => None,
        }
    }

    /// The bytes as they came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The bytes as one line. A line break between two tokens of JSON (inside a string there can be none) becomes a
    /// space, since stdio's messages end where the line ends (MCP stdio transport).
    pub fn line(self) -> Bytes {
        if memchr::memchr2(b'\n', b'\r', &self.raw).is_none() {
            return self.raw;
        }
        let mut line = self.raw.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        line.freeze()
    }

    /// The method of a request or notification.
    pub fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method } => Some(method),
            Kind::Response { .. } => None,
        }
    }

    /// A response addressed to the request `id`: as it is where it is spelled so already, else with that one member
    /// changed.
    pub fn addressed_to(self, id: &Id) -> Self {
        match &self.kind {
            Kind::Response { id: Some(current), .. } if current.text == id.text => self,
            Kind::Response { id: Some(_), succeeded } => {
                let kind = Kind::Response { id: Some(id.clone()), succeeded: *succeeded };
                let Some((start, end)) = self.place else { return self.renamed(id) };
                let pieces = [Piece::Kept(0..start), Piece::New(id.to_string()), Piece::Kept(end..self.raw.len())];
                let place = Some((start, start + id.text.len()));
                Self { raw: splice(self.raw, &pieces), place, kind }
            }
            Kind::Response { id: None, succeeded } => Self {
                kind: Kind::Response { id: Some(id.clone()), succeeded: *succeeded },
                raw: with_id(&self.raw, id),
                place: None,
            },
            _ => self,
        }
    }

    /// The member `name` of `params`, as JSON.
    pub fn member(&self, name: &str) -> Option<String> {
        let parameters = self.parameters::<Object<'_>>()?;
        parameters.get(name).map(str::to_owned)
    }

    /// The request that a cancellation is of.
    pub fn cancels(&self) -> Option<Id> {
        Id::from_json(&self.member("requestId")?)
    }

    /// A member of `params`, read on demand.
    pub fn parameters<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Parameters<T> {
            params: T,
        }
        serde_json::from_slice::<Parameters<T>>(&self.raw).ok().map(|message| message.params)
    }

    /// A member of `result`, read on demand.
    pub fn result<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Outcome<T> {
            result: T,
        }
        serde_json::from_slice::<Outcome<T>>(&self.raw).ok().map(|message| message.result)
    }

    /// The `data` of an error response, read on demand.
    pub fn error_data<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Outcome<T> {
            error: Data<T>,
        }
        #[derive(Deserialize)]
        struct Data<T> {
            data: T,
        }
        serde_json::from_slice::<Outcome<T>>(&self.raw).ok().map(|outcome| outcome.error.data)
    }

    /// The code of an error response.
    pub fn error_code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Outcome {
            error: Code,
        }
        #[derive(Deserialize)]
        struct Code {
            code: i64,
        }
        serde_json::from_slice::<Outcome>(&self.raw).ok().map(|outcome| outcome.error.code)
    }
}

impl AsRef<Self> for Message {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// An error response without an id, or with `null`, given one.
fn with_id(raw: &Bytes, id: &Id) -> Bytes {
    #[derive(Deserialize)]
    struct Outcome<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    let error = serde_json::from_slice::<Outcome<'_>>(raw).map_or("null", |outcome| outcome.error.get());
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into()
}

impl Id {
    /// The id that is `spelled`, in bytes and as text; none for `null`.
    fn parse(text: Bytes, spelled: &str) -> Result<Option<Self>, Malformed> {
        let meaning = match spelled.as_bytes().first() {
            Some(b'n') => return Ok(None),
            Some(b'"') => match serde_json::from_str::<Box<str>>(spelled) {
                Ok(decoded) => Meaning::Text(decoded),
                Err(_) => Meaning::Spelling(text.clone()),
            },
            Some(b'-' | b'0'..=b'9') => match spelled.parse() {
                Ok(integer) => Meaning::Integer(integer),
                Err(_) => Meaning::Spelling(text.clone()),
            },
            _ => return Err(Malformed::Message),
        };
        Ok(Some(Self { text, meaning }))
    }

    /// `spelled`, which is a part of `raw`, without a hold on all of that where it is short: large messages are let go, and
    /// changed where they are.
    fn part_of(raw: &Bytes, spelled: &str) -> Bytes {
        const SHORT: usize = 128;
        match spelled.len() {
            ..=SHORT => Bytes::copy_from_slice(spelled.as_bytes()),
            _ => raw.slice_ref(spelled.as_bytes()),
        }
    }

    /// The `number`th id of ours. No client or server is known to number its requests so.
    pub fn ours(number: u64) -> Self {
        Self::named(&format!("finmcp-{number}"))
    }

    /// The id that is this number.
    pub fn from_number(number: u64) -> Self {
        Self { text: number.to_string().into(), meaning: Meaning::Integer(number.into()) }
    }

    /// The id that is this text.
    pub fn named(name: &str) -> Self {
        Self { text: object::text(name).into(), meaning: Meaning::Text(name.into()) }
    }

    /// The id that `json` is, as a member of some other message.
    pub fn from_json(json: &str) -> Option<Self> {
        Self::parse(Bytes::copy_from_slice(json.as_bytes()), json).ok().flatten()
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

impl Eq for Id {}

impl hash::Hash for Id {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.meaning.hash(state);
    }
}

/// The id as it was spelled: JSON.
impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It was cut from text that the parser found to be UTF-8.
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn messages_are_told_apart_by_their_members() {
        for (text, kind) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request 1 ping"),
            (r#"{"method":"a\/b","id":"x","params":{"n":1.10}}"#, "request \"x\" a/b"),
            (r#"{"method":"notifications/initialized"}"#, "notification notifications/initialized"),
            (r#"{"id":12345678901234567890123,"result":{}}"#, "result 12345678901234567890123"),
            (r#"{"id":-7,"result":null}"#, "result -7"),
            (r#"{"id":null,"error":{"code":1}}"#, "error -"),
            (r#"{"error":{"code":1}}"#, "error -"),
            (r#"{"id":1,"result":null,"error":{"code":1}}"#, "error 1"),
            (r#"{"id":1,"result":"\ud800"}"#, "result 1"),
        ] {
            let message = parse(text).unwrap();
            assert_eq!(message.raw(), text.as_bytes());
            let told = match message.kind {
                Kind::Request { id, method } => format!("request {id} {method}"),
                Kind::Notification { method } => format!("notification {method}"),
                Kind::Response { id: Some(id), succeeded: true } => format!("result {id}"),
                Kind::Response { id: None, succeeded: true } => "result -".to_owned(),
                Kind::Response { id, succeeded: false } => {
                    format!("error {}", id.map_or("-".to_owned(), |id| id.to_string()))
                }
            };
            assert_eq!(told, kind);
        }
    }

    /// t100, t102: what is no message is sorted by how it is answered; a batch is none.
    #[test]
    fn t100_t102_malformed_input_is_sorted() {
        for text in ["", "{", "nul", "\u{feff}{}", "{\"id\":1,\"method\":\"a\"} x", "{\"id\":1e,\"method\":\"a\"}"] {
            assert_eq!(parse(text).unwrap_err(), Malformed::Json, "{text}");
        }
        for text in [
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call"}]"#,
            "{}",
            "1",
            r#"{"id":1}"#,
            r#"{"id":null,"method":"a"}"#,
            r#"{"id":[1],"method":"a"}"#,
            r#"{"id":true,"method":"a"}"#,
            r#"{"id":1,"id":2,"method":"a"}"#,
            r#"{"id":1,"method":"a","result":1}"#,
            r#"{"id":1,"method":7}"#,
        ] {
            assert_eq!(parse(text).unwrap_err(), Malformed::Message, "{text}");
        }
        assert!(Message::parse(Bytes::from_static(b"{\"id\":1,\"method\":\"\xff\"}")).is_err());
    }

    /// t104: 1 is not "1", and a number is what it was spelled as.
    #[test]
    fn t104_ids_are_equal_when_they_mean_the_same() {
        let id = |text: &str| match parse(&format!(r#"{{"id":{text},"method":"a"}}"#)).unwrap().kind {
            Kind::Request { id, .. } => id,
            other => panic!("{other:?}"),
        };
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_ne!(id("1"), id("1.0"));
        assert_ne!(id("1e400"), id("1e401"));
        assert_eq!(id("1e400").to_string(), "1e400");
        assert_eq!(id("1180591620717411303424"), id("1180591620717411303424"));
    }

    #[test]
    fn a_response_is_addressed_in_the_spelling_of_its_request() {
        let Kind::Request { id, .. } = parse(r#"{"id":"\u0061","method":"m"}"#).unwrap().kind else { panic!() };
        for (came, goes) in [
            (r#"{"result":{"x":1.10},"id":"a" , "z":1}"#, r#"{"result":{"x":1.10},"id":"\u0061" , "z":1}"#),
            (r#"{"id":"\u0061","result":1}"#, r#"{"id":"\u0061","result":1}"#),
            (r#"{"id":null,"error":{"code":1.0}}"#, r#"{"jsonrpc":"2.0","id":"\u0061","error":{"code":1.0}}"#),
        ] {
            assert_eq!(parse(came).unwrap().addressed_to(&id).raw(), goes.as_bytes());
        }
        // Once more, and for a message of our own.
        let twice = parse(r#"{"id":"b","result":1.0}"#).unwrap().addressed_to(&Id::ours(1)).addressed_to(&id);
        assert_eq!(twice.raw(), r#"{"id":"\u0061","result":1.0}"#.as_bytes());
        assert_eq!(
            Message::response(&Id::ours(1), "1.0").addressed_to(&id).raw(),
            r#"{"jsonrpc":"2.0","id":"\u0061","result":1.0}"#.as_bytes()
        );
    }

    /// t103: one message, one line.
    #[test]
    fn t103_line_breaks_between_tokens_become_spaces() {
        let pretty = "{\r\n  \"id\": 1,\n\"result\": \"a\\nb\u{2028}\"\n}";
        let line = parse(pretty).unwrap().line();
        assert_eq!(line, "{    \"id\": 1, \"result\": \"a\\nb\u{2028}\" }".as_bytes());
        assert_eq!(line.len(), pretty.len());
    }
}
