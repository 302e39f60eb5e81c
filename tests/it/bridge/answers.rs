//! Whatever a server answers, the client gets one valid JSON-RPC message for each of its requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    support::{
        sandbox::Sandbox,
        serve::Serve,
        vendor::{Answer, Effect, Era, On, Reply, Script, Vendor},
    },
};

const QUIET: Duration = Duration::from_millis(100);

/// What the client has to get.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// A result, in which the server's numbers are as it wrote them.
    Result,
    /// This error, with this in its message.
    Error(i64, &'static str),
    /// That nobody knows whether the call was carried out.
    Unknown,
}
use Expected::{Error, Result, Unknown};

const INTERNAL: i64 = -32603;
const NO_TEXT: &str = "an error without a description";
const OUTCOME_UNKNOWN: i64 = -31010;

/// What a server sends, with `@ID@` for the id of the request and `@R@` for a result, and what becomes of it. Where the
/// id is not the request's own, nothing says on a stream for all requests which one it answers.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    expected: Expected,
    names_its_request: bool,
}

const RESULT: &str = r#""result":{"content":[],"n":1.10}"#;

fn case(name: &'static str, sent: impl AsRef<[u8]>, expected: Expected) -> Case {
    let sent = sent.as_ref();
    let sent = match std::str::from_utf8(sent) {
        Ok(text) => text.replace("@R@", RESULT).into_bytes(),
        Err(_) => sent.to_vec(),
    };
    Case { name, sent, expected, names_its_request: true }
}

fn unnamed(name: &'static str, sent: &str, expected: Expected) -> Case {
    Case { names_its_request: false, ..case(name, sent, expected) }
}

