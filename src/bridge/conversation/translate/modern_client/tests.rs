use std::sync::Arc;

use super::*;
use crate::{
    bridge::conversation::{failure::Taken, translate::modern_client::calls::THINKING_LIMIT},
    mcp::revision::Era,
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}"#;

fn message(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// In front of a server with these capabilities.
fn translator(capabilities: &str) -> ModernClient {
    let answer = format!(
        r#"{{"id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"s"}}}}}}"#
    );
    ModernClient::new(Description::learn(Era::Legacy, &message(&answer)).unwrap(), Numbers::default())
}

/// What comes of it, a line for each step.
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

/// What comes of a message of the client's.
fn client(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.client(message(text), steps))
}

/// What comes of a message of the server's, within the exchange of the request with this id.
fn within(translator: &mut ModernClient, id: &str, text: &str) -> Vec<String> {
    told(|steps| translator.server(message(text), Id::from_json(id), steps))
}

/// What comes of a message of the server's that comes by itself.
fn server(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.server(message(text), None, steps))
}

const NOTHING: [&str; 0] = [];

/// A call with this id, and more parameters and metadata.
fn call(id: &str, parameters: &str, meta: &str) -> String {
    format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"{parameters},"_meta":{{{META}{meta}}}}}}}"#)
}

/// The client does not want the answer to its request `id` any more.
fn cancel(id: &str) -> String {
    format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// The client comes back to the call 7 with these answers.
fn back(id: &str, answers: &str) -> String {
    call(id, &format!(r#","requestState":"7","inputResponses":{answers}"#), "")
}

const ROOTS: &str = r#"{"id":"q","method":"roots/list"}"#;

/// The answer to the request `id` of the client's that asks for its roots, as the `number`th question.
fn asked(id: &str, number: u8) -> String {
    format!(
        r#"to client {{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"finmcp-{number}":{{"method":"roots/list"}}}},"requestState":"7"}}}}"#
    )
}

#[test]
fn the_server_is_described_in_the_clients_words() {
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
fn a_request_says_nothing_about_its_sender_and_is_the_same_otherwise() {
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
fn a_result_gets_what_every_modern_one_has() {
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

// What the server asks in the middle of a call.

#[test]
fn a_question_answers_the_call_and_the_clients_return_the_question() {
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
    let answer = client(&mut translator, &back("8", r#"{"finmcp-1":{"action":"accept","n":1e2}}"#));
    assert_eq!(answer, [r#"to server {"jsonrpc":"2.0","id":1.0,"result":{"action":"accept","n":1e2}}"#]);
    let result = within(&mut translator, "7", r#"{"x":1.10,"id":7,"result":{"content":[1.10]}}"#);
    assert_eq!(result, [r#"to client {"x":1.10,"id":8,"result":{"content":[1.10],"resultType":"complete"}}"#]);
    // It is over: both ids may be used again, and the question cannot be answered once more.
    assert_eq!(
        client(&mut translator, &back("8", "{}")),
        ["refused 8: the question that this answers is not open any more; make the request again"]
    );
    assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("to server"));
}

#[test]
fn further_questions_wait_for_the_client() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    assert_eq!(within(&mut translator, "7", ROOTS), [asked("7", 1)]);
    assert_eq!(within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#), NOTHING);
    // One is answered, and so there is one more; what is left unanswered is asked again.
    assert_eq!(
        client(&mut translator, &back("8", r#"{"finmcp-1":{"roots":[]}}"#)),
        [r#"to server {"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#.to_owned(), asked("8", 2)]
    );
    assert_eq!(client(&mut translator, &back("9", r#"{"finmcp-1":{"roots":[]}}"#)), [asked("9", 2)]);
    let free = client(&mut translator, &call("8", "", ""));
    assert!(free[0].starts_with("to server"), "its request is answered: {free:?}");
    assert_eq!(
        client(&mut translator, &back("10", r#"{"finmcp-2":{"roots":[1.10]}}"#)),
        [r#"to server {"jsonrpc":"2.0","id":"r","result":{"roots":[1.10]}}"#]
    );
}

#[test]
fn the_client_is_asked_only_what_it_offers_with_the_call() {
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

/// Some servers ask on the session's stream.
#[test]
fn a_question_that_comes_by_itself_is_about_the_only_call() {
    let mut translator = translator("{}");
    assert!(server(&mut translator, ROOTS)[0].contains(r#""error""#), "about none");
    client(&mut translator, &call("7", "", ""));
    client(&mut translator, &call("8", "", ""));
    assert!(server(&mut translator, ROOTS)[0].contains(r#""error""#), "about one of two");
    server(&mut translator, r#"{"id":8,"result":{}}"#);
    assert_eq!(server(&mut translator, ROOTS), [asked("7", 1)]);
    assert_eq!(
        server(&mut translator, r#"{"id":1.0,"method":"ping"}"#),
        [r#"to server {"jsonrpc":"2.0","id":1.0,"result":{}}"#]
    );
}

/// Calls whose client has been asked and may never come back, and those that the server has answered, are not in the way.
#[test]
fn a_question_that_comes_by_itself_is_about_the_call_that_is_waited_for() {
    let mut translator = translator("{}");
    for id in ["5", "6"] {
        client(&mut translator, &call(id, "", ""));
        within(&mut translator, id, ROOTS);
    }
    // The one is answered before its client is back.
    server(&mut translator, r#"{"id":5,"result":{}}"#);
    let by_itself = r#"{"id":"s","method":"roots/list"}"#;
    assert_eq!(server(&mut translator, by_itself), NOTHING, "about 6, when its client is back");
    client(&mut translator, &call("7", "", ""));
    assert_eq!(server(&mut translator, ROOTS), [asked("7", 4)]);
    // Three calls, and nobody waits for any.
    client(&mut translator, &call("8", "", ""));
    within(&mut translator, "8", ROOTS);
    assert_eq!(
        server(&mut translator, ROOTS),
        [
            r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-31001,"message":"this client can be asked only in the middle of a call, and this belongs to none that is known"}}"#
        ]
    );
}

/// A list is no call: nothing but the answer can come of it (MCP 2026-07-28, "Multi Round-Trip Requests").
#[test]
fn a_question_within_a_request_that_is_no_call_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    client(&mut translator, r#"{"id":8,"method":"tools/list"}"#);
    assert!(
        within(&mut translator, "8", ROOTS)[0]
            .starts_with(r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-31001"#)
    );
}

#[test]
fn a_question_that_is_taken_back_is_not_asked() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#);
    server(&mut translator, r#"{"method":"notifications/cancelled","params":{"requestId":"r"}}"#);
    let answered = client(&mut translator, &back("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(answered, [r#"to server {"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#]);
    // Where it was asked already, nobody wants the answer any more (MCP 2025-11-25 cancellation).
    within(&mut translator, "7", ROOTS);
    server(&mut translator, r#"{"method":"notifications/cancelled","params":{"requestId":"q"}}"#);
    assert_eq!(client(&mut translator, &back("9", r#"{"finmcp-3":{"roots":[]}}"#)), NOTHING);
}

/// A legacy server that wants addresses opened refuses the call for now: a modern client is asked to open them, and the
/// call is made again where its person has.
#[test]
fn a_call_that_is_refused_until_addresses_are_opened_is_made_again() {
    let meta = META.replace(r#""elicitation":{}"#, r#""elicitation":{"url":{}}"#);
    let call = |id: &str, more: &str| {
        format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t","n":1.10{more},"_meta":{{{meta}}}}}}}"#)
    };
    let back = |id: &str, state: &str, answers: &str| {
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
    // One is not decided yet.
    let accept = r#""finmcp-1":{"action":"accept"}"#;
    assert!(client(&mut translator, &back("8", r#""7""#, accept))[0].contains(r#"{"finmcp-2":"#));
    assert_eq!(
        client(&mut translator, &back("9", r#""7""#, r#""finmcp-2":{"action":"accept"}"#)),
        [r#"to server {"id":"finmcp-3","method":"tools/call","params":{"name":"t","n":1.10}}"#]
    );
    // It wants still more; this time the person has had enough.
    let again = within(&mut translator, r#""finmcp-3""#, &error(r#""finmcp-3""#));
    assert_eq!(again, [asked("9", ["finmcp-4", "finmcp-5"], r#""\"finmcp-3\"""#)]);
    let decline = r#""finmcp-4":{"action":"accept"},"finmcp-5":{"action":"decline"}"#;
    let ended = client(&mut translator, &back("10", r#""\"finmcp-3\"""#, decline));
    assert_eq!(ended, [format!("to client {}", error("10"))]);
    assert!(client(&mut translator, &call("10", ""))[0].starts_with("to server"), "the id is free again");

    // A call that was made again is cancelled as the server knows it.
    client(&mut translator, &call("20", ""));
    within(&mut translator, "20", &error("20"));
    let both = r#""finmcp-6":{"action":"accept"},"finmcp-7":{"action":"accept"}"#;
    assert!(client(&mut translator, &back("21", r#""20""#, both))[0].contains(r#""id":"finmcp-8""#));
    let expected = r#"to server {"method":"notifications/cancelled","params":{"requestId":"finmcp-8"}}"#;
    assert_eq!(client(&mut translator, &cancel("21")), [expected]);
    // Only that one error has addresses to open.
    client(&mut translator, &call("30", ""));
    let other = error("30").replace("-32042", "-32000");
    assert_eq!(within(&mut translator, "30", &other), [format!("to client {other}")]);
}

/// A client that cannot open addresses hears what the server says.
#[test]
fn a_client_that_opens_no_addresses_is_not_asked_to() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    let error = r#"{"id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"a:b"}]}}}"#;
    assert_eq!(within(&mut translator, "7", error), [format!("to client {error}")]);
}

#[test]
fn an_answer_that_comes_while_the_client_thinks_waits_for_it() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    assert_eq!(within(&mut translator, "7", r#"{"id":7,"result":{"n":1.10}}"#), NOTHING);
    let told = client(&mut translator, &back("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(told.last().unwrap(), r#"to client {"id":8,"result":{"n":1.10,"resultType":"complete"}}"#);
    assert!(client(&mut translator, &back("9", "{}"))[0].starts_with("refused 9"));
}

#[test]
fn a_call_that_fails_while_the_client_thinks_is_refused_in_its_name() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    let refusal = Refusal {
        message: message(r#"{"id":7,"method":"tools/call"}"#),
        failure: Arc::new(Failure::Cut),
        taken: Taken::Perhaps,
    };
    assert_eq!(told(|steps| translator.refused(refusal, steps)), NOTHING);
    let told = client(&mut translator, &back("8", r#"{"finmcp-1":{"roots":[]}}"#));
    assert_eq!(told.last().unwrap(), "refused 8: the server ended its answer without a response");
}

#[test]
fn a_return_that_fits_no_call_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    // The call is under way: nobody was asked anything.
    assert!(client(&mut translator, &back("8", "{}"))[0].starts_with("refused 8"));
    within(&mut translator, "7", ROOTS);
    for text in [
        back("8", "{}").replace("tools/call", "prompts/get"),
        back("8", "{}").replace(r#""requestState":"7""#, r#""requestState":"6""#),
        back("8", "{}").replace(r#""requestState":"7""#, r#""requestState":7"#),
    ] {
        assert!(client(&mut translator, &text)[0].starts_with("refused 8"), "{text}");
    }
    assert_eq!(client(&mut translator, &back("8", "{}")), [asked("8", 1)]);
}

#[test]
fn the_client_that_has_thought_longest_is_given_up() {
    let mut translator = translator("{}");
    for number in 0..=THINKING_LIMIT {
        let id = format!("{}", number + 100);
        client(&mut translator, &call(&id, "", ""));
        let told = within(&mut translator, &id, &format!(r#"{{"id":{number},"method":"roots/list"}}"#));
        let given_up = r#"to server {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":100}}"#;
        assert_eq!(told.iter().any(|line| line == given_up), number == THINKING_LIMIT, "{told:?}");
    }
    let back = |state: &str| call("1", &format!(r#","requestState":"{state}","inputResponses":{{}}"#), "");
    assert!(client(&mut translator, &back("100"))[0].starts_with("refused 1"));
    assert!(client(&mut translator, &back("101"))[0].contains("input_required"));
}

/// Who has come back, and who is not coming back, does not think any more.
#[test]
fn only_the_clients_that_think_are_counted() {
    let mut translator = translator("{}");
    let think = |translator: &mut ModernClient, number: usize| {
        client(translator, &call(&number.to_string(), "", ""));
        within(translator, &number.to_string(), &format!(r#"{{"id":{number},"method":"roots/list"}}"#)).len()
    };
    for number in 100..100 + THINKING_LIMIT {
        think(&mut translator, number);
    }
    client(&mut translator, &call("1", r#","requestState":"100","inputResponses":{"finmcp-1":{}}"#, ""));
    client(&mut translator, &cancel("150"));
    assert_eq!([500, 501].map(|number| think(&mut translator, number)), [1, 1], "there was room for two");
    assert_eq!(think(&mut translator, 502), 2, "and no more: the oldest is given up");
}

/// A call that the server has answered needs no cancelling at the end; one that it works on does.
#[test]
fn a_call_that_is_answered_is_not_cancelled_at_the_end() {
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
fn an_id_that_is_a_subscriptions_is_in_use() {
    let mut translator = translator(r#"{"tools":{}}"#);
    client(&mut translator, &listen("1", ""));
    assert!(client(&mut translator, &call("1", "", ""))[0].starts_with("refused 1: this id is still in use"));
}

/// Our own requests may come to nothing: what waited for them goes on.
#[test]
fn what_is_asked_on_the_clients_behalf_may_fail() {
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

/// Whatever becomes of the call that wanted logs: the next one that wants none hears none.
#[test]
fn logs_end_with_the_call_that_wanted_them() {
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
fn only_an_update_tells_of_a_resource() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    client(&mut translator, &listen("1", r#""resourceSubscriptions":["a:b/"]"#));
    server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    let about = |method: &str| format!(r#"{{"method":"notifications/{method}","params":{{"uri":"a:b/part"}}}}"#);
    assert_eq!(server(&mut translator, &about("resources/updated")).len(), 1);
    assert_eq!(server(&mut translator, &about("resources/other")), NOTHING);
}

#[test]
fn progress_is_told_under_the_token_of_the_last_request() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", r#","progressToken":1.0"#));
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":1.0,"progress":1.10}}"#;
    assert_eq!(within(&mut translator, "7", progress), [format!("to client {progress}")]);
    within(&mut translator, "7", ROOTS);
    let back = call("8", r#","requestState":"7","inputResponses":{"finmcp-1":{}}"#, r#","progressToken":"b""#);
    client(&mut translator, &back);
    assert_eq!(
        within(&mut translator, "7", progress),
        [r#"to client {"method":"notifications/progress","params":{"progressToken":"b","progress":1.10}}"#]
    );
    let other = r#"{"method":"notifications/progress","params":{"progressToken":2,"progress":1.10}}"#;
    assert_eq!(within(&mut translator, "7", other), [format!("to client {other}")]);
}

#[test]
fn a_cancellation_is_of_what_the_server_knows() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &back("8", r#"{"finmcp-1":{}}"#));
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
    client(&mut translator, &back("8", r#"{"finmcp-1":{}}"#));
    assert!(client(&mut translator, &call("8", "", ""))[0].starts_with("refused 8: this id is still in use"));
}

#[test]
fn a_client_that_is_gone_hears_no_more() {
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

/// The call waits until the server has the level; and each call hears from its own level on.
#[test]
fn the_server_logs_at_the_level_of_whoever_wants_most() {
    let mut translator = translator(r#"{"logging":{}}"#);
    assert_eq!(client(&mut translator, &logging("1", "warning")), [set(1, "warning")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), [sent("1")]);
    assert_eq!(client(&mut translator, &logging("2", "error")), [sent("2")], "it says that anyway");
    assert_eq!(client(&mut translator, &logging("3", "info")), [set(2, "info")]);
    // Whatever becomes of the level, the call is made.
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

/// Many servers of the Python SDK log without a word about it.
#[test]
fn a_server_that_declares_no_logs_is_told_no_level() {
    let mut translator = translator("{}");
    assert_eq!(client(&mut translator, &logging("1", "warning")), [sent("1")]);
    assert_eq!(within(&mut translator, "1", &logged("error")).len(), 1);
    assert_eq!(within(&mut translator, "1", &logged("info")), NOTHING);
}

#[test]
fn what_is_logged_by_itself_is_for_the_last_call_that_wanted_it() {
    let mut translator = translator("{}");
    assert_eq!(server(&mut translator, &logged("error")), NOTHING);
    client(&mut translator, &logging("1", "warning"));
    assert_eq!(server(&mut translator, &logged("error")).len(), 1);
    assert_eq!(server(&mut translator, &logged("info")), NOTHING);
    server(&mut translator, r#"{"id":1,"result":{}}"#);
    assert_eq!(server(&mut translator, &logged("error")).len(), 1, "it comes a little late");
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

// What changes on the server.

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

/// Whether the server says so when its tools change is no matter: that it has tools is.
#[test]
fn a_subscription_is_to_what_the_server_has() {
    let mut translator = translator(r#"{"tools":{},"prompts":{"listChanged":true}}"#);
    let all = r#""resourceSubscriptions":["a:b"],"resourcesListChanged":true,"promptsListChanged":true,"toolsListChanged":true"#;
    let told = client(&mut translator, &listen("1", all));
    assert_eq!(told, [acknowledged("1", r#""toolsListChanged":true,"promptsListChanged":true"#)]);
    let told = client(&mut translator, &listen("2", r#""toolsListChanged":false"#));
    assert_eq!(told, [acknowledged("2", "")]);
}

#[test]
fn each_subscription_hears_what_it_wants() {
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
    // The client hears of it once all is settled, and of what the server agreed to only.
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-2","error":{"code":1,"message":""}}"#), NOTHING);
    let told = server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    assert_eq!(told, [acknowledged("1", r#""resourceSubscriptions":["a:b"]"#)]);
    client(&mut translator, &listen("2", r#""resourceSubscriptions":["a:b"]"#));
    server(&mut translator, r#"{"id":"finmcp-3","result":{}}"#);
    let update = |uri: &str| format!(r#"{{"method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#);
    for (uri, heard) in [("a:b", 2), ("a:b/part", 2), ("a:bc", 0), ("a:c", 0)] {
        assert_eq!(server(&mut translator, &update(uri)).len(), heard, "{uri}");
    }
    // As long as one subscription is left, the server goes on.
    let cancel = |id: u8| format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    assert_eq!(client(&mut translator, &cancel(1)), NOTHING);
    assert_eq!(client(&mut translator, &cancel(2)), [subscribe(4, "unsubscribe", "a:b")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-4","result":{}}"#), NOTHING);
}

// What must not be lost between two rounds, counted below nothing, or passed on untranslated.

/// The call `id` that wants the log from `level` on, of a client that opens addresses.
fn opening(id: &str, more: &str, level: &str) -> String {
    let level = format!(r#","io.modelcontextprotocol/logLevel":"{level}""#);
    call(id, more, &level).replace(r#""elicitation":{}"#, r#""elicitation":{"url":{}}"#)
}

const ADDRESS: &str =
    r#"{"id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"a:b"}]}}}"#;

#[test]
fn a16_a_call_that_is_made_again_still_wants_its_log() {
    let mut translator = translator(r#"{"logging":{}}"#);
    assert_eq!(client(&mut translator, &opening("1", "", "warning")), [set(1, "warning")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), [sent("1")]);
    assert!(within(&mut translator, "1", ADDRESS)[0].contains(r#""finmcp-2":{"method":"elicitation/create""#));
    let answers = r#","requestState":"1","inputResponses":{"finmcp-2":{"action":"accept"}}"#;
    assert_eq!(client(&mut translator, &opening("2", answers, "warning")), [sent(r#""finmcp-3""#)]);
    let heard = |translator: &mut ModernClient, level| within(translator, r#""finmcp-3""#, &logged(level)).len();
    assert_eq!((heard(&mut translator, "error"), heard(&mut translator, "info")), (1, 0));
    assert_eq!(server(&mut translator, &logged("error")).len(), 1);
    // It ends with the call.
    within(&mut translator, r#""finmcp-3""#, r#"{"id":"finmcp-3","result":{}}"#);
    assert_eq!(heard(&mut translator, "error"), 0);
}

/// Each round says for itself what it wants.
#[test]
fn a16_a_call_that_is_gone_on_with_wants_the_log_that_it_says_last() {
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
fn a16_a_call_that_is_gone_on_with_offers_what_it_says_last() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    let back = back("8", r#"{"finmcp-1":{}}"#).replace(r#""roots":{}"#, r#""sampling":{}"#);
    client(&mut translator, &back);
    assert!(within(&mut translator, "7", r#"{"id":"r","method":"roots/list"}"#)[0].contains("-32601"));
    let sampling = r#"{"id":"s","method":"sampling/createMessage","params":{}}"#;
    assert!(within(&mut translator, "7", sampling)[0].contains(r#""id":8,"result":{"resultType":"input_required""#));
}

#[test]
fn a16_a_call_that_is_given_up_wants_no_log() {
    let mut translator = translator("{}");
    client(&mut translator, &logging("7", "warning"));
    within(&mut translator, "7", ROOTS);
    told(|steps| translator.closed(steps));
    assert_eq!(within(&mut translator, "7", &logged("error")), NOTHING);
}

/// Two calls may begin with one token, once the first has been gone on with under another.
#[test]
fn a16_progress_is_of_the_call_in_whose_answer_it_comes() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", r#","progressToken":1"#));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &call("8", r#","requestState":"7","inputResponses":{}"#, r#","progressToken":2"#));
    client(&mut translator, &call("9", "", r#","progressToken":1"#));
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
    assert_eq!(within(&mut translator, "9", progress), [format!("to client {progress}")]);
    assert_eq!(within(&mut translator, "7", progress), [format!("to client {}", progress.replace('1', "2"))]);
}

/// What came to nothing is answered, and perhaps made again, as the client wrote it: with its capabilities and its era.
#[test]
fn a16_a_request_that_came_to_nothing_is_refused_as_the_client_made_it() {
    let mut translator = translator("{}");
    let list = format!(r#"{{ "id":"l","method":"tools/list","params":{{"_meta":{{{META}}}}}}}"#);
    for (written, id) in [(list, r#""l""#), (call("7", r#","n":1.10"#, ""), "7")] {
        let sent = client(&mut translator, &written);
        let message = message(&sent[0]["to server ".len()..]);
        assert!(!String::from_utf8_lossy(message.raw()).contains("protocolVersion"));
        let refusal = Refusal { message, failure: Arc::new(Failure::Refused), taken: Taken::No };
        let mut steps = Vec::new();
        translator.refused(refusal, &mut steps);
        let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((refused.message.raw(), refused.taken), (&bytes::Bytes::from(written), Taken::No));
        assert_eq!(refused.message.id(), Id::from_json(id).as_ref());
    }
    // One that has been gone on with: under the id that waits.
    client(&mut translator, &call("7", "", ""));
    within(&mut translator, "7", ROOTS);
    client(&mut translator, &back("8", r#"{"finmcp-1":{}}"#));
    let lost = message(r#"{"id":7,"method":"tools/call","params":{"name":"t"}}"#);
    let mut steps = Vec::new();
    translator.refused(Refusal { message: lost, failure: Arc::new(Failure::Refused), taken: Taken::No }, &mut steps);
    let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(refused.message.raw(), call("8", "", "").as_bytes());
}

/// The answers to what was asked for a subscription that is over are not counted for another one with its id.
#[test]
fn a16_a_subscription_whose_id_is_used_again_is_acknowledged_when_it_is_settled() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    let filter = |uris: &str| format!(r#""resourceSubscriptions":[{uris}]"#);
    client(&mut translator, &listen("1", &filter(r#""a:b","a:c""#)));
    client(&mut translator, &cancel("1"));
    client(&mut translator, &listen("1", &filter(r#""a:d""#)));
    // (The first two ids are the first subscription's; then it unsubscribed from two.)
    for (id, outcome) in [("1", "result"), ("2", "error"), ("3", "result"), ("4", "result")] {
        let answer = format!(r#"{{"id":"finmcp-{id}","{outcome}":{{}}}}"#);
        assert_eq!(server(&mut translator, &answer), NOTHING, "{id}");
    }
    let last = r#"{"id":"finmcp-5","result":{}}"#;
    assert_eq!(server(&mut translator, last), [acknowledged("1", &filter(r#""a:d""#))]);
    assert_eq!(server(&mut translator, last).len(), 1, "a second answer is nobody's, and harms nothing");
    // A refused one is taken from the list of its own subscription only.
    client(&mut translator, &listen("2", &filter(r#""a:e""#)));
    client(&mut translator, &cancel("2"));
    client(&mut translator, &listen("2", &filter(r#""a:e""#)));
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-6","error":{}}"#), NOTHING);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-8","result":{}}"#), [acknowledged("2", &filter(r#""a:e""#))]);
}

/// A message of these bytes: not every one is UTF-8.
fn bytes_message(bytes: &[u8]) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(bytes)).unwrap()
}

/// A server that knows both eras would believe what a message says of its sender.
#[test]
fn a16_a_request_that_cannot_be_translated_is_answered_and_not_sent() {
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
        let told = told(|steps| translator.client(bytes_message(&bytes), steps));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":7,"error":{"code":-32600,"#), "{told:?}");
        // Nothing of it is left.
        assert!(client(&mut translator, &call("7", "", ""))[0].starts_with("to server"));
    }
    let notification = bytes_message(b"{\"method\":\"notifications/x\",\"params\":{\"_meta\":1,\"x\":\"\xff\"}}");
    assert_eq!(told(|steps| translator("{}").client(notification, steps)), NOTHING);
    // Parameters that are no object say nothing of a sender.
    let text = r#"{"id":7,"method":"x","params":[ 1.10 ]}"#;
    assert_eq!(client(&mut translator("{}"), text), [format!("to server {text}")]);
}

/// What is no result for a modern client is not given to it; a call may have been carried out.
#[test]
fn a16_an_answer_that_cannot_be_translated_is_refused() {
    for answer in [b"{\"id\":7,\"result\":[1]}".as_slice(), b"{\"id\":7,\"result\":{},\"x\":\"\xff\"}"] {
        for method in ["tools/call", "tools/list"] {
            let mut translator = translator("{}");
            client(&mut translator, &call("7", "", "").replace("tools/call", method));
            let mut steps = Vec::new();
            translator.server(bytes_message(answer), Id::from_json("7"), &mut steps);
            let [Step::Refuse(refused)] = &steps[..] else { panic!("{steps:?}") };
            assert_eq!((refused.message.id(), refused.taken), (Id::from_json("7").as_ref(), Taken::Perhaps));
            assert_eq!(refused.message.method(), Some(method));
        }
    }
    let told = server(&mut translator("{}"), r#"{"id":7,"result":null}"#);
    assert_eq!(told, [r#"to client {"id":7,"result":{"resultType":"complete"}}"#]);
}

/// Without the subscription's id a client could not tell whose notification it is.
#[test]
fn a16_a_change_that_cannot_be_addressed_is_told_in_our_own_words() {
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

/// A question whose words cannot be read is not put to anybody.
#[test]
fn a16_a_question_that_cannot_be_translated_is_refused() {
    let mut translator = translator("{}");
    client(&mut translator, &call("7", "", ""));
    for params in [r#","params":[]"#, "", r#","params":{"message":"a"},"params":{"message":"b"}"#] {
        let told = within(&mut translator, "7", &format!(r#"{{"id":"q","method":"elicitation/create"{params}}}"#));
        assert!(told[0].starts_with(r#"to server {"jsonrpc":"2.0","id":"q","error":{"code":-32602,"#), "{told:?}");
    }
}

/// b15: the extension is of the modern era; a legacy server knows another thing by that name.
#[test]
fn b15_a_modern_clients_tasks_are_not_offered_to_a_legacy_server() {
    let capabilities = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"roots":{}}"#;
    let meta = format!(r#""io.modelcontextprotocol/clientCapabilities":{capabilities}"#);
    let hello = message(&format!(r#"{{"id":1,"method":"server/discover","params":{{"_meta":{{{meta}}}}}}}"#));
    let initialize = ModernClient::initialize(&hello, Id::own(1));
    assert_eq!(initialize.member("capabilities").as_deref(), Some(r#"{"roots":{}}"#));
}
