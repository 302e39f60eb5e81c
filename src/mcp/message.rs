//! A JSON-RPC message: its original bytes, and the few members that relaying needs.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::mcp::{
    attempts::Attempts,
    id::Id,
    malformed::Malformed,
    meta::SUBSCRIPTION_ID,
    object::{self, Object},
    splice::{Piece, splice},
};

/// A message that can be relayed. It is never serialised again: the bytes that came in go out.
#[derive(Debug, Clone)]
pub struct Message {
    raw: Bytes,
    /// The byte range of the id in `raw`, even if it is `null`; `None` if there is no id.
    id_range: Option<(usize, usize)>,
    pub kind: Kind,
    attempts: Option<Attempts>,
}

/// The three kinds of message (JSON-RPC 2.0 sections 4 and 5).
#[derive(Debug, Clone)]
pub enum Kind {
    Request {
        id: Id,
        method: Box<str>,
    },
    Notification {
        method: Box<str>,
    },
    Response {
        /// The request's id; `None` if the server could not read it (JSON-RPC 2.0 section 5).
        id: Option<Id>,
        /// Whether the response has a result, not an error.
        succeeded: bool,
    },
}

/// The members that determine the kind of a message. All others are skipped unparsed.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// The members that JSON-RPC 2.0 defines.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is present, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope<'_> {
    fn kind(&self, raw: &Bytes) -> Result<Kind, Malformed> {
        let id = self.id.map(|id| Id::parse(Id::part_of(raw, id.get()), id.get())).transpose()?;
        let method = self.method.map_or(Ok(None), |method| serde_json::from_str::<Option<Box<str>>>(method.get()));
        let method = method.map_err(|_| Malformed::Message)?;
        Ok(match (method, id, self.result.is_some(), self.error.is_some()) {
            (Some(method), Some(Some(id)), false, false) => Kind::Request { id, method },
            (Some(method), None, false, false) => Kind::Notification { method },
            (None, Some(id), true, false) => Kind::Response { id, succeeded: true },
            // Some peers send `"result": null` beside an error, or an error with no id at all.
            (None, id, _, true) => Kind::Response { id: id.flatten(), succeeded: false },
            _ => return Err(Malformed::Message),
        })
    }

    /// The byte range of the id in `raw`, which this envelope was read from.
    fn id_range(&self, raw: &Bytes) -> Option<(usize, usize)> {
        let id = self.id?.get();
        let start = id.as_ptr() as usize - raw.as_ptr() as usize;
        Some((start, start + id.len()))
    }
}

impl Members<'_> {
    /// Whether all members are valid in JSON-RPC 2.0, apart from the rules that [`Envelope::kind`] checks.
    fn are_valid(&self) -> bool {
        let starts_with =
            |value: &RawValue, first: &[u8]| value.get().as_bytes().first().is_some_and(|byte| first.contains(byte));
        let is_message = self.jsonrpc.is_some_and(|version| version.get() == r#""2.0""#);
        let is_request = self.method.is_some_and(|method| starts_with(method, b"\""));
        let parameters_fit = !is_request || self.params.is_none_or(|params| starts_with(params, b"{["));
        let error_fits = self.error.is_none_or(|error| self.result.is_none() && is_valid_error(error.get()));
        is_message && parameters_fit && error_fits && (is_request || self.method.is_none())
    }
}

/// Whether `error` is an error object with an integer code that every peer can read and a string message (JSON-RPC 2.0
/// section 5.1).
fn is_valid_error(error: &str) -> bool {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(rename = "code")]
        _code: i64,
        #[serde(borrow)]
        message: &'a RawValue,
    }
    let fields = serde_json::from_str::<Fields<'_>>(error);
    is_object(error.as_bytes()) && fields.is_ok_and(|error| error.message.get().starts_with('"'))
}

/// Whether the JSON text `raw` is an object. (serde would also accept an array of the members in order.)
fn is_object(raw: &[u8]) -> bool {
    raw.trim_ascii_start().starts_with(b"{")
}

