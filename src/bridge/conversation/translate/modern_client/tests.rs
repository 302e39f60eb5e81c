use std::sync::Arc;

use super::*;
use crate::{
    bridge::conversation::{failure::Processed, translate::modern_client::calls::WAITING_LIMIT},
    mcp::revision::Era,
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}"#;

fn message(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// A translator in front of a server with these capabilities.
fn translator(capabilities: &str) -> ModernClient {
    let answer = format!(
        r#"{{"id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"s"}}}}}}"#
    );
    ModernClient::new(Description::learn(Era::Legacy, &message(&answer)).unwrap(), RequestIds::default())
}

/// The resulting steps, one line each.
fn told(say: impl FnOnce(&mut Vec<Step>)) -> Vec<String> {
    let mut steps = Vec::new();
    say(&mut steps);
    let line = |step| match step {
        Step::ToServer(message) => format!("to server {}", String::from_utf8_lossy(message.raw())),
        Step::ToClient(message) => format!("to client {}", String::from_utf8_lossy(message.raw())),
        Step::Refuse(refusal) => format!("refused {}: {}", refusal.message.id().unwrap(), refusal.failure),
        Step::Wake(_, after) => format!("wake after {} ms", after.as_millis()),
        step => panic!("{step:?}"),
    };
    steps.into_iter().map(line).collect()
}

/// The steps that result from a message of the client.
fn client(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.client_sent(message(text), steps))
}

/// The steps that result from a message of the server within the exchange of the request with this id.
fn within(translator: &mut ModernClient, id: &str, text: &str) -> Vec<String> {
    told(|steps| translator.server_sent(message(text), Id::from_json(id), steps))
}

/// The steps that result from a message of the server outside any exchange.
fn server(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.server_sent(message(text), None, steps))
}

const NOTHING: [&str; 0] = [];

/// A call with this id and with additional parameters and metadata.
fn call(id: &str, parameters: &str, meta: &str) -> String {
    format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"{parameters},"_meta":{{{META}{meta}}}}}}}"#)
}

