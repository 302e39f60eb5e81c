//! What must not be lost between two rounds, counted below nothing, or passed on untranslated.

use super::*;

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
    let initialize = ModernClient::initialize(&hello, Id::ours(1));
    assert_eq!(initialize.member("capabilities").as_deref(), Some(r#"{"roots":{}}"#));
}