/// Answers whose error is `error`.
fn error(name: &'static str, error: &str, expected: Expected) -> Case {
    case(name, format!(r#"{{"jsonrpc":"2.0","id":@ID@,"error":{error}}}"#), expected)
}

fn cases() -> Vec<Case> {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"n":1.10,"d":{}{}}}}}"#, "[".repeat(300), "]".repeat(300));
    let latin1 = [br#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[],"n":1.10,"t":"caf"#, &b"\xe9\"}}"[..]].concat();
    let two = r#"{"jsonrpc":"2.0","id":@ID@,@R@}"#;
    vec![
        case("as it should be", two, Result),
        // Ids.
        unnamed("id null", r#"{"jsonrpc":"2.0","id":null,@R@}"#, Result),
        unnamed("no id", r#"{"jsonrpc":"2.0",@R@}"#, Result),
        unnamed("id true", r#"{"jsonrpc":"2.0","id":true,@R@}"#, Result),
        unnamed("id in an array", r#"{"jsonrpc":"2.0","id":[@ID@],@R@}"#, Result),
        unnamed("id in an object", r#"{"jsonrpc":"2.0","id":{"id":@ID@},@R@}"#, Result),
        unnamed("id of nothing", r#"{"jsonrpc":"2.0","id":987654321,@R@}"#, Result),
        unnamed("id empty", r#"{"jsonrpc":"2.0","id":"",@R@}"#, Result),
        unnamed("id of very many digits", r#"{"jsonrpc":"2.0","id":1e999,@R@}"#, Result),
        unnamed("id null, error", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-7,"message":"e"}}"#, Error(-7, "e")),
        unnamed("no id, error", r#"{"jsonrpc":"2.0","error":{"code":-7,"message":"e"}}"#, Error(-7, "e")),
        case("id as text", r#"{"jsonrpc":"2.0","id":"@ID@",@R@}"#, Result),
        case("id as a float", r#"{"jsonrpc":"2.0","id":@ID@.0,@R@}"#, Result),
        case("id twice", r#"{"jsonrpc":"2.0","id":0,"id":@ID@,@R@}"#, Result),
        // The envelope.
        case("no version", r#"{"id":@ID@,@R@}"#, Result),
        case("version 1.0", r#"{"jsonrpc":"1.0","id":@ID@,@R@}"#, Result),
        case("version as a number", r#"{"jsonrpc":2.0,"id":@ID@,@R@}"#, Result),
        case("version null", r#"{"jsonrpc":null,"id":@ID@,@R@}"#, Result),
        case("result twice", r#"{"jsonrpc":"2.0","id":@ID@,"result":"x",@R@}"#, Result),
        case("result, and error null", r#"{"jsonrpc":"2.0","id":@ID@,@R@,"error":null}"#, Result),
        case("result, and method", r#"{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","params":{},@R@}"#, Result),
        case("result, and method null", r#"{"jsonrpc":"2.0","id":@ID@,"method":null,@R@}"#, Result),
        case("result, and method a number", r#"{"jsonrpc":"2.0","id":@ID@,"method":7,@R@}"#, Result),
        case("unknown members", r#"{"z":1e999,"jsonrpc":"2.0","id":@ID@,@R@,"":[]}"#, Result),
        case(
            "result and error",
            r#"{"jsonrpc":"2.0","id":@ID@,@R@,"error":{"code":-7,"message":"e"}}"#,
            Error(-7, "e"),
        ),
        case(
            "result null, and error",
            r#"{"jsonrpc":"2.0","id":@ID@,"result":null,"error":{"code":-7,"message":"e"}}"#,
            Error(-7, "e"),
        ),
        case(
            "method and error",
            r#"{"jsonrpc":"2.0","id":@ID@,"method":"x","error":{"code":-7,"message":"e"}}"#,
            Error(-7, "e"),
        ),
        case("no version, error", r#"{"id":@ID@,"error":"e"}"#, Error(INTERNAL, "e")),
        // Errors.
        error("error", r#"{"code":-7,"message":"e","data":[1.0]}"#, Error(-7, "e")),
        error("error as text", r#""e""#, Error(INTERNAL, "e")),
        error("error as text with an escape in it", r#""a\n\u0000\"e""#, Error(INTERNAL, "a\\n\\u0000\\\"e")),
        error("error as text with half a character", r#""e\ud800""#, Error(INTERNAL, "e\\ud800")),
        error("error null", "null", Error(INTERNAL, NO_TEXT)),
        error("error as a number", "-32601", Error(-32601, NO_TEXT)),
        error("error as a float", "0.5", Error(INTERNAL, NO_TEXT)),
        error("error true", "true", Error(INTERNAL, NO_TEXT)),
        error("error as an array", r#"[-7,"e"]"#, Error(INTERNAL, NO_TEXT)),
        error("error empty", "{}", Error(INTERNAL, NO_TEXT)),
        error("error without code", r#"{"message":"e"}"#, Error(INTERNAL, "e")),
        error("error with a code in a string", r#"{"code":"-7","message":"e"}"#, Error(-7, "e")),
        error("error with a word as code", r#"{"code":"E_X","message":"e"}"#, Error(INTERNAL, "e")),
        error("error with code null", r#"{"code":null,"message":"e"}"#, Error(INTERNAL, "e")),
        error("error with a float as code", r#"{"code":-7.0,"message":"e"}"#, Error(-7, "e")),
        error("error with half a code", r#"{"code":1.5,"message":"e"}"#, Error(INTERNAL, "e")),
        error(
            "error with a huge code",
            r#"{"code":123456789012345678901234567890,"message":"e"}"#,
            Error(INTERNAL, "e"),
        ),
        error("error with two codes", r#"{"code":"x","code":-7,"message":"e"}"#, Error(-7, "e")),
        error("error without message", r#"{"code":-7}"#, Error(-7, NO_TEXT)),
        error("error with message null", r#"{"code":-7,"message":null}"#, Error(-7, NO_TEXT)),
        error("error with an object as message", r#"{"code":-7,"message":{"en":"e"}}"#, Error(-7, NO_TEXT)),
        error("error in an error", r#"{"error":{"code":-7,"message":"e"}}"#, Error(INTERNAL, NO_TEXT)),
        // Texts around and in it.
        case("an array of one", format!("[{two}]"), Result),
        case("an array with a heartbeat", format!("[{{}},7,{two}]"), Result),
        case("an array of one error", r#"[{"id":@ID@,"error":"e"}]"#, Error(INTERNAL, "e")),
        case("a byte order mark", format!("\u{feff}{two}"), Result),
        case("a byte order mark and an array", format!("\u{feff}\r\n[\r\n{two}\r\n]\r\n"), Result),
        case("many lines", "{\r\n\"jsonrpc\": \"2.0\",\r\n\t\"id\":\n@ID@,\r\n@R@\r\n}\r\n", Result),
        case(
            "half a character",
            r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[],"n":1.10,"x":"\ud800"}}"#,
            Result,
        ),
        case("a huge number", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[],"n":1.10,"x":1e999999}}"#, Result),
        case("very deep", deep, Result),
        case("other than UTF-8", latin1, Result),
        // No answer at all.
        case("an empty object", "{}", Unknown),
        case("an empty array", "[]", Unknown),
        case("an array in an array", format!("[[{two}]]"), Unknown),
        case("a word", "ping", Unknown),
        case("a string", r#""ping""#, Unknown),
        case("a number", "7", Unknown),
        case("null", "null", Unknown),
        case("white space", " ", Unknown),
        case("neither result nor error", r#"{"jsonrpc":"2.0","id":@ID@}"#, Unknown),
        case("a result of something else", r#"{"result":{"n":1.10}}"#, Unknown),
        case("an error of something else", r#"{"error":"invalid_token"}"#, Unknown),
        case("a method that is none", r#"{"jsonrpc":"2.0","id":@ID@,"method":7}"#, Unknown),
        case("a request without a usable id", r#"{"jsonrpc":"2.0","id":[1],"method":"roots/list"}"#, Unknown),
        case("not a number", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"n":NaN}}"#, Unknown),
        case("a comma too many", r#"{"jsonrpc":"2.0","id":@ID@,"result":{},}"#, Unknown),
        case("single quotes", r#"{'jsonrpc':'2.0','id':@ID@,'result':{}}"#, Unknown),
        case("a comment", r#"{"jsonrpc":"2.0","id":@ID@,/* x */"result":{}}"#, Unknown),
        case("cut off", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"n":1.1"#, Unknown),
        case("two documents", format!("{two} {two}"), Unknown),
        case("a NUL", "{\"jsonrpc\":\"2.0\",\"id\":@ID@,\"result\":{\"x\":\"\0\"}}", Unknown),
        case("a control character", "{\"jsonrpc\":\"2.0\",\"id\":@ID@,\"result\":{\"x\":\"\u{1b}\"}}", Unknown),
        case("JSON in a string", json!(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).to_string(), Unknown),
        case("UTF-16", "{\0}\0", Unknown),
        case("a page", "<!doctype html><title>Sign in</title>", Unknown),
    ]
}

/// How the answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Body,
    Event,
    HttpSse,
}

/// Row A4: every answer, in each of the ways, to clients and from servers of both eras.
#[test]
fn a4_a5_whatever_is_answered_the_client_gets_one_valid_answer() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    let cases = &cases;
    thread::scope(|scope| {
        for way in [Way::Body, Way::Event, Way::HttpSse] {
            for (client, server) in Era::COMBINATIONS {
                // HTTP+SSE is of the legacy era.
                if way != Way::HttpSse || server == Era::Legacy {
                    scope.spawn(move || ask_for_all(cases, way, client, server));
                }
            }
        }
    });
}

fn ask_for_all(cases: &[Case], way: Way, client: Era, server: Era) {
    let script = match way {
        Way::Body => Script { era: server, ..Script::default() },
        Way::Event => Script { era: server, answer: Answer::Events, ..Script::default() },
        Way::HttpSse => Script::default().over_sse(),
    };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let log = sandbox.watched().join("audit.jsonl");
    let timeout = if way == Way::HttpSse { "3" } else { "60" };
    let mut serve = sandbox.serve([&vendor.url(), "--timeout", timeout, "--audit-log", log.to_str().unwrap()]);
    serve.greet(client).result();
    let mut asked = HashMap::new();
    for case in cases {
        vendor.prepare(case.name, case.sent.clone());
        let id = serve.post_in(client, "tools/call", json!({"name": "raw", "arguments": {"name": case.name}}));
        asked.insert(id, case);
    }
    let mut outcomes = BTreeMap::<String, usize>::new();
    for _ in cases {
        let line = serve.next().raw;
        let answer = check::response(&line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
        let case =
            asked.remove(&answer.id).unwrap_or_else(|| panic!("nobody asked, or it was answered before: {line}"));
        let what = format!("{}: {way:?}, {client:?} to {server:?}: {line}", case.name);
        let is_lost = way == Way::HttpSse && !case.names_its_request;
        let outcome = match if is_lost { Unknown } else { case.expected } {
            Result => {
                assert!(answer.error.is_none() && line.contains(r#""n":1.10"#), "{what}");
                "ok".to_owned()
            }
            Error(code, text) => {
                let (told, message) = answer.error.expect(&what);
                assert!(told == code && message.contains(text), "{what}");
                format!("error:{code}")
            }
            Unknown => {
                assert_eq!(answer.error.map(|(code, _)| code), Some(OUTCOME_UNKNOWN), "{what}");
                "unknown".to_owned()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(serve.rest(QUIET).is_empty(), "an answer too many");
    assert_eq!(vendor.executed().len(), cases.len(), "each call was made once");
    // The log says what the client was told.
    let mut recorded = BTreeMap::<String, usize>::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        *recorded.entry(line["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(recorded, outcomes);
}

/// A reader of JSON and of JSON-RPC's responses that shares nothing with the product's.
mod check {
    /// A value; numbers and texts as they are spelled.
    #[derive(Debug, Clone, PartialEq)]
    enum Json {
        Word(String),
        Number(String),
        Text(String),
        Array,
        Object(Vec<(String, Json)>),
    }

    pub struct Response {
        pub id: String,
        pub error: Option<(i64, String)>,
    }

    /// The response that `line` is (JSON-RPC 2.0 section 5).
    pub fn response(line: &str) -> Result<Response, String> {
        let mut reader = Reader { bytes: line.as_bytes(), at: 0 };
        let value = reader.value()?;
        reader.space();
        let Json::Object(members) = value else { return Err("no object".to_owned()) };
        if reader.at != line.len() {
            return Err(format!("something behind it at {}", reader.at));
        }
        let member = |name: &str| {
            let mut found = members.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone());
            let first = found.next();
            if found.next().is_some() { Err(format!("{name} twice")) } else { Ok(first) }
        };
        if member("jsonrpc")? != Some(Json::Text("2.0".to_owned())) || member("method")?.is_some() {
            return Err("no response of JSON-RPC 2.0".to_owned());
        }
        let id = match member("id")? {
            Some(Json::Number(id)) => id,
            other => return Err(format!("the id is {other:?}")),
        };
        let error = match (member("result")?, member("error")?) {
            (Some(_), None) => None,
            (None, Some(Json::Object(error))) => {
                let field = |name: &str| {
                    error.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect::<Vec<_>>()
                };
                match (&field("code")[..], &field("message")[..]) {
                    ([Json::Number(code)], [Json::Text(message)]) => {
                        Some((code.parse().map_err(|_| format!("the code is {code}"))?, message.clone()))
                    }
                    other => return Err(format!("code and message are {other:?}")),
                }
            }
            other => return Err(format!("result and error are {other:?}")),
        };
        Ok(Response { id, error })
    }

    /// RFC 8259, rule by rule.
    struct Reader<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl Reader<'_> {
        fn peek(&self) -> u8 {
            self.bytes.get(self.at).copied().unwrap_or(0)
        }

        fn space(&mut self) {
            while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
                self.at += 1;
            }
        }

        fn wants(&mut self, byte: u8) -> Result<(), String> {
            if self.peek() != byte {
                return Err(format!("no {} at {}", byte as char, self.at));
            }
            self.at += 1;
            Ok(())
        }

        fn value(&mut self) -> Result<Json, String> {
            self.space();
            match self.peek() {
                b'{' => self.object(),
                b'[' => self.array(),
                b'"' => self.text().map(Json::Text),
                b'-' | b'0'..=b'9' => self.number(),
                _ => self.word(),
            }
        }

        fn object(&mut self) -> Result<Json, String> {
            self.wants(b'{')?;
            let mut members = Vec::new();
            self.space();
            if self.peek() == b'}' {
                self.at += 1;
                return Ok(Json::Object(members));
            }
            loop {
                self.space();
                let name = self.text()?;
                self.space();
                self.wants(b':')?;
                members.push((name, self.value()?));
                self.space();
                if self.peek() != b',' {
                    self.wants(b'}')?;
                    return Ok(Json::Object(members));
                }
                self.at += 1;
            }
        }

        fn array(&mut self) -> Result<Json, String> {
            self.wants(b'[')?;
            self.space();
            if self.peek() == b']' {
                self.at += 1;
                return Ok(Json::Array);
            }
            loop {
                self.value()?;
                self.space();
                if self.peek() != b',' {
                    self.wants(b']')?;
                    return Ok(Json::Array);
                }
                self.at += 1;
            }
        }

        /// The text as it is spelled, without its quotes.
        fn text(&mut self) -> Result<String, String> {
            self.wants(b'"')?;
            let start = self.at;
            loop {
                match self.peek() {
                    0..0x20 => return Err(format!("a control character at {}", self.at)),
                    b'"' => break,
                    b'\\' => {
                        let escape = self.bytes.get(self.at + 1).copied().unwrap_or(0);
                        let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                        match escape {
                            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                            b'u' if digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                            _ => return Err(format!("no escape at {}", self.at)),
                        }
                    }
                    _ => self.at += 1,
                }
            }
            self.at += 1;
            String::from_utf8(self.bytes[start..self.at - 1].to_vec()).map_err(|error| error.to_string())
        }

        fn digits(&mut self) -> Result<(), String> {
            let start = self.at;
            while self.peek().is_ascii_digit() {
                self.at += 1;
            }
            if self.at == start { Err(format!("no digit at {start}")) } else { Ok(()) }
        }

        fn number(&mut self) -> Result<Json, String> {
            let start = self.at;
            self.at += usize::from(self.peek() == b'-');
            if self.peek() == b'0' {
                self.at += 1
            } else {
                self.digits()?
            }
            if self.peek() == b'.' {
                self.at += 1;
                self.digits()?;
            }
            if matches!(self.peek(), b'e' | b'E') {
                self.at += 1;
                self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
                self.digits()?;
            }
            Ok(Json::Number(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()))
        }

        fn word(&mut self) -> Result<Json, String> {
            for word in ["true", "false", "null"] {
                if self.bytes[self.at..].starts_with(word.as_bytes()) {
                    self.at += word.len();
                    return Ok(Json::Word(word.to_owned()));
                }
            }
            Err(format!("no value at {}", self.at))
        }
    }

    /// A reader that takes anything proves nothing.
    #[test]
    fn only_valid_responses_pass() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"n":[1.10,-0,1e5,"\ud800"]}}"#,
            r#" { "jsonrpc" : "2.0" , "id" : 1 , "error" : { "code" : -7 , "message" : "" , "data" : null } } "#,
        ] {
            assert!(response(line).is_ok(), "{line}");
        }
        for line in [
            r#"{"id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.0,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":01}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":NaN}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"\x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1} {}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\u{1}\"}",
        ] {
            assert!(response(line).is_err(), "{line}");
        }
    }
}

fn stream(text: impl Into<Vec<u8>>) -> Effect {
    Effect::Answer(Reply::new(200).body("text/event-stream", text))
}

/// Row A5: what comes before the answer and is no message, and that what comes behind is none either.
#[test]
fn a5_heartbeats_in_a_calls_stream_are_skipped() {
    let answer = r#"{"jsonrpc":"2.0","id":2,"result":{"n":1.10}}"#;
    for era in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
        serve.greet(era).result();
        for beat in [
            "data: ping",
            "data: {}",
            "data: []",
            "data: \"ping\"",
            "data:",
            ": x",
            "event: ping\ndata: {}",
            "data: {\"type\":\"heartbeat\"}",
            "data: {",
            "data: 12:00\nid: 7",
            "retry: 9",
        ] {
            let id = serve.post_in(era, "ping/none", json!({}));
            serve.answer_to(&id).error();
            let next = id.parse::<u64>().unwrap() + 1;
            let answer = answer.replace(":2,", &format!(":{next},"));
            vendor.fault(On::Rpc("tools/call"), stream(format!("{beat}\n\n{beat}\n\ndata: {answer}\n\n{beat}\n\n")));
            assert_eq!(serve.call_in(era, "echo", json!({})).raw, answer, "{era:?} {beat}");
        }
        // The answer does not come: what the server meant by the rest decides what is said.
        for (text, said) in [("data: ping\n\n", "ended its answer"), ("data: {\"id\":\n\n", "not a JSON-RPC message")] {
            vendor.fault(On::Rpc("tools/call"), stream(text));
            let error = serve.call_in(era, "echo", json!({})).error();
            assert!(error["code"] == OUTCOME_UNKNOWN && error["message"].as_str().unwrap().contains(said), "{error}");
        }
        assert!(serve.rest(QUIET).is_empty());
    }
}

/// Row A4: on one stream, the answer with the right id is the answer, whatever else comes; what names another
/// request that waits is for that one; and where there are two that name none, nobody knows.
#[test]
fn a4_a_response_goes_to_the_request_that_it_means() {
    let result =
        |id: &str, text: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"t\":\"{text}\"}}}}\n\n");
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    vendor.fault(On::Rpc("tools/call"), stream([result("999", "stray"), result("2", "right")].concat()));
    assert_eq!(serve.call("echo", json!({})).result()["t"], "right");
    vendor.fault(
        On::Rpc("tools/call"),
        stream([result("3", "right"), result("null", "late"), result("3", "late")].concat()),
    );
    assert_eq!(serve.call("echo", json!({})).result()["t"], "right");
    vendor.fault(On::Rpc("tools/call"), stream([result("998", "stray"), result("999", "stray")].concat()));
    assert_eq!(serve.call("echo", json!({})).error()["code"], OUTCOME_UNKNOWN);
    // Number 5 waits; its answer comes in that to number 6, which has none.
    let waiting = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(&waiting));
    vendor.fault(On::Rpc("tools/call"), stream(result(&waiting, "other")));
    assert_eq!(serve.call("echo", json!({})).error()["code"], OUTCOME_UNKNOWN);
    assert_eq!(serve.answer_to(&waiting).result()["t"], "other");
    assert!(serve.rest(QUIET).is_empty());
}

/// Row A4: over HTTP+SSE, an answer that cannot be read is that to the only request that waits, at once; and an id of
/// another type is taken for the only request that it can mean.
#[test]
fn a4_an_unreadable_answer_on_the_stream_ends_the_wait() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().over_sse());
    serve.initialize();
    for text in [r#"{"jsonrpc":"2.0","id":2,"result":{"n":NaN}}"#, r#"{"jsonrpc":"2.0","id":"@ID@"}"#] {
        let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
        vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(&call));
        vendor.push(text.replace("@ID@", &call));
        assert_eq!(serve.answer_to(&call).error()["code"], OUTCOME_UNKNOWN, "{text}");
    }
    let (number, text) = ("71", "\"71\"");
    for id in [number, text] {
        serve.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"hang","arguments":{{}}}}}}"#
        ));
        vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(id));
    }
    vendor.push(r#"{"jsonrpc":"2.0","id":71.0,"result":{"of":"nobody"}}"#);
    vendor.push(r#"{"jsonrpc":"2.0","id":"71","result":{"of":"text"}}"#);
    vendor.push(r#"{"jsonrpc":"2.0","id":71.0,"result":{"of":"number"}}"#);
    assert_eq!(serve.answer_to(text).result()["of"], "text");
    assert_eq!(serve.answer_to(number).result()["of"], "number");
    assert!(serve.rest(QUIET).is_empty());
}

/// Row A5: what a server calls its JSON.
#[test]
fn a5_json_is_taken_whatever_it_is_called() {
    for era in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
        serve.greet(era).result();
        let answer = r#"{"jsonrpc":"2.0","id":null,"result":{"n":1.10}}"#;
        for kind in [
            "text/plain",
            "text/plain; charset=utf-8",
            "application/octet-stream",
            "application/json-rpc",
            "text/json",
            "",
        ] {
            let reply = Reply::new(200);
            let reply = if kind.is_empty() { reply.untyped(answer) } else { reply.body(kind, answer) };
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(reply));
            assert!(serve.call_in(era, "echo", json!({})).raw.contains(r#""n":1.10"#), "{kind}");
        }
        for (kind, body) in
            [("text/html", answer), ("application/xhtml+xml", answer), ("text/plain", "Welcome"), ("image/png", "{}")]
        {
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(200).body(kind, body)));
            let error = serve.call_in(era, "echo", json!({})).error();
            let text = error["message"].as_str().unwrap();
            assert!(
                error["code"] == OUTCOME_UNKNOWN && text.contains(&format!("not MCP but {kind}")),
                "{kind}: {text}"
            );
        }
    }
}

/// Rows A4 and A5: an error status with such a body, at the handshake and at a call.
#[test]
fn a4_the_error_in_a_refusal_is_valid_too() {
    for (body, code, text) in [
        (r#"{"jsonrpc":"2.0","id":"server-error","error":"e"}"#, INTERNAL, "e"),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000}}"#, -32000, NO_TEXT),
        ("\u{feff}[{\"jsonrpc\":\"2.0\",\"error\":{\"code\":\"-7\",\"message\":\"e\"}}]", -7, "e"),
    ] {
        for era in [Era::Legacy, Era::Modern] {
            let (_sandbox, vendor, mut serve) = open_bridge(Script { era, sessions: false, ..Script::default() });
            serve.greet(era).result();
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(422).body("application/json", body)));
            let line = serve.call_in(era, "echo", json!({})).raw;
            let answer = check::response(&line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
            assert!(answer.error.is_some_and(|(told, said)| told == code && said.contains(text)), "{line}");
        }
    }
}

/// Row A5: a session id is sent back as long as it may be; one that is longer opens no session.
#[test]
fn a5_session_ids_may_be_long() {
    for (length, taken) in [(1, true), (1025, true), (8 << 10, true), ((8 << 10) + 1, false)] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { sessions: false, ..Script::default() });
        let id = "~".repeat(length);
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"}}}"#;
        let reply = Reply::new(200).header("mcp-session-id", &id).body("application/json", answer);
        vendor.fault(On::Rpc("initialize"), Effect::Answer(reply));
        let greeting = serve.initialize();
        if taken {
            greeting.result();
            serve.call("echo", json!({})).result();
            assert_eq!(vendor.calls("tools/call")[0].header("mcp-session-id"), Some(&*id));
        } else {
            assert!(vendor.records().iter().all(|record| record.header("mcp-session-id").is_none()));
        }
    }
}

/// Row A5: a mark in front of the client's lines is nothing.
#[test]
fn a5_a_byte_order_mark_on_stdin_is_skipped() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    serve.write(format!("\u{feff}{initialize}\r\n\u{feff}\r\n").as_bytes());
    serve.answer_to("1").result();
    serve.send("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}");
    serve.answer_to("2").result();
    assert!(serve.rest(QUIET).is_empty());
}

/// Row A9: comments and events that say nothing keep a call going; single bytes do not, and nothing does for ever.
#[test]
fn a9_what_keeps_a_calls_stream_alive_is_a_sign_of_life() {
    let pause = Duration::from_millis(300);
    thread::scope(|scope| {
        for (era, beat) in [
            (Era::Legacy, ": keep-alive\n\n"),
            (Era::Modern, ":\n"),
            (Era::Modern, "event: ping\ndata: 1\n\n"),
            (Era::Legacy, "data: ping\n\n"),
        ] {
            scope.spawn(move || {
                let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..Script::default() }));
                let mut serve = sandbox.serve([&vendor.url(), "--timeout", "2"]);
                serve.greet(era).result();
                let mut parts = vec![beat.to_owned(); 15];
                parts.push("data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n".to_owned());
                vendor.fault(On::Rpc("tools/call"), Effect::Drip(parts, pause));
                let begun = Instant::now();
                serve.call_in(era, "echo", json!({})).result();
                assert!(begun.elapsed() > Duration::from_secs(4), "{beat:?}");
            });
        }
        for (beat, limit) in [("x", 2..6), ("\n", 2..6), (": keep-alive\n\n", 12..18)] {
            scope.spawn(move || {
                let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
                let seconds = if limit.start == 2 { "2" } else { "1" };
                let mut serve = sandbox.serve([&vendor.url(), "--timeout", seconds]);
                serve.initialize();
                let parts = [": whole\n\n", "data: "].iter().map(|part| (*part).to_owned());
                let parts = if beat == "x" { parts.collect() } else { Vec::new() };
                let parts = [parts, vec![beat.to_owned(); 100]].concat();
                vendor.fault(On::Rpc("tools/call"), Effect::Drip(parts, pause));
                let begun = Instant::now();
                let error = serve.call("echo", json!({})).error();
                assert!(error["message"].as_str().unwrap().contains("did not answer"), "{error}");
                assert!(limit.contains(&begun.elapsed().as_secs()), "{beat:?}: {:?}", begun.elapsed());
            });
        }
    });
}

/// A client of the revision that has batches.
fn open_with_batches(server: Era) -> (Sandbox, Vendor, Serve) {
    let (sandbox, vendor, mut serve) = open_bridge(Script { era: server, ..Script::default() });
    greet_as(&mut serve, "2025-03-26");
    (sandbox, vendor, serve)
}

fn greet_as(serve: &mut Serve, revision: &str) {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
    assert_eq!(serve.request("initialize", params).result()["protocolVersion"], revision);
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
}

fn echo(id: &str, text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{text}"}}}}}}"#
    )
}

/// The next line, which is an array of responses: by their ids.
fn next_batch(serve: &mut Serve) -> BTreeMap<String, serde_json::Value> {
    let line = serve.next().raw;
    let responses: Vec<serde_json::Value> =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(responses.iter().all(|response| response["jsonrpc"] == "2.0"), "{line}");
    responses.into_iter().map(|response| (response["id"].to_string(), response)).collect()
}

/// Row A18: a batch reaches the server message by message, each once, and its responses come back together.
#[test]
fn a18_a_batch_is_answered_as_a_batch() {
    for server in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_with_batches(server);
        let list = r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#;
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        serve.send(format!("[{}, {notification}, {list},{}]", echo("70", "a"), echo("\"b\"", "b")));
        let answers = next_batch(&mut serve);
        assert_eq!(answers.keys().collect::<Vec<_>>(), [r#""b""#, r#""l""#, "70"], "{server:?}");
        assert_eq!(answers["70"]["result"]["content"][0]["text"], "a");
        assert_eq!(answers[r#""b""#]["result"]["content"][0]["text"], "b");
        assert!(answers[r#""l""#]["result"]["tools"].is_array());
        assert_eq!(vendor.executed().len(), 2);
        assert!(vendor.records().iter().all(|record| !record.text().trim_start().starts_with('[')));
        // What is alone is answered alone, and so is the client once it is no batch any more.
        serve.request("ping", json!({})).result();
        assert!(serve.rest(QUIET).is_empty());
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// Row A18: at most once and in the array, whatever is wrong with a part or becomes of it.
#[test]
fn a18_each_request_of_a_batch_has_one_answer() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = sandbox.watched().join("audit.jsonl");
    let mut serve = sandbox.serve([&vendor.url(), "--deny-tool", "roots", "--audit-log", log.to_str().unwrap()]);
    greet_as(&mut serve, "2025-03-26");
    vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
    serve.send(format!("[{}]", echo("70", "a")));
    assert_eq!(next_batch(&mut serve)["70"]["error"]["code"], OUTCOME_UNKNOWN);
    assert_eq!(vendor.executed(), ["echo"]);
    let denied = echo("71", "x").replace("\"echo\"", "\"roots\"");
    serve.send(format!(r#"[{denied},{},7,{},{{"jsonrpc":"2.0","id":73}}]"#, echo("72", "b"), echo("72", "again")));
    let line = serve.next().raw;
    let answers: Vec<serde_json::Value> = serde_json::from_str(&line).unwrap();
    let mut told: Vec<_> =
        answers.iter().map(|answer| format!("{} {}", answer["id"], answer["error"]["code"])).collect();
    told.sort();
    assert_eq!(told, ["71 -32602", "72 -32600", "72 null", "73 -32600", "null -32600"], "{line}");
    assert_eq!(vendor.executed(), ["echo", "echo"]);
    let outcomes: Vec<_> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["unknown", "refused", "ok"]);
    // A cancelled request holds up no other, and the end answers the rest.
    let hang = |id: &str| echo(id, "").replace("\"echo\"", "\"hang\"");
    serve.send(format!("[{},{}]", hang("80"), echo("81", "c")));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some("80"));
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":80}}"#);
    assert_eq!(next_batch(&mut serve).into_keys().collect::<Vec<_>>(), ["81"]);
    serve.send(format!("[{},{}]", hang("90"), echo("91", "d")));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some("90"));
    serve.close_stdin();
    let answers = next_batch(&mut serve);
    assert_eq!(answers["91"]["result"]["content"][0]["text"], "d");
    assert_eq!(answers["90"]["error"]["code"], OUTCOME_UNKNOWN);
}

/// Row A18: what asks for nothing is not answered; what is no batch, and a batch of another revision, is refused as
/// ever.
#[test]
fn a18_only_one_revision_has_batches() {
    let (_sandbox, vendor, mut serve) = open_with_batches(Era::Legacy);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    serve.send(format!("[{notification},{notification}]"));
    vendor.wait_for("the notifications", |record| record.text() == notification);
    for bad in ["[]", "[", " [ ] ", "[1,"] {
        serve.send(bad);
        let refusal = serve.next();
        assert!(refusal.json()["id"].is_null() && matches!(refusal.error()["code"].as_i64(), Some(-32700 | -32600)));
    }
    assert!(serve.rest(QUIET).is_empty());
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
        greet_as(&mut serve, revision);
        serve.send(format!("[{}]", echo("70", "a")));
        let refusal = serve.next();
        assert!(refusal.json()["id"].is_null() && refusal.error()["code"] == -32600, "{revision}: {}", refusal.raw);
        serve.request("ping", json!({})).result();
        assert!(vendor.executed().is_empty());
    }
}