impl Message {
    /// Reads the envelope of `raw`, a single JSON text.
    ///
    /// # Errors
    /// [`Malformed`], which determines the error to answer with.
    pub fn parse(raw: Bytes) -> Result<Self, Malformed> {
        if !is_object(&raw) {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&raw).is_ok();
            return Err(if is_json { Malformed::Message } else { Malformed::Json });
        }
        let envelope = serde_json::from_slice::<Envelope<'_>>(&raw).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Malformed::Message,
            _ => Malformed::Json,
        })?;
        let kind = envelope.kind(&raw)?;
        let id_range = envelope.id_range(&raw);
        Ok(Self { raw, id_range, kind, attempts: None })
    }

    /// Parses a message that is valid in every respect (JSON-RPC 2.0 sections 4 and 5), except that a response may lack
    /// its id, which [`Self::addressed_to`] adds.
    pub fn parse_valid(raw: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        let members: Members<'_> = serde_json::from_str(text).ok().filter(|_| is_object(raw))?;
        let Members { id, method, result, error, .. } = members;
        let envelope = Envelope { id, method, result, error };
        let kind = envelope.kind(raw).ok().filter(|_| members.are_valid())?;
        Some(Self { raw: raw.clone(), id_range: envelope.id_range(raw), kind, attempts: None })
    }

    /// A request from finmcp; `params` is JSON.
    pub fn request(id: Id, method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{params}}}"#, object::text(method));
        Self {
            id_range: own_id_range(&id),
            raw: raw.into(),
            kind: Kind::Request { id, method: method.into() },
            attempts: None,
        }
    }

    /// A notification from finmcp; `params` is JSON.
    pub fn notification(method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, object::text(method));
        Self { raw: raw.into(), id_range: None, kind: Kind::Notification { method: method.into() }, attempts: None }
    }

    /// A notification from finmcp that cancels the request `id`.
    pub fn cancellation(id: &Id) -> Self {
        Self::notification("notifications/cancelled", &format!(r#"{{"requestId":{id}}}"#))
    }

    /// A successful response from finmcp to the request `id`; `result` is JSON.
    pub fn response(id: &Id, result: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let kind = Kind::Response { id: Some(id.clone()), succeeded: true };
        Self { raw: raw.into(), id_range: own_id_range(id), kind, attempts: None }
    }

    /// The response that ends a subscription normally (MCP 2026-07-28 subscriptions, "Graceful Closure").
    pub fn end_of_subscription(id: &Id) -> Self {
        Self::response(id, &format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#))
    }

    /// An error response from finmcp to the request `id`, or to a request without a readable id (JSON-RPC 2.0 section
    /// 5.1).
    pub fn error(id: Option<&Id>, code: i32, message: &str) -> Self {
        let spelled = id.map_or("null".to_owned(), Id::to_string);
        let message = object::text(message);
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{spelled},"error":{{"code":{code},"message":{message}}}}}"#);
        let kind = Kind::Response { id: id.cloned(), succeeded: false };
        Self { raw: raw.into(), id_range: own_id_range(&spelled), kind, attempts: None }
    }

    /// Edits members of the message. All other bytes stay as they were, and in place if nothing else shares the memory.
    /// `None` if the message is not UTF-8, `edit` fails, or the result is not a message; the unedited message must not
    /// be sent instead.
    pub fn edited(self, edit: impl FnOnce(&mut Object<'_>)) -> Option<Self> {
        let pieces = Object::edited(std::str::from_utf8(&self.raw).ok()?, edit)?;
        // Drop the id, which may share the bytes.
        let Self { raw, attempts, .. } = self;
        let edited = Self::parse(splice(raw, &pieces)).ok()?;
        Some(Self { attempts, ..edited })
    }

    /// Gives the message a record of its attempts, unless it has one. Clones and edited versions share the record.
    pub fn recorded(mut self) -> Self {
        self.attempts.get_or_insert_default();
        self
    }

    /// The message without its record of attempts, as if it had never been sent.
    pub fn unsent(self) -> Self {
        Self { attempts: None, ..self }
    }

    /// The record of its attempts; an empty one if the message has none.
    pub fn attempts(&self) -> Attempts {
        self.attempts.clone().unwrap_or_default()
    }

    /// The request or response with another id; `None` if it cannot be edited.
    pub fn renamed(self, id: &Id) -> Option<Self> {
        self.edited(|message| message.set("id", id.to_string()))
    }

    /// The id of a request, or of a response that has one.
    pub fn id(&self) -> Option<&Id> {
        match &self.kind {
            Kind::Request { id, .. } => Some(id),
            Kind::Response { id, .. } => id.as_ref(),
            Kind::Notification { .. } => None,
        }
    }

    /// The original bytes.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The bytes as one line, because a line break ends a message on stdio (MCP stdio transport). Line breaks between
    /// JSON tokens become spaces; a JSON string cannot contain any.
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

    /// The response with the id as the request wrote it. Only that member changes.
    pub fn addressed_to(self, id: &Id) -> Self {
        let (current, succeeded) = match &self.kind {
            Kind::Response { id, succeeded } => (id, *succeeded),
            _ => return self,
        };
        if current.as_ref().is_some_and(|current| current.text == id.text) {
            return self;
        }
        let before = if self.id_range.is_some() { "" } else { r#""id":"# };
        let after = if self.id_range.is_some() { "" } else { "," };
        let first = memchr::memchr(b'{', &self.raw).map_or(0, |brace| brace + 1);
        let (start, end) = self.id_range.unwrap_or((first, first));
        let new = Piece::New(format!("{before}{id}{after}"));
        let pieces = [Piece::Kept(0..start), new, Piece::Kept(end..self.raw.len())];
        let start = start + before.len();
        Self {
            raw: splice(self.raw, &pieces),
            id_range: Some((start, start + id.text.len())),
            kind: Kind::Response { id: Some(id.clone()), succeeded },
            attempts: self.attempts,
        }
    }

    /// The member `name` of `params`, as JSON.
    pub fn member(&self, name: &str) -> Option<String> {
        let parameters = self.parameters::<Object<'_>>()?;
        parameters.get(name).map(str::to_owned)
    }

    /// The id of the request that a cancellation names.
    pub fn cancels(&self) -> Option<Id> {
        Id::from_json(&self.member("requestId")?)
    }

    /// Parses `params`.
    pub fn parameters<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Parameters<T> {
            params: T,
        }
        serde_json::from_slice::<Parameters<T>>(&self.raw).ok().map(|message| message.params)
    }

    /// Parses `result`.
    pub fn result<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Response<T> {
            result: T,
        }
        serde_json::from_slice::<Response<T>>(&self.raw).ok().map(|message| message.result)
    }

    /// Parses the `data` of an error response.
    pub fn error_data<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        #[derive(Deserialize)]
        struct Response<T> {
            error: Data<T>,
        }
        #[derive(Deserialize)]
        struct Data<T> {
            data: T,
        }
        serde_json::from_slice::<Response<T>>(&self.raw).ok().map(|response| response.error.data)
    }

    /// The code of an error response.
    pub fn error_code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Response {
            error: Code,
        }
        #[derive(Deserialize)]
        struct Code {
            code: i64,
        }
        serde_json::from_slice::<Response>(&self.raw).ok().map(|response| response.error.code)
    }
}

