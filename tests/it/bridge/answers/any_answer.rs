//! Every answer that a server can give to a call, in every way that it can come.

use super::*;

/// What the client has to get.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// A result, in which the server's numbers are as it wrote them.
    Result,
    /// This error, with this in its message.
    Error(i64, &'static str),
    /// The outcome of the call is unknown.
    Unknown,
}
use Expected::{Error, Result, Unknown};

/// What a server sends, with `@ID@` for the id of the request and `@R@` for a result, and what becomes of it. Where the
/// id is not the request's own, nothing says on a stream for all requests which one it answers.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    expected: Expected,
    names_its_request: bool,
}

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
fn a4_a5_every_server_answer_becomes_one_valid_response() {
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
            asked.remove(&answer.id).unwrap_or_else(|| panic!("a response without a request, or a second one: {line}"));
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
        if let Some(outcome) = line["outcome"].as_str() {
            *recorded.entry(outcome.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(recorded, outcomes);
}
