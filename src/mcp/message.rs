//! One JSON-RPC message: its bytes as they came, and the little that relaying needs to know of it.

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

/// A message that can be relayed. Its bytes are never written anew: what came in goes out.
#[derive(Debug, Clone)]
pub struct Message {
    raw: Bytes,
    /// From where to where in the bytes the id stands, be it `null`; none where there is none.
    place: Option<(usize, usize)>,
    /// What it is.
    pub kind: Kind,
    attempts: Option<Attempts>,
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

/// The members that decide. Everything else is skipped without being looked at.
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

/// The members that JSON-RPC 2.0 has a rule about.
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

/// A member that is there, `null` included.
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

    /// Where in `raw`, which this was read from, the id stands.
    fn place(&self, raw: &Bytes) -> Option<(usize, usize)> {
        let id = self.id?.get();
        let start = id.as_ptr() as usize - raw.as_ptr() as usize;
        Some((start, start + id.len()))
    }
}

impl Members<'_> {
    /// Whether every member is what JSON-RPC 2.0 wants it to be, and none too many. What [`Envelope::kind`] checks is not
    /// checked again.
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

/// Whether `error` is an error object: with a code that is an integer, which every peer can read, and a message
/// that is a string (JSON-RPC 2.0 section 5.1).
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

/// Whether the JSON text `raw` is an object: an array of the members in their order would do for serde too.
fn is_object(raw: &[u8]) -> bool {
    raw.trim_ascii_start().starts_with(b"{")
}