/// The client cancels its request `id`.
fn cancel(id: &str) -> String {
    format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// The client sends the call 7 again with these responses.
fn resumed(id: &str, answers: &str) -> String {
    call(id, &format!(r#","requestState":"7","inputResponses":{answers}"#), "")
}

const ROOTS: &str = r#"{"id":"q","method":"roots/list"}"#;

/// The response to the client's request `id` that asks for its roots, as input request `number`.
fn asked(id: &str, number: u8) -> String {
    format!(
        r#"to client {{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"finmcp-{number}":{{"method":"roots/list"}}}},"requestState":"7"}}}}"#
    )
}

#[test]
fn the_server_description_is_translated() {
    let told = client(&mut translator(r#"{"tools":{}}"#), r#"{"id":1.50,"method":"server/discover","params":{}}"#);
    assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":1.50,"result":{"capabilities":{"tools":{}},"#));
    assert!(told[0].contains(r#""supportedVersions":["2026-07-28"]"#));
    let hello = message(&format!(r#"{{"id":1,"method":"server/discover","params":{{"_meta":{{{META}}}}}}}"#));
    assert_eq!(
        ModernClient::initialize(&hello, Id::own(1)).raw(),
        r#"{"jsonrpc":"2.0","id":"finmcp-1","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"roots":{}},"clientInfo":{"name":"c"}}}"#
            .as_bytes()
    );
}

#[test]
fn a_request_loses_the_sender_description_and_nothing_else() {
    let mut translator = translator("{}");
    let level = r#","io.modelcontextprotocol/logLevel":"info""#;
    for (meta, left) in [
        (META.to_owned() + level, ""),
        (format!(r#""progressToken":1.0,{META},"v/x":1e2"#), r#","_meta":{"progressToken":1.0,"v/x":1e2}"#),
    ] {
        let text = format!(
            r#"{{"x":1.10,"id":"\u0061","params":{{"cursor":"\/","_meta":{{{meta}}}}},"method":"tools/list"}}"#
        );
        let expected =
            format!(r#"to server {{"x":1.10,"id":"\u0061","params":{{"cursor":"\/"{left}}},"method":"tools/list"}}"#);
        assert_eq!(client(&mut translator, &text), [expected]);
    }
    for text in [r#"{ "id":1, "method":"x","params":{ } }"#, r#"{"method":"notifications/x" }"#] {
        assert_eq!(client(&mut translator, text), [format!("to server {text}")]);
    }
}

#[test]
fn a_result_gets_the_members_of_modern_results() {
    let mut translator = translator("{}");
    for (came, goes) in [
        (r#"{"n":1.10,"content":[]}"#, r#"{"n":1.10,"content":[],"resultType":"complete"}"#),
        (
            r#"{"tools":[{"n":12345678901234567890123}],"z":"\ud800"}"#,
            r#"{"tools":[{"n":12345678901234567890123}],"z":"\ud800","resultType":"complete","ttlMs":0,"cacheScope":"private"}"#,
        ),
        (
            r#"{"contents":[],"ttlMs":1.0,"cacheScope":"public","resultType":"x"}"#,
            r#"{"contents":[],"ttlMs":1.0,"cacheScope":"public","resultType":"x"}"#,
        ),
    ] {
        let told = server(&mut translator, &format!(r#"{{"x":1.10,"id":1,"result":{came}}}"#));
        assert_eq!(told, [format!(r#"to client {{"x":1.10,"id":1,"result":{goes}}}"#)]);
    }
    let error = r#"{"id":1,"error":{"code":-32002,"message":"","data":1.10}}"#;
    assert_eq!(server(&mut translator, error), [format!("to client {error}")]);
}

// Requests of the server in the middle of a call.

#[test]
fn a_server_request_becomes_the_result_and_the_resumed_call_its_response() {
    let mut translator = translator("{}");
    let sent = client(&mut translator, &call("7", r#","arguments":{"n":1.10}"#, ""));
    assert_eq!(sent, [r#"to server {"id":7,"method":"tools/call","params":{"name":"t","arguments":{"n":1.10}}}"#]);
    let question =
        r#"{"id":1.0,"method":"elicitation/create","params":{"message":"\u0061","elicitationId":"e","n":1.10}}"#;
    assert_eq!(
        within(&mut translator, "7", question),
        [
            r#"to client {"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","inputRequests":{"finmcp-1":{"method":"elicitation/create","params":{"message":"\u0061","n":1.10}}},"requestState":"7"}}"#
        ]
    );
    let answer = client(&mut translator, &resumed("8", r#"{"finmcp-1":{"action":"accept","n":1e2}}"#));
    assert_eq!(answer, [r#"to server {"jsonrpc":"2.0","id":1.0,"result":{"action":"accept","n":1e2}}"#]);
    let result = within(&mut translator, "7", r#"{"x":1.10,"id":7,"result":{"content":[1.10]}}"#);
    assert_eq!(result, [r#"to client {"x":1.10,"id":8,"result":{"content":[1.10],"resultType":"complete"}}"#]);
    // The call has ended: both ids may be used again, and a second response to the request is refused.
    assert_eq!(
        client(&mut translator, &resumed("8", "{}")),
        ["refused 8: the question that this answers is not open any more; make the request again"]
    );
    assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("to server"));
}

#[test]
fn further_server_requests_wait_for_the_client() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    assert_eq!(within(&mut translator, "7", ROOTS), [asked("7", 1)]);
    assert_eq!(within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#), NOTHING);
    // One request has its response, one more has come; the client is asked again for the missing responses.
    assert_eq!(
        client(&mut translator, &resumed("8", r#"{"finmcp-1":{"roots":[]}}"#)),
        [r#"to server {"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#.to_owned(), asked("8", 2)]
    );
    assert_eq!(client(&mut translator, &resumed("9", r#"{"finmcp-1":{"roots":[]}}"#)), [asked("9", 2)]);
    let free = client(&mut translator, &call("8", "", ""));
    assert!(free[0].starts_with("to server"), "its request has a response: {free:?}");
    assert_eq!(
        client(&mut translator, &resumed("10", r#"{"finmcp-2":{"roots":[1.10]}}"#)),
        [r#"to server {"jsonrpc":"2.0","id":"r","result":{"roots":[1.10]}}"#]
    );
}

#[test]
fn the_client_is_asked_only_for_input_that_it_supports() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    for question in [
        r#"{"id":1.0,"method":"sampling/createMessage","params":{}}"#,
        r#"{"id":1.0,"method":"elicitation/create","params":{"mode":"url"}}"#,
        r#"{"id":1.0,"method":"no/such"}"#,
    ] {
        let refused = within(&mut translator, "7", question);
        assert!(refused[0].starts_with(r#"to server {"jsonrpc":"2.0","id":1.0,"error":{"code":-32601"#), "{refused:?}");
    }
}

/// Some servers send requests on the session's stream.
#[test]
fn a_request_outside_an_exchange_belongs_to_the_only_call() {
    let mut translator = translator("{}");
    assert!(server(&mut translator, ROOTS)[0].contains(r#""error""#), "about none");
    client(&mut translator, &call("7", "", ""));
    client(&mut translator, &call("8", "", ""));
    assert!(server(&mut translator, ROOTS)[0].contains(r#""error""#), "ambiguous between two");
    server(&mut translator, r#"{"id":8,"result":{}}"#);
    assert_eq!(server(&mut translator, ROOTS), [asked("7", 1)]);
    assert_eq!(
        server(&mut translator, r#"{"id":1.0,"method":"ping"}"#),
        [r#"to server {"jsonrpc":"2.0","id":1.0,"result":{}}"#]
    );
}

/// Calls whose clients may never resume them, and calls that already have their response, do not count.
#[test]
fn a_request_outside_an_exchange_belongs_to_the_call_that_waits() {
    let mut translator = translator("{}");
    for id in ["5", "6"] {
        client(&mut translator, &call(id, "", ""));
        within(&mut translator, id, ROOTS);
    }
    // The response to the first call comes before its client resumes it.
    server(&mut translator, r#"{"id":5,"result":{}}"#);
    let by_itself = r#"{"id":"s","method":"roots/list"}"#;
    assert_eq!(server(&mut translator, by_itself), NOTHING, "belongs to 6, once its client resumes it");
    client(&mut translator, &call("7", "", ""));
    assert_eq!(server(&mut translator, ROOTS), [asked("7", 4)]);
    // Three calls, and no client waits.
    client(&mut translator, &call("8", "", ""));
    within(&mut translator, "8", ROOTS);
    assert_eq!(
        server(&mut translator, ROOTS),
        [
            r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-31001,"message":"this client accepts requests only during a call, and this request belongs to no known call"}}"#
        ]
    );
}

/// A list is not a call: it cannot require input (MCP 2026-07-28, "Multi Round-Trip Requests").
#[test]
fn a_server_request_within_another_request_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    client(&mut translator, r#"{"id":8,"method":"tools/list"}"#);
    assert!(
        within(&mut translator, "8", ROOTS)[0]
            .starts_with(r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-31001"#)
    );
}

#[test]
fn a_cancelled_server_request_is_not_passed_on() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#);
    server(&mut translator, r#"{"method":"notifications/cancelled","params":{"requestId":"r"}}"#);
    let answered = client(&mut translator, &resumed("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(answered, [r#"to server {"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#]);
    // If the client was asked already, its response is dropped (MCP 2025-11-25 cancellation).
    within(&mut translator, "7", ROOTS);
    server(&mut translator, r#"{"method":"notifications/cancelled","params":{"requestId":"q"}}"#);
    assert_eq!(client(&mut translator, &resumed("9", r#"{"finmcp-3":{"roots":[]}}"#)), NOTHING);
}

/// A legacy server refuses a call until the user has opened some addresses: a modern client is asked to open them, and
/// once the user has, the call is made again.
#[test]
fn a_call_refused_until_addresses_are_opened_is_made_again() {
    let meta = META.replace(r#""elicitation":{}"#, r#""elicitation":{"url":{}}"#);
    let call = |id: &str, more: &str| {
        format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t","n":1.10{more},"_meta":{{{meta}}}}}}}"#)
    };
    let resumed = |id: &str, state: &str, answers: &str| {
        call(id, &format!(r#","requestState":{state},"inputResponses":{{{answers}}}"#))
    };
    let error = |id: &str| {
        format!(
            r#"{{"id":{id},"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{{"mode":"url","elicitationId":"e","url":"a:b","n":1.10}},{{"url":"a:c"}}]}}}}}}"#
        )
    };
    let asked = |id: &str, keys: [&str; 2], state: &str| {
        let [first, second] = keys;
        format!(
            r#"to client {{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"{first}":{{"method":"elicitation/create","params":{{"mode":"url","url":"a:b","n":1.10}}}},"{second}":{{"method":"elicitation/create","params":{{"url":"a:c","mode":"url"}}}}}},"requestState":{state}}}}}"#
        )
    };
    let mut translator = translator("{}");
    client(&mut translator, &call("7", ""));
    assert_eq!(within(&mut translator, "7", &error("7")), [asked("7", ["finmcp-1", "finmcp-2"], r#""7""#)]);
    // One address has no decision yet.
    let accept = r#""finmcp-1":{"action":"accept"}"#;
    assert!(client(&mut translator, &resumed("8", r#""7""#, accept))[0].contains(r#"{"finmcp-2":"#));
    assert_eq!(
        client(&mut translator, &resumed("9", r#""7""#, r#""finmcp-2":{"action":"accept"}"#)),
        [r#"to server {"id":"finmcp-3","method":"tools/call","params":{"name":"t","n":1.10}}"#]
    );
    // The server wants another address opened; this time the user declines.
    let again = within(&mut translator, r#""finmcp-3""#, &error(r#""finmcp-3""#));
    assert_eq!(again, [asked("9", ["finmcp-4", "finmcp-5"], r#""\"finmcp-3\"""#)]);
    let decline = r#""finmcp-4":{"action":"accept"},"finmcp-5":{"action":"decline"}"#;
    let ended = client(&mut translator, &resumed("10", r#""\"finmcp-3\"""#, decline));
    assert_eq!(ended, [format!("to client {}", error("10"))]);
    assert!(client(&mut translator, &call("10", ""))[0].starts_with("to server"), "the id is free again");

    // A call that was made again is cancelled under the server's id.
    client(&mut translator, &call("20", ""));
    within(&mut translator, "20", &error("20"));
    let both = r#""finmcp-6":{"action":"accept"},"finmcp-7":{"action":"accept"}"#;
    assert!(client(&mut translator, &resumed("21", r#""20""#, both))[0].contains(r#""id":"finmcp-8""#));
    let expected = r#"to server {"method":"notifications/cancelled","params":{"requestId":"finmcp-8"}}"#;
    assert_eq!(client(&mut translator, &cancel("21")), [expected]);
    // Only that one error names addresses to open.
    client(&mut translator, &call("30", ""));
    let other = error("30").replace("-32042", "-32000");
    assert_eq!(within(&mut translator, "30", &other), [format!("to client {other}")]);
}

/// A client without URL elicitation gets the server's error.
#[test]
fn a_client_without_url_elicitation_is_not_asked_to_open_addresses() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    let error = r#"{"id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"a:b"}]}}}"#;
    assert_eq!(within(&mut translator, "7", error), [format!("to client {error}")]);
}

#[test]
fn an_early_response_waits_for_the_client() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    assert_eq!(within(&mut translator, "7", r#"{"id":7,"result":{"n":1.10}}"#), NOTHING);
    let told = client(&mut translator, &resumed("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(told.last().unwrap(), r#"to client {"id":8,"result":{"n":1.10,"resultType":"complete"}}"#);
    assert!(client(&mut translator, &resumed("9", "{}"))[0].starts_with("refused 9"));
}

#[test]
fn an_early_failure_refuses_the_resumed_call() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    let refusal = Refusal {
        message: message(r#"{"id":7,"method":"tools/call"}"#),
        failure: Arc::new(Failure::Cut),
        processed: Processed::Maybe,
    };
    assert_eq!(told(|steps| translator.refused(refusal, steps)), NOTHING);
    let told = client(&mut translator, &resumed("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(told.last().unwrap(), "refused 8: the server ended its answer without a response");
}

#[test]
fn a_resumed_call_that_is_unknown_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    // The call is in flight: no input was required.
    assert!(client(&mut translator, &resumed("8", "{}"))[0].starts_with("refused 8"));
    within(&mut translator, "7", ROOTS);
    for text in [
        resumed("8", "{}").replace("tools/call", "prompts/get"),
        resumed("8", "{}").replace(r#""requestState":"7""#, r#""requestState":"6""#),
        resumed("8", "{}").replace(r#""requestState":"7""#, r#""requestState":7"#),
    ] {
        assert!(client(&mut translator, &text)[0].starts_with("refused 8"), "{text}");
    }
    assert_eq!(client(&mut translator, &resumed("8", "{}")), [asked("8", 1)]);
}

#[test]
fn the_call_that_has_waited_longest_for_its_client_is_given_up() {
    let mut translator = translator("{}");
    for number in 0..=WAITING_LIMIT {
        let id = format!("{}", number + 100);
        client(&mut translator, &call(&id, "", ""));
        let told = within(&mut translator, &id, &format!(r#"{{"id":{number},"method":"roots/list"}}"#));
        let given_up = r#"to server {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":100}}"#;
        assert_eq!(told.iter().any(|line| line == given_up), number == WAITING_LIMIT, "{told:?}");
    }
    let resumed = |state: &str| call("1", &format!(r#","requestState":"{state}","inputResponses":{{}}"#), "");
    assert!(client(&mut translator, &resumed("100"))[0].starts_with("refused 1"));
    assert!(client(&mut translator, &resumed("101"))[0].contains("input_required"));
}

/// Calls that were resumed or cancelled do not count.
#[test]
fn only_calls_that_wait_for_their_clients_count() {
    let mut translator = translator("{}");
    let think = |translator: &mut ModernClient, number: usize| {
        client(translator, &call(&number.to_string(), "", ""));
        within(translator, &number.to_string(), &format!(r#"{{"id":{number},"method":"roots/list"}}"#)).len()
    };
    for number in 100..100 + WAITING_LIMIT {
        think(&mut translator, number);
    }
    client(&mut translator, &call("1", r#","requestState":"100","inputResponses":{"finmcp-1":{}}"#, ""));
    client(&mut translator, &cancel("150"));
    assert_eq!([500, 501].map(|number| think(&mut translator, number)), [1, 1], "there was capacity for two");
    assert_eq!(think(&mut translator, 502), 2, "and no more: the oldest is given up");
}

/// At the end, a call that has its response is not cancelled; one that the server is still working on is.
#[test]
fn a_call_with_a_response_is_not_cancelled_at_the_end() {
    let mut translator = translator("{}");
    for id in ["7", "8"] {
        client(&mut translator, &call(id, "", ""));
        within(&mut translator, id, ROOTS);
    }
    within(&mut translator, "7", r#"{"id":7,"result":{}}"#);
    let expected = r#"to server {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}}"#;
    assert_eq!(told(|steps| translator.closed(steps)), [expected]);
}

#[test]
fn the_id_of_a_subscription_is_in_use() {
    let mut translator = translator(r#"{"tools":{}}"#);
    client(&mut translator, &listen("1", ""));
    assert!(client(&mut translator, &call("1", "", ""))[0].starts_with("refused 1: this id is still in use"));
}

/// finmcp's own requests may fail: the messages that waited for them are sent anyway.
#[test]
fn finmcps_own_requests_may_fail() {
    let fail = |translator: &mut ModernClient, id: &str| {
        let request = message(&format!(r#"{{"id":"{id}","method":"x"}}"#));
        told(|steps| translator.refused(Refusal::unsent(request, Failure::Cut), steps))
    };
    let mut translator = translator(r#"{"logging":{},"resources":{"subscribe":true}}"#);
    assert_eq!(client(&mut translator, &logging("1", "warning")), [set(1, "warning")]);
    assert_eq!(fail(&mut translator, "finmcp-1"), [sent("1")]);
    assert_eq!(client(&mut translator, &logging("2", "warning")), [sent("2")], "once is enough");
    client(&mut translator, &listen("3", r#""resourceSubscriptions":["a:b"]"#));
    assert_eq!(fail(&mut translator, "finmcp-2"), [acknowledged("3", "")]);
}

/// However the call that wanted a log ends: the next call without a log gets none.
#[test]
fn log_messages_end_with_the_call_that_wanted_them() {
    for is_cancelled in [true, false] {
        let mut translator = translator("{}");
        client(&mut translator, &logging("1", "warning"));
        if is_cancelled {
            client(&mut translator, &cancel("1"));
        } else {
            let refusal = Refusal::unsent(message(r#"{"id":1,"method":"tools/call"}"#), Failure::Cut);
            assert_eq!(told(|steps| translator.refused(refusal, steps)).len(), 1);
        }
        client(&mut translator, &call("2", "", ""));
        assert_eq!(server(&mut translator, &logged("error")), NOTHING, "{is_cancelled}");
    }
}

#[test]
fn only_an_update_reports_a_resource() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    client(&mut translator, &listen("1", r#""resourceSubscriptions":["a:b/"]"#));
    server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    let about = |method: &str| format!(r#"{{"method":"notifications/{method}","params":{{"uri":"a:b/part"}}}}"#);
    assert_eq!(server(&mut translator, &about("resources/updated")).len(), 1);
    assert_eq!(server(&mut translator, &about("resources/other")), NOTHING);
}

#[test]
fn progress_carries_the_token_of_the_last_request() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", r#","progressToken":1.0"#));
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":1.0,"progress":1.10}}"#;
    assert_eq!(within(&mut translator, "7", progress), [format!("to client {progress}")]);
    within(&mut translator, "7", ROOTS);
    let resumed = call("8", r#","requestState":"7","inputResponses":{"finmcp-1":{}}"#, r#","progressToken":"b""#);
    client(&mut translator, &resumed);
    assert_eq!(
        within(&mut translator, "7", progress),
        [r#"to client {"method":"notifications/progress","params":{"progressToken":"b","progress":1.10}}"#]
    );
    let other = r#"{"method":"notifications/progress","params":{"progressToken":2,"progress":1.10}}"#;
    assert_eq!(within(&mut translator, "7", other), [format!("to client {other}")]);
}

#[test]
fn a_cancellation_carries_the_id_that_the_server_knows() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &resumed("8", r#"{"finmcp-1":{}}"#));
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":8,"reason":"r"}}"#;
    assert_eq!(
        client(&mut translator, cancel),
        [r#"to server {"method":"notifications/cancelled","params":{"requestId":7,"reason":"r"}}"#]
    );
    assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("to server"), "the id is free again");
}

#[test]
fn two_calls_with_one_id_are_refused_in_every_stage() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("refused 7: this id is still in use"));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &resumed("8", r#"{"finmcp-1":{}}"#));
    assert!(client(&mut translator, &call("8", "", ""))[0].starts_with("refused 8: this id is still in use"));
}

#[test]
fn a_closed_client_gets_no_more_notifications() {
    let mut translator = translator(r#"{"tools":{}}"#);
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &listen("8", r#""toolsListChanged":true"#));
    let told = told(|steps| translator.closed(steps));
    assert_eq!(
        told,
        [
            r#"to client {"jsonrpc":"2.0","id":8,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":8}}}"#,
            r#"to server {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
        ]
    );
}

// Log messages.

fn logging(id: &str, level: &str) -> String {
    call(id, "", &format!(r#","io.modelcontextprotocol/logLevel":"{level}""#))
}

fn logged(level: &str) -> String {
    format!(r#"{{"method":"notifications/message","params":{{"level":"{level}","data":1.10}}}}"#)
}

fn set(number: u8, level: &str) -> String {
    format!(
        r#"to server {{"jsonrpc":"2.0","id":"finmcp-{number}","method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
    )
}

fn sent(id: &str) -> String {
    format!(r#"to server {{"id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
}

/// The call waits until the level is set, and each call gets messages from its own level on.
#[test]
fn the_server_logs_at_the_lowest_level_wanted() {
    let mut translator = translator(r#"{"logging":{}}"#);
    assert_eq!(client(&mut translator, &logging("1", "warning")), [set(1, "warning")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), [sent("1")]);
    assert_eq!(client(&mut translator, &logging("2", "error")), [sent("2")], "the level is already low enough");
    assert_eq!(client(&mut translator, &logging("3", "info")), [set(2, "info")]);
    // Whatever the response to setting the level, the call is made.
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-2","error":{"code":1,"message":""}}"#), [sent("3")]);
    assert_eq!(client(&mut translator, &call("4", "", "")), [sent("4")]);
    for (id, level, heard) in [
        ("1", "warning", true),
        ("1", "notice", false),
        ("2", "critical", true),
        ("2", "warning", false),
        ("3", "info", true),
        ("3", "debug", false),
        ("4", "emergency", false),
    ] {
        let told = within(&mut translator, id, &logged(level));
        assert_eq!(
            told.first().is_some_and(|told| *told == format!("to client {}", logged(level))),
            heard,
            "{id} {level}"
        );
    }
}

/// Many servers on the Python SDK log without declaring it.
#[test]
fn the_level_is_not_set_on_a_server_without_logging() {
    let mut translator = translator("{}");
    assert_eq!(client(&mut translator, &logging("1", "warning")), [sent("1")]);
    assert_eq!(within(&mut translator, "1", &logged("error")).len(), 1);
    assert_eq!(within(&mut translator, "1", &logged("info")), NOTHING);
}

#[test]
fn log_messages_outside_exchanges_go_to_the_last_call_that_wanted_them() {
    let mut translator = translator("{}");
    assert_eq!(server(&mut translator, &logged("error")), NOTHING);
    client(&mut translator, &logging("1", "warning"));
    assert_eq!(server(&mut translator, &logged("error")).len(), 1);
    assert_eq!(server(&mut translator, &logged("info")), NOTHING);
    server(&mut translator, r#"{"id":1,"result":{}}"#);
    assert_eq!(server(&mut translator, &logged("error")).len(), 1, "it may come a little late");
    client(&mut translator, &call("2", "", ""));
    assert_eq!(server(&mut translator, &logged("error")), NOTHING);
}

#[test]
fn a_call_that_waits_for_the_level_can_be_cancelled() {
    let mut translator = translator(r#"{"logging":{}}"#);
    client(&mut translator, &logging("1", "warning"));
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(client(&mut translator, cancel), NOTHING);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), NOTHING);
}

// Changes on the server.

fn listen(id: &str, filter: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"subscriptions/listen","params":{{"notifications":{{{filter}}},"_meta":{{{META}}}}}}}"#
    )
}

fn acknowledged(id: &str, filter: &str) -> String {
    format!(
        r#"to client {{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{{filter}}}}}}}"#
    )
}

/// The server need not declare that it reports changes to its tools: having tools is enough.
#[test]
fn a_subscription_covers_what_the_server_has() {
    let mut translator = translator(r#"{"tools":{},"prompts":{"listChanged":true}}"#);
    let all = r#""resourceSubscriptions":["a:b"],"resourcesListChanged":true,"promptsListChanged":true,"toolsListChanged":true"#;
    let told = client(&mut translator, &listen("1", all));
    assert_eq!(told, [acknowledged("1", r#""toolsListChanged":true,"promptsListChanged":true"#)]);
    let told = client(&mut translator, &listen("2", r#""toolsListChanged":false"#));
    assert_eq!(told, [acknowledged("2", "")]);
}

#[test]
fn each_subscription_gets_what_it_asked_for() {
    let mut translator = translator(r#"{"tools":{},"prompts":{}}"#);
    client(&mut translator, &listen("1", r#""toolsListChanged":true"#));
    client(&mut translator, &listen(r#""b""#, r#""toolsListChanged":true,"promptsListChanged":true"#));
    let change = |list: &str| format!(r#"{{"method":"notifications/{list}/list_changed","params":{{"n":1.10}}}}"#);
    let change_for = |list: &str, id: &str| {
        format!(
            r#"to client {{"method":"notifications/{list}/list_changed","params":{{"n":1.10,"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    let mut told = server(&mut translator, &change("tools"));
    told.sort();
    assert_eq!(told, [change_for("tools", r#""b""#), change_for("tools", "1")]);
    assert_eq!(server(&mut translator, &change("prompts")), [change_for("prompts", r#""b""#)]);
    assert_eq!(server(&mut translator, &change("resources")), NOTHING);
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(client(&mut translator, cancel), NOTHING);
    assert_eq!(server(&mut translator, &change("tools")), [change_for("tools", r#""b""#)]);
}

#[test]
fn resources_are_subscribed_to_one_by_one() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    let subscribe = |number: u8, verb: &str, uri: &str| {
        format!(
            r#"to server {{"jsonrpc":"2.0","id":"finmcp-{number}","method":"resources/{verb}","params":{{"uri":"{uri}"}}}}"#
        )
    };
    let told = client(&mut translator, &listen("1", r#""resourceSubscriptions":["a:b","a:c"]"#));
    assert_eq!(told, [subscribe(1, "subscribe", "a:b"), subscribe(2, "subscribe", "a:c")]);
    // The acknowledgement comes once the server has responded to all, and names only what the server accepted.
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-2","error":{"code":1,"message":""}}"#), NOTHING);
    let told = server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    assert_eq!(told, [acknowledged("1", r#""resourceSubscriptions":["a:b"]"#)]);
    client(&mut translator, &listen("2", r#""resourceSubscriptions":["a:b"]"#));
    server(&mut translator, r#"{"id":"finmcp-3","result":{}}"#);
    let update = |uri: &str| format!(r#"{{"method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#);
    for (uri, heard) in [("a:b", 2), ("a:b/part", 2), ("a:bc", 0), ("a:c", 0)] {
        assert_eq!(server(&mut translator, &update(uri)).len(), heard, "{uri}");
    }
    // While one subscription is left, the server is not told to unsubscribe.
    let cancel = |id: u8| format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    assert_eq!(client(&mut translator, &cancel(1)), NOTHING);
    assert_eq!(client(&mut translator, &cancel(2)), [subscribe(4, "unsubscribe", "a:b")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-4","result":{}}"#), NOTHING);
}

// State that must be kept between rounds.

/// The call `id` that wants log messages from `level` on, of a client with URL elicitation.
fn opening(id: &str, more: &str, level: &str) -> String {
    let level = format!(r#","io.modelcontextprotocol/logLevel":"{level}""#);
    call(id, more, &level).replace(r#""elicitation":{}"#, r#""elicitation":{"url":{}}"#)
}

const ADDRESS: &str =
    r#"{"id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"a:b"}]}}}"#;

#[test]
fn a16_a_call_that_is_made_again_keeps_its_log_level() {
    let mut translator = translator(r#"{"logging":{}}"#);
    assert_eq!(client(&mut translator, &opening("1", "", "warning")), [set(1, "warning")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), [sent("1")]);
    assert!(within(&mut translator, "1", ADDRESS)[0].contains(r#""finmcp-2":{"method":"elicitation/create""#));
    let answers = r#","requestState":"1","inputResponses":{"finmcp-2":{"action":"accept"}}"#;
    assert_eq!(client(&mut translator, &opening("2", answers, "warning")), [sent(r#""finmcp-3""#)]);
    let heard = |translator: &mut ModernClient, level| within(translator, r#""finmcp-3""#, &logged(level)).len();
    assert_eq!((heard(&mut translator, "error"), heard(&mut translator, "info")), (1, 0));
    assert_eq!(server(&mut translator, &logged("error")).len(), 1);
    // The level ends with the call.
    within(&mut translator, r#""finmcp-3""#, r#"{"id":"finmcp-3","result":{}}"#);
    assert_eq!(heard(&mut translator, "error"), 0);
}

/// Each round declares its own wishes.
#[test]
fn a16_a_resumed_call_uses_its_latest_log_level() {
    for (level, expected) in [("info", [1, 1]), ("error", [0, 1]), ("", [0, 0])] {
        let mut translator = translator(r#"{"logging":{}}"#);
        client(&mut translator, &logging("7", "warning"));
        server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
        within(&mut translator, "7", ROOTS);
        let meta = format!(r#","io.modelcontextprotocol/logLevel":"{level}""#);
        let told =
            client(&mut translator, &call("8", r#","requestState":"7","inputResponses":{"finmcp-2":{}}"#, &meta));
        let is_told = told.iter().any(|step| step.contains(r#""params":{"level":"info"}"#));
        assert_eq!(is_told, level == "info", "{told:?}");
        let heard = ["warning", "error"].map(|said| within(&mut translator, "7", &logged(said)).len());
        assert_eq!(heard, expected, "{level}");
    }
}

#[test]
fn a16_a_resumed_call_uses_its_latest_capabilities() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    let resumed = resumed("8", r#"{"finmcp-1":{}}"#).replace(r#""roots":{}"#, r#""sampling":{}"#);
    client(&mut translator, &resumed);
    assert!(within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#)[0].contains("-32601"));
    let sampling = r#"{"id":"s","method":"sampling/createMessage","params":{}}"#;
    assert!(within(&mut translator, "7", sampling)[0].contains(r#""id":8,"result":{"resultType":"input_required""#));
}

#[test]
fn a16_a_call_that_is_given_up_gets_no_log_messages() {
    let mut translator = translator("{}");
    client(&mut translator, &logging("7", "warning"));
    within(&mut translator, "7", ROOTS);
    told(|steps| translator.closed(steps));
    assert_eq!(within(&mut translator, "7", &logged("error")), NOTHING);
}

/// Two calls may share a token, once the first was resumed with another one.
#[test]
fn a16_progress_belongs_to_the_call_of_its_exchange() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", r#","progressToken":1"#));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &call("8", r#","requestState":"7","inputResponses":{}"#, r#","progressToken":2"#));
    client(&mut translator, &call("9", "", r#","progressToken":1"#));
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
    assert_eq!(within(&mut translator, "9", progress), [format!("to client {progress}")]);
    assert_eq!(within(&mut translator, "7", progress), [format!("to client {}", progress.replace('1', "2"))]);
}

/// A failed request is refused, and perhaps sent again, as the client wrote it: with its capabilities and its era.
#[test]
fn a16_a_failed_request_is_refused_as_the_client_wrote_it() {
    let mut translator = translator("{}");
    let list = format!(r#"{{ "id":"l","method":"tools/list","params":{{"_meta":{{{META}}}}}}}"#);
    for (written, id) in [(list, r#""l""#), (call("7", r#","n":1.10"#, ""), "7")] {
        let sent = client(&mut translator, &written);
        let message = message(&sent[0]["to server ".len()..]);
        assert!(!String::from_utf8_lossy(message.raw()).contains("protocolVersion"));
        let refusal = Refusal { message, failure: Arc::new(Failure::Refused), processed: Processed::No };
        let mut steps = Vec::new();
        translator.refused(refusal, &mut steps);
        let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((refused.message.raw(), refused.processed), (&bytes::Bytes::from(written), Processed::No));
        assert_eq!(refused.message.id(), Id::from_json(id).as_ref());
    }
    // A resumed call is refused under the id that waits.
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &resumed("8", r#"{"finmcp-1":{}}"#));
    let lost = message(r#"{"id":7,"method":"tools/call","params":{"name":"t"}}"#);
    let mut steps = Vec::new();
    translator
        .refused(Refusal { message: lost, failure: Arc::new(Failure::Refused), processed: Processed::No }, &mut steps);
    let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(refused.message.raw(), call("8", "", "").as_bytes());
}

/// Responses for a finished subscription do not count for another one with the same id.
#[test]
fn a16_a_subscription_with_a_reused_id_is_acknowledged_by_its_own_responses() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    let filter = |uris: &str| format!(r#""resourceSubscriptions":[{uris}]"#);
    client(&mut translator, &listen("1", &filter(r#""a:b","a:c""#)));
    client(&mut translator, &cancel("1"));
    client(&mut translator, &listen("1", &filter(r#""a:d""#)));
    // The first two ids belong to the first subscription; then it unsubscribed from two.
    for (id, outcome) in [("1", "result"), ("2", "error"), ("3", "result"), ("4", "result")] {
        let answer = format!(r#"{{"id":"finmcp-{id}","{outcome}":{{}}}}"#);
        assert_eq!(server(&mut translator, &answer), NOTHING, "{id}");
    }
    let last = r#"{"id":"finmcp-5","result":{}}"#;
    assert_eq!(server(&mut translator, last), [acknowledged("1", &filter(r#""a:d""#))]);
    assert_eq!(server(&mut translator, last).len(), 1, "a second response is dropped");
    // A refused one is removed from its own subscription only.
    client(&mut translator, &listen("2", &filter(r#""a:e""#)));
    client(&mut translator, &cancel("2"));
    client(&mut translator, &listen("2", &filter(r#""a:e""#)));
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-6","error":{}}"#), NOTHING);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-8","result":{}}"#), [acknowledged("2", &filter(r#""a:e""#))]);
}

/// A message of these bytes, which may not be UTF-8.
fn bytes_message(bytes: &[u8]) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(bytes)).unwrap()
}

/// A server that knows both eras would go by the description of the sender.
#[test]
fn a16_a_request_that_cannot_be_translated_gets_an_error_and_is_not_sent() {
    let odd = call("7", r#","arguments":"@""#, "");
    let list = |params: &str| format!(r#"{{"id":7,"method":"tools/list","params":{params}}}"#);
    let meta = format!(r#""_meta":{{{META}}}"#);
    for bytes in [
        odd.replace('@', "\u{1}").into_bytes().iter().map(|byte| if *byte == 1 { 0xff } else { *byte }).collect(),
        list(&format!(r#"{{{meta}}},"params":{{{meta}}}"#)).into_bytes(),
        list(&format!(r#"{{{meta},{meta}}}"#)).into_bytes(),
        list(r#"{"_meta":"io.modelcontextprotocol/protocolVersion"}"#).into_bytes(),
    ] {
        let mut translator = translator("{}");
        let told = told(|steps| translator.client_sent(bytes_message(&bytes), steps));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":7,"error":{"code":-32600,"#), "{told:?}");
        // No trace of it is left.
        assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("to server"));
    }
    let notification = bytes_message(b"{\"method\":\"notifications/x\",\"params\":{\"_meta\":1,\"x\":\"\xff\"}}");
    assert_eq!(told(|steps| translator("{}").client_sent(notification, steps)), NOTHING);
    // Parameters that are not an object describe no sender.
    let text = r#"{"id":7,"method":"x","params":[ 1.10 ]}"#;
    assert_eq!(client(&mut translator("{}"), text), [format!("to server {text}")]);
}

/// A modern client does not get an invalid result; a call may have been carried out.
#[test]
fn a16_a_response_that_cannot_be_translated_is_refused() {
    for answer in [b"{\"id\":7,\"result\":[1]}".as_slice(), b"{\"id\":7,\"result\":{},\"x\":\"\xff\"}"] {
        for method in ["tools/call", "tools/list"] {
            let mut translator = translator("{}");
            client(&mut translator, &call("7", "", "").replace("tools/call", method));
            let mut steps = Vec::new();
            translator.server_sent(bytes_message(answer), Id::from_json("7"), &mut steps);
            let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
            assert_eq!((refused.message.id(), refused.processed), (Id::from_json("7").as_ref(), Processed::Maybe));
            assert_eq!(refused.message.method(), Some(method));
        }
    }
    let told = server(&mut translator("{}"), r#"{"id":7,"result":null}"#);
    assert_eq!(told, [r#"to client {"id":7,"result":{"resultType":"complete"}}"#]);
}

/// Without the subscription's id a client could not tell which subscription a notification is for.
#[test]
fn a16_a_notification_that_cannot_be_edited_is_replaced() {
    let mut translator = translator(r#"{"tools":{},"resources":{"subscribe":true}}"#);
    let filter = r#""toolsListChanged":true,"resourceSubscriptions":["a:b"]"#;
    client(&mut translator, &listen("1", filter));
    server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    let meta = r#""_meta":{"io.modelcontextprotocol/subscriptionId":1}"#;
    for (method, params, own) in [
        ("tools/list_changed", "[]", ""),
        ("tools/list_changed", r#"{"_meta":7}"#, ""),
        ("resources/updated", r#"{"uri":"a:b","_meta":[]}"#, r#","uri":"a:b""#),
    ] {
        let told = server(&mut translator, &format!(r#"{{"method":"notifications/{method}","params":{params}}}"#));
        let expected =
            format!(r#"to client {{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{meta}{own}}}}}"#);
        assert_eq!(told, [expected], "{params}");
    }
}

/// A request with invalid parameters is not passed on.
#[test]
fn a16_a_server_request_that_cannot_be_translated_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    for params in [r#","params":[]"#, "", r#","params":{"message":"a"},"params":{"message":"b"}"#] {
        let told = within(&mut translator, "7", &format!(r#"{{"id":"q","method":"elicitation/create"{params}}}"#));
        assert!(told[0].starts_with(r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-32602,"#), "{told:?}");
    }
}

/// b15: the tasks extension belongs to the modern era; legacy servers mean something else by that name.
#[test]
fn b15_a_modern_clients_tasks_are_not_offered_to_a_legacy_server() {
    let capabilities = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"roots":{}}"#;
    let meta = format!(r#""io.modelcontextprotocol/clientCapabilities":{capabilities}"#);
    let hello = message(&format!(r#"{{"id":1,"method":"server/discover","params":{{"_meta":{{{meta}}}}}}}"#));
    let initialize = ModernClient::initialize(&hello, Id::own(1));
    assert_eq!(initialize.member("capabilities").as_deref(), Some(r#"{"roots":{}}"#));
}