impl AsRef<Self> for Message {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The byte range of the id in a message that finmcp wrote.
fn own_id_range(spelled: &impl ToString) -> Option<(usize, usize)> {
    const START: usize = r#"{"jsonrpc":"2.0","id":"#.len();
    Some((START, START + spelled.to_string().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::attempts::Reason;

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn the_members_determine_the_kind() {
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

    /// t100, t102: malformed input is classified by the error to answer with; a batch is malformed.
    #[test]
    fn t100_t102_malformed_input_is_classified() {
        for text in ["", "{", "nul", "\u{feff}{}", "{\"id\":1,\"method\":\"a\"} x", "{\"id\":1e,\"method\":\"a\"}"] {
            assert_eq!(parse(text).unwrap_err(), Malformed::Json, "{text}");
        }
        for text in [
            "[]",
            r#"["2.0",1,"tools/call"]"#,
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

    /// t104: 1 is not "1", and a number keeps its spelling.
    #[test]
    fn t104_ids_are_compared_by_value() {
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

    /// a5: some servers answer with an id of another type.
    #[test]
    fn a5_an_id_of_another_type_is_recognised() {
        let id = |text: &str| Id::from_json(text).unwrap();
        for (one, other) in
            [("2", "\"2\""), ("2", "2.0"), ("\"-7\"", "-7"), ("1e3", "\"1e3\""), ("\"a\"", "\"\\u0061\"")]
        {
            assert!(id(one).resembles(&id(other)) && id(other).resembles(&id(one)), "{one} {other}");
        }
        for (one, other) in [("2", "3"), ("2", "\"02\""), ("2", "20"), ("2", "2.5"), ("\"a\"", "\"b\""), ("\"\"", "0")]
        {
            assert!(!id(one).resembles(&id(other)), "{one} {other}");
        }
    }

    #[test]
    fn a_response_gets_the_id_as_its_request_wrote_it() {
        let Kind::Request { id, .. } = parse(r#"{"id":"\u0061","method":"m"}"#).unwrap().kind else { panic!() };
        for (came, goes) in [
            (r#"{"result":{"x":1.10},"id":"a" , "z":1}"#, r#"{"result":{"x":1.10},"id":"\u0061" , "z":1}"#),
            (r#"{"id":"\u0061","result":1}"#, r#"{"id":"\u0061","result":1}"#),
            (r#"{"z":1, "id":null ,"error":{"code":1}}"#, r#"{"z":1, "id":"\u0061" ,"error":{"code":1}}"#),
            (r#" {"error":{"code":1},"y":1.0}"#, r#" {"id":"\u0061","error":{"code":1},"y":1.0}"#),
            (r#"{"id":null,"result":{"x":1.10}}"#, r#"{"id":"\u0061","result":{"x":1.10}}"#),
        ] {
            assert_eq!(parse(came).unwrap().addressed_to(&id).raw(), goes.as_bytes());
        }
        // A second time, and for a message from finmcp.
        let twice = parse(r#"{"id":"b","result":1.0}"#).unwrap().addressed_to(&Id::own(1)).addressed_to(&id);
        assert_eq!(twice.raw(), r#"{"id":"\u0061","result":1.0}"#.as_bytes());
        assert_eq!(
            Message::response(&Id::own(1), "1.0").addressed_to(&id).raw(),
            r#"{"jsonrpc":"2.0","id":"\u0061","result":1.0}"#.as_bytes()
        );
    }

    /// a16: a message that cannot be edited is not passed on unedited; a response gets its id all the same.
    #[test]
    fn a16_a_message_that_cannot_be_edited_is_dropped() {
        let odd =
            Message::parse(Bytes::from_static(b"{\"id\":1,\"method\":\"m\",\"params\":{\"x\":\"\xff\"}}")).unwrap();
        assert!(odd.clone().renamed(&Id::own(1)).is_none() && odd.edited(|_| ()).is_none());
        for text in [r#"{"id":1,"method":"m","params":[]}"#, r#"{"id":1,"method":"m","params":{},"params":{}}"#] {
            let message = parse(text).unwrap();
            assert!(message.clone().edited(|message| message.edit("params", |_| ())).is_none(), "{text}");
            assert!(message.renamed(&Id::own(1)).is_some(), "{text}");
        }
        assert!(parse(r#"{"id":1,"method":"m"}"#).unwrap().edited(|message| message.set("id", "[]")).is_none());
        let odd = Message::parse(Bytes::from_static(b"{\"id\":1,\"result\":0,\"x\":\"\xff\"}")).unwrap();
        let twice = odd.addressed_to(&Id::named("a long id")).addressed_to(&Id::from_number(2));
        assert_eq!(twice.raw(), b"{\"id\":2,\"result\":0,\"x\":\"\xff\"}".as_slice());
    }

    /// a1: an edited message keeps its record, whether it was edited in place or, because a clone shares its memory,
    /// copied; a message that replaces another starts a new record.
    #[test]
    fn a1_an_edited_message_keeps_its_record() {
        for is_shared in [false, true] {
            let message = parse(r#"{"id":"a","method":"m","params":{"x":1.10}}"#).unwrap().recorded();
            let (attempts, place) = (message.attempts(), message.raw().as_ptr());
            let clone = is_shared.then(|| message.clone());
            let message = message.edited(|message| message.edit("params", |params| params.remove(|_| true))).unwrap();
            assert_eq!(message.raw().as_ptr() != place, is_shared);
            assert!(attempts.admit(Reason::SignIn));
            let renamed = message.renamed(&Id::own(7)).unwrap().recorded();
            for message in clone.iter().chain([&renamed, &renamed.clone()]) {
                assert_eq!(message.attempts().spent(Reason::SignIn), 1, "{is_shared}");
            }
            assert!(renamed.attempts().admit(Reason::Unknown));
            assert_eq!(attempts.spent(Reason::Unknown), 1, "{is_shared}");
            assert_eq!(renamed.unsent().recorded().attempts().spent(Reason::SignIn), 0);
        }
        let answer = parse(r#"{"id":1,"result":{}}"#).unwrap().recorded();
        answer.attempts().may_have_run();
        assert!(!answer.addressed_to(&Id::own(2)).attempts().admits(Reason::SignIn));
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
