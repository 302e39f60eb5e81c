//! What must not be lost between two rounds, counted below nothing, or passed on untranslated.

use super::*;

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
