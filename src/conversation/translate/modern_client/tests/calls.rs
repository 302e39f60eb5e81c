//! What the server asks in the middle of a call.

use super::*;

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
        ["refused 8: the input request is unknown or has expired; send the original request again"]
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
    assert_eq!(told.last().unwrap(), "refused 8: the HTTP response ended without a JSON-RPC response");
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
