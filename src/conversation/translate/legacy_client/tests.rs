use std::sync::Arc;

use http::StatusCode;

use super::*;
use crate::{
    conversation::{
        failure::Processed,
        translate::tests::{message, told},
    },
    mcp::revision::Era,
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":1.10},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"roots":{"x":1e2}}"#;

/// A client that supports every request except URL elicitation, in front of a server with these capabilities.
fn translator(capabilities: &str) -> LegacyClient {
    let hello = r#"{"id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","clientInfo":{"name":"c","version":1.10},"capabilities":{"elicitation":{},"sampling":{},"roots":{"x":1e2}}}}"#;
    let answer = format!(r#"{{"id":0,"result":{{"supportedVersions":["2026-07-28"],"capabilities":{capabilities}}}}}"#);
    let server = Description::learn(Era::Modern, &message(&answer)).unwrap();
    LegacyClient::new(&message(hello), &server, RequestIds::default())
}

/// The steps that result from a message of the client.
#[track_caller]
fn client(translator: &mut LegacyClient, text: &str) -> Vec<String> {
    told(|steps| translator.client_sent(message(text), steps))
}

/// The steps that result from a message of the server.
#[track_caller]
fn server(translator: &mut LegacyClient, text: &str) -> Vec<String> {
    told(|steps| translator.server_sent(message(text), steps))
}

/// The ids of the messages in `told`, as they are spelled.
fn ids(told: &[String]) -> Vec<String> {
    told.iter().map(|line| message(&line["to server ".len()..]).id().unwrap().to_string()).collect()
}

const CALL: &str = r#"{"id":7,"method":"tools/call","params":{"name":"t","arguments":{"n":1.10},"z":1e2}}"#;

/// The server responds to request `id` with these input requests, as JSON.
fn input_required(id: &str, requests: &str) -> String {
    format!(r#"{{"id":{id},"result":{{"resultType":"input_required","inputRequests":{requests}}}}}"#)
}

const ROOTS: &str = r#"{"r":{"method":"roots/list"}}"#;

#[test]
fn every_request_describes_its_sender_and_nothing_else_changes() {
    let mut translator = translator("{}");
    let sent = client(
        &mut translator,
        r#"{"x":1.10,"id":"\u0061","params":{"cursor":"\/","_meta":{"progressToken":1.0,"v/x":1e2}},"method":"tools/list"}"#,
    );
    let expected = format!(
        r#"to server {{"x":1.10,"id":"\u0061","params":{{"cursor":"\/","_meta":{{"progressToken":1.0,"v/x":1e2,{META}}}}},"method":"tools/list"}}"#
    );
    assert_eq!(sent, [expected]);
    let sent = client(&mut translator, r#"{"id":1,"method":"prompts/list"}"#);
    assert_eq!(sent, [format!(r#"to server {{"id":1,"method":"prompts/list","params":{{"_meta":{{{META}}}}}}}"#)]);
}

#[test]
fn responses_and_notifications_pass_unchanged() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    for text in [
        r#"{"method":"notifications/progress","params":{"progressToken":1.0,"progress":1.10}}"#,
        r#"{"x":1.10,"id":7,"result":{"resultType":"complete","structuredContent":{"input_required":12345678901234567890123}}}"#,
        r#"{"id":8,"error":{"code":-1e0,"message":""}}"#,
    ] {
        assert_eq!(server(&mut translator, text), [format!("to client {text}")]);
    }
}

#[test]
fn every_request_carries_the_log_level() {
    let mut translator = translator("{}");
    let set = client(&mut translator, r#"{"id":1,"method":"logging/setLevel","params":{"level":"warning"}}"#);
    assert_eq!(set, [r#"to client {"jsonrpc":"2.0","id":1,"result":{}}"#]);
    let call = client(&mut translator, CALL);
    assert!(call[0].contains(r#""io.modelcontextprotocol/logLevel":"warning""#), "{call:?}");
    // A level that a server would reject is not sent.
    for params in [r#"{"level":"loud"}"#, "{}", r#"{"level":7}"#] {
        let text = format!(r#"{{"id":2,"method":"logging/setLevel","params":{params}}}"#);
        let refused = client(&mut translator, &text);
        assert!(refused[0].contains(r#""code":-32602"#), "{refused:?}");
    }
    let list = client(&mut translator, r#"{"id":3,"method":"tools/list"}"#);
    assert!(list[0].contains(r#""io.modelcontextprotocol/logLevel":"warning""#), "{list:?}");
}

#[test]
fn finmcp_responds_to_ping() {
    let pong = client(&mut translator("{}"), r#"{"id":1.50,"method":"ping"}"#);
    assert_eq!(pong, [r#"to client {"jsonrpc":"2.0","id":1.50,"result":{}}"#]);
}

// Input that the server requires.

#[test]
fn input_requests_go_to_the_client_and_responses_back_under_a_new_id() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let required = r#"{"id":7,"result":{"resultType":"input_required","requestState":"\u0041\/ 1.10","inputRequests":{"k\u0061":{"method":"elicitation/create","params":{"message":"m","n":1.10}},"b":{"params":{"messages":[]},"method":"sampling/createMessage"},"c":{"method":"roots/list"}}}}"#;
    let asked = server(&mut translator, required);
    assert_eq!(
        asked,
        [
            r#"to client {"jsonrpc":"2.0","id":"finmcp-1","method":"elicitation/create","params":{"message":"m","n":1.10}}"#,
            r#"to client {"jsonrpc":"2.0","id":"finmcp-2","method":"sampling/createMessage","params":{"messages":[]}}"#,
            r#"to client {"jsonrpc":"2.0","id":"finmcp-3","method":"roots/list","params":{}}"#,
        ]
    );
    let nothing: [&str; 0] = [];
    assert_eq!(client(&mut translator, r#"{"id":"finmcp-3","result":{"roots":[1.10]}}"#), nothing);
    assert_eq!(client(&mut translator, r#"{"id":"finmcp-1","result":{"action":"accept","n":1e2}}"#), nothing);
    // The client was not sent this.
    assert_eq!(client(&mut translator, r#"{"id":"finmcp-1","result":{"action":"decline"}}"#), nothing);
    let again = client(&mut translator, r#"{"id":"finmcp-2","result":{"model":"\ud800"}}"#);
    let expected = format!(
        r#"to server {{"id":"finmcp-4","method":"tools/call","params":{{"name":"t","arguments":{{"n":1.10}},"z":1e2,"inputResponses":{{"c":{{"roots":[1.10]}},"ka":{{"action":"accept","n":1e2}},"b":{{"model":"\ud800"}}}},"requestState":"\u0041\/ 1.10","_meta":{{{META}}}}}}}"#
    );
    assert_eq!(again, [expected]);
    let answer = server(&mut translator, r#"{"jsonrpc":"2.0","id":"finmcp-4","result":{"n":1.10}}"#);
    assert_eq!(answer, [r#"to client {"jsonrpc":"2.0","id":7,"result":{"n":1.10}}"#]);
    // The call has ended: its id may be used again.
    assert!(client(&mut translator, CALL)[0].starts_with("to server"));
}

#[test]
fn only_three_methods_can_require_input() {
    for (method, asks) in [("tools/call", true), ("prompts/get", true), ("resources/read", true), ("x/y", false)] {
        let mut translator = translator("{}");
        client(&mut translator, &CALL.replace("tools/call", method));
        let told = server(&mut translator, &input_required("7", ROOTS));
        assert_eq!(told[0].contains("roots/list\",\"params"), asks, "{method}: {told:?}");
    }
}

/// Each round starts from the original request, without the responses of the previous round.
#[test]
fn a_round_without_input_requests_is_sent_again_at_once() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    server(&mut translator, &input_required("7", ROOTS));
    let first = client(&mut translator, r#"{"id":"finmcp-1","result":{"roots":[]}}"#);
    assert!(first[0].contains("inputResponses") && !first[0].contains("requestState"), "{first:?}");
    let state = r#"{"id":"finmcp-2","result":{"resultType":"input_required","requestState":"s"}}"#;
    let second = server(&mut translator, state);
    assert_eq!(ids(&second), [r#""finmcp-3""#]);
    assert!(second[0].contains(r#""requestState":"s""#) && !second[0].contains("inputResponses"), "{second:?}");
    let third = server(&mut translator, &input_required(r#""finmcp-3""#, "{}"));
    assert_eq!(ids(&third), [r#""finmcp-4""#]);
    assert!(!third[0].contains("requestState") && !third[0].contains("inputResponses"), "{third:?}");
}

#[test]
fn a_server_may_require_input_ten_times() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let mut id = "7".to_owned();
    for _ in 0..10 {
        let again = server(&mut translator, &input_required(&id, "{}"));
        id = ids(&again)[0].clone();
    }
    let refused = server(&mut translator, &input_required(&id, "{}"));
    assert_eq!(refused, ["refused 7: the server requested input in too many rounds"]);
    assert!(client(&mut translator, CALL)[0].starts_with("to server"), "the id is free again");
}

#[test]
fn the_clients_error_ends_the_call_and_cancels_the_other_input_requests() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let two = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    server(&mut translator, &input_required("7", two));
    let ended = client(&mut translator, r#"{"id":"finmcp-2","error":{"code":-1,"message":"no","data":1.10}}"#);
    assert_eq!(
        ended,
        [
            r#"to client {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"finmcp-1"}}"#,
            r#"to client {"id":7,"error":{"code":-1,"message":"no","data":1.10}}"#,
        ]
    );
    assert!(client(&mut translator, r#"{"id":"finmcp-1","result":{"roots":[]}}"#).is_empty());
}

#[test]
fn a_client_is_sent_only_requests_that_it_supports() {
    for (request, method) in [
        (r#"{"method":"elicitation/create","params":{"mode":"url"}}"#, "elicitation/create"),
        (r#"{"method":"no/such","params":{}}"#, "no/such"),
    ] {
        let mut translator = translator("{}");
        client(&mut translator, CALL);
        let requests = format!(r#"{{"r":{{"method":"roots/list"}},"q":{request}}}"#);
        let refused = server(&mut translator, &input_required("7", &requests));
        assert_eq!(refused, [format!("refused 7: the server requested {method}, which this client does not support")]);
        assert!(client(&mut translator, CALL)[0].starts_with("to server"), "the id is free again");
    }
}

/// MCP 2025-11-25 requires an elicitation id, which the modern era has dropped.
#[test]
fn a_url_elicitation_gets_an_elicitation_id() {
    let hello = message(r#"{"id":0,"method":"initialize","params":{"capabilities":{"elicitation":{"url":{}}}}}"#);
    let mut translator = LegacyClient::new(&hello, &Description::minimal(""), RequestIds::default());
    client(&mut translator, CALL);
    let request = r#"{"q":{"method":"elicitation/create","params":{"mode":"url","url":"u"}}}"#;
    let asked = server(&mut translator, &input_required("7", request));
    assert_eq!(
        asked,
        [
            r#"to client {"jsonrpc":"2.0","id":"finmcp-1","method":"elicitation/create","params":{"mode":"url","url":"u","elicitationId":"finmcp-1"}}"#
        ]
    );
}

#[test]
fn a_cancellation_goes_where_the_call_is() {
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":7,"reason":"r"}}"#;
    let cancelled =
        |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    // To the server, with the id as it was sent.
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    assert_eq!(client(&mut translator, cancel), [format!("to server {}", cancelled("7"))]);
    // To the client, which has to provide input.
    client(&mut translator, CALL);
    server(&mut translator, &input_required("7", ROOTS));
    assert_eq!(client(&mut translator, cancel), [format!("to client {}", cancelled(r#""finmcp-1""#))]);
    assert!(client(&mut translator, r#"{"id":"finmcp-1","result":{"roots":[]}}"#).is_empty());
    // To the server, with the id as it was sent again.
    client(&mut translator, CALL);
    server(&mut translator, &input_required("7", "{}"));
    assert_eq!(client(&mut translator, cancel), [format!("to server {}", cancelled(r#""finmcp-2""#))]);
    // After that, the client's id is its own again.
    assert_eq!(client(&mut translator, cancel), [format!("to server {cancel}")]);
}

#[test]
fn two_calls_with_one_id_are_refused_in_every_stage() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let refused = ["refused 7: this id is still in use by an unanswered request"];
    assert_eq!(client(&mut translator, CALL), refused);
    server(&mut translator, &input_required("7", ROOTS));
    assert_eq!(client(&mut translator, CALL), refused);
}

#[test]
fn a_failed_call_is_refused_as_the_client_wrote_it() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let again = server(&mut translator, &input_required("7", "{}"));
    let refusal = Refusal {
        message: message(&again[0]["to server ".len()..]),
        failure: Arc::new(Failure::Cut),
        processed: Processed::Maybe,
    };
    let mut steps = Vec::new();
    translator.refused(refusal, &mut steps);
    let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((refused.message.raw(), refused.processed), (message(CALL).raw(), Processed::Maybe));
    assert!(client(&mut translator, CALL)[0].starts_with("to server"), "the id is free again");
}

#[test]
fn a_closed_client_is_sent_no_requests() {
    let mut translator = translator(r#"{"tools":{"listChanged":true}}"#);
    client(&mut translator, CALL);
    server(&mut translator, &input_required("7", ROOTS));
    client(&mut translator, INITIALIZED);
    let closed = told(|steps| translator.closed(steps));
    assert_eq!(
        closed,
        [unsubscribed(2), "refused 7: the client did not answer the server's request for input".to_owned()]
    );
}

// Changes on the server.

const INITIALIZED: &str = r#"{"method":"notifications/initialized"}"#;

fn subscribed(number: u8, filter: &str) -> String {
    format!(
        r#"to server {{"jsonrpc":"2.0","id":"finmcp-{number}","method":"subscriptions/listen","params":{{"notifications":{filter},"_meta":{{{META}}}}}}}"#
    )
}

fn unsubscribed(number: u8) -> String {
    format!(
        r#"to server {{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"finmcp-{number}"}}}}"#
    )
}

fn acknowledged(number: u8) -> String {
    format!(
        r#"{{"method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":"finmcp-{number}"}},"notifications":{{}}}}}}"#
    )
}

fn watch(id: u8, uri: &str) -> String {
    format!(r#"{{"id":{id},"method":"resources/subscribe","params":{{"uri":"{uri}"}}}}"#)
}

fn answered(id: u8) -> String {
    format!(r#"to client {{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

const SOME_LISTS: &str =
    r#"{"tools":{"listChanged":true},"prompts":{"listChanged":false},"resources":{"listChanged":true}}"#;

#[test]
fn only_lists_that_the_server_reports_are_subscribed_to() {
    let told = client(&mut translator(SOME_LISTS), INITIALIZED);
    assert_eq!(told, [subscribed(1, r#"{"toolsListChanged":true,"resourcesListChanged":true}"#)]);
    assert!(client(&mut translator(r#"{"tools":{}}"#), INITIALIZED).is_empty());
}

#[test]
fn a_subscription_ends_when_the_next_is_open() {
    let mut translator = translator(r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#);
    client(&mut translator, INITIALIZED);
    assert!(server(&mut translator, &acknowledged(1)).is_empty());
    let first = client(&mut translator, &watch(1, "a:b"));
    assert_eq!(first, [subscribed(2, r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#)]);
    // Before that one is open, another replaces it.
    let second = client(&mut translator, &watch(2, "a:a"));
    let both = r#"{"toolsListChanged":true,"resourceSubscriptions":["a:a","a:b"]}"#;
    assert_eq!(second, [unsubscribed(2), subscribed(3, both)]);
    assert!(server(&mut translator, &acknowledged(2)).is_empty(), "that one was replaced");
    assert_eq!(server(&mut translator, &acknowledged(3)), [unsubscribed(1), answered(1), answered(2)]);
    let away = r#"{"id":3,"method":"resources/unsubscribe","params":{"uri":"a:b"}}"#;
    let fewer = client(&mut translator, away);
    assert_eq!(fewer, [subscribed(4, r#"{"toolsListChanged":true,"resourceSubscriptions":["a:a"]}"#)]);
    assert_eq!(server(&mut translator, &acknowledged(4)), [unsubscribed(3), answered(3)]);
}

#[test]
fn without_changes_to_report_there_is_no_subscription() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    client(&mut translator, &watch(1, "a:b"));
    server(&mut translator, &acknowledged(1));
    let away = r#"{"id":2,"method":"resources/unsubscribe","params":{"uri":"a:b"}}"#;
    assert_eq!(client(&mut translator, away), [unsubscribed(1), answered(2)]);
    assert!(told(|steps| translator.woken(steps)).is_empty());
    let nameless = client(&mut translator, r#"{"id":3,"method":"resources/subscribe","params":{}}"#);
    assert!(nameless[0].contains(r#""code":-32602"#), "{nameless:?}");
}

/// The steps that result from the end of subscription `number`.
fn cut(translator: &mut LegacyClient, number: u8, failure: Failure) -> Vec<String> {
    let listen = format!(r#"{{"id":"finmcp-{number}","method":"subscriptions/listen"}}"#);
    told(|steps| translator.refused(Refusal::unsent(message(&listen), failure), steps))
}

#[test]
fn a_cut_subscription_is_reopened_after_longer_and_longer_pauses() {
    let mut translator = translator(SOME_LISTS);
    client(&mut translator, INITIALIZED);
    let both = r#"{"toolsListChanged":true,"resourcesListChanged":true}"#;
    for (number, pause) in [(1, 500), (2, 1000), (3, 2000)] {
        assert_eq!(cut(&mut translator, number, Failure::Cut), [format!("wake after {pause} ms")]);
        assert_eq!(told(|steps| translator.woken(steps)), [subscribed(number + 1, both)]);
        assert!(told(|steps| translator.woken(steps)).is_empty(), "it is being opened");
    }
    // No change was missed: no subscription was open.
    assert!(server(&mut translator, &acknowledged(4)).is_empty());
    let changed = r#"{"method":"notifications/tools/list_changed","params":{}}"#;
    assert_eq!(server(&mut translator, changed).len(), 1);
    // The server may end a subscription that has worked.
    let ended = server(&mut translator, r#"{"id":"finmcp-4","result":{"resultType":"complete"}}"#);
    assert_eq!(ended, ["wake after 500 ms"]);
    told(|steps| translator.woken(steps));
    // Changes in the meantime are unknown.
    assert_eq!(
        server(&mut translator, &acknowledged(5)),
        [
            r#"to client {"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#,
            r#"to client {"jsonrpc":"2.0","method":"notifications/resources/list_changed","params":{}}"#,
        ]
    );
}

/// a2: a server that ends each subscription at once is left alone after a while, until the client sends something.
#[test]
fn a2_an_idle_client_does_not_keep_the_server_busy() {
    let mut translator = translator(SOME_LISTS);
    client(&mut translator, INITIALIZED);
    let mut number = 1;
    let mut told_to_wake = 0;
    loop {
        server(&mut translator, &acknowledged(number));
        if cut(&mut translator, number, Failure::Cut).is_empty() {
            break;
        }
        told_to_wake += 1;
        assert!(told_to_wake < 10);
        number += 1;
        told(|steps| translator.woken(steps));
    }
    let opened = client(&mut translator, r#"{"id":9,"method":"tools/list"}"#);
    assert!(opened[0].contains("subscriptions/listen"), "{opened:?}");
    assert_eq!(cut(&mut translator, number + 1, Failure::Cut), ["wake after 500 ms"]);
    // Without a sign-in there are no notifications.
    let signed_out = Failure::Refused;
    told(|steps| translator.woken(steps));
    assert!(cut(&mut translator, number + 2, signed_out).is_empty());
}

#[test]
fn resources_that_may_have_changed_are_reported() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    client(&mut translator, &watch(1, "a:b"));
    server(&mut translator, &acknowledged(1));
    cut(&mut translator, 1, Failure::Cut);
    told(|steps| translator.woken(steps));
    let told = server(&mut translator, &acknowledged(2));
    assert_eq!(
        told,
        [r#"to client {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#]
    );
}

#[test]
fn a_server_without_subscriptions_is_tried_once() {
    let status =
        |code| Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None };
    for (code, told) in [(404, 0), (400, 0), (503, 1), (429, 1)] {
        let mut translator = translator(SOME_LISTS);
        client(&mut translator, INITIALIZED);
        assert_eq!(cut(&mut translator, 1, status(code)).len(), told, "{code}");
    }
    let mut translator = translator(SOME_LISTS);
    client(&mut translator, &watch(1, "a:b"));
    let refused = server(&mut translator, r#"{"x":1.10,"id":"finmcp-1","error":{"code":-32601,"message":"m"}}"#);
    assert_eq!(refused, [r#"to client {"x":1.10,"id":1,"error":{"code":-32601,"message":"m"}}"#]);
}

/// An open subscription stays open when the next one is refused.
#[test]
fn a_refused_subscription_keeps_the_previous_one() {
    let mut translator = translator(r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#);
    client(&mut translator, INITIALIZED);
    server(&mut translator, &acknowledged(1));
    client(&mut translator, &watch(1, "a:b"));
    server(&mut translator, r#"{"id":"finmcp-2","error":{"code":-32603,"message":"m"}}"#);
    assert!(told(|steps| translator.woken(steps)).is_empty());
    assert_eq!(cut(&mut translator, 1, Failure::Cut), ["wake after 500 ms"]);
}

// State that must be kept between rounds.

fn refused(translator: &mut LegacyClient, sent: &str, failure: Failure) -> Refusal {
    let (message, processed) = (message(&sent["to server ".len()..]), failure.processed());
    let mut steps = Vec::new();
    translator.refused(Refusal { message, failure: Arc::new(failure), processed }, &mut steps);
    match steps.pop() {
        Some(Step::Refuse(refused)) if steps.is_empty() => refused,
        other => panic!("{steps:?} {other:?}"),
    }
}

/// The request is refused, and perhaps sent again, as the client wrote it, in its own era.
#[test]
fn a16_a_failed_request_is_refused_as_the_client_wrote_it() {
    let mut translator = translator("{}");
    for list in [r#"{ "id":"l","method":"tools/list" }"#, r#"{"id":1,"method":"prompts/list","params":{"n":1.10}}"#] {
        let sent = client(&mut translator, list);
        assert_eq!(refused(&mut translator, &sent[0], Failure::Refused).message.raw(), list.as_bytes());
    }
    // A request with a response, or a cancelled one, is not kept.
    let sent = client(&mut translator, r#"{"id":1,"method":"tools/list"}"#);
    server(&mut translator, r#"{"id":1,"result":{}}"#);
    assert_ne!(refused(&mut translator, &sent[0], Failure::Cut).message.raw(), r#"{"id":1,"method":"tools/list"}"#);
    assert!(translator.requests.is_empty());
}

/// Every input request without a response counts exactly once.
#[test]
fn a16_a_call_is_sent_again_after_the_last_response() {
    let mut translator = translator("{}");
    client(&mut translator, CALL);
    let twice = r#"{"r":{"method":"roots/list"},"r":{"method":"roots/list"},"s":{"method":"roots/list"}}"#;
    let asked = server(&mut translator, &input_required("7", twice));
    assert_eq!(asked.len(), 3);
    let answer = |number: u8| format!(r#"{{"id":"finmcp-{number}","result":{{"n":{number}.0}}}}"#);
    for number in [1, 1, 2, 9] {
        assert!(client(&mut translator, &answer(number)).is_empty(), "{number}");
    }
    let sent = client(&mut translator, &answer(3));
    assert!(sent[0].contains(r#""inputResponses":{"r":{"n":2.0},"s":{"n":3.0}}"#), "{sent:?}");
    assert!(client(&mut translator, &answer(3)).is_empty(), "the call is sent once");
}

/// A modern server refuses a request that does not describe its sender.
#[test]
fn a16_a_request_that_cannot_be_translated_gets_an_error_and_is_not_sent() {
    for method in ["tools/call", "tools/list"] {
        for params in ["[1]", r#""x""#, r#"{"_meta":[]}"#, r#"{},"params":{}"#, r#"{"_meta":{},"_meta":{}}"#, "\u{1}"] {
            let mut translator = translator("{}");
            let text = format!(r#"{{"id":7,"method":"{method}","params":{params}}}"#).replace('\u{1}', r#"{"x":"@"}"#);
            let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
            let odd = Message::parse(bytes.into()).unwrap();
            let told = told(|steps| translator.client_sent(odd, steps));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":7,"error":{"code":-32600,"#), "{told:?}");
            assert!(client(&mut translator, CALL)[0].starts_with("to server"), "no trace of it is left");
        }
    }
    let mut translator = translator("{}");
    assert!(client(&mut translator, r#"{"method":"notifications/x","params":[1]}"#).is_empty());
    let sent = client(&mut translator, r#"{"id":1,"method":"tools/list","params":null}"#);
    assert!(sent[0].contains(META), "{sent:?}");
}

// Tasks.

/// b15: each era has its own kind of task.
#[test]
fn b15_a_legacy_clients_tasks_are_not_offered_to_a_modern_server() {
    let hello = r#"{"id":0,"method":"initialize","params":{"clientInfo":{"name":"c"},"capabilities":{"tasks":{"list":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"v/ui":1.0},"roots":{"x":1e2}}}}"#;
    let offered = r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"v/ui":1.0},"roots":{"x":1e2}}"#;
    let mut translator = LegacyClient::new(&message(hello), &Description::minimal(""), RequestIds::default());
    let sent = client(&mut translator, CALL);
    assert!(sent[0].contains(offered), "{sent:?}");
    let discover = LegacyClient::discover(&message(hello), Id::own(1));
    assert!(String::from_utf8_lossy(discover.raw()).contains(offered));
}

/// b15: a server must not make a task of a call if the client does not support tasks. If one does, the task runs
/// anyway.
#[test]
fn b15_an_unsupported_task_has_an_unknown_outcome() {
    let task = r#"{"id":7,"result":{"taskId":"t-1","status":"working","ttlMs":1.0,"resultType":"task"}}"#;
    for method in ["tools/call", "prompts/get", "resources/read"] {
        let mut translator = translator("{}");
        client(&mut translator, &CALL.replace("tools/call", method));
        let told = server(&mut translator, task);
        assert_eq!(told.len(), 1, "no further request, and no second call: {told:?}");
        assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":7,"error":{"code":-31010,"#), "{told:?}");
        assert!(told[0].ends_with(r#""data":{"taskId":"t-1"}}}"#), "{told:?}");
    }
    // A result that only looks like a task passes.
    for result in [r#"{"task":{"taskId":"a"}}"#, r#"{"resultType":"complete","x":"task","taskId":"a"}"#] {
        let mut translator = translator("{}");
        client(&mut translator, CALL);
        let answer = format!(r#"{{"id":7,"result":{result}}}"#);
        assert_eq!(server(&mut translator, &answer), [format!("to client {answer}")]);
    }
}