impl Message {
    /// Reads the envelope of `raw`, which is one JSON text.
    ///
    /// # Errors
    /// [`Malformed`], by what it should be answered with.
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
        let place = envelope.place(&raw);
        Ok(Self { raw, place, kind, attempts: None })
    }

    /// The message in `raw`, where that is valid in every respect (JSON-RPC 2.0 sections 4 and 5), except that a response
    /// may lack the id that [`Self::addressed_to`] gives it.
    pub fn parse_valid(raw: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        let members: Members<'_> = serde_json::from_str(text).ok().filter(|_| is_object(raw))?;
        let Members { id, method, result, error, .. } = members;
        let envelope = Envelope { id, method, result, error };
        let kind = envelope.kind(raw).ok().filter(|_| members.are_valid())?;
        Some(Self { raw: raw.clone(), place: envelope.place(raw), kind, attempts: None })
    }

    /// A request of ours; `params` is JSON.
    pub fn request(id: Id, method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{},"params":{params}}}"#, object::text(method));
        Self {
            place: own_place(&id),
            raw: raw.into(),
            kind: Kind::Request { id, method: method.into() },
            attempts: None,
        }
    }

    /// A notification of ours; `params` is JSON.
    pub fn notification(method: &str, params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, object::text(method));
        Self { raw: raw.into(), place: None, kind: Kind::Notification { method: method.into() }, attempts: None }
    }

    /// A notification of ours that the request `id` is not wanted any more.
    pub fn cancellation(id: &Id) -> Self {
        Self::notification("notifications/cancelled", &format!(r#"{{"requestId":{id}}}"#))
    }

    /// A result of ours for the request `id`; `result` is JSON.
    pub fn response(id: &Id, result: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let kind = Kind::Response { id: Some(id.clone()), succeeded: true };
        Self { raw: raw.into(), place: own_place(id), kind, attempts: None }
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
        let kind = Kind::Response { id: id.cloned(), succeeded: false };
        Self { raw: raw.into(), place: own_place(&spelled), kind, attempts: None }
    }

    /// The message with other members: what `edit` does not touch stays as it was written, and where it is in memory, if
    /// nothing else holds it. None where it cannot be edited so: it is not UTF-8, or `edit` failed, or leaves no
    /// message. It must not pass as though it had been edited.
    pub fn edited(self, edit: impl FnOnce(&mut Object<'_>)) -> Option<Self> {
        let pieces = Object::edited(std::str::from_utf8(&self.raw).ok()?, edit)?;
        // (An id may have a hold of the bytes.)
        let Self { raw, attempts, .. } = self;
        let edited = Self::parse(splice(raw, &pieces)).ok()?;
        Some(Self { attempts, ..edited })
    }

    /// The message with a record of what is tried for it, which its clones and edited forms share. One that has a
    /// record keeps it.
    pub fn recorded(mut self) -> Self {
        self.attempts.get_or_insert_default();
        self
    }

    /// The message as one that was never sent: its record stays behind.
    pub fn unsent(self) -> Self {
        Self { attempts: None, ..self }
    }

    /// What was tried for it: nothing that counts, where nobody keeps a record.
    pub fn attempts(&self) -> Attempts {
        self.attempts.clone().unwrap_or_default()
    }

    /// The request or response in the name of another id, wherever it carries one; none where it cannot be edited.
    pub fn renamed(self, id: &Id) -> Option<Self> {
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
        let (current, succeeded) = match &self.kind {
            Kind::Response { id, succeeded } => (id, *succeeded),
            _ => return self,
        };
        if current.as_ref().is_some_and(|current| current.text == id.text) {
            return self;
        }
        let before = if self.place.is_some() { "" } else { r#""id":"# };
        let after = if self.place.is_some() { "" } else { "," };
        let first = memchr::memchr(b'{', &self.raw).map_or(0, |brace| brace + 1);
        let (start, end) = self.place.unwrap_or((first, first));
        let new = Piece::New(format!("{before}{id}{after}"));
        let pieces = [Piece::Kept(0..start), new, Piece::Kept(end..self.raw.len())];
        let start = start + before.len();
        Self {
            raw: splice(self.raw, &pieces),
            place: Some((start, start + id.text.len())),
            kind: Kind::Response { id: Some(id.clone()), succeeded },
            attempts: self.attempts,
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

/// Where the id that is spelled so stands in a message of ours.
fn own_place(spelled: &impl ToString) -> Option<(usize, usize)> {
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
    fn a_response_is_addressed_in_the_spelling_of_its_request() {
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
        // Once more, and for a message of our own.
        let twice = parse(r#"{"id":"b","result":1.0}"#).unwrap().addressed_to(&Id::ours(1)).addressed_to(&id);
        assert_eq!(twice.raw(), r#"{"id":"\u0061","result":1.0}"#.as_bytes());
        assert_eq!(
            Message::response(&Id::ours(1), "1.0").addressed_to(&id).raw(),
            r#"{"jsonrpc":"2.0","id":"\u0061","result":1.0}"#.as_bytes()
        );
    }

    /// a16: what cannot be edited is not passed on as it was; an answer is addressed all the same.
    #[test]
    fn a16_a_message_that_cannot_be_edited_is_none() {
        let odd =
            Message::parse(Bytes::from_static(b"{\"id\":1,\"method\":\"m\",\"params\":{\"x\":\"\xff\"}}")).unwrap();
        assert!(odd.clone().renamed(&Id::ours(1)).is_none() && odd.edited(|_| ()).is_none());
        for text in [r#"{"id":1,"method":"m","params":[]}"#, r#"{"id":1,"method":"m","params":{},"params":{}}"#] {
            let message = parse(text).unwrap();
            assert!(message.clone().edited(|message| message.edit("params", |_| ())).is_none(), "{text}");
            assert!(message.renamed(&Id::ours(1)).is_some(), "{text}");
        }
        assert!(parse(r#"{"id":1,"method":"m"}"#).unwrap().edited(|message| message.set("id", "[]")).is_none());
        let odd = Message::parse(Bytes::from_static(b"{\"id\":1,\"result\":0,\"x\":\"\xff\"}")).unwrap();
        let twice = odd.addressed_to(&Id::named("a long id")).addressed_to(&Id::from_number(2));
        assert_eq!(twice.raw(), b"{\"id\":2,\"result\":0,\"x\":\"\xff\"}".as_slice());
    }

    /// a1: a message that is edited keeps its count, be it edited in its own place or, where a clone holds that, in
    /// another; a message that is put in another's place begins its own.
    #[test]
    fn a1_an_edited_message_keeps_its_record() {
        for is_shared in [false, true] {
            let message = parse(r#"{"id":"a","method":"m","params":{"x":1.10}}"#).unwrap().recorded();
            let (attempts, place) = (message.attempts(), message.raw().as_ptr());
            let clone = is_shared.then(|| message.clone());
            let message = message.edited(|message| message.edit("params", |params| params.remove(|_| true))).unwrap();
            assert_eq!(message.raw().as_ptr() != place, is_shared);
            assert!(attempts.admit(Reason::SignIn));
            let renamed = message.renamed(&Id::ours(7)).unwrap().recorded();
            for message in clone.iter().chain([&renamed, &renamed.clone()]) {
                assert_eq!(message.attempts().spent(Reason::SignIn), 1, "{is_shared}");
            }
            assert!(renamed.attempts().admit(Reason::Unknown));
            assert_eq!(attempts.spent(Reason::Unknown), 1, "{is_shared}");
            assert_eq!(renamed.unsent().recorded().attempts().spent(Reason::SignIn), 0);
        }
        let answer = parse(r#"{"id":1,"result":{}}"#).unwrap().recorded();
        answer.attempts().may_have_run();
        assert!(!answer.addressed_to(&Id::ours(2)).attempts().admits(Reason::SignIn));
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
